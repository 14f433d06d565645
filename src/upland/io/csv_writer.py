"""CSV and TSV files, written in the dialect of what was read.

Text is quoted only where it must be, so that cells read as text are written as they were.
"""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from upland.io.dialect import PLAIN, Dialect
from upland.io.formats import Sink, suffix_of
from upland.io.source import PIECE

_EMPTY = pa.scalar("", pa.large_string())
_SPECIAL = (b'"', b"\r", b"\n", b" ", b"\t", b"\f", b"\v")
"""Quotes, ends of lines, and blanks, which are lost at the start or end of a cell without quotes."""

_UNWRITABLE = (
    pa.types.is_nested,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
)


class CsvSink(Sink):
    """Writes a CSV file, a TSV by its suffix, either of them compressed; the arguments are those of `Sink`.

    Equal rows give equal files: a gzip stream carries no time.

    Raises:
        ValueError: A column holds lists, structures or bytes, which no cell of text can hold.
    """

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, dialect: Dialect = PLAIN) -> None:
        _check_types(path, schema)
        self._dialect = dialect._replace(delimiter=_delimiter(path, dialect))
        self._file: Any = _compressed(file, path)
        self._compressed = self._file is not file
        if dialect.bom:
            self._file.write(b"\xef\xbb\xbf")
        header = pa.table([[name] for name in schema.names], names=list(map(str, range(len(schema)))))
        self._file.write(_lines(header, self._dialect))

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        for start in range(0, table.num_rows, PIECE):
            self._file.write(_lines(table.slice(start, PIECE), self._dialect))

    def close(self) -> None:
        """See `Sink.close`."""
        if self._compressed:
            self._file.close()


def is_tsv(path: Path) -> bool:
    """Whether a file is one of cells parted by tabs, by its suffix."""
    return suffix_of(path).startswith(".tsv")


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its suffix: a name of pyarrow's, None where it is not."""
    known = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
    return known.get(Path(suffix_of(path)).suffix)


def _delimiter(path: Path, dialect: Dialect) -> str:
    """A tab in a TSV, else that of the file that was read; a semicolon where a comma is the decimal sign."""
    if is_tsv(path):
        return "\t"
    return dialect.delimiter or (";" if dialect.decimal == "," else ",")


class _Open:
    """A file that is not closed with the stream that writes into it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.write, self.flush = file.write, file.flush

    def close(self) -> None:
        """Leave it open."""


def _compressed(file: IO[bytes], path: Path) -> Any:
    """The stream to write a file by its suffix: the file itself where it is not compressed."""
    suffix = suffix_of(path)
    if suffix.endswith(".gz"):
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    if suffix.endswith(".bz2"):
        return bz2.BZ2File(file, "wb")
    if suffix.endswith((".zst", ".zstd")):
        return pa.CompressedOutputStream(pa.PythonFile(_Open(file), mode="w"), "zstd")
    return file


def _check_types(path: Path, schema: pa.Schema) -> None:
    for field in schema:
        if any(test(field.type) for test in _UNWRITABLE):
            raise ValueError(
                f"{path}: column {field.name!r} is of type {field.type}, which no cell of text can hold: "
                "name a .parquet or .arrow file"
            )


def _lines(table: pa.Table, dialect: Dialect) -> bytes:
    """Rows as lines of text; a lone missing cell is quoted, since an empty line would be skipped on
    reading.
    """
    if table.num_rows == 0:
        return b""
    delimiter = cast(str, dialect.delimiter)
    columns = [_cells(column, delimiter, dialect.decimal) for column in table.columns]
    if len(columns) == 1:
        columns = [pc.if_else(pc.equal(pc.utf8_length(columns[0]), 0), '""', columns[0])]
    if dialect.newline == "\n":
        with suppress(pa.ArrowInvalid):  # where a cell is in quotes
            return _without_quotes(columns, delimiter)
    return _bytes_of(_joined([_joined(columns, delimiter), _EMPTY], dialect.newline))


def _without_quotes(columns: Sequence[pa.Array], delimiter: str) -> bytes:
    """The same by pyarrow, which is faster; raises `pyarrow.ArrowInvalid` where a cell is in quotes."""
    table = pa.table(columns, names=list(map(str, range(len(columns)))))
    options = arrow_csv.WriteOptions(include_header=False, delimiter=delimiter, quoting_style="none")
    sink = pa.BufferOutputStream()
    arrow_csv.write_csv(table, sink, options)
    return cast(bytes, sink.getvalue().to_pybytes())


def _bytes_of(text: pa.Array) -> bytes:
    """All cells of a column of large text, one after another."""
    _, offsets, data = text.buffers()
    if data is None:
        return b""
    ends = np.frombuffer(offsets, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    return cast(bytes, data[int(ends[0]) : int(ends[-1])].to_pybytes())


def _has_special(text: pa.Array, delimiter: str) -> bool:
    """Whether any cell of a column holds a sign for which one may have to be quoted."""
    held = _bytes_of(text)
    return any(sign in held for sign in (*_SPECIAL, delimiter.encode()))


def _joined(parts: Sequence[Any], separator: str) -> Any:
    """Elementwise concatenation of columns of text, and of scalars."""
    return pc.binary_join_element_wise(*parts, pa.scalar(separator, pa.large_string()))


def _cells(column: pa.ChunkedArray, delimiter: str, decimal: str) -> pa.Array:
    text = _as_text(column, decimal)
    text = pa.concat_arrays(text.chunks) if text.num_chunks != 1 else text.chunk(0)
    text = pc.fill_null(text, "") if text.null_count else text
    if not _has_special(text, delimiter):
        return text
    special = pc.match_substring_regex(text, f'["\r\n{delimiter}]|^\\s|\\s$')
    if not pc.any(special).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    quoted = _joined([_EMPTY, doubled, _EMPTY], '"')
    return pc.if_else(special, quoted, text)


def _as_text(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Cells as text from which the same values are read again, to the bit."""
    dtype = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_floating(dtype):  # 0.1 in 32 bits is another number than in 64
        text = column.cast(pa.float64()).cast(pa.large_string())
    elif pa.types.is_duration(dtype):
        text = _of_duration(column)
    elif pa.types.is_time(dtype):
        text = _clock(column)
    else:
        text = column.cast(dtype).cast(pa.large_string())
    real = pa.types.is_floating(dtype) or pa.types.is_decimal(dtype)
    return pc.replace_substring(text, ".", decimal) if real and decimal != "." else text


def _clock(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times of day, without a fraction where all are whole seconds, as readers know them."""
    try:
        return column.cast(pa.time32("s")).cast(pa.large_string())
    except pa.ArrowInvalid:
        return column.cast(pa.large_string())


def _of_duration(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Durations of less than a day as times of day; longer ones in seconds."""
    micro = column.cast(pa.duration("us"), safe=False).cast(pa.int64())
    short = pc.and_(pc.greater_equal(micro, 0), pc.less(micro, 86_400_000_000))
    if pc.all(short, min_count=0).as_py():
        return _clock(micro.cast(pa.time64("us")))
    return pc.divide(micro.cast(pa.float64()), 1e6).cast(pa.large_string())
