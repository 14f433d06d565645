"""The architectures of models: what a fit resolved of their sizes, and how they are built.

Each is a frozen record of the sizes that a constructor's arguments came to. What goes by the encoded width of
a member is left None until `resolved`, so that a saved member says all that its weights need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch

from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.detectors.architecture import Architecture
from upland.detectors.experts import Experts
from upland.detectors.image_experts import ExpertsOfImages
from upland.detectors.image_gaussian import GaussianOfFeatures
from upland.detectors.own_modules import OwnLatent, OwnModule, OwnRecurrent, OwnSequenceFlow
from upland.detectors.recurrent_flows import SequenceFlow
from upland.models.base import EnergyModel, NoiseConditional
from upland.models.class_mixture import ClassMixture
from upland.models.convolutional import ConvolutionalEnergy, Pool
from upland.models.energies import DenseEnergy
from upland.models.flow import Flow, gaussian_flow, table_flow
from upland.models.glow import Glow, default_levels
from upland.models.multiscale import MultiscaleEnergy, Prior
from upland.models.recurrent import RecurrentEnergy
from upland.models.vae import VAE, convolutional_vae, dense_vae
from upland.training.schedule import support_points

Sizes = tuple[int, ...]
Coupling = Literal["affine", "spline"]

SMALL_IMAGE = 4_096
"""Values of an image up to which dense layers see its pixels without convolutions below."""


@dataclass(frozen=True)
class Dense(Architecture):
    """The paper's fully connected energy.

    Args:
        hidden: units of each layer.
    """

    hidden: Sizes
    name: ClassVar[str] = "dense energy"
    of = (("energy", "table"),)

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `DenseEnergy`."""
        return DenseEnergy(encoder.width, self.hidden, generator)


@dataclass(frozen=True)
class Multiscale(Architecture):
    """An ensemble of fully connected energies at several scales of noise, on a prior.

    Args:
        hidden: units of each layer.
        n_nets: nets of the ensemble.
        scales: noise scales that score.
        prior: "kernel", "mixture" or "centre".
        support_points: rows that a kernel stands on at most; None goes by the encoded width.
    """

    hidden: Sizes
    n_nets: int
    scales: tuple[float, ...]
    prior: Prior
    support_points: int | None = None
    name: ClassVar[str] = "multi-scale energy"
    of = (("energy", "table"),)
    model_type: ClassVar[type] = NoiseConditional

    def resolved(self, encoder: Encoder) -> Self:
        """With the number of support points."""
        return replace(self, support_points=self.support_points or support_points(encoder.width))

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `MultiscaleEnergy`."""
        points = self.support_points or support_points(encoder.width)
        return MultiscaleEnergy(
            encoder.width, self.hidden, self.n_nets, self.scales, self.prior, points, generator
        )


@dataclass(frozen=True)
class Recurrent(Architecture):
    """A recurrent energy of frames of steps.

    Args:
        hidden: units of each layer.
        frame: steps of a frame.
    """

    hidden: Sizes
    frame: int
    name: ClassVar[str] = "recurrent energy"
    of = (("energy", "sequence"),)
    model_type: ClassVar[type] = RecurrentEnergy

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `RecurrentEnergy` with an LSTM."""
        return RecurrentEnergy(
            encoder.width,
            self.hidden,
            frame=self.frame,
            cell="lstm",
            generator=generator,
            context_width=encoder.context_width,
        )


@dataclass(frozen=True)
class Convolutional(Architecture):
    """A convolutional energy of images.

    Args:
        filters: of each convolution; None goes by the size of the images.
        kernel_size: side of a filter.
        pool: "average", "max" or "none".
        hidden: units of each dense layer.
        n_centres: centres of the first term of the energy.
        spread: width of the Gaussian around each of several centres.
    """

    filters: Sizes | None
    kernel_size: int
    pool: Pool
    hidden: Sizes
    n_centres: int
    spread: float
    name: ClassVar[str] = "convolutional energy"
    of = (("energy", "image"),)

    def resolved(self, encoder: Encoder) -> Self:
        """With the filters."""
        return replace(self, filters=self._filters(encoder))

    def _filters(self, encoder: Encoder) -> Sizes:
        if self.filters is not None:
            return self.filters
        return () if math.prod(encoder.shape) <= SMALL_IMAGE else (16, 32)

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `ConvolutionalEnergy`."""
        return ConvolutionalEnergy(
            encoder.shape,
            self._filters(encoder),
            self.kernel_size,
            self.pool,
            self.hidden,
            n_centres=self.n_centres,
            spread=self.spread,
            generator=generator,
        )


@dataclass(frozen=True)
class TableFlow(Architecture):
    """A normalising flow of tables.

    Args:
        layers: couplings.
        hidden: units of each layer of a coupling's net.
        coupling: "affine" or "spline".
    """

    layers: int
    hidden: Sizes
    coupling: Coupling
    name: ClassVar[str] = "flow"
    of = (("flow", "table"),)
    model_type: ClassVar[type] = Flow

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `Flow`."""
        return table_flow(encoder.width, self.layers, self.hidden, self.coupling, generator)


