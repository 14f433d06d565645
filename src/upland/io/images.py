"""Image files and Pillow images: their headers, and their pixels `(H, W, C)`.

PNG, JPEG, BMP, TIFF, GIF, WebP and PNM are read by Pillow. Every image is read as one of four types: grey or
colour of 8 bits, grey of 16 bits, grey float (a TIFF). Palettes, CMYK, YCbCr and HSV become RGB; one-bit
images become grey of 0 and 255; alpha is dropped; the camera's orientation (EXIF) is applied. Pillow reads
colour of 16 bits as 8 bits, which a header says, and in a TIFF with planes of colour wrong, which is refused.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upland.io.locks import warnings_apart

if TYPE_CHECKING:
    from PIL.Image import Image

    ImageFile = Path | bytes | Image

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm", ".pbm"}
)
"""Suffixes of image files."""
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")  # others, as PostScript, run programs

OTHERS = frozenset(
    {
        ".avif",
        ".cr2",
        ".dcm",
        ".dng",
        ".eps",
        ".heic",
        ".heif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jxl",
        ".nef",
        ".pdf",
    }
    | {".psd", ".raw", ".svg", ".tga", ".xcf"}
)
"""Suffixes of files of pictures that are not read."""

MOST_PIXELS = 89_478_485
"""Pixels that an image may have, which is Pillow's own usual limit; they are read within 2 GB."""

_COLOUR = frozenset({"P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV"})
_GREY = frozenset({"1", "L", "LA"})
_GREY16 = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_ALPHA = frozenset({"PA", "RGBA", "RGBa", "LA"})
_ORIENTATION = 0x0112
_BITS, _PLANES, _FORMAT = 258, 284, 339  # tags of a TIFF: of a value, of planes, of numbers
_APART, _SIGNED = 2, 2  # values of the latter two
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # what a TIFF begins with
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)


@dataclass(frozen=True)
class Header:
    """Size and type of an image, as its header says.

    Args:
        height: pixels from top to bottom.
        width: pixels from left to right.
        channels: 1 or 3, without alpha.
        dtype: uint8, uint16 or float32.
        deeper: whether the file has more bits than those that are read.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    deeper: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"{self.height} x {self.width} of {self.channels} channels, {self.dtype}"


def header_of(pixels: NDArray[Any]) -> Header:
    """The header of pixels `(H, W, C)`."""
    height, width, channels = pixels.shape
    return Header(height, width, channels, pixels.dtype.newbyteorder("="))


def pillow() -> ModuleType:
    """The module `PIL.Image`.

    Raises:
        ImportError: Pillow is not installed; the message says how to.
    """
    try:
        import PIL.Image
    except ImportError:
        raise ImportError("image files are read by Pillow: pip install 'upland[images]'") from None
    return PIL.Image


def is_pillow(x: object) -> bool:
    """Whether this is a Pillow image; does not import Pillow."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(x, module.Image)


def is_image_file(path: Path) -> bool:
    """Whether a file has the suffix of an image."""
    return path.suffix.casefold() in SUFFIXES


# -- folders -------------------------------------------------------------------------------------------------


def image_files_in(folder: Path) -> list[Path]:
    """The image files of a folder and of the folders in it, in the natural order of their names.

    Hidden files and files of other suffixes are left out; with a warning, pictures in other formats, what is
    called an image and is no file, and deeper folders.

    Raises:
        ValueError: there is no image; the message says what there is.
    """
    here = _visible(folder)
    inside = [entry for sub in here if sub.is_dir() for entry in _visible(sub)]
    files = [entry for entry in [*here, *inside] if is_image_file(entry) and entry.is_file()]
    deeper = [entry for entry in inside if entry.is_dir()]
    if not files:
        raise ValueError(f"{folder} holds no images: {_contents(here, inside)}")
    if deeper:
        warnings.warn(
            f"{folder} is read one level deep: left out are {len(deeper)} deeper folders, "
            f"the first is {deeper[0]}",
            UserWarning,
            stacklevel=2,
        )
    if unread := [entry for entry in [*here, *inside] if _unread(entry)]:
        first = unread[0]
        what = _no_file(first) or f"{first.suffix} files are not read, save them as PNG"
        warnings.warn(
            f"{len(unread)} of the pictures in {folder} are left out, the first is "
            f"{first.relative_to(folder).as_posix()}: {what}",
            UserWarning,
            stacklevel=2,
        )
    return sorted(files, key=lambda path: _natural(path.relative_to(folder)))


