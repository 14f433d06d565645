"""Detectors: any table in, a score of its row alone, flags at the rate asked for, clear refusals."""

import json
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError

import upland
from normals import CONTAINERS, as_parquet, mixed, numbers, quick
from upland.calibration import benjamini_hochberg
from upland.data import memory

KINDS = ["split", "cross"]
CRITERIA = ["reconstruction", "energy"]


@pytest.fixture(scope="module", params=[(k, c) for k in KINDS for c in CRITERIA], ids="-".join)
def fitted(request):
    kind, criterion = request.param
    return quick(calibration=kind, criterion=criterion).fit(numbers())


@pytest.fixture(scope="module")
def pump():
    return quick(hidden=(32, 32), epochs=60, learning_rate=1e-2, criterion="reconstruction").fit(mixed(300))


# -- tables in -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    detector = quick().fit(mixed())
    return detector.anomaly_score(mixed(seed=1)), detector.calibration_.scores


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_scores(container, reference, tmp_path):
    convert = CONTAINERS[container]
    detector = quick().fit(convert(mixed(), tmp_path))
    np.testing.assert_array_equal(detector.calibration_.scores, reference[1])
    np.testing.assert_array_equal(detector.anomaly_score(convert(mixed(seed=1), tmp_path)), reference[0])
    assert detector.feature_names_in_.tolist() == list(mixed().columns)


def test_arrays_lists_and_unnamed_frames_give_the_same_scores():
    rows = numbers()
    whole = quick().fit(rows)
    for same in (rows.tolist(), np.asfortranarray(rows), rows.astype(object), pd.DataFrame(rows)):
        detector = quick().fit(same)
        np.testing.assert_array_equal(detector.anomaly_score(same), whole.anomaly_score(rows))
        assert detector.n_features_in_ == 4
        assert "feature_names_in_" not in vars(detector)


def test_lists_keep_numbers_beside_text():
    rows = [[float(n % 7), "ab"[n % 2]] for n in range(120)]
    kinds = [column.kind for column in quick().fit(rows).encoder_.schema_.columns]
    assert kinds == ["numeric", "categorical"]


def test_the_order_of_columns_does_not_matter(pump):
    rows = mixed(40, seed=2)
    np.testing.assert_array_equal(pump.anomaly_score(rows[rows.columns[::-1]]), pump.anomaly_score(rows))


def test_names_are_forgotten_when_fitted_again_without():
    detector = quick().fit(mixed()).fit(numbers())
    assert "feature_names_in_" not in vars(detector)
    assert detector.n_features_in_ == 4


@pytest.mark.parametrize("count", [2, 3, 4, 7, 18])
@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_few_rows_and_one_column_fit_with_a_warning(count, kind):
    with pytest.warns(UserWarning, match=r"coarse.*nothing can be flagged at alpha = 0.05"):
        detector = quick(calibration=kind).fit(numbers(count, 1))
    p = detector.p_values([[0.0], [500.0]])
    assert np.all((p > 0) & (p <= 1))
    assert p[1] == detector.calibration_.smallest_p


@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_one_row_is_refused(kind):
    with pytest.raises(ValueError, match="minimum of 2"):
        quick(calibration=kind).fit(numbers(1, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_constant_columns_warn_and_still_tell_a_change(kind):
    with pytest.warns(UserWarning, match="same anomaly score.*constant"):
        detector = quick(calibration=kind).fit(np.ones((100, 2)))
    scores = detector.anomaly_score([[1.0, 1.0], [1.0, 1.5], [1.0, 1e9]])
    assert scores[0] < scores[1] < scores[2]


def test_a_constant_column_among_others_is_no_trouble():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(np.column_stack([numbers(), np.ones(120)]))


def test_rows_may_have_missing_cells():
    rows = numbers()
    rows[::7, 1] = np.nan
    detector = quick().fit(rows)
    assert np.isfinite(detector.anomaly_score(rows)).all()


# -- a score depends on its row alone ------------------------------------------------------------------------


NEW = numbers(700, seed=3) * 2


def test_the_same_bits_on_a_second_call(fitted):
    np.testing.assert_array_equal(fitted.anomaly_score(NEW), fitted.anomaly_score(NEW))


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257, 699])
def test_the_same_bits_in_any_batch(fitted, size):
    some = NEW if size > 3 else NEW[:60]
    parts = [fitted.anomaly_score(some[start : start + size]) for start in range(0, len(some), size)]
    np.testing.assert_array_equal(np.concatenate(parts), fitted.anomaly_score(some))


