r"""Detectors: upland's own face, anomaly scores, p-values, flags.

`fit` holds rows out (or images, or windows of sequences), fits one member (split) or one for each fold
(cross) on the rest, and keeps the held-out scores. The anomaly score is the mean over the members of the
criterion's value; higher is worse. p-values compare new data with the held-out ones (see `upland.calibration.conformal`
for what is guaranteed), and `flag` cuts them at alpha. scikit-learn's users get the other face of
`upland.detectors.contract`. What differs between tables, sequences and images stands in `upland.detectors.kinds`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from upland.calibration.conformal import Calibration, Floats, calibration_of_folds, warn_of_weak
from upland.calibration.false_discovery import Control, benjamini_hochberg
from upland.data.encoder import Encoder
from upland.data.encoder import Kind as KindName
from upland.data.rows import NormalRows
from upland.detectors.arguments import check_rate, plain_argument
from upland.detectors.contract import OutlierContract
from upland.detectors.fitting import (
    CALIBRATION_MOST,
    Member,
    Recipe,
    check_columns,
    fit_members,
    held_out_rows,
    with_reserves,
)
from upland.detectors.grouping import GroupContract
from upland.detectors.held_out import calibrated, with_reserve
from upland.detectors.information import told
from upland.detectors.kinds import Kind, Unit, kind_of
from upland.detectors.results import Assessment, Scored
from upland.detectors.sequencing import Series
from upland.detectors.stream import NextScore, Stream, advance, begin, one_row
from upland.models.base import EnergyModel
from upland.training.checkpoint import Checkpoint, plan_of
from upland.training.progress import progress_bar

ALPHA = 0.05  # the level that scikit-learn's offset_ and the warnings of coarse p-values refer to
LIVE = ("criterion", "contamination", "per", "id", "time", "device", "progress")
"""Arguments that hold as `set_params` leaves them; the others as the fit found them."""


class Detector(OutlierContract, GroupContract):
    """What every detector does once it is known how a member is made: abstract."""

    random_state: Any
    contamination: float | Literal["auto"]
    calibration: Literal["auto", "split", "cross"]
    criterion: str | None
    kind: str
    time: Any
    id: Any
    progress: bool | Literal["auto"]
    keep_rows: int
    kind_: KindName

    @abstractmethod
    def _kind(self, name: KindName) -> Kind:
        """How the constructor's arguments read a kind of data."""

    @abstractmethod
    def _recipe(self, seed: int, kind: Kind) -> Recipe:
        """Check the constructor's arguments and say how members are made."""

    @abstractmethod
    def build_model(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A model for what an encoder makes of the data, with fresh weights.

        Args:
            encoder: fitted.
            generator: source of the weights of upland's own model.
        """

    def _settle(self, rows: NormalRows) -> None:
        """Choose what goes by the normal rows as a whole, before any is held out; nothing by default."""

    # -- fit ---------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learn what is normal, and calibrate on rows held out.

        Args:
            X: normal data. A table `(N, M)`, N >= 2: an array, a frame, an Arrow table. Sequences: an array
                `(N, T, D)`, a list of arrays `(T_i, D)`, a long frame with a time column, one long series
                `(T, D)` with kind="sequence". Images: an array `(N, H, W)`, `(N, H, W, C)` or
                `(N, C, H, W)`, a folder. Or the path of a file: CSV, Parquet, Arrow.
            y: ignored, for scikit-learn's sake.
            checkpoint: a file kept up to date while training; a second call with the same rows and arguments
                goes on from it.

        Returns:
            The detector itself.

        Raises:
            TypeError: X is no table of values.
            ValueError: an argument or a column is not as it must be; the message names it.
            FloatingPointError: the training diverged; the message says what to try.
        """
        before = dict(vars(self))
        try:
            self._fit(X, checkpoint)
            warn_of_weak(self.calibrations_, (self.unit_,), ALPHA)
        except BaseException:  # an earlier fit stays whole
            self.__dict__ = before
            raise
        return self

    def _fit(self, X: Any, checkpoint: str | Path | None) -> None:
        self._check_contamination()
        how = self._calibration_kind()
        name = kind_of(X, self.kind, self.time, self.id)
        rows = self._kind(name).normal_rows(X)
        self._settle(rows)
        kind = self._kind(name)
        fresh = int(check_random_state(self.random_state).randint(2**31 - 1))
        saved = Checkpoint(checkpoint, plan_of(rows, self._settings())) if checkpoint is not None else None
        recipe = self._recipe(saved.seed(fresh) if saved is not None else fresh, kind)
        folds = held_out_rows(rows.n_rows, how, recipe.generator(0), *kind.blocks(rows))
        check_columns(rows, recipe)
        with progress_bar(self.progress, len(folds)) as show:
            members = with_reserves(fit_members(rows, folds, recipe, saved, show), rows, folds, recipe)
        by = self._criterion(kind)
        known = calibrated(kind, by, members, rows, folds, self.calibration == "cross")
        self.kind_, self.members_, self.calibrations_, self.criterion_ = name, members, known, by
        self.unit_, self.params_ = kind.unit_of_rows(rows), self.get_params(deep=False)
        self._note_columns()
        self.offset_ = self._offset(X)
        self.n_samples_fit_ = rows.n_rows

    def _calibration_kind(self) -> Literal["auto", "split", "cross"]:
        if self.calibration not in ("auto", "split", "cross"):
            raise ValueError(f"calibration must be 'auto', 'split' or 'cross', got {self.calibration!r}")
        return self.calibration

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments that decide what is fitted, as plain data."""
        settings: dict[str, Any] = self.get_params(deep=False)
        without = ("progress", "device", "contamination", "criterion")
        return {k: plain_argument(v) for k, v in settings.items() if k not in without}

    def _note_columns(self) -> None:
        inputs = self.encoder_.inputs
        self.n_features_in_ = len(inputs)
        if self.encoder_.named:
            self.feature_names_in_ = np.asarray(inputs, dtype=object)
        elif "feature_names_in_" in vars(self):
            del self.feature_names_in_

    def _offset(self, X: Any) -> float:
        """The threshold in scikit-learn's sign."""
        if self.contamination == "auto":
            return -self.calibration_.threshold(ALPHA)
        known = self.score_samples(X)
        return float(np.percentile(known[np.isfinite(known)], 100 * self.contamination))

    def _check_contamination(self) -> None:
        share: Any = self.contamination
        if share != "auto" and not (isinstance(share, Real) and 0 < float(share) <= 0.5):
            raise ValueError(f"contamination must be 'auto' or in (0, 0.5], got {share!r}")

    # -- upland's face -----------------------------------------------------------------------------

    @property
    def calibration_(self) -> Calibration:
        """The held-out scores, and the p-values that follow; of what the normal data are units of."""
        return self.calibrations_[self.unit_]

    @property
    def encoder_(self) -> Encoder:
        """The (first member's) encoder: names, kinds and scaling of the columns."""
        return self.members_[0].encoder

    @property
    def models_(self) -> list[EnergyModel]:
        """The members' models."""
        return [member.model for member in self.members_]

    @property
    def history_(self) -> list[dict[str, Any]]:
        """The members' losses, and why each training stopped."""
        return [member.history.to_json() for member in self.members_]

    def anomaly_score(self, X: Any) -> Floats:
        """How anomalous the data are, by the criterion: `(N, ...) -> (N,)`, higher = worse.

        Args:
            X: data like those of the fit, columns in any order; or the path of a file or folder. Of a long
                series or a long frame every time step has a score, in the user's order; with `per="step"`
                so has every step of `(N, T, D)`, as `(N, T)` with NaN behind the end of a sequence.

        Raises:
            ValueError: columns are missing or of another kind; the message names them.
        """
        scored = self._scored(X)
        return scored.arrange(scored.values.mean(axis=1))

    def p_values(self, X: Any) -> Floats:
        """Conformal p-values, arranged as the anomaly scores; `info()["calibration"]["guarantee"]` says what
        is guaranteed.
        """
        return self.assess(X).p_value

    def assess(self, X: Any) -> Assessment:
        """Anomaly scores and p-values at the price of one."""
        return self._assessed(X)[0]

    def _assessed(self, X: Any) -> tuple[Assessment, Unit]:
        self._check_criterion()
        scored = self._scored(X)
        mean = scored.values.mean(axis=1)
        known = self.calibrations_[scored.unit]
        p = known.p_values(scored.values if known.method == "cross" else mean[:, None])
        return Assessment(scored.arrange(mean), scored.arrange(p)), scored.unit

    def flag(self, X: Any, alpha: float = ALPHA, control: Control = "false_alarm") -> NDArray[np.bool_]:
        """Which are anomalies: bool, arranged as the anomaly scores.

        Args:
            X: data like those of the fit.
            alpha: the rate that is kept, in (0, 1).
            control: "false_alarm" keeps the share of normal rows flagged at alpha; "fdr" the share of flags
                that are false, over these rows judged together (Benjamini-Hochberg).

        Raises:
            ValueError: alpha or control is none of these.
        """
        check_is_fitted(self)
        check_rate(alpha, control)
        (_, p), unit = self._assessed(X)
        self.check_alpha(alpha, control, unit)
        if control == "fdr":
            there = np.isfinite(p)  # behind the end of a sequence there is none
            flags = np.zeros(p.shape, dtype=bool)
            flags[there] = benjamini_hochberg(p[there], alpha)
            return flags
        return p <= alpha

    def check_alpha(self, alpha: float, control: Control = "false_alarm", unit: Unit | None = None) -> None:
        """Refuse an alpha or control that makes no sense, and warn where the calibration of such units (the
        fit's if left out) cannot resolve alpha.
        """
        check_is_fitted(self)
        check_rate(alpha, control)
        unit = unit or self.unit_
        known = self.calibrations_[unit]
        if known.smallest_p > alpha:
            warnings.warn(
                f"{known.size} calibration {unit}s cannot resolve alpha = {alpha:g}: "
                f"the smallest p-value is {known.smallest_p:.3g}, so nothing is flagged; "
                f"calibrate on at least {int(np.ceil(1 / alpha)) - 1} {unit}s",
                stacklevel=3,
            )

    def score_next(self, state: Stream | None, x_t: Any) -> NextScore:
        """Score one more step of a series, in constant time: equal to the pass over the series so far.

        Args:
            state: what the last call returned; None before the first step.
            x_t: the values of one step: `(D,)`, a mapping from column to value, or a frame of one row.

        Raises:
            TypeError: the detector was not fitted on sequences.
            ValueError: columns are missing or of another kind, or there is more than one step.

        Returns:
            The step's anomaly score and p-value, and the state to give to the next call.
        """
        self._check_criterion()
        kind = self.data_kind()
        if not isinstance(kind, Series):
            raise TypeError(f"score_next is for sequences; this detector was fitted on kind={self.kind_!r}")
        known = self.calibrations_["step"]
        stream = begin(self.members_, kind, self.criterion_) if state is None else state
        return advance(stream, self.members_, known, one_row(x_t))

    def calibrate(self, X: Any) -> Self:
        """Renew the calibration on fresh normal rows that the fit has not seen, without fitting again.

        The p-values are then exact (split) for a cross-fitted detector too. A numeric `contamination` keeps
        its offset. Where the fit cut series into windows, these are cut likewise, and the p-values of whole
        sequences are by the windows.
        """
        check_is_fitted(self)
        if self.contamination != "auto":
            self._check_criterion()
        renewed: dict[Unit, Calibration] = {}
        for unit in self.calibrations_:
            scores = self._scored(X, unit).values.mean(axis=1)
            most = CALIBRATION_MOST if unit == "step" else None
            renewed[unit] = calibration_of_folds([scores], cross=False, most=most)
        self.members_ = [
            with_reserve(self.data_kind(), m, X, self.fitted_params()["keep_rows"]) for m in self.members_
        ]
        fine = [u for u, known in self.calibrations_.items() if u != self.unit_ and known.smallest_p <= ALPHA]
        self.calibrations_, self.criterion_ = renewed, self._criterion(self.data_kind())
        if self.contamination == "auto":
            self.offset_ = self._offset(X)
        warn_of_weak(self.calibrations_, (self.unit_, *fine), ALPHA)
        return self

    def info(self) -> dict[str, Any]:
        """What the detector is and what its p-values guarantee, as plain data."""
        self._check_criterion()
        return {"detector": type(self).__name__, "kind": self.kind_, "criterion": self.criterion_} | told(
            self.fitted_params(),
            self.members_,
            self.history_,
            self.calibration_,
            self.unit_,
            self.n_samples_fit_,
        )

    def restore(
        self,
        kind: KindName,
        unit: Unit,
        members: list[Member],
        calibrations: Mapping[Unit, Calibration],
        offset: float,
        n_rows: int,
    ) -> None:
        """Put a detector back into the state that a fit left it in, as `upland.load` does."""
        self.kind_, self.unit_ = kind, unit
        self.members_, self.calibrations_, self.offset_ = members, dict(calibrations), offset
        self.criterion_, self.n_samples_fit_ = self._criterion(self._kind(kind)), n_rows
        self.params_ = self.get_params(deep=False)
        self._note_columns()

    def fitted_params(self) -> dict[str, Any]:
        """The constructor's arguments that hold: as the fit found them, but for those that may change later
        (criterion, contamination, per, id, time, device, progress).
        """
        check_is_fitted(self)
        now: dict[str, Any] = self.get_params(deep=False)
        return {name: value if name in LIVE else self.params_[name] for name, value in now.items()}

    def scores_and_offset(self, X: Any) -> tuple[Floats, float]:
        """The anomaly scores, and `offset_`, or the threshold of other units than the fit's (steps for
        sequences), which is that of the calibration at alpha = 0.05 whatever `contamination` is.

        Raises:
            ValueError: the criterion has changed since the calibration.
        """
        self._check_criterion()
        scored = self._scored(X)
        known = self.calibrations_[scored.unit]
        offset = self.offset_ if scored.unit == self.unit_ else -known.threshold(ALPHA)
        return scored.arrange(scored.values.mean(axis=1)), offset

    def _check_criterion(self) -> None:
        """p-values compare like with like: refuse them where `set_params` has changed the criterion since
        the calibration.
        """
        check_is_fitted(self)
        now = self._criterion(self.data_kind())
        if now != self.criterion_:
            raise ValueError(
                f"calibrated for criterion={self.criterion_!r}, but now criterion={now!r}: "
                "fit again, or with contamination='auto' calibrate on fresh normal rows"
            )

    def judged_by(self, unit: Unit) -> str:
        """The criterion of such units' anomaly scores, as `set_params` has left it."""
        kind = self.data_kind()
        return kind.by(self._criterion(kind), unit)

    def data_kind(self) -> Kind:
        """How the data of the fit are read."""
        return self._kind(self.kind_)

    def _criterion(self, kind: Kind) -> str:
        """What data are judged by, as the user says it; "auto" where that differs by unit."""
        if self.criterion in (None, "auto"):
            found = {kind.by("auto", unit) for unit in kind.units}
            return found.pop() if len(found) == 1 else "auto"
        if self.criterion not in kind.criteria:
            known = ", ".join(map(repr, kind.criteria))
            raise ValueError(f"criterion must be 'auto' or one of {known}, got {self.criterion!r}")
        return self.criterion

    def _scored(self, X: Any, unit: Unit | None = None) -> Scored:
        """Each member's scores; of a unit that is named, data read as those that calibrate."""
        check_is_fitted(self)
        kind = self.data_kind()
        by = self._criterion(kind)
        parts = []
        read = kind.pieces(X, self.encoder_) if unit is None else kind.fresh(X, self.encoder_, unit)
        for piece in read:
            of = unit or kind.unit(piece)
            parts.append(np.stack([kind.judge(kind.by(by, of), m, piece, of) for m in self.members_], axis=1))
        return Scored(np.concatenate(parts), of, partial(kind.arrange, piece=piece, unit=of))
