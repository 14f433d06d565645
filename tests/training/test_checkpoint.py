"""A fit that was stopped goes on from its checkpoint and ends bit for bit as if it had not been."""

import numpy as np
import pandas as pd
import pytest
import torch

import upland
from normals import as_parquet, mixed, numbers, quick
from upland.data import rows as memory
from upland.data.rows import normal_rows
from upland.io.modelfile import TensorFileError, read_tensors
from upland.models.energies import DenseEnergy
from upland.training.checkpoint import Checkpoint, identity_of
from upland.training.loop import Training

NEW = mixed(50, seed=1)


class PowerCut(Exception):
    pass


def fit_with_cuts(rows, path, every, monkeypatch, **options):
    """Fit, the power cut after each `every` checks, until it is done: the detector, and how many cuts."""
    original = Training._interval
    for cuts in range(100):
        checks = iter(range(every + 1))

        def interval(self, *rest, checks=checks):
            if next(checks) == every:
                raise PowerCut
            original(self, *rest)

        monkeypatch.setattr(Training, "_interval", interval)
        try:
            return quick(**options).fit(rows, checkpoint=path), cuts
        except PowerCut:
            continue
        finally:
            monkeypatch.undo()
    raise AssertionError("the fit made no progress")


def assert_equal_fits(one, two, rows=NEW):
    np.testing.assert_array_equal(one.anomaly_score(rows), two.anomaly_score(rows))
    np.testing.assert_array_equal(one.p_values(rows), two.p_values(rows))
    assert [h | {"seconds": 0} for h in one.history_] == [h | {"seconds": 0} for h in two.history_]
    for a, b in zip(one.models_, two.models_, strict=True):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name])


@pytest.mark.parametrize("every", [1, 2, 7, 19])
@pytest.mark.parametrize("method", ["split", "cross"])
def test_resumed_from_memory(method, every, tmp_path, monkeypatch):
    options = {"calibration": method, "epochs": 4 if method == "split" else 2}
    expected = quick(**options).fit(mixed())
    resumed, cuts = fit_with_cuts(mixed(), tmp_path / "fit.safetensors", every, monkeypatch, **options)
    assert cuts > 0 or every > 2
    assert_equal_fits(resumed, expected)


@pytest.mark.parametrize("method", ["split", "cross"])
def test_resumed_from_a_file_beyond_memory(method, tmp_path, monkeypatch):
    path = as_parquet(mixed(300), tmp_path, row_group_size=64)
    limit = memory.CELLS_IN_MEMORY
    memory.CELLS_IN_MEMORY = 100
    try:
        options = {"calibration": method, "epochs": 2, "batch_size": 64}
        expected = quick(**options).fit(path)
        resumed, cuts = fit_with_cuts(path, tmp_path / "fit.safetensors", 1, monkeypatch, **options)
    finally:
        memory.CELLS_IN_MEMORY = limit
    assert cuts > 2
    assert_equal_fits(resumed, expected)


def test_a_seed_is_kept_where_none_was_given(tmp_path, monkeypatch):
    resumed, cuts = fit_with_cuts(mixed(), tmp_path / "c", 2, monkeypatch, random_state=None)
    _, manifest = read_tensors(tmp_path / "c")
    assert cuts > 0
    assert manifest["seed"] is not None
    again = quick(random_state=None).fit(mixed(), checkpoint=tmp_path / "c")
    assert_equal_fits(resumed, again)


def test_a_finished_fit_is_taken_up_without_training(tmp_path, monkeypatch):
    done = quick().fit(mixed(), checkpoint=tmp_path / "c")
    monkeypatch.setattr(Training, "_update", lambda *_: pytest.fail("trained"))
    assert_equal_fits(quick().fit(mixed(), checkpoint=tmp_path / "c"), done)


def test_a_checkpoint_changes_nothing(tmp_path):
    assert_equal_fits(quick().fit(mixed(), checkpoint=tmp_path / "c"), quick().fit(mixed()))


def test_goes_on_after_ctrl_c(tmp_path, monkeypatch):
    calls = iter(range(10_000))
    original = Training._update

    def update(self, batch, generator):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return original(self, batch, generator)

    monkeypatch.setattr(Training, "_update", update)
    with pytest.warns(UserWarning, match="interrupted"):
        quick(epochs=10).fit(mixed(), checkpoint=tmp_path / "c")
    monkeypatch.undo()
    assert_equal_fits(quick(epochs=10).fit(mixed(), checkpoint=tmp_path / "c"), quick(epochs=10).fit(mixed()))


