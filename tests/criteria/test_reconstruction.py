"""Reconstruction error and energy of points: their formulas, and shares that sum to the error."""

import numpy as np
import pytest
import torch

from laws import autograd_gradient, generator, normal, randomise
from upland.criteria.base import finite
from upland.criteria.energy import Energy
from upland.criteria.reconstruction import Reconstruction
from upland.groups.outputs import Reference
from upland.models.base import ModuleEnergy
from upland.models.energies import DenseEnergy
from upland.models.multiscale import MultiscaleEnergy

WIDTH, SIGMA = 6, 0.4
X = normal(9, WIDTH)


def own_module():
    net = torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1))
    return ModuleEnergy(randomise(net.double()))


MODELS = {
    "dense": lambda: randomise(DenseEnergy(WIDTH, (32, 16), generator()).double()),
    "own module": own_module,
}


@pytest.fixture(params=MODELS)
def reference(request):
    return Reference(MODELS[request.param]().eval(), SIGMA)


def test_the_reconstruction_error_is_the_squared_slope(reference):
    slope = autograd_gradient(reference.model, X)
    found = Reconstruction().fit(reference).score(X)
    np.testing.assert_allclose(found, slope.square().sum(1), rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_energy_is_in_nats_of_the_noise(reference, sigma):
    found = Energy().fit(reference.__class__(reference.model, sigma)).score(X)
    with torch.no_grad():
        np.testing.assert_allclose(found, reference.model.energy(X) / sigma**2, rtol=1e-9)


@pytest.mark.parametrize("criterion", [Reconstruction, Energy])
def test_shares_are_squared_slopes_and_the_reconstruction_is_expected(reference, criterion):
    shares, expected = criterion().fit(reference).shares(X)
    slope = autograd_gradient(reference.model, X)
    np.testing.assert_allclose(shares, slope.square(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(expected, X - slope, rtol=1e-9, atol=1e-12)


def test_an_energy_that_stands_on_training_rows_is_reconstructed_by_its_nets_alone():
    model = MultiscaleEnergy(WIDTH, (8,), prior="kernel", generator=generator())
    model.init_from_data(normal(50, WIDTH).float(), generator(1))
    rows = X.float()
    found = Reconstruction().fit(Reference(model.eval(), SIGMA)).score(rows)
    nets = Reconstruction().fit(Reference(model.without_prior().eval(), SIGMA)).score(rows)
    np.testing.assert_array_equal(found, nets)
    assert (found > 0).all()


def test_inputs_of_any_shape():
    class Squares(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).square().sum(1)

    rows = normal(5, 2, 3, dtype=torch.float32)
    criterion = Reconstruction().fit(Reference(ModuleEnergy(Squares()).eval(), SIGMA))
    np.testing.assert_allclose(criterion.score(rows), 4 * rows.double().square().sum((1, 2)), rtol=1e-6)
    assert criterion.shares(rows).inputs.shape == rows.shape


def test_a_score_that_is_no_number_is_refused_with_the_count():
    with pytest.raises(FloatingPointError, match="no number \\(NaN\\) for 2 of 3 rows"):
        finite(np.array([np.nan, 1.0, np.nan]))
    assert finite(np.array([np.inf, 1.0])).max() == np.inf
