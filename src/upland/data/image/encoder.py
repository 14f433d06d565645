"""Images to numbers: `(N, C, H, W)` float32 for a model, and the way back to the user's pixels.

What is learned from the normal images is their shape and depth, and the mean m and standard deviation s of
each channel, or of each pixel (`upland.data.image.statistics`). A pixel becomes (x - m) / s, bounded by
`FAR`. With contrast scaling x is the square root of the pixel, m and s are of the image itself, and a
constant c is learned from the normal images, in units u that make the norm of a typical image 6.5:
(x - m) / ((s + c) u).
With level scaling nothing is learned: 8 bits become (x + 1/2) / 256 - 1/2, so that a density of codes with
even noise, of the width `bin` of one step, is one of the pixels.
A pixel that is ignored has the code 0, and nothing is learned from it.

An image's code depends on that image alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from upland.data.image.arrays import Channels
from upland.data.image.container import Images, as_images, digest, is_image_input
from upland.data.image.ignored import as_ignored, brought_to, check_size, counted, spread
from upland.data.image.pixels import Conversion, Mode
from upland.data.image.rows import ImageRows, channel_names, check_count
from upland.data.image.state import sound_mask, sound_scaling, sound_shape
from upland.data.image.statistics import (
    ContrastSums,
    LevelSums,
    PixelSums,
    brightness_and_contrast,
    levels_of,
    rooted,
)
from upland.io.advice import Advice, Argument
from upland.io.colours import rounded
from upland.io.records import check_types

__all__ = ["ImageEncoder", "ImageRows", "Images", "as_images", "digest", "is_image_input"]

FORMAT = 1
FAR = 1e4
"""The greatest code, in standard deviations."""

_OTHER_SCALE = 16  # floats this many times the greatest of the fit are of another unit

_Sums = PixelSums | ContrastSums | LevelSums
Scaling = Literal["contrast", "channel", "pixel", "levels"]
_AXES: dict[str, tuple[int, ...]] = {
    "channel": (0, 1, 2),
    "pixel": (0,),
}  # of (n, H, W, C), that are averaged


class ImageEncoder:
    """Encodes images for a model, and decodes what a model expects.

    Input is whatever `as_images` reads: arrays and tensors in either channel order, lists, Pillow images,
    files, a folder.

    Args:
        size: (height, width) to bring images to; None takes them as they are and refuses other sizes.
        mode: "grey" or "rgb" to bring images to; None takes them as they are.
        channels: "first" or "last", for arrays whose shape can be read either way.
        scaling: "contrast" takes the mean and the contrast out of each image; "channel" or "pixel" scales
            each channel, or each pixel, by its mean and standard deviation among the normal images; "levels"
            brings the whole range of a pixel to an interval of length one around zero.
        owner: who encodes, for messages.
        ignore: pixels of every image that are left out, see `upland.data.image.ignored.as_ignored`.

    Attributes:
        ignored: `(H, W)` booleans of the size that images are brought to, True where pixels are left out;
            None for none.
        mean: `(C,)` or `(H, W, C)` of the normal images, in their own units; with contrast scaling `(1,)`,
            what is added to each image's contrast; with level scaling `(1,)`, the middle of the range.
        scale: likewise, what counts as one.

    Examples:
        >>> import numpy as np
        >>> pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
        >>> encoder = ImageEncoder().fit(pictures)
        >>> encoder.transform(pictures).shape
        (20, 3, 8, 8)
        >>> bool((encoder.decode(encoder.transform(pictures)) == pictures).all())
        True
    """

    modality: Literal["image"] = "image"
    context_width: Literal[0] = 0

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode | None = None,
        channels: Channels | None = None,
        scaling: Scaling = "channel",
        owner: str = "ImageEncoder",
        ignore: Any = None,
    ) -> None:
        if scaling not in get_args(Scaling):
            raise ValueError(f"scaling must be one of {', '.join(get_args(Scaling))}, got {scaling!r}")
        to = Conversion(size, mode, channels)
        self.size, self.mode, self.channels = to.size, to.mode, to.channels
        self.scaling = scaling
        self.owner = owner
        mask = as_ignored(ignore)
        self.ignored = mask if mask is None or self.size is None else brought_to(mask, self.size)

    def images(self, X: Any) -> Images:
        """A user's images, brought to this encoder's size and mode; raises as `as_images`."""
        return as_images(X, size=self.size, mode=self.mode, channels=self.channels)

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, X: Any) -> Self:
        """Learn shape, depth and scaling of normal images, at least two; raises as `as_images`."""
        return self.fit_batches([X])

    def read_as(self, other: ImageEncoder) -> Self:
        """Returns itself: pixels are read in one way."""
        return self

    def fit_batches(self, batches: Iterable[Any]) -> Self:
        """The same from a stream of images, in constant memory; two images in all.

        Raises:
            ValueError: as `as_images`; fewer than two images; batches of several shapes or depths; numbers
                too large to square; pixels to ignore of images of another size.
        """
        first: Images | None = None
        for batch in batches:
            images = self.images(batch)
            if first is None:
                check_size(self.ignored, images.shape)
                first, sums = images, self._sums(images)
            self._check(images, first.shape, first.dtype)
            for _, pixels in images.chunks():
                sums.add(counted(pixels.astype(np.float64), self.ignored))
        if first is None:
            raise ValueError("there is no batch to fit on")
        check_count(sums.count, self.owner)
        mean, scale = sums.finish()
        if self.ignored is not None and self.scaling == "pixel":
            mean, scale = spread(mean, self.ignored, 0.0), spread(scale, self.ignored, 1.0)
        self._set_scaling(first.shape, first.dtype, sums.largest, mean, scale)
        return self

    def _sums(self, images: Images) -> _Sums:
        shape = images.shape
        if self.ignored is not None:
            shape = int((~self.ignored).sum()), 1, shape[2]
        if self.scaling == "contrast":
            return ContrastSums(shape, images.dtype)
        if self.scaling == "levels":
            return LevelSums(shape, images.dtype)
        return PixelSums(shape, images.dtype, _AXES[self.scaling])

    def _set_scaling(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        largest: float,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
    ) -> None:
        self._shape, self._dtype, self._largest = shape, dtype, largest
        self.mean, self.scale = mean, scale

    def _check(self, images: Images, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        """Refuse images of another shape or depth; raises ValueError."""
        who = images.label(0) if len(images) else "an image"
        if images.shape[:2] != shape[:2]:
            text = f"{who} is of {_sides(images.shape)} pixels, where the fit had {_sides(shape)}"
            raise ValueError(Advice(f"{text}: a fit with ", Argument("size", shape[:2]), " resizes"))
        if images.shape[2] != shape[2]:
            ways = {1: "grey", 3: "rgb"}
            text = f"{who} has {images.shape[2]} channels, where the fit had {shape[2]}"
            if shape[2] not in ways:
                raise ValueError(text)
            raise ValueError(Advice(f"{text}: a fit with ", Argument("mode", ways[shape[2]]), " converts"))
        if _family(images.dtype) != _family(dtype):
            raise ValueError(
                f"{who} is of {images.dtype} pixels, where the fit had {dtype}: bring them to the same depth"
            )

    # -- what was learned ------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an encoded image, (C, H, W)."""
        height, width, channels = self._fitted
        return channels, height, width

    @property
    def width(self) -> int:
        """Number of encoded dimensions, C H W."""
        return math.prod(self._fitted)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the normal images."""
        _ = self._fitted
        return self._dtype

    @property
    def bin(self) -> float:
        """With level scaling, how far apart the codes of two neighbouring values of a pixel are: 1/256 for 8
        bits and for floats, 1/65536 for 16 bits, 1/2 for booleans.

        Raises:
            ValueError: with another scaling, where it differs between pixels or between images.
        """
        if self.scaling != "levels":
            raise ValueError(
                f"with scaling={self.scaling!r} one step of a pixel has no width of its own; "
                "with 'levels' it has"
            )
        return 1.0 / levels_of(self.dtype)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the channels."""
        return channel_names(self._fitted[2])

    @property
    def named(self) -> bool:
        """Whether these names are the user's own; they never are."""
        return False

    def describe(self) -> list[dict[str, str]]:
        """Name and kind of each channel."""
        kind = f"{self.dtype}, {_sides(self._fitted)}"
        if self.ignored is not None:
            kind += f", {int(self.ignored.sum()):,} pixels ignored"
        return [{"name": name, "kind": kind} for name in self.inputs]

    @property
    def _fitted(self) -> tuple[int, int, int]:
        try:
            return self._shape
        except AttributeError:
            raise ValueError(f"this {self.owner} is not fitted yet: call fit first") from None

    # -- there and back --------------------------------------------------------------------------------------

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode images: `(N, C, H, W)` float32, finite.

        Raises:
            ValueError: as `as_images`; another size, number of channels or depth than in the fit. The first
                such image is named.
        """
        height, width, channels = self._fitted
        images = self.images(X)
        self._check(images, self._shape, self._dtype)
        codes = np.empty((len(images), channels, height, width), dtype=np.float32)
        largest = 0.0
        with np.errstate(over="ignore"):
            for start, pixels in images.chunks():
                z = pixels.astype(np.float64)
                if self.ignored is not None:
                    z[:, self.ignored] = 0.0
                if self._dtype.kind == "f":
                    largest = max(largest, float(np.abs(z).max()))
                if self.scaling == "contrast":
                    z = rooted(z)
                center, unit = self._center_and_unit(z)
                z -= center
                z /= unit
                np.clip(z, -FAR, FAR, out=z)
                if self.ignored is not None:
                    z[:, self.ignored] = 0.0
                codes[start : start + len(z)] = np.moveaxis(z, 3, 1)
        if largest > _OTHER_SCALE * self._largest > 0:
            warnings.warn(
                f"pixels reach {largest:g}, where the fit had {self._largest:g} at most: "
                "are they in the same unit?",
                UserWarning,
                stacklevel=2,
            )
        return codes

    def _center_and_unit(
        self, pixels: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is taken from images `(n, H, W, C)`, and what they are then divided by."""
        if self.scaling != "contrast":
            return self.mean, self.scale
        brightness, contrast = brightness_and_contrast(counted(pixels, self.ignored))
        return brightness[:, None, None, None], ((contrast + self.mean) * self.scale)[:, None, None, None]

    def decode(self, Z: NDArray[Any], like: Any = None) -> NDArray[Any]:
        """Codes `(N, C, H, W)` as images `(N, H, W, C)` in the user's own dtype, within its range.

        Args:
            Z: codes.
            like: the images whose codes they are near; contrast scaling takes brightness and contrast from
                them, and cannot do without. Ignored pixels are theirs.

        Raises:
            ValueError: another shape; no images to be like.
        """
        height, width, channels = self._fitted
        Z = np.asarray(Z)
        if Z.shape[1:] != (channels, height, width):
            raise ValueError(f"codes must have the shape (N, {channels}, {height}, {width}), got {Z.shape}")
        images = np.zeros((len(Z), height, width, channels), dtype=self._dtype)
        if self.scaling == "contrast" and like is None:
            raise ValueError(
                "contrast scaling forgets brightness: say like=the images that these codes are of"
            )
        reference = None if like is None else self.images(like)
        for number, z in enumerate(Z):
            pixels = images[:1] if reference is None else reference.take([number])
            contrast = self.scaling == "contrast"
            plain = pixels.astype(np.float64)
            center, unit = self._center_and_unit(rooted(plain) if contrast else plain)
            shown = np.moveaxis(z, 0, 2)[None] * unit + center
            if contrast:
                shown = np.sign(shown) * np.square(shown)
            images[number] = rounded(shown[0], self._dtype)
            if self.ignored is not None and reference is not None:
                images[number, self.ignored] = pixels[0, self.ignored]
        return images

    def values(self, X: Any) -> NDArray[Any]:
        """The pixels `(N, H, W, C)` that `transform` encodes, in the types of `decode`; raises as it does."""
        images = self.images(X)
        self._check(images, self._fitted, self._dtype)
        return images.take(np.arange(len(images))).astype(self._dtype, copy=False)

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors; `from_state` is the exact way back."""
        manifest = {
            "format": FORMAT,
            "size": None if self.size is None else list(self.size),
            "mode": self.mode,
            "channels": self.channels,
            "scaling": self.scaling,
            "owner": self.owner,
            "shape": list(self._fitted),
            "dtype": self._dtype.name,
            "largest": self._largest,
        }
        mask = {} if self.ignored is None else {"ignored": self.ignored}
        return manifest, {"mean": self.mean, "scale": self.scale, **mask}

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild an encoder that gives the same bits; raises ValueError for what `to_state` did not
        write.
        """
        arguments = {"size", "mode", "channels", "scaling", "owner"}
        fields = arguments | {"format", "shape", "dtype", "largest"}
        if wrong := (set(manifest) ^ fields) | (set(tensors) - {"ignored"} ^ {"mean", "scale"}):
            raise ValueError(f"not the state of an ImageEncoder: {sorted(wrong)} are unknown or lacking")
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"the image encoder's format is {manifest['format']!r}; "
                f"this version reads {FORMAT}: update upland"
            )
        stored = {name: manifest[name] for name in arguments}
        encoder = cls(**check_types(get_type_hints(cls.__init__), stored, "the image encoder"))
        shape, dtype, largest = sound_shape(manifest)
        if Conversion(encoder.size, encoder.mode).shape(*shape) != shape:
            raise ValueError(f"the image encoder's shape is {shape!r}, which is not what it brings images to")
        encoder.ignored = sound_mask(tensors.get("ignored"), shape)
        axes = _AXES.get(encoder.scaling)
        wanted = (
            (1,) if axes is None else tuple(n for axis, n in enumerate(shape, start=1) if axis not in axes)
        )
        mean, scale = sound_scaling(tensors["mean"], tensors["scale"], wanted, encoder.scaling == "contrast")
        encoder._set_scaling(shape, dtype, largest, mean, scale)
        return encoder


def _family(dtype: np.dtype[Any]) -> str:
    return "float" if dtype.kind == "f" else dtype.name


def _sides(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
