"""What scoring writes can be scored again: types, dialect, order and bits, whatever goes in and comes out."""

import csv

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland as library
from upland.catalogue import FORMATS
from upland.cli.groups import score_groups
from upland.cli.results import Request
from upland.cli.scoring import score_path
from upland.io.dialect import PLAIN, Dialect
from upland.io.formats import TableWriter, holds_types, open_source, suffix_of
from upland.scoring.columns import ADDED

ROWS = 160
SEED = np.random.default_rng(5)
NUMBERS = pa.table(
    {
        "load": np.round(SEED.normal(size=ROWS), 3),
        "gap": pa.array([None if n % 7 == 0 else float(x) for n, x in enumerate(SEED.normal(size=ROWS))]),
        "count": SEED.integers(0, 90, ROWS),
    }
)
KINDS = {
    "site": pa.array(SEED.choice(["north", "so,uth", 'ea;"st', " w\nest"], ROWS)),
    "code": pa.array(SEED.integers(1, 5, ROWS)),
    "open": pa.array(SEED.random(ROWS) < 0.5),
    "at": pa.array(10**12 + 3_600_000 * SEED.integers(0, 60, ROWS), pa.timestamp("ms")),
    "clock": pa.array(SEED.integers(0, 86_400, ROWS) * 10**6, pa.time64("us")),
}
NORMAL = pa.table({**dict(zip(NUMBERS.column_names, NUMBERS.columns, strict=True)), **KINDS})
EXTRA = {
    "id": [f"{n:03d}" for n in range(ROWS)],
    "order": [str(10**19 + n) for n in range(ROWS)],
    "formula": ["=1+1"] * ROWS,
    "empty": pa.array([None] * ROWS, pa.string()),
    "late": pa.array([n < ROWS - 1 for n in range(ROWS)]),
    "since": pa.array([*range(ROWS - 1), None], pa.date32()),
    "price": [*range(ROWS - 1), 0.5],
    "mixed": [*map(str, range(ROWS - 1)), "none of these"],
}
NEW = pa.table(EXTRA | {name: NORMAL[name] for name in reversed(NORMAL.column_names)})
"""Other columns than those of the fit too, and all in another order."""

INPUTS = {
    "comma": (".csv", PLAIN),
    "semicolon": (".csv", Dialect(";")),
    "decimal comma": (".csv", Dialect(";", ",")),
    "windows": (".csv", Dialect(";", ",", "\r\n", bom=True)),
    "tab": (".csv", Dialect("\t")),
    "bar": (".csv", Dialect("|")),
}


def writable(suffix):
    try:
        return suffix_of(f"a{suffix}", writable=True) == suffix
    except ValueError:
        return False


SUFFIXES = [suffix for suffix in FORMATS if writable(suffix)]
TYPED = [suffix for suffix in SUFFIXES if holds_types(f"a{suffix}")]
INPUTS |= {suffix: (suffix, PLAIN) for suffix in SUFFIXES}
PAIRS = [
    (form, suffix)
    for form in INPUTS
    for suffix in SUFFIXES
    if form == "windows" or suffix in (".csv", ".parquet")
]


