"""CSV files: in their many dialects, cells as they were, what is broken or doubtful named with its line."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rowfiles import PLAIN, TABLE, texted, written
from upland.data.table.encoder import TableEncoder
from upland.io import bounds, csv_layout
from upland.io import csv as csvfile
from upland.io.casting import NULLS
from upland.io.cells import CellOptions
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
    "a,b\r1.5,x\r2,y\r",
    "sep=;\r\na;b\r\n1.5;x\r\n2;y\r\n",
    " a ,b \n1.5,x\n2,y\n",
    'a,b\n1.5,x\n2,"y"\n\n\n',
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


# -- rows agree with lines -----------------------------------------------------------------------------------

ROWS = [f"{row * 7 % 50 / 8},{row % 9 + 0.5},{'AB'[row % 2]}" for row in range(60)]
SCHEMA = TableEncoder().fit(pa.table({"x": [1.5, 2, 3], "z": [1.5, 2, 3], "s": ["A", "B", "A"]})).schema_


def with_quotes(first, last, column):
    """The rows, with a stray quote before one cell of each of two rows."""
    rows = [row.split(",") for row in ROWS]
    for row in (first, last):
        rows[row][column] = '"' + rows[row][column]
    return [",".join(row) for row in rows]


def both_ways(path):
    """The rows read to fit and to score, or the same message either way."""
    results = []
    for read in (lambda source: source.read(), lambda source: pa.concat_tables(source.batches(SCHEMA))):
        try:
            results.append(read(open_source(path)).num_rows)
        except ValueError as error:
            results.append(str(error))
    assert results[0] == results[1]
    return results[0]


REGULAR = {
    "plain": ["x,z,s", *ROWS],
    "inches": ["x,z,s", *(row + ' 5"' for row in ROWS)],
    "all in quotes": [",".join(f'"{cell}"' for cell in row.split(",")) for row in ("x,z,s", *ROWS)],
    "addresses": ["x,z,s", *(row[:-1] + '"Street 5\nBerlin, DE"' for row in ROWS)],
    "addresses first": ["s,x,z", *(f'"Street 5\nBerlin, DE",{row[:-2]}' for row in ROWS)],
    "quotes in quotes": ["x,z,s", *(row[:-1] + '"a ""b""\n""c"""' for row in ROWS)],
    "empty lines": ["x,z,s", "", *ROWS[:30], "", "", *ROWS[30:], ""],
    "a name over two lines": ['x,z,s,"load\n(kW)"', *(row + ",1.5" for row in ROWS)],
}


@pytest.mark.parametrize("name", REGULAR)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_as_many_rows_as_lines(tmp_path, name, end):
    assert both_ways(texted(tmp_path / "rows.csv", end.join(REGULAR[name]) + end)) == len(ROWS)


