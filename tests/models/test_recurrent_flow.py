"""Laws of the recurrent flow, in float64: density, Jacobian, samples, causality, padding, single steps."""

import math

import pytest
import torch

from laws import autograd_gradient, generator, normal, randomise
from upland.models.recurrent_flow import RecurrentFlow

ROWS, TIME = 4, 9
LENGTHS = [9, 5, 1, 7]
WIDTHS = [1, 3]


def flow(width=3, lags=4, features=6):
    """A flow with weights of ordinary size everywhere, its forecast and whitening among them."""
    model = RecurrentFlow(width, lags, (8, 6), features, state=5, generator=generator()).double()
    randomise(model, scale=0.4)
    regression = model.regression
    regression.coefficients.copy_(0.2 * normal(*regression.coefficients.shape, seed=3))
    regression.constant.copy_(normal(width, seed=4))
    triangle = normal(width, width, seed=5).tril()
    with torch.no_grad():
        regression.whitening.triangle.copy_(triangle)
        regression.whitening.triangle.diagonal().copy_(triangle.diagonal().abs() + 0.5)
    return model.eval()


def x_of(model, rows=ROWS, time=TIME, seed=1):
    return normal(rows, time, model.width, seed=seed)


def given(model, x):
    points, context, _ = model.advance(model.start(len(x)), x)
    return points.flatten(0, 1).detach(), model.given(context.flatten(0, 1).detach())


def close(one, two, tolerance=1e-10):
    torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}-channels")
def model(request):
    return flow(request.param)


# -- densities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1, 5, 8])
def test_the_density_of_a_step_integrates_to_one_in_every_context(step):
    model = flow(1)
    _, context, _ = model.advance(model.start(1), x_of(model, 1))
    # Tails fall as a power of a logarithm: the grid is even in their own scale.
    grid = torch.sinh(torch.linspace(-14, 14, 200_001, dtype=torch.float64))
    for shift in (0.0, 3.0):
        here = model.given(context[:, step] + shift)
        centre = here.decode(torch.zeros(1, 1, dtype=torch.float64))
        points = centre + grid[:, None]
        several = model.given((context[:, step] + shift).expand(len(grid), -1))
        density = several.log_prob(points).detach().exp()
        assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-6)


def test_the_density_of_two_channels_integrates_to_one():
    model = flow(2)
    _, context, _ = model.advance(model.start(1), x_of(model, 1))
    axis = torch.sinh(torch.linspace(-9, 9, 501, dtype=torch.float64))
    points = torch.cartesian_prod(axis, axis)
    points = points + model.given(context[:, 5]).decode(torch.zeros(1, 2, dtype=torch.float64))
    density = model.given(context[:, 5].expand(len(points), -1)).log_prob(points).detach().exp()
    inner = torch.trapezoid(density.reshape(len(axis), -1), axis)
    assert float(torch.trapezoid(inner, axis)) == pytest.approx(1, abs=2e-3)


def test_the_log_likelihood_is_that_by_the_jacobian_of_autograd(model):
    points, conditional = given(model, x_of(model, 1, 6))
    for row in range(len(points)):
        one = model.given(torch.cat([conditional.forecast, conditional.past], 1)[row : row + 1])
        jacobian = torch.autograd.functional.jacobian(
            lambda x, one=one: one.parts(x[None])[0][0], points[row]
        )
        z = one.parts(points[row : row + 1])[0]
        base = -0.5 * z.square().sum() - 0.5 * model.width * math.log(2 * math.pi)
        close(one.log_prob(points[row : row + 1])[0], base + torch.linalg.slogdet(jacobian)[1])


def test_channels_come_one_after_the_other_and_their_parts_sum_to_the_energy(model):
    points, conditional = given(model, x_of(model))
    z, nats = conditional.parts(points)
    close(nats.sum(1), conditional.energy(points))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: conditional.parts(x)[0].sum(0), points[:1].expand_as(points)
    )
    assert z.shape == points.shape
    for first in range(model.width):
        assert not bool(jacobian[first, :, :first].any())  # none depends on a channel that comes later
        assert bool((jacobian[first, :, first] > 0).all())