def test_the_same_bits_in_any_order(fitted):
    order = np.random.default_rng(0).permutation(len(NEW))
    np.testing.assert_array_equal(fitted.anomaly_score(NEW[order]), fitted.anomaly_score(NEW)[order])
    np.testing.assert_array_equal(fitted.p_values(NEW[order]), fitted.p_values(NEW)[order])


def test_the_same_bits_after_reload(fitted, tmp_path):
    upland.save(fitted, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(NEW), fitted.anomaly_score(NEW))


def threads_and_scores(detector):
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        yield detector.anomaly_score(NEW)
    torch.set_num_threads(before)


@pytest.mark.parametrize("hidden", [(16,), (2048, 2048)])
def test_nearly_the_same_on_another_number_of_threads(hidden):
    detector = quick(hidden=hidden, epochs=1).fit(numbers())
    one, two = threads_and_scores(detector)
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_two_fits_with_one_seed_are_equal_and_another_seed_is_not():
    one, two, other = (quick(random_state=seed).fit(numbers()).anomaly_score(NEW) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_random_state_object_is_a_seed_too():
    one, two = (quick(random_state=np.random.RandomState(4)).fit(numbers()) for _ in range(2))
    np.testing.assert_array_equal(one.anomaly_score(NEW), two.anomaly_score(NEW))


@pytest.mark.parametrize("kind", KINDS)
def test_global_randomness_is_untouched(kind):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    quick(calibration=kind).fit(numbers()).anomaly_score(NEW)
    after = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    np.testing.assert_array_equal(before[0][1], after[0][1])
    assert before[0][2] == after[0][2]
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]


def test_the_users_rows_are_left_alone():
    rows, frame = numbers(), mixed()
    copies = rows.copy(), frame.copy()
    quick().fit(rows).anomaly_score(rows)
    quick().fit(frame).anomaly_score(frame)
    np.testing.assert_array_equal(rows, copies[0])
    pd.testing.assert_frame_equal(frame, copies[1])


# -- what it is good for -------------------------------------------------------------------------------------


def test_broken_rows_stand_out(pump):
    rows = mixed(200, seed=4)
    broken = rows.assign(pressure=rows["pressure"] + 15)
    assert np.mean(pump.anomaly_score(broken)[:, None] > pump.anomaly_score(rows)[None]) > 0.99
    assert pump.flag(broken).mean() > 0.95


def test_the_criterion_decides_the_score():
    scores = {name: quick(criterion=name).fit(numbers()).anomaly_score(NEW) for name in CRITERIA}
    assert not np.allclose(*scores.values())
    assert (scores["reconstruction"] >= 0).all()


def test_energies_are_in_nats_of_the_smoothed_density():
    """On a Gaussian the energy grows as 1/2 x^2 / (1 + sigma^2) in standard units."""
    rows = numbers(4000, 1)
    detector = quick(hidden=(64,), epochs=80, learning_rate=1e-2, noise=0.5, criterion="energy").fit(rows)
    x = np.linspace(-1.5, 1.5, 7)[:, None] * rows.std() + rows.mean()
    energy = detector.anomaly_score(x)
    expected = 0.5 * np.linspace(-1.5, 1.5, 7) ** 2 / (1 + 0.25)
    even = 0.5 * (energy + energy[::-1]) - energy[3]
    np.testing.assert_allclose(even, expected, atol=0.15)


def test_sliced_score_matching_trains():
    rows = numbers(1500, 3)
    detector = quick(objective="sliced", epochs=20).fit(rows)
    history = detector.history_[0]["validation"]
    assert min(history) < history[0]
    far = detector.anomaly_score(np.full((1, 3), 6.0))
    assert far > np.quantile(detector.anomaly_score(rows), 0.95)


# -- flags ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_flags_are_p_values_cut(fitted, alpha):
    p = fitted.p_values(NEW)
    assert (p <= 1).all()
    assert (p >= fitted.calibration_.smallest_p).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(fitted.flag(NEW, alpha), p <= alpha)
        np.testing.assert_array_equal(fitted.flag(NEW, alpha, "fdr"), benjamini_hochberg(p, alpha))


def test_assess_is_both_at_once(fitted):
    scores, p = fitted.assess(NEW)
    np.testing.assert_array_equal(scores, fitted.anomaly_score(NEW))
    np.testing.assert_array_equal(p, fitted.p_values(NEW))


def test_p_values_fall_with_the_score_in_a_split():
    detector = quick().fit(numbers())
    scores, p = detector.assess(NEW)
    assert (np.diff(p[np.argsort(scores)]) <= 0).all()


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, "a", None, float("nan")])
def test_an_alpha_that_is_no_rate_is_refused(fitted, alpha):
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        fitted.flag(NEW, alpha)


