"""CSV as a source: what separates the cells, which line is the header, what a cell is, and where a file is
broken.

To fit, a CSV is read whole and its types are inferred over all rows. To score, it streams as text, and each
column of the schema is cast to the kind it had in the fit; so a batch never guesses, and columns that the
schema does not know go through as they stand.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from upland.io.schema import Column, Schema
from upland.io.source import PIECE, Source, reading, suffix_of

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Spellings of a missing cell."""

_SAMPLE = 1 << 20
_BLOCK = 1 << 23
_TRUE, _FALSE = ("true", "1"), ("false", "0")


class _Dialect(NamedTuple):
    delimiter: str
    decimal: str


class CsvSource(Source):
    """A CSV file with a header: cells parted by comma, semicolon, tab or bar; UTF-8; plain or gzip. One
    group.
    """

    def __init__(self, path: Path) -> None:
        sample = _sample(path)
        lines = [line for line in sample.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{path} is empty")
        self._dialect = _dialect(lines, suffix_of(path))
        names = next(csv.reader(lines, delimiter=self._dialect.delimiter))
        _check_header(path, names)
        if len(lines) == 1 and len(sample) < _SAMPLE:
            raise ValueError(f"{path} has a header but no rows")
        super().__init__(path, names, None)
        self._table: pa.Table | None = None

    def read(self) -> pa.Table:
        """The whole file, its types inferred over all rows; kept for later calls."""
        if self._table is None:
            self._table = self._read_inferred()
            self._sizes = [self._table.num_rows]
        return self._table

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`; without a schema the file is read whole."""
        if schema is None:
            for start in range(0, self.read().num_rows, size):
                yield (piece := self.read().slice(start, size)), piece
            return
        columns = _columns_by_name(schema, self.names)
        first = 0
        for raw in self._texts(size):
            yield raw, _typed(raw, columns, first, self.path, self._dialect.decimal)
            first += raw.num_rows

    def _pieces(self, group: int) -> Iterator[pa.Table]:
        table = self.read()
        return (table.slice(start, PIECE) for start in range(0, table.num_rows, PIECE))

    def _read_inferred(self) -> pa.Table:
        convert = arrow_csv.ConvertOptions(
            null_values=list(NULLS), strings_can_be_null=True, decimal_point=self._dialect.decimal
        )
        try:
            with _opened(self.path) as file:
                table = arrow_csv.read_csv(file, self._read_options(True), self._parse_options(), convert)
        except pa.ArrowInvalid as error:
            raise self._explained(error) from error
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read, it is damaged: {error}") from error
        for name, field in zip(table.column_names, table.schema, strict=True):
            if pa.types.is_binary(field.type):
                raise _not_utf8(self.path, f"column {name!r}")
        return table

    def _texts(self, size: int) -> Iterator[pa.Table]:
        """Every cell as the text that it is, in batches of at most `size` rows."""
        convert = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()), null_values=[], strings_can_be_null=False
        )
        try:
            with _opened(self.path) as file:
                reader = arrow_csv.open_csv(file, self._read_options(False), self._parse_options(), convert)
                for batch in reader:
                    table = pa.Table.from_batches([batch])
                    yield from (table.slice(start, size) for start in range(0, table.num_rows, size))
        except pa.ArrowInvalid as error:
            raise self._explained(error) from error
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read, it is damaged: {error}") from error

    def _read_options(self, threads: bool) -> arrow_csv.ReadOptions:
        return arrow_csv.ReadOptions(use_threads=threads, block_size=_BLOCK)

    def _parse_options(self) -> arrow_csv.ParseOptions:
        return arrow_csv.ParseOptions(delimiter=self._dialect.delimiter, newlines_in_values=True)

    def _explained(self, error: pa.ArrowInvalid) -> ValueError:
        """Pyarrow's error with the file and, for a ragged line, its number."""
        text = str(error)
        if "UTF8" in text or "utf8" in text:
            return _not_utf8(self.path, text.split(":")[0])
        ragged = re.search(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)", text)
        if ragged is None:
            return ValueError(f"{self.path} cannot be read as CSV: {text.splitlines()[0]}")
        line = ragged[1] or self._ragged_line(int(ragged[2]))
        return ValueError(
            f"{self.path}, line {line}: the header has {ragged[2]} cells, this line has {ragged[3]}"
        )

    def _ragged_line(self, width: int) -> str:
        with _opened(self.path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            for number, row in enumerate(csv.reader(text, delimiter=self._dialect.delimiter), start=1):
                if row and len(row) != width:
                    return str(number)
        return "?"


# -- the look of the file ------------------------------------------------------------------------------------


def _opened(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.name.casefold().endswith(".gz") else None)


def _sample(path: Path) -> str:
    with reading(path, "CSV"), _opened(path) as file:
        data = cast(bytes, file.read(_SAMPLE))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16 text, only UTF-8 is read: save it as UTF-8")
    if b"\0" in data:
        raise ValueError(f"{path} is no text: it contains zero bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(data) == _SAMPLE and error.start > _SAMPLE - 4:
            return data[: error.start].decode("utf-8-sig")
        raise _not_utf8(path, f"byte {error.start + 1}") from None


def _not_utf8(path: Path, where: str) -> ValueError:
    return ValueError(f"{path} is not UTF-8 text ({where}): save it as UTF-8")


def _dialect(lines: Sequence[str], kind: str) -> _Dialect:
    delimiter = "\t" if kind == "tsv" else _delimiter(lines)
    decimal = "."
    if delimiter == ";":
        cells = [cell.strip() for line in lines[1:1000] for cell in line.split(";")]
        commas = sum(bool(re.fullmatch(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", cell)) for cell in cells)
        points = sum(bool(re.fullmatch(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?", cell)) for cell in cells)
        decimal = "," if commas > points else "."
    return _Dialect(delimiter, decimal)


def _delimiter(lines: Sequence[str]) -> str:
    """Comma, unless the header has none but another candidate."""
    header = next(csv.reader(lines[:1]))
    if len(header) > 1 or not any(other in lines[0] for other in ";\t|"):
        return ","
    try:
        return csv.Sniffer().sniff("\n".join(lines[:20]), delimiters=";\t|").delimiter
    except csv.Error:
        return max(";\t|", key=lines[0].count)


def _check_header(path: Path, names: Sequence[str]) -> None:
    if (
        twice := sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) < len(names)
        else []
    ):
        raise ValueError(f"{path}: duplicate column names in the header: {', '.join(map(repr, twice))}")
    counted = [str(position) for position in range(len(names))]
    if names != counted and all(_number(name) is not None for name in names):
        raise ValueError(
            f"{path} has no header: its first line holds only numbers ({', '.join(names[:5])}); "
            "add a line of names"
        )


# -- from text to the schema's kinds -------------------------------------------------------------------------


def _columns_by_name(schema: Schema, names: Sequence[str]) -> dict[str, Column]:
    """The file's columns that the schema knows: by name, or by position when the fit had no names."""
    columns = {column.name: column for column in schema.columns}
    if schema.naming == "names":
        return {name: columns[name] for name in names if name in columns}
    if len(names) != len(schema.inputs):
        return {}
    pairs = zip(names, schema.inputs, strict=True)
    return {name: columns[known] for name, known in pairs if known in columns}


def _typed(raw: pa.Table, columns: dict[str, Column], first: int, path: Path, decimal: str) -> pa.Table:
    table = raw
    for position, name in enumerate(raw.column_names):
        if name in columns:
            try:
                cells = _cast(raw.column(position), columns[name], decimal)
            except _BadCell as bad:
                raise ValueError(
                    f"{path}: column {name!r}, row {first + bad.row + 1} holds {bad.value!r}, "
                    f"which is not {bad.wanted}"
                ) from None
            table = table.set_column(position, name, cells)
    return table


class _BadCell(Exception):
    def __init__(self, row: int, value: str, wanted: str) -> None:
        self.row, self.value, self.wanted = row, value, wanted


def _cast(cells: pa.ChunkedArray, column: Column, decimal: str) -> pa.ChunkedArray:
    if column.kind == "categorical":
        return _levels(_without_nulls(cells), column.dtype)
    cells = _without_nulls(pc.utf8_trim_whitespace(cells))
    if column.kind == "boolean":
        return _booleans(cells)
    if column.kind == "numeric":
        return _tried(cells, partial(_numbers, decimal=decimal), "a number")
    if column.kind == "date":
        return _tried(cells, _dates, "a date (such as 2026-01-31 or 2026-01-31T12:00:00)")
    return _tried(cells, _times, "a time of day (such as 12:00:00)")


def _without_nulls(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_in(cells, pa.array(NULLS)), pa.scalar(None, pa.string()), cells)


def _numbers(cells: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    return pc.cast(cells if decimal == "." else pc.replace_substring(cells, decimal, "."), pa.float64())


def _dates(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO dates and times, with or without a zone, down to nanoseconds (which are cut off)."""
    *others, last = [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
    for kind in others:
        try:
            return pc.cast(cells, kind).cast(pa.timestamp("us"), safe=False)
        except pa.ArrowInvalid:
            continue
    return pc.cast(cells, last).cast(pa.timestamp("us"), safe=False)


def _times(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.binary_join_element_wise("1970-01-01", cells, "T"), pa.timestamp("us")).cast(
        pa.time64("us")
    )


def _tried(
    cells: pa.ChunkedArray, parse: Callable[[pa.ChunkedArray], pa.ChunkedArray], wanted: str
) -> pa.ChunkedArray:
    """Parse a column of text, or name the first cell that is not what is wanted, found by halving."""
    try:
        return parse(cells)
    except pa.ArrowInvalid:
        low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse(cells[low:middle])
            low = middle
        except pa.ArrowInvalid:
            high = middle
    raise _BadCell(low, cells[low].as_py(), wanted)


def _booleans(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    lower = pc.utf8_lower(cells)
    true, false = pc.is_in(lower, pa.array(_TRUE)), pc.is_in(lower, pa.array(_FALSE))
    known = pc.or_(pc.or_(true, false), pc.is_null(cells))
    if not pc.all(known).as_py():
        row = pc.index(known, False).as_py()
        raise _BadCell(row, cells[row].as_py(), "true, false, 1 or 0")
    return pc.if_else(pc.is_null(cells), pa.scalar(None, pa.bool_()), true)


def _levels(cells: pa.ChunkedArray, dtype: str) -> pa.ChunkedArray:
    """Text as the fit would have read it: in a column of whole numbers 007 is 7."""
    if dtype in ("string", "category"):
        return cells
    encoded = cells.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    words = [_canonical(word, dtype) for word in encoded.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(words, pa.string()).take(encoded.indices)])


def _canonical(word: str, dtype: str) -> str:
    if dtype == "boolean":
        lower = word.strip().casefold()
        return "True" if lower in _TRUE else "False" if lower in _FALSE else word
    number: Any = _number(word)
    if number is None:
        return word
    return str(int(number)) if number == int(number) else str(number)


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
