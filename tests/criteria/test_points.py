"""Laws of the criteria of one point: their formulas, and a number that depends on the row alone."""

import pytest
import torch

from laws import Gaussian, autograd_gradient, covariance, generator, normal, randomise
from upland.criteria.points import CRITERIA, energy, reconstruction, residual
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.blocks import in_blocks
from upland.models.energies import DenseEnergy

WIDTH, SIGMA, BLOCK = 6, 0.4, EnergyModel.block_rows


def own_module():
    return ModuleEnergy(
        torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1))
    )


MODELS = {
    "dense": lambda: DenseEnergy(WIDTH, (32, 16), generator()),
    "odd sizes": lambda: DenseEnergy(WIDTH, (130, 257), generator()),
    "narrow layers": lambda: DenseEnergy(WIDTH, (257, 3, 33, 1), generator()),
    "own module": lambda: randomise(own_module()),
    "gaussian": lambda: Gaussian(normal(WIDTH), covariance(WIDTH)).float(),
}
EXACT = [name for name in MODELS if name not in ("own module", "gaussian")]
"""upland's own: the same bits wherever a row stands. Of other modules the matrix kernels decide."""
X = normal(3 * BLOCK + 17, WIDTH, dtype=torch.float32)


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]().eval()


@pytest.fixture(params=EXACT)
def own(request):
    return MODELS[request.param]().eval()


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_formulas(model, sigma):
    model = model.double()
    x = X[:9].double()
    slope = autograd_gradient(model, x)
    torch.testing.assert_close(energy(model, x, sigma), model.energy(x) / sigma**2)
    torch.testing.assert_close(residual(model, x, sigma), slope)
    torch.testing.assert_close(reconstruction(model, x, sigma), slope.square().sum(1))


@pytest.mark.parametrize("name", CRITERIA)
def test_results_are_float64_and_have_no_graph(name, model):
    scores = in_blocks(CRITERIA[name], model, X, SIGMA)
    assert scores.dtype == torch.float64
    assert scores.shape == (len(X),)
    assert not scores.requires_grad


@pytest.mark.parametrize("name", CRITERIA)
def test_in_blocks_equals_the_function_on_all_rows(name, model):
    whole = CRITERIA[name](model, X, SIGMA).detach()
    torch.testing.assert_close(in_blocks(CRITERIA[name], model, X, SIGMA), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("cut", [1, 100, BLOCK - 1, BLOCK, BLOCK + 1, len(X) - 1])
def test_the_same_bits_in_any_batch(name, own, cut):
    whole = in_blocks(CRITERIA[name], own, X, SIGMA)
    parts = [in_blocks(CRITERIA[name], own, part, SIGMA) for part in (X[:cut], X[cut:])]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_bits_in_any_order(name, own):
    order = torch.randperm(len(X), generator=generator(3))
    whole = in_blocks(CRITERIA[name], own, X, SIGMA)
    assert torch.equal(in_blocks(CRITERIA[name], own, X[order], SIGMA), whole[order])


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_bits_alone(name, own):
    whole = in_blocks(CRITERIA[name], own, X[:40], SIGMA)
    alone = torch.cat([in_blocks(CRITERIA[name], own, row[None], SIGMA) for row in X[:40]])
    assert torch.equal(alone, whole)


@pytest.mark.parametrize("width", [1, 2, 5, 7, 9, 11, 15, 16, 31])
@pytest.mark.parametrize("hidden", [(64,), (256, 256), (7,), (33, 9)])
def test_the_same_bits_in_any_order_at_any_width(width, hidden):
    model = DenseEnergy(width, hidden, generator()).eval()
    rows = normal(BLOCK, width, dtype=torch.float32)
    order = torch.randperm(BLOCK, generator=generator(3))
    for criterion in CRITERIA.values():
        whole = in_blocks(criterion, model, rows, SIGMA)
        assert torch.equal(in_blocks(criterion, model, rows[order], SIGMA), whole[order])


@pytest.mark.parametrize("name", CRITERIA)
def test_nearly_the_same_in_any_order_for_other_modules(name, model):
    order = torch.randperm(len(X), generator=generator(3))
    whole = in_blocks(CRITERIA[name], model, X, SIGMA)
    there = in_blocks(CRITERIA[name], model, X[order], SIGMA)
    torch.testing.assert_close(there, whole[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CRITERIA)
def test_a_far_point_outranks_the_near_ones(name):
    near = normal(50, WIDTH, dtype=torch.float32)
    far = torch.full((1, WIDTH), 30.0)
    scores = in_blocks(CRITERIA[name], MODELS["gaussian"]().eval(), torch.cat([near, far]), SIGMA)
    assert scores.argmax() == 50


def test_shapes_beyond_one_dimension():
    class Flat(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1).square().sum(1)

    rows = normal(5, 2, 3, dtype=torch.float32)
    model = ModuleEnergy(Flat()).eval()
    assert in_blocks(residual, model, rows, SIGMA).shape == rows.shape
    torch.testing.assert_close(
        in_blocks(reconstruction, model, rows, SIGMA), 4 * rows.double().square().sum((1, 2))
    )


def test_scoring_leaves_the_threads_as_they_were(model):
    before = torch.get_num_threads()
    in_blocks(energy, model, X, SIGMA)
    assert torch.get_num_threads() == before
