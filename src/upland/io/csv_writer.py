"""CSV and TSV files, written.

Text is quoted only where it must be, so that cells read as text are written as they were.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upland.io.formats import Sink, suffix_of
from upland.io.source import PIECE

_EMPTY = pa.scalar("", pa.large_string())


class CsvSink(Sink):
    """Writes a CSV file, a TSV by its suffix, either of them compressed; the arguments are those of `Sink`.

    Equal rows give equal files: a gzip stream carries no time.
    """

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema) -> None:
        self._delimiter = "\t" if is_tsv(path) else ","
        self._file: Any = file
        if is_gzip(path):
            self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        header = pa.table({str(position): [name] for position, name in enumerate(schema.names)})
        self._file.write(_lines(header, self._delimiter))

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        for start in range(0, table.num_rows, PIECE):
            self._file.write(_lines(table.slice(start, PIECE), self._delimiter))

    def close(self) -> None:
        """See `Sink.close`."""
        if isinstance(self._file, gzip.GzipFile):
            self._file.close()


def is_tsv(path: Path) -> bool:
    """Whether a file is one of cells parted by tabs, by its suffix."""
    return suffix_of(path).startswith(".tsv")


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its suffix: a name of pyarrow's, None where it is not."""
    known = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
    return known.get(Path(suffix_of(path)).suffix)


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, by its suffix."""
    return suffix_of(path).endswith(".gz")


def _lines(table: pa.Table, delimiter: str) -> bytes:
    """Rows as lines of text; a lone missing cell is quoted, since an empty line would be skipped on
    reading.
    """
    if table.num_rows == 0:
        return b""
    columns = [_cells(table.column(position), delimiter) for position in range(table.num_columns)]
    if len(columns) == 1:
        columns = [pc.if_else(pc.equal(pc.utf8_length(columns[0]), 0), '""', columns[0])]
    lines = _joined([_joined(columns, delimiter), _EMPTY], "\n")
    ends = np.frombuffer(lines.buffers()[1], dtype=np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return cast(bytes, lines.buffers()[2][int(ends[0]) : int(ends[-1])].to_pybytes())


def _joined(parts: list[Any], separator: str) -> Any:
    """Elementwise concatenation of columns of text, and of scalars."""
    return pc.binary_join_element_wise(*parts, pa.scalar(separator, pa.large_string()))


def _cells(column: pa.ChunkedArray, delimiter: str) -> pa.Array:
    text = column.cast(pa.large_string())
    text = pc.fill_null(pa.concat_arrays(text.chunks) if text.num_chunks != 1 else text.chunk(0), "")
    special = pc.match_substring_regex(text, f'["\r\n{delimiter}]|^\\s|\\s$')
    if not pc.any(special).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    quoted = _joined([_EMPTY, doubled, _EMPTY], '"')
    return pc.if_else(special, quoted, text)
