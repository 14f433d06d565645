"""The detector of sequences by a likelihood: a recurrent normalising flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from upland.calibration.false_discovery import Control
from upland.criteria.sequence import EncodedSequences
from upland.criteria.step_latents import latent_steps
from upland.data.sequence.clock import Calendar
from upland.data.sequence.container import Indices, Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.reader import Per, SequenceReader
from upland.data.sequence.windows import SequenceRows
from upland.detectors.architecture import Architecture
from upland.detectors.arguments import sizes_of, whole_or_none
from upland.detectors.ensemble import Member
from upland.detectors.own_modules import OwnSequenceFlow
from upland.detectors.plan import TrainingPlan
from upland.detectors.recurrent_flows import SequenceFlow
from upland.detectors.sequence import SequenceDetector
from upland.groups.labels import grouped, is_names, joined_labels, labels_in
from upland.groups.outputs import LEAST_REFERENCE
from upland.groups.stretches import Steps, StretchTester, numbered
from upland.groups.verdicts import GroupVerdicts
from upland.io.advice import Advice, Argument
from upland.io.cells import Dates
from upland.models.recurrent_flow import RecurrentFlow

NOISE = 0.01
"""Standard deviation of the training noise, in those of a channel."""


class SequenceFlowDetector(SequenceDetector):
    """Anomaly detection in sequences by a recurrent normalising flow: the likelihood of each step given the
    past, and latents that are N(0, I).

    Normal data are an array `(N, T, D)`, a list of arrays `(T_i, D)`, a long frame with a time column, one
    long series `(T, D)`, or the path of a file.

    Args:
        lags: steps of the window that a step is conditioned on beside the recurrent state; "auto" is 32 for
            a long series and a quarter of a whole sequence, and of many channels fewer.
        hidden: units of each layer of the net of the past; "auto" is (64, 64).
        criterion: "likelihood", -log p of a step given those before it, in nats, smoothed, and of a sequence
            the mean over its steps; "divergence", the KL of the latents over the past from normal ones,
            two-sided, so that a stuck channel is found; "likelihood_divergence", the sum of the two, in nats
            beyond normal ones; "auto" or None is the divergence for whole sequences and the sum for steps.
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
        smoothing: steps, about, that the score of a step in a long series is smoothed over; with 1 it falls
            back at once after a fault; "auto" is a window of the training.
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
        keep_rows: steps of each of two sorts whose latents are kept with the model at most, for groups; 0
            keeps none.
        model: a `RecurrentFlow` of your own, or a function that makes one for a width D; None is upland's
            own.
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
        >>> detector = upland.SequenceFlowDetector(random_state=0, epochs=2).fit(waves)
        >>> detector.anomaly_score(waves[:3]).shape
        (3,)
    """

    family: ClassVar[str] = "flow"

    def __init__(
        self,
        lags: int | Literal["auto"] = "auto",
        hidden: Sequence[int] | Literal["auto"] = "auto",
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
        keep_rows: int = 20_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.lags, self.hidden = lags, hidden
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
        self.keep_rows, self.model = keep_rows, model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _architecture(self, rows: SequenceRows) -> Architecture:
        if self.model is not None:
            return OwnSequenceFlow(self.model)
        most = 32 if rows.window_ else min(32, rows.frame())
        return SequenceFlow(sizes_of(self.hidden, (64, 64)), whole_or_none(self.lags), most)

    def _training(self, rows: SequenceRows) -> TrainingPlan:
        return TrainingPlan("likelihood", 300, 16, 3e-3, noise=NOISE)

    def _usual_smoothing(self, rows: SequenceRows) -> int:
        return rows.window_ or rows.frame()

    def _keep_rows(self) -> int:
        return int(self.keep_rows)

    # -- groups ------------------------------------------------------------------------------------

    def _group_verdicts(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        """By the latents of the groups' steps, and those held out from the first member."""
        tester = self._stretch_tester()
        tester.check(statistic)
        encoder, model = self.encoder_, self.members_[0].model
        assert isinstance(encoder, SequenceEncoder)
        assert isinstance(model, RecurrentFlow)
        piece = next(iter(self.plan_.reader.pieces(X, encoder)))
        per_step = self.plan_.reader.unit(piece) == "step"
        names, numbers = group_numbers(encoder, piece, groups, per_step)
        x = self.encode(encoder, piece)
        if not per_step:
            x, numbers = _in_order(x, numbers)
        runs = torch.from_numpy(numbered(x.owners, numbers))
        steps = replace(latent_steps(model, x), runs=runs)
        return tester.test(steps, numbers, names, alpha, control, statistic, reasons)

    def _stretch_tester(self) -> StretchTester:
        """Against the steps kept with the first member; raises ValueError where none are."""
        member, encoder = self.members_[0], self.encoder_
        assert isinstance(encoder, SequenceEncoder)
        if member.standard is None or member.held_out is None:
            text = "no normal steps are kept to compare groups with: fit with "
            raise ValueError(Advice(text, Argument("keep_rows"), " above 0"))
        standard, held_out = (Steps.from_tensor(kept) for kept in (member.standard, member.held_out))
        if (kept := min(len(member.standard), len(member.held_out))) < LEAST_REFERENCE:
            text = f"{kept} normal steps are kept with the model, too few to compare groups with: fit with "
            raise ValueError(Advice(text, Argument("keep_rows"), f" of at least {LEAST_REFERENCE}"))
        whole = self.unit_ == "sequence" and self._window() is None
        columns = torch.from_numpy(encoder.slots)
        return StretchTester(standard, held_out, encoder.column_names, columns, whole)

    def _with_held_out(self, member: Member, X: Any) -> Member:
        """The member with the latents of fresh normal steps to compare groups with."""
        if member.held_out is None:
            return member
        assert isinstance(member.model, RecurrentFlow)
        assert isinstance(member.encoder, SequenceEncoder)
        x = self.encode(member.encoder, next(iter(self.plan_.reader.pieces(X, member.encoder))))
        runs = torch.from_numpy(numbered(x.owners, most=self._window()))
        steps = replace(latent_steps(member.model, x), runs=runs)
        return replace(member, held_out=steps.kept(self.plan_.keep_rows).to_tensor())

    def _window(self) -> int | None:
        """Steps of the windows that series were cut into; None where they were not."""
        reader = self.plan_.reader
        assert isinstance(reader, SequenceReader)
        return reader.window if isinstance(reader.window, int) else None