def test_decoding_is_the_way_back_and_expected_the_median_of_each_channel(model):
    points, conditional = given(model, x_of(model))
    z, _ = conditional.parts(points)
    close(conditional.decode(z), points, 1e-8)
    expected = conditional.expected(points)
    for channel in range(model.width):
        swapped = points.clone()
        swapped[:, channel] = expected[:, channel]
        close(conditional.parts(swapped)[0][:, channel], torch.zeros(len(points), dtype=torch.float64), 1e-8)


def test_gradients_of_the_energy_are_finite_far_out(model):
    points, conditional = given(model, x_of(model))
    for size in (1e3, 1e6):
        far = points + size
        assert bool(autograd_gradient(conditional, far).isfinite().all())
        assert bool((conditional.energy(far) < 2_000 * model.width).all())


def test_latents_of_the_models_own_samples_are_white():
    """Mean, variance and the correlation of neighbours in time within the error of so many draws."""
    for width in WIDTHS:
        model = flow(width)
        x = model.sample(400, 12, generator(2))
        z = given(model, x)[1].parts(x.flatten(0, 1))[0].reshape(x.shape).detach()
        count = z[..., 0].numel()
        error = 4 / math.sqrt(count)
        assert float(z.mean((0, 1)).abs().max()) < error
        assert float((z.var((0, 1)) - 1).abs().max()) < math.sqrt(2) * error
        lagged = (z[:, 1:, :, None] * z[:, :-1, None]).mean((0, 1))
        assert float(lagged.abs().max()) < error * math.sqrt(12 / 11)


# -- sequences -----------------------------------------------------------------------------------------------


def test_the_likelihood_of_a_sequence_is_the_sum_over_its_steps(model):
    x = x_of(model)
    points, conditional = given(model, x)
    close(model.log_prob(x), conditional.log_prob(points).reshape(ROWS, TIME).sum(1))


def test_padding_changes_nothing(model):
    x = x_of(model)
    padded = torch.full((ROWS, TIME + 3, model.width), torch.nan, dtype=x.dtype)
    for row, length in enumerate(LENGTHS):
        padded[row, :length] = x[row, :length]
    alone = torch.cat([model.log_prob(x[row : row + 1, :length]) for row, length in enumerate(LENGTHS)])
    close(model.log_prob(padded), alone)


def test_no_step_depends_on_later_ones(model):
    x, changed = x_of(model), x_of(model)
    changed[:, 5:] += 1
    one, two = (given(model, part)[1].past.reshape(ROWS, TIME, -1) for part in (x, changed))
    close(one[:, :6], two[:, :6])
    assert not torch.allclose(one[:, 6:], two[:, 6:])


@pytest.mark.parametrize("cuts", [[1] * TIME, [4, 5], [2, 3, 4]])
def test_reading_in_pieces_is_reading_at_once(model, cuts):
    x = x_of(model)
    _, whole, last = model.advance(model.start(ROWS), x)
    state, found = model.start(ROWS), []
    for piece in x.split(cuts, 1):
        before = [part.clone() for part in state]
        _, context, after = model.advance(state, piece)
        assert all(torch.equal(a, b) for a, b in zip(state, before, strict=True))  # never changed in place
        state = after
        found.append(context)
    close(torch.cat(found, 1), whole)
    for one, two in zip(state, last, strict=True):
        close(one, two)


def test_series_read_side_by_side_may_be_of_any_age(model):
    x = x_of(model)
    _, _, old = model.advance(model.start(ROWS), x)
    both = type(old)(*(torch.cat(parts) for parts in zip(old, model.start(ROWS), strict=True)))
    more = x_of(model, seed=7)
    _, together, _ = model.advance(both, torch.cat([more, more]))
    close(together[:ROWS], model.advance(old, more)[1])
    close(together[ROWS:], model.advance(model.start(ROWS), more)[1])


def test_the_same_generator_gives_the_same_weights():
    one, two, other = (RecurrentFlow(2, 3, (8, 4), generator=generator(seed)) for seed in (7, 7, 8))
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.past.weights[0], other.past.weights[0])