DOUBTFUL = {
    "quotes in the first column": (
        ["x,z,s", *with_quotes(10, 40, 0)],
        "line 12: a quote opens that closes in line 42",
    ),
    "in the second": (["x,z,s", *with_quotes(10, 40, 1)], "line 12: a quote opens that closes in line 42"),
    "in the last": (["x,z,s", *with_quotes(10, 40, 2)], "line 12: a quote opens that closes in line 42"),
    "in neighbours": (["x,z,s", *with_quotes(10, 11, 2)], "line 12: a quote opens that closes in line 13"),
    "one quote": (["x,z,s", *ROWS, '1,2,"A', *ROWS], "line 62: a quote opens that is never closed"),
    "in the header": (['x,"z,s', *ROWS], "line 1: a quote in the header is not closed"),
    "in a long header": (['x,"z,s', *ROWS * 200], "line 1: a quote in the header is not closed"),
    "no header": (ROWS, "has no header: its first line holds mostly numbers"),
    "the header twice": (["x,z,s", *ROWS[:5], "x,z,s", *ROWS], "line 7 is the header again"),
    "the header at once again": (["x,z,s", "x,z,s", *ROWS], "line 2 is the header again"),
    "a comment": (["# made by x", "x,z,s", *ROWS], "line 1 is a comment"),
    "a comment within": (
        ["x,z,s", *ROWS[:5], "# a pause", *ROWS],
        "line 7: the header has 3 cells, this line has 1",
    ),
    "blanks": (
        [row.replace(",", " ") for row in ["x,z,s", *ROWS]],
        "line 1: its cells seem to be parted by blanks",
    ),
    "too short": (["x,z,s", *ROWS[:5], "1,2", *ROWS], "line 7: the header has 3 cells, this line has 2"),
    "too long": (["x,z,s", *ROWS[:5], "1,2,A,B", *ROWS], "line 7: the header has 3 cells, this line has 4"),
    "a blank line": (["x,z,s", *ROWS[:5], "   ", *ROWS], "line 7: the header has 3 cells, this line has 1"),
    "delimiters at the ends": (
        ["x,z,s", *(row + "," for row in ROWS)],
        "line 2: the header has 3 cells, this line has 4",
    ),
    "a zero byte": (["x,z,s", *ROWS, "1,\0,A"], "is no text: it contains zero bytes"),
    "a zero byte far below": (["x,z,s", *ROWS * 3000, "1,\0,A"], "is no text: it contains zero bytes"),
    "a web page": (["", "<!DOCTYPE html>", "<p>x</p>", "<p>y</p>"], "it is HTML or XML"),
    "JSON": (['[{"x": 1},', '{"x": 2}]'], "it is JSON"),
    "JSON lines": (['{"x": 1}', '{"x": 2}'], "it is JSON"),
    "a workbook": (["PK\x03\x04", *ROWS], "it is a ZIP archive or an Excel workbook"),
    "two names alike": (["x,z,x", *ROWS], "duplicate column names in the header: 'x'"),
    "two without a name": ([",,s", *ROWS], "duplicate column names in the header: ''"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_doubtful_files_are_refused_with_the_line(tmp_path, name):
    lines, message = DOUBTFUL[name]
    assert message in str(both_ways(texted(tmp_path / "rows.csv", "\n".join(lines) + "\n")))


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("last", range(1, 60, 7))
def test_two_stray_quotes_never_swallow_a_row(tmp_path, column, last):
    path = texted(tmp_path / "rows.csv", "\n".join(["x,z,s", *with_quotes(0, last, column)]))
    assert f"line 2: a quote opens that closes in line {last + 2}" in str(both_ways(path))


@pytest.mark.parametrize("block", [7, 20, 64, 1000])
def test_a_header_again_is_found_at_the_seams_of_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr(csvfile, "_BLOCK", block)
    for before in range(12):
        path = texted(tmp_path / "rows.csv", "\n".join(["x,z,s", *ROWS[:before], "x,z,s", *ROWS[:20]]))
        assert f"line {before + 2} is the header again" in str(both_ways(path))


def test_a_header_longer_than_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_layout, "SAMPLE", 1 << 10)
    names = [f"column {number}".ljust(100, "x") for number in range(60)]
    text = "\n".join([",".join(names), *(",".join([f"{row}.5"] * 60) for row in range(30))])
    source = open_source(texted(tmp_path / "rows.csv", text))
    assert source.names == names
    encoder = TableEncoder().fit(source.read())
    assert sum(batch.num_rows for batch in source.batches(encoder.schema_)) == 30
    monkeypatch.setattr(csv_layout, "LONGEST", 1 << 12)
    with pytest.raises(ValueError, match=r"its first line is longer than 4,096 bytes"):
        open_source(tmp_path / "rows.csv")


def test_names_are_compared_a_number_of_times_that_grows_with_the_names(tmp_path):
    names = [f"c{number}" for number in range(70_000)]
    with pytest.raises(ValueError, match="duplicate column names in the header: 'c7'"):
        open_source(texted(tmp_path / "rows.csv", ",".join([*names, "c7"]) + "\n1\n"))
    with pytest.raises(ValueError, match="200,001 columns; at most 200,000 are read"):
        open_source(texted(tmp_path / "rows.csv", "c," * 200_000 + "c\n1\n"))


@pytest.mark.parametrize("text", ["a,b\n" + "1.5,2.5\n" * 200_000, "a" * 400_000, "a,b\n" + "1" * 400_000])
def test_a_bomb_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 18)
    monkeypatch.setattr(csv_layout, "LONGEST", 1 << 18)
    path = texted(tmp_path / "rows.csv.gz", gzip.compress(text.encode()))
    message = str(both_ways(path))
    assert "decompression bomb" in message or "longer than" in message


def test_codes_keep_their_zeros(tmp_path):
    text = "code,x\n" + "".join(f"{code:05d},{code}.5\n" for code in range(495, 510))
    source = open_source(texted(tmp_path / "rows.csv", text))
    assert source.read()["code"].to_pylist()[:2] == ["00495", "00496"]
    assert source.read()["x"].type == pa.float64()


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"missing": ("?", -999)}, "a,b\n1,x\n?,?\n-999,y\n", {"a": [1, None, None], "b": ["x", None, "y"]}),
        ({"decimal": ","}, "a\tb\n1,5\tx\n2,5\ty\n", {"a": [1.5, 2.5], "b": ["x", "y"]}),
        ({"decimal": ","}, 'a,b\n"1,5",2.5\n"2,5",3.5\n', {"a": ["1,5", "2,5"], "b": [2.5, 3.5]}),
        ({"decimal": "."}, "a;b\n1,5;x\n2,5;y\n", {"a": ["1,5", "2,5"], "b": ["x", "y"]}),
        ({"thousands": ","}, "a;b\n1,500;x\n2,500;y\n", {"a": ["1,500", "2,500"], "b": ["x", "y"]}),
    ],
)
def test_options_of_cells(tmp_path, options, text, expected):
    source = open_source(texted(tmp_path / "rows.csv", text), CellOptions(**options))
    assert source.read().to_pydict() == expected


def test_a_file_too_large_to_be_read_whole_names_a_way_that_works(tmp_path, monkeypatch):
    path = texted(tmp_path / "rows.csv", "\n".join(["x,z,s", *ROWS]))
    monkeypatch.setattr(csvfile, "WHOLE", 100)
    with pytest.raises(ValueError, match=r"larger than the 100 bytes .*polars.scan_csv\(...\).sink_parquet"):
        open_source(path).read()
    assert sum(batch.num_rows for batch in open_source(path).batches(SCHEMA)) == len(ROWS)
    pl.scan_csv(path).sink_parquet(tmp_path / "rows.parquet")
    assert open_source(tmp_path / "rows.parquet").read().num_rows == len(ROWS)


def test_a_last_line_of_totals_gives_a_warning(tmp_path):
    rows = ["s,x", *(f"{'AB'[row % 2]},{row}.5" for row in range(9))]
    open_source(texted(tmp_path / "rows.csv", "\n".join(rows))).read()
    path = texted(tmp_path / "rows.csv", "\n".join([*rows, "Total:,81"]))
    with pytest.warns(UserWarning, match=r"rows.csv: the last line begins with 'Total:'"):
        open_source(path).read()


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
