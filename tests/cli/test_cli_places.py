"""Data of the command line in folders, patterns and standard input."""

import io
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from arrowtypes import LEFT_OUT, every_type, in_parquet
from upland.cli.process import Ended
from upland.cli.standard_input import received, suffix_by
from upland.io.formats import TableWriter, open_source


@pytest.fixture
def stdin(monkeypatch, tmp_path):
    """Give the next command this on standard input; temporary files are made in an empty folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def give(content):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    yield give
    assert list(folder.iterdir()) == [], "a temporary file is left"


def table_of(plant):
    return csv.read_csv(plant / "new.csv")


def as_bytes(table, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        with TableWriter(path) as writer:
            writer.write(table)
        return path.read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet", ".arrow"])
def test_standard_input_is_scored_as_the_file(suffix, plant, upland, stdin, tmp_path):
    stdin(as_bytes(table_of(plant), suffix))
    done = upland("score", plant / "pump.safetensors", "-", "--json")
    expected = upland("score", plant / "pump.safetensors", plant / "new.csv", "--json")
    assert done.code == expected.code == 0
    assert json.loads(done.out)["most_anomalous"] == json.loads(expected.out)["most_anomalous"]


def test_standard_input_is_fitted_calibrated_and_grouped(works, upland, stdin, tmp_path):
    normal = (works / "normal.csv").read_bytes()
    stdin(normal)
    assert upland("fit", "-", "-o", tmp_path / "a.safetensors", "--epochs", 1).code == 0
    stdin(normal)
    assert upland("calibrate", tmp_path / "a.safetensors", "-", "--in-place").code == 0
    stdin((works / "new.csv").read_bytes())
    assert upland("groups", tmp_path / "a.safetensors", "-", "--by", "shift").code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "standard input is empty"),
        (b"flow,pressure\n", "standard input has a header but no rows"),
        (b"flow,pressure\n1,2\n3,4\n", "missing column(s): 'valve', 'running'; standard input has 'flow'"),
        (b"PAR1xx", "standard input cannot be read as Parquet"),
    ],
)
def test_messages_speak_of_standard_input(content, words, plant, upland, stdin):
    stdin(content)
    done = upland("score", plant / "pump.safetensors", "-")
    assert (done.code, words in done.words) == (1, True), done.err


def test_formats_are_known_by_their_content():
    assert suffix_by(b"a,b\n1,2\n") == suffix_by(b"") == ".csv"
    assert suffix_by(b"PK\x03\x04" + b"x" * 26 + b"images.npy") == ".npz"
    assert suffix_by(b"PK\x03\x04" + b"x" * 26 + b"[Content_Types].xml") == ".xlsx"
    assert suffix_by(b"\x28\xb5\x2f\xfd....") == ".csv.zst"


def test_a_folder_and_a_pattern_are_fitted_scored_and_written_as_one_file(plant, upland, tmp_path):
    table = table_of(plant)
    for number, start in enumerate((0, 20, 40)):
        (tmp_path / "data" / f"shift={number}").mkdir(parents=True)
        parquet.write_table(table.slice(start, 20), tmp_path / "data" / f"shift={number}" / "a.parquet")
    model = plant / "pump.safetensors"
    for data, name in ((tmp_path / "data", "a.parquet"), (f"{tmp_path}/data/*/*.parquet", "b.csv")):
        done = upland("score", model, data, "-o", tmp_path / name)
        assert done.code == 0, done.err
        written = open_source(tmp_path / name).read()
        assert written.num_rows == 60
        assert written["flow"].to_pylist() == table["flow"].to_pylist()
        assert written["shift"].to_pylist() == [0] * 20 + [1] * 20 + [2] * 20
    done = upland("groups", model, tmp_path / "data", "--by", "shift", "--json")
    assert [verdict["group"] for verdict in json.loads(done.out)["verdicts"]] == [0, 1, 2]
    done = upland(
        "fit", tmp_path / "data", "-o", tmp_path / "m.safetensors", "--epochs", 1, "--ignore", "shift"
    )
    assert done.code == 0, done.err


def test_groups_are_named_by_several_columns(works, upland, tmp_path):
    table = csv.read_csv(works / "new.csv")
    table = table.append_column("line", pa.array([n % 2 for n in range(table.num_rows)]))
    csv.write_csv(table, tmp_path / "new.csv")
    done = upland(
        "groups",
        works / "energy.safetensors",
        tmp_path / "new.csv",
        "--by",
        "shift",
        "--by",
        "line",
        "--json",
    )
    assert done.code == 0, done.err
    names = {verdict["group"] for verdict in json.loads(done.out)["verdicts"]}
    assert names == {f"{shift} / {line}" for shift in set(table["shift"].to_pylist()) for line in (0, 1)}


def test_a_folder_of_rows_and_images_is_refused_with_both_counts(plant, pictures, upland, tmp_path):
    (tmp_path / "rows.csv").write_bytes((plant / "new.csv").read_bytes())
    (tmp_path / "a.png").write_bytes(next((pictures / "new").iterdir()).read_bytes())
    done = upland("fit", tmp_path, "-o", tmp_path / "m.safetensors")
    assert (done.code, "holds 1 file of rows and 1 image" in done.words) == (1, True), done.err
    assert upland("score", plant / "pump.safetensors", tmp_path).code == 0
    assert upland("score", pictures / "model.safetensors", tmp_path).code == 0


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_columns_of_every_type_are_fitted_and_carried_through(suffix, upland, tmp_path):
    table = every_type() if suffix == ".arrow" else in_parquet(every_type())
    with TableWriter(tmp_path / f"a{suffix}") as writer:
        writer.write(table)
    ignored = [part for name in LEFT_OUT if name in table.column_names for part in ("--ignore", name)]
    done = upland("fit", tmp_path / f"a{suffix}", "-o", tmp_path / "m.safetensors", "--epochs", 1, *ignored)
    assert done.code == 0, done.err
    done = upland("score", tmp_path / "m.safetensors", tmp_path / f"a{suffix}", "-o", tmp_path / f"b{suffix}")
    assert done.code == 0, done.err
    written = open_source(tmp_path / f"b{suffix}")
    assert [field.type for field in written.types][: table.num_columns] == [
        field.type for field in open_source(tmp_path / f"a{suffix}").types
    ]


def test_no_input_of_several_is_written_over(plant, upland, tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes((plant / "new.csv").read_bytes())
    before = (tmp_path / "a.csv").read_bytes()
    for place in (tmp_path, tmp_path / "*.csv", tmp_path / "a.csv"):
        done = upland("score", plant / "pump.safetensors", place, "-o", tmp_path / "a.csv", "--overwrite")
        assert done.code == 3
        assert "is the input itself" in done.words
    assert (tmp_path / "a.csv").read_bytes() == before


class Broken(io.BytesIO):
    """A stream in whose middle a signal comes."""

    def read(self, size=-1):
        if self.tell():
            raise Ended(15)
        return super().read(size)


def test_a_signal_leaves_no_file_of_standard_input(plant, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Broken(b"a,b\n" + b"1,2\n" * 10**6)))
    context = SimpleNamespace(call_on_close=lambda call: None)
    with pytest.raises(Ended):
        received(context, Path("-"))
    assert list(tmp_path.iterdir()) == []


def test_of_what_is_no_data_only_the_start_is_kept(plant, upland, stdin, monkeypatch):
    read = []
    endless = io.BytesIO()
    endless.read = lambda size: read.append(size) or b"\0" * size
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=endless))
    done = upland("score", plant / "pump.safetensors", "-")
    assert done.code == 1
    assert "standard input is no text: it contains zero bytes" in done.words
    assert len(read) == 1


def test_closed_standard_input_is_said(plant, upland, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    done = upland("score", plant / "pump.safetensors", "-")
    assert done.code == 2
    assert "standard input, which is closed" in done.words
