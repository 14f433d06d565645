"""CSV and TSV files: the separator, the header, the cells, and the line at which a file is damaged.

To fit, a CSV is read whole and its types are inferred over all rows. To score, it streams as text, and each
column of the schema is cast to the kind it had in the fit (`upland.io.casting`); so no type depends on a
batch, and columns that the schema does not have are passed on unchanged.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from upland.io.bounds import piece_of
from upland.io.casting import NULLS, cast_columns, columns_of
from upland.io.cells import USUAL, CellOptions
from upland.io.csv_layout import layout_of, not_utf8
from upland.io.csv_lines import CountedFile, Lines, count_rows, ragged_line, skip
from upland.io.csv_writer import CsvSink, compression_of, is_tsv
from upland.io.dialect import dialect_of
from upland.io.formats import Format
from upland.io.schema import Schema
from upland.io.source import PIECE, Source, reading

WHOLE = 1 << 32
"""Bytes of text that a file may have to be read whole, as a fit does."""

_BLOCK = 1 << 23
_TOTALS = frozenset(
    {"total", "totals", "sum", "average", "mean", "summe", "gesamt", "mittelwert", "grand total"}
)


class CsvSource(Source):
    """A CSV file with a header: cells parted by comma, semicolon, tab or bar; UTF-8; plain or gzip. It is one
    group.
    """

    nulls = NULLS

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        self.cells = cells
        self._stored = path.stat().st_size if compression_of(path) else None
        with reading(path, "CSV"), _opened(path) as file:
            self._layout = layout_of(path, file, is_tsv(path), cells)
        super().__init__(path, self._layout.names, None)
        with reading(path, "CSV"), _opened(path) as file:
            delimiter = None if is_tsv(path) else self._layout.delimiter
            self.dialect = dialect_of(cast(bytes, file.read(PIECE)), delimiter, self._layout.decimal)
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
        for raw in self._texts(piece_of(size, len(self.names))):
            try:
                typed = cast_columns(raw, columns, self._layout.decimal, first, self.path, self.cells)
            except ValueError:
                self._count_rows()  # a quote that swallows lines is the cause of a cell that is no number
                raise
            yield raw, typed
            first += raw.num_rows

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        table = self.read()
        return (table.slice(start, size) for start in range(0, table.num_rows, size))

    def _read_inferred(self) -> pa.Table:
        convert = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(self._layout.codes, pa.string()),
            null_values=[*NULLS, *self.cells.missing_texts],
            strings_can_be_null=True,
            decimal_point=self._layout.decimal,
        )
        with self._explaining():
            table = self._read_whole(convert)
        for name, field in zip(table.column_names, table.schema, strict=True):
            if pa.types.is_binary(field.type):
                raise not_utf8(self.path, f"column {name!r}")
        _warn_of_total(self.path, table)
        return table

    def _read_whole(self, convert: arrow_csv.ConvertOptions) -> pa.Table:
        """The whole file; that each line is a row is tried first where it can be read twice: it is faster."""
        lines, options = self._seen(WHOLE), self._read_options(True)
        if self._stored is None:
            lines.scan()
            with suppress(pa.ArrowInvalid), self._at_rows() as rows:
                table = arrow_csv.read_csv(rows, options, self._parse_options(False), convert)
                if not lines.quoted or table.num_rows == lines.lines:
                    return table
        with self._at_rows() as rows:
            file = rows if self._stored is None else CountedFile(rows, lines)
            table = arrow_csv.read_csv(file, options, self._parse_options(True), convert)
        self._check_rows(lines, table.num_rows)
        return table

    def _texts(self, size: int) -> Iterator[pa.Table]:
        """Every cell as the text that it is, in batches of at most `size` rows."""
        convert = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(self.names, pa.string()), null_values=[], strings_can_be_null=False
        )
        rows, lines = 0, self._seen()
        with self._explaining(), CountedFile(self._at_rows(), lines) as file:
            for batch in arrow_csv.open_csv(file, self._read_options(False), self._parse_options(), convert):
                table = pa.Table.from_batches([batch])
                rows += table.num_rows
                yield from (table.slice(start, size) for start in range(0, table.num_rows, size))
            self._check_rows(lines, rows)

    def _read_options(self, threads: bool) -> arrow_csv.ReadOptions:
        block = max(_BLOCK, 4 * len(self._layout.header))
        return arrow_csv.ReadOptions(use_threads=threads, block_size=block, column_names=self.names)

    def _parse_options(self, within: bool = True) -> arrow_csv.ParseOptions:
        return arrow_csv.ParseOptions(delimiter=self._layout.delimiter, newlines_in_values=within)

    def _at_rows(self) -> pa.NativeFile:
        return skip(_opened(self.path), self._layout.start)

    def _seen(self, most: float = math.inf) -> Lines:
        return Lines(self.path, self._layout, self._at_rows, self._stored, most)

    def _lines(self) -> io.TextIOWrapper:
        """The lines after the header, their bytes as Latin-1."""
        return io.TextIOWrapper(cast(io.BufferedReader, self._at_rows()), encoding="latin-1")

    def _check_rows(self, lines: Lines, rows: int) -> None:
        """Refuse a file in which quotes swallow lines."""
        if not lines.quoted or rows == lines.lines:
            return
        counted = self._count_rows()
        if counted != rows:
            raise ValueError(
                f"{self.path} cannot be read as CSV: {counted} rows by its lines, {rows} by its cells"
            )

    def _count_rows(self) -> int:
        """Rows by the lines of the file; raises ValueError for quotes that swallow lines."""
        with self._lines() as lines:
            return count_rows(self.path, lines, self._layout)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Pyarrow's errors with the file and, for a ragged line, its number."""
        try:
            yield
        except pa.ArrowInvalid as error:
            raise self._explained(str(error)) from error
        except MemoryError:
            raise
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read, it is damaged: {error}") from error

    def _explained(self, text: str) -> ValueError:
        if "UTF8" in text or "utf8" in text:
            return not_utf8(self.path, text.split(":")[0])
        self._count_rows()
        ragged = re.search(r"Expected (\d+) columns, got (\d+)", text)
        if ragged is None:
            return ValueError(f"{self.path} cannot be read as CSV: {text.splitlines()[0]}")
        with self._lines() as lines:
            line = ragged_line(lines, self._layout)
        return ValueError(
            f"{self.path}, line {line}: the header has {ragged[1]} cells, this line has {ragged[2]}"
        )


def _warn_of_total(path: Path, table: pa.Table) -> None:
    """Warn of a last line of totals, which is no row like the others."""
    last = table.column(0)[-1].as_py() if table.num_rows else None
    named = isinstance(last, str) and last.strip().casefold().rstrip(":") in _TOTALS
    if named and pc.sum(pc.equal(table.column(0), last)).as_py() == 1:
        warnings.warn(
            f"{path}: the last line begins with {last!r}; if it sums up the others, remove it",
            UserWarning,
            stacklevel=2,
        )


def _opened(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=compression_of(path))


FORMAT = Format(CsvSource, CsvSink, typed=False)
