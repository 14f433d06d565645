"""A file of long series that is scored piece by piece: what the same file held in memory gives."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from upland.cli import long_series as cli_long
from upland.cli import sequences as cli_whole
from upland.data.table import frames
from upland.scoring import long_series

TOLERANCE = 1e-9


@pytest.fixture
def in_pieces(monkeypatch):
    """Every file is long, and pieces are short; how many rows each piece has."""
    sizes = []
    monkeypatch.setattr(cli_long, "LONG", 1)
    monkeypatch.setattr(cli_long, "LONG_TEXT", 1)
    monkeypatch.setattr(long_series, "AT_ONCE", 17)
    pieces = long_series.LongFile.pieces

    def counted(self):
        for raw, table in pieces(self):
            sizes.append(table.num_rows)
            yield raw, table

    monkeypatch.setattr(long_series.LongFile, "pieces", counted)
    return sizes


@pytest.fixture(scope="module")
def rows(series):
    """The pumps in the order of time, side by side, beside a column that the model does not use."""
    table = csv.read_csv(series / "new.csv").to_pandas()
    return table.sort_values(["time", "pump"], kind="stable").assign(note=np.arange(len(table)))


ORDERS = {
    "side by side": lambda rows: rows,
    "one after the other": lambda rows: rows.sort_values(["pump", "time"], kind="stable"),
    "of unequal lengths": lambda rows: rows[
        (rows["pump"] != rows["pump"].iloc[0]) | (np.arange(len(rows)) > 60)
    ],
}


def write(rows, path):
    table = pa.Table.from_pandas(rows, preserve_index=False)
    csv.write_csv(table, path) if path.suffix == ".csv" else pq.write_table(table, path, row_group_size=40)
    return path


def both(series, path, tmp_path, upland_json, monkeypatch, sizes, *options):
    """The document and the written rows, in pieces and as a whole."""
    found = []
    for name in ("pieces", "whole"):
        target = tmp_path / f"{name}{path.suffix}"
        document = upland_json("score", series / "steps.safetensors", path, "-o", target, *options)
        table = csv.read_csv(target) if path.suffix == ".csv" else pq.read_table(target)
        found.append((document, table.to_pandas()))
        if name == "pieces":
            assert len(sizes) > 6
            assert max(sizes) <= 17
            monkeypatch.setattr(cli_long, "LONG", 10**9)
            monkeypatch.setattr(cli_long, "LONG_TEXT", 10**9)
    return found


def assert_equal(pieces, whole):
    (document, table), (expected, full) = pieces, whole
    np.testing.assert_allclose(table["anomaly_score"], full["anomaly_score"], rtol=TOLERANCE)
    pd.testing.assert_frame_equal(table.drop(columns="anomaly_score"), full.drop(columns="anomaly_score"))
    for finding, other in zip(document.pop("most_anomalous"), expected.pop("most_anomalous"), strict=True):
        assert finding.pop("anomaly_score") == pytest.approx(other.pop("anomaly_score"), rel=TOLERANCE)
        reasons, others = finding.pop("reason"), other.pop("reason")
        assert [reason["column"] for reason in reasons] == [reason["column"] for reason in others]
        for reason, same in zip(reasons, others, strict=True):
            assert reason["part"] == pytest.approx(same["part"], rel=1e-6)
            assert (reason["value"], reason["expected"]) == pytest.approx((same["value"], same["expected"]))
        for channel, same in zip(finding.pop("channels", []), other.pop("channels", []), strict=True):
            assert channel == {"column": same["column"], "part": pytest.approx(same["part"], rel=1e-6)}
        assert finding == other
    document.pop("output"), expected.pop("output")
    assert document == expected


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("order", ORDERS)
def test_in_pieces_as_in_memory(order, suffix, rows, series, tmp_path, upland_json, monkeypatch, in_pieces):
    path = write(ORDERS[order](rows), tmp_path / f"new{suffix}")
    assert_equal(*both(series, path, tmp_path, upland_json, monkeypatch, in_pieces))


@pytest.mark.parametrize(
    "options",
    [("--alpha", "0.3"), ("--alpha", "0.001"), ("--control", "fdr", "--alpha", "0.2"), ("--top", "40")],
    ids=" ".join,
)
def test_whatever_is_flagged_and_shown(options, rows, series, tmp_path, upland_json, monkeypatch, in_pieces):
    path = write(rows, tmp_path / "new.parquet")
    assert_equal(*both(series, path, tmp_path, upland_json, monkeypatch, in_pieces, *options))


def test_what_is_shown_without_a_target(rows, series, tmp_path, upland, in_pieces, monkeypatch):
    path = write(rows, tmp_path / "new.csv")
    shown = upland("score", series / "steps.safetensors", path)
    assert in_pieces
    monkeypatch.setattr(cli_long, "LONG_TEXT", 10**9)
    assert shown.out == upland("score", series / "steps.safetensors", path).out


UNORDERED = {
    "a late row": lambda rows: pd.concat([rows.iloc[1:], rows.iloc[:1]]),
    "backwards": lambda rows: rows[::-1],
}


@pytest.mark.parametrize("order", UNORDERED)
def test_a_file_out_of_order_is_held_in_memory(order, rows, series, tmp_path, upland, in_pieces, monkeypatch):
    opened = []
    whole = cli_whole.OpenedSteps.process
    monkeypatch.setattr(cli_whole.OpenedSteps, "process", lambda *given: opened.append(1) or whole(*given))
    path = write(UNORDERED[order](rows), tmp_path / "new.parquet")
    assert upland("score", series / "steps.safetensors", path, "-o", tmp_path / "s.parquet").code == 0
    assert opened == [1]


def test_a_time_stamp_that_occurs_twice_is_an_error_as_ever(rows, series, tmp_path, upland, in_pieces):
    path = write(pd.concat([rows, rows.iloc[-1:]]), tmp_path / "new.parquet")
    done = upland("score", series / "steps.safetensors", path, "-o", tmp_path / "s.parquet")
    assert done.code == 1
    assert "2 rows have the time stamp" in done.words
    assert not (tmp_path / "s.parquet").exists()


def test_memory_holds_a_piece_and_no_more(series, tmp_path, upland, in_pieces, monkeypatch):
    """No table that is made of rows is longer than a piece, however many rows there are."""
    longest = []
    view = frames.view_table
    table = csv.read_csv(series / "new.csv").to_pandas()
    many = pd.concat([table.assign(pump=f"pump-{number}") for number in range(8)])
    times = pd.date_range("2026-01-01", periods=len(many), freq="min")
    path = write(many.assign(time=times), tmp_path / "new.parquet")

    def watched(X):
        found = view(X)
        longest.append(found.n_rows)
        return found

    for module in (
        "upland.data.sequence.container",
        "upland.data.sequence.next_steps",
        "upland.data.table.encoder",
    ):
        monkeypatch.setattr(f"{module}.view_table", watched)
    done = upland("score", series / "steps.safetensors", path, "-o", tmp_path / "s.parquet", "--quiet")
    assert done.code == 0, done.err
    assert len(many) > 500
    assert max(longest) <= 17
