"""What the detectors of sequences share, and the energy; the flow is in `sequence_flow`."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from upland.calibration.false_discovery import Control
from upland.criteria.sequence import EncodedSequences
from upland.data.reader import Reader
from upland.data.sequence.clock import Calendar
from upland.data.sequence.container import Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.next_steps import next_steps
from upland.data.sequence.reader import Per, SequenceReader
from upland.data.sequence.windows import SequenceRows
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import Recurrent
from upland.detectors.arguments import cell_options, frozen, given_noise, sizes_of, whole_or_none
from upland.detectors.base import Detector
from upland.detectors.host import are_usual, usual_settings
from upland.detectors.one_row import one_row
from upland.detectors.own_modules import OwnRecurrent
from upland.detectors.plan import FitPlan, TrainingPlan
from upland.detectors.stream import (
    Advanced,
    NextScore,
    NextScores,
    Stream,
    advance,
    advance_each,
    begin,
    check_order,
    check_single,
    check_state,
    identity_of,
)
from upland.groups.tester import check_of_scores, verdicts_from_scores
from upland.groups.verdicts import GroupVerdicts
from upland.io.advice import Advice, Wording
from upland.io.cells import Dates

MOST_SMOOTHING = 64
"""Steps that the score of a step is smoothed over, at most, where no number is given."""


class SequenceDetector(Detector):
    """A detector of whole sequences, or of the time steps of long series: abstract."""

    modality: ClassVar[Literal["sequence"]] = "sequence"

    id: str | int | None
    time: str | int | None
    window: int | Literal["auto"] | None
    stride: int | None
    per: Per
    smoothing: int | Literal["auto"]
    categorical: Sequence[str | int]
    ignore: Sequence[str | int]

    # -- fit ---------------------------------------------------------------------------------------

    def _reader(self) -> SequenceReader:
        return SequenceReader(
            id=self.id,
            time=self.time,
            window=self.window,
            stride=self.stride,
            per=self.per,
            categorical=frozen(self.categorical),
            ignore=frozen(self.ignore),
            context=frozen(self.context),
            calendar=self.calendar,
            owner=type(self).__name__,
            cells=cell_options(self),
        )

    def _plan(
        self, rows: SequenceRows, reader: Reader, method: Literal["split", "cross"], seed: int
    ) -> FitPlan:
        return FitPlan(
            reader=reader,
            unit=reader.unit_of_rows(rows),
            calibration=method,
            architecture=self._architecture(rows),
            training=self._with_lengths(self._training(rows)),
            keep_rows=self._keep_rows(),
            smoothing=whole_or_none(self.smoothing) or self._usual_smoothing(rows),
            seed=seed,
        )

    @abstractmethod
    def _architecture(self, rows: SequenceRows) -> Architecture:
        """The model that the constructor's arguments ask for."""

    @abstractmethod
    def _training(self, rows: SequenceRows) -> TrainingPlan:
        """How long and how fast it is trained, by default."""

    @abstractmethod
    def _usual_smoothing(self, rows: SequenceRows) -> int:
        """Steps that the score of a step is smoothed over, by default."""

    def _keep_rows(self) -> int:
        """Reference rows that are kept with the model: none, unless a detector says otherwise."""
        return 0

    # -- scores ------------------------------------------------------------------------------------

    def encode(self, encoder: SequenceEncoder, piece: Sequences) -> EncodedSequences:
        """Encoded sequences; of very long ones the steps are encoded when they are read.

        Args:
            encoder: of the member.
            piece: sequences.
        """
        codes = encoder.slices(piece, warn=encoder is self.encoder_)  # once for all members
        return EncodedSequences(lambda start, stop: torch.from_numpy(codes(start, stop)), piece.lengths)

    def score_next(self, state: Stream | None, x_t: Any) -> NextScore:
        """Score one more step of a series, in constant time: equal to the pass over the series so far.

        Args:
            state: what the last call returned; None before the first step.
            x_t: the values of one step: `(D,)`, a mapping from column to value, a row of a frame, or a frame
                of one row.

        Raises:
            TypeError: the state is none, or x_t is no step.
            ValueError: columns are missing or of another kind; there is more than one step; the state is of
                another fit or criterion.

        Returns:
            The step's anomaly score and p-value, and the state to give to the next call.
        """
        with nullcontext() if are_usual() else usual_settings():
            state = self._state(state, x_t, (None,))
            check_single(state)
            return advance(state, self.members_, self.calibrations_["step"], one_row(x_t))

    def score_steps(self, state: Stream | None, X: Any, ids: Any = None) -> NextScores:
        """Score the next steps of one series or of many, in memory that does not grow with the steps before.

        The numbers are those of `score_next` step by step. Steps of many series go through the model
        together, so that one call with a step of each costs far less than a call for each.

        Args:
            state: what the last call returned; None before the first step. A series that is not in it begins.
            X: steps as rows, as `anomaly_score` takes a long frame or a series: those of one series in their
                order, those of a frame with a time column in the order of time. Columns of the id and of the
                time need not be there.
            ids: of the series of each row; one id for all of them; None takes the id column of the fit, and
                where there is none all rows are of one series.

        Raises:
            TypeError: the state is none, X is no table of values, or an id is a list or the like.
            ValueError: as `anomaly_score`; there are not as many ids as rows; the state is of another fit or
                criterion.

        Returns:
            The anomaly score and the p-value of each row, `(N,)`, and the state to give to the next call.
        """
        with nullcontext() if are_usual() else usual_settings():
            state = self._state(state, X, ())
            encoder = self.encoder_
            assert isinstance(encoder, SequenceEncoder)
            sequences = next_steps(X, ids, encoder)
            found = self.advance(state, sequences)
            scores, p_values = map(sequences.arrange, found[:2])
            return NextScores(scores, p_values, found.state)

    def advance(self, state: Stream | None, sequences: Sequences) -> Advanced:
        """What `score_steps` gives of steps as `next_steps` reads them, series after series; raises as it.

        Args:
            state: what the last call returned; None before the first step.
            sequences: the next steps of each series, with the ids of these.
        """
        with nullcontext() if are_usual() else usual_settings():
            state = self._state(state, sequences, ())
            return advance_each(state, self.members_, self.calibrations_["step"], sequences)

    def _state(self, state: Stream | None, step: Any, ids: tuple[None, ...]) -> Stream:
        """A state of this fit and criterion; without one the beginning, of series with these ids."""
        self._check_criterion()
        name = self.criterion_of("step")
        check_order(state, step, "score_next" if ids else "score_steps")
        if state is not None:
            check_state(state, identity_of(self.members_, name))
            return state
        criteria: list[Any] = [self.fitted_criterion(member, "step") for member in self.members_]
        return begin(self.members_, criteria, name, ids)

    def _group_verdicts(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        """By the distribution of the anomaly scores."""
        check_of_scores(statistic)
        if isinstance(groups, str):
            raise ValueError("name the group of each sequence in an array: groups=[...], one a sequence")
        self._check_criterion()
        cut = isinstance(self.plan_.reader, SequenceReader) and self.plan_.reader.window is not None
        if cut and self.unit_ == "sequence":
            raise ValueError(
                Advice(
                    "the fit cut sequences into windows, so that there are no scores of whole normal "
                    "sequences to compare groups with: fit ",
                    Wording("with window=None", "without --window"),
                )
            )
        values, unit, reader, piece = self._scores(X)
        if unit != self.unit_:
            raise ValueError(
                f"the detector was fitted for scores of {self.unit_}s, and these data have scores of {unit}s"
            )
        calibration = self.calibration_
        if calibration.folds is None:
            normal, scores = calibration.scores, values.mean(axis=1)
        else:  # the first member alone, and what it has not seen
            normal, scores = calibration.scores[calibration.folds == 0], values[:, 0]
        scores = reader.arrange(scores, piece, unit)
        if self.unit_ == "step":
            warnings.warn(
                "time steps depend on each other, so the p-values of their groups are approximate",
                stacklevel=3,
            )
        return verdicts_from_scores(normal, scores, groups, alpha, control, statistic)


class SequenceEnergyDetector(SequenceDetector):
    """Anomaly detection in sequences by a recurrent energy trained by score matching (DSEBM, ICML 2016).

    Normal data are an array `(N, T, D)`, a list of arrays `(T_i, D)`, a long frame with a time column, one
    long series `(T, D)`, or the path of a file. A frame of one step (`frame=1`) is the paper's model.

    Args:
        hidden: units of each dense softplus layer; "auto" is (64, 64).
        noise: sigma of the score matching, in standard deviations of a channel; "auto" is one and a half
            times the typical distance per dimension between neighbours among the training frames, within 0.1
            to 1.
        frame: time steps that one energy is of; "auto" is a quarter of a whole sequence, and 16 steps of a
            long series.
        criterion: "experts", what several experts say of a sequence or of a step, each in units of normal
            data, and "auto" or None; "score_test", how large the gradient in the model's biases is;
            "max_channel", the largest smoothed squared residual of any channel; "reconstruction",
            |x - f(x)|^2; "energy", -log p of a step given those before it, in nats. The last three are
            one-sided: what is calmer than normal data, as a sensor that is stuck, passes.
        calibration: "split" holds out a fifth of the sequences or windows and gives exact p-values; "cross"
            fits five folds; "auto" splits from 500 sequences or windows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at `alpha_`, a number
            as a quantile of the training scores.
        epochs: passes over the training windows; None goes by their number.
        batch_size: sequences or windows of a training step at most; None goes by the model.
        learning_rate: of Adam at its highest; None goes by the model.
        patience: checks (20 in a training) of the held-out loss without improvement before it ends.
        id: the column of a long frame that identifies its sequences.
        time: the column of a long frame that orders the steps of a sequence.
        window: steps of the windows that long series are cut into to train on; None cuts nothing.
        stride: steps from one window to the next; None is the window itself.
        per: what one score is of, "sequence" or "step"; "auto" is a sequence for arrays `(N, T, D)` and
            lists, a time step for long frames and one long series.
        smoothing: steps, about, that the score of a step in a long series is smoothed over; "auto" is a
            window of the training, 64 at most. The experts use an eighth of it, too, and see up to 96 steps.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        context: columns that the model is conditioned on, such as set points, valve positions or operating
            states; they are known at each step, and never a part of its score or named as its cause.
        calendar: whether the model is conditioned on the hour of the day and the day of the week, from the
            time column; "auto" where the fit covers three days, and three weeks.
        decimal: the decimal sign of numbers that are text, "." or ",", where the cells do not decide.
        thousands: what parts their thousands, where the cells do not decide.
        missing: texts and numbers that stand for a missing cell, such as ["?", -999].
        dayfirst: whether 3/4/2026 is the third of April, where the cells do not decide.
        dates: what a date is used as: "number", "parts" (hour, weekday and month, cyclic) or "drop".
        model: a `RecurrentEnergy` of your own, with another cell or state for one, or a function that makes
            one for a width D; None is upland's own, with an LSTM.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        plan_: every argument as the fit resolved it (`upland.detectors.plan.FitPlan`).
        members_: encoder, model, noise and history of each member.
        calibrations_: the held-out scores and the p-values that follow, by unit; `calibration_` is the one of
            `unit_`.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of sequences or windows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them.
        unit_: what one score is of: "sequence" or "step".

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> waves = np.sin(np.arange(20) / 3 + rng.uniform(0, 6, (40, 1)))[..., None]
        >>> detector = upland.SequenceEnergyDetector(random_state=0, epochs=2).fit(waves)
        >>> detector.anomaly_score(waves[:3]).shape
        (3,)
    """

    family: ClassVar[str] = "energy"

    def __init__(
        self,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        frame: int | Literal["auto"] = "auto",
        criterion: str | None = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        id: str | int | None = None,
        time: str | int | None = None,
        window: int | Literal["auto"] | None = "auto",
        stride: int | None = None,
        per: Per = "auto",
        smoothing: int | Literal["auto"] = "auto",
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        context: Sequence[str | int] = (),
        calendar: Calendar = False,
        decimal: str | None = None,
        thousands: str | None = None,
        missing: Sequence[str | float] = (),
        dayfirst: bool | None = None,
        dates: Dates = "number",
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.hidden, self.noise, self.frame = hidden, noise, frame
        self.criterion, self.calibration = criterion, calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.patience = learning_rate, patience
        self.id, self.time = id, time
        self.window, self.stride, self.per = window, stride, per
        self.smoothing = smoothing
        self.categorical, self.ignore = categorical, ignore
        self.context, self.calendar = context, calendar
        self.decimal, self.thousands, self.missing = decimal, thousands, missing
        self.dayfirst, self.dates = dayfirst, dates
        self.model = model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _architecture(self, rows: SequenceRows) -> Architecture:
        if self.model is not None:
            return OwnRecurrent(self.model)
        return Recurrent(sizes_of(self.hidden, (64, 64)), self._frame(rows))

    def _training(self, rows: SequenceRows) -> TrainingPlan:
        steps, rate = (500, 4e-3) if rows.window_ else (250, 1e-3)
        return TrainingPlan("denoising", steps, 16, rate, noise=given_noise(self.noise, "auto"))

    def _usual_smoothing(self, rows: SequenceRows) -> int:
        return min(rows.window_ or self._frame(rows), MOST_SMOOTHING)

    def _frame(self, rows: SequenceRows) -> int:
        return whole_or_none(self.frame) or rows.frame()
