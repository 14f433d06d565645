"""The default for tables: several scales of noise, an ensemble, a prior, one multi-scale score."""

import numpy as np
import pytest
import torch

import upland
from normals import fitted, mixed, numbers, quick
from upland.io.modelfile import read_tensors
from upland.models.energies import DenseEnergy
from upland.models.multiscale import SCALES, MultiscaleEnergy

NEW = numbers(30, seed=9)
PAPER = {"noise": 0.5, "prior": "centre", "n_nets": 1}


@pytest.mark.parametrize("method", ["split", "cross"])
def test_the_default_is_an_ensemble_at_several_scales(method):
    detector = fitted(calibration=method)
    assert detector.criterion_ == "multiscale"
    assert [model.n_nets for model in detector.models_] == ([2] if method == "split" else [1] * 5)
    assert all(isinstance(model, MultiscaleEnergy) and model.scales == SCALES for model in detector.models_)


def test_nets_are_as_many_as_are_asked_for():
    assert quick(n_nets=3, calibration="cross", epochs=1).fit(numbers()).models_[0].n_nets == 3


@pytest.mark.parametrize("criterion", ["reconstruction", "energy"])
def test_the_papers_model_is_one_call_away(criterion):
    detector = quick(**PAPER, criterion=criterion).fit(numbers())
    assert isinstance(detector.models_[0], DenseEnergy)
    assert detector.members_[0].sigma == 0.5
    assert detector.info()["prior"] == {"name": "centre", "training_rows": 0}


def test_none_is_auto():
    one, two = (fitted(criterion=name) for name in (None, "auto"))
    np.testing.assert_array_equal(one.anomaly_score(NEW), two.anomaly_score(NEW))
    assert one.criterion_ == "multiscale"


def test_none_survives_a_file(tmp_path):
    detector = fitted(criterion=None)
    upland.save(detector, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    assert again.criterion is None
    np.testing.assert_array_equal(again.p_values(NEW), detector.p_values(NEW))


def rows_in_file(path, rows):
    """How many encoded training rows stand in some tensor of a file."""
    tensors, _ = read_tensors(path)
    wide = [value for value in tensors.values() if value.ndim == 2 and value.shape[1] == rows.shape[1]]
    return sum(int(any(np.isclose(part, row, atol=1e-6).all(1).any() for part in wide)) for row in rows)


@pytest.mark.parametrize(("prior", "stay"), [("kernel", True), ("mixture", False), ("centre", False)])
def test_info_says_whether_training_rows_stay_in_the_file(prior, stay, tmp_path):
    detector = quick(prior=prior, keep_rows=0, calibration="split").fit(numbers(900))
    upland.save(detector, tmp_path / "model.safetensors")
    reported = detector.info()["prior"]
    assert reported["name"] == prior
    encoded = detector.encoder_.transform(numbers(900))
    found = rows_in_file(tmp_path / "model.safetensors", encoded)
    assert (reported["training_rows"] > 0) == stay
    assert found == reported["training_rows"]


@pytest.mark.parametrize("rows", [20, 60, 200])
def test_a_mixture_of_few_rows_keeps_none_of_them(rows, tmp_path):
    data = numbers(rows)
    detector = quick(prior="mixture", keep_rows=0, calibration="cross").fit(data)
    upland.save(detector, tmp_path / "model.safetensors")
    for member in detector.members_:
        encoded = torch.from_numpy(member.encoder.transform(data))
        assert (torch.cdist(encoded, member.model.prior.centres) > 1e-4).all()
    assert rows_in_file(tmp_path / "model.safetensors", detector.encoder_.transform(data)) == 0


@pytest.mark.parametrize("prior", ["kernel", "mixture", "centre"])
@pytest.mark.parametrize(("rows", "columns"), [(40, 20), (80, 3)])
def test_predict_keeps_its_rate_on_new_rows_of_small_tables(prior, rows, columns):
    """The mean over redraws: 5 % and the bound of five folds, whatever the kernel makes of its own rows."""
    alarms = []
    for seed in range(6):
        data = np.random.default_rng(seed).normal(size=(rows + 400, columns))
        detector = quick(prior=prior, calibration="cross").set_params(random_state=seed).fit(data[:rows])
        assert detector.calibration_.method == "cross"
        alarms.append((detector.predict(data[rows:]) < 0).mean())
    assert np.mean(alarms) < 0.12


@pytest.mark.parametrize("prior", ["kernel", "mixture", "centre"])
def test_what_is_expected_lies_among_the_training_rows(prior):
    """Whatever the shape of a column: skewed, heavy-tailed, with a gap."""
    generator = np.random.default_rng(0)

    def draw(n):
        gap = np.where(generator.random(n) < 0.5, 20.0, 60.0) + generator.normal(size=n)
        return np.column_stack([generator.gamma(0.3, size=n), generator.lognormal(0, 2, n), gap])

    train = draw(600)
    detector = quick(prior=prior, calibration="split").fit(train)
    low, high = train.min(0), train.max(0)
    for reason in (r for row in upland.explain(detector, draw(100)).top(3) for r in row):
        column = int(reason.column.removeprefix("x"))
        margin = 0.1 * (high - low)[column]
        assert low[column] - margin <= reason.expected <= high[column] + margin, reason


def test_held_out_rows_are_not_in_the_kernel():
    rows = numbers(900)
    detector = quick(calibration="split").fit(rows)
    member = detector.members_[0]
    encoded = torch.from_numpy(member.encoder.transform(rows))
    there = (torch.cdist(encoded, member.model.prior.centres) < 1e-6).any(1)
    assert int(there.sum()) <= 900 - detector.calibration_.size
    scores = detector.anomaly_score(rows)
    held = np.isin(scores, detector.calibration_.scores)
    assert held.sum() == detector.calibration_.size
    assert not there.numpy()[held].any()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"objective": "sliced", "n_nets": 3}, "n_nets"),
        ({"model": lambda width: DenseEnergy(width, (4,)), "prior": "kernel"}, "prior"),
    ],
)
def test_what_has_no_ensemble_refuses_one(wrong, named):
    with pytest.raises(ValueError, match=named):
        quick(**wrong).fit(numbers())


@pytest.mark.parametrize("prior", ["kernel", "mixture", "centre"])
def test_shares_sum_to_the_joined_score(prior):
    detector = quick(prior=prior).fit(mixed())
    found = upland.explain(detector, mixed(40, seed=3))
    np.testing.assert_allclose(found.shares.sum(1), detector.anomaly_score(mixed(40, seed=3)), rtol=1e-9)


def test_false_alarms_over_redraws():
    """Training, calibration and test drawn anew: the mean share of flags is at most alpha, to three standard
    errors.
    """
    alpha, shares = 0.1, []
    for redraw in range(40):
        rows = np.random.default_rng(redraw).normal(size=(240, 3))
        detector = quick(calibration="split", epochs=3, random_state=redraw).fit(rows[:140])
        shares.append(detector.flag(rows[140:], alpha).mean())
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert np.mean(shares) <= alpha + 3 * error
    assert np.mean(shares) >= 0.03
