"""A fit by Ray is the local one in distribution, the same for every number of workers, and loses nothing."""

import os
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

import upland
from killing import kill, running
from lakes import joined, rows
from upland.distributed.fit import fit
from upland.distributed.training import Crew

pytestmark = pytest.mark.usefixtures("cluster")

COUNTS = {"a.parquet": 700, "b/c.parquet": 1_500, "b/d.parquet": 300, "b/empty.parquet": 0, "e.parquet": 900}


@pytest.fixture
def data(tmp_path):
    """A folder of partitions, one of them without rows."""
    for number, (name, count) in enumerate(COUNTS.items()):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(count, number), path)
    return tmp_path / "data"


def detector(seed=0, **options):
    return upland.EnergyDetector(random_state=seed, progress=False, ignore=["site", "at"], **options)


def tensors(found):
    model = found.members_[0].model
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_of_all_rows_it_is_the_local_fit(data):
    local = detector().fit(joined(data, COUNTS))
    found = fit(detector(), data, workers=2)
    assert found.n_samples_fit_ == local.n_samples_fit_ == 3_400
    test = rows(500, 99, broken=100)
    np.testing.assert_allclose(found.score_samples(test), local.score_samples(test), rtol=1e-5)
    np.testing.assert_array_equal(found.p_values(test), local.p_values(test))


def test_workers_change_nothing(data):
    one, two = (fit(detector(), data, sample=1_000, workers=workers) for workers in (1, 2))
    assert one.encoder_.schema_ == two.encoder_.schema_
    for name, value in tensors(one).items():
        np.testing.assert_array_equal(value, tensors(two)[name])
    np.testing.assert_array_equal(one.calibration_.scores, two.calibration_.scores)


def test_a_sample_does_as_well_as_all_rows(data):
    test = rows(1_500, 99, broken=300)
    truth = np.repeat([0, 1], [1_200, 300])
    found, local = [], []
    mild = test.set_column(
        1, "pressure", pa.array(np.where(truth, test["flow"].to_numpy() * 2 + 0.5, test["pressure"]))
    )
    for seed in range(5):
        for made, scores in ((fit(detector(seed), data, sample=2_000), found), (None, local)):
            made = made or detector(seed).fit(joined(data, COUNTS))
            scores.append(roc_auc_score(truth, -made.score_samples(mild)))
    assert 0.6 < np.mean(local) < 0.999, "the task must be one that a worse fit does worse on"
    assert abs(np.mean(found) - np.mean(local)) < 0.005


def test_statistics_of_columns_are_of_all_rows_but_those_that_calibrate(data):
    whole = joined(data, COUNTS)["pressure"].to_numpy()
    table = pq.read_table(data / "e.parquet")
    level = pa.array(["stuck" if row == 0 else v for row, v in enumerate(table["valve"].to_pylist())])
    pq.write_table(table.set_column(2, "valve", level), data / "e.parquet")
    found = fit(detector(), data, sample=600)
    assert found.calibration_.scores.size == 120
    columns = {column.name: column for column in found.encoder_.schema_.columns}
    shares = np.array([*columns["valve"].shares])
    seen = 3_400 - 120
    np.testing.assert_allclose(shares * seen, np.round(shares * seen), atol=1e-6)
    assert shares.sum() == pytest.approx(1)
    assert columns["pressure"].center == pytest.approx(whole.mean(), abs=0.1)


def test_a_worker_that_is_killed_changes_nothing(data):
    whole = fit(detector(), data, sample=1_000)
    with kill(b"s") as ended:
        found = fit(detector(), data, sample=1_000)
    assert ended
    assert found.encoder_.schema_ == whole.encoder_.schema_
    np.testing.assert_array_equal(found.calibration_.scores, whole.calibration_.scores)


def test_a_partition_that_lacks_a_column_is_named(data):
    path = data / "b" / "d.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["pressure"]), path)
    with pytest.raises(ValueError, match=r"b/d\.parquet has other columns .* lacks 'pressure'"):
        fit(detector(), data)


def test_a_partition_of_another_type_is_named(data):
    path = data / "b" / "d.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "pressure", pa.array(["high"] * table.num_rows)), path)
    with pytest.raises(ValueError, match=r"b/d\.parquet: column 'pressure' has the type string, but double"):
        fit(detector(), data)


def test_a_partition_with_an_infinity_is_named(data):
    path = data / "b" / "d.parquet"
    table = pq.read_table(path)
    values = table["pressure"].to_numpy().copy()
    values[7] = np.inf
    pq.write_table(table.set_column(1, "pressure", pa.array(values)), path)
    with pytest.raises(ValueError, match=r"1 of 4 partitions .*b/d\.parquet: .*infinity.*'pressure'"):
        fit(detector(), data, sample=200)


def test_a_damaged_partition_is_named(data):
    path = data / "b" / "d.parquet"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"b/d\.parquet cannot be read as Parquet"):
        fit(detector(), data)


def test_other_detectors_are_refused(data):
    with pytest.raises(TypeError, match="fits detectors of rows of tables, and SequenceEnergyDetector"):
        fit(upland.SequenceEnergyDetector(), data)


def test_a_command_writes_a_model_file_that_says_how_many_rows_it_saw(data, tmp_path, command):
    model = tmp_path / "m.safetensors"
    pattern = f"{data}/**/*.parquet"
    done = command("fit", pattern, "-o", model, "--engine", "ray", "--workers", 2, "--ignore", "at", "--json")
    assert done.code == 0, done.err
    info = command("info", model)
    assert "rows 3400" in info.words
    for more, words in (
        (["--by", "site"], "without --by"),
        (["--model", "energy", "--checkpoint", tmp_path / "c"], "--checkpoint does not go with --engine ray"),
    ):
        refused = command("fit", pattern, "-o", tmp_path / "n.safetensors", "--engine", "ray", *more)
        assert refused.code == 2
        assert words in refused.words


# -- trained models -----------------------------------------------------------------------------------------


def trained(**options):
    return detector(energy="multiscale", epochs=3, batch_size=128, hidden=[16], **options)


def test_a_training_by_two_processes_is_like_one_and_survives_the_end_of_one(data, monkeypatch):
    test = rows(500, 99, broken=100)
    truth = np.repeat([0, 1], [400, 100])
    local = trained().fit(joined(data, COUNTS))
    states = []
    show = Crew._states

    def killing(self, *arguments):
        for state in show(self, *arguments):
            states.append(state[1]["step"])
            if len(states) == 3:
                os.kill(running(b"_Process")[-1], signal.SIGKILL)
            yield state

    monkeypatch.setattr(Crew, "_states", killing)
    found = fit(trained(), data, workers=2)
    assert states == sorted(set(states)), "no interval is trained twice that was handed over"
    histories = [made.members_[0].history for made in (local, found)]
    assert histories[0].steps == histories[1].steps
    assert histories[1].validation[-1] == pytest.approx(histories[0].validation[-1], rel=0.05)
    ways = [roc_auc_score(truth, -made.score_samples(test)) for made in (local, found)]
    assert abs(ways[0] - ways[1]) < 0.005
