"""Modules of one's own as energies: copied, trained, refused where they cannot be."""

import warnings

import numpy as np
import pytest
import torch

from normals import numbers, quick
from upland.models.energies import DenseEnergy

NEW = numbers(700, seed=3) * 2


def net(width):
    module = torch.nn.Sequential(torch.nn.Linear(width, 12), torch.nn.Softplus(), torch.nn.Linear(12, 1))
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.randn(value.shape, generator=source) / 3)
    return module


@pytest.mark.parametrize("objective", ["denoising", "sliced"])
@pytest.mark.parametrize("criterion", ["reconstruction", "energy"])
@pytest.mark.parametrize("model", [net, net(4)], ids=["factory", "module"])
def test_a_module_of_ones_own(objective, criterion, model):
    detector = quick(objective=objective, criterion=criterion, model=model, epochs=20).fit(numbers(300))
    history = detector.history_[0]["validation"]
    assert min(history) < history[0]
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


def test_of_many_weights_that_do_not_move_a_few_are_named():
    class Idle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net(4)
            self.idle = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(2)) for _ in range(40)])

        def forward(self, x):
            return self.net(x)

    with pytest.warns(UserWarning, match=r"module\.idle\.0, module\.idle\.1, module\.idle\.2 and 37 others$"):
        quick(model=Idle()).fit(numbers())


def test_frozen_weights_need_not_move():
    module = net(4)
    module[0].requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(model=module).fit(numbers())


def test_an_upland_energy_may_be_given_as_it_is():
    detector = quick(model=lambda width: DenseEnergy(width, (6,), torch.Generator().manual_seed(0)))
    assert isinstance(detector.fit(numbers()).models_[0], DenseEnergy)


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
