"""Parquet files: typed columns, read row group by row group, written as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from upland.io.cells import USUAL, CellOptions
from upland.io.formats import Format, Sink
from upland.io.plain import plain_table
from upland.io.schema import Schema
from upland.io.source import PIECE, Source, check_rows, reading

HUGE_GROUP = 1 << 28
"""Bytes of a row group, uncompressed, above which a Parquet file is mapped into memory."""


class ParquetSource(Source):
    """A Parquet file; its row groups are the groups."""

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        with reading(path, "Parquet"):
            self._file = _open_parquet(path)
            schema, metadata = self._file.schema_arrow, self._file.metadata
        self._index = _index_columns(schema)
        names = [name for name in schema.names if name not in self._index]
        super().__init__(
            path, names, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        )
        check_rows(self)

    @property
    def types(self) -> pa.Schema:
        """See `Source.types`."""
        return pa.schema([self._file.schema_arrow.field(name) for name in self.names])

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`; the raw rows keep the index of a pandas frame."""
        with reading(self.path, "Parquet"):
            for groups in _bundles(self._known_sizes(), size):
                for batch in self._file.iter_batches(size, row_groups=groups):
                    raw = pa.Table.from_batches([batch])
                    yield raw, plain_table(raw.drop_columns(self._index) if self._index else raw)

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        with reading(self.path, "Parquet"):
            for batch in self._file.iter_batches(size, row_groups=[group]):
                piece = pa.Table.from_batches([batch])
                yield piece.drop_columns(self._index) if self._index else piece


class ParquetSink(Sink):
    """Writes a Parquet file; the arguments are those of `Sink`."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema)

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        self._writer.write_table(table)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


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


def _index_columns(schema: pa.Schema) -> list[str]:
    """The columns in which pandas stores a frame's index, which are no features."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [
        name
        for name in index
        if isinstance(name, str) and name.startswith("__index_level_") and name in schema.names
    ]


FORMAT = Format(ParquetSource, ParquetSink)
