"""How the text of a CSV file is laid out, learned from its start: the delimiter, the decimal sign, the names.

The header is read whole, however long it is up to `LONGEST` bytes. What is no table, or a doubtful one, is
refused by what it is: a web page, an archive, a comment, a first row of numbers.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from upland.io.cells import CellOptions, as_number
from upland.io.source import NoRowsError

SAMPLE = 1 << 20
"""Bytes from the start of a file that its layout is learned from, if its header is no longer."""

LONGEST = 1 << 26
"""Bytes that a header may have."""

LINES = 1000
"""Lines at the start that the layout is learned from."""

MOST = 200_000
"""Columns that a file may have."""

_DELIMITERS = (",", ";", "\t", "|")
_NEWLINE = re.compile("\r\n|\n|\r")
_LEADING_ZERO = re.compile(r"\s*0\d+\s*")
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*")
_STARTS = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip, its name should end in .gz",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"{": "JSON",
    b"[{": "JSON",
    b"[[": "JSON",
    b"<": "HTML or XML",
}


class Layout(NamedTuple):
    """How a CSV file is laid out.

    Args:
        names: Its columns.
        delimiter: What parts its cells.
        decimal: The decimal sign of its numbers.
        start: Bytes before its first row.
        line: The line in which its first row is, counted from 1.
        newline: What ends its lines.
        header: Its header as it stands there, with its end.
        codes: Columns of whole numbers with leading zeros, which are codes and no numbers.
    """

    names: list[str]
    delimiter: str
    decimal: str
    start: int
    line: int
    newline: bytes
    header: bytes
    codes: tuple[str, ...]


def layout_of(path: Path, file: pa.NativeFile, tsv: bool, cells: CellOptions) -> Layout:
    """The layout of a file of text.

    Args:
        path: The file, for messages.
        file: The file, at its start.
        tsv: Whether its suffix says that its cells are parted by tabs.
        cells: How its cells are written, as far as the user says so.

    Raises:
        ValueError: It is empty, of another format or encoding, without a header or without rows; a name is
            there twice; the line is named.
    """
    text, bom = _head(path, file)
    lines = _split(text)
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise ValueError(f"{path} is empty")
    said = re.fullmatch(r"sep=(.)\s*", lines[first])
    first += said is not None
    if first < len(lines) and not lines[first].strip():
        first += 1
    rows = lines[first:]
    if not rows or not rows[0].strip():
        raise ValueError(f"{path} is empty")
    delimiter = said[1] if said else "\t" if tsv else _delimiter(path, rows, first + 1)
    names, used = _names(path, rows, delimiter, first + 1)
    if not any(line.strip() for line in rows[used:]) and len(text) < SAMPLE:
        raise NoRowsError(f"{path} has a header but no rows")
    sample = _cells(rows[used:], delimiter)
    return Layout(
        names,
        delimiter,
        _decimal(sample, delimiter, cells),
        bom + len("".join(lines[: first + used]).encode()),
        first + used + 1,
        b"\n" if "\n" in rows[0] or "\r" not in rows[0] else b"\r",
        "".join(rows[:used]).encode(),
        _codes(names, sample),
    )


def _head(path: Path, file: pa.NativeFile) -> tuple[str, int]:
    """The start of the text, with the whole of the first line, and the bytes of its byte order mark."""
    data: bytes = file.read(SAMPLE)
    while len(data) < LONGEST and not re.search(rb"[^\r\n][\r\n]+[^\r\n]", data):
        more = file.read(len(data))
        data += more
        if not more:
            break
    if len(data) >= LONGEST and not re.search(rb"[^\r\n][\r\n]", data):
        raise ValueError(f"{path}: its first line is longer than {LONGEST:,} bytes, which is no header")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16 text, only UTF-8 is read: save it as UTF-8")
    start = data.removeprefix(b"\xef\xbb\xbf")
    for found, what in _STARTS.items():
        if start[:64].lstrip().startswith(found):
            raise ValueError(f"{path} is no table of text: it is {what}")
    if b"\0" in data:
        raise ValueError(f"{path} is no text: it contains zero bytes")
    try:
        return start.decode(), len(data) - len(start)
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4 or len(data) < SAMPLE:
            raise not_utf8(path, f"byte {error.start + len(data) - len(start) + 1}") from None
        return start[: error.start].decode(), len(data) - len(start)


def not_utf8(path: Path, where: str) -> ValueError:
    """The error that says that a file is of another encoding; `where` is the place."""
    return ValueError(f"{path} is not UTF-8 text ({where}): save it as UTF-8")


def _split(text: str) -> list[str]:
    """The first lines with their ends; `str.splitlines` also splits where no line of a CSV ends."""
    ends = [match.end() for match in islice(_NEWLINE.finditer(text), LINES)]
    lines = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    rest = text[ends[-1] if ends else 0 :]
    return [*lines, rest] if rest and len(ends) < LINES else lines


# -- the dialect ---------------------------------------------------------------------------------------------


def _delimiter(path: Path, lines: Sequence[str], number: int) -> str:
    """The delimiter by which the lines have as many cells as the header, and the most numbers among them."""
    full = [line for line in lines[:100] if line.strip()]
    found: dict[str, tuple[float, float]] = {}
    for delimiter in _DELIMITERS:
        header, *rows = _cells(full, delimiter)
        if len(header) > 1:
            same = [row for row in rows if len(row) == len(header)]
            cells = [cell for row in same[:20] for cell in row]
            numbers = sum(_NUMBER.fullmatch(cell) is not None for cell in cells)
            found[delimiter] = (len(same) / max(len(rows), 1), numbers / max(len(cells), 1))
    if found:
        return max(found, key=lambda delimiter: found[delimiter])
    widths = {len(line.split()) for line in full}
    if len(widths) == 1 and widths != {1} and len(full) > 1 and any(map(_has_numbers, full[1:])):
        raise ValueError(
            f"{path}, line {number}: its cells seem to be parted by blanks; "
            "save it with commas, semicolons, tabs or vertical bars between them"
        )
    return ","


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The cells of some lines; none of them from a line on with a longer cell than Python's reader takes."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows += csv.reader(lines, delimiter=delimiter)
    return rows or [[]]


def _has_numbers(line: str) -> bool:
    words = line.split()
    return 2 * sum(_NUMBER.fullmatch(word) is not None for word in words) > len(words)


def _decimal(sample: Sequence[Sequence[str]], delimiter: str, cells: CellOptions) -> str:
    if delimiter == ",":  # a cell such as "1,5" is text, and read by what the user says of cells
        return "."
    if cells.decimal is not None:
        return cells.decimal
    if delimiter != ";" or cells.thousands == ",":
        return "."
    if cells.thousands == ".":
        return ","
    found = [cell.strip() for row in sample for cell in row]
    commas = sum(bool(re.fullmatch(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", cell)) for cell in found)
    points = sum(bool(re.fullmatch(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?", cell)) for cell in found)
    return "," if commas > points else "."


def _codes(names: Sequence[str], sample: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Columns that have a cell such as 00501."""
    found = {
        position
        for row in sample
        for position, cell in enumerate(row[: len(names)])
        if cell[:1] in "0 " and _LEADING_ZERO.fullmatch(cell)
    }
    return tuple(names[position] for position in sorted(found))