def test_an_unknown_control_is_refused(fitted):
    with pytest.raises(ValueError, match="control must be 'false_alarm' or 'fdr', got 'fwer'"):
        fitted.flag(NEW, control="fwer")


def test_an_alpha_too_fine_for_the_calibration_warns_and_flags_nothing():
    detector = quick().fit(numbers(150))
    with pytest.warns(
        UserWarning, match=r"30 calibration rows cannot resolve alpha = 0.01.*at least 99 rows"
    ):
        assert not detector.flag(NEW * 100, alpha=0.01).any()


@pytest.mark.parametrize("n", [18, 19])
def test_the_warning_begins_where_the_p_values_end(n):
    detector = quick().fit(numbers())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.calibrate(numbers(n, seed=8))
    assert bool(caught) == (n == 18)


# -- calibration renewed -------------------------------------------------------------------------------------


def test_calibrate_takes_the_place_of_the_held_out_rows(fitted):
    fresh = numbers(200, seed=9) + 1
    detector = quick(calibration=fitted.calibration, criterion=fitted.criterion).fit(numbers())
    scores = detector.anomaly_score(NEW)
    assert detector.calibrate(fresh) is detector
    assert detector.calibration_.kind == "split"
    assert detector.calibration_.size == 200
    np.testing.assert_array_equal(detector.anomaly_score(NEW), scores)
    np.testing.assert_array_equal(detector.calibration_.scores, detector.anomaly_score(fresh))
    np.testing.assert_array_equal(
        detector.p_values(NEW), upland.conformal_p_values(detector.anomaly_score(fresh), scores)
    )
    np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.flag(NEW))


def test_calibrate_from_a_file(pump, tmp_path):
    detector = quick().fit(mixed())
    detector.calibrate(as_parquet(mixed(50, seed=5), tmp_path))
    assert detector.calibration_.size == 50


def test_auto_splits_only_many_rows():
    assert quick(calibration="auto", epochs=1).fit(numbers(499, 1)).calibration_.kind == "cross"
    assert quick(calibration="auto", epochs=1).fit(numbers(500, 1)).calibration_.kind == "split"


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_rows_are_seen_by_no_one(kind):
    """Calibration rows changed beyond recognition leave every member as it was."""
    from upland.fitting import held_out_rows

    rows = numbers()
    detector = quick(calibration=kind).fit(rows)
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    folds = held_out_rows(len(rows), kind, np.random.default_rng([seed, 0]))
    assert sum(len(fold) for fold in folds) == detector.calibration_.size
    changed = rows.copy()
    changed[folds[0]] = 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the changed rows are all alike
        other = quick(calibration=kind).fit(changed)
    for name, value in detector.models_[0].state_dict().items():
        assert torch.equal(value, other.models_[0].state_dict()[name]), name
    assert detector.encoder_.to_state()[0] == other.encoder_.to_state()[0]
    assert detector.members_[0].sigma == other.members_[0].sigma
    assert detector.history_[0]["validation"] == other.history_[0]["validation"]


def test_folds_partition_the_rows():
    from upland.fitting import held_out_rows

    for n in (2, 5, 6, 83):
        folds = held_out_rows(n, "cross", np.random.default_rng(0))
        np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(n))
        assert max(map(len, folds)) - min(map(len, folds)) <= 1


# -- scikit-learn's offset -----------------------------------------------------------------------------------


def test_offset_auto_flags_as_alpha_does():
    detector = quick().fit(numbers())
    np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.flag(NEW, 0.05))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_contamination_is_a_quantile_of_the_training_scores(share):
    rows = numbers(200)
    detector = quick(contamination=share).fit(rows)
    assert detector.offset_ == pytest.approx(np.quantile(detector.score_samples(rows), share))
    assert (detector.predict(rows) == -1).mean() == pytest.approx(share, abs=0.01)
    np.testing.assert_array_equal(detector.flag(NEW), quick().fit(rows).flag(NEW))


def test_contamination_of_a_file(tmp_path):
    path = as_parquet(mixed(200), tmp_path)
    assert quick(contamination=0.2).fit(path).offset_ == quick(contamination=0.2).fit(mixed(200)).offset_


def test_calibrate_leaves_a_numeric_offset():
    detector = quick(contamination=0.2).fit(numbers())
    offset = detector.offset_
    assert detector.calibrate(numbers(80, seed=7) * 3).offset_ == offset


# -- the criterion belongs to the calibration ----------------------------------------------------------------


