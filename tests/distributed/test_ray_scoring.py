"""Scoring by Ray gives what one process gives, does nothing twice, and loses nothing."""

import json
import os
import shutil
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland
from killing import kill
from lakes import joined, rows
from plant import pump_series
from programs import run_python
from upland.distributed import scoring
from upland.distributed.cluster import RETRIES, Lost, completed
from upland.distributed.cluster import cluster as connected
from upland.distributed.partitions import partitions_at
from upland.distributed.scoring import score
from upland.distributed.tasks import Target, score_partition

pytestmark = pytest.mark.usefixtures("cluster")

ADDED = ["anomaly_score", "p_value", "is_anomaly"]


def local(model, lake, tmp_path, command, *options):
    """What the plain command writes of all files that have rows, as one table."""
    target = tmp_path / "whole.parquet"
    full = tmp_path / "full"
    for name in lake.names:
        if pq.read_metadata(lake.folder / name).num_rows:
            (full / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(lake.folder / name, full / name)
    done = command("score", model, full, "-o", target, "--overwrite", *options)
    assert done.code == 0, done.err
    return pq.read_table(target)


def stamps(lake, names=None):
    """Which files of the output there are, as the file system numbers them."""
    return {
        name: (lake.output / name).stat().st_ino
        for name in (lake.names if names is None else names)
        if (lake.output / name).exists()
    }


def noted(lake, kind):
    lines = (lake.output / "_upland" / "manifest.jsonl").read_text().splitlines()
    return [record["partition"] for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize(
    "options", [[], ["--why"], ["--control", "fdr"], ["--control", "fdr", "--why", "--alpha", "0.2"]]
)
def test_the_partitions_are_those_of_the_plain_command(options, model, lake, tmp_path, command):
    done = command("score", model, lake.pattern, "-o", lake.output, "--engine", "ray", *options)
    assert done.code == 0, done.err
    expected = local(model, lake, tmp_path, command, *options)
    found = joined(lake.output, lake.names)
    assert found.equals(expected.cast(found.schema))
    assert 0 < sum(found["is_anomaly"].to_pylist()) < found.num_rows
    for name in lake.names:
        before = pq.read_schema(lake.folder / name)
        after = pq.read_schema(lake.output / name)
        assert [*after][: len(before)] == [*before]
        assert after.names[len(before) :] == [*ADDED, *(["reason"] if "--why" in options else [])]
    left = {path.relative_to(lake.output).as_posix() for path in lake.output.rglob("*") if path.is_file()}
    assert left == {*lake.names, "_upland/manifest.jsonl"}


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
def test_a_finished_run_does_nothing_again(control, model, lake, monkeypatch):
    first = score(model, lake.pattern, lake.output, control=control)
    assert (first.partitions, first.fresh, first.count) == (5, 5, 1900)
    before = stamps(lake)

    def not_needed(*_):
        raise AssertionError("a cluster is asked for")

    monkeypatch.setattr(scoring, "cluster", not_needed)
    again = score(model, lake.pattern, lake.output, control=control)
    assert (again.fresh, again.flagged, again.cut) == (0, first.flagged, first.cut)
    assert stamps(lake) == before


DRIVER = """
import os, signal, sys
from upland.distributed.partitions import partitions_at
from upland.distributed.scoring import score
from upland.distributed.tasks import Target, score_partition
address, model, data, output, last = sys.argv[1:]
def kill(done, of):
    if done == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
score(model, data, output, control="fdr", address=address, workers=1, progress=kill)
"""


def interrupted(model, lake, control, last):
    """A call that ends when so much is done."""

    def end(done, of):
        if done == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(model, lake.pattern, lake.output, control=control, progress=end)


@pytest.mark.parametrize(
    ("how", "control", "last"), [("ends", "false_alarm", 2), ("ends", "fdr", 3), ("is killed", "fdr", 7)]
)
def test_a_run_that_ends_early_goes_on_where_it_was(how, control, last, model, lake, tmp_path, cluster):
    if how == "ends":
        interrupted(model, lake, control, last)
    else:
        address = cluster.get_runtime_context().gcs_address
        killed = run_python("-c", DRIVER, address, model, lake.pattern, lake.output, last)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = noted(lake, "done")
    scored = noted(lake, "scored")
    assert len(done) + len(scored) == last
    before = stamps(lake, done)
    found = score(model, lake.pattern, lake.output, control=control)
    assert found.fresh == 5 - len(done)
    assert stamps(lake, done) == before
    assert sorted(noted(lake, "done")) == lake.names  # each once
    assert sorted(noted(lake, "scored")) == (lake.names if control == "fdr" else [])
    whole = score(model, lake.pattern, tmp_path / "whole", control=control)
    assert whole.flagged == found.flagged > 0
    assert joined(lake.output, lake.names).equals(joined(tmp_path / "whole", lake.names))


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_a_worker_that_is_killed_changes_nothing(model, tmp_path):
    names = [f"{number}.parquet" for number in range(4)]
    (tmp_path / "data").mkdir()
    for number, name in enumerate(names):
        pq.write_table(rows(25_000, number), tmp_path / "data" / name)
    with kill(b"score_partition") as ended:
        found = score(model, tmp_path / "data", tmp_path / "out")
    assert ended
    assert (found.count, found.fresh) == (100_000, 4)
    scores, p_values = upland.load(model).assess(joined(tmp_path / "data", names))
    scored = joined(tmp_path / "out", names)
    assert scored["anomaly_score"].to_pylist() == scores.tolist()
    assert scored["p_value"].to_pylist() == p_values.tolist()


def test_a_process_that_dies_again_and_again_is_said(cluster):
    def die():
        os._exit(9)

    die.__module__ = "__main__"  # so that the function itself is sent
    task = cluster.remote(num_cpus=1, max_retries=0)(die)
    ((_, found),) = completed(cluster, ["a"], lambda _: task.remote(), 1)
    assert isinstance(found, Lost)
    assert f"died {RETRIES + 1} times" in found


def test_bad_partitions_are_named_and_stop_no_other(model, lake, command):
    cut_off = lake.folder / "b" / "c.parquet"
    whole = cut_off.read_bytes()
    cut_off.write_bytes(whole[:-100])
    lacking = lake.folder / "e.parquet"
    table = pq.read_table(lacking)
    pq.write_table(table.drop_columns(["flow"]), lacking)
    arguments = ("score", model, lake.pattern, "-o", lake.output, "--engine", "ray")
    failed = command(*arguments)
    assert failed.code == 1
    assert "2 of 5 partitions could not be done" in failed.words
    assert f"{cut_off} cannot be read as Parquet" in failed.words
    assert f"{lacking}: " in failed.words
    assert "'flow'" in failed.words
    assert "The other 3 are done, and the same call takes up the rest" in failed.words
    assert sorted(noted(lake, "done")) == ["a.parquet", "b/d.parquet", "b/empty.parquet"]
    cut_off.write_bytes(whole)
    pq.write_table(table, lacking)
    done = command(*arguments)
    assert done.code == 0, done.err
    assert "wrote 2 partitions" in done.words
    assert "3 had been scored before" in done.words


def test_a_partition_that_has_changed_is_scored_again_when_asked(model, lake):
    score(model, lake.pattern, lake.output)
    before = stamps(lake)
    pq.write_table(rows(10, 7), lake.folder / "a.parquet")
    with pytest.raises(FileExistsError, match=r"a.parquet has changed since it was scored.*allow it to be"):
        score(model, lake.pattern, lake.output)
    assert stamps(lake) == before
    found = score(model, lake.pattern, lake.output, overwrite=True)
    assert (found.fresh, found.count) == (1, 1210)
    after = stamps(lake)
    assert {name for name in after if after[name] != before[name]} == {"a.parquet"}


def test_what_another_model_or_option_has_made_is_not_mixed(model, lake, tmp_path):
    score(model, lake.pattern, lake.output)
    with pytest.raises(FileExistsError, match=r"made with alpha 0.05"):
        score(model, lake.pattern, lake.output, alpha=0.1)
    other = tmp_path / "other.safetensors"
    detector = upland.EnergyDetector(ignore=["site", "at"], epochs=1, random_state=1, progress=False)
    upland.save(detector.fit(rows(400, 5)), other)
    with pytest.raises(FileExistsError, match=r"scores of another model"):
        score(other, lake.pattern, lake.output)
    found = score(other, lake.pattern, lake.output, overwrite=True)
    assert found.fresh == 5
    expected = upland.load(other).anomaly_score(pq.read_table(lake.folder / "a.parquet"))
    assert pq.read_table(lake.output / "a.parquet")["anomaly_score"].to_pylist() == expected.tolist()


def test_a_new_partition_is_scored_and_those_before_are_not(model, lake):
    score(model, lake.pattern, lake.output)
    pq.write_table(rows(50, 8), lake.folder / "f.parquet")
    assert score(model, lake.pattern, lake.output).fresh == 1
    score(model, lake.pattern, lake.output.with_name("fdr"), control="fdr")
    pq.write_table(rows(50, 9), lake.folder / "g.parquet")
    with pytest.raises(FileExistsError, match="whose flags are of other partitions together"):
        score(model, lake.pattern, lake.output.with_name("fdr"), control="fdr")
    assert score(model, lake.pattern, lake.output.with_name("fdr"), control="fdr", overwrite=True).fresh == 7


def test_a_partition_that_is_gone_takes_its_scores_along_when_asked(model, lake):
    score(model, lake.pattern, lake.output)
    (lake.folder / "a.parquet").unlink()
    with pytest.raises(FileExistsError, match=r"scores of a.parquet, which is no longer part of the input"):
        score(model, lake.pattern, lake.output)
    assert (lake.output / "a.parquet").exists()
    assert score(model, lake.pattern, lake.output, overwrite=True).fresh == 0
    assert not (lake.output / "a.parquet").exists()


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
def test_an_output_that_was_deleted_is_made_again(control, model, lake):
    score(model, lake.pattern, lake.output, control=control)
    before = pq.read_table(lake.output / "a.parquet")
    (lake.output / "a.parquet").unlink()
    assert score(model, lake.pattern, lake.output, control=control).fresh == 1
    assert pq.read_table(lake.output / "a.parquet").equals(before)


def test_files_of_no_run_are_not_replaced(model, lake):
    (lake.output / "b").mkdir(parents=True)
    other = lake.output / "b" / "d.parquet"
    other.write_text("kept")
    with pytest.raises(FileExistsError, match=r"holds b/d.parquet already"):
        score(model, lake.pattern, lake.output)
    assert other.read_text() == "kept"
    assert score(model, lake.pattern, lake.output, overwrite=True).fresh == 5
    other.write_text("kept")
    with pytest.raises(FileExistsError, match=r"b/d.parquet has changed since it was written"):
        score(model, lake.pattern, lake.output)


def test_columns_that_folders_give_are_features_and_stay_in_the_path(tmp_path):
    generator = np.random.default_rng(0)
    table = pa.table({"x": generator.normal(size=600), "day": generator.integers(1, 3, 600)})
    detector = upland.EnergyDetector(epochs=2, random_state=0, progress=False).fit(table)
    upland.save(detector, tmp_path / "m.safetensors")
    for day in (1, 2):
        (tmp_path / "data" / f"day={day}").mkdir(parents=True)
        part = table.filter(pa.compute.equal(table["day"], day)).select(["x"])
        pq.write_table(part, tmp_path / "data" / f"day={day}" / "p.parquet")
    score(tmp_path / "m.safetensors", tmp_path / "data", tmp_path / "out")
    found = pq.ParquetFile(tmp_path / "out" / "day=2" / "p.parquet").read()
    assert found.column_names == ["x", *ADDED]
    expected = detector.anomaly_score(table.filter(pa.compute.equal(table["day"], 2)))
    assert found["anomaly_score"].to_pylist() == expected.tolist()


@pytest.fixture(scope="module")
def pumps(tmp_path_factory):
    """A folder with models of long series and partitions of them."""
    folder = tmp_path_factory.mktemp("pumps")
    plain = {"calibration": "split", "epochs": 2, "random_state": 0, "progress": False, "time": "time"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, options in {"steps": {"id": "pump"}, "whole": {"id": "pump", "per": "sequence"}}.items():
            detector = upland.SequenceEnergyDetector(window=16, hidden=(8,), **plain, **options)
            upland.save(detector.fit(pump_series(seed=0)), folder / f"{name}.safetensors")
        alone = upland.SequenceEnergyDetector(window=16, hidden=(8,), **plain)
        series = pump_series(seed=0)
        one = series.filter(pa.compute.equal(series["pump"], "a")).drop_columns(["pump"])
        upland.save(alone.fit(one), folder / "alone.safetensors")
    new = pump_series(seed=1)
    (folder / "data").mkdir()
    for name in "ab":
        part = new.filter(pa.compute.equal(new["pump"], name))
        pq.write_table(part, folder / "data" / f"{name}.parquet")
    return folder


@pytest.mark.parametrize("name", ["steps", "whole"])
@pytest.mark.filterwarnings("ignore")
def test_partitions_of_whole_sequences(name, pumps, tmp_path):
    found = score(pumps / f"{name}.safetensors", pumps / "data", tmp_path / "out", alpha=0.3)
    assert found.count == (160 if name == "steps" else 2)
    detector = upland.load(pumps / f"{name}.safetensors")
    for part in "ab":
        scored = pq.read_table(tmp_path / "out" / f"{part}.parquet")
        expected = detector.anomaly_score(pq.read_table(pumps / "data" / f"{part}.parquet"))
        assert scored["anomaly_score"].to_pylist() == expected.tolist()


@pytest.mark.filterwarnings("ignore")
def test_a_sequence_in_two_partitions_is_refused(pumps, tmp_path):
    shutil.copytree(pumps / "data", tmp_path / "data")
    shutil.copy(pumps / "data" / "a.parquet", tmp_path / "data" / "c.parquet")
    with pytest.raises(ValueError, match=r"the sequence 'a' is in .*a.parquet and in .*c.parquet"):
        score(pumps / "steps.safetensors", tmp_path / "data", tmp_path / "out", alpha=0.3)
    assert not (tmp_path / "out" / "a.parquet").exists()
    with pytest.raises(ValueError, match="one series without ids, and there are 2 partitions"):
        score(pumps / "alone.safetensors", pumps / "data", tmp_path / "out", alpha=0.3)


def test_images_in_a_column_of_bytes(tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    import io

    from plant import ramps

    def encoded(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    detector = upland.ImageEnergyDetector(calibration="split", epochs=1, random_state=0, progress=False)
    upland.save(detector.fit(ramps(110, seed=0)), tmp_path / "m.safetensors")
    new = ramps(6, seed=1)
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"image": [encoded(one) for one in new]}), tmp_path / "data" / "a.parquet")
    score(tmp_path / "m.safetensors", tmp_path / "data", tmp_path / "out", alpha=0.1)
    found = pq.read_table(tmp_path / "out" / "a.parquet")
    np.testing.assert_allclose(found["anomaly_score"], detector.anomaly_score(new), rtol=1e-6)


def test_a_cluster_that_is_not_there(cluster, monkeypatch):
    def unreachable(**options):
        assert options["address"] == "10.0.0.1:6379"
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(cluster, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "init", unreachable)
    words = r"no Ray cluster at '10.0.0.1:6379': `ray start --head` starts one"
    with pytest.raises(ValueError, match=words), connected("10.0.0.1:6379"):
        pass


REFUSED = {
    "nothing there": (lambda c: (f"{c.folder}/none/*.parquet",), 1, "no file has such a name"),
    "an address": (lambda c: ("s3://bucket/a.parquet",), 1, "mount it, or score it without the engine"),
    "another format": (lambda c: (csv_beside(c),), 1, "x.csv is none: write Parquet, or score without"),
    "its own output": (lambda c: (c.folder, "-o", c.folder), 1, "holds the input itself"),
    "output in the input": (lambda c: (c.folder, "-o", c.folder / "out"), 1, "name a folder outside of it"),
    "no output": (lambda c: (c.folder, "-o", "-"), 2, "say -o DIR"),
    "a name of a file": (lambda c: (c.folder, "-o", c.output.with_suffix(".csv")), 2, "named like a file"),
    "a file": (lambda c: (c.folder, "-o", c.folder / "a.parquet"), 2, "named like a file"),
    "counterfactuals": (lambda c: (c.folder, "--counterfactual", "1"), 2, "leave one of them out"),
    "maps": (lambda c: (c.folder, "--maps", c.output), 2, "leave one of them out"),
    "a rate": (lambda c: (c.folder, "--alpha", "2"), 2, "--alpha must lie between 0 and 1"),
}


def csv_beside(lake):
    path = lake.folder / "x.csv"
    path.write_text("flow\n1\n")
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_any_work(case, model, lake, command):
    arguments, code, words = REFUSED[case]
    given = arguments(lake)
    output = () if "-o" in given else ("-o", lake.output)
    done = command("score", model, *given, *output, "--engine", "ray")
    assert (done.code, words in done.words) == (code, True), done.words
    assert not lake.output.exists()


@pytest.mark.parametrize("given", [["--address", "auto"], ["--workers", "2"]])
def test_options_of_ray_need_the_engine(given, model, lake, command):
    for arguments in (["score", model, lake.folder], ["groups", model, lake.folder, "--by", "site"]):
        done = command(*arguments, *given)
        assert (done.code, "say --engine ray too" in done.words) == (2, True)


def test_the_plain_command_says_how_a_folder_is_written(model, lake, command):
    done = command("score", model, lake.folder, "-o", lake.output)
    assert (done.code, "--engine ray writes a folder" in done.words) == (2, True)


def test_columns_named_like_those_that_are_added(model, lake, command):
    score(model, lake.pattern, lake.output)
    arguments = ("score", model, lake.output, "-o", lake.output.with_name("again"), "--engine", "ray")
    done = command(*arguments)
    assert done.code == 1
    assert "rename them, or say --replace-columns" in done.words
    assert command(*arguments, "--replace-columns").code == 0
    again = joined(lake.output.with_name("again"), lake.names)
    assert again.equals(joined(lake.output, lake.names))


def test_the_document_and_the_exit_codes(model, lake, command):
    arguments = ("score", model, lake.pattern, "-o", lake.output, "--engine", "ray", "--json")
    done = command(*arguments, "--fail-on-anomaly")
    assert done.code == 10
    document = json.loads(done.out)
    assert document == {
        "unit": "row",
        "rows": 1900,
        "flagged": sum(joined(lake.output, lake.names)["is_anomaly"].to_pylist()),
        "alpha": 0.05,
        "control": "false_alarm",
        "cut": 0.05,
        "partitions": 5,
        "scored": 5,
        "output": str(lake.output),
        "warnings": document["warnings"],
    }
    assert json.loads(command(*arguments).out)["scored"] == 0
    refused = command(*arguments, "--why")
    assert refused.code == 3
    assert "holds scores made with explain 0" in json.loads(refused.err)["error"]["message"]


def test_a_task_of_an_earlier_call_writes_nothing(model, lake):
    score(model, lake.pattern, lake.output)
    part = partitions_at(lake.pattern)[0]
    before = stamps(lake)
    late = Target(lake.output / part.name, lake.output / "_upland" / "parts" / "earlier", part.name)
    outcome = score_partition(upland.Scorer(model), part, late)
    assert "the call that made it has ended" in outcome.error
    assert stamps(lake) == before


def test_a_partition_that_changes_while_it_is_read_is_not_written(model, lake, tmp_path):
    part = partitions_at(lake.pattern)[0]
    pq.write_table(rows(30, 3), part.path)
    outcome = score_partition(
        upland.Scorer(model), part, Target(tmp_path / "out.parquet", tmp_path, "stage.parquet")
    )
    assert "has changed while it was read" in outcome.error
    assert not (tmp_path / "out.parquet").exists()


def test_columns_of_any_type_come_back(model, lake):
    table = rows(50, 4)
    odd = {
        "list": pa.array([[1, 2]] * 50),
        "struct": pa.array([{"a": 1}] * 50),
        "decimal": pa.array([1] * 50).cast(pa.decimal128(24, 2)),
        "small": pa.array(["a", "b"] * 25).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
        "large": pa.array(["x"] * 50, pa.large_string()),
        "bytes": pa.array([b"x"] * 50),
        "nothing": pa.nulls(50),
        "time": pa.array([5] * 50, pa.time64("us")),
        "zone": pa.array([5] * 50, pa.timestamp("us", "Europe/Paris")),
        "__index_level_0__": pa.array(range(50)),
    }
    for name, column in odd.items():
        table = table.append_column(name, column)
    pq.write_table(table, lake.folder / "odd.parquet")
    score(model, lake.folder / "odd.parquet", lake.output)
    found = pq.read_table(lake.output / "odd.parquet")
    before = pq.read_table(lake.folder / "odd.parquet")
    assert found.select(before.column_names).equals(before)
    assert found.column_names == [*before.column_names, *ADDED]


def test_a_signal_ends_a_wait_for_tasks(cluster):
    def sleep():
        import time

        time.sleep(60)

    sleep.__module__ = "__main__"
    task = cluster.remote(num_cpus=1, max_retries=0)(sleep)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(completed(cluster, ["a", "b"], lambda _: task.remote(), 1))
