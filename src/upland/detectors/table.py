"""What the detectors of tables share, and the energy; flows and VAEs are in `table_latent`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from torch import nn

from upland.calibration.conformal import warn_of_weak
from upland.data.reader import Reader
from upland.data.table.reader import TableReader
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import Dense, Multiscale
from upland.detectors.arguments import (
    cell_options,
    contradiction,
    frozen,
    given,
    given_noise,
    sizes_of,
    whole_or_none,
)
from upland.detectors.experts import experts
from upland.detectors.host import usual_settings
from upland.detectors.own_modules import OwnModule
from upland.detectors.plan import CLOSED_FORM, FitPlan, TrainingPlan
from upland.detectors.points import PointDetector
from upland.detectors.refining import refined
from upland.io.cells import Dates
from upland.models.experts import COUNTS, PARTS
from upland.models.multiscale import SCALES

PAPER_NOISE = 0.5
"""Sigma of the paper's model where none is given."""

NETS_ONLY = (
    *("hidden", "noise", "prior", "n_nets", "objective", "epochs", "batch_size", "learning_rate", "patience"),
)
"""Arguments of models that are nets."""

NETS = 2
"""Nets of a table's ensemble where one member calibrates."""


class TableDetector(PointDetector):
    """A detector of rows of a table: abstract."""

    modality: ClassVar[Literal["table"]] = "table"

    categorical: Sequence[str | int]
    ignore: Sequence[str | int]
    decimal: str | None
    thousands: str | None
    missing: Sequence[str | float]
    dayfirst: bool | None
    dates: Dates

    def _reader(self) -> TableReader:
        return TableReader(
            frozen(self.categorical), frozen(self.ignore), type(self).__name__, cell_options(self)
        )

    def _plan(self, rows: Any, reader: Reader, method: Literal["split", "cross"], seed: int) -> FitPlan:
        architecture = self._architecture(method)
        training = self._training(architecture)
        return FitPlan(reader, "row", method, architecture, training, int(self.keep_rows), None, seed)

    @abstractmethod
    def _architecture(self, method: Literal["split", "cross"]) -> Architecture:
        """The model that the constructor's arguments ask for."""

    @abstractmethod
    def _training(self, architecture: Architecture) -> TrainingPlan:
        """How long and how fast it is trained."""