def test_a_criterion_changed_after_the_fit_is_not_compared_with_the_other():
    detector = quick(criterion="reconstruction").fit(numbers())
    detector.set_params(criterion="energy")
    expected = quick(criterion="energy").fit(numbers())
    np.testing.assert_array_equal(detector.anomaly_score(NEW), expected.anomaly_score(NEW))
    for method in (detector.p_values, detector.flag, detector.predict, detector.decision_function):
        with pytest.raises(ValueError, match=r"calibrated for criterion='reconstruction', but now.*'energy'"):
            method(NEW)
    with pytest.raises(ValueError, match="calibrated for"):
        detector.info()
    fresh = numbers(60, seed=5)
    np.testing.assert_array_equal(
        detector.calibrate(fresh).p_values(NEW), expected.calibrate(fresh).p_values(NEW)
    )


def test_nor_is_a_numeric_offset():
    detector = quick(contamination=0.1, criterion="reconstruction").fit(numbers())
    with pytest.raises(ValueError, match="calibrated for"):
        detector.set_params(criterion="energy").calibrate(numbers())


# -- info ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"calibration": "cross"},
        {"random_state": np.random.RandomState(0)},
        {"random_state": None, "hidden": np.array([8, 4])},
        {"noise": np.float32(0.5), "batch_size": np.int64(32), "learning_rate": np.float64(1e-3)},
        {"model": lambda width: torch.nn.Linear(width, 1), "objective": "denoising"},
    ],
    ids=["plain", "cross", "random state", "no seed", "numpy numbers", "own module"],
)
def test_info_is_plain_data(options):
    info = quick(**options).fit(mixed()).info()
    assert json.loads(json.dumps(info, allow_nan=False)) == info
    assert info["detector"] == "EnergyDetector"
    assert [column["name"] for column in info["columns"]] == list(mixed().columns)
    assert info["versions"]["upland"] == upland.__version__


def test_info_says_what_is_guaranteed(fitted):
    told = fitted.info()["calibration"]
    assert told["rows"] == (24 if fitted.calibration == "split" else 120)
    assert told["smallest_p"] == 1 / (told["rows"] + 1)
    assert ("2 alpha" in told["guarantee"]) == (fitted.calibration == "cross")


# -- files larger than memory --------------------------------------------------------------------------------


@pytest.fixture
def streaming(monkeypatch):
    monkeypatch.setattr(memory, "CELLS_IN_MEMORY", 100)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_beyond_memory_fits_about_as_well(kind, tmp_path, monkeypatch):
    path = as_parquet(mixed(1500), tmp_path, row_group_size=200)
    rows = mixed(300, seed=4)
    broken = rows.assign(pressure=rows["pressure"] + 10)
    auroc = {}
    for cells in (memory.CELLS_IN_MEMORY, 100):
        monkeypatch.setattr(memory, "CELLS_IN_MEMORY", cells)
        detector = quick(hidden=(32, 32), epochs=20, learning_rate=1e-2, calibration=kind).fit(path)
        auroc[cells] = np.mean(detector.anomaly_score(broken)[:, None] > detector.anomaly_score(rows)[None])
        assert detector.calibration_.size == (300 if kind == "split" else 1500)
    assert min(auroc.values()) > 0.9
    assert auroc[100] > max(auroc.values()) - 0.03


