"""A table of every kind of column, and files of rows from it."""

import numpy as np
import pyarrow as pa

from upland.io.formats import TableWriter

N = 500
RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "load": RNG.normal(size=N),
        "count": RNG.integers(0, 9, N),
        "site": np.array(["north", "so,uth", 'ea"st', "w\nest"])[RNG.integers(0, 4, N)],
        "gap": [None if i % 7 == 0 else i % 5 * 0.5 for i in range(N)],
        "at": pa.array(RNG.integers(0, 10**9, N) // 10**7 * 10**7, pa.timestamp("s")),
        "open": RNG.random(N) < 0.5,
        "code": RNG.integers(1, 4, N),
    }
)
PLAIN = {"a": [1.5, 2.0], "b": ["x", "y"]}


def written(path, table=TABLE, step=90):
    """A file of a table, written in pieces."""
    with TableWriter(path) as writer:
        for start in range(0, table.num_rows, step):
            writer.write(table.slice(start, step))
    return path


def texted(path, text, encoding="utf-8"):
    """A file of text or bytes."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path
