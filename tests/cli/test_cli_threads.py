"""Scoring with a reader and a writer beside it: the same rows, messages and files as without, and no thread
that outlives the command.
"""

import threading
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest

import upland as library
from upland.cli import results, tables
from upland.cli.console import OutputError
from upland.cli.process import Ended
from upland.cli.results import Request
from upland.cli.scoring import score_path
from upland.io import formats, inference
from upland.io.formats import TableWriter, open_source

ROWS, AT_ONCE = 900, 100
NORMAL = np.random.default_rng(0).normal(size=(200, 3)).round(3)


@pytest.fixture(scope="module")
def detector():
    table = pa.table(list(NORMAL.T), names=["a", "b", "c"])
    return library.EnergyDetector(epochs=1, n_nets=1, random_state=0, progress=False).fit(table)


@pytest.fixture(autouse=True)
def small_batches_and_no_thread_left(monkeypatch):
    monkeypatch.setattr(tables, "AT_ONCE", AT_ONCE)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture(params=["csv", "parquet"])
def source(request, tmp_path):
    """Rows with their number, in a file of several batches."""
    x = np.random.default_rng(1).normal(size=(ROWS, 3)).round(3)
    path = tmp_path / f"rows.{request.param}"
    with TableWriter(path) as writer:
        writer.write(pa.table([*x.T, np.arange(ROWS)], names=["a", "b", "c", "number"]))
    return path


class Batches:
    """Sizes of the batches that were scored, and what is done before each."""

    def __init__(self):
        self.sizes, self.before = [], lambda number: None


@pytest.fixture
def batches(detector, monkeypatch):
    seen, real = Batches(), type(detector).assess

    def assess(self, table):
        seen.sizes.append(table.num_rows)
        seen.before(len(seen.sizes))
        return real(self, table)

    monkeypatch.setattr(type(detector), "assess", assess)
    return seen


@pytest.mark.parametrize("target", ["csv", "csv.gz", "tsv", "parquet", "arrow"])
def test_what_is_written_is_what_is_written_without_threads(
    source, target, detector, batches, tmp_path, monkeypatch
):
    beside, alone = (tmp_path / f"{name}.{target}" for name in ("beside", "alone"))
    with_threads = score_path(detector, source, Request(beside))
    for module in (tables, inference):
        monkeypatch.setattr(module, "read_ahead", nullcontext)
    monkeypatch.setattr(results, "written_behind", nullcontext)
    without = score_path(detector, source, Request(alone))
    assert beside.read_bytes() == alone.read_bytes()
    assert with_threads.findings == without.findings
    assert batches.sizes == [AT_ONCE] * (2 * ROWS // AT_ONCE)
    assert open_source(beside).read()["number"].to_pylist() == list(range(ROWS))


def test_batches_in_flight_are_bounded(source, detector, batches, tmp_path, monkeypatch):
    made, written, flight = [], [], []
    pairs, write = open_source(source).__class__.pairs, TableWriter.write

    def counted(self, *arguments):
        for pair in pairs(self, *arguments):
            made.append(pair[0].num_rows)
            yield pair

    monkeypatch.setattr(open_source(source).__class__, "pairs", counted)
    monkeypatch.setattr(
        TableWriter, "write", lambda self, table: (write(self, table), written.append(table.num_rows))
    )
    batches.before = lambda number: flight.append(len(made) - len(written))
    score_path(detector, source, Request(tmp_path / f"out{source.suffix}"))
    assert len(made) == len(written) == ROWS // AT_ONCE
    assert 1 <= max(flight) <= 4  # one is scored, one is made ahead, one is being made, one is being written


@pytest.mark.parametrize("stop", [Ended(15), KeyboardInterrupt(), ValueError("of the scoring")])
def test_a_scoring_that_stops_leaves_no_file(stop, source, detector, batches, tmp_path):
    def before(number):
        if number == 3:
            raise stop

    batches.before, target = before, tmp_path / "out.csv"
    with pytest.raises(type(stop)) as raised:
        score_path(detector, source, Request(target))
    assert raised.value is stop
    assert sorted(tmp_path.iterdir()) == [source]


def test_an_error_of_reading_comes_after_the_rows_before_it(detector, batches, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b,c\n" + "1,2,3\n" * 350 + "1,x,3\n")
    with pytest.raises(ValueError, match=r"column 'b', row 351 holds 'x', which is not a number"):
        score_path(detector, path, Request(tmp_path / "out.csv"))
    assert batches.sizes == [AT_ONCE] * 3
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_full_disk_ends_the_scoring_at_the_next_batch(source, detector, batches, tmp_path, monkeypatch):
    def full(self, table):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats.TableWriter, "write", full)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        score_path(detector, source, Request(tmp_path / "out.csv"))
    assert 1 <= len(batches.sizes) <= 3
    assert sorted(tmp_path.iterdir()) == [source]


def test_the_most_anomalous_are_those_of_all_rows_the_earlier_of_equals(detector, tmp_path):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 3)).round(1).repeat(3, axis=0)[rng.permutation(900)]
    path = tmp_path / "rows.parquet"
    with TableWriter(path) as writer:
        writer.write(pa.table(list(rows.T), names=["a", "b", "c"]))
    scores = detector.anomaly_score(path)
    for top in (1, 7, 40):
        found = score_path(detector, path, Request(top=top)).findings
        order = np.argsort(-scores, kind="stable")[:top]
        assert [finding.name for finding in found] == (order + 1).tolist()
        assert [finding.score for finding in found] == scores[order].tolist()
