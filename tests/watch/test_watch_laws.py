"""What holds for a watch over every modality: restarts change nothing, no batch is taken twice."""

import json

import numpy as np
import pytest

import upland
from watched import CASES, batches, dump, fitted, numbers, plain_detector, rows_of

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    detector = fitted(request.param)
    model = tmp_path / "model.safetensors"
    upland.save(detector, model)
    return detector, model, batches(request.param)


def test_a_restart_between_all_batches_changes_no_bit(case, tmp_path):
    detector, model, parts = case
    with upland.Watch(detector, tmp_path / "one.db") as watch:
        whole = [watch.update(part, name=str(number)) for number, part in enumerate(parts)]
    again = []
    for number, part in enumerate(parts):
        with upland.Watch(upland.load(model), tmp_path / "many.db") as watch:
            again.append(watch.update(part, name=str(number)))
    assert [one.to_json() for one in whole] == [one.to_json() for one in again]
    assert dump(tmp_path / "one.db") == dump(tmp_path / "many.db")
    assert {one.status for one in whole} == {"taken"}


@pytest.mark.parametrize(
    "options",
    [
        {"by": "site"},
        {"time": "time", "every": "1h"},
        {"block": 3},
        {"keep_rows": True, "channels": ("mail",)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_restart_changes_no_bit_whatever_the_options(options, tmp_path):
    detector, parts = plain_detector(), []
    for seed, shift in enumerate((0, 0, 1, 1, 0)):
        beside = {"site": ["a", "b", "c"] * 30, "time": np.linspace(3000, 6000, 90) * (seed + 1)}
        parts.append(numbers(90, seed, shift) | beside)
    with upland.Watch(detector, tmp_path / "one.db", **options) as watch:
        whole = [watch.update(part).to_json() for part in parts]
    again = []
    for part in parts:
        with upland.Watch(detector, tmp_path / "many.db", **options) as watch:
            again.append(watch.update(part).to_json())
    assert whole == again
    assert dump(tmp_path / "one.db") == dump(tmp_path / "many.db")


def test_a_batch_is_taken_once(case, tmp_path):
    detector, _, parts = case
    with upland.Watch(detector, tmp_path / "h.db") as watch:
        for part in parts:
            watch.update(part)
        before = dump(tmp_path / "h.db")
        again = [watch.update(part) for part in parts]
    assert [one.status for one in again] == ["known"] * len(parts)
    assert [one.batch for one in again] == list(range(1, len(parts) + 1))
    assert dump(tmp_path / "h.db") == before


def test_a_decision_says_what_assess_says(case, tmp_path):
    detector, _, parts = case
    with upland.Watch(detector, tmp_path / "h.db", alpha=0.3) as watch:
        found = watch.update(parts[2])
    scores, p = (values.ravel() for values in detector.assess(parts[2]))
    flagged = np.flatnonzero(p <= 0.3)
    assert (found.rows, found.flagged) == (np.isfinite(p).sum(), flagged.size)
    assert {row.row for row in found.flagged_rows} <= set(flagged.tolist())
    for row in found.flagged_rows:
        assert (row.score, row.p_value) == (scores[row.row], p[row.row])
    assert len(rows_of(tmp_path / "h.db", "SELECT * FROM flagged_row")) == flagged.size
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("label", ["sequences", "sequences cross"])
def test_steps_after_restarts_change_no_bit(label, tmp_path):
    detector = fitted(label)
    steps = CASES[label][1](2, 5)
    with upland.Watch(detector, tmp_path / "one.db") as watch:
        whole = [watch.update_next(step, name) for step in steps[0, :6] for name in ("a", "b")]
    again = []
    for step in steps[0, :6]:
        for name in ("a", "b"):
            with upland.Watch(detector, tmp_path / "many.db") as watch:
                again.append(watch.update_next(step, name))
    assert [one.to_json() for one in whole] == [one.to_json() for one in again]
    assert dump(tmp_path / "one.db") == dump(tmp_path / "many.db")
    assert whole[0].evidence.counted == 1
    state = None
    for number, step in enumerate(steps[0, :6]):
        score, _, state = detector.score_next(state, step)
        decided = whole[2 * number]
        assert decided.flagged_rows == () or decided.flagged_rows[0].score == score


def test_a_step_that_comes_twice_is_taken_once(tmp_path):
    detector = fitted("sequences")
    step = CASES["sequences"][1](1, 5)[0, 0]
    with upland.Watch(detector, tmp_path / "h.db") as watch:
        found = [watch.update_next(step, digest=name).status for name in ("first", "first", "second")]
        assert found == ["taken", "known", "taken"]
        assert watch.update_next([1.0, 2.0, 3.0]).status == "refused"
        assert watch.update_next(step).batch == 3
    with (
        upland.Watch(fitted("experts"), tmp_path / "other.db") as watch,
        pytest.raises(TypeError, match="update"),
    ):
        watch.update_next(step)
