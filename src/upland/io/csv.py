"""CSV and TSV files: the separator, the header, the cells, and the line at which a file is damaged.

To fit, a CSV is read whole and its types are inferred over all rows. To score, it streams as text, and each
column of the schema is cast to the kind it had in the fit (`upland.io.casting`); so no type depends on a
batch, and columns that the schema does not have are passed on unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import pyarrow as pa
import pyarrow.csv as arrow_csv

from upland.io.casting import NULLS, cast_columns, columns_of
from upland.io.cells import USUAL, CellOptions, as_number
from upland.io.csv_writer import CsvSink, compression_of, is_tsv
from upland.io.formats import Format
from upland.io.schema import Schema
from upland.io.source import PIECE, Source, reading

_SAMPLE = 1 << 20
_BLOCK = 1 << 23


class _Dialect(NamedTuple):
    delimiter: str
    decimal: str


class CsvSource(Source):
    """A CSV file with a header: cells parted by comma, semicolon, tab or bar; UTF-8; plain or gzip. It is one
    group.
    """

    nulls = NULLS

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        self.cells = cells
        sample = _sample(path)
        lines = [line for line in sample.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{path} is empty")
        self._dialect = _dialect(lines, is_tsv(path))
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
            yield from super().pairs(size=size)
            return
        columns = columns_of(schema, self.names)
        first = 0
        for raw in self._texts(size):
            yield raw, cast_columns(raw, columns, self._dialect.decimal, first, self.path, self.cells)
            first += raw.num_rows

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        table = self.read()
        return (table.slice(start, size) for start in range(0, table.num_rows, size))

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


# -- the dialect of a file -----------------------------------------------------------------------------------


def _opened(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=compression_of(path))


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


def _dialect(lines: Sequence[str], tsv: bool) -> _Dialect:
    delimiter = "\t" if tsv else _delimiter(lines)
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
    if names != counted and all(as_number(name) is not None for name in names):
        raise ValueError(
            f"{path} has no header: its first line holds only numbers ({', '.join(names[:5])}); "
            "add a line of names"
        )


FORMAT = Format(CsvSource, CsvSink)
