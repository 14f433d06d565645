"""A fitted detector: anomaly scores, p-values, flags, verdicts on groups.

The anomaly score is the mean over the members of the criterion's value; higher = more anomalous. p-values
compare new data with held-out normal data (see `upland.calibration.conformal` for what is guaranteed), and
`flag` cuts them at alpha. scikit-learn's methods are those of `upland.detectors.contract`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from upland.calibration.block_calibration import BlockCalibration
from upland.calibration.conformal import Calibration, Floats, warn_of_resolution
from upland.calibration.false_discovery import ALPHA, Control, benjamini_hochberg, check_rate
from upland.catalogue import Modality, Unit
from upland.criteria.base import Criterion, finite
from upland.data.encoder import Encoder
from upland.data.modality import check_modality
from upland.detectors.arguments import frozen
from upland.detectors.assessment import Assessment, MemberAssessment, Observer, Scores, assessed
from upland.detectors.contract import OutlierContract
from upland.detectors.ensemble import Member, Offered, offered_criteria
from upland.detectors.host import usual_settings
from upland.detectors.information import description
from upland.detectors.plan import LIVE, FitPlan
from upland.groups.tester import GroupTester
from upland.groups.verdicts import GroupVerdicts
from upland.models.base import EnergyModel


class ScoringDetector(OutlierContract):
    """What a detector does once it is fitted: abstract.

    Attributes:
        family: of the model, a name of `upland.catalogue.FAMILIES`.
        modality: of the data.
        alpha_: the rate that flags keep where none is given, see `set_alpha`.
        blocks_: the calibration of episodes of steps; None for other modalities, and of older files.
    """

    family: ClassVar[str]
    modality: ClassVar[Modality]

    criterion: str | None
    contamination: float | Literal["auto"]

    plan_: FitPlan
    members_: list[Member]
    calibrations_: dict[Unit, Calibration]
    blocks_: BlockCalibration | None = None
    _tester: GroupTester | None = None
    params_: dict[str, Any]
    criterion_: str
    unit_: Unit
    alpha_: float
    offset_: float
    n_samples_fit_: int
    offered_: Offered

    def encode(self, encoder: Any, piece: Any) -> Any:
        """New data as a member's criteria take them: encoded rows `(N, D)` or images `(N, C, H, W)`.

        Args:
            encoder: of the member.
            piece: as `plan_.reader.pieces` gives them.
        """
        return torch.from_numpy(encoder.transform(piece))

    def encodings(self, piece: Any) -> Callable[[Encoder], Any]:
        """What gives the codes of new data by the encoder of each member.

        Args:
            piece: as `plan_.reader.pieces` gives them.
        """
        return partial(self.encode, piece=piece)

    # -- the state after a fit ----------------------------------------------------------------------

    def _take(
        self, plan: FitPlan, members: list[Member], calibrations: Mapping[Unit, Calibration], n_rows: int
    ) -> None:
        """Put on what a fit made."""
        self.plan_, self.members_, self.calibrations_ = plan, members, dict(calibrations)
        self.params_ = {name: frozen(value) for name, value in self.get_params(deep=False).items()}
        self.unit_, self.n_samples_fit_ = plan.unit, n_rows
        self._tester, self.alpha_ = None, ALPHA
        offered = offered_criteria(self.family, self.modality, plan.architecture.model_type)
        self.offered_ = Offered(offered.homes, dict(plan.criteria))
        self.criterion_ = name_of(self._names())
        self.n_features_in_ = len(self.encoder_.inputs)
        if self.encoder_.named:
            self.feature_names_in_ = np.asarray(self.encoder_.inputs, dtype=object)
        else:
            self.__dict__.pop("feature_names_in_", None)
        self._is_fitted = True

    def restore(
        self,
        plan: FitPlan,
        members: list[Member],
        calibrations: Mapping[Unit, Calibration],
        offset: float,
        n_rows: int,
    ) -> None:
        """Put a detector back into the state that a fit left it in, as `upland.load` does.

        Args:
            plan: of the fit.
            members: as fitted.
            calibrations: of each unit.
            offset: scikit-learn's.
            n_rows: rows of the fit.
        """
        self._take(plan, members, calibrations, n_rows)
        self.offset_ = offset

    # -- what it is scored by ----------------------------------------------------------------------

    def criterion_of(self, unit: Unit) -> str:
        """The criterion of such units' anomaly scores, as `set_params` has left it.

        Args:
            unit: what one score is of.

        Raises:
            ValueError: there is no such criterion of this model.
        """
        self.check_fitted()
        if self.criterion is None or (isinstance(self.criterion, str) and self.criterion == "auto"):
            return self.offered_.defaults[unit]
        return self._names()[unit]

    def _names(self) -> dict[Unit, str]:
        return self.offered_.chosen(self.criterion)

    def fitted_criterion(self, member: Member, unit: Unit) -> Criterion[Any, Any]:
        """The criterion of such units, fitted on a member's reference.

        Args:
            member: of this detector.
            unit: what one score is of.
        """
        name = self.criterion_of(unit)
        return member.criteria.get((name, unit)) or member.criterion(name, unit, self.offered_.homes[name])

    def _check_criterion(self) -> None:
        """p-values compare like with like: refuse them where `set_params` has changed the criterion since
        the calibration.
        """
        self.check_fitted()
        now = name_of(self._names())
        if now != self.criterion_:
            raise ValueError(
                f"calibrated for criterion={self.criterion_!r}, but now criterion={now!r}: "
                "fit again, or with contamination='auto' calibrate on fresh normal rows"
            )

    def check_fitted(self) -> None:
        """Refuse a detector that is not fitted; raises `sklearn.exceptions.NotFittedError`."""
        if not self._is_fitted:
            check_is_fitted(self)

    # -- scores, p-values, flags -------------------------------------------------------------------

    @property
    def calibration_(self) -> Calibration:
        """The held-out scores and the p-values that follow, of the unit of the fit."""
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
        """How anomalous the data are, by the criterion: `(N, ...) -> (N,)`, higher = more anomalous.

        Args:
            X: data like those of the fit, columns in any order; or the path of a file or folder. Of a long
                series or a long frame every time step has a score, in the user's order; with `per="step"`
                so has every step of `(N, T, D)`, as `(N, T)` with NaN behind the end of a sequence.

        Raises:
            ValueError: columns are missing or of another kind; the message names them. Data of another
                modality; the message names the estimator for them.
        """
        with usual_settings():
            scores = self._scores(X)
            return scores.reader.arrange(scores.values.mean(axis=1), scores.piece, scores.unit)

    def p_values(self, X: Any) -> Floats:
        """Conformal p-values, arranged as the anomaly scores; `info()["calibration"]["guarantee"]` says what
        is guaranteed.
        """
        return self.assess(X).p_value

    def assess(self, X: Any) -> Assessment:
        """Anomaly scores and p-values at the price of one."""
        return self.assess_members(X).assessment

    def assess_members(self, X: Any, observe: Observer | None = None) -> MemberAssessment:
        """The same with what a change monitor takes in: each fold's values and the rows' segments; `observe`
        is called with what the first member encodes of each piece of the data.
        """
        self._check_criterion()
        with usual_settings():
            scores = self._scores(X, None, observe)
            return assessed(scores, self.calibrations_[scores.unit])

    def _scores(self, X: Any, unit: Unit | None = None, observe: Observer | None = None) -> Scores:
        """Each member's scores; of a unit that is named, data read as those that calibrate."""
        self.check_fitted()
        try:
            return self._read_scores(X, unit, observe)
        except (TypeError, ValueError):
            check_modality(X, self.modality, self.family)
            raise

    def _read_scores(self, X: Any, unit: Unit | None, observe: Observer | None) -> Scores:
        reader, encoder = self.plan_.reader, self.encoder_
        read = reader.calibration_pieces(X, encoder, unit) if unit else reader.pieces(X, encoder)
        parts, of, last = [], unit or self.unit_, None
        for piece in read:
            of, last = unit or reader.unit(piece), piece
            found, encode = [], self.encodings(piece)
            for member in self.members_:
                x = encode(member.encoder)
                found.append(self.fitted_criterion(member, of).score(x))
                if observe is not None and len(found) == 1:
                    observe(x)
            parts.append(np.stack(found, axis=1))
        values = np.concatenate(parts)
        return Scores(finite(values) if np.isnan(values).any() else values, of, reader, last)

    def flag(self, X: Any, alpha: float | None = None, control: Control = "false_alarm") -> NDArray[np.bool_]:
        """Which are anomalies: bool, arranged as the anomaly scores.

        Args:
            X: data like those of the fit.
            alpha: the rate that is kept, in (0, 1); None is `alpha_`, 0.05 unless `set_alpha` says another.
            control: "false_alarm" keeps the share of normal rows flagged at alpha; "fdr" the share of flags
                that are false, over these rows together (Benjamini-Hochberg).

        Raises:
            ValueError: alpha or control is none of these.
        """
        self.check_fitted()
        alpha = self.alpha_ if alpha is None else alpha
        check_rate(alpha, control)
        (_, p), _, _, unit = self.assess_members(X)
        self.check_alpha(alpha, control, unit)
        if control == "fdr":
            there = np.isfinite(p)  # behind the end of a sequence there is none
            flags = np.zeros(p.shape, dtype=bool)
            flags[there] = benjamini_hochberg(p[there], alpha)
            return flags
        return p <= alpha

    def set_alpha(self, alpha: float) -> Self:
        """The detector itself, with another rate that flags keep where none is given.

        It stays through `calibrate`, `refine`, `save` and `load`, and ends with the next `fit`. With
        `contamination="auto"` it moves `offset_`, by which `predict` goes. Verdicts on groups keep their own.

        Args:
            alpha: in (0, 1); one that the calibration cannot resolve is warned of.

        Raises:
            ValueError: alpha is none.
        """
        self.check_alpha(alpha)
        self.alpha_ = float(alpha)
        if self.contamination == "auto":
            self.offset_ = -self.calibration_.threshold(self.alpha_)
        return self

    def check_alpha(
        self, alpha: float | None = None, control: Control = "false_alarm", unit: Unit | None = None
    ) -> None:
        """Refuse an alpha or control that makes no sense, and warn where the calibration of such units cannot
        resolve alpha; what is left out is `alpha_` and the unit of the fit.
        """
        self.check_fitted()
        alpha = self.alpha_ if alpha is None else alpha
        check_rate(alpha, control)
        unit = unit or self.unit_
        warn_of_resolution(self.calibrations_[unit], unit, alpha)

    def scores_and_offset(self, X: Any) -> tuple[Floats, float]:
        """The anomaly scores, and `offset_`, or the threshold of other units than the fit's (steps for
        sequences), which is that of the calibration at `alpha_` whatever `contamination` is.

        Raises:
            ValueError: the criterion has changed since the calibration.
        """
        self._check_criterion()
        with usual_settings():
            values, unit, reader, piece = self._scores(X)
            scores = reader.arrange(values.mean(axis=1), piece, unit)
        offset = self.offset_ if unit == self.unit_ else -self.calibrations_[unit].threshold(self.alpha_)
        return scores, offset

    @property
    def group_tester_(self) -> GroupTester:
        """Tests groups against the reference rows of the first member; made when it is first asked for."""
        if self._tester is None:
            self._tester = GroupTester(self.members_[0].reference)
        return self._tester

    # -- groups ------------------------------------------------------------------------------------

    def score_groups(
        self,
        X: Any,
        groups: Any,
        alpha: float = ALPHA,
        control: Control = "fdr",
        statistic: str = "auto",
        reasons: bool = True,
    ) -> GroupVerdicts:
        """Test whole groups of rows, images or sequences.

        Args:
            X: data like those of the fit; or the path of a file or folder.
            groups: `(N,)` the group of each, or the name of a column of X that is no feature, or a tuple of
                names of columns, whose values together name a group.
            alpha: the rate that is kept, in (0, 1).
            control: "fdr" keeps the share of flagged groups that are normal; "false_alarm" the share of
                normal groups that are flagged.
            statistic: a name of `upland.catalogue.STATISTICS`; "auto" puts together what suits the model.
            reasons: whether verdicts say which columns or regions contribute; sequences have no reasons.

        Returns:
            A verdict for each group, in order of first appearance.

        Raises:
            TypeError: the statistic is of latents, and the model has none; or it needs more than scores, for
                groups of sequences.
            ValueError: an argument is none of these; the column is a feature or is missing; a row has no
                group; too few reference rows were kept.
        """
        self.check_fitted()
        check_rate(alpha, control)
        try:
            with usual_settings():
                return self._group_verdicts(X, groups, alpha, control, statistic, reasons)
        except (TypeError, ValueError):
            check_modality(X, self.modality, self.family)
            raise

    @abstractmethod
    def _group_verdicts(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        """The same, arguments checked."""

    # -- what it is --------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """What the detector is and what its p-values guarantee, as plain data."""
        self._check_criterion()
        named = {"detector": type(self).__name__, "modality": self.modality, "criterion": self.criterion_}
        sizes = (self.calibration_, self.n_samples_fit_, self.blocks_)
        of_fit = (self.plan_, self.members_, self.history_, *sizes)
        return named | {"alpha": self.alpha_} | description(self.fitted_params(), *of_fit)

    def fitted_params(self) -> dict[str, Any]:
        """The constructor's arguments that hold: as the fit found them, but for those of `plan.LIVE`."""
        self.check_fitted()
        now: dict[str, Any] = self.get_params(deep=False)
        return {name: value if name in LIVE else self.params_[name] for name, value in now.items()}


def name_of(criteria: dict[Unit, str]) -> str:
    """The name of the criterion of all units; "auto" where that differs by unit.

    Args:
        criteria: the name of each unit.
    """
    names = set(criteria.values())
    return names.pop() if len(names) == 1 else "auto"