def _unread(entry: Path) -> bool:
    """Whether this is a picture that is not read."""
    if is_image_file(entry):
        return _no_file(entry) is not None and not entry.is_dir()
    return entry.suffix.casefold() in OTHERS and not entry.is_dir()


def _no_file(path: Path) -> str | None:
    """What a path leads to if it is no file: it could be read for ever, or not at all."""
    if path.is_file():
        return None
    if path.is_symlink() and not path.exists():
        return "it is a link that leads nowhere"
    return "it is a pipe, a device or a socket, and no file"


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """A key by which img2 comes before img10."""
    return [
        [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]
        for name in (*path.parts[:-1], path.stem, path.suffix)
    ]


def _contents(here: list[Path], inside: list[Path]) -> str:
    if not here:
        return "it is empty"
    files = Counter(entry.suffix or "without suffix" for entry in [*here, *inside] if entry.is_file())
    folders = sum(entry.is_dir() for entry in here)
    parts = [f"{count} {suffix}" for suffix, count in files.most_common(5)]
    if folders:
        parts.append(f"{folders} folder{'s' if folders > 1 else ''}")
    return f"it holds {', '.join(parts)}; images are {', '.join(sorted(SUFFIXES))}"


# -- reading -------------------------------------------------------------------------------------------------


def read_header(file: ImageFile, label: str) -> Header:
    """The header of an image; reads no pixels of a file.

    Raises:
        FileNotFoundError, PermissionError: as the file system says, with the path.
        ValueError: no image, or one that is not supported: too large, of several frames, of a rare mode.
    """
    with _opened(file, label) as image:
        channels, dtype = _pixel_type(image, label)
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Header(height, width, channels, dtype, dtype == np.uint8 and _is_deep(image))


def read_pixels(file: ImageFile, label: str) -> tuple[NDArray[Any], bool]:
    """The pixels `(H, W, C)` of an image, and whether alpha hid nothing; raises as `read_header`, and
    ValueError for a truncated or damaged file.
    """
    with _opened(file, label) as image:
        channels, dtype = _pixel_type(image, label)
        turned = _orientation(image)  # before the pixels are loaded, as `read_header` does
        image.load()
        opaque = True
        if dtype == np.uint8 and (image.mode in _ALPHA or "transparency" in image.info):
            image = image.convert("RGBA")
            opaque = bool(np.asarray(image.getchannel("A")).min() == 255)
        if dtype == np.uint8 and image.mode != (wanted := "L" if channels == 1 else "RGB"):
            image = image.convert(wanted)
        pixels = np.asarray(image)
        if (
            dtype == np.uint16
            and pixels.dtype == np.int32
            and not 0 <= pixels.min() <= pixels.max() < 1 << 16
        ):
            raise ValueError(f"its values reach from {pixels.min()} to {pixels.max()}")
        pixels = pixels.astype(dtype, copy=False).reshape(*pixels.shape[:2], channels)
    return np.ascontiguousarray(_turn(pixels, turned)), opaque


