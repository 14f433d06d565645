"""The default detector of tables, a product of experts: the promises of every detector, and its limits."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import upland
from laws import scores_in_a_new_process
from normals import CONTAINERS, as_parquet, mixed, numbers
from upland.detectors.plan import CLOSED_FORM
from upland.models.experts import PARTS, ProductOfExperts

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*missing values")
METHODS = ["split", "cross"]
NEW = numbers(300, seed=3) * 2


def default(**options):
    return upland.EnergyDetector(**{"random_state": 0, "calibration": "split", "progress": False} | options)


@pytest.fixture(scope="module")
def pump():
    return default().fit(mixed(600))


def test_it_is_the_default_and_is_fitted_without_training():
    detector = default().fit(numbers())
    assert detector.plan_.training.objective == CLOSED_FORM
    assert detector.criterion_of("row") == "experts"
    assert isinstance(detector.models_[0], ProductOfExperts)
    assert list(detector.models_[0].parts) == list(PARTS)
    named = default(energy="experts").fit(numbers())
    np.testing.assert_array_equal(named.anomaly_score(NEW), detector.anomaly_score(NEW))
    assert detector.history_[0]["steps"] == []
    assert not any(value.requires_grad for value in detector.models_[0].parameters())


NETS = {
    "hidden": (4,),
    "noise": 0.4,
    "prior": "mixture",
    "n_nets": 1,
    "epochs": 1,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "patience": 3,
}


@pytest.mark.parametrize("name", NETS)
def test_an_argument_of_nets_asks_for_nets(name):
    """None of them is passed over."""
    plan = default(**{"epochs": 1, name: NETS[name]}).fit(numbers(40)).plan_
    assert plan.architecture.name != "product of experts"
    only = default(**{name: NETS[name]})
    assert only._architecture("split").name != "product of experts"


def test_some_parts_and_the_fast_ones():
    some = default(parts=["conditional", "distance"]).fit(numbers(700))
    assert some.plan_.architecture.parts == ("distance", "conditional")  # in one order, whatever the user's
    assert list(some.models_[0].parts) == ["distance", "conditional"]
    every, fast = (default(speed=speed).fit(numbers(1000)) for speed in ("auto", "fast"))
    assert len(every.models_[0].rows) == 800
    assert len(fast.models_[0].rows) == 500


def test_it_sees_what_its_parts_see(pump):
    """A dependence that is broken, a value far away, a combination and a value that never occurred."""
    rows = mixed(100, seed=4)
    normal = np.quantile(pump.anomaly_score(rows), 0.9)
    changes = {
        "broken": rows.assign(pressure=rows["pressure"] + 6),
        "far": rows.assign(flow=40.0, pressure=80.0),
        "unseen value": rows.assign(steps=4.5),
    }
    for name, changed in changes.items():
        assert np.median(pump.anomaly_score(changed)) > normal, name
    assert pump.flag(changes["broken"]).mean() > 0.9


# -- any table in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_scores(container, tmp_path):
    convert, expected = CONTAINERS[container], default().fit(mixed())
    detector = default().fit(convert(mixed(), tmp_path))
    np.testing.assert_array_equal(detector.calibration_.scores, expected.calibration_.scores)
    np.testing.assert_array_equal(
        detector.anomaly_score(convert(mixed(seed=1), tmp_path)), expected.anomaly_score(mixed(seed=1))
    )


def rng_rows(seed=0, count=150):
    rng = np.random.default_rng(seed)
    return rng, pd.DataFrame({"a": rng.normal(size=count), "b": rng.integers(0, 5, count)})


def categories(seed=0):
    rng, frame = rng_rows(seed)
    letters = rng.choice(list("abc"), len(frame))
    return pd.DataFrame({"x": letters, "y": np.char.upper(letters), "z": rng.choice(["u", "v"], len(frame))})


def lacking(seed=0):
    rng, frame = rng_rows(seed)
    return frame.astype(float).mask(rng.random(frame.shape) < 0.2)


def dates(seed=0):
    rng, frame = rng_rows(seed)
    hours = pd.to_timedelta(rng.integers(0, 5000, len(frame)), unit="h")
    return frame.assign(when=pd.Timestamp("2026-01-01") + hours)


TABLES = {
    "one column": lambda seed=0: numbers(120, 1, seed),
    "categories": categories,
    "missing cells": lacking,
    "dates": dates,
    "wide": lambda seed=0: numbers(30, 300, seed),
    "repeated thousands of times": lambda seed=0: np.repeat(numbers(3, 2), 1500, axis=0) + seed,
    "copies and singles": lambda seed=0: np.concatenate(
        [np.repeat(numbers(4, 2), 30, 0), numbers(30, 2, seed)]
    ),
    "huge": lambda seed=0: numbers(120, 3, seed) * 1e300,
    "tiny": lambda seed=0: numbers(120, 3, seed) * 1e-300,
    "huge beside ordinary": lambda seed=0: numbers(120, 3, seed) * [1e300, 1.0, 1e-300],
    "whole numbers": lambda seed=0: np.random.default_rng(seed).integers(0, 2**62, (120, 2)),
    "constant beside others": lambda seed=0: np.column_stack([numbers(120, 2, seed), np.ones(120)]),
}


@pytest.fixture(scope="module", params=TABLES)
def of_table(request):
    make = TABLES[request.param]
    options = {"dates": "parts"} if request.param == "dates" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return default(**options).fit(make()), make(1), options, make()


def test_scores_p_values_and_shares_are_numbers(of_table):
    detector, new, _, rows = of_table
    for table in (new, rows):
        scores, p = detector.assess(table)
        assert np.isfinite(scores).all()
        assert ((p > 0) & (p <= 1)).all()
    explanation = upland.explain(detector, new[:5])
    shares = np.asarray(explanation.shares)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(1), detector.anomaly_score(new[:5]), rtol=1e-6)


def test_saved_and_loaded_it_says_the_same(of_table, tmp_path):
    detector, new, _, _ = of_table
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.p_values(new), detector.p_values(new))


def test_a_second_fit_is_equal_bit_for_bit(of_table):
    detector, new, options, rows = of_table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = default(**options).fit(rows)
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.calibration_.scores, detector.calibration_.scores)


def test_a_row_scores_alike_in_any_order_and_company(of_table):
    detector, new, _, _ = of_table
    whole = detector.anomaly_score(new)
    np.testing.assert_allclose(detector.anomaly_score(new[::-1]), whole[::-1], rtol=1e-7)
    alone = [
        float(detector.anomaly_score(new[row : row + 1])[0]) for row in range(0, len(new), len(new) // 9)
    ]
    np.testing.assert_allclose(alone, whole[:: len(new) // 9], rtol=1e-7)


def test_a_row_scores_nearly_alike_on_another_number_of_threads(of_table):
    detector, new, _, _ = of_table
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(detector.anomaly_score(new))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_more_columns_than_rows():
    detector = default().fit(numbers(60, 1500))
    scores = detector.anomaly_score(numbers(20, 1500, seed=1))
    far = detector.anomaly_score(numbers(20, 1500, seed=1) * 3)
    assert np.isfinite(scores).all()
    assert far.min() > scores.max()


@pytest.mark.parametrize("method", ["auto", *METHODS])
@pytest.mark.parametrize("count", [2, 3, 4, 7, 18, 50])
def test_few_rows_fit(count, method):
    for rows in (numbers(count, 1), numbers(count, 3), mixed(count)):
        detector = default(calibration=method).fit(rows)
        scores, p = detector.assess(rows)
        assert np.isfinite(scores).all()
        assert ((p > 0) & (p <= 1)).all()
    far = default(calibration=method).fit(numbers(count, 1)).anomaly_score([[0.0], [500.0], [1e9]])
    assert far[0] < far[1] <= far[2]


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_warn_and_still_tell_a_change(method):
    with pytest.warns(UserWarning, match=r"same anomaly score.*constant"):
        detector = default(calibration=method).fit(np.ones((100, 2)))
    scores = detector.anomaly_score([[1.0, 1.0], [1.0, 1.5], [1.0, 1e9]])
    assert scores[0] < scores[1] < scores[2]


def test_a_file_larger_than_memory_is_fitted_in_pieces(tmp_path, monkeypatch):
    """Where rows are streamed the model starts from some of them, and gives the same promises."""
    path = as_parquet(mixed(900), tmp_path, row_group_size=100)
    whole = default().fit(path)
    monkeypatch.setattr("upland.data.rows.CELLS_IN_MEMORY", 100)
    streamed = default().fit(path)
    again = default().fit(path)
    rows = mixed(100, seed=1)
    broken = rows.assign(pressure=rows["pressure"] + 10)
    for detector in (whole, streamed):
        assert detector.calibration_.size == 180
        assert np.median(detector.anomaly_score(broken)) > np.quantile(detector.anomaly_score(rows), 0.95)
    np.testing.assert_array_equal(again.anomaly_score(rows), streamed.anomaly_score(rows))
    np.testing.assert_array_equal(streamed.anomaly_score(path), streamed.anomaly_score(mixed(900)))


def test_without_training_there_is_no_checkpoint(tmp_path):
    detector = default().fit(numbers(), checkpoint=tmp_path / "c")
    np.testing.assert_array_equal(detector.anomaly_score(NEW), default().fit(numbers()).anomaly_score(NEW))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_in_a_new_process(method, tmp_path):
    np.save(tmp_path / "rows.npy", NEW)
    detector = default(calibration=method).fit(numbers())
    upland.save(detector, tmp_path / "m.safetensors")
    found = scores_in_a_new_process([tmp_path / "m.safetensors"], tmp_path / "rows.npy")
    np.testing.assert_array_equal(found[0], np.array(detector.assess(NEW)))


def test_groups_get_verdicts_in_any_order(pump):
    rows = mixed(120, seed=6)
    broken = rows.assign(pressure=rows["pressure"].to_numpy()[::-1])
    both = pd.concat([rows, broken], ignore_index=True)
    label = np.repeat(["normal", "broken"], 120)
    verdicts = pump.score_groups(both, label)
    p = dict(zip(verdicts.group, verdicts.p_value, strict=True))
    assert p["broken"] < 0.05 < p["normal"]
    order = np.random.default_rng(0).permutation(240)
    again = pump.score_groups(both.iloc[order].reset_index(drop=True), label[order])
    found = dict(zip(again.group, again.p_value, strict=True))
    assert found == p


@pytest.mark.parametrize("given", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [1, 3])
def test_the_same_table_in_another_precision_has_the_same_flags(given, decimals):
    """A value is seen whether it comes as a double or as a float; a column far from zero among them."""
    rng = np.random.default_rng(0)

    def draw(count):
        rows = rng.normal([20.0, 0.0, 500.0], [3.0, 1.0, 3.0], (count, 3)).round(decimals)
        return np.column_stack([rows, rng.integers(0, 4, count) + 0.1])

    detector = default().fit(draw(800).astype(given))
    new = draw(400)
    flags = [detector.flag(new.astype(dtype)) for dtype in (np.float32, np.float64)]
    assert np.mean(flags[0] != flags[1]) <= 0.005
    assert max(map(np.mean, flags)) < 0.12


@pytest.mark.parametrize("parts", [["unseen"], ["pairs"], ["pairs", "unseen"], np.array(["unseen"])])
def test_parts_that_only_count_values_are_refused(parts):
    with pytest.raises(ValueError, match="add one of 'distance'"):
        default(parts=parts).fit(numbers(60))
    assert default(parts=[*parts, "local"]).fit(numbers(60)).score_samples(NEW).shape == (300,)


@pytest.mark.parametrize(
    "rows",
    [
        *(numbers(count) for count in (3, 4, 30, 64, 70)),
        np.random.default_rng(0).integers(0, 3, (300, 3)),
        np.random.default_rng(0).random((200, 4)) > 0.5,
        np.ones((50, 2)),
        np.tile(numbers(5), (40, 1)),
    ],
    ids=lambda rows: f"{len(rows)} rows, {len(np.unique(rows, axis=0))} distinct",
)
@pytest.mark.filterwarnings("ignore:all .* calibration rows have the same anomaly score")
def test_few_distinct_rows_are_saved_loaded_and_tested_in_groups(rows, tmp_path):
    detector = default(calibration="auto").fit(rows)
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    np.testing.assert_array_equal(again.anomaly_score(rows), detector.anomaly_score(rows))
    if len(rows) >= 50:
        p = again.score_groups(rows, np.arange(len(rows)) % 2, reasons=False).p_value
        assert np.isfinite(p).all()


def test_what_a_column_alone_is_expected_to_be_does_not_depend_on_how_far_it_is():
    detector = default().fit(numbers(400)[:, :1])
    near, far = upland.explain(detector, np.array([[50.0], [1e9]])).expected[:, 0].astype(float)
    assert max(abs(near), abs(far)) < 2 * np.abs(numbers(400)[:, 0]).max()
