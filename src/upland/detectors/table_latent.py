"""The detectors of tables that have a latent: flows and variational auto-encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from torch import nn

from upland.detectors.architecture import Architecture
from upland.detectors.architectures import FlowOrGaussian, TableFlow, TableVAE
from upland.detectors.arguments import given_noise, sizes_of, whole_or_none
from upland.detectors.own_modules import OwnLatent
from upland.detectors.plan import TrainingPlan
from upland.detectors.table import TableDetector
from upland.io.cells import Dates


class FlowDetector(TableDetector):
    """Anomaly detection in tables by a normalising flow: a likelihood with latents (KLODS, arXiv 2002.03328).

    Normal data are a table `(N, M)`, N >= 2: an array, a frame, an Arrow table, or the path of a file.

    Args:
        layers: couplings of the flow.
        hidden: units of each layer of a coupling's net; "auto" is (128, 128).
        coupling: "affine", or "spline" for monotonic rational-quadratic splines.
        fallback: what replaces the flow where rows held out from its training are no likelier under it:
            "gaussian", a Gaussian with shrunk covariance, or "none".
        noise: standard deviation of the Gaussian noise added to the encoded rows in training, in those of a
            column; "auto" is half the typical distance between neighbours, within 0.05 to 1.
        criterion: "likelihood", -log p(x) in nats; "typicality", its distance from the mean of normal data;
            "divergence", the KL of one latent's parts from normal ones; "auto" is likelihood.
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
            for criteria that compare with them; 0 keeps none.
        model: a module of your own, a `LikelihoodModel` with `Latent` of `upland.models.base`, or a function
            that makes one for a width D; None is upland's own flow.
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
        >>> detector = upland.FlowDetector(random_state=0, epochs=5).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    family: ClassVar[str] = "flow"

    def __init__(
        self,
        layers: int = 4,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        coupling: Literal["affine", "spline"] = "affine",
        fallback: Literal["gaussian", "none"] = "gaussian",
        noise: float | Literal["auto"] = "auto",
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
        self.layers, self.hidden, self.coupling = layers, hidden, coupling
        self.fallback, self.noise = fallback, noise
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

    def _architecture(self, method: Literal["split", "cross"]) -> Architecture:
        if self.model is not None:
            return OwnLatent(self.model)
        made = FlowOrGaussian if self.fallback == "gaussian" else TableFlow
        return made(int(self.layers), sizes_of(self.hidden, (128, 128)), self.coupling)

    def _training(self, architecture: Architecture) -> TrainingPlan:
        noise = given_noise(self.noise, "auto")
        return self._with_lengths(
            TrainingPlan(
                "likelihood", "likelihood", 128, "likelihood", noise=noise, noise_factor=0.5, least_noise=0.05
            )
        )


class VAEDetector(TableDetector):
    """Anomaly detection in tables by a variational auto-encoder: an energy (-ELBO), a latent, a
    reconstruction.

    Normal data are a table `(N, M)`, N >= 2: an array, a frame, an Arrow table, or the path of a file.

    Args:
        hidden: units of each layer of the encoder; "auto" is (64, 64).
        latent: numbers of a latent; "auto" is half the encoded width, eight at most.
        noise: standard deviation of the Gaussian noise added to the encoded rows in training; "auto" is one
            and a half times the typical distance between neighbours.
        criterion: "reconstruction", |x - g(mu)|^2; "likelihood", -ELBO in nats; "typicality", its distance
            from the mean of normal data; "divergence", the KL of one latent's parts from normal ones;
            "auto" is reconstruction.
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
            for criteria that compare with them; 0 keeps none.
        model: a module of your own, a `Variational` of `upland.models.base`, or a function that makes one for
            a width D; None is upland's own VAE.
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
        >>> detector = upland.VAEDetector(random_state=0, epochs=5).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    family: ClassVar[str] = "vae"

    def __init__(
        self,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        latent: int | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
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
        self.hidden, self.latent, self.noise = hidden, latent, noise
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

    def _architecture(self, method: Literal["split", "cross"]) -> Architecture:
        if self.model is not None:
            return OwnLatent(self.model)
        return TableVAE(sizes_of(self.hidden, (64, 64)), whole_or_none(self.latent))

    def _training(self, architecture: Architecture) -> TrainingPlan:
        noise = given_noise(self.noise, "auto")
        return self._with_lengths(TrainingPlan("evidence", "denoising", 128, 1e-3, noise=noise))
