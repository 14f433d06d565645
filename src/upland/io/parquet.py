"""Parquet files: typed columns, read row group by row group, written as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upland.io.bounds import check_expansion, checked, piece_of
from upland.io.cells import USUAL, CellOptions
from upland.io.dialect import PLAIN, Dialect
from upland.io.formats import Format, Sink
from upland.io.parquet_footer import dictionary_offsets
from upland.io.plain import plain_table
from upland.io.schema import Schema
from upland.io.source import PIECE, Source, check_rows, reading

HUGE_GROUP = 1 << 28
"""Bytes of a row group, uncompressed, above which a Parquet file is mapped into memory."""

TEXTS = 1 << 29
"""Bytes of texts that a piece could have if each were as long as its whole dictionary."""

HELD = 1 << 26
"""Bytes up to which small pieces are put together."""

_UNPACKED = "write it with compression='none' and use_dictionary=False"


class ParquetSource(Source):
    """A Parquet file; its row groups are the groups. They are decoded in pieces, of fewer rows where there
    are very many columns or long texts.
    """

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        with reading(path, "Parquet"):
            self._stored = path.stat().st_size
            self._file = _open_parquet(path, self._stored)
            schema, metadata = self._file.schema_arrow, self._file.metadata
            self._dictionaries = _offsets_of_texts(path, self._file)
        self._index = _index_columns(schema)
        self._texts = [position for position, field in enumerate(schema) if _is_text(field.type)]
        self._flat = not any(pa.types.is_nested(field.type) for field in schema)
        names = [name for name in schema.names if name not in self._index]
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if min(sizes, default=0) < 0:
            raise ValueError(f"{path} is damaged: it says that a row group has {min(sizes)} rows")
        super().__init__(path, names, sizes)
        check_rows(self)

    @property
    def types(self) -> pa.Schema:
        """See `Source.types`."""
        return pa.schema([self._file.schema_arrow.field(name) for name in self.names])

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """See `Source.pairs`; the raw rows keep the index of a pandas frame."""
        texts = 0
        for groups in _bundles(self._known_sizes(), size):
            for raw in self._decoded(groups, size):
                texts += sum(raw.column(position).nbytes for position in self._texts)
                check_expansion(self.path, texts, self._stored, _UNPACKED)
                yield raw, plain_table(raw.drop_columns(self._index) if self._index else raw)

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        for raw in self._decoded([group], size):
            yield raw.drop_columns(self._index) if self._index else raw

    def read(self) -> pa.Table:
        """See `Source.read`."""
        return pa.concat_tables(typed for _, typed in self.pairs())

    def _decoded(self, groups: list[int], size: int) -> Iterator[pa.Table]:
        """The rows of some row groups, as many as they say that they have."""
        if self.path.stat().st_size != self._stored:
            raise ValueError(f"{self.path} has changed while it was read: it had {self._stored:,} bytes")
        rows = sum(self._known_sizes()[group] for group in groups)
        with reading(self.path, "Parquet"):
            size, step = self._steps(groups, size)
            for batches in _together(self._file.iter_batches(step, row_groups=groups), size):
                piece = pa.Table.from_batches(batches)
                piece = piece.combine_chunks() if len(batches) > 1 else piece
                rows -= piece.num_rows
                yield checked(piece, self.path)
        if rows:
            raise ValueError(f"{self.path} is damaged: a row group has other rows than it says")

    def _longest(self, group: int) -> int:
        """Bytes of the longest text in the dictionaries of a row group: these come with its first row."""
        names = [self._file.schema_arrow.names[position] for position in self._texts]
        file = pq.ParquetFile(self.path, read_dictionary=names, metadata=self._file.metadata)
        batch = next(file.iter_batches(1, row_groups=[group], columns=names), None)
        levels = (
            [] if batch is None else [c.dictionary for c in batch.columns if pa.types.is_dictionary(c.type)]
        )
        return max((pc.max(pc.binary_length(found)).as_py() or 0 for found in levels), default=0)

    def _steps(self, groups: list[int], size: int) -> tuple[int, int]:
        """Rows of a piece, and rows that are decoded at a time: so few that their texts are within a bound
        even if each is as long as its dictionary.
        """
        size = piece_of(size, len(self.names))
        offsets = [offset for group in groups for offset in self._dictionaries[group].values()]
        longest = _dictionary(self.path, offsets)
        if size * longest > TEXTS and self._flat:
            longest = max(map(self._longest, groups), default=0)
        parts = max(1, -(-size * longest // TEXTS))
        return size, max(1, size // parts)


class ParquetSink(Sink):
    """Writes a Parquet file; the arguments are those of `Sink`."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, dialect: Dialect = PLAIN) -> None:
        self._writer = pq.ParquetWriter(file, schema)

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        self._writer.write_table(table)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


def _open_parquet(path: Path, stored: int) -> pq.ParquetFile:
    """Row groups are loaded as bytes and decoded in pieces; huge ones are mapped, since they might exceed the
    memory.
    """
    file = pq.ParquetFile(path)
    metadata = file.metadata
    sizes = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    largest = max(sizes, default=0)
    check_expansion(path, largest, stored, _UNPACKED)
    return pq.ParquetFile(path, memory_map=True, metadata=metadata) if largest > HUGE_GROUP else file


def _offsets_of_texts(path: Path, file: pq.ParquetFile) -> list[dict[int, int]]:
    """Where the dictionaries of columns of texts begin, by column, in each row group.

    Raises:
        ValueError: The footer does not describe each column of each row group.
    """
    texts = [at for at, column in enumerate(file.schema) if column.physical_type == "BYTE_ARRAY"]
    if not texts:
        return [{} for _ in range(file.metadata.num_row_groups)]
    offsets = dictionary_offsets(path)
    if list(map(len, offsets)) != [file.metadata.num_columns] * file.metadata.num_row_groups:
        raise ValueError(f"{path} is damaged: its footer does not describe each column of each row group")
    return [{at: found for at in texts if (found := group[at]) is not None} for group in offsets]


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_binary(dtype) or pa.types.is_large_string(dtype))


def _dictionary(path: Path, offsets: Iterable[int]) -> int:
    """Bytes of the largest of some dictionaries, decompressed; 0 if there is none.

    A dictionary's page begins with a Thrift struct whose first two fields are its type and this size.

    Args:
        path: Of the file.
        offsets: Where they begin.
    """
    largest = 0
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            largest = max(largest, _second_number(file.read(16)))
    return largest


def _second_number(data: bytes) -> int:
    """The second field of a Thrift struct in the compact protocol whose first two fields are numbers."""
    at = value = 0
    for _ in range(2):
        value = shift = 0
        while (at := at + 1) < len(data):
            value |= (data[at] & 127) << shift
            shift += 7
            if data[at] < 128:
                break
        at += 1
    return value >> 1


def _together(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches in order, small ones together, of at most `size` rows and about `HELD` bytes."""
    held: list[pa.RecordBatch] = []
    rows = n_bytes = 0
    for batch in batches:
        if held and (rows + batch.num_rows > size or n_bytes > HELD):
            yield held
            held, rows, n_bytes = [], 0, 0
        held.append(batch)
        rows, n_bytes = rows + batch.num_rows, n_bytes + batch.nbytes
    if held:
        yield held


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