OTHERS = {
    "rows": (lambda: mixed(121), {}, "other rows"),
    "columns": (lambda: mixed().rename(columns={"flow": "stream"}), {}, "other columns"),
    "values": (lambda: mixed(seed=5), {}, "other values"),
    "epochs": (mixed, {"epochs": 6}, "other epochs"),
    "two arguments": (mixed, {"hidden": (4,), "noise": 0.3}, "other hidden, noise"),
    "seed": (mixed, {"random_state": 1}, "other random_state"),
    "a model of one's own": (mixed, {"model": lambda width: torch.nn.Linear(width, 1)}, "other model"),
}


def test_a_function_of_the_same_name_that_makes_another_model_is_refused(tmp_path):
    def settings(units):
        def make(width):
            return torch.nn.Sequential(
                torch.nn.Linear(width, units), torch.nn.Softplus(), torch.nn.Linear(units, 1)
            )

        return {"model": make}

    quick(**settings(4)).fit(numbers(), checkpoint=tmp_path / "c")
    quick(**settings(4)).fit(numbers(), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match=r"checkpoint of another fit \(other model"):
        quick(**settings(5)).fit(numbers(), checkpoint=tmp_path / "c")


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_another_fit_is_refused_by_name(case, tmp_path):
    rows, options, words = OTHERS[case]
    path = tmp_path / "c"
    quick().fit(mixed(), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=f"{path} is the checkpoint of another fit .{words}.*delete it or name another"
    ):
        quick(**options).fit(rows(), checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("options", [{"contamination": 0.2}, {"criterion": "energy"}, {"progress": "auto"}])
def test_what_does_not_change_the_training_does_not_matter(options, tmp_path):
    quick().fit(mixed(), checkpoint=tmp_path / "c")
    assert_equal_fits(quick(**options).fit(mixed(), checkpoint=tmp_path / "c"), quick(**options).fit(mixed()))


def test_a_model_file_is_refused(tmp_path):
    detector = quick().fit(mixed())
    upland.save(detector, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is an upland file, but no checkpoint: name another file"):
        quick().fit(mixed(), checkpoint=tmp_path / "model.safetensors")
    assert upland.load(tmp_path / "model.safetensors").offset_ == detector.offset_


def test_a_damaged_checkpoint_is_refused(tmp_path):
    quick().fit(mixed(), checkpoint=tmp_path / "c")
    data = bytearray((tmp_path / "c").read_bytes())
    data[-5] ^= 4
    (tmp_path / "c").write_bytes(data)
    with pytest.raises(TensorFileError, match="corrupted"):
        quick().fit(mixed(), checkpoint=tmp_path / "c")


def test_a_folder_that_is_not_there_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "_update", lambda *_: pytest.fail("trained"))
    with pytest.raises(OSError, match="absent"):
        quick().fit(mixed(), checkpoint=tmp_path / "absent" / "c")


@pytest.mark.parametrize("random_state", [0, None])
def test_a_factory_of_ones_own_resumes_in_any_process(random_state, tmp_path):
    """A function is identified by its name, not by its address in memory."""

    def settings():
        def make(width):
            return torch.nn.Linear(width, 1)

        return quick(model=make, random_state=random_state)._settings()

    rows = normal_rows(numbers())
    first = Checkpoint(tmp_path / "c", identity_of(rows, settings()))
    first.seed(3)
    first.save(0, Training(DenseEnergy(4), lambda *_: None, _some_settings()))
    assert Checkpoint(tmp_path / "c", identity_of(rows, settings())).seed(5) == 3


def _some_settings():
    from upland.training.loop import Settings

    return Settings(steps=1, checks=1, patience=1, learning_rate=1.0, batch=1, seed=0)


@pytest.mark.parametrize(
    "make", [lambda frame: frame, lambda frame: frame.to_numpy(dtype=object)], ids=["frame", "array"]
)
def test_plans_are_the_same_every_time_and_differ_with_the_rows(make):
    identity = identity_of(normal_rows(make(mixed())), {"a": 1})
    assert identity == identity_of(normal_rows(make(mixed())), {"a": 1})
    changed = mixed()
    changed.loc[7, "flow"] += 1e-9
    assert identity["values"] != identity_of(normal_rows(make(changed)), {"a": 1})["values"]


def test_a_plan_with_missing_values_equals_itself():
    rows = pd.DataFrame({"a": [1.0, np.nan, 3.0] * 20})
    assert identity_of(normal_rows(rows), {}) == identity_of(normal_rows(rows.copy()), {})


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame])
def test_one_changed_value_of_a_large_table_is_another_fit(make, tmp_path):
    rows = numbers(2_000)
    path = tmp_path / "checkpoint.safetensors"
    quick().fit(make(rows), checkpoint=path)
    other = np.array(rows)
    other[1_001, 0] += 1.0
    with pytest.raises(ValueError, match="values"):
        quick().fit(make(other), checkpoint=path)