def model(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("outputs") / "normal.parquet"
    pq.write_table(table, path)
    options = {"calibration": "split", "epochs": 1, "random_state": 0, "progress": False}
    return library.EnergyDetector(categorical=["code"], **options).fit(path)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return model(tmp_path_factory, NORMAL)


@pytest.fixture(scope="module")
def expected(detector):
    return detector.anomaly_score(NEW.select(NORMAL.column_names)).tolist()


def unpacked(path):
    with pa.input_stream(str(path), compression="detect") as file:
        return file.read()


def written(path, table, dialect=PLAIN):
    with TableWriter(path, dialect=dialect) as writer:
        for start in range(0, table.num_rows, 50):
            writer.write(table.slice(start, 50))
    return path


def scored(detector, source, target, **wanted):
    score_path(detector, source, Request(target, replace_columns=True, **wanted))
    return open_source(target).read()


@pytest.mark.parametrize(("form", "suffix"), PAIRS)
def test_what_is_written_can_be_scored_again(form, suffix, detector, expected, tmp_path):
    source = written(tmp_path / f"new{INPUTS[form][0]}", NEW, INPUTS[form][1])
    once, twice = tmp_path / f"once{suffix}", tmp_path / f"twice{suffix}"
    first = scored(detector, source, once)
    assert first.column_names == [*NEW.column_names, *ADDED[:3]]
    assert first["anomaly_score"].to_pylist() == expected
    assert scored(detector, once, twice).equals(first)
    assert holds_types(once) or twice.read_bytes() == once.read_bytes()
    back = scored(detector, twice, tmp_path / f"back{INPUTS[form][0]}")
    assert back["anomaly_score"].to_pylist() == expected


@pytest.mark.parametrize(("form", "suffix"), [(form, suffix) for form, suffix in PAIRS if suffix in TYPED])
def test_typed_files_get_types_by_all_rows_of_the_file(form, suffix, detector, tmp_path, monkeypatch):
    monkeypatch.setattr("upland.cli.tables.AT_ONCE", 20)
    source = written(tmp_path / f"new{INPUTS[form][0]}", NEW, INPUTS[form][1])
    found = scored(detector, source, tmp_path / f"out{suffix}")
    for name in NEW.column_names:
        wanted = NEW[name].cast("timestamp[us]") if name == "at" else NEW[name]
        assert found[name].to_pylist() == wanted.to_pylist(), name
    kinds = {
        name: str(found[name].type) for name in ("id", "order", "late", "since", "price", "mixed", "count")
    }
    assert kinds == {
        "id": "string",
        "order": "string",
        "late": "bool",
        "since": "date32[day]",
        "price": "double",
        "mixed": "string",
        "count": "int64",
    }


@pytest.mark.parametrize("form", [form for form, (suffix, _) in INPUTS.items() if ".csv" in suffix])
def test_text_is_written_in_the_dialect_it_was_read_in(form, detector, tmp_path):
    suffix, dialect = INPUTS[form]
    source = written(tmp_path / f"new{suffix}", NEW, dialect)
    scored(detector, source, tmp_path / f"out{suffix}")
    old, new = (unpacked(path) for path in (source, tmp_path / f"out{suffix}"))
    assert new.startswith(b"\xef\xbb\xbf") == dialect.bom
    assert new.count(b"\r\n") == old.count(b"\r\n")
    delimiter = dialect.delimiter or ","
    rows, kept = (
        list(csv.reader(data.decode("utf-8-sig").splitlines(keepends=True), delimiter=delimiter))
        for data in (new, old)
    )
    assert [row[:-3] for row in rows] == kept
    assert all(dialect.decimal in row[-3] for row in rows[1:])


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix.startswith(".tsv")])
@pytest.mark.parametrize("form", ["comma", "decimal comma", "windows", ".tsv"])
def test_a_tsv_has_tabs_whatever_goes_in(form, suffix, detector, expected, tmp_path):
    source = written(tmp_path / f"new{INPUTS[form][0]}", NEW, INPUTS[form][1])
    found = scored(detector, source, tmp_path / f"out{suffix}")
    assert found.column_names[0] == "id"
    assert found["anomaly_score"].to_pylist() == expected


def test_numbers_of_32_bits_come_back_as_they_are_for_the_model(detector, tmp_path):
    table = NEW.set_column(NEW.column_names.index("load"), "load", NEW["load"].cast(pa.float32()))
    source = written(tmp_path / "new.parquet", table)
    outputs = [scored(detector, source, tmp_path / f"out{suffix}") for suffix in (".parquet", ".csv")]
    again = [
        scored(detector, tmp_path / f"out{suffix}", tmp_path / f"2{suffix}")
        for suffix in (".parquet", ".csv")
    ]
    assert outputs[0]["load"].type == pa.float32()
    assert len({tuple(found["anomaly_score"].to_pylist()) for found in outputs + again}) == 1


@pytest.mark.parametrize("suffix", TYPED)
def test_levels_stay_levels_from_batch_to_batch(suffix, detector, expected, tmp_path):
    words = pa.concat_tables(
        NEW.slice(start, 40).set_column(
            0, "id", NEW["id"].slice(start, 40).combine_chunks().dictionary_encode()
        )
        for start in range(0, ROWS, 40)
    )
    pq.write_table(words, tmp_path / "new.parquet", row_group_size=40)
    found = scored(detector, tmp_path / "new.parquet", tmp_path / f"out{suffix}")
    assert pa.types.is_dictionary(found["id"].type)
    assert found["id"].to_pylist() == NEW["id"].to_pylist()
    assert found["anomaly_score"].to_pylist() == expected


def test_the_index_and_the_notes_of_a_frame_stay(detector, expected, tmp_path):
    frame = NEW.to_pandas().set_index(pd.Index([f"row {n}" for n in range(ROWS)]))
    frame.attrs = {"of": "tuesday"}
    frame.to_parquet(tmp_path / "new.parquet")
    score_path(detector, tmp_path / "new.parquet", Request(tmp_path / "out.parquet"))
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found.index.tolist() == frame.index.tolist()
    assert found.attrs == frame.attrs
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    assert found["anomaly_score"].tolist() == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_can_be_fitted(suffix, detector, tmp_path):
    source = written(tmp_path / "new.csv", NEW)
    score_path(detector, source, Request(tmp_path / f"out{suffix}"))
    ignored = [*EXTRA, *ADDED[:3]]
    options = {"calibration": "split", "epochs": 1, "random_state": 0, "progress": False, "ignore": ignored}
    again = library.EnergyDetector(categorical=["code"], **options).fit(tmp_path / f"out{suffix}")
    kinds = {column.name: column.kind for column in again.encoder_.schema_.columns}
    assert kinds == {column.name: column.kind for column in detector.encoder_.schema_.columns}