def test_streaming_is_a_function_of_the_seed(streaming, tmp_path):
    path = as_parquet(mixed(400), tmp_path, row_group_size=64)
    one, two = (quick().fit(path).anomaly_score(mixed(seed=1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_streaming_really_streams(streaming, tmp_path):
    assert isinstance(memory.normal_rows(as_parquet(mixed(400), tmp_path)), memory.FileRows)


def test_scores_of_a_file_are_those_of_its_rows(pump, tmp_path):
    rows = mixed(300, seed=6)
    np.testing.assert_array_equal(pump.anomaly_score(as_parquet(rows, tmp_path)), pump.anomaly_score(rows))


# -- modules of one's own ------------------------------------------------------------------------------------


def net(width):
    module = torch.nn.Sequential(torch.nn.Linear(width, 12), torch.nn.Softplus(), torch.nn.Linear(12, 1))
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=source) / 3)
    return module


@pytest.mark.parametrize("objective", ["denoising", "sliced"])
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("model", [net, net(4)], ids=["factory", "module"])
def test_a_module_of_ones_own(objective, criterion, model):
    detector = quick(objective=objective, criterion=criterion, model=model, epochs=20).fit(numbers(300))
    history = detector.history_[0]["validation"]
    assert min(history) < history[0]
    assert np.isfinite(detector.anomaly_score(NEW)).all()
    np.testing.assert_allclose(
        detector.anomaly_score(NEW[::-1])[::-1], detector.anomaly_score(NEW), rtol=1e-4, atol=1e-5
    )


def test_the_users_module_is_copied_not_trained():
    module = net(4)
    before = [value.clone() for value in module.parameters()]
    detector = quick(model=module, calibration="cross").fit(numbers())
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert len({id(member) for member in detector.models_}) == 5


def test_weights_that_do_not_move_warn():
    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.idle = net(4), torch.nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.net(x)

    with pytest.warns(UserWarning, match=r"did not move these weights: module\.idle"):
        quick(model=Idle()).fit(numbers())


def test_frozen_weights_need_not_move():
    module = net(4)
    module[0].requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(model=module).fit(numbers())


def test_an_upland_energy_may_be_given_as_it_is():
    from upland.models.energies import DenseEnergy

    detector = quick(model=lambda width: DenseEnergy(width, (6,), torch.Generator().manual_seed(0)))
    assert isinstance(detector.fit(numbers()).models_[0], DenseEnergy)


# -- refusals ------------------------------------------------------------------------------------------------


BAD_ARGUMENTS = {
    "hidden": [64, (), (0,), (8, -1), (2.5,), "64", None],
    "noise": [0, -1.0, "small", float("nan"), float("inf"), None],
    "objective": ["score", None],
    "criterion": ["likelihood", None],
    "calibration": ["none", None],
    "contamination": [0.0, 0.7, -0.1, "some", None],
    "epochs": [0, -3, 1.5, "ten"],
    "batch_size": [0, 2.5, "all"],
    "learning_rate": [0.0, -1e-3, "fast", float("nan")],
    "patience": [0, 1.5],
    "categorical": [("absent",), "valve"],
    "ignore": [("absent",), "valve"],
    "model": ["net", 3],
    "device": ["gpu", "cuda:99"],
    "random_state": ["now", -1],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in BAD_ARGUMENTS for value in BAD_ARGUMENTS[name]]
)
def test_a_bad_argument_is_refused_by_name_before_training(name, value, monkeypatch):
    monkeypatch.setattr("upland.training.Training.run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(
        (ValueError, TypeError), match=name.replace("random_state", "random|RandomState|[Ss]eed")
    ):
        quick(**{name: value}).fit(mixed())


METHODS = [
    "anomaly_score",
    "p_values",
    "assess",
    "flag",
    "calibrate",
    "predict",
    "decision_function",
    "score_samples",
]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_without_a_fit(method):
    with pytest.raises(NotFittedError):
        getattr(quick(), method)(NEW)


def test_no_info_without_a_fit():
    with pytest.raises(NotFittedError):
        quick().info()


def test_a_diverging_training_says_what_to_try():
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        quick(learning_rate=1e30, epochs=30).fit(numbers())


def test_ctrl_c_leaves_the_best_model_so_far(monkeypatch):
    from upland import fitting

    calls = iter(range(10_000))
    original = fitting.Training._update

    def update(self, batch, generator):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return original(self, batch, generator)

    monkeypatch.setattr(fitting.Training, "_update", update)
    with pytest.warns(UserWarning, match="interrupted at step 25"):
        detector = quick(epochs=30, calibration="cross").fit(numbers())
    assert len(detector.members_) == 1
    assert detector.history_[0]["stopped"] == "interrupted"
    assert np.isfinite(detector.p_values(NEW)).all()


def test_quiet_where_there_is_no_terminal(capsys):
    detector = quick().set_params(progress="auto").fit(numbers())
    detector.predict(NEW)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_request(capsys):
    quick().set_params(progress=True).fit(numbers())
    out, _ = capsys.readouterr()
    assert out == ""


class Broken(torch.nn.Module):
    """A parabola that is lost far out."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        parabola = (self.weight * x.square()).sum(1)
        return torch.where((x.abs() < 20).all(1), parabola, torch.nan)


def test_a_score_that_is_no_number_is_refused():
    detector = quick(model=Broken(), criterion="energy", calibration="split").fit(numbers())
    with pytest.raises(FloatingPointError, match="1 of 2 rows"):
        detector.anomaly_score(np.array([[0.0, 0.0, 0.0, 0.0], [1e9, 0.0, 0.0, 0.0]]))


def test_a_module_without_weights_is_refused():
    with pytest.raises(ValueError, match=r"no weights.*Flatten"):
        quick(model=torch.nn.Flatten()).fit(numbers())


def test_a_second_fit_that_breaks_off_leaves_the_first(monkeypatch):
    detector = quick().fit(numbers())
    before = detector.p_values(numbers())

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("upland.detection.calibrated", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(numbers() * 2 + 1)
    assert np.array_equal(detector.p_values(numbers()), before)
