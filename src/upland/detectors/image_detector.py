"""What the detectors of images have in common: how images are read, and what of them is left out."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from upland.calibration.conformal import Calibration
from upland.catalogue import Unit
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder, Scaling
from upland.data.image.feature_encoder import pixel_encoder
from upland.data.image.features import OWN
from upland.data.image.ignored import Mask
from upland.data.image.reader import ImageReader
from upland.data.reader import Reader
from upland.detectors.architecture import Architecture
from upland.detectors.arguments import device_of, frozen, plain_argument
from upland.detectors.encoding import Encodings
from upland.detectors.ensemble import Member
from upland.detectors.features.modules import described
from upland.detectors.features.own import OwnFeatures
from upland.detectors.plan import FitPlan, TrainingPlan
from upland.detectors.points import PointDetector


class ImageDetector(PointDetector):
    """A detector of images: abstract.

    Attributes:
        scaling: how pixels become numbers, see `ImageEncoder`.
    """

    modality: ClassVar[Literal["image"]] = "image"
    scaling: ClassVar[Scaling]

    size: tuple[int, int] | None
    mode: Literal["grey", "rgb"] | None
    ignore: NDArray[np.bool_] | str | PathLike[str] | None

    def restore(
        self,
        plan: FitPlan,
        members: list[Member],
        calibrations: Mapping[Unit, Calibration],
        offset: float,
        n_rows: int,
    ) -> None:
        """Put a detector back into the state that a fit left it in; pixels to ignore are as the encoders hold
        them.

        Args:
            plan: of the fit.
            members: as fitted.
            calibrations: of each unit.
            offset: scikit-learn's.
            n_rows: images of the fit.

        Raises:
            ValueError: the encoders ignore other pixels than the plan says.
        """
        encoder, reader = pixel_encoder(members[0].encoder), plan.reader
        assert isinstance(reader, ImageReader)
        if reader.ignored != plain_argument(encoder.ignored):
            raise ValueError("the encoders ignore other pixels than the plan says")
        self.ignore = encoder.ignored
        plan = replace(plan, reader=replace(reader, mask=encoder.ignored))
        super().restore(plan, members, calibrations, offset, n_rows)

    def encodings(self, piece: Any) -> Callable[[Encoder], Any]:
        """What gives the codes of images by the encoder of each member; features in common are made once.

        Args:
            piece: as `plan_.reader.pieces` gives them.
        """
        return Encodings(super().encodings(piece)).of

    def _reader(self) -> ImageReader:
        size, name, mask = frozen(self.size), type(self).__name__, self._mask()
        return ImageReader(size, self.mode, self.scaling, name, plain_argument(mask), mask)

    def _mask(self) -> Mask | None:
        """The pixels to ignore."""
        return ImageEncoder(size=frozen(self.size), mode=self.mode, ignore=self.ignore).ignored

    def _settings(self) -> dict[str, Any]:
        """With what the pixels to ignore are, not the name of their file."""
        return super()._settings() | {"ignore": plain_argument(self._mask())}

    def _plan(self, rows: Any, reader: Reader, method: Literal["split", "cross"], seed: int) -> FitPlan:
        assert isinstance(reader, ImageReader)
        reader = reader.on(str(device_of(self.device)))
        architecture, training = self._architecture(), self._training()
        return FitPlan(reader, "image", method, architecture, training, int(self.keep_rows), None, seed)

    @abstractmethod
    def _architecture(self) -> Architecture:
        """The model that the constructor's arguments ask for."""

    @abstractmethod
    def _training(self) -> TrainingPlan:
        """How long and how fast it is trained."""


class FeatureDetector(ImageDetector):
    """A detector of images that may see features of them: abstract.

    Attributes:
        features: the name of upland's own, or the user's module or function.
    """

    features: str | nn.Module | Callable[[Any], Any]

    def _reads_features(self, reader: ImageReader, maps: bool) -> ImageReader:
        """The reader, with the features that the constructor's argument names or makes.

        Args:
            reader: of pixels.
            maps: whether the map of patches is wanted beside the vectors.
        """
        if isinstance(self.features, str):
            return replace(reader, features=self.features, maps=maps)
        return replace(reader, features=OWN, source=OwnFeatures(self.features), maps=maps)

    def _settings(self) -> dict[str, Any]:
        """With the weights of features of the user's own, not only their name."""
        own = {} if isinstance(self.features, str) else {"features": described(self.features)}
        return super()._settings() | own

    def __sklearn_clone__(self) -> Self:
        """An unfitted detector with the same arguments; features of the user's own are not copied."""
        bare = copy.copy(self)
        bare.features = "pixels"
        made: Self = super(FeatureDetector, bare).__sklearn_clone__()
        made.features = self.features
        return made
