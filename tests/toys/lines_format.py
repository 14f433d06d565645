"""One JSON object a line: a file format of rows in one file."""

import json

import pyarrow as pa

from upland.io.formats import Format, Sink
from upland.io.source import Source, check_rows


class LinesSource(Source):
    def __init__(self, path, cells):
        self._table = pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()])
        super().__init__(path, self._table.column_names, [self._table.num_rows])
        check_rows(self)

    def _pieces(self, group, size):
        return (self._table.slice(start, size) for start in range(0, self._table.num_rows, size))


class LinesSink(Sink):
    def __init__(self, file, path, schema):
        self._file = file

    def write(self, table):
        self._file.writelines(json.dumps(row).encode() + b"\n" for row in table.to_pylist())

    def close(self):
        pass


FORMAT = Format(LinesSource, LinesSink)
