"""Laws of the energies, in float64, for every member of the family."""

import copy

import pytest
import torch
from torch import nn

from laws import Gaussian, autograd_gradient, covariance, finite_difference, generator, normal, randomise
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.energies import DenseEnergy
from upland.training.objectives import denoising, sliced

WIDTH, ROWS = 5, 7


def dense(*hidden):
    return randomise(DenseEnergy(WIDTH, hidden, generator()).double())


def small_net():
    net = nn.Sequential(
        nn.Linear(WIDTH, 9), nn.Tanh(), nn.Linear(9, 6), nn.Softplus(), nn.Linear(6, 1, bias=False)
    )
    return randomise(net.double())


ENERGIES = {
    "one layer": lambda: dense(8),
    "one unit": lambda: dense(1),
    "narrow then wide": lambda: dense(3, 16),
    "three layers": lambda: dense(11, 6, 4),
    "four layers": lambda: dense(6, 6, 6, 6),
    "own module": lambda: ModuleEnergy(small_net()),
    "gaussian": lambda: Gaussian(normal(WIDTH, seed=3), covariance(WIDTH)),
}
DENSE = [name for name in ENERGIES if name not in ("own module", "gaussian")]


@pytest.fixture(params=ENERGIES)
def model(request):
    return ENERGIES[request.param]()


@pytest.fixture(params=DENSE)
def dense_model(request):
    return ENERGIES[request.param]()


X = normal(ROWS, WIDTH, seed=1) * 2


def test_one_energy_a_row(model):
    assert model.energy(X).shape == (ROWS,)
    assert torch.equal(model(X), model.energy(X))


def test_reconstruction_is_x_minus_the_gradient(model):
    expected = X - autograd_gradient(model, X)
    torch.testing.assert_close(model.reconstruct(X), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [-40.0, 40.0])
def test_reconstruction_far_from_the_data(dense_model, offset):
    """PyTorch's softplus is linear from 20, where the sigmoid is still 2e-9 away from 1."""
    far = X + offset
    expected = far - autograd_gradient(dense_model, far)
    torch.testing.assert_close(dense_model.reconstruct(far), expected, rtol=1e-7, atol=1e-7)


def test_gradient_is_the_finite_difference(model):
    slope = finite_difference(model.energy, X)
    torch.testing.assert_close(X - model.reconstruct(X).detach(), slope, rtol=1e-6, atol=1e-7)


def test_the_formula_written_out(dense_model):
    h = X
    for w, b in zip(dense_model.weights, dense_model.biases, strict=True):
        h = torch.log1p(torch.exp(h @ w.T + b))
    expected = 0.5 * ((X - dense_model.prior) ** 2).sum(1) - h.sum(1)
    torch.testing.assert_close(dense_model.energy(X), expected, rtol=1e-12, atol=1e-12)


def test_one_layer_is_the_free_energy_of_a_gaussian_restricted_boltzmann_machine():
    """-log of the sum over all binary hidden states of exp(-joint energy)."""
    model = dense(4)
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    activations = X @ model.weights[0].T + model.biases[0]
    joint = 0.5 * ((X - model.prior) ** 2).sum(1, keepdim=True) - activations @ states.T
    torch.testing.assert_close(model.energy(X), -torch.logsumexp(-joint, dim=1), rtol=1e-12, atol=1e-12)


def test_equivariant_under_a_permutation_of_rows(model):
    order = torch.randperm(ROWS, generator=generator())
    torch.testing.assert_close(model.energy(X[order]), model.energy(X)[order], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        model.reconstruct(X[order]), model.reconstruct(X)[order], rtol=1e-13, atol=1e-13
    )


def test_a_row_alone_is_the_row_in_a_batch(model):
    alone = torch.cat([model.energy(row[None]) for row in X])
    torch.testing.assert_close(alone, model.energy(X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_every_weight_gets_a_gradient_and_moves(model, objective):
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        objective(model, X, 1.0, generator(step)).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None, name
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.abs().max() > 0, name
        optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_training_gradient_equals_that_of_double_backward(dense_model, objective):
    """The explicit path needs one backward pass; autograd's gradient of a gradient must agree."""
    by_hand, twice = copy.deepcopy(dense_model), copy.deepcopy(dense_model)
    twice.reconstruct = EnergyModel.reconstruct.__get__(twice)
    losses = []
    for model in (by_hand, twice):
        losses.append(objective(model, X, 0.6, generator(5)))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-11, atol=1e-12)
    for (name, one), two in zip(by_hand.named_parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-11, msg=name)


def test_the_gaussian_is_its_formula():
    mean, spread = normal(WIDTH, seed=3), covariance(WIDTH)
    density = torch.distributions.MultivariateNormal(mean, spread)
    gaussian = Gaussian(mean, spread)
    constant = density.log_prob(X) + gaussian.energy(X)
    torch.testing.assert_close(constant, constant[:1].expand(ROWS))
    expected = X - (X - mean) @ torch.linalg.inv(spread)
    torch.testing.assert_close(gaussian.reconstruct(X), expected)


def test_initial_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (DenseEnergy(WIDTH, (8, 4), generator(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = DenseEnergy(WIDTH, (8, 4), generator(8))
    for a, b, c in zip(one.weights, two.weights, other.weights, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_float32_agrees_with_float64_far_from_the_data():
    model = DenseEnergy(WIDTH, (8, 8), generator())
    far = torch.full((2, WIDTH), 720.0)
    precise = copy.deepcopy(model).double()
    torch.testing.assert_close(model.energy(far), precise.energy(far.double()), rtol=1e-6, atol=0)
    found = model.reconstruct(far)
    torch.testing.assert_close(found.double(), precise.reconstruct(far.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(nn.Linear(WIDTH, 2), "(7, 2)"), (nn.Identity(), "(7, 5)"), (nn.Flatten(0), "(35,)")],
)
def test_a_module_with_more_than_one_number_a_row_is_refused(module, shape):
    with pytest.raises(ValueError, match="one number per row") as caught:
        ModuleEnergy(module).energy(X.float())
    assert shape in str(caught.value)


def test_a_module_may_return_a_column_or_a_vector():
    net = small_net()
    column, vector = ModuleEnergy(net), ModuleEnergy(nn.Sequential(net, nn.Flatten(0)))
    assert torch.equal(column.energy(X), vector.energy(X))


def test_reconstruction_leaves_no_graph_behind_in_evaluation(model):
    model.eval()
    with torch.no_grad():
        assert not model.reconstruct(X).requires_grad
