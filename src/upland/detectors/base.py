"""The estimator contract: `fit` and `calibrate`, for every modality and model.

`fit` holds rows out (or images, or windows of sequences), fits one member (split) or one for each fold
(cross) on the rest, and keeps the held-out scores. What a fitted detector does is in
`upland.detectors.scoring`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from upland.calibration.block_calibration import (
    BlockCalibration,
    Stretches,
    block_calibration,
    memory_of,
)
from upland.calibration.conformal import Calibration, Floats, calibration_of_folds, warn_of_weak
from upland.catalogue import Unit, load
from upland.data.modality import check_modality
from upland.data.reader import Reader
from upland.data.rows import NormalRows, SampledRows
from upland.data.table.frames import held
from upland.detectors.arguments import check_arguments, check_live, device_of, plain_argument, seed_of
from upland.detectors.assessment import Scores
from upland.detectors.baselines import warn_of_gaussians
from upland.detectors.classes import Classes
from upland.detectors.ensemble import Member, Offered, offered_criteria
from upland.detectors.fitting import (
    CALIBRATION_MOST,
    MemberFitter,
    calibration_method,
    held_out_rows,
)
from upland.detectors.host import usual_settings
from upland.detectors.plan import LIVE, FitPlan, TrainingPlan
from upland.detectors.reference_rows import some_of, to_be_kept
from upland.detectors.scoring import ScoringDetector, name_of
from upland.groups.outputs import LEAST_REFERENCE
from upland.io.advice import Advice, Argument
from upland.training.checkpoint import Checkpoint, identity_of
from upland.training.progress import progress_bar

LEAST_ROWS = 12
"""Normal rows or images from which criteria that compare with reference rows have enough of them."""


class Detector(ScoringDetector):
    """A detector that can be fitted and calibrated: abstract, what a modality and a model add to it."""

    calibration: Literal["auto", "split", "cross"]
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    patience: int
    device: str
    progress: bool | Literal["auto"]
    random_state: Any

    @abstractmethod
    def _reader(self) -> Reader:
        """How the constructor's arguments say that data are read."""

    @abstractmethod
    def _plan(self, rows: Any, reader: Reader, method: Literal["split", "cross"], seed: int) -> FitPlan:
        """Resolve the constructor's arguments.

        Args:
            rows: all normal rows.
            reader: how they are read.
            method: of the calibration.
            seed: of everything random.
        """

    # -- fit ---------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learn what is normal, and calibrate on rows held out.

        Args:
            X: normal data, as the class describes them; or the path of a file or folder.
            y: ignored, for scikit-learn's sake.
            checkpoint: a file kept up to date while training; a second call with the same rows and arguments
                goes on from it.

        Returns:
            The detector itself.

        Raises:
            TypeError: X is no data of the modality.
            ValueError: an argument or a column is not as it must be; the message names it. Data of another
                modality; the message names the estimator for them.
            FloatingPointError: the training diverged; the message says what to try.
        """
        return self._fit_whole(X, checkpoint, None)

    def fit_sample(self, X: Any, rows: SampledRows) -> Self:
        """Learn what is normal from a uniform sample of rows that lie elsewhere, and from all of them what
        the columns are.

        Args:
            X: the sample, a table.
            rows: the same, and how an encoder learns from all rows.

        Returns:
            The detector itself.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        return self._fit_whole(X, None, rows)

    def _fit_whole(
        self,
        X: Any,
        checkpoint: str | Path | None,
        sampled: SampledRows | None,
        classes: Classes | None = None,
    ) -> Self:
        fitted = copy.copy(self)  # where this fit fails, an earlier one stays whole
        with usual_settings():
            fitted._fit(X, checkpoint, sampled, classes)
        warn_of_weak(fitted.calibrations_, (fitted.unit_,), fitted.alpha_)
        warn_of_gaussians([member.history for member in fitted.members_])
        self.__dict__ = fitted.__dict__
        return self

    def _fit(
        self,
        X: Any,
        checkpoint: str | Path | None,
        sampled: SampledRows | None = None,
        classes: Classes | None = None,
    ) -> None:
        check_arguments(self.get_params(deep=False), type(self)().get_params(deep=False))
        X = held(X)
        check_modality(X, self.modality, self.family)
        asked = self._reader()
        rows = asked.normal_rows(X) if sampled is None else sampled
        reader = asked.resolved(rows)
        blocks, units = reader.blocks(rows)
        method = calibration_method(units, self.calibration)
        fresh = seed_of(self.random_state)
        settings = self._settings() | ({} if classes is None else {"classes": classes.digest()})
        saved = None if checkpoint is None else Checkpoint(checkpoint, identity_of(rows, settings))
        plan = self._plan(rows, reader, method, saved.seed(fresh) if saved is not None else fresh)
        if classes is not None:
            plan = replace(plan, architecture=plan.architecture.of_classes(classes.names))
        offered = offered_criteria(self.family, self.modality, plan.architecture.model_type)
        plan = replace(plan, criteria=tuple(offered.defaults.items()))
        criteria = offered.chosen(self.criterion)
        self._check_reference_rows(offered, criteria[plan.unit], plan, rows)
        folds = held_out_rows(rows.n_rows, method, plan.stream("folds"), blocks)
        fitter = MemberFitter(rows, plan, device_of(self.device), offered.homes, criteria, classes)
        fitter.check_columns()
        with progress_bar(self.progress, len(folds)) as show:
            found = fitter.fit_all(folds, saved, show)
        cross = method == "cross"
        calibrations = {
            unit: _calibration(unit, [fitted.held_out_scores[unit] for fitted in found], cross)
            for unit in reader.units
        }
        n_all = rows.n_all if isinstance(rows, SampledRows) else rows.n_rows
        stretches = [fitted.stretches for fitted in found if fitted.stretches is not None]
        self._take(plan, [fitted.member for fitted in found], calibrations, n_all)
        self.blocks_ = block_calibration(stretches, cross) if stretches else None
        self.offset_ = self._offset(X)

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments that decide what is fitted, as plain data."""
        settings: dict[str, Any] = self.get_params(deep=False)
        return {name: plain_argument(value) for name, value in settings.items() if name not in LIVE}

    def _offset(self, X: Any) -> float:
        """The threshold in scikit-learn's sign."""
        if self.contamination == "auto":
            return -self.calibration_.threshold(self.alpha_)
        scores = self.score_samples(X)
        return float(np.percentile(scores[np.isfinite(scores)], 100 * self.contamination))

    def _check_reference_rows(self, offered: Offered, name: str, plan: FitPlan, rows: NormalRows) -> None:
        """Refuse, before any training, a criterion that too few rows are kept for."""
        if not load(offered.homes[name]).needs_rows:
            return
        if plan.keep_rows < LEAST_REFERENCE or rows.n_rows < LEAST_ROWS:
            raise ValueError(
                Advice(
                    f"criterion {name!r} compares with normal {plan.unit}s kept with the model, "
                    "and it takes ",
                    Argument("keep_rows"),
                    f" of at least {LEAST_REFERENCE} and {LEAST_ROWS} normal {plan.unit}s: use ",
                    Argument("criterion", "likelihood"),
                    " to do without",
                )
            )

    def _with_lengths(self, plan: TrainingPlan) -> TrainingPlan:
        """A training by default with what the user says of its length and rate."""
        return replace(
            plan,
            epochs=None if self.epochs is None else int(self.epochs),
            batch_size=int(self.batch_size or plan.batch_size),
            learning_rate=plan.learning_rate if self.learning_rate is None else float(self.learning_rate),
            patience=int(self.patience),
        )

    # -- calibrate ---------------------------------------------------------------------------------

    def calibrate(self, X: Any) -> Self:
        """Renew the calibration on fresh normal rows that the fit has not seen, without fitting again.

        The p-values are then exact (split) for a cross-fitted detector too. A numeric `contamination` keeps
        its offset. Where the fit cut series into windows, these are cut likewise, and the p-values of whole
        sequences are by the windows.

        Args:
            X: normal data like those of the fit.

        Raises:
            ValueError: columns are missing or of another kind; an argument that may change after a fit is
                not as it must be; with a numeric `contamination`, the criterion has changed.
        """
        check_is_fitted(self)
        check_live(self.get_params(deep=False))
        X = held(X)
        if self.contamination != "auto":
            self._check_criterion()
        with usual_settings():
            scores = {unit: self._scores(X, unit) for unit in self.calibrations_}
            renewed: dict[Unit, Calibration] = {
                unit: _calibration(unit, [found.values.mean(axis=1)], cross=False)
                for unit, found in scores.items()
            }
            blocks = _blocks(scores["step"]) if "step" in scores else None
            members = [self._with_held_out(member, X) for member in self.members_]
        self.members_, self.calibrations_, self._tester = members, renewed, None
        self.blocks_ = blocks
        self.criterion_ = name_of(self._names())
        if self.contamination == "auto":
            self.offset_ = self._offset(X)
        warn_of_weak(self.calibrations_, (self.unit_,), self.alpha_)
        return self

    def _with_held_out(self, member: Member, X: Any) -> Member:
        """The member with some fresh normal rows to compare groups with."""
        if member.held_out is None:
            return member
        rows = self.plan_.reader.normal_rows(X)
        generator = np.random.default_rng(0)
        some = some_of(np.arange(rows.n_rows), self.plan_.keep_rows, member.encoder.width, generator)
        held_out = to_be_kept(member.encoder, self.encode(member.encoder, rows.take(some)))
        return replace(member, held_out=held_out)


def _calibration(unit: Unit, scores: Sequence[Floats], cross: bool) -> Calibration:
    """The calibration from the held-out scores of each fold; of steps some thousands, evenly spread."""
    return calibration_of_folds(scores, cross, CALIBRATION_MOST if unit == "step" else None)


def _blocks(found: Scores) -> BlockCalibration:
    """The calibration of episodes from the scores of the steps of fresh series."""
    scores, lengths = found.values.mean(axis=1), found.piece.lengths
    return block_calibration([Stretches(scores, lengths, memory_of(scores, lengths))], cross=False)
