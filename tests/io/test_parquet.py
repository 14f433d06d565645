"""Parquet files of other writers, of large row groups, and damaged ones."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from rowfiles import TABLE
from upland.io.formats import open_source


def test_files_of_other_writers(tmp_path):
    TABLE.to_pandas().set_index("count").to_parquet(tmp_path / "pandas.parquet")
    pl.from_arrow(TABLE).write_parquet(tmp_path / "polars.parquet", row_group_size=64)
    for name in ("pandas.parquet", "polars.parquet"):
        assert open_source(tmp_path / name).read()["load"].to_pylist() == TABLE["load"].to_pylist()


def test_the_index_of_a_pandas_frame_is_no_feature_but_is_carried(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[17, 4])
    frame.to_parquet(tmp_path / "rows.parquet")
    source = open_source(tmp_path / "rows.parquet")
    assert source.names == source.read().column_names == ["a"]
    ((raw, typed),) = source.pairs()
    assert (raw.column_names, typed.column_names) == (["a", "__index_level_0__"], ["a"])


def test_memory_does_not_grow_with_a_row_group(tmp_path):
    """A Parquet file of one large group is still read in pieces."""
    pq.write_table(pa.table({"a": np.arange(300_000.0)}), tmp_path / "rows.parquet", row_group_size=300_000)
    source = open_source(tmp_path / "rows.parquet")
    assert max(batch.num_rows for batch in source.batches(size=10_000)) == 10_000
    assert sum(batch.num_rows for batch in source.shuffled(np.random.default_rng(0), size=4096)) == 300_000
