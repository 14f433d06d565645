r"""The one safe file: tensors, a JSON manifest and a digest in a single `.safetensors` file.

Layout: the safetensors header's `__metadata__` holds one entry, `upland`, a JSON text

    {"format": 1, "manifest": {...}, "sha256": "..."}

and the tensors follow as safetensors lays them out, so any safetensors reader can look at the weights. The
digest is SHA-256 over the canonical JSON (sorted keys, no spaces) of `format` and `manifest`, then over every
tensor in the order of its name: name, dtype, shape, bytes in C order, little endian. This rule stays the same
in every format to come, so that a file of a newer upland is told from a corrupted one.

Reading never runs code from the file: pickles and archives are refused, not opened. A file that cannot be
trusted raises `TensorFileError`, whose `reason` is `directory`, `empty`, `truncated`, `foreign`, `corrupted`
or `newer`.

Reference: safetensors, https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMAT", "TensorFileError", "read_tensors", "replacing", "write_tensors"]

FORMAT = 1
_KEY = "upland"
_MAX_HEADER = 100_000_000  # what the safetensors format itself allows
_ARCHIVES = (b"\x80", b"PK\x03\x04")  # pickle, and the zip archive that torch.save makes

Tensors = dict[str, NDArray[Any]]


class TensorFileError(ValueError):
    """A file that is no upland file, or no longer one.

    Args:
        path: The file at fault.
        reason: `directory`, `empty`, `truncated`, `foreign`, `corrupted` or `newer`.
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
    """Write tensors and a manifest into one file, whole or not at all.

    Args:
        path: The file to write; its folder must exist.
        tensors: Name to array of numbers or booleans, of any shape.
        manifest: JSON-able values; keys are strings, floats finite.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        TypeError: A tensor holds no numbers, or the manifest is not JSON.
        ValueError: The manifest holds a NaN or an infinity.

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
    with replacing(path, overwrite) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def read_tensors(path: str | os.PathLike[str]) -> tuple[Tensors, dict[str, Any]]:
    """Read a file written by `write_tensors`, after checking every byte that matters.

    Args:
        path: The file to read.

    Returns:
        The tensors by name, writable, and the manifest.

    Raises:
        FileNotFoundError: There is no such file.
        TensorFileError: The file is a directory, empty, truncated, foreign, corrupted or of a newer format.
    """
    path = Path(path)
    data = _read_bytes(path)
    header = _header(path, data)
    envelope = _envelope(path, header)
    tensors = _tensors(path, data)
    claimed = envelope.pop("sha256", None)
    if claimed != _digest(envelope, tensors):
        raise TensorFileError(
            path, "corrupted", "is corrupted: its content does not match its SHA-256 digest"
        )
    if envelope["format"] > FORMAT:
        newer = f"was written by a newer upland: format {envelope['format']}, this one reads up to {FORMAT}"
        raise TensorFileError(path, "newer", newer)
    return tensors, cast(dict[str, Any], envelope["manifest"])


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes the place of `path`, on failure it goes.

    Args:
        path: The file to write in the end.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false, or it is a directory.
        FileNotFoundError: The folder to write into does not exist.
    """
    path = Path(path)
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(f"{path} exists already" + (" and is a directory" if path.is_dir() else ""))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise TensorFileError(path, "directory", "is a directory, not a model file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    data = path.read_bytes()
    if not data:
        raise TensorFileError(path, "empty", "is empty: it holds no bytes at all")
    return data


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """The safetensors header, once the file is long enough for all that it announces."""
    length, body = int.from_bytes(data[:8], "little"), data[8:]
    if body and not body.startswith(b"{"):
        kind = (
            "a pickle or an archive, which upland never opens"
            if data.startswith(_ARCHIVES)
            else "no safetensors file"
        )
        raise TensorFileError(path, "foreign", f"is {kind}")
    if length > _MAX_HEADER:
        raise TensorFileError(path, "corrupted", f"is corrupted: it announces a header of {length} bytes")
    if len(body) < max(length, 1):
        raise TensorFileError(
            path, "truncated", f"is truncated: it ends after {len(data)} bytes, in its header"
        )
    try:
        header = json.loads(body[:length])
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0
        )
        missing = int(end) - (len(body) - length)
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise TensorFileError(path, "corrupted", "is corrupted: its header is not readable") from error
    if missing > 0:
        raise TensorFileError(path, "truncated", f"is truncated: {missing} of its bytes are missing")
    return cast(dict[str, Any], header)


def _envelope(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    """What upland wrote into the header: format, manifest, digest."""
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or _KEY not in metadata:
        raise TensorFileError(path, "foreign", "is a safetensors file, but not one that upland wrote")
    try:
        envelope = json.loads(metadata[_KEY])
        if isinstance(envelope["format"], int) and isinstance(envelope["manifest"], dict):
            return cast(dict[str, Any], envelope)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise TensorFileError(path, "corrupted", "is corrupted: its manifest is not readable")


def _tensors(path: Path, data: bytes) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: np.require(array, requirements="W") for name, array in load(data).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TensorFileError(path, "corrupted", f"is corrupted: {error}") from error
