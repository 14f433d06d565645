"""Files with the same columns as one source: the same rows as one file has, in constant memory."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowfiles import TABLE, texted, written
from upland.data import rows as memory
from upland.data.rows import FileRows, normal_rows
from upland.data.table.encoder import TableEncoder
from upland.io.folders import ManySource
from upland.io.formats import open_source
from upland.io.places import row_files

FORMATS = [".csv", ".csv.gz", ".tsv", ".parquet", ".arrow"]
CUTS = [0, 120, 121, 300, 500]


@pytest.fixture(params=FORMATS)
def folder(request, tmp_path):
    """A folder of four files, the second of one row, and beside it one file of the same rows."""
    (tmp_path / "parts").mkdir()
    for number, (start, stop) in enumerate(pairwise(CUTS)):
        written(tmp_path / "parts" / f"{number}{request.param}", TABLE.slice(start, stop - start))
    written(tmp_path / f"whole{request.param}")
    return tmp_path


def whole_of(folder):
    return open_source(next(folder.glob("whole*")))


def test_a_folder_is_read_as_one_file_of_the_same_rows(folder):
    many, one = open_source(folder / "parts"), whole_of(folder)
    assert isinstance(many, ManySource)
    assert many.read().to_pylist() == one.read().to_pylist()
    assert many.n_rows == one.n_rows == TABLE.num_rows
    schema = TableEncoder().fit(one.read()).schema_
    for batches in zip(many.pairs(schema, 77), strict=False):
        ((raw, typed),) = batches
        assert raw.column_names == typed.column_names == one.names
    pairs = [pa.concat_tables(column).to_pylist() for column in zip(*many.pairs(schema), strict=True)]
    assert pairs == [pa.concat_tables(column).to_pylist() for column in zip(*one.pairs(schema), strict=True)]


def test_rows_are_taken_and_shuffled_by_their_numbers(folder):
    many = open_source(folder / "parts")
    rows = np.array([0, 119, 120, 121, 499])
    assert many.take(rows).to_pylist() == TABLE.take(pa.array(rows)).to_pylist() or many.nulls
    seen = pa.concat_tables(many.shuffled(np.random.default_rng(0), rows, 50))
    assert sorted(seen["load"].to_pylist()) == sorted(np.delete(TABLE["load"].to_numpy(), rows).tolist())


def test_no_more_than_a_piece_and_a_file_are_held(tmp_path, monkeypatch):
    for number in range(30):
        pq.write_table(TABLE, tmp_path / f"{number:02}.parquet", row_group_size=100)
    monkeypatch.setattr(memory, "CELLS_IN_MEMORY", 0)
    rows = normal_rows(tmp_path)
    assert isinstance(rows, FileRows)
    assert rows.n_rows == 15_000
    source = open_source(tmp_path)
    assert max(piece.num_rows for piece in source.batches(size=200)) <= 200
    opened = []
    many = ManySource(tmp_path, row_files(tmp_path), lambda path: opened.append(path) or open_source(path))
    opened.clear()
    assert len(many.take(np.array([5, 7_000]))) == 2
    assert len(opened) == 2  # only the files that hold them


def test_columns_may_stand_in_another_order_and_numbers_be_of_another_width(tmp_path):
    pq.write_table(pa.table({"a": pa.array([1, 2], pa.int8()), "b": ["x", "y"]}), tmp_path / "1.parquet")
    other = pa.table({"b": pa.array(["z"]).dictionary_encode(), "a": [2.5]})
    pq.write_table(other, tmp_path / "2.parquet")
    source = open_source(tmp_path)
    assert source.read().to_pydict() == {"a": [1.0, 2.0, 2.5], "b": ["x", "y", "z"]}
    schemas = {str(raw.schema) for raw, _ in source.pairs()}
    assert len(schemas) == 1, "what is written has one schema"


def test_text_in_one_file_makes_a_column_of_text_in_all(tmp_path):
    texted(tmp_path / "1.csv", "code,a\n12,1\nNA,2\n")
    texted(tmp_path / "2.csv", "code,a\nA3,1.5\n")
    assert open_source(tmp_path).read().to_pydict() == {"code": ["12", None, "A3"], "a": [1.0, 2.0, 1.5]}


def test_folders_of_keys_give_columns(tmp_path):
    for year, site in ((2025, "north"), (2026, "south%20west"), (2026, "__HIVE_DEFAULT_PARTITION__")):
        inside = tmp_path / f"year={year}" / f"site={site}"
        inside.mkdir(parents=True)
        texted(inside / "a.csv", "a\n1\n2\n")
    source = open_source(tmp_path)
    assert source.names == ["a", "year", "site"]
    table = source.read()
    assert table["year"].to_pylist() == [2025, 2025, 2026, 2026, 2026, 2026]
    assert table["site"].to_pylist() == ["north", "north", None, None, "south west", "south west"]
    pattern = open_source(str(tmp_path / "year=2026" / "*" / "*.csv"))
    assert pattern.names == ["a", "site"]
    schema = TableEncoder(categorical=["year"]).fit(table).schema_
    raw, typed = next(iter(source.pairs(schema)))
    assert (raw["year"].to_pylist(), typed["year"].to_pylist()) == (["2025"] * 2, ["2025"] * 2)


REFUSED = [
    (
        {"1.csv": "a,b\n1,2\n3,4\n", "2.csv": "a\n1\n2\n"},
        "2.csv has other columns than the first.*lacks 'b'",
    ),
    (
        {"1.csv": "a\n1\n2\n", "2.csv": "a,b\n1,2\n"},
        "2.csv has other columns than the first.*has 'b' too",
    ),
    (
        {"1.csv": "a\n1\n2\n", "2.tsv": "a\n1\n", "3.parquet": "x"},
        "formats, 1 .csv, 1 .tsv, 1 .parquet",
    ),
    ({"1.csv": "a\n1\n", "2.csv": ""}, "2.csv is empty"),
    (
        {"1.csv": "a\n1\n", "x=1/2.csv": "a\n1\n"},
        "2.csv has other columns than the first.*has 'x' too",
    ),
    ({"notes.txt": "x", "_SUCCESS": "", ".hidden.csv": "a\n1\n"}, "holds no files of rows: it holds 1 .txt"),
    ({"_SUCCESS": ""}, "holds no files of rows: it holds hidden files alone"),
    ({}, "holds no files of rows: it is empty"),
]


@pytest.mark.parametrize(("files", "message"), REFUSED, ids=range(len(REFUSED)))
def test_files_that_do_not_go_together_are_refused_by_name(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        texted(tmp_path / name, text)
    with pytest.raises((ValueError, OSError), match=message):
        open_source(tmp_path)


def test_other_types_are_refused_with_column_and_file(tmp_path):
    for number, values in enumerate(([1, 2], ["x", "y"])):
        pq.write_table(pa.table({"a": values}), tmp_path / f"{number}.parquet")
    with pytest.raises(ValueError, match=r"1.parquet: column 'a' has the type string, but int64 in"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", ".hidden.csv", "_temporary/1.csv", "data.json"])
def test_files_that_are_left_out_are_named(name, tmp_path):
    texted(tmp_path / "1.csv", "a\n1\n2\n")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    texted(tmp_path / name, "a\n1\n")
    with pytest.warns(UserWarning, match=f"left out 1 file, which hold no rows or are hidden: '{name}'"):
        assert open_source(tmp_path).read().num_rows == 2


def test_files_of_success_are_left_out_without_a_word(tmp_path):
    texted(tmp_path / "1.csv", "a\n1\n2\n")
    texted(tmp_path / "_SUCCESS", "")
    assert open_source(tmp_path).read().num_rows == 2


@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_dead_link_is_left_out_by_name(tmp_path):
    texted(tmp_path / "1.csv", "a\n1\n2\n")
    (tmp_path / "2.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.warns(UserWarning, match="left out 1 file.*'2.csv'"):
        open_source(tmp_path)
