"""Laws of the bijections, in float64, for every member of the family."""

import copy

import pytest
import torch

from laws import generator, normal
from upland.models.bijections import ActNorm, InvertibleLinear, Permutation
from upland.models.couplings import STEEPEST, AffineCoupling, SplineCoupling
from upland.models.nets import TanhNet
from upland.models.splines import Spline

ROWS = 7
X = {width: normal(ROWS, width, seed=width) * 2 for width in (1, 2, 5)}


def stirred(bijection, seed=0, scale=0.5):
    """Float64, every weight moved off its start."""
    bijection = bijection.double()
    source = generator(seed)
    with torch.no_grad():
        for value in bijection.parameters():
            value.add_(scale * torch.randn(value.shape, generator=source, dtype=value.dtype))
    return bijection


BIJECTIONS = {
    "act norm": lambda width: ActNorm(width),
    "linear": lambda width: InvertibleLinear(width, generator()),
    "permutation": lambda width: Permutation(width, generator()),
    "affine": lambda width: AffineCoupling(width, (8,), generator()),
    "affine, two layers": lambda width: AffineCoupling(width, (8, 6), generator()),
    "affine, no layer": lambda width: AffineCoupling(width, (), generator()),
    "spline": lambda width: SplineCoupling(width, (8,), generator=generator()),
    "spline, few bins": lambda width: SplineCoupling(width, (8,), bins=2, bound=1.5, generator=generator()),
}


@pytest.fixture(params=BIJECTIONS)
def make(request):
    return lambda width: stirred(BIJECTIONS[request.param](width))


def jacobians(function, x):
    """`(N, D, D)` by automatic differentiation, row by row."""
    return torch.stack([torch.func.jacrev(lambda row: function(row[None])[0][0])(row) for row in x])


def test_round_trip(make):
    for width in X:
        bijection = make(width)
        z, _ = bijection(X[width])
        torch.testing.assert_close(bijection.inverse(z), X[width], rtol=1e-9, atol=1e-9)


def test_round_trip_from_the_latent(make):
    for width in X:
        bijection = make(width)
        x = bijection.inverse(X[width])
        torch.testing.assert_close(bijection(x)[0], X[width], rtol=1e-9, atol=1e-9)


def test_ladj_is_that_of_the_jacobian(make):
    for width in X:
        bijection = make(width)
        _, ladj = bijection(X[width])
        expected = torch.linalg.slogdet(jacobians(bijection, X[width])).logabsdet
        assert ladj.shape == (ROWS,)
        torch.testing.assert_close(ladj, expected, rtol=1e-10, atol=1e-10)


def test_a_row_alone_is_the_row_in_a_batch(make):
    for width in X:
        bijection = make(width).eval()
        alone = torch.cat([bijection(row[None])[0] for row in X[width]])
        torch.testing.assert_close(alone, bijection(X[width])[0], rtol=1e-12, atol=1e-12)


def test_every_weight_gets_a_gradient_and_moves(make):
    bijection = make(5)
    before = copy.deepcopy(dict(bijection.named_parameters()))
    if not before:
        return
    optimizer = torch.optim.Adam(bijection.parameters(), lr=1e-2)
    z, ladj = bijection(X[5])
    (0.5 * z.square().sum(1) - ladj).mean().backward()
    for name, value in bijection.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.abs().max() > 0, name
    optimizer.step()
    for name, value in bijection.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_the_generator_decides_the_weights():
    for make in BIJECTIONS.values():
        one, two = make(5).state_dict(), make(5).state_dict()
        assert all(torch.equal(one[name], two[name]) for name in one)


# -- ActNorm -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(200, 4), (50, 4, 3, 5)])
def test_initialised_from_data(shape):
    x = normal(*shape) * 3 + 1
    norm = ActNorm(4).double()
    norm.init_from_data(x)
    channels = norm(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(4).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(4).double(), rtol=1e-12, atol=0)


