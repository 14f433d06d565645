"""What a watch takes, refuses and remembers."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from benchmarks.watching import WAYS, steps

import upland
from upland.calibration.e_detector import log_e_value, sums
from upland.detectors.monitoring import monitor_of
from upland.watch import summary as summaries
from upland.watch.history import History
from upland.watch.summary import POINTS, summary
from watched import dump, numbers, plain_detector, rows_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def watch_of(path, **options):
    return upland.Watch(plain_detector(), path, **options)


# -- what is refused ----------------------------------------------------------------------------------------


def test_other_columns_are_refused_with_the_reason_and_the_rest_goes_on(path):
    with watch_of(path) as watch:
        first = watch.update({"y": [1.0, 2.0]}, name="odd")
        assert (first.status, first.batch, first.name) == ("refused", None, "odd")
        assert "x0" in first.reason
        assert watch.update(numbers(10, 0)).batch == 1
        assert watch.update({"y": [1.0, 2.0]}, name="odd").reason == first.reason
    assert rows_of(path, "SELECT name, reason, after_batch FROM refused") == [("odd", first.reason, 0)]
    assert json.loads(json.dumps(first.to_json()))["status"] == "refused"


def test_a_refused_file_is_tried_again_by_another_model(path, tmp_path):
    other = upland.EnergyDetector(random_state=0, progress=False).fit(
        {"y": np.random.default_rng(0).normal(size=200)}
    )
    with watch_of(path) as watch:
        assert watch.update({"y": [1.0, 2.0]}).status == "refused"
    with upland.Watch(other, path) as watch:
        assert watch.update({"y": [1.0, 2.0]}).status == "taken"


@pytest.mark.skipif(os.name != "posix", reason="processes are asked for by a signal of POSIX")
def test_other_watchers_that_read_a_file_at_the_same_time_are_no_ended_ones(path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    others = {os.getppid(): None, int(ended.stdout): "refused"}
    for number, (process, status) in enumerate(others.items()):
        with watch_of(path) as watch:
            with watch.history.write() as connection:
                sql = "INSERT INTO attempt VALUES (?, ?, 'a.csv', '/in/a.csv', 3)"
                connection.execute(sql, (f"d{number}", process))
            found = watch.begin_attempt(f"d{number}", "a.csv")
        assert (None if found is None else found.status) == status


def test_a_file_whose_reading_ends_the_process_twice_is_refused(path):
    for _ in range(2):
        with watch_of(path) as watch:  # which ends without a decision
            assert watch.begin_attempt("abc", "deadly.csv") is None
    with watch_of(path) as watch:
        found = watch.begin_attempt("abc", "deadly.csv")
        assert (found.status, found.name) == ("refused", "deadly.csv")
        assert "ended the process 2 times" in found.reason
        assert watch.begin_attempt("abc").reason == found.reason
        assert watch.begin_attempt("def") is None
        assert watch.update(numbers(5, 0), digest="def").status == "taken"
        assert watch.begin_attempt("def").status == "known"
        assert watch.refuse("ghi", "damaged", "ghi.csv").status == "refused"
        assert watch.refuse("def", "damaged").status == "known"
    assert rows_of(path, "SELECT count(*) FROM attempt") == [(0,)]


def test_a_file_that_changes_while_it_is_read_is_not_taken(path, tmp_path, monkeypatch):
    from upland.watch import watch as module

    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table(numbers(20, 0)), file)
    score = module.score_batch

    def score_while_it_grows(*arguments):
        with file.open("ab") as more:
            more.write(b"more")
        return score(*arguments)

    with watch_of(path) as watch:
        monkeypatch.setattr(module, "score_batch", score_while_it_grows)
        with pytest.raises(OSError, match="changed while it was read"):
            watch.update(file)
        with pytest.raises(FileNotFoundError, match="no such file"):
            watch.update(tmp_path / "absent.parquet")
    assert rows_of(path, "SELECT count(*) FROM batch") == [(0,)]


@pytest.mark.parametrize(
    "options",
    [{"delta": 0}, {"delta": 1}, {"fdr": "a"}, {"run_length": 1}, {"block": 0}, {"seed": -1}, {"alpha": 2},
     {"statistic": "no"}, {"every": "1h"}, {"every": "one", "time": "t"}, {"by": 3},
     {"by": "a", "every": "1h", "time": "t"}],
)  # fmt: skip
def test_an_option_out_of_its_range_is_refused_before_there_is_a_history(path, options):
    with pytest.raises((ValueError, TypeError)) as caught:
        watch_of(path, **options)
    assert next(iter(options)) in str(caught.value)
    assert not path.exists()


def test_a_history_goes_on_with_the_options_that_it_was_begun_with(path):
    watch_of(path, delta=0.02, by="site").close()
    with pytest.raises(ValueError, match=r"give delta=0\.02, or begin another history"):
        watch_of(path, by="site")
    with watch_of(path, delta=0.02, by="site", alpha=0.1, keep_rows=True) as watch:
        assert watch.alpha == 0.1


# -- what is taken ------------------------------------------------------------------------------------------


def test_batches_without_rows_are_taken_and_change_nothing(path, tmp_path):
    pq.write_table(pa.table(numbers(3, 0)).slice(0, 0), tmp_path / "none.parquet")
    pc.write_csv(pa.table(numbers(3, 0)).slice(0, 0), tmp_path / "none.csv")
    empty = [{f"x{i}": [] for i in range(4)}, pa.table(numbers(3, 0)).slice(0, 0), np.empty((0, 4))]
    with watch_of(path) as watch:
        watch.update(numbers(30, 0))
        before = rows_of(path, "SELECT * FROM state")
        for part in [*empty, tmp_path / "none.parquet", tmp_path / "none.csv"]:
            found = watch.update(part, digest=repr(part))
            assert (found.status, found.rows, found.evidence) == ("taken", 0, None), found.reason
        assert rows_of(path, "SELECT * FROM state") == before
        assert watch.update(numbers(1, 1)).batch == 7


def test_the_digest_is_of_the_content(path, tmp_path):
    table = pa.table(numbers(40, 0))
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    for name in ("one", "other"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with watch_of(path) as watch:
        assert [watch.update(part).status for part in (table, chunks, table.to_pandas())] == [
            "taken", "known", "known",
        ]  # fmt: skip
        assert watch.update(table.slice(1)).status == "taken"
        assert watch.update(table.rename_columns(["x1", "x0", "x2", "x3"])).status == "taken"
        assert [watch.update(tmp_path / f"{name}.parquet").status for name in ("one", "other")] == [
            "taken", "known",
        ]  # fmt: skip
        assert watch.update(table.to_pandas(), digest="given").status == "taken"
    assert rows_of(path, "SELECT name FROM batch WHERE path IS NOT NULL") == [("one.parquet",)]


def test_times_are_recorded_and_decide_nothing(path, tmp_path):
    for name, times in (("forth", range(5)), ("back", [9, 3, 3, 1, 0])):
        with watch_of(tmp_path / name) as watch:
            for seed, time in enumerate(times):
                watch.update(numbers(20, seed), time=time, digest=f"batch {seed}")
    with watch_of(tmp_path / "forth") as one, watch_of(tmp_path / "back") as two:
        for watch in (one, two):
            with watch.history.write() as connection:
                connection.execute("UPDATE batch SET time = NULL")
    assert dump(tmp_path / "forth") == dump(tmp_path / "back")


def test_missing_cells_are_taken_as_the_model_takes_them(path):
    rows = numbers(20, 0)
    rows["x1"][3] = np.nan
    with watch_of(path) as watch, pytest.warns(UserWarning, match="x1"):
        found = watch.update(rows)
    assert found.flagged_rows[0].row == 3


def test_rows_are_kept_as_they_were(path):
    table = pa.table(numbers(20, 0) | {"note": ["a", None] * 10})
    with watch_of(path, keep_rows=True) as watch:
        watch.update(table)
        watch.update(table.slice(3).to_pandas())
    kept = [pa.ipc.open_file(blob).read_all() for (blob,) in rows_of(path, "SELECT rows FROM kept_rows")]
    assert kept[0].equals(table)
    assert kept[1].drop_columns("note").equals(table.slice(3).drop_columns("note"))


def test_a_model_that_is_exchanged_under_way_begins_another_martingale(path, tmp_path):
    model = tmp_path / "model.safetensors"
    upland.save(plain_detector(), model)
    other = upland.EnergyDetector(random_state=1, progress=False).fit(numbers(2000, 77)).set_alpha(0.2)
    with upland.Watch(model, path) as watch:
        found = [watch.update(numbers(200, seed)) for seed in (5, 6)]
        upland.save(other, model, overwrite=True)
        found += [watch.update(numbers(200, seed)) for seed in (7, 8)]
    assert [one.model_changed for one in found] == [False, False, True, False]
    assert rows_of(path, "SELECT first_batch FROM model ORDER BY model") == [(1,), (3,)]
    assert rows_of(path, "SELECT tests FROM online_fdr WHERE family = 'batches'") == [(4,)]
    assert found[0].flagged == (plain_detector().p_values(numbers(200, 5)) <= 0.05).sum()
    assert found[2].flagged == (other.p_values(numbers(200, 7)) <= 0.2).sum()
    alone = monitor_of(other, 0).update(other.assess_members(numbers(200, 7)).values)
    assert found[2].evidence.log_martingale == alone.log_martingale[-1]


def test_alarms_wait_for_each_channel_once(path):
    with watch_of(path, channels=("mail", "hook")) as watch:
        found = [watch.update(numbers(200, seed, shift=1.0)) for seed in range(4)]
    alarms = [alarm for one in found for alarm in one.alarms]
    assert [alarm.alarm for alarm in alarms] == list(range(1, len(alarms) + 1))
    waiting = rows_of(path, "SELECT alarm, channel, status FROM delivery ORDER BY alarm, channel")
    assert waiting == [(alarm.alarm, channel, "waiting") for alarm in alarms for channel in ("hook", "mail")]
    assert [alarm.kind for alarm in alarms].count("changed") == 1
    later = found[([alarm.kind for alarm in found[0].alarms].count("changed") == 0 and 2) or 1]
    assert later.action == "retrain"
    assert "stands" in later.why[-1]


# -- groups and buckets -------------------------------------------------------------------------------------


def test_groups_are_tested_by_the_mean_of_two_e_values(path):
    rows = numbers(90, 3)
    lots = np.repeat(["a", "b", "c"], 30)
    rows["x0"][lots == "c"] += 4
    detector = plain_detector()
    with watch_of(path, by="lot") as watch:
        found = watch.update(rows | {"lot": lots})
    assert [one.group for one in found.groups] == ["a", "b", "c"]
    assert [one.flag for one in found.groups] == [False, False, True]
    assert "c" in [alarm.subject for alarm in found.alarms if alarm.kind == "group"]
    verdicts = detector.score_groups(rows, lots, 0.05, "false_alarm")
    values = detector.assess_members(rows).values
    for number, one in enumerate(found.groups):
        p = verdicts.p_value[number]
        assert one.p_value == p
        of_verdict = (1 - p + p * math.log(p)) / (p * math.log(p) ** 2)
        of_rows = math.exp(monitor_of(detector, 0).update(values[lots == one.group]).e_value)
        assert math.exp(one.log_e_value) == pytest.approx((of_verdict + of_rows) / 2, rel=1e-9)


def test_groups_of_data_without_columns_are_given(path):
    rows = np.random.default_rng(0).normal(size=(200, 2))
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    with upland.Watch(detector, path, by="lot") as watch:
        assert "'lot'" in watch.update(rows[:20]).reason
        found = watch.update(rows[:20], groups=["a"] * 20, digest="other")
    assert [one.group for one in found.groups] == ["a"]


@pytest.mark.filterwarnings("ignore:.* held-out blocks of .* are few")
@pytest.mark.parametrize("by", ["shift", "machine"])
def test_groups_of_steps_are_named_by_a_column_of_the_file_or_by_the_id(by, path, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "machine": np.repeat(["a", "b"], 150),
            "t": np.tile(np.arange(150), 2),
            "x": rng.normal(size=300),
            "y": rng.normal(size=300),
            "shift": np.tile(np.repeat(["early", "late", "night"], 50), 2),
        }
    )
    names = {"id": "machine", "time": "t", "ignore": ["shift"], "calibration": "split", "progress": False}
    flow = upland.SequenceFlowDetector(**names, window=10, epochs=1, random_state=0).fit(frame)
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "new.csv", index=False)
    with upland.Watch(flow, path, by=by) as watch:
        found = watch.update(str(tmp_path / "new.csv"))
    assert found.reason is None or "refused" not in str(found.action), found.reason
    assert {one.group: one.rows for one in found.groups} == frame[by].value_counts().to_dict()
    verdicts = flow.score_groups(tmp_path / "new.csv", by, 0.05, "false_alarm")
    assert dict(zip(verdicts.group, verdicts.p_value, strict=True)) == {
        one.group: one.p_value for one in found.groups
    }
    energy = upland.SequenceEnergyDetector(
        **names, window=10, epochs=1, criterion="max_channel", random_state=0
    )
    with upland.Watch(energy.fit(frame), tmp_path / "other.db", by=by) as watch:
        assert "tested by a SequenceFlowDetector alone" in watch.update(frame).reason


def test_a_bucket_is_tested_once_with_all_its_rows_when_a_later_time_comes(path):
    times = [
        np.arange(0, 3000, 30.0),  # within the first hour
        np.arange(3000, 5000, 20.0),  # in the first and the second
        np.arange(3700, 4700, 10.0),
        np.arange(7300, 7400, 1.0),  # the third: closes the second
        np.arange(100, 200, 1.0),  # late
    ]
    values, starts = [], []
    for seed, column in enumerate(times):
        rows = numbers(len(column), seed)
        with watch_of(path, time="t", every="1h") as watch:
            found = watch.update(rows | {"t": (column * 1e6).astype("datetime64[us]")})
        values.append(plain_detector().assess_members(rows).values)
        starts.append(column // 3600)
    assert found.groups == ()
    tested = rows_of(path, 'SELECT "group", rows, log_e_value, batch FROM group_verdict ORDER BY test')
    assert [row[0] for row in tested] == ["1970-01-01T00:00:00.000", "1970-01-01T01:00:00.000"]
    assert [row[3] for row in tested] == [2, 4]
    for hour, (_, rows, log_e, _) in enumerate(tested):
        monitor, pieces = monitor_of(plain_detector(), 0), zip(values[:4], starts[:4], strict=True)
        p = np.concatenate([monitor.update(part[start == hour]).p for part, start in pieces])
        assert rows == len(p)
        assert log_e == pytest.approx(log_e_value(sums(p.T)), rel=1e-9)
    assert rows_of(path, "SELECT late FROM batch") == [(0,), (0,), (0,), (0,), (100,)]


@pytest.mark.parametrize("shift", [0, 6])
def test_a_bucket_is_compared_with_the_calibration_whatever_was_before_it(path, shift):
    """By ranks among all rows before it, a normal bucket after anomalous ones would itself be anomalous."""
    with watch_of(path, time="t", every="1h") as watch:
        for hour in range(5):
            rows = numbers(300, hour)
            rows = {name: column + shift * (hour < 4) for name, column in rows.items()}
            moments = (np.arange(300) + 3600 * hour).astype("datetime64[s]")
            watch.update(rows | {"t": moments})
        watch.close()
    with watch_of(path, time="t", every="1h") as watch:
        watch.update(numbers(1, 9) | {"t": np.array([36_000], dtype="datetime64[s]")})
    flags = rows_of(path, "SELECT flag FROM group_verdict ORDER BY test")
    assert [flag for (flag,) in flags] == [shift > 0] * 4 + [0]


def test_rows_that_come_too_late_are_said(path):
    moments = np.arange(50).astype("datetime64[s]")
    with watch_of(path, time="t", every="1h") as watch:
        watch.update(numbers(50, 0) | {"t": moments})
        watch.update(numbers(50, 1) | {"t": moments + np.timedelta64(9, "h")})
        found = watch.update(numbers(50, 2) | {"t": moments})
    assert found.late == 50
    assert "50 row(s) are of parts of time that were tested before: no test has them." in found.why


def test_a_batch_without_rows_changes_no_evidence(path):
    with watch_of(path, delta=1e-30) as watch:
        before = watch.update(numbers(200, 0, shift=1.0)).evidence
        assert watch.update(numbers(0, 1)).status == "taken"
    kept = rows_of(path, "SELECT log_martingale, log_peak, log_detector, log_e_value FROM batch")
    assert kept[1] == (before.log_martingale, before.log_peak, before.log_detector, 0.0)
    assert before.log_peak > 10


def test_equal_rows_under_another_name_or_time_are_another_batch(path):
    """Few rows of few values are often equal; were they left out, the rest would not be like normal rows."""
    rows = numbers(1, 0)
    with watch_of(path) as watch:
        given = [{}, {}, {"name": "a"}, {"name": "b"}, {"time": 1}, {"time": 2}, {"time": 2}]
        found = [watch.update(rows, **more).status for more in given]
    assert found == ["taken", "known", "taken", "taken", "taken", "taken", "known"]


def test_crossings_that_follow_each_other_are_alarms_again(path):
    """Each within ten batches of the one before, they must not hide a second change for ever."""
    with watch_of(path, run_length=20.0) as watch:
        found = [watch.update(numbers(60, seed, shift=0.8)) for seed in range(40)]
    batches = [one.batch for one in found for alarm in one.alarms if alarm.kind == "repeated change"]
    assert len(batches) >= 2
    assert np.diff(batches).min() > 10


@pytest.mark.parametrize(
    "cells",
    [["2026-01-01 00:00:00", "2026-01-01T01:30:00"], ["2026-01-01", "2026-01-02"], [0, 3601], [0.5, 9e3]],
)
def test_times_may_be_texts_dates_and_numbers(path, cells):
    with watch_of(path, time="t", every="1h") as watch:
        assert watch.update(numbers(2, 0) | {"t": cells}).status == "taken"
        assert "time" in watch.update(numbers(2, 1) | {"t": ["soon", "later"]}).reason
        assert "row 1" in watch.update(pa.table(numbers(2, 2) | {"t": pa.array([1.0, None])})).reason
        assert "no column 't'" in watch.update(numbers(2, 3)).reason
    assert rows_of(path, "SELECT count(*) FROM bucket") == [(2,)]


# -- long histories -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_takes_the_same_steps_however_many_there_were(tmp_path, way):
    found = []
    for earlier in (50, 5000):
        (tmp_path / str(earlier)).mkdir()
        found.append(steps(tmp_path / str(earlier), earlier, way))
    assert found[0] == found[1]


def test_a_summary_is_of_bounded_size(path, tmp_path):
    with watch_of(path, by="site") as watch:
        assert summary(watch.history).counts["batches"] == 0
        for seed in range(4):
            watch.update(numbers(60, seed, shift=seed / 2) | {"site": ["a", "b"] * 30})
        watch.update({"y": [0.0]})
    with History(path) as history:
        found = summary(history)
        assert found.counts["batches"] == 4
        assert found.counts["rows"] == 240
        assert found.counts["refused"] == 1
        assert found.curves["batch"].tolist() == [1, 2, 3, 4]
        assert set(found.means) == {f"x{i}" for i in range(4)}
        assert found.means["x0"].shape == (4,)
        assert {site["site"] for site in found.sites} == {"a", "b"}
        assert found.action == found.alarms[0]["action"]
        with history.write() as connection:
            connection.execute(
                "WITH RECURSIVE number (n) AS (SELECT 5 UNION ALL SELECT n + 1 FROM number WHERE n < 9000) "
                "INSERT INTO batch SELECT n, n, name, path, time, model, rows, flagged, least_p, counted, "
                "left_out, late, log_martingale, log_peak, log_detector, log_e_value, action, why "
                "FROM number JOIN batch ON batch.batch = 1"
            )
        long = summary(history)
    assert long.counts["batches"] == 9000
    assert len(long.curves["batch"]) <= POINTS + len(long.alarms) + 5
    assert long.curves["batch"][[0, -1]].tolist() == [1, 9000]


def test_a_history_is_read_by_any_program(path):
    with watch_of(path) as watch:
        for seed in range(3):
            watch.update(numbers(100, seed), name=f"{seed}.csv")
    found = rows_of(path, "SELECT name, rows, flagged, log_martingale, action FROM batch ORDER BY batch")
    assert [row[0] for row in found] == ["0.csv", "1.csv", "2.csv"]
    assert [type(cell) for cell in found[0]] == [str, int, int, float, str]
    assert os.path.getsize(path) > 0


def test_a_thinned_history_has_its_alarms_and_its_largest_numbers(path, monkeypatch):
    monkeypatch.setattr(summaries, "POINTS", 4)
    with watch_of(path) as watch:
        for seed in range(20):
            watch.update(numbers(60, seed, shift=9.0 * (seed == 6)))
        found = summaries.summary(watch.history)
    batches = found.curves["batch"].tolist()
    assert {1, 7, 20} <= set(batches)
    assert len(batches) < 20
    assert batches[int(np.argmax(found.curves["log_e_value"]))] == 7
    assert {alarm["batch"] for alarm in found.alarms} <= set(batches)


def test_a_change_that_ends_within_its_batch_began_with_it(path):
    rows = numbers(1000, 3)
    rows["x1"][400:440] += 12
    with watch_of(path) as watch:
        found = watch.update(rows)
    alarms = [alarm for alarm in found.alarms if alarm.kind == "changed"]
    assert [alarm.since for alarm in alarms] == [1]
    assert "x1" in alarms[0].text


def test_a_bucket_is_of_one_model(path, tmp_path):
    """Sums of two models in one bucket would be no e-value."""
    model, other = tmp_path / "a.safetensors", upland.EnergyDetector(random_state=1, progress=False)
    upland.save(plain_detector(), model)
    other.fit(numbers(2000, 77))
    hours = [0, 1, 1, 3]
    with upland.Watch(model, path, time="t", every="1h") as watch:
        for seed, (hour, of) in enumerate(zip(hours, [plain_detector(), other] * 2, strict=True)):
            upland.save(of, model, overwrite=True)
            moments = (np.arange(40) + 3600 * hour).astype("datetime64[s]")
            watch.update(numbers(40, seed) | {"t": moments})
    assert max(rows_of(path, "SELECT rows FROM group_verdict"))[0] == 40
