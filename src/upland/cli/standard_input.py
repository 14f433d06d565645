"""Data from standard input, named `-`: kept in a temporary file while a command runs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import typer

NAME = "standard-input"
"""What the file is called, before the suffix of its format."""

_AT_ONCE = 1 << 20
_FORMATS = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",  # a stream
    b"\x1f\x8b": ".csv.gz",
    b"\x28\xb5\x2f\xfd": ".csv.zst",
    b"BZh": ".csv.bz2",
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".xlsx",
}
"""What the content of each format begins with; all else is CSV."""


def received(context: typer.Context, data: Path) -> Path:
    """The path of the data; `-` stands for standard input, read to its end into a file that is removed when
    the command ends.

    Args:
        context: Of the command.
        data: As the user gave it.
    """
    if str(data) != "-":
        return data
    if sys.stdin is None:
        raise typer.BadParameter("- stands for standard input, which is closed: name a file")
    folder = tempfile.mkdtemp(prefix="upland-")
    context.call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    try:
        return _kept(Path(folder), sys.stdin.buffer)
    except BaseException:  # a signal, a full disk: the command is not closed then
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _kept(folder: Path, stream: BinaryIO) -> Path:
    """A file of all that a stream holds; of what is no data by its start, that start is enough."""
    head = stream.read(_AT_ONCE)
    path = folder / f"{NAME}{suffix_by(head)}"
    with path.open("wb") as file:
        file.write(head)
        if not (path.suffix == ".csv" and b"\0" in head):
            shutil.copyfileobj(stream, file, _AT_ONCE)
    return path


def suffix_by(head: bytes) -> str:
    """The suffix of the format that content begins like."""
    if head.startswith(b"PK\x03\x04") and b".npy" in head[:64]:
        return ".npz"
    return next((suffix for start, suffix in _FORMATS.items() if head.startswith(start)), ".csv")


def named(text: str, data: Path | None) -> str:
    """A message that speaks of standard input, not of the file that stands for it."""
    return (
        text.replace(str(data), "standard input") if data is not None and data.stem.startswith(NAME) else text
    )