def _in_order(x: EncodedSequences, numbers: Indices) -> tuple[EncodedSequences, Indices]:
    """Sequences in an order that goes by what they hold, with the number of each step's group: a verdict does
    not depend on the order in which they are given.
    """
    starts, codes = x.starts, x.codes(0, int(x.lengths.sum()))
    parts = [codes[start : start + length] for start, length in zip(starts, x.lengths, strict=True)]
    order = sorted(range(len(parts)), key=lambda row: parts[row].numpy().tobytes())
    steps = np.concatenate([np.arange(starts[row], starts[row] + x.lengths[row]) for row in order])
    moved = codes[torch.from_numpy(steps)]
    return EncodedSequences(lambda start, stop: moved[start:stop], x.lengths[order]), numbers[steps]


def group_numbers(
    encoder: SequenceEncoder, piece: Sequences, groups: Any, per_step: bool
) -> tuple[NDArray[Any], Indices]:
    """The groups in order of first appearance, and the number of each step's, sequence after sequence.

    Args:
        encoder: of the detector.
        piece: the sequences.
        groups: a label for each step in the user's order, or for each sequence; the name of a column, or a
            tuple of names.
        per_step: whether a label is of a step.

    Raises:
        ValueError: labels and steps or sequences differ in number, one has no label, or there is no such
            column.
    """
    by = (groups,) if isinstance(groups, str) else groups if is_names(groups) else None
    if by is None and not per_step:
        names, numbers = grouped(groups, piece.n_sequences)
        return names, np.repeat(numbers, piece.lengths)
    if by is not None:
        groups = step_labels(encoder, piece, by)
    names, numbers = grouped(groups, piece.n_steps)
    return names, numbers if piece.order is None else numbers[np.argsort(np.argsort(piece.order))]


def step_labels(encoder: SequenceEncoder, piece: Sequences, by: Sequence[str]) -> NDArray[Any]:
    """The group of each step in the user's order, `(S,)`, by columns.

    Args:
        encoder: of the detector.
        piece: the sequences.
        by: names of columns; the id of the fit is one.

    Raises:
        ValueError: one is a feature, or there is no such column.
    """
    features = {used["name"] for used in encoder.describe()}
    columns = [
        [piece.ids[owner] for owner in np.repeat(np.arange(piece.n_sequences), piece.lengths)]
        if name == encoder.id and piece.ids is not None
        else labels_in(piece.table, name, features)
        for name in by
    ]
    labels = np.empty(piece.n_steps, dtype=object)
    labels[:] = joined_labels(columns)
    return labels if piece.order is None else labels[np.argsort(piece.order)]
