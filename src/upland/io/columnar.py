"""Parquet and Arrow files as sources: typed columns, read group by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from upland.io.schema import Schema
from upland.io.source import PIECE, Source, reading

HUGE_GROUP = 1 << 28
"""Bytes of a row group, uncompressed, above which a Parquet file is mapped into memory."""


class ParquetSource(Source):
    """A Parquet file; its row groups are the groups."""

    def __init__(self, path: Path) -> None:
        with reading(path, "Parquet"):
            self._file = _open_parquet(path)
            schema, metadata = self._file.schema_arrow, self._file.metadata
        self._index = _index_columns(schema)
        names = [name for name in schema.names if name not in self._index]
        super().__init__(
            path, names, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        )
        _check_rows(self)

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`."""
        with reading(self.path, "Parquet"):
            for groups in _bundles(self._known_sizes(), size):
                for batch in self._file.iter_batches(size, row_groups=groups):
                    raw = pa.Table.from_batches([batch])
                    yield raw, raw.drop_columns(self._index) if self._index else raw

    def _pieces(self, group: int) -> Iterator[pa.Table]:
        with reading(self.path, "Parquet"):
            for batch in self._file.iter_batches(PIECE, row_groups=[group]):
                piece = pa.Table.from_batches([batch])
                yield piece.drop_columns(self._index) if self._index else piece


def _open_parquet(path: Path) -> pq.ParquetFile:
    """Row groups are loaded as bytes and decoded in pieces; huge ones are mapped, since they might exceed the
    memory.
    """
    file = pq.ParquetFile(path)
    metadata = file.metadata
    largest = max(
        (metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0
    )
    return pq.ParquetFile(path, memory_map=True, metadata=metadata) if largest > HUGE_GROUP else file


def _bundles(sizes: Sequence[int], size: int) -> Iterator[list[int]]:
    """Row groups in order, small ones together, so that a batch can be full; a reader of all groups would
    keep them all.
    """
    held: list[int] = []
    held_rows = 0
    for group, rows in enumerate(sizes):
        held.append(group)
        held_rows += rows
        if held_rows >= size:
            yield held
            held, held_rows = [], 0
    if held:
        yield held


class ArrowSource(Source):
    """An Arrow IPC file (Feather version 2), mapped and not read; its record batches are the groups. A stream
    is read whole.
    """

    def __init__(self, path: Path) -> None:
        with reading(path, "Arrow"):
            self._groups = _open_arrow(path)
            schema = self._groups.schema
            sizes = [self._groups.get(group).num_rows for group in range(len(self._groups))]
        super().__init__(path, schema.names, sizes)
        _check_rows(self)

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`."""
        for group in range(len(self._groups)):
            for piece in self._sliced(group, size):
                yield piece, piece

    def _pieces(self, group: int) -> Iterator[pa.Table]:
        return self._sliced(group, PIECE)

    def _sliced(self, group: int, size: int) -> Iterator[pa.Table]:
        with reading(self.path, "Arrow"):
            table = pa.Table.from_batches([self._groups.get(group)])
        return (table.slice(start, size) for start in range(0, table.num_rows, size))


class _Groups:
    """Record batches by number, from a mapped file or from memory."""

    def __init__(self, schema: pa.Schema, reader: Any, batches: Sequence[pa.RecordBatch]) -> None:
        self.schema = schema
        self._reader = reader
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches) if self._reader is None else int(self._reader.num_record_batches)

    def get(self, group: int) -> pa.RecordBatch:
        return self._batches[group] if self._reader is None else self._reader.get_batch(group)


def _open_arrow(path: Path) -> _Groups:
    mapped = pa.memory_map(str(path))
    try:
        reader = pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        table = pa.ipc.open_stream(mapped).read_all()
        return _Groups(table.schema, None, table.to_batches())
    return _Groups(reader.schema, reader, ())


def _check_rows(source: Source) -> None:
    if not source.names:
        raise ValueError(f"{source.path} has no columns")
    if source.n_rows == 0:
        raise ValueError(f"{source.path} has columns but no rows")


def _index_columns(schema: pa.Schema) -> list[str]:
    """The columns in which pandas keeps a frame's index: no features."""
    kept = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        name
        for name in kept
        if isinstance(name, str) and name.startswith("__index_level_") and name in schema.names
    ]
