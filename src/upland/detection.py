r"""Detectors under scikit-learn's contract, and upland's own face: anomaly scores, p-values, flags.

`fit` holds rows out, fits one member (split) or one for each fold (cross) on the rest, and keeps the
held-out rows' scores. The anomaly score is the mean over the members of the criterion's value; higher is
worse. p-values compare a row with the held-out ones (see `upland.calibration` for what is guaranteed), and
`flag` cuts them at alpha. scikit-learn's users get `score_samples`, the anomaly score with its sign turned,
`decision_function = score_samples - offset_` and `predict`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from upland import __version__
from upland.calibration import GUARANTEES, Calibration, Control, Floats, benjamini_hochberg
from upland.checkpoints import Checkpoint, plan_of
from upland.criteria.points import Criterion, in_blocks
from upland.data.memory import NormalRows, normal_rows
from upland.data.sources import open_source
from upland.data.tables import TableEncoder
from upland.fitting import Member, Recipe, check_columns, fit_member, held_out_rows
from upland.models.base import EnergyModel
from upland.progress import progress_bar

ALPHA = 0.05  # the level that scikit-learn's offset_ and the warnings of coarse p-values refer to


class Assessment(NamedTuple):
    """Anomaly scores and p-values of the same rows, `(N,)` each."""

    anomaly_score: Floats
    p_value: Floats


class Detector(OutlierMixin, BaseEstimator, ABC):
    """What every detector does once it is known how a member is made and judged: abstract."""

    random_state: Any
    contamination: float | Literal["auto"]
    calibration: Literal["auto", "split", "cross"]
    criterion: str
    progress: bool | Literal["auto"]

    @abstractmethod
    def _recipe(self, seed: int) -> Recipe:
        """Check the constructor's arguments and say how members are made."""

    @abstractmethod
    def _criterion(self) -> Criterion:
        """What a model's rows are judged by."""

    # -- fit ---------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learn what is normal, and calibrate on rows held out.

        Args:
            X: `(N, M)` normal rows, N >= 2: an array, a frame, an Arrow table, or the path of a CSV, Parquet
                or Arrow file.
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
        self._check_contamination()
        rows = normal_rows(X)
        folds_of = partial(held_out_rows, rows.n_rows, self._calibration_kind())
        fresh = int(check_random_state(self.random_state).randint(2**31 - 1))
        saved = Checkpoint(checkpoint, plan_of(rows, self._settings())) if checkpoint is not None else None
        recipe = self._recipe(saved.seed(fresh) if saved is not None else fresh)
        folds = folds_of(recipe.generator(0))
        check_columns(rows, recipe)
        members = self._fit_members(rows, folds, recipe, saved)
        known = self._calibrated(members, rows, folds[: len(members)])
        self.members_, self.calibration_, self.criterion_ = members, known, self.criterion
        self._note_columns()
        self.offset_ = self._offset(X)
        self.n_samples_fit_ = rows.n_rows
        self._warn_of_weak_calibration()
        return self

    def _calibration_kind(self) -> Literal["auto", "split", "cross"]:
        if self.calibration not in ("auto", "split", "cross"):
            raise ValueError(f"calibration must be 'auto', 'split' or 'cross', got {self.calibration!r}")
        return self.calibration

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments that decide what is fitted, as plain data."""
        settings: dict[str, Any] = self.get_params(deep=False)
        without = ("progress", "device", "contamination", "criterion")
        return {k: plain_argument(v) for k, v in settings.items() if k not in without}

    def _fit_members(
        self, rows: NormalRows, folds: Sequence[NDArray[np.int64]], recipe: Recipe, saved: Checkpoint | None
    ) -> list[Member]:
        members: list[Member] = []
        with progress_bar(self.progress, len(folds)) as show:
            for number, held_out in enumerate(folds):
                try:
                    member = fit_member(
                        rows,
                        held_out,
                        recipe,
                        number,
                        resume=partial(saved.resume, number) if saved else None,
                        after_look=partial(saved.save, number) if saved else None,
                        progress=partial(show, number),
                    )
                except KeyboardInterrupt:
                    if not members:
                        raise
                    warnings.warn(f"interrupted: {number} of {len(folds)} members are kept", stacklevel=3)
                    break
                members.append(member)
                if member.history.stopped == "interrupted":
                    break
        return members

    def _note_columns(self) -> None:
        schema = self.encoder_.schema_
        self.n_features_in_ = len(schema.inputs)
        if self.encoder_.named:
            self.feature_names_in_ = np.asarray(schema.inputs, dtype=object)
        elif "feature_names_in_" in vars(self):
            del self.feature_names_in_

    def _calibrated(
        self, members: Sequence[Member], rows: NormalRows, folds: Sequence[NDArray[np.int64]]
    ) -> Calibration:
        with warnings.catch_warnings():  # a cell may be missing in the held-out rows alone
            warnings.filterwarnings("ignore", message="missing values")
            scores = [self._judge(m, rows.take(held)) for m, held in zip(members, folds, strict=True)]
        if len(scores) == 1 and self.calibration != "cross":
            return Calibration(scores[0])
        number = np.repeat(np.arange(len(scores)), [len(part) for part in scores])
        return Calibration(np.concatenate(scores), number)

    def _offset(self, X: Any) -> float:
        if self.contamination == "auto":
            return -self.calibration_.threshold(ALPHA)
        return float(np.percentile(self.score_samples(X), 100 * self.contamination))

    def _check_contamination(self) -> None:
        share: Any = self.contamination
        if share != "auto" and not (isinstance(share, Real) and 0 < float(share) <= 0.5):
            raise ValueError(f"contamination must be 'auto' or in (0, 0.5], got {share!r}")

    def _warn_of_weak_calibration(self) -> None:
        known = self.calibration_
        if known.constant:
            warnings.warn(
                f"all {known.size} calibration rows have the same anomaly score ({known.scores[0]:.6g}): "
                "the detector tells nothing apart; are all columns constant?",
                stacklevel=3,
            )
        if known.smallest_p > ALPHA:
            warnings.warn(
                f"p-values are coarse: {known.size} calibration rows allow none below "
                f"{known.smallest_p:.3g}, so that nothing can be flagged at alpha = {ALPHA}; "
                f"it takes at least {round(1 / ALPHA) - 1}",
                stacklevel=3,
            )

    # -- upland's face -----------------------------------------------------------------------------

    @property
    def encoder_(self) -> TableEncoder:
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
        """How anomalous rows are, by the criterion: `(N, M) -> (N,)`, higher = worse.

        Args:
            X: rows with the columns of the fit, in any order; an array, a frame, or the path of a file.

        Raises:
            ValueError: columns are missing or of another kind; the message names them.
        """
        mean: Floats = self._member_scores(X).mean(axis=1)
        return mean

    def p_values(self, X: Any) -> Floats:
        """Conformal p-values of rows: `(N, M) -> (N,)`; `info()["calibration"]["guarantee"]` says what is
        guaranteed.
        """
        return self.assess(X).p_value

    def assess(self, X: Any) -> Assessment:
        """Anomaly scores and p-values at the price of one."""
        self._check_criterion()
        scores = self._member_scores(X)
        mean = scores.mean(axis=1)
        known = self.calibration_
        return Assessment(mean, known.p_values(scores if known.kind == "cross" else mean[:, None]))

    def flag(self, X: Any, alpha: float = ALPHA, control: Control = "false_alarm") -> NDArray[np.bool_]:
        """Which rows are anomalies: `(N, M) -> (N,)` bool.

        Args:
            X: rows with the columns of the fit.
            alpha: the rate that is kept, in (0, 1).
            control: "false_alarm" keeps the share of normal rows flagged at alpha; "fdr" the share of flags
                that are false, over these rows judged together (Benjamini-Hochberg).

        Raises:
            ValueError: alpha or control is none of these.
        """
        self.check_alpha(alpha, control)
        p = self.p_values(X)
        return benjamini_hochberg(p, alpha) if control == "fdr" else p <= alpha

    def check_alpha(self, alpha: float, control: Control = "false_alarm") -> None:
        """Refuse an alpha or control that makes no sense, and warn where the calibration rows cannot resolve
        alpha.
        """
        check_is_fitted(self)
        level: Any = alpha
        if not isinstance(level, Real) or not 0 < float(level) < 1:
            raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
        if control not in ("false_alarm", "fdr"):
            raise ValueError(f"control must be 'false_alarm' or 'fdr', got {control!r}")
        known = self.calibration_
        if known.smallest_p > alpha:
            warnings.warn(
                f"{known.size} calibration rows cannot resolve alpha = {alpha:g}: the smallest p-value is "
                f"{known.smallest_p:.3g}, so nothing is flagged; "
                f"calibrate on at least {int(np.ceil(1 / alpha)) - 1} rows",
                stacklevel=3,
            )

    def calibrate(self, X: Any) -> Self:
        """Renew the calibration on fresh normal rows that the fit has not seen, without fitting again.

        The p-values are then exact (split) for a cross-fitted detector too. A numeric `contamination` keeps
        its offset.
        """
        if self.contamination != "auto":
            self._check_criterion()
        self.calibration_, self.criterion_ = Calibration(self.anomaly_score(X)), self.criterion
        if self.contamination == "auto":
            self.offset_ = self._offset(X)
        self._warn_of_weak_calibration()
        return self

    def info(self) -> dict[str, Any]:
        """What the detector is and what its p-values guarantee, as plain data."""
        self._check_criterion()
        known = self.calibration_
        return {
            "detector": type(self).__name__,
            "rows": self.n_samples_fit_,
            "columns": [
                {"name": column.name, "kind": column.kind} for column in self.encoder_.schema_.columns
            ],
            "encoded_width": self.encoder_.width,
            "settings": {
                k: plain_argument(v)
                for k, v in self.get_params(deep=False).items()
                if k not in ("model", "device", "progress")
            },
            "noise": [member.sigma for member in self.members_],
            "calibration": {
                "kind": known.kind,
                "rows": known.size,
                "smallest_p": known.smallest_p,
                "guarantee": GUARANTEES[known.kind],
            },
            "training": [
                {k: h[k] for k in ("stopped", "best_step", "seconds")}
                | {
                    "held_out_loss": min(h["validation"], default=None),
                    "steps": h["steps"][-1] if h["steps"] else 0,
                }
                for h in self.history_
            ],
            "versions": {"upland": __version__}
            | {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        }

    def restore(self, members: list[Member], calibration: Calibration, offset: float, n_rows: int) -> None:
        """Put a detector back into the state that a fit left it in, as `upland.load` does."""
        self.members_, self.calibration_, self.offset_ = members, calibration, offset
        self.criterion_, self.n_samples_fit_ = self.criterion, n_rows
        self._note_columns()

    def _check_criterion(self) -> None:
        """p-values compare like with like: refuse them where `set_params` has changed the criterion since
        the calibration.
        """
        check_is_fitted(self)
        if self.criterion != self.criterion_:
            raise ValueError(
                f"calibrated for criterion={self.criterion_!r}, but now criterion={self.criterion!r}: "
                "fit again, or with contamination='auto' calibrate on fresh normal rows"
            )

    def _member_scores(self, X: Any) -> Floats:
        """Each member's scores: `(N, K)`."""
        check_is_fitted(self)
        parts = [
            np.stack([self._judge(m, table) for m in self.members_], axis=1) for table in self._tables(X)
        ]
        return np.concatenate(parts)

    def _tables(self, X: Any) -> Iterator[Any]:
        if isinstance(X, str | Path):
            yield from open_source(X).batches(self.encoder_.schema_)
        else:
            yield X

    def _judge(self, member: Member, table: Any) -> Floats:
        rows = torch.from_numpy(member.encoder.transform(table))
        judged: Floats = in_blocks(self._criterion(), member.model, rows, member.sigma).numpy()
        if lost := int(np.isnan(judged).sum()):
            raise FloatingPointError(f"the model gives no number (NaN) for {lost} of {judged.size} rows")
        return judged

    # -- scikit-learn's face -----------------------------------------------------------------------

    def score_samples(self, X: Any) -> Floats:
        """The anomaly score with scikit-learn's sign, higher = more normal: `(N, M) -> (N,)`."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> Floats:
        """`score_samples - offset_`, negative for outliers: `(N, M) -> (N,)`."""
        self._check_criterion()
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """+1 for inliers, -1 for outliers: `(N, M) -> (N,)`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_is_fitted__(self) -> bool:
        return "calibration_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def plain_argument(value: Any) -> Any:
    """A constructor's argument as plain data, equal in every process: numbers of NumPy's as Python's, an
    object as its type's name.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_argument(part) for part in value]
    return str(value) if isinstance(value, nn.Module | torch.device) else type(value).__qualname__
