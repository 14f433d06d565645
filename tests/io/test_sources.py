"""Files of rows: what is read is what was written, in any batches; what is broken is named."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pytest

from upland.data.table.encoder import TableEncoder
from upland.io import csv as csvfile
from upland.io import source as files
from upland.io.formats import TableWriter, open_source

N = 500
RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "load": RNG.normal(size=N),
        "count": RNG.integers(0, 9, N),
        "site": np.array(["north", "so,uth", 'ea"st', "w\nest"])[RNG.integers(0, 4, N)],
        "gap": [None if i % 7 == 0 else i % 5 * 0.5 for i in range(N)],
        "at": pa.array(RNG.integers(0, 10**9, N), pa.timestamp("s")),
        "open": RNG.random(N) < 0.5,
        "code": RNG.integers(1, 4, N),
    }
)
SUFFIXES = [".csv", ".csv.gz", ".tsv", ".parquet", ".pq", ".arrow", ".feather", ".CSV"]


@pytest.fixture
def small_pieces(monkeypatch):
    """Many groups, pieces and pools from few rows."""
    for module in (files, csvfile):
        monkeypatch.setattr(module, "PIECE", 16)
    monkeypatch.setattr(files, "POOL", 60)
    monkeypatch.setattr("upland.io.columnar.PIECE", 16)


def written(path, table=TABLE, step=90):
    with TableWriter(path) as writer:
        for start in range(0, table.num_rows, step):
            writer.write(table.slice(start, step))
    return path


def texted(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# -- reading ---------------------------------------------------------------------------------------


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
    [([3, 1], "sorted"), ([1, 1], "sorted"), ([-1], "between 0 and 499"), ([N], "between 0 and 499")],
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


def test_other_writers(tmp_path):
    TABLE.to_pandas().set_index("count").to_parquet(tmp_path / "pandas.parquet")
    pl.from_arrow(TABLE).write_parquet(tmp_path / "polars.parquet", row_group_size=64)
    pa.feather.write_feather(TABLE, str(tmp_path / "lz4.feather"), compression="lz4")
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), TABLE.schema) as stream:
        stream.write_table(TABLE)
    assert open_source(tmp_path / "polars.parquet").read()["load"].to_pylist() == TABLE["load"].to_pylist()
    for name in ("lz4.feather", "stream.arrow"):
        assert open_source(tmp_path / name).read().equals(TABLE)


def test_the_index_of_a_pandas_frame_is_no_feature_but_is_carried(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[17, 4])
    frame.to_parquet(tmp_path / "rows.parquet")
    source = open_source(tmp_path / "rows.parquet")
    assert source.names == source.read().column_names == ["a"]
    ((raw, typed),) = source.pairs()
    assert (raw.column_names, typed.column_names) == (["a", "__index_level_0__"], ["a"])


# -- CSV, the many ways ----------------------------------------------------------------------------

PLAIN = {"a": [1.5, 2.0], "b": ["x", "y"]}
LOOKS = [
    "a,b\n1.5,x\n2,y\n",
    "a,b\r\n1.5,x\r\n2,y",
    "a;b\n1.5;x\n2;y\n",
    "a;b\n1,5;x\n2;y\n",
    "a\tb\n1.5\tx\n2\ty\n",
    "a|b\n1.5|x\n2|y\n",
    '"a","b"\n"1.5","x"\n"2","y"\n',
    "\n\na,b\n1.5,x\n\n2,y\n\n",
    "a,b\n 1.5 ,x\n2 ,y\n",
    "\ufeffa,b\n1.5,x\n2,y\n",
]


@pytest.mark.parametrize("text", LOOKS, ids=range(len(LOOKS)))
def test_csv_in_its_many_looks(tmp_path, text):
    source = open_source(texted(tmp_path / "rows.csv", text))
    assert source.read().to_pydict() == PLAIN
    schema = TableEncoder().fit(pa.table(PLAIN)).schema_
    assert pa.concat_tables(source.batches(schema)).to_pydict() == PLAIN


@pytest.mark.parametrize("null", csvfile.NULLS)
def test_spellings_of_a_missing_cell(tmp_path, null):
    source = open_source(texted(tmp_path / "rows.csv", f"a,b\n1,x\n{null},{null}\n3,z\n"))
    expected = {"a": [1, None, 3], "b": ["x", None, "z"]}
    assert source.read().to_pydict() == expected
    (batch,) = source.batches(TableEncoder().fit(source.read()).schema_)
    assert batch.to_pydict() == expected


def test_raw_rows_stay_as_they_stand(tmp_path):
    text = 'a,b,more\n1.50,x,007\nNA,"y,z",\n'
    source = open_source(texted(tmp_path / "rows.csv", text))
    schema = TableEncoder().fit(pa.table(PLAIN)).schema_
    ((raw, typed),) = source.pairs(schema)
    assert raw.to_pydict() == {"a": ["1.50", "NA"], "b": ["x", "y,z"], "more": ["007", ""]}
    assert typed.to_pydict() == {"a": [1.5, None], "b": ["x", "y,z"], "more": ["007", ""]}
    written(tmp_path / "copy.csv", raw)
    assert (tmp_path / "copy.csv").read_text() == text


BAD_CELLS = [
    ("load", "abc", "is not a number"),
    ("load", "1_000", "is not a number"),
    ("load", "1,5", "is not a number"),
    ("open", "perhaps", "is not true, false, 1 or 0"),
    ("at", "yesterday", "is not a date"),
    ("count", "3 pieces", "is not a number"),
]


@pytest.mark.parametrize(("name", "cell", "message"), BAD_CELLS)
def test_a_bad_cell_is_named_with_column_row_and_value(tmp_path, name, cell, message):
    frame = TABLE.to_pandas().astype(object)
    frame.loc[[321, 400], name] = cell
    frame.to_csv(tmp_path / "rows.csv", index=False)
    source = open_source(tmp_path / "rows.csv")
    schema = TableEncoder().fit(TABLE).schema_
    with pytest.raises(
        ValueError, match=f"rows.csv: column '{name}', row 322 holds '{cell}', which {message}"
    ):
        list(source.batches(schema, 100))


def test_booleans_dates_and_codes_from_text(tmp_path):
    fitted = pa.table(
        {
            "flag": [True, False],
            "at": pa.array([0, 3600], pa.timestamp("s")),
            "time": pa.array([0, 3600], pa.time32("s")),
            "code": [1, 7],
            "half": [0.5, 1.0],
            "sure": [True, False],
        }
    )
    encoder = TableEncoder(categorical=["code", "half", "sure"]).fit(fitted)
    lines = [
        "flag,at,time,code,half,sure",
        "TRUE,1970-01-01T00:00:00,00:00:00,007,1.00,true",
        "0,1970-01-01T01:00:00Z,01:00:00,+1,.5,False",
    ]
    for number, line in enumerate(lines[1:]):
        source = open_source(texted(tmp_path / f"{number}.csv", f"{lines[0]}\n{line}\n"))
        (batch,) = source.batches(encoder.schema_)
        expected = {
            "code": [("7", "1")[number]],
            "half": [("1", "0.5")[number]],
            "sure": [("True", "False")[number]],
        }
        assert batch.select(list(expected)).to_pydict() == expected
        codes = encoder.transform(batch)
        plain = encoder.slots < 3
        np.testing.assert_array_equal(codes[:, plain], encoder.transform(fitted.slice(number, 1))[:, plain])


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("1970-01-02 00:00", 86400.0),
        ("1970-01-02T00:00:01.5", 86401.5),
        ("1970-01-02T00:00:01.500000001", 86401.5),
        ("1970-01-02T02:00:00+02:00", 86400.0),
        ("1970-01-02T00:00:00.000000001Z", 86400.0),
    ],
)
def test_dates_in_text(tmp_path, cell, seconds):
    encoder = TableEncoder().fit(pa.table({"at": pa.array([0, 100], pa.timestamp("s")), "a": [1, 5]}))
    source = open_source(texted(tmp_path / "rows.csv", f"at,a\n{cell},1\n"))
    (batch,) = source.batches(encoder.schema_)
    assert batch["at"].cast(pa.int64()).to_pylist() == [int(seconds * 1e6)]


def test_a_csv_is_cast_by_position_when_the_fit_had_no_names(tmp_path):
    source = open_source(texted(tmp_path / "rows.csv", "p,q\n1,2\n3,4\n"))
    (batch,) = source.batches(TableEncoder().fit(np.eye(2)).schema_)
    assert batch.to_pydict() == {"p": [1.0, 3.0], "q": [2.0, 4.0]}


def test_a_lone_column_keeps_its_missing_cells(tmp_path):
    table = pa.table({"a": [1.0, None, 3.0]})
    assert open_source(written(tmp_path / "rows.csv", table)).read().to_pydict() == {"a": [1, None, 3]}


def test_more_lines_than_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr(csvfile, "_BLOCK", 4096)
    source = open_source(written(tmp_path / "rows.csv"))
    assert source.read()["site"].to_pylist() == TABLE["site"].to_pylist()
    schema = TableEncoder().fit(TABLE).schema_
    assert pa.concat_tables(source.batches(schema, 64))["site"].to_pylist() == TABLE["site"].to_pylist()