# -- the header ----------------------------------------------------------------------------------------------


def _names(path: Path, lines: Sequence[str], delimiter: str, number: int) -> tuple[list[str], int]:
    """The names, without blanks around them, and the lines that they take."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        names = [name.strip() for name in next(reader)]
        used = reader.line_num
        below = next((row for row in reader if row), None) if used > 1 or lines[0].startswith("#") else None
    except csv.Error:
        names, used, below = [], 2, None
    if used > 1 and (below is None or len(below) != len(names)):
        raise ValueError(f"{path}, line {number}: a quote in the header is not closed in its line")
    if lines[0].startswith("#") and below is not None and len(below) != len(names):
        raise ValueError(f"{path}, line {number} is a comment, which CSV does not have: remove such lines")
    _check_names(path, names)
    return names, used


def _check_names(path: Path, names: Sequence[str]) -> None:
    if len(names) > MOST:
        raise ValueError(f"{path} has {len(names):,} columns; at most {MOST:,} are read")
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        shown = ", ".join(map(repr, twice[:10])) + (", ..." if len(twice) > 10 else "")
        raise ValueError(f"{path}: duplicate column names in the header: {shown}")
    numbers = [name for name in names if as_number(name) is not None]
    counted = [str(position) for position in range(len(names))]
    if names != counted and 2 * len(numbers) >= len(names):
        only = "only" if len(numbers) == len(names) else "mostly"
        raise ValueError(
            f"{path} has no header: its first line holds {only} numbers ({', '.join(numbers[:5])}); "
            "add a line of names, or begin each name with a letter"
        )
