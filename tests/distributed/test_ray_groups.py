"""Groups whose rows lie in many partitions get the verdicts of one process that holds all rows."""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland
from killing import kill
from lakes import joined, rows
from upland.catalogue import STATISTICS
from upland.distributed import groups
from upland.distributed.groups import bucket_of, score_groups
from upland.distributed.partitions import partitions_at
from upland.distributed.tasks import with_keys
from upland.groups.ordering import MOST_ROWS

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.filterwarnings("ignore")]

LARGE = {"a.parquet": 4_000, "b/c.parquet": 3_500, "b/empty.parquet": 0, "z.parquet": 300}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Partitions in which one of five sites has more rows than a group is tested by, and nine shifts."""
    folder = tmp_path_factory.mktemp("large")
    for number, (name, count) in enumerate(LARGE.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        table = rows(count, number, broken=min(count, 40))
        shift = np.random.default_rng(number).choice(["early", "late", "night"], count)
        pq.write_table(table.append_column("shift", pa.array(shift, pa.string())), folder / name)
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    detector = upland.FlowDetector(
        ignore=["site", "at", "shift"], layers=2, epochs=1, fallback="none", random_state=0, progress=False
    )
    upland.save(detector.fit(rows(2_000, 99).append_column("shift", pa.nulls(2_000, pa.string()))), path)
    return path


def alike(found, expected):
    """Whether verdicts are equal: names, flags and reasons, and numbers to 1e-9."""
    assert list(found.group) == list(expected.group)
    for name in ("size", "flag", "reason", "method"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
    assert found.columns == expected.columns
    for name in ("statistic", "p_value", "smallest_p", "p_value_error"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=0)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_verdicts_are_those_of_one_process(statistic, large, flow, model):
    path = model if STATISTICS[statistic].needs == "score" else flow
    detector, whole = upland.load(path), joined(large, LARGE)
    options = {"control": "false_alarm", "alpha": 0.3, "statistic": statistic}
    found = score_groups(path, large, ("site", "shift"), **options)
    alike(found, detector.score_groups(whole, ("site", "shift"), **options))
    assert found.flag.any()


def test_a_group_that_is_tested_by_some_of_its_rows(large, flow):
    whole = joined(large, LARGE)
    assert np.bincount(whole["site"].to_numpy()).max() > MOST_ROWS
    alike(score_groups(flow, large, "site"), upland.load(flow).score_groups(whole, "site"))


def test_neither_partitions_nor_buckets_change_a_verdict(large, flow, tmp_path, monkeypatch):
    expected = score_groups(flow, large, "shift")
    pq.write_table(joined(large, LARGE), tmp_path / "one.parquet")
    alike(score_groups(flow, tmp_path / "one.parquet", "shift"), expected)
    monkeypatch.setattr(groups, "BUCKET", 1 << 14)
    assert sum(part.size for part in partitions_at(large)) > 5 << 14
    alike(score_groups(flow, large, "shift"), expected)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("task", [b"encoded_partition", b"tested_bucket"])
def test_a_worker_that_is_killed_changes_no_verdict(task, large, flow):
    expected = upland.load(flow).score_groups(joined(large, LARGE), ("site", "shift"))
    with kill(task) as ended:
        found = score_groups(flow, large, ("site", "shift"))
    assert ended
    alike(found, expected)


def test_segments_and_their_warning(large, tmp_path):
    fitted = upland.SegmentedDetector(
        upland.EnergyDetector(ignore=["site", "at"], epochs=1, random_state=0, progress=False), by="shift"
    )
    whole = joined(large, LARGE)
    upland.save(fitted.fit(whole.slice(0, 1_500)), tmp_path / "m.safetensors")
    said = []
    for test in (
        lambda: score_groups(tmp_path / "m.safetensors", large, "site"),
        lambda: fitted.score_groups(whole, "site"),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            said.append((test(), {str(one.message) for one in caught}))
    alike(said[0][0], said[1][0])
    assert said[0][1] == said[1][1] != set()


def test_the_command_writes_what_the_plain_one_writes(large, flow, tmp_path, command):
    pq.write_table(joined(large, LARGE), tmp_path / "one.parquet")
    by = ("--by", "site", "--by", "shift")
    assert command("groups", flow, tmp_path / "one.parquet", *by, "-o", tmp_path / "plain.csv").code == 0
    arguments = ("groups", flow, f"{large}/**/*.parquet", *by, "--engine", "ray")
    assert command(*arguments, "-o", tmp_path / "ray.csv").code == 0
    tables = [list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("plain", "ray")]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 15
    assert "of 15 groups of 'site / shift'" in command(*arguments).words


def test_what_is_wrong_is_named(large, flow, tmp_path, command):
    table = joined(large, ["z.parquet"])
    site = table.schema.get_field_index("site")
    holes = pa.array([None, *table["site"].to_pylist()[1:]], pa.int16())
    for name, part in {
        "fine": table,
        "holes": table.set_column(site, "site", holes),
        "lacking": table.drop_columns(["site"]),
    }.items():
        pq.write_table(part, tmp_path / f"{name}.parquet")
    done = command("groups", flow, f"{tmp_path}/*.parquet", "--by", "site", "--engine", "ray")
    assert done.code == 1
    assert "2 of 3 partitions could not be done" in done.words
    assert f"{tmp_path}/holes.parquet: 1 of 300 rows have no group, the first is row 1" in done.words
    assert f"{tmp_path}/lacking.parquet: there is no column 'site'" in done.words
    done = command("groups", flow, tmp_path / "fine.parquet", "--by", "flow", "--engine", "ray")
    assert (done.code, "fit with --ignore flow to name groups by it" in done.words) == (1, True)
    done = command("groups", flow, large / "b" / "empty.parquet", "--by", "site", "--engine", "ray")
    assert (done.code, "there are no rows" in done.words) == (1, True)


def test_groups_by_a_column_that_folders_give(large, flow, tmp_path):
    table = joined(large, ["z.parquet"]).drop_columns(["site"])
    for site, start in ((1, 0), (2, 100), (1, 200)):
        path = tmp_path / f"site={site}" / f"{start}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table.slice(start, 100), path)
    found = score_groups(flow, tmp_path, "site")
    assert (found.group.tolist(), found.size.tolist()) == ([1, 2], [200, 100])
    (part,) = [part for part in partitions_at(tmp_path) if part.name == "site=2/100.parquet"]
    assert with_keys(upland.load(flow), part, table)["site"].to_pylist() == [2] * 300


def test_models_of_no_table_are_refused(large, tmp_path):
    from plant import ramps

    detector = upland.ImageEnergyDetector(epochs=1, random_state=0, progress=False).fit(ramps(110, seed=0))
    upland.save(detector, tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match="tests groups of rows of tables, and the model is of images"):
        score_groups(tmp_path / "m.safetensors", large, "site")


def test_equal_names_are_in_one_bucket():
    names = [1, 1.0, np.float64(1), True]
    assert {bucket_of(name, 64) for name in names} == {bucket_of(1, 64)}
    assert len({bucket_of(name, 64) for name in ["a", "b", "c", 2, None, os.sep]}) > 3
