"""CSV files: in their many dialects, cells as they were, what is broken named with its line."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rowfiles import PLAIN, TABLE, texted, written
from upland.data.table.encoder import TableEncoder
from upland.io import csv as csvfile
from upland.io.casting import NULLS
from upland.io.formats import open_source

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


@pytest.mark.parametrize("null", NULLS)
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


def test_a_lone_column_keeps_its_missing_cells(tmp_path):
    table = pa.table({"a": [1.0, None, 3.0]})
    assert open_source(written(tmp_path / "rows.csv", table)).read().to_pydict() == {"a": [1, None, 3]}


def test_more_lines_than_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr(csvfile, "_BLOCK", 4096)
    source = open_source(written(tmp_path / "rows.csv"))
    assert source.read()["site"].to_pylist() == TABLE["site"].to_pylist()
    schema = TableEncoder().fit(TABLE).schema_
    assert pa.concat_tables(source.batches(schema, 64))["site"].to_pylist() == TABLE["site"].to_pylist()


def test_numbered_headers_are_headers(tmp_path):
    pd.DataFrame(np.eye(3)).to_csv(tmp_path / "rows.csv", index=False)
    assert open_source(tmp_path / "rows.csv").names == ["0", "1", "2"]


@pytest.mark.parametrize("line", ["1,2,3", "1"])
def test_a_ragged_line_is_named_while_streaming(tmp_path, line, monkeypatch):
    monkeypatch.setattr(csvfile, "_BLOCK", 4096)
    lines = ["a,b", *["1,2"] * 3000, line, *["1,2"] * 3000]
    source = open_source(texted(tmp_path / "rows.csv", "\n".join(lines)))
    schema = TableEncoder().fit(pa.table({"a": [1, 2], "b": [1, 2]})).schema_
    with pytest.raises(ValueError, match=r"rows.csv, line 3002: the header has 2 cells"):
        list(source.batches(schema))
    with pytest.raises(ValueError, match=r"rows.csv, line 3002: the header has 2 cells"):
        source.read()


def test_text_that_stops_being_utf8_far_into_the_file(tmp_path):
    data = b"a,b\n" + b"1,x\n" * 400_000 + "2,é\n".encode("latin-1")
    source = open_source(texted(tmp_path / "rows.csv", data))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        source.read()
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        list(source.batches(TableEncoder().fit(pa.table(PLAIN)).schema_))


def test_equal_rows_give_equal_files(tmp_path):
    one, two = (written(tmp_path / f"{name}.csv.gz") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_written_numbers_come_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    x = np.r_[
        rng.normal(size=200) * 10.0 ** rng.integers(-300, 300, 200), 0.1 + 0.2, 5e-324, 1.7976931348623157e308
    ]
    source = open_source(written(tmp_path / "rows.csv", pa.table({"x": x, "y": x})))
    assert source.read()["x"].to_numpy().tolist() == x.tolist()


@pytest.mark.parametrize(("suffix", "codec"), [(".gz", "gzip"), (".bz2", "bz2"), (".zst", "zstd")])
@pytest.mark.parametrize("form", [".csv", ".tsv"])
def test_compressed_files_are_read_by_their_suffix(form, suffix, codec, tmp_path):
    path = tmp_path / f"a{form}{suffix}"
    with pa.CompressedOutputStream(str(path), codec) as file:
        file.write("a,b\n1.5,x\n2.0,y\n".replace(",", "\t" if form == ".tsv" else ",").encode())
    assert open_source(path).read().to_pydict() == {"a": [1.5, 2.0], "b": ["x", "y"]}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"a{form}{suffix} cannot be read"):
        open_source(path).read()
