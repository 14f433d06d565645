"""Rows of a data set that lies in many files, and all of them again."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def rows(count, seed, broken=0):
    """Pressure follows flow, but for the last rows; a date, a category, and a site that is no feature."""
    generator = np.random.default_rng(seed)
    flow = generator.normal(10, 2, count)
    pressure = 2 * flow + generator.normal(0, 0.2, count)
    pressure[count - broken :] += 30
    return pa.table(
        {
            "flow": pa.array(flow, pa.float32()),
            "pressure": pressure,
            "valve": pa.array(generator.choice(["open", "shut"], count)).dictionary_encode(),
            "site": pa.array(generator.choice(5, count, p=[0.6, 0.1, 0.1, 0.1, 0.1]), pa.int16()),
            "at": pa.array(generator.integers(0, 10**9, count), pa.timestamp("s")),
        }
    )


def joined(folder, names):
    """The rows of some files of a folder, one after another."""
    return pa.concat_tables([pq.ParquetFile(folder / name).read() for name in names])
