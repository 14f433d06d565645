"""A fitted detector: anomaly scores, p-values, flags, verdicts on groups.

The anomaly score is the mean over the members of the criterion's value; higher = more anomalous. p-values
compare new data with held-out normal data (see `upland.calibration.conformal` for what is guaranteed), and
`flag` cuts them at alpha. scikit-learn's methods are those of `upland.detectors.contract`.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from upland.calibration.conformal import Calibration, Floats
from upland.calibration.false_discovery import Control, benjamini_hochberg
from upland.catalogue import DETECTORS, Modality, Unit, criteria_of, load
from upland.data.encoder import Encoder
from upland.detectors.arguments import check_rate
from upland.detectors.contract import OutlierContract
from upland.detectors.ensemble import Member, scores_of
from upland.detectors.fitting import Scoring
from upland.detectors.information import description
from upland.detectors.plan import LIVE, FitPlan
from upland.detectors.scores import Assessment, Scores
from upland.groups.tester import GroupTester
from upland.groups.verdicts import GroupVerdicts
from upland.models.base import EnergyModel

ALPHA = 0.05  # the level that scikit-learn's offset_ and the warnings of coarse p-values refer to


class ScoringDetector(OutlierContract):
    """What a detector does once it is fitted: abstract.

    Attributes:
        family: of the model, a name of `upland.catalogue.FAMILIES`.
        modality: of the data.
    """

    family: ClassVar[str]
    modality: ClassVar[Modality]

    criterion: str | None
    contamination: float | Literal["auto"]

    plan_: FitPlan
    members_: list[Member]
    calibrations_: dict[Unit, Calibration]
    group_tester_: GroupTester
    params_: dict[str, Any]
    criterion_: str
    unit_: Unit
    offset_: float
    n_samples_fit_: int

    @abstractmethod
    def encode(self, encoder: Any, piece: Any) -> Any:
        """New data as a member's criteria take them.

        Args:
            encoder: of the member.
            piece: as `plan_.reader.pieces` gives them.
        """

    # -- what it is scored by ----------------------------------------------------------------------

    def _scoring(self, plan: FitPlan) -> Scoring:
        """The criterion of each unit, as `set_params` has left it.

        Raises:
            ValueError: there is no such criterion of this model.
        """
        homes = {
            name: home
            for name, home in criteria_of(self.family, self.modality).items()
            if issubclass(plan.architecture.model_type, load(home).requires)
        }
        units = plan.reader.units
        if self.criterion in (None, "auto"):
            defaults = DETECTORS[self.family, self.modality].defaults
            return Scoring(
                homes,
                {unit: defaults[unit] if defaults[unit] in homes else next(iter(homes)) for unit in units},
            )
        if self.criterion not in homes:
            names = ", ".join(map(repr, homes))
            raise ValueError(f"criterion must be 'auto' or one of {names}, got {self.criterion!r}")
        return Scoring(homes, dict.fromkeys(units, self.criterion))

    def criterion_of(self, unit: Unit) -> str:
        """The criterion of such units' anomaly scores, as `set_params` has left it.

        Args:
            unit: what one score is of.
        """
        check_is_fitted(self)
        return self._scoring(self.plan_).criteria[unit]

    def fitted_criterion(self, member: Member, unit: Unit) -> Any:
        """The criterion of such units, fitted on a member's reference.

        Args:
            member: of this detector.
            unit: what one score is of.
        """
        scoring = self._scoring(self.plan_)
        name = scoring.criteria[unit]
        return member.criterion(name, unit, scoring.homes[name])

    def _check_criterion(self) -> None:
        """p-values compare like with like: refuse them where `set_params` has changed the criterion since
        the calibration.
        """
        check_is_fitted(self)
        now = self._scoring(self.plan_).name
        if now != self.criterion_:
            raise ValueError(
                f"calibrated for criterion={self.criterion_!r}, but now criterion={now!r}: "
                "fit again, or with contamination='auto' calibrate on fresh normal rows"
            )

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
            ValueError: columns are missing or of another kind; the message names them.
        """
        scores = self._scores(X)
        return scores.arranged(scores.mean)

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
        scores = self._scores(X)
        p = scores.p_values(self.calibrations_[scores.unit])
        return Assessment(scores.arranged(scores.mean), scores.arranged(p)), scores.unit

    def _scores(self, X: Any, unit: Unit | None = None) -> Scores:
        """Each member's scores; of a unit that is named, data read as those that calibrate."""
        check_is_fitted(self)
        reader, scoring = self.plan_.reader, self._scoring(self.plan_)
        read = (
            reader.pieces(X, self.encoder_)
            if unit is None
            else reader.calibration_pieces(X, self.encoder_, unit)
        )
        parts, of, last = [], unit or self.unit_, None
        for piece in read:
            of, last = unit or reader.unit(piece), piece
            name = scoring.criteria[of]
            parts.append(scores_of(self.members_, name, of, scoring.homes[name], self.encode, piece))
        return Scores(np.concatenate(parts), of, reader, last)

    def flag(self, X: Any, alpha: float = ALPHA, control: Control = "false_alarm") -> NDArray[np.bool_]:
        """Which are anomalies: bool, arranged as the anomaly scores.

        Args:
            X: data like those of the fit.
            alpha: the rate that is kept, in (0, 1).
            control: "false_alarm" keeps the share of normal rows flagged at alpha; "fdr" the share of flags
                that are false, over these rows together (Benjamini-Hochberg).

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
        calibration = self.calibrations_[unit]
        if calibration.smallest_p > alpha:
            warnings.warn(
                f"{calibration.size} calibration {unit}s cannot resolve alpha = {alpha:g}: "
                f"the smallest p-value is {calibration.smallest_p:.3g}, so nothing is flagged; "
                f"calibrate on at least {int(np.ceil(1 / alpha)) - 1} {unit}s",
                stacklevel=3,
            )

    def scores_and_offset(self, X: Any) -> tuple[Floats, float]:
        """The anomaly scores, and `offset_`, or the threshold of other units than the fit's (steps for
        sequences), which is that of the calibration at alpha = 0.05 whatever `contamination` is.

        Raises:
            ValueError: the criterion has changed since the calibration.
        """
        self._check_criterion()
        scores = self._scores(X)
        same = scores.unit == self.unit_
        offset = self.offset_ if same else -self.calibrations_[scores.unit].threshold(ALPHA)
        return scores.arranged(scores.mean), offset

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
            groups: `(N,)` the group of each, or the name of a column of X that is no feature.
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
        check_is_fitted(self)
        check_rate(alpha, control)
        return self._group_verdicts(X, groups, alpha, control, statistic, reasons)

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
        return named | description(
            self.fitted_params(),
            self.plan_,
            self.members_,
            self.history_,
            self.calibration_,
            self.n_samples_fit_,
        )

    def fitted_params(self) -> dict[str, Any]:
        """The constructor's arguments that hold: as the fit found them, but for those that may change later
        (`upland.detectors.plan.LIVE`).
        """
        check_is_fitted(self)
        now: dict[str, Any] = self.get_params(deep=False)
        return {name: value if name in LIVE else self.params_[name] for name, value in now.items()}
