"""Laws of the convolutional energy, in float64, for images of many shapes."""

import copy

import pytest
import torch
from torch.nn import functional

from laws import autograd_gradient, finite_difference, generator, normal, randomise
from upland.models.base import EnergyModel
from upland.models.convolutional import ConvolutionalEnergy
from upland.training.objectives import denoising, sliced

ROWS = 4
SHAPES = [(1, 8, 8), (3, 7, 5), (2, 1, 9), (1, 5, 1), (4, 1, 1), (1, 13, 10)]
BODIES = {
    "one": {"filters": (3,), "kernel_size": 3, "hidden": (4,)},
    "two": {"filters": (3, 4), "kernel_size": 5, "hidden": (6,)},
    "three, deep top": {"filters": (2, 3, 2), "kernel_size": 3, "hidden": (5, 3)},
    "no top": {"filters": (3, 2), "kernel_size": 3, "hidden": ()},
    "no convolution": {"filters": (), "hidden": (5,)},
    "centres": {"filters": (3,), "kernel_size": 3, "hidden": (4,), "n_centres": 3, "spread": 1.5},
    "centres only": {"filters": (), "hidden": (), "n_centres": 20, "spread": 0.7},
    "points": {"filters": (4,), "kernel_size": 1, "hidden": (3,)},
}


def convolutional(shape, pool="average", body="two"):
    model = ConvolutionalEnergy(shape, pool=pool, generator=generator(), **BODIES[body]).double()
    return randomise(model, scale=0.3)


def images(shape, rows=ROWS, seed=1):
    return normal(rows, *shape, seed=seed)


@pytest.fixture(params=["average", "max", "none"])
def pool(request):
    return request.param


@pytest.mark.parametrize("body", BODIES)
def test_reconstruction_is_x_minus_the_gradient(pool, body):
    for shape in SHAPES:
        model, x = convolutional(shape, pool, body), images(shape)
        assert model.energy(x).shape == (ROWS,)
        expected = x - autograd_gradient(model, x)
        torch.testing.assert_close(model.reconstruct(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 6, 6), (2, 5, 3)], ids=str)
def test_gradient_is_the_finite_difference(shape, pool):
    model, x = convolutional(shape, pool), images(shape, seed=5)  # no maximum is nearly shared
    slope = finite_difference(lambda flat: model.energy(flat.reshape(x.shape)), x.flatten(1))
    residual = (x - model.reconstruct(x)).detach().flatten(1)
    torch.testing.assert_close(residual, slope, rtol=1e-6, atol=1e-7)


def test_the_formula_written_out():
    model, x = convolutional((2, 5, 7)), images((2, 5, 7))
    h = x
    for w, b in zip(model.conv_weights, model.biases, strict=False):
        h = torch.log1p(torch.exp(functional.conv2d(functional.pad(h, (2, 2, 2, 2)), w, b)))
        odd = (0, h.shape[3] % 2, 0, h.shape[2] % 2)
        h = functional.pad(h, odd).unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    h = torch.log1p(torch.exp(h.flatten(1) @ model.weights[0].T + model.biases[2]))
    expected = 0.5 * ((x - model.centres.reshape(2, 5, 7)) ** 2).sum((1, 2, 3)) - h.sum(1)
    torch.testing.assert_close(model.energy(x), expected, rtol=1e-12, atol=1e-12)


def test_equivariant_under_a_permutation_of_rows(pool):
    model, x = convolutional((3, 7, 5), pool), images((3, 7, 5), rows=9)
    order = torch.randperm(9, generator=generator())
    torch.testing.assert_close(model.energy(x[order]), model.energy(x)[order], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        model.reconstruct(x[order]), model.reconstruct(x)[order], rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("body", ["one", "two", "three, deep top", "no top", "centres"])
@pytest.mark.parametrize("objective", [denoising, sliced])
def test_every_weight_gets_a_gradient_and_moves(objective, pool, body):
    model, x = convolutional((2, 9, 6), pool, body), images((2, 9, 6))
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        objective(model, x, 1.0, generator(step)).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None, name
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.abs().max() > 0, name
        optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_training_gradient_equals_that_of_double_backward(objective, pool):
    by_hand, x = convolutional((2, 7, 6), pool), images((2, 7, 6))
    twice = copy.deepcopy(by_hand)
    twice.reconstruct = EnergyModel.reconstruct.__get__(twice)
    losses = []
    for model in (by_hand, twice):
        losses.append(objective(model, x, 0.6, generator(5)))
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for (name, one), two in zip(by_hand.named_parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-11, msg=name)


def test_initial_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (ConvolutionalEnergy((1, 8, 8), generator=generator(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = ConvolutionalEnergy((1, 8, 8), generator=generator(8))
    for name in ("conv_weights", "weights"):
        for a, b, c in zip(getattr(one, name), getattr(two, name), getattr(other, name), strict=True):
            assert torch.equal(a, b)
            assert not torch.equal(a, c)


def test_reconstruction_leaves_no_graph_behind_in_evaluation(pool):
    model = convolutional((2, 9, 6), pool).eval()
    with torch.no_grad():
        assert not model.reconstruct(images((2, 9, 6))).requires_grad


@pytest.mark.parametrize(
    "wrong", [{"kernel_size": 4}, {"kernel_size": 0}, {"pool": "mean"}, {"n_centres": 0}, {"spread": 0.0}]
)
def test_wrong_arguments_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ConvolutionalEnergy((1, 8, 8), **wrong)


def test_centres_on_all_pictures_are_a_kernel_density():
    """Without other layers: -s^2 log of the mean Gaussian around the training images."""
    model = ConvolutionalEnergy((1, 3, 4), (), hidden=(), n_centres=6, spread=1.3).double()
    x = images((1, 3, 4), rows=6)
    model.init_from_data(x, generator())
    points = images((1, 3, 4), seed=2)
    kernels = torch.exp(-(torch.cdist(points.flatten(1), x.flatten(1)) ** 2) / (2 * 1.3**2))
    expected = -(1.3**2) * torch.log(kernels.mean(1))
    torch.testing.assert_close(model.energy(points), expected, rtol=1e-10, atol=1e-10)


def test_one_centre_stays_where_it_is_and_few_pictures_are_repeated():
    plain = ConvolutionalEnergy((1, 3, 4), (2,), generator=generator())
    before = copy.deepcopy(plain.state_dict())
    plain.init_from_data(images((1, 3, 4)).float())
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    mixed = ConvolutionalEnergy((1, 3, 4), (2,), n_centres=10, generator=generator())
    x = images((1, 3, 4)).float()
    mixed.init_from_data(x, generator())
    assert all((mixed.centres == row.flatten()).all(1).sum() in (2, 3) for row in x)


def test_what_may_stay_unchanged_is_what_centres_at_one_point_give_no_gradient():
    model = ConvolutionalEnergy((1, 3, 4), (2,), n_centres=4, generator=generator()).double()
    x = images((1, 3, 4), rows=1)
    model.init_from_data(x, generator())
    denoising(model, x.expand(50, -1, -1, -1), 0.5, generator()).backward()
    still = {name for name, value in model.named_parameters() if value.grad.abs().max() < 1e-12}
    assert still == set(model.may_stay_unchanged)
