"""Arrow IPC files, which Feather version 2 is: typed columns, mapped into memory, written as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from upland.io.cells import USUAL, CellOptions
from upland.io.formats import Format, Sink
from upland.io.source import Source, check_rows, reading


class ArrowSource(Source):
    """An Arrow IPC file (Feather version 2), mapped and not read; its record batches are the groups. A stream
    is read whole.
    """

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        with reading(path, "Arrow"):
            self._groups = _open_arrow(path)
            schema = self._groups.schema
            sizes = [self._groups.get(group).num_rows for group in range(len(self._groups))]
        super().__init__(path, schema.names, sizes)
        self._schema = schema
        check_rows(self)

    @property
    def types(self) -> pa.Schema:
        """See `Source.types`."""
        return self._schema

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        with reading(self.path, "Arrow"):
            table = pa.Table.from_batches([self._groups.get(group)])
        return (table.slice(start, size) for start in range(0, table.num_rows, size))


class ArrowSink(Sink):
    """Writes an Arrow IPC file; the arguments are those of `Sink`."""

    def __init__(self, file: IO[bytes], path: Path, schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_file(file, schema)

    def write(self, table: pa.Table) -> None:
        """See `Sink.write`."""
        self._writer.write_table(table)

    def close(self) -> None:
        """See `Sink.close`."""
        self._writer.close()


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


FORMAT = Format(ArrowSource, ArrowSink)