@dataclass(frozen=True)
class FlowOrGaussian(TableFlow):
    """A flow of tables, or the Gaussian that replaces it.

    Args:
        layers: couplings.
        hidden: units of each layer of a coupling's net.
        coupling: "affine" or "spline".
        density: which of them; None until a training has shown it.
    """

    density: Literal["flow", "gaussian"] | None = None
    name: ClassVar[str] = "flow or gaussian"

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `Flow`, of one linear map where it is a Gaussian."""
        if self.density == "gaussian":
            return gaussian_flow(encoder.width)
        return super().build(encoder, generator)


@dataclass(frozen=True)
class ImageFlow(Architecture):
    """A Glow of images.

    Args:
        levels: scales; None goes by the size of the images.
        depth: steps of each scale.
        filters: of the couplings' layers.
        tones: pieces of the curve that values first go through; None goes by the pixels.
    """

    levels: int | None
    depth: int
    filters: int
    tones: int | None = None
    name: ClassVar[str] = "glow"
    of = (("flow", "image"),)
    model_type: ClassVar[type] = Glow

    def resolved(self, encoder: Encoder) -> Self:
        """With the levels and the tones."""
        assert isinstance(encoder, ImageEncoder)
        levels = default_levels(encoder.shape) if self.levels is None else self.levels
        return replace(self, levels=levels, tones=self.tones or min(256, round(1 / encoder.bin)))

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `Glow`."""
        all_sizes = self.resolved(encoder)
        assert all_sizes.tones is not None
        return Glow(encoder.shape, all_sizes.levels, self.depth, self.filters, all_sizes.tones, generator)

    def of_classes(self, names: tuple[str, ...]) -> Architecture:
        """A Glow with a Gaussian of the latents for each class.

        Args:
            names: of the classes.
        """
        return ClassFlow(self.levels, self.depth, self.filters, self.tones, names)


@dataclass(frozen=True)
class ClassFlow(ImageFlow):
    """A Glow of images with a Gaussian of the latents for each class.

    Args:
        levels: scales; None goes by the size of the images.
        depth: steps of each scale.
        filters: of the couplings' layers.
        tones: pieces of the curve that values first go through; None goes by the pixels.
        classes: their names, two at least, in order.

    Raises:
        ValueError: there are fewer names, or not each is another.
    """

    classes: tuple[str, ...] = ()
    name: ClassVar[str] = "glow of classes"
    model_type: ClassVar[type] = ClassMixture

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or list(self.classes) != sorted(set(self.classes)):
            raise ValueError("the classes of a model must be two at least, each once and in order")

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `ClassMixture`."""
        flow = super().build(encoder, generator)
        assert isinstance(flow, Glow)
        return ClassMixture(flow, len(self.classes))


@dataclass(frozen=True)
class TableVAE(Architecture):
    """A variational auto-encoder of tables.

    Args:
        hidden: units of each layer of the encoder.
        latent: numbers of a latent; None goes by the encoded width.
    """

    hidden: Sizes
    latent: int | None
    name: ClassVar[str] = "vae of tables"
    of = (("vae", "table"),)
    model_type: ClassVar[type] = VAE

    def resolved(self, encoder: Encoder) -> Self:
        """With the size of the latent."""
        return replace(self, latent=self.latent or max(1, min(8, encoder.width // 2)))

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A dense `VAE`."""
        latent = self.resolved(encoder).latent
        assert latent is not None
        return dense_vae(encoder.width, self.hidden, latent, generator)


@dataclass(frozen=True)
class ImageVAE(Architecture):
    """A variational auto-encoder of images.

    Args:
        filters: of each convolution.
        latent: numbers of a latent.
    """

    filters: Sizes
    latent: int
    name: ClassVar[str] = "vae of images"
    of = (("vae", "image"),)
    model_type: ClassVar[type] = VAE

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A convolutional `VAE`."""
        return convolutional_vae(encoder.shape, self.filters, self.latent, generator)


ARCHITECTURES: dict[str, type[Architecture]] = {
    architecture.name: architecture
    for architecture in (
        *(Dense, Multiscale, Experts, Recurrent, SequenceFlow, Convolutional, TableFlow),
        *(FlowOrGaussian, ExpertsOfImages, ImageFlow, ClassFlow, GaussianOfFeatures, TableVAE, ImageVAE),
        *(OwnModule, OwnRecurrent, OwnSequenceFlow, OwnLatent),
    )
}
"""The architectures by the names that files have for them."""
