"""Any images a user may hold, by number: arrays in either channel order, Pillow images, files, folders.

Whatever comes in, `(n, H, W, C)` pixels of one shape and one dtype come out. The dtype says the range: bool,
uint8 to 255, uint16 to 65535, floats in units of the user's own. The last axis of an `(N, a, b, c)` array is
the channels if c is 1, 3 or 4 and a is not; the second is if a is and c is not.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.image.arrays import (
    Channels,
    as_pixels,
    channels_last,
    check_dtype,
    check_sides,
    dtype_of,
    is_array,
    looks_like_images,
)
from upland.data.image.pixels import Conversion, Mode
from upland.io.advice import Advice, Argument, Symbol
from upland.io.arrays import is_array_file, read_array, shape_in
from upland.io.images import (
    Header,
    header_of,
    image_files_in,
    is_image_file,
    is_pillow,
    read_header,
    read_pixels,
)

Numbers = NDArray[np.int64]

AT_ONCE = 1 << 20
"""Pixel values that are held at a time where images pass by."""


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images by number; `as_images` makes them.

    Args:
        shape: (H, W, C) of every image.
        dtype: bool, uint8, uint16 or a float.
        rows: `(n,)` which of the origin's images these are.
        labels: what messages call the origin's images: a file's name, or `image 3`.
        from_files: whether the labels are names of files.
        in_memory: whether the pixels are in memory, not in files.
        origin: row numbers of the origin to pixels `(n, H, W, C)`.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    rows: Numbers
    labels: Callable[[int], str]
    from_files: bool
    in_memory: bool
    origin: Callable[[Numbers], NDArray[Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        height, width, channels = self.shape
        return f"<{len(self)} images of {height} x {width}, {channels} channels, {self.dtype}>"

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the files; None where there are none."""
        return tuple(map(self.label, range(len(self)))) if self.from_files else None

    def label(self, number: int) -> str:
        """What messages call an image."""
        return self.labels(int(self.rows[number]))

    def take(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> NDArray[Any]:
        """The pixels `(n, H, W, C)` of images by number, in any order.

        Raises:
            ValueError: no such image; a file that is damaged; NaN or infinite pixels.
        """
        wanted = self._found(rows)
        pixels = self.origin(wanted)
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            first = int(np.argmin(np.isfinite(pixels).all(axis=(1, 2, 3))))
            raise ValueError(f"{self.labels(int(wanted[first]))} has pixels that are NaN or infinite")
        return pixels

    def select(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Images:
        """Some of the images, by number, in any order; reads none."""
        return replace(self, rows=self._found(rows))

    def _found(self, rows: NDArray[np.integer[Any]] | Sequence[int]) -> Numbers:
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and numbers.size):
            raise ValueError("image numbers must be a list of whole numbers")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise ValueError(
                f"image numbers must lie between 0 and {len(self) - 1}, "
                f"got {numbers.min()} to {numbers.max()}"
            )
        return self.rows[numbers.astype(np.int64)]

    def chunks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All images in their order, about a million values at a time, each with its first number."""
        step = max(1, AT_ONCE // int(np.prod(self.shape)))
        for start in range(0, len(self), step):
            yield start, self.take(np.arange(start, min(start + step, len(self))))

    def loaded(self) -> Images:
        """The same images, their pixels in memory."""
        if self.in_memory:
            return self
        pixels = np.empty((len(self), *self.shape), dtype=self.dtype)
        for start, part in self.chunks():
            pixels[start : start + len(part)] = part
        rows = np.arange(len(self))
        return replace(self, rows=rows, labels=self.label, in_memory=True, origin=lambda rows: pixels[rows])


def as_images(
    X: Any,
    *,
    size: tuple[int, int] | None = None,
    mode: Mode | None = None,
    channels: Channels | None = None,
) -> Images:
    """A user's images by number; of files only the headers are read.

    Args:
        X: `(N, H, W)`, `(N, H, W, C)` or `(N, C, H, W)` array or tensor of bool, uint8, uint16 or float; a
            list of arrays, of Pillow images, of paths or of the bytes of image files; a folder; the path of
            an image, or of an .npy or .npz file with one array or one named images, X or x; an `Images`.
        size: (height, width) to bring all images to.
        mode: "grey" or "rgb" to bring all images to.
        channels: "first" or "last", for arrays that could be read either way.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ImportError: these are files, and Pillow is not installed.
        TypeError: things that are no images; pixels of another dtype.
        ValueError: a shape that images do not have; no image; images of several sizes, colours or depths; a
            file that is damaged or of another format. The file or image is named.

    Examples:
        >>> import numpy as np
        >>> images = as_images(np.zeros((5, 3, 8, 6), dtype=np.uint8))
        >>> images.shape, images.take([4, 0]).shape
        ((8, 6, 3), (2, 8, 6, 3))
    """
    to = Conversion(size, mode, channels)
    if isinstance(X, Images):
        shape, inner = to.shape(*X.shape), X.origin
        return X if shape == X.shape else replace(X, shape=shape, origin=lambda rows: to.apply(inner(rows)))
    if isinstance(X, str | PathLike):
        return _from_path(Path(X), to)
    if is_pillow(X):
        raise TypeError("this is a single Pillow image: put it in a list, [image]")
    if isinstance(X, list | tuple):
        return _from_list(X, to)
    return _from_array(as_pixels(X), to)


def is_image_input(X: Any) -> bool:
    """Whether data are images by their form: rank 4, or rank 3 of bool, uint8 or uint16; image files, a
    folder, a list of either, of Pillow images or of the bytes of files.

    Examples:
        >>> import numpy as np
        >>> is_image_input(np.zeros((5, 8, 8), dtype=np.uint8)), is_image_input(np.zeros((5, 8, 8)))
        (True, False)
    """
    if isinstance(X, Images):
        return True
    if isinstance(X, str | PathLike):
        path = Path(X)
        if is_array_file(path):
            return path.is_file() and looks_like_images(*shape_in(path))
        return is_image_file(path) or path.is_dir()
    if isinstance(X, list | tuple):
        if not X:
            return False
        first = X[0]
        if isinstance(first, str | PathLike):
            return is_image_file(Path(first))
        if is_pillow(first) or isinstance(first, bytes):
            return True
        return is_array(first) and looks_like_images((len(X), *first.shape), dtype_of(first))
    return is_array(X) and looks_like_images(tuple(X.shape), dtype_of(X))


def digest(images: Images) -> str:
    """SHA-256 of the shape, dtype and all pixels of images, in constant memory.

    Examples:
        >>> import numpy as np
        >>> images = as_images(np.zeros((5, 8, 8)))
        >>> digest(images) == digest(as_images(np.zeros((5, 8, 8, 1))))
        True
    """
    dtype = images.dtype.newbyteorder("<")
    found = hashlib.sha256(f"{len(images)} {images.shape} {dtype.str}".encode())
    for _, pixels in images.chunks():
        found.update(np.ascontiguousarray(pixels, dtype=dtype).tobytes())
    return found.hexdigest()


# -- from arrays, lists and files ---------------------------------------------------------------------------


def _from_array(X: NDArray[Any], to: Conversion) -> Images:
    check_dtype(X.dtype, "an array")
    if X.ndim and not len(X):
        raise ValueError(f"there are no images in an array of shape {X.shape}")
    return _from_last(channels_last(X, to.channels), to)


def _from_last(last: NDArray[Any], to: Conversion) -> Images:
    """From `(N, H, W, C)`."""
    shape = (last.shape[1], last.shape[2], last.shape[3])
    check_sides(shape, "an image")
    dtype = last.dtype.newbyteorder("=")
    rows = np.arange(len(last))
    return Images(
        to.shape(*shape),
        dtype,
        rows,
        lambda row: f"image {row}",
        False,
        True,
        lambda rows: to.apply(np.ascontiguousarray(last[rows], dtype=dtype)),
    )


# -- from lists and files ------------------------------------------------------------------------------------


def _from_path(path: Path, to: Conversion) -> Images:
    if path.is_dir():
        files = image_files_in(path)
        return _from_image_files(files, [file.relative_to(path).as_posix() for file in files], to, True)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if is_array_file(path):
        return _from_array(read_array(path), to)
    return _from_image_files([path], [path.name], to, True)


def _from_list(X: Sequence[Any], to: Conversion) -> Images:
    if not X:
        raise ValueError("there are no images in an empty list")
    if all(isinstance(x, str | PathLike) for x in X):
        return _from_image_files([Path(x) for x in X], [str(x) for x in X], to, True)
    labels = [f"image {number}" for number in range(len(X))]
    if all(is_pillow(x) for x in X) or all(isinstance(x, bytes) for x in X):
        return _from_image_files(X, labels, to, False)
    if odd := [number for number, x in enumerate(X) if is_pillow(x) or isinstance(x, str | PathLike)]:
        other = next(number for number in range(len(X)) if number not in odd)
        raise TypeError(
            f"a list must be of arrays, of Pillow images or of paths: image {odd[0]} is a "
            f"{type(X[odd[0]]).__name__}, image {other} a {type(X[other]).__name__}"
        )
    return _from_arrays([as_pixels(x) for x in X], labels, to)


def _from_arrays(arrays: list[NDArray[Any]], labels: list[str], to: Conversion) -> Images:
    for array, label in zip(arrays, labels, strict=True):
        if array.ndim not in (2, 3):
            raise ValueError(
                f"{label} of a list has the shape {array.shape}: it must be (H, W), or 3-d in colour"
            )
        check_dtype(array.dtype, f"{label} is an array")
    pixels = [
        array[..., None] if array.ndim == 2 else channels_last(array[None], to.channels)[0]
        for array in arrays
    ]
    if len({(part.shape, part.dtype) for part in pixels}) == 1:
        return _from_last(np.stack(pixels), to)
    headers = [header_of(part) for part in pixels]
    return _gathered(headers, labels, lambda row: pixels[row], to, from_files=False, in_memory=True)


def _from_image_files(files: Sequence[Any], labels: list[str], to: Conversion, from_files: bool) -> Images:
    """Files and Pillow images; alpha is dropped, with one warning where it hid anything."""
    headers = [read_header(file, label) for file, label in zip(files, labels, strict=True)]
    if deeper := [label for header, label in zip(headers, labels, strict=True) if header.deeper]:
        text = f"colour of 16 bits is read as 8 bits in {len(deeper)} of {len(files)} files"
        warnings.warn(f"{text}, as in {deeper[0]}: arrays keep all bits", UserWarning, stacklevel=2)
    warned: list[str] = []

    def one(row: int) -> NDArray[Any]:
        pixels, opaque = read_pixels(files[row], labels[row])
        if not (opaque or warned):
            warned.append(labels[row])
            warnings.warn(f"alpha is left out: {labels[row]} is not all opaque", UserWarning, stacklevel=2)
        found = header_of(pixels)
        if found != headers[row]:
            raise ValueError(f"{labels[row]} has changed: it was {headers[row]} and is {found}")
        return pixels

    return _gathered(headers, labels, one, to, from_files=from_files, in_memory=False)


def _gathered(
    headers: list[Header],
    labels: list[str],
    one: Callable[[int], NDArray[Any]],
    to: Conversion,
    *,
    from_files: bool,
    in_memory: bool,
) -> Images:
    """Images that are read one by one, and may differ as far as the conversion makes them equal."""
    for header, label in zip(headers, labels, strict=True):
        check_sides((header.height, header.width), label)
    _check_equal([str(header.dtype) for header in headers], labels, "depths", "convert them to one")
    if to.mode is None:
        colours = [{1: "grey", 3: "colour", 4: "colour with alpha"}[header.channels] for header in headers]
        advice = Advice(Argument("mode", "grey"), " or ", Argument("mode", "rgb"), " converts them")
        _check_equal(colours, labels, "colours", advice)
    if to.size is None:
        sizes = [f"{header.height} x {header.width}" for header in headers]
        height, width = headers[0].height, headers[0].width
        sides = Argument("size", (Symbol("H"), Symbol("W")))
        advice = Advice(sides, " resizes them, as ", Argument("size", (height, width)))
        _check_equal(sizes, labels, "sizes", advice)
    first = headers[0]
    shape = to.shape(first.height, first.width, first.channels)

    def origin(rows: Numbers) -> NDArray[Any]:
        pixels = np.empty((len(rows), *shape), dtype=first.dtype)
        for number, row in enumerate(rows.tolist()):
            pixels[number] = to.apply(one(row)[None])[0]
        return pixels

    rows = np.arange(len(headers))
    return Images(shape, first.dtype, rows, labels.__getitem__, from_files, in_memory, origin)


def _check_equal(values: list[str], labels: list[str], what: str, advice: str) -> None:
    if other := [number for number, value in enumerate(values) if value != values[0]]:
        raise ValueError(
            Advice(
                f"images of several {what}: {labels[0]} is {values[0]}, {labels[other[0]]} is "
                f"{values[other[0]]} ({len(other)} of {len(values)} differ from the first): ",
                advice,
            )
        )
