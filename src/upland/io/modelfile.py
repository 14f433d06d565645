r"""The model file: tensors, a JSON manifest and a digest in a single `.safetensors` file.

Layout: the safetensors header's `__metadata__` holds one entry, `upland`, a JSON text

    {"format": 2, "manifest": {...}, "sha256": "..."}

and the tensors follow as safetensors lays them out, so any safetensors reader can look at the weights. The
digest is SHA-256 over the canonical JSON (sorted keys, no spaces) of `format` and `manifest`, then over every
tensor in the order of its name: name, dtype, shape, bytes in C order, little endian. This rule stays the same
in every format to come, so that a file of a newer upland is not taken for a corrupted one.

Reading never runs code from the file: pickles and archives are refused, not opened. The header is read by
safetensors, which allocates nothing before it has checked every size and offset against the file's own size;
how long it may be, how deep the manifest is and how many parts it has is bounded by the size of the tensors
(`upland.io.manifest`). The digest guards against damage, not against an author: whoever changes a file can
compute it again, so that what uses the tensors and the manifest checks them.
A file that cannot be used raises `TensorFileError`, whose `reason` is `special`, `directory`, `empty`,
`truncated`, `foreign`, `corrupted`, `older` or `newer`.

Reference: safetensors, https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from upland.io.manifest import parsed
from upland.io.replace import replacing

__all__ = ["FORMAT", "TensorFileError", "read_bytes", "read_tensors", "tensors_of", "write_tensors"]

FORMAT = 2
_OLDEST = 2  # the first format that was released
_KEY = "upland"
_LENGTH = 8  # bytes of the number at the start: the length of the header that follows
_LONGEST_HEADER = 1 << 26  # bytes of a header, beyond those of the tensors
_LONGEST_OF_ALL = 100_000_000  # what the safetensors format allows
_LETTERS = frozenset(string.printable.encode())
_ARCHIVES = (b"\x80", b"PK\x03\x04")  # pickle, and the zip archive that torch.save makes
_SPECIAL = (
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
_LARGE, _LEAST_DATA = 1 << 24, 8  # a file of more bytes has data in at least an eighth of them
_SEEKS = 4096
_DTYPES = {
    **{"BOOL": "?", "U8": "u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "F16": "<f2"},
    **{"I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"},
}
"""NumPy's names of safetensors' dtypes, of those that `write_tensors` writes."""

Tensors = dict[str, NDArray[Any]]


class TensorFileError(ValueError):
    """A file that is no upland file, or no longer one.

    Args:
        path: The file at fault.
        reason: `special` (a device, a pipe, a loop of links, a file of holes), `directory`, `empty`,
            `truncated`, `foreign`, `corrupted`, `older` or `newer`.
        detail: The rest of the sentence that begins with the path.
    """

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"{path} {detail}")
        self.reason = reason


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]],
    manifest: Mapping[str, Any],
    overwrite: bool = True,
) -> None:
    """Write tensors and a manifest into one file, whole or not at all; a new one is its owner's alone.

    Args:
        path: The file to write; its folder must exist.
        tensors: Name to array of numbers or booleans, of any shape.
        manifest: JSON-able values; keys are strings, floats finite.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OSError: The file exists and `overwrite` is false, or it cannot be written; see `check_target`.
        TypeError: A tensor holds no numbers, or the manifest is not JSON.
        ValueError: The manifest holds a NaN or an infinity, or is too long.

    Examples:
        >>> import numpy as np, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> write_tensors(path, {"w": np.eye(2)}, {"kind": "example"})
        >>> tensors, manifest = read_tensors(path)
        >>> tensors["w"].shape, manifest["kind"]
        ((2, 2), 'example')
    """
    from safetensors.numpy import save

    plain = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    envelope = {"format": FORMAT, "manifest": json.loads(_canonical(manifest))}
    text = _canonical(envelope | {"sha256": _digest(envelope, plain)})
    data = save(plain, metadata={_KEY: text})
    header = int.from_bytes(data[:_LENGTH], "little")
    if header > _LONGEST_HEADER + (len(data) - header):
        raise ValueError(f"{path}: names and levels of {header:,} bytes are more than a model file holds")
    with replacing(path, overwrite, private=True) as file:
        file.write(data)


def read_tensors(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any]]:
    """Read a file written by `write_tensors`, after checking every byte that matters.

    Args:
        path: The file to read.

    Returns:
        The tensors by name, writable, and the manifest.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        TensorFileError: The file is no regular one, empty, truncated, foreign, corrupted, or of a format that
            this version does not read.
    """
    path = Path(path)
    _check_regular(path)
    with path.open("rb") as file:
        _check_start(path, file.read(_LENGTH + 1), os.fstat(file.fileno()).st_size)
    return _checked(path, *_opened(path))


def read_bytes(path: Path) -> bytes:
    """All bytes of a regular file that is no archive; raises as `read_tensors`.

    Args:
        path: The file to read.
    """
    _check_regular(path)
    data = path.read_bytes()
    _check_start(path, data[: _LENGTH + 1], len(data))
    return data


def tensors_of(data: bytes, path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The content of a model file whose bytes are in memory; the same as `read_tensors`, and raises as it.

    Args:
        data: All bytes of the file.
        path: What messages call it.
    """
    from safetensors import deserialize

    if not data:
        raise TensorFileError(path, "empty", "is empty: it holds no bytes at all")
    _check_start(path, data[: _LENGTH + 1], len(data))
    with _readable(path, lambda: io.BytesIO(data), len(data)):
        entries = deserialize(data)  # type: ignore[no-untyped-call] # checks the header against the size of the data
        header = json.loads(data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")])
        tensors = {name: _tensor(entry) for name, entry in entries}
    return _checked(path, header.get("__metadata__"), tensors)


def _tensor(entry: Mapping[str, Any]) -> NDArray[Any]:
    """A tensor, writable, of what safetensors says of it; raises KeyError for what `write_tensors` does not
    write.
    """
    values = np.frombuffer(bytearray(entry["data"]), dtype=_DTYPES[entry["dtype"]])
    return values.reshape(entry["shape"])


def _checked(
    path: Path, metadata: Mapping[str, str] | None, tensors: Tensors
) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and manifest of a file that is whole, upland's and of a format that this version reads."""
    envelope = _envelope(path, metadata)
    claimed = envelope.pop("sha256", None)
    if claimed != _digest(envelope, tensors):
        raise TensorFileError(
            path, "corrupted", "is corrupted: its content does not match its SHA-256 digest"
        )
    _check_format(path, envelope["format"])
    return tensors, cast(dict[str, Any], envelope["manifest"])


def _plain(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(tensor, order="C")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise TypeError(
            f"tensor {name!r} has dtype {array.dtype}; a tensor file holds numbers and booleans only"
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(envelope: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(_canonical(envelope).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(_canonical([name, array.dtype.name, list(array.shape)]).encode())
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_start(path: Path, start: bytes, size: int) -> None:
    """Refuse what is no safetensors file by its first bytes; raises TensorFileError."""
    if start[_LENGTH:] not in (b"", b"{") or _is_text(start[:_LENGTH]):
        archive = start.startswith(_ARCHIVES)
        what = "a pickle or an archive, which upland never opens" if archive else "no model file"
        raise TensorFileError(path, "foreign", f"is {what}")
    header = int.from_bytes(start[:_LENGTH], "little")
    if header <= size and header > _LONGEST_HEADER + (size - header):
        text = f"is corrupted: its header of {header} bytes is longer than its tensors allow"
        raise TensorFileError(path, "corrupted", text)


def _check_regular(path: Path) -> None:
    """Refuse what is no file on a disk, by what it is; raises FileNotFoundError, TensorFileError."""
    try:
        found = os.stat(path)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            raise TensorFileError(path, "special", "is a symbolic link that leads to itself") from None
        raise FileNotFoundError(f"there is no file {path}") from None
    if stat.S_ISDIR(found.st_mode):
        raise TensorFileError(path, "directory", "is a directory, not a model file")
    if not stat.S_ISREG(found.st_mode):
        whats = [what for test, what in _SPECIAL if test(found.st_mode)]
        raise TensorFileError(path, "special", f"is {whats[0] if whats else 'no file'}, not a model file")
    if not found.st_size:
        raise TensorFileError(path, "empty", "is empty: it holds no bytes at all")
    if found.st_size > _LARGE and _data_bytes(path, found.st_size) < found.st_size / _LEAST_DATA:
        raise TensorFileError(path, "special", "is a file of holes, not a model file")


def _data_bytes(path: Path, size: int) -> int:
    """How many bytes of a file are not in holes, where the system knows of holes; some millions at most."""
    seek_hole, seek_data = (getattr(os, name, None) for name in ("SEEK_HOLE", "SEEK_DATA"))
    if seek_hole is None or seek_data is None:
        return size
    found = end = 0
    with path.open("rb") as file:
        for _ in range(_SEEKS):
            try:
                start = os.lseek(file.fileno(), end, seek_data)
            except OSError:  # nothing but a hole is left, or the system knows of none
                return found
            end = os.lseek(file.fileno(), start, seek_hole)
            found += end - start
            if end >= size or found >= size / _LEAST_DATA:
                break
    return found


def _is_text(start: bytes) -> bool:
    """Whether the first bytes are letters, not a number with zeros behind it, nor the beginning of one."""
    return len(start) > 1 and all(byte in _LETTERS for byte in start)


def _opened(path: Path) -> tuple[Mapping[str, str] | None, Tensors]:
    """The metadata and the tensors of a safetensors file."""
    from safetensors import safe_open

    with (
        _readable(path, lambda: path.open("rb"), path.stat().st_size),
        safe_open(path, framework="np") as file,
    ):
        names = file.keys()
        return file.metadata(), {name: _read(file, name) for name in names}


@contextmanager
def _readable(path: Path, again: Callable[[], BinaryIO], size: int) -> Iterator[None]:
    """Turn what is raised of content that cannot be read into a TensorFileError.

    Args:
        path: What messages call it.
        again: Opens it once more.
        size: Its bytes.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        with again() as file:
            missing = _missing_bytes(file, size)
        if missing > 0:
            what = f"is truncated: at least {missing} of its bytes are missing"
            raise TensorFileError(path, "truncated", what) from error
        raise TensorFileError(path, "corrupted", f"is corrupted: {error}") from error


def _read(file: Any, name: str) -> NDArray[Any]:
    """A tensor, writable; raises ValueError for what `write_tensors` does not write."""
    array: NDArray[Any] = np.require(file.get_tensor(name), requirements="W")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"a tensor is of {array.dtype}")
    return array


def _missing_bytes(file: BinaryIO, size: int) -> int:
    """How many bytes an unreadable file lacks by its header; 0 where the header says nothing."""
    length = int.from_bytes(file.read(_LENGTH), "little")
    if size <= _LENGTH or _LENGTH + length > size:
        # The header of a truncated file is cut off as well; a length beyond any header is damage.
        return 0 if length > _LONGEST_OF_ALL else max(_LENGTH + length - size, 1)
    header = file.read(length)
    try:
        ends = [
            entry["data_offsets"][1] for key, entry in json.loads(header).items() if key != "__metadata__"
        ]
        return int(max(ends, default=0)) + _LENGTH + length - size
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
        return 0


def _envelope(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What upland wrote into the header: format, manifest, digest."""
    if metadata is None or _KEY not in metadata:
        raise TensorFileError(path, "foreign", "is a safetensors file, but not one that upland wrote")
    try:
        envelope = parsed(metadata[_KEY])
    except ValueError as error:
        raise TensorFileError(
            path, "corrupted", f"is corrupted: its manifest is not readable: {error}"
        ) from None
    whole = isinstance(envelope, dict) and type(envelope.get("format")) is int
    if whole and isinstance(envelope.get("manifest"), dict):
        return cast(dict[str, Any], envelope)
    raise TensorFileError(path, "corrupted", "is corrupted: its manifest is not readable")


def _check_format(path: Path, number: int) -> None:
    """Refuse a format that this version does not read."""
    if number < _OLDEST:
        raise TensorFileError(path, "older", f"is of format {number} of an unreleased upland 0.1: fit again")
    if number > FORMAT:
        newer = f"was written by a newer upland: format {number}, this one reads up to {FORMAT}"
        raise TensorFileError(path, "newer", newer)
