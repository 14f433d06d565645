"""Laws of every file of rows: rows by number, passes in a new order, batches, whatever the format."""

import numpy as np
import pyarrow as pa
import pytest

from rowfiles import TABLE, N, written
from upland.data.table.encoder import TableEncoder
from upland.io import source as files
from upland.io.formats import open_source

SUFFIXES = [".csv", ".csv.gz", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".CSV"]


@pytest.fixture
def small_pieces(monkeypatch):
    """Many groups, pieces and pools from few rows."""
    monkeypatch.setattr(files, "PIECE", 16)
    monkeypatch.setattr(files, "POOL", 60)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_read_is_what_was_written(tmp_path, suffix):
    source = open_source(written(tmp_path / f"rows{suffix}"))
    assert source.names == TABLE.column_names
    table = source.read()
    assert source.n_rows == N
    assert table.to_pandas().astype({"at": "M8[s]"}).equals(TABLE.to_pandas())
    assert pa.concat_tables(source.batches(size=77)).to_pydict() == table.to_pydict()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [1000, 77, 1])
def test_streamed_rows_encode_as_the_whole(tmp_path, suffix, size):
    source = open_source(written(tmp_path / f"rows{suffix}", TABLE.slice(0, 60)))
    encoder = TableEncoder(categorical=["code"]).fit(TABLE)
    batches = list(source.batches(encoder.schema_, size))
    assert max(batch.num_rows for batch in batches) <= size
    codes = np.concatenate([encoder.transform(batch) for batch in batches])
    np.testing.assert_array_equal(codes, encoder.transform(TABLE.slice(0, 60)))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize(
    "rows", [[], [0], [N - 1], [3, 88, 89, 90, 91, 400], list(range(N)), list(range(95, 180))], ids=len
)
def test_single_rows(tmp_path, suffix, rows):
    source = open_source(written(tmp_path / f"rows{suffix}"))
    taken = source.take(np.array(rows, dtype=np.int64))
    assert taken.num_rows == len(rows)
    assert taken["load"].to_pylist() == TABLE["load"].take(pa.array(rows, pa.int64())).to_pylist()
    assert taken.column_names == TABLE.column_names


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, 1], "sorted and distinct"),
        ([1, 1], "sorted and distinct"),
        ([-1], "between 0 and 499"),
        ([N], "between 0 and 499"),
    ],
)
def test_rows_that_are_not_there(tmp_path, rows, message):
    source = open_source(written(tmp_path / "rows.parquet"))
    with pytest.raises(ValueError, match=message):
        source.take(np.array(rows))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize("size", [1, 32, 90, 1000])
@pytest.mark.parametrize("skip", [None, [0, 17, 250, N - 1], range(80, 200)])
def test_a_pass_gives_each_row_once(tmp_path, suffix, size, skip):
    source = open_source(written(tmp_path / f"rows{suffix}"))
    skipped = np.array([] if skip is None else skip, dtype=np.int64)
    batches = list(source.shuffled(np.random.default_rng(1), None if skip is None else skipped, size))
    assert {batch.num_rows for batch in batches[:-1]} <= {size}
    seen = pa.concat_tables(batches)["load"].to_pylist()
    kept = np.delete(TABLE["load"].to_numpy(), skipped)
    assert sorted(seen) == sorted(kept)
    assert seen != kept.tolist()


@pytest.mark.usefixtures("small_pieces")
def test_a_pass_depends_on_its_generator_alone(tmp_path):
    source = open_source(written(tmp_path / "rows.parquet"))
    one, same, other = (
        pa.concat_tables(source.shuffled(np.random.default_rng(seed), size=64))["load"].to_pylist()
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
    generator = np.random.default_rng(1)
    first, second = (
        pa.concat_tables(source.shuffled(generator, size=64))["load"].to_pylist() for _ in range(2)
    )
    assert first != second