@contextmanager
def _opened(file: ImageFile, label: str) -> Iterator[Image]:
    """An image with Pillow's errors turned into ones that name it; what is opened is closed."""
    module = pillow()
    try:
        with warnings_apart():
            warnings.simplefilter("ignore", UserWarning)  # damage beside the pixels
            warnings.simplefilter("error", module.DecompressionBombWarning)
            module.init()  # loads the formats once; `open` with a list of them does not
            if isinstance(file, Path):
                if file.exists() and not file.is_dir() and (wrong := _no_file(file)):
                    raise _Unsupported(f"{label} cannot be read: {wrong}")
                with module.open(file, formats=_FORMATS) as image:
                    yield image
            elif isinstance(file, bytes):
                with module.open(io.BytesIO(file), formats=_FORMATS) as image:
                    yield image
            else:
                yield file
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{label}: there is no such file") from None
    except PermissionError:
        raise PermissionError(f"{label}: no permission to read it") from None
    except _Unsupported as error:
        raise ValueError(str(error)) from None
    except (module.DecompressionBombWarning, module.DecompressionBombError):
        raise ValueError(
            f"{label} has more than the {module.MAX_IMAGE_PIXELS:,} pixels that Pillow reads for safety: "
            "make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from None
    except _BROKEN as error:
        text = f"{label} cannot be read, it is damaged or no image"
        if not isinstance(error, module.UnidentifiedImageError):
            raise ValueError(f"{text}: {error}") from error
        kinds = "grey of 8 or 16 bits, grey of 32-bit floats, or colour of 8 bits"
        of_tiff = f" of a type that is read: save it as {kinds}" if _is_tiff(file) else ": no image"
        raise ValueError(text + of_tiff) from error


class _Unsupported(Exception):
    """A valid image of a type that is not read."""


def _pixel_type(image: Image, label: str) -> tuple[int, np.dtype[Any]]:
    """Channels and dtype that an image is read as."""
    if image.width * image.height > MOST_PIXELS:
        raise _Unsupported(
            f"{label} has {image.width * image.height:,} pixels; at most {MOST_PIXELS:,} are read: "
            "make it smaller, or cut it into parts"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with a preview
        raise _Unsupported(f"{label} holds {frames} frames: save each as a file of its own")
    _check_tiff(image, label)
    if image.mode in _COLOUR:
        return 3, np.dtype(np.uint8)
    if image.mode in _GREY:
        return 1, np.dtype(np.uint8)
    if image.mode in _GREY16 or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return 1, np.dtype(np.uint16)
    if image.mode == "F":
        return 1, np.dtype(np.float32)
    raise _Unsupported(
        f"{label} is of Pillow's mode {image.mode!r}, which is not supported: save it as grey"
        f"{' of 16 bits, from 0 to 65,535' if image.mode == 'I' else ' or RGB'}"
    )


def _is_deep(image: Image) -> bool:
    """Whether a file has more than 8 bits for a value; not of images whose pixels are in memory."""
    if image.format == "TIFF":
        return max(_tag(image, _BITS)) > 8
    if image.format not in ("PNG", "PPM"):
        return False
    said = [tile[3] for tile in getattr(image, "tile", [])]  # a mode; of PPM the greatest value too
    return any(";16" in one if isinstance(one, str) else one[-1] > 255 for one in said)


def _check_tiff(image: Image, label: str) -> None:
    """Refuse what Pillow reads wrong: colour of 16 bits in planes, and 8 bits with a sign."""
    if image.format != "TIFF":
        return
    deep = max(_tag(image, _BITS)) > 8
    if deep and image.mode in _COLOUR and _tag(image, _PLANES) == (_APART,):
        raise _Unsupported(f"{label} has planes of 16 bits, one a colour: save it as pixels, or of 8 bits")
    if not deep and _SIGNED in _tag(image, _FORMAT):
        raise _Unsupported(f"{label} holds values of 8 bits with a sign: save it from 0 to 255")


def _tag(image: Image, number: int) -> tuple[int, ...]:
    """The whole numbers of a tag of a TIFF; 1 where it is not there."""
    found = getattr(image, "tag_v2", {}).get(number, 1)
    return found if isinstance(found, tuple) else (found,)


def _is_tiff(file: ImageFile) -> bool:
    """Whether the first bytes are those of a TIFF."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(4) in _TIFF
    return isinstance(file, bytes) and file[:4] in _TIFF


def _orientation(image: Image) -> int:
    """The camera's orientation, 1 to 8; 1 for a TIFF, which Pillow turns by itself."""
    if image.format == "TIFF" or (
        image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info)
    ):
        return 1
    found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels `(H, W, C)` as they were seen."""
    turned = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    vertical = orientation in (3, 4, 7, 8)
    horizontal = orientation in (2, 3, 6, 7)
    return turned[:: -1 if vertical else 1, :: -1 if horizontal else 1]