@pytest.mark.parametrize(("cell", "dtype"), [([1], "list"), (b"\xff", "binary"), ({"a": 1}, "struct")])
def test_what_no_cell_holds_is_refused_with_the_column(cell, dtype, detector, tmp_path):
    cells = [cell] * ROWS
    source = written(tmp_path / "new.parquet", NEW.append_column("more", pa.array(cells)))
    scored(detector, source, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["more"].to_pylist() == cells
    with pytest.raises(ValueError, match=rf"out.csv: column 'more' is of type {dtype}"):
        scored(detector, source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


# -- sequences and groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow"])
@pytest.mark.parametrize("dialect", [PLAIN, Dialect(";", ",", "\r\n")], ids=["comma", "semicolon"])
@pytest.mark.filterwarnings("ignore:.*cannot resolve alpha")
@pytest.mark.parametrize("per", ["steps", "whole"])
def test_sequences_that_are_written_can_be_scored_again(per, dialect, suffix, series, tmp_path):
    found = library.load(series / f"{per}.safetensors")
    table = pq.read_table(series / "new.parquet")
    source = written(tmp_path / "new.csv", table, dialect)
    first = scored(found, source, tmp_path / f"once{suffix}")
    scores = scored(found, series / "new.parquet", tmp_path / "typed.parquet")
    assert first["anomaly_score"].to_pylist() == scores["anomaly_score"].to_pylist()
    if suffix in (".csv", ".tsv"):
        assert (tmp_path / f"once{suffix}").read_bytes().count(b"\r\n") == (first.num_rows + 1) * (
            dialect != PLAIN
        )
    if per == "steps":
        assert scored(found, tmp_path / f"once{suffix}", tmp_path / f"twice{suffix}").equals(first)
        kinds = {name: first[name].type for name in table.column_names}
        assert pa.types.is_temporal(kinds["time"])
        assert kinds["pressure"] == pa.float64()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow"])
@pytest.mark.parametrize("name", ["plain", "semicolon"])
def test_groups_are_written_in_the_dialect_of_the_rows(name, suffix, works, tmp_path):
    dialect = {"plain": PLAIN, "semicolon": Dialect(";", ",")}[name]
    source = written(tmp_path / "new.csv", pq.read_table(works / "new.parquet"), dialect)
    found = library.load(works / "energy.safetensors")
    result = score_groups(found, source, "shift", Request(tmp_path / f"out{suffix}"))
    table = open_source(tmp_path / f"out{suffix}").read()
    assert table["statistic"].to_pylist() == [finding.score for finding in result.findings]
    assert table["p_value"].to_pylist() == [finding.p_value for finding in result.findings]
    assert table["is_anomaly"].type == pa.bool_()
    if suffix == ".csv":
        assert (";" in (tmp_path / "out.csv").read_text()) == (name == "semicolon")


# -- text that is numbers or dates ---------------------------------------------------------------------------

WRITTEN = {
    "percent": [f"{n % 37}.5%" for n in range(ROWS)],
    "currency": [f"${1000 + n % 41}" for n in range(ROWS)],
    "comma": [f"{n % 29},{n % 7}5" for n in range(ROWS)],
    "unit": [f"{n % 31} kW" for n in range(ROWS)],
    "german": [f"{1 + n % 28:02d}.03.2026" for n in range(ROWS)],
    "zoned": [f"2026-01-{1 + n % 28:02d}T10:00:00Z" for n in range(ROWS)],
    "zip": [f"{n % 9:05d}" for n in range(ROWS)],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", WRITTEN)
def test_text_that_is_numbers_or_dates_can_be_scored_again(name, suffix, tmp_path):
    table = pa.table({"x": WRITTEN[name], "load": NORMAL["load"]})
    source = written(tmp_path / "new.csv", table)
    options = {"calibration": "split", "epochs": 1, "random_state": 0, "progress": False}
    detector = library.EnergyDetector(**options).fit(source)
    scores = detector.anomaly_score(source).tolist()
    first = scored(detector, source, tmp_path / f"once{suffix}")
    second = scored(detector, tmp_path / f"once{suffix}", tmp_path / f"twice{suffix}")
    for found in (first, second):  # where the numbers of the file have a comma, scores have one too
        words = map(str, found["anomaly_score"].to_pylist())
        assert [float(word.replace(",", ".")) for word in words] == scores
    assert detector.anomaly_score(first.select(["x", "load"])).tolist() == scores
