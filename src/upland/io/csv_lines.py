"""The lines of a CSV file beside its rows: as many rows must come out as lines went in.

A quote that was never meant to be one swallows every line up to the next quote. So lines are counted while a
file is read, which costs next to nothing; where the rows are fewer, the lines are gone through one by one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from upland.io.bounds import check_expansion
from upland.io.csv_layout import SAMPLE, Layout

_TAIL = 1 << 12
_AT_ONCE = 1 << 18  # memory of this size is used again, where larger pieces are given back


class Lines:
    """What the bytes of a CSV file say of its lines while they pass.

    Args:
        path: The file, for messages.
        layout: Its layout.
        reopened: Opens it anew, at its first row.
        stored: Its size if it is compressed, else None.
        most: Bytes that may pass.

    Attributes:
        quoted: Whether a quote has passed; without one each line is a row.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        reopened: Callable[[], pa.NativeFile],
        stored: int | None,
        most: float,
    ) -> None:
        self._path, self._layout, self._reopened = path, layout, reopened
        self._stored, self._most = stored, most
        self._kept = max(_TAIL, len(layout.header) + 1)
        self._tail = layout.newline
        self._passed = self._uncounted = self._ends = 0
        self.quoted = False

    def see(self, block: bytes) -> None:
        """Take the next bytes into account.

        Raises:
            ValueError: A zero byte; the header a second time; more bytes than may pass, or than a compressed
                file may become.
        """
        if self._passed + len(block) > self._most:
            raise ValueError(
                f"{self._path} is larger than the {self._most:,} bytes that are read whole: make it a "
                "Parquet file, which is read in pieces, as polars.scan_csv(...).sink_parquet(...) does"
            )
        if self._stored is not None:
            check_expansion(self._path, self._passed + len(block), self._stored, "unpack it with gunzip")
        if b"\0" in block:
            raise ValueError(f"{self._path} is no text: it contains zero bytes")
        if len(self._layout.names) > 1:
            self._check_header(block)
        if not self.quoted and b'"' in block:
            self.quoted, self._uncounted = True, self._passed
        if self.quoted:
            self._ends += _count(block, self._layout.newline)
        self._passed += len(block)
        self._tail = (self._tail + block[-self._kept :])[-self._kept :]

    def scan(self) -> None:
        """Take the whole file into account; raises as `see`."""
        with self._reopened() as file:
            while block := file.read(_AT_ONCE):
                self.see(block)

    @property
    def lines(self) -> int:
        """Lines that have passed, but for empty ones at the end."""
        if not self._passed:
            return 0
        ends = self._ends + self._ends_before(self._uncounted if self.quoted else self._passed)
        return ends + 1 - self._tail[len(self._tail.rstrip(b"\r\n")) :].count(self._layout.newline)

    def _ends_before(self, size: int) -> int:
        """Ends of lines in the first bytes."""
        ends = 0
        with self._reopened() as file:
            while size > 0 and (block := file.read(min(size, SAMPLE))):
                ends += _count(block, self._layout.newline)
                size -= len(block)
        return ends

    def _check_header(self, block: bytes) -> None:
        header = self._layout.header
        seam = self._tail[-len(header) :]
        for data, before in ((seam + block[: len(header)], self._passed - len(seam)), (block, self._passed)):
            at = data.find(header)
            while at >= 0:
                if at and data[at - 1] in b"\r\n":
                    line = self._layout.line + self._ends_before(before + at)
                    raise ValueError(
                        f"{self._path}, line {line} is the header again, as if two files were joined: "
                        "remove that line, or part the files"
                    )
                at = data.find(header, at + 1)


def _count(block: bytes, newline: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == newline[0]))


class CountedFile(io.RawIOBase):
    """The rows of a CSV file as bytes, which `Lines` sees while they pass.

    Args:
        file: The file, at its first row.
        lines: What sees them.
    """

    def __init__(self, file: pa.NativeFile, lines: Lines) -> None:
        self._file, self._lines = file, lines

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; raises as `Lines.see`."""
        block: bytes = self._file.read(size if size >= 0 else None)
        self._lines.see(block)
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def skip(file: pa.NativeFile, size: int) -> pa.NativeFile:
    """The same file, `size` bytes further."""
    while size > 0:
        size -= len(file.read(min(size, SAMPLE))) or size
    return file


def count_rows(path: Path, lines: Iterable[str], layout: Layout) -> int:
    """How many rows lines are: cells in quotes may go over several.

    Args:
        path: The file, for messages.
        lines: Those after the header, with their ends.
        layout: How they are laid out.

    Raises:
        ValueError: A quote is not closed, or holds lines that are rows of their own; its line is named.
    """
    rows, full, opened = 0, [False], 0
    inside = False
    for number, line in enumerate(lines, start=layout.line):
        before = inside
        if inside or '"' in line:
            inside = _inside_after(line, inside, layout.delimiter)
        if not before:
            rows += bool(line.rstrip("\r\n"))
            full, opened = [], number
        if before or inside:
            full.append(line.count(layout.delimiter) == len(layout.names) - 1)
        if before and not inside and len(layout.names) > 1 and sum(full) >= max(2, len(full) / 2):
            raise ValueError(
                f"{path}, line {opened}: a quote opens that closes in line {number} only, and the lines "
                "between are rows of their own: remove the quote, or double it in a cell in quotes"
            )
    if inside:
        raise ValueError(f"{path}, line {opened}: a quote opens that is never closed")
    return rows


def _inside_after(line: str, inside: bool, delimiter: str) -> bool:
    """Whether a line ends inside a cell in quotes; a quote opens a cell only at its start."""
    at = 0
    while True:
        if not inside:
            if not line.startswith('"', at):
                at = line.find(delimiter, at) + 1
                if at == 0:
                    return False
                continue
            at, inside = at + 1, True
        at = line.find('"', at)
        if at < 0:
            return True
        if line.startswith('"', at + 1):
            at += 2
            continue
        inside, at = False, line.find(delimiter, at + 1) + 1
        if at == 0:
            return False


def ragged_line(lines: Iterable[str], layout: Layout) -> str:
    """The number of the first line that has another number of cells than the header; ? if there is none.

    Args:
        lines: Those after the header, with their ends.
        layout: How they are laid out.
    """
    reader = csv.reader(lines, delimiter=layout.delimiter)
    line = layout.line
    try:
        for row in reader:
            if row and len(row) != len(layout.names):
                return str(line)
            line = layout.line + reader.line_num
    except csv.Error:
        return str(line)
    return "?"