class EnergyDetector(TableDetector):
    """Anomaly detection in tables by an energy: a product of experts in closed form, or a deep net trained by
    score matching (DSEBM, Zhai et al., ICML 2016).

    Normal data are a table `(N, M)`, N >= 2: an array, a frame, an Arrow table, or the path of a file.
    `EnergyDetector(energy="dsebm")` is the paper's model. Arguments from `hidden` to `objective`, and from
    `epochs` to `patience`, are of nets.

    Args:
        energy: "experts", a product of energies in closed form: kernel densities, a pseudo-likelihood, the
            missing mass of values and of pairs of values; "multiscale", deep energies at all noise scales on
            a kernel density; "dsebm", the paper's deep energy; "auto" is experts, or multiscale where an
            argument of nets or of their training is given.
        parts: names of the parts of the experts; "auto" is those of `upland.models.experts.PARTS`.
        speed: "auto", or "fast" for experts on 500 support points instead of 3,000.
        hidden: units of each dense softplus layer; "auto" goes by the model.
        noise: sigma of the score matching, in standard deviations of a column; "auto" trains at all scales
            from 0.05 to 1.5 at once and scores at three of them; where there is one scale only (sliced score
            matching, a model of your own) it is one and a half times the typical distance per dimension
            between neighbours among the training rows, within 0.1 to 1.
        prior: what the energy is added to: "kernel", a kernel density of training rows, which stay in the
            model (some thousands at most, of each member); "mixture", the means of up to 64 clusters of them
            and some values of each column; "centre", the paper's single centre; "auto" is the kernel.
        n_nets: nets that are trained together; "auto" is two, one in each fold of a cross calibration.
        objective: "denoising" or "sliced" score matching.
        criterion: "experts", the cubic mean of the standardised energies of the experts; "multiscale", the
            cubic mean over scales of noise, and over views of the prior, of how much
            further a row is from where it is denoised to, and from training rows, than normal rows are, in
            their standard deviations; "reconstruction", |x - f(x)|^2, of the experts with f the prediction
            from the other columns; "energy", E / sigma^2 in nats (over several scales the mean of E, in
            sigma^2 nats; of the experts the mean of their standard scores); "auto" or None is the first of
            these that the model has.
        calibration: "split" holds out a fifth of the rows and gives exact p-values; "cross" fits five folds;
            "auto" splits from 500 rows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at `alpha_`, a number
            as a quantile of the training scores.
        epochs: passes over the training rows; None goes by their number.
        batch_size: rows of a training step at most; None goes by the model.
        learning_rate: of Adam at its highest; None goes by the model.
        patience: checks (20 in a training) of the held-out loss without improvement before it ends.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out, such as the one that names groups.
        decimal: the decimal sign of numbers that are text, "." or ",", where the cells do not decide.
        thousands: what parts their thousands, where the cells do not decide.
        missing: texts and numbers that stand for a missing cell, such as ["?", -999].
        dayfirst: whether 3/4/2026 is the third of April, where the cells do not decide.
        dates: what a date is used as: "number", "parts" (hour, weekday and month, cyclic) or "drop".
        keep_rows: reference rows of each of three sorts that are kept with the model at most, for groups and
            for criteria that compare with them; 0 keeps none; what `prior` keeps is besides.
        model: a module of your own from `(N, D)` encoded rows to `(N,)` energies, or a function that makes
            one for a width D; None is upland's own energy.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        plan_: every argument as the fit resolved it (`upland.detectors.plan.FitPlan`).
        members_: encoder, model, noise and history of each member.
        calibrations_: the held-out scores and the p-values that follow, by unit; `calibration_` is the one of
            `unit_`.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of rows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them.
        unit_: what one score is of: "row".

    Examples:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    family: ClassVar[str] = "energy"

    def __init__(
        self,
        energy: Literal["auto", "experts", "multiscale", "dsebm"] = "auto",
        parts: Sequence[str] | Literal["auto"] = "auto",
        speed: Literal["auto", "fast"] = "auto",
        hidden: Sequence[int] | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        prior: Literal["auto", "kernel", "mixture", "centre"] = "auto",
        n_nets: int | Literal["auto"] = "auto",
        objective: Literal["denoising", "sliced"] = "denoising",
        criterion: str | None = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        decimal: str | None = None,
        thousands: str | None = None,
        missing: Sequence[str | float] = (),
        dayfirst: bool | None = None,
        dates: Dates = "number",
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.energy, self.parts, self.speed = energy, parts, speed
        self.hidden, self.noise = hidden, noise
        self.prior, self.n_nets, self.objective = prior, n_nets, objective
        self.criterion, self.calibration = criterion, calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.patience = learning_rate, patience
        self.categorical, self.ignore = categorical, ignore
        self.decimal, self.thousands, self.missing = decimal, thousands, missing
        self.dayfirst, self.dates = dayfirst, dates
        self.keep_rows, self.model = keep_rows, model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def refine(self, X: Any, y: Any) -> Self:
        """Weigh the parts of the experts by a few labelled rows, and calibrate again; the fit stays as it is.

        Weights and log odds are shrunk towards the unlabelled score, and stay there where cross-validation
        over the labelled rows finds nothing better (`upland.detectors.refinement`); `info()["refinement"]`
        says what was found. p-values keep their guarantee: they are by held-out rows that had no part in it,
        as the labelled rows must have had none in the fit. A second call takes the place of the first.

        Args:
            X: labelled rows, like those of the fit: a handful of anomalies and, by preference, normal rows.
            y: `(N,)` 1 for anomalies, 0 for normal rows; or the name of a column of X that is no feature.

        Returns:
            The detector itself.

        Raises:
            ValueError: the model has no parts, its criterion is another, or no held-out rows are kept; a
                label is neither 0 nor 1, there is none for each row, or no anomaly among them.
        """
        with usual_settings():
            members, calibration = refined(self, X, y)
        self.members_, self.calibrations_, self._tester = members, {self.unit_: calibration}, None
        self.criterion_ = self.criterion_of(self.unit_)
        share = self.contamination
        of_share = None if share == "auto" else float(np.percentile(-calibration.scores, 100 * share))
        self.offset_ = -calibration.threshold(self.alpha_) if of_share is None else of_share
        warn_of_weak(self.calibrations_, (self.unit_,), self.alpha_)
        return self

    def _model_name(self) -> Literal["experts", "multiscale", "dense"]:
        """Which model the arguments ask for; raises ValueError where they contradict each other."""
        net_arguments, expert_arguments = given(self, (*NETS_ONLY, "model")), given(self, ("parts", "speed"))
        if self.energy == "experts" or (self.energy == "auto" and not net_arguments):
            if net_arguments:
                raise contradiction(self, net_arguments[0], "energy")
            return "experts"
        if expert_arguments:
            other_argument = net_arguments[0] if self.energy == "auto" else "energy"
            raise contradiction(self, expert_arguments[0], other_argument)
        if self.energy == "multiscale":
            if other := given(self, ("objective", "model")):
                raise contradiction(self, other[0], "energy")
            return "multiscale"
        paper = not isinstance(self.noise, str) and self.prior == "centre" and self.n_nets == 1
        if self.energy == "dsebm" or self.model is not None or self.objective != "denoising" or paper:
            return "dense"
        return "multiscale"

    def _architecture(self, method: Literal["split", "cross"]) -> Architecture:
        name = self._model_name()
        if name == "experts":
            return experts(_parts(self.parts), self.speed == "fast")
        if name == "dense":
            self._check_no_ensemble()
            return Dense(sizes_of(self.hidden, (64, 64, 64))) if self.model is None else OwnModule(self.model)
        return Multiscale(
            hidden=sizes_of(self.hidden, (128, 128)),
            n_nets=whole_or_none(self.n_nets) or (NETS if method == "split" else 1),
            scales=SCALES if isinstance(self.noise, str) else (float(self.noise),),
            prior="kernel" if self.prior == "auto" else self.prior,
        )

    def _check_no_ensemble(self) -> None:
        """Refuse a prior or an ensemble that the model does not have."""
        asked = {"prior": self.prior not in ("auto", "centre"), "n_nets": self.n_nets not in ("auto", 1)}
        if wrong := [name for name, is_asked in asked.items() if is_asked]:
            raise ValueError(
                f"{wrong[0]}={self.get_params()[wrong[0]]!r} needs objective='denoising' and upland's own "
                "multi-scale model: leave it 'auto'"
            )

    def _training(self, architecture: Architecture) -> TrainingPlan:
        if architecture.in_closed_form:
            return TrainingPlan(CLOSED_FORM, 1, 1, 1.0, noise=1.0, start_rows="experts")
        if isinstance(architecture, Multiscale):
            plan = TrainingPlan("conditional", "multiscale", 128, 2e-3, noise=1.0, start_rows="kernel")
        else:
            noise = PAPER_NOISE if self.energy == "dsebm" else "auto"
            plan = TrainingPlan(self.objective, "denoising", 128, 1e-3, noise=given_noise(self.noise, noise))
        return self._with_lengths(plan)


def _parts(given: Sequence[str] | str) -> tuple[str, ...] | None:
    """The names of parts that are asked for; None for the usual ones; raises ValueError for what is none."""
    if isinstance(given, str) and given == "auto":
        return None
    known = ", ".join(map(repr, PARTS))
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or not len(given):
        raise ValueError(f"parts must be 'auto' or a list of some of {known}, got {given!r}")
    if wrong := [name for name in given if not (isinstance(name, str) and name in PARTS)]:
        raise ValueError(f"parts must be some of {known}, got {wrong[0]!r}")
    if not {*given} - {*COUNTS}:
        others = ", ".join(repr(name) for name in PARTS if name not in COUNTS)
        raise ValueError(f"parts {list(given)} only count values: add one of {others}")
    return tuple(name for name in PARTS if name in given)
