"""The detector of sequences by a likelihood: a recurrent normalising flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from upland.data.sequence.clock import Calendar
from upland.data.sequence.reader import Per
from upland.data.sequence.windows import SequenceRows
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import OwnSequenceFlow, SequenceFlow
from upland.detectors.arguments import given_noise, sizes_of, whole_or_none
from upland.detectors.plan import TrainingPlan
from upland.detectors.sequence import SequenceDetector
from upland.io.cells import Dates

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
        noise: standard deviation of the Gaussian noise added to a step in training, in those of a channel;
            "auto" is 0.01.
        criterion: "likelihood", -log p of a step given those before it, in nats, smoothed, and of a sequence
            the mean over its steps; "divergence", the KL of the latents over the past from normal ones,
            two-sided, so that a stuck channel is found; "auto" or None is the divergence.
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
        noise: float | Literal["auto"] = "auto",
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
        self.lags, self.hidden, self.noise = lags, hidden, noise
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
            return OwnSequenceFlow(self.model)
        most = 32 if rows.window_ else min(32, rows.frame())
        return SequenceFlow(sizes_of(self.hidden, (64, 64)), whole_or_none(self.lags), most)

    def _training(self, rows: SequenceRows) -> TrainingPlan:
        return TrainingPlan("likelihood", 500, 16, 3e-3, noise=given_noise(self.noise, NOISE))

    def _usual_smoothing(self, rows: SequenceRows) -> int:
        return rows.window_ or rows.frame()
