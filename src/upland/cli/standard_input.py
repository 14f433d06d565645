"""Data from standard input, named `-`: kept in a temporary file while a command runs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import typer

NAME = "standard-input"
"""What the file is called, before the suffix of its format."""

_HEAD = 64
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
    folder = tempfile.mkdtemp(prefix="upland-")
    context.call_on_close(lambda: shutil.rmtree(folder, ignore_errors=True))
    head = sys.stdin.buffer.read(_HEAD)
    path = Path(folder) / f"{NAME}{suffix_by(head)}"
    with path.open("wb") as file:
        file.write(head)
        shutil.copyfileobj(sys.stdin.buffer, file, _AT_ONCE)
    return path


def suffix_by(head: bytes) -> str:
    """The suffix of the format that content begins like."""
    if head.startswith(b"PK\x03\x04") and b".npy" in head:
        return ".npz"
    return next((suffix for start, suffix in _FORMATS.items() if head.startswith(start)), ".csv")


def named(text: str, data: Path | None) -> str:
    """A message that speaks of standard input, not of the file that stands for it."""
    return (
        text.replace(str(data), "standard input") if data is not None and data.stem.startswith(NAME) else text
    )
