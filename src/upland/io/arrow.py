"""Arrow IPC files, which Feather version 2 is: typed columns, mapped into memory, written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from upland.io.arrow_sizes import messages_of
from upland.io.bounds import EXPANSION, check_expansion, checked, piece_of
from upland.io.cells import USUAL, CellOptions
from upland.io.dialect import PLAIN, Dialect
from upland.io.formats import Format, Sink
from upland.io.source import Source, check_rows, damaged, reading

_ROWS = 1 << 24  # of columns without values, which take no bytes


class ArrowSource(Source):
    """An Arrow IPC file (Feather version 2), mapped and not read; its record batches are the groups. A stream
    is read whole.

    Every batch is validated before it is used, so that no offset points outside the file.
    """

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        with reading(path, "Arrow"):
            mapped = pa.memory_map(str(path))
            self._stored = mapped.size()
            sizes = _sizes(path, mapped.read_buffer())
            schema, self._batch, n_batches = _opened(mapped)
        if n_batches != len(sizes):
            raise ValueError(f"{path} is damaged: it says that it has {len(sizes)} batches, not {n_batches}")
        super().__init__(path, schema.names, sizes)
        self._schema = schema
        check_rows(self)

    @property
    def types(self) -> pa.Schema:
        """See `Source.types`."""
        return self._schema

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        if self.path.stat().st_size != self._stored:
            raise ValueError(f"{self.path} has changed while it was read: it had {self._stored:,} bytes")
        with reading(self.path, "Arrow"):
            table = pa.Table.from_batches([self._batch(group)])
        checked(table, f"{self.path}, record batch {group + 1}")
        if table.num_rows != self._known_sizes()[group]:
            raise ValueError(f"{self.path} is damaged: record batch {group + 1} has other rows than it says")
        size = piece_of(size, table.num_columns)
        return (table.slice(start, size) for start in range(0, table.num_rows, size))


class ArrowSink(Sink):
    """Writes an Arrow IPC file; the arguments are those of `Sink`.

    The format has one dictionary for a column, which may only grow, while the rows of a Parquet file come
    with one for each batch: these are brought together.
    """

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema, dialect: Dialect = PLAIN) -> None:
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._writer = pa.ipc.new_file(file, schema, options=options)
        self._levels: dict[int, pa.Array] = {}

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        for place, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):
                table = table.set_column(place, field, self._joined(place, table.column(place)))
        self._writer.write_table(table)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()

    def _joined(self, place: int, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column by a dictionary that begins with the one of the rows before."""
        values = _decoded(column)
        found = pc.drop_null(pc.unique(values))
        known = self._levels.get(place)
        if known is not None:
            new = pc.filter(found, pc.invert(pc.is_in(found, known)))
            found = pa.concat_arrays([known, new]) if len(new) else known
        self._levels[place] = found
        dtype = column.type
        indices = pc.index_in(values, found).cast(dtype.index_type)
        chunks = [
            pa.DictionaryArray.from_arrays(chunk, found.cast(dtype.value_type), ordered=dtype.ordered)
            for chunk in indices.chunks
        ]
        return pa.chunked_array(chunks, dtype)


def _sizes(path: Path, data: pa.Buffer) -> list[int]:
    """Rows of each record batch as the file says, if it takes no more memory than it may."""
    try:
        found = list(messages_of(memoryview(data)))
    except ValueError as error:
        raise damaged(path, "Arrow", error) from None
    packed = sum(message.size for message in found if message.compressed)
    check_expansion(path, packed, data.size, "write it without compression")
    sizes = [message.rows for message in found if message.is_batch]
    if min(sizes, default=0) < 0 or sum(sizes) > max(_ROWS, EXPANSION * 8 * data.size):
        raise ValueError(f"{path} is damaged: it says that it has {sum(sizes):,} rows in {data.size:,} bytes")
    return sizes


def _opened(mapped: pa.NativeFile) -> tuple[pa.Schema, Callable[[int], pa.RecordBatch], int]:
    """The columns, a record batch by its number, and how many there are."""
    mapped.seek(0)
    try:
        reader = pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        batches = list(stream)
        return stream.schema, batches.__getitem__, len(batches)
    return reader.schema, reader.get_batch, reader.num_record_batches


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The levels of all rows, in a type that pyarrow compares."""
    type_ = column.type.value_type
    plain = _COMPARED.get(type_, type_)
    if pa.types.is_decimal(type_):
        plain = pa.decimal256(type_.precision, type_.scale)
    if plain == type_:
        return column.cast(type_)
    chunks = [chunk.dictionary.cast(plain).take(chunk.indices) for chunk in column.chunks]
    return pa.chunked_array(chunks, plain)


_COMPARED = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
"""Types of levels that pyarrow does not compare, and such as it does."""

FORMAT = Format(ArrowSource, ArrowSink)