def test_ladj_of_channels_counts_every_position():
    norm = stirred(ActNorm(2))
    x = normal(3, 2, 2, 2)
    flat = lambda row: norm(row.reshape(1, 2, 2, 2))[0].flatten()  # noqa: E731
    expected = torch.linalg.slogdet(torch.func.jacrev(flat)(x[0].flatten())).logabsdet
    torch.testing.assert_close(norm(x)[1], expected.expand(3))
    torch.testing.assert_close(norm.inverse(norm(x)[0]), x)


def test_unchanged_by_a_second_batch_and_by_reload():
    norm = ActNorm(3).double()
    norm.init_from_data(normal(50, 3) * 2)
    kept = copy.deepcopy(norm.state_dict())
    norm.train()(normal(50, 3, seed=1) + 9)
    again = ActNorm(3).double()
    again.load_state_dict(kept)
    again.train()(normal(50, 3, seed=2) - 9)
    for name, value in kept.items():
        assert torch.equal(norm.state_dict()[name], value)
        assert torch.equal(again.state_dict()[name], value)


def test_a_constant_channel_is_not_blown_up():
    x = normal(50, 3)
    x[:, 1] = 4.0
    norm = ActNorm(3).double()
    norm.init_from_data(x)
    z, ladj = norm(x + 0.1)
    assert torch.isfinite(z).all()
    assert torch.isfinite(ladj).all()
    torch.testing.assert_close(z[:, 1], torch.ones(50).double())


# -- linear, splines, couplings ------------------------------------------------------------------------------


def test_linear_starts_as_a_rotation():
    linear = InvertibleLinear(6, generator()).double()
    x = normal(4, 6)
    z, ladj = linear(x)
    torch.testing.assert_close(z.norm(dim=1), x.norm(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(ladj, torch.zeros(4).double(), rtol=0, atol=1e-6)


def test_linear_far_moved_stays_invertible():
    linear = stirred(InvertibleLinear(5, generator()), scale=1.0)
    torch.testing.assert_close(linear.inverse(linear(X[5])[0]), X[5], rtol=1e-7, atol=1e-7)


def test_spline_outside_is_the_identity():
    spline = Spline(normal(4, 3, 14), bound=2.0)
    far = torch.tensor([[-2.0, 2.0, 30.0]] * 4, dtype=torch.float64)
    y, log_slope = spline.forward(far)
    assert torch.equal(y, far)
    assert torch.equal(log_slope, torch.zeros_like(far))
    assert torch.equal(spline.inverse(far), far)


def test_spline_of_zeros_is_the_identity():
    x = torch.linspace(-1.9, 1.9, 12, dtype=torch.float64).reshape(4, 3)
    y, log_slope = Spline(torch.zeros(4, 3, 14, dtype=torch.float64), bound=2.0).forward(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-12)


def test_spline_rises_and_is_smooth_at_its_knots():
    raw = normal(1, 1, 14, seed=5).expand(4001, 1, 14)
    x = torch.linspace(-2.2, 2.2, 4001, dtype=torch.float64)[:, None]
    y, log_slope = Spline(raw, bound=2.0).forward(x)
    slope = (y[2:] - y[:-2]) / (x[2:] - x[:-2])
    assert (slope > 0).all()
    torch.testing.assert_close(slope, log_slope.exp()[1:-1], rtol=0.02, atol=0.02)


def test_the_first_half_passes():
    for make in (AffineCoupling, SplineCoupling):
        coupling = stirred(make(5, (8,), generator=generator()))
        assert torch.equal(coupling(X[5])[0][:, :2], X[5][:, :2])


def test_the_scale_of_an_affine_coupling_is_bounded():
    coupling = stirred(AffineCoupling(4, (8,), generator()), scale=50.0)
    assert coupling(normal(100, 4) * 100)[1].abs().max() <= 2 * STEEPEST


def test_the_net_of_a_coupling_is_bounded():
    body = stirred(TanhNet(3, (8, 8), 2, generator()))
    far = body(normal(5, 3) * 1e9)
    assert far.abs().max() <= sum(p.abs().sum() for p in (body.weights[-1], body.biases[-1]))
