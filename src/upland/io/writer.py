"""Writing files of rows: whole or not at all.

A `TableWriter` writes beside its target and moves the file there when all of it is written; a failure leaves
what was there before. Text of a CSV is quoted only where it must be, so that cells read as text are written
as they were.
"""

from __future__ import annotations

import gzip
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upland.io.source import PIECE, suffix_of

_EMPTY = pa.scalar("", pa.large_string())


class TableWriter:
    """Writes tables with one schema into one file, CSV, Parquet or Arrow by its suffix; a context manager.

    Args:
        path: The file to write.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is False.
        FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError: The folder is not there or
        cannot be written.
        ValueError: Unknown suffix; another schema than the first table's; nothing was written.
    """

    def __init__(self, path: str | Path, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self._kind = suffix_of(self.path)
        self._temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        self._file: IO[bytes] | None = None
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        _check_target(self.path, overwrite)

    def __enter__(self) -> Self:
        try:
            self._file = self._temporary.open("xb")
        except PermissionError:
            raise PermissionError(f"{self.path.parent}: no permission to write into this folder") from None
        if self.path.name.casefold().endswith(".gz"):
            self._file = cast(IO[bytes], _Gzip(self._file))
        return self

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table; the first call sets the columns."""
        if self._file is None:
            raise ValueError("a TableWriter writes inside a with block")
        if self._schema is None:
            self._start(table.schema)
        elif not table.schema.equals(self._schema):
            raise ValueError(f"{self.path}: this table's columns differ from the first one's")
        if self._writer is not None:
            self._writer.write_table(table)
        else:
            for start in range(0, table.num_rows, PIECE):
                self._file.write(_lines(table.slice(start, PIECE), self._delimiter))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()
            self._temporary.unlink(missing_ok=True)

    @property
    def _delimiter(self) -> str:
        return "\t" if self._kind == "tsv" else ","

    def _start(self, schema: pa.Schema) -> None:
        self._schema = schema
        file = cast(IO[bytes], self._file)
        if self._kind == "parquet":
            self._writer = pq.ParquetWriter(file, schema)
        elif self._kind == "arrow":
            self._writer = pa.ipc.new_file(file, schema)
        else:
            header = pa.table({str(place): [name] for place, name in enumerate(schema.names)})
            file.write(_lines(header, self._delimiter))

    def _finish(self) -> None:
        if self._schema is None:
            raise ValueError(f"{self.path}: there were no rows to write")
        self._close()
        _check_target(self.path, self.overwrite)
        os.replace(self._temporary, self.path)

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
        if self._file is not None:
            self._file.close()
            self._file = None


class _Gzip(gzip.GzipFile):
    """A gzip stream that closes the file below it, and writes no time, so that equal rows give equal
    files.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        self._below = file

    def close(self) -> None:
        super().close()
        self._below.close()


def _check_target(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it")
    if not path.parent.exists():
        raise FileNotFoundError(f"the folder {path.parent} does not exist: make it first")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent} is not a folder")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} already exists: choose another name, or allow it to be overwritten")


def _lines(table: pa.Table, delimiter: str) -> bytes:
    """Rows as lines of text; a lone missing cell is quoted, since an empty line would be skipped on
    reading.
    """
    if table.num_rows == 0:
        return b""
    columns = [_cells(table.column(place), delimiter) for place in range(table.num_columns)]
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
