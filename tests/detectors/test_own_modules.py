"""Files larger than memory, modules of one's own, interrupted and failing fits, clear refusals."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from normals import as_parquet, mixed, numbers, quick
from upland.data import rows as memory

KINDS = ["split", "cross"]
CRITERIA = ["reconstruction", "energy"]


NEW = numbers(700, seed=3) * 2


@pytest.fixture(scope="module")
def pump():
    return quick(hidden=(32, 32), epochs=60, learning_rate=1e-2, criterion="reconstruction").fit(mixed(300))


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
    "criterion": ["likelihood", 3],
    "prior": ["kde", None, 3],
    "members": [0, 2.5, "two"],
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
    monkeypatch.setattr("upland.training.loop.Training.run", lambda *_, **__: pytest.fail("trained"))
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

    monkeypatch.setattr("upland.detectors.base.calibrated", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(numbers() * 2 + 1)
    assert np.array_equal(detector.p_values(numbers()), before)
