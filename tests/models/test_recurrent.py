"""Laws of the recurrent energy, in float64: its gradient, causality, padding, and reading step by step."""

import copy
import math

import pytest
import torch

from laws import autograd_gradient, finite_difference, generator, normal, randomise
from upland.models.base import EnergyModel
from upland.models.recurrent import Conditional, RecurrentEnergy
from upland.training.objectives import denoising, sliced

WIDTH, ROWS, TIME = 3, 4, 9
CELLS = ["gru", "lstm", "rnn"]
X = normal(ROWS, TIME, WIDTH, seed=1)
LENGTHS = [9, 5, 1, 7]


def recurrent(cell="gru", frame=4, hidden=(8, 6), width=WIDTH, context=0):
    """A model of steps of `width` values, the last `context` of which it is conditioned on."""
    sizes = {"state": 5, "frame": frame, "cell": cell, "context_width": context}
    model = RecurrentEnergy(width - context, hidden, generator=generator(), **sizes)
    return randomise(model.double())


KINDS = [*((cell, frame, 0) for cell in CELLS for frame in (1, 4)), ("lstm", 1, 2), ("lstm", 4, 1)]


@pytest.fixture(params=KINDS, ids=lambda p: f"{p[0]}-{p[1]}-context-{p[2]}")
def model(request):
    cell, frame, context = request.param
    return recurrent(cell, frame, context=context)


def ragged(extra=0):
    """The sequences of X at lengths of their own, NaN behind them."""
    x = torch.full((ROWS, TIME + extra, WIDTH), torch.nan, dtype=X.dtype)
    for row, length in enumerate(LENGTHS):
        x[row, :length] = X[row, :length]
    return x


def close(one, two, tolerance=1e-12):
    torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


# -- the energy and its gradient -----------------------------------------------------------------------------


def test_one_energy_a_sequence_and_one_factor_a_step(model):
    points, conditional = model.factors(X)
    assert points.shape == (ROWS * TIME, model.frame * model.width)
    assert conditional.energy(points).shape == (ROWS * TIME,)
    close(model.energy(X), conditional.energy(points).reshape(ROWS, TIME).sum(1))
    assert torch.equal(model(X), model.energy(X))


def test_reconstruction_is_the_point_minus_the_gradient_with_the_state_held(model):
    points, conditional = model.factors(X)
    points, conditional = points.detach(), model.given(context_of(model, X).detach())
    close(conditional.reconstruct(points), points - autograd_gradient(conditional, points))


def context_of(model, x):
    return model.advance(model.start(x.shape[0]), x)[1].flatten(0, 1)


@pytest.mark.parametrize("offset", [-40.0, 40.0])
def test_reconstruction_far_from_the_data(model, offset):
    """PyTorch's softplus is linear from 20, where the sigmoid is still 2e-9 away from 1."""
    far = (model.factors(X)[0] + offset).detach()
    conditional = model.given(context_of(model, X).detach())
    close(conditional.reconstruct(far), far - autograd_gradient(conditional, far), 1e-7)


def test_gradient_is_the_finite_difference(model):
    points, conditional = model.factors(X)
    slope = finite_difference(conditional.energy, points)
    torch.testing.assert_close(
        (points - conditional.reconstruct(points)).detach(), slope, rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("cell", CELLS)
def test_the_paper_written_out(cell):
    """A frame of one step: every step by a loop over time, with PyTorch's own cell."""
    model = recurrent(cell, frame=1)
    step = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell, "rnn": torch.nn.RNNCell}[cell](
        WIDTH, 5
    ).double()
    step.load_state_dict({name.removesuffix("_l0"): value for name, value in model.net.state_dict().items()})
    of_prior, *of_biases = model.of_context.split([WIDTH, 8, 6])
    state = hidden = torch.zeros(ROWS, 5, dtype=X.dtype)
    state = (state, state) if cell == "lstm" else state
    total = torch.zeros(ROWS, dtype=X.dtype)
    for t in range(TIME):
        h = X[:, t]
        for w, b, of in zip(model.weights, model.biases, of_biases, strict=True):
            h = torch.log1p(torch.exp(h @ w.T + b + hidden @ of.T))
        prior = model.prior + hidden @ of_prior.T
        total = total + 0.5 * (X[:, t] - prior).square().sum(1) - h.sum(1)
        state = step(X[:, t], state)
        hidden = state[0] if cell == "lstm" else state
    close(model.energy(X), total)


def test_a_frame_is_the_last_steps_given_what_was_read_before_them():
    model = recurrent(frame=4)
    points, context, _ = model.advance(model.start(ROWS), X)
    states = model.net(X)[0]
    for t in range(TIME):
        shown = torch.stack(
            [X[:, s] if s >= 0 else torch.zeros_like(X[:, 0]) for s in range(t - 3, t + 1)], dim=1
        )
        assert torch.equal(points[:, t], shown.flatten(1))
        before = states[:, t - 4] if t >= 4 else torch.zeros_like(states[:, 0])
        close(context[:, t], before)


@pytest.mark.parametrize("frame", [1, 4])
def test_context_inputs_condition_the_step_that_they_stand_at_and_are_no_part_of_it(frame):
    """They are known at time t: the energy of step t depends on those of t, its point does not."""
    model = recurrent("lstm", frame, context=1)
    points, context, _ = model.advance(model.start(ROWS), X)
    assert context.shape[2] == 5 + frame
    states = model.net(X)[0]
    for t in range(TIME):
        last = [X[:, s, -1] if s >= 0 else torch.zeros_like(X[:, 0, 0]) for s in range(t - frame + 1, t + 1)]
        close(context[:, t, 5:], torch.stack(last, 1))
        close(context[:, t, :5], states[:, t - frame] if t >= frame else torch.zeros_like(states[:, 0]))
    other = X.clone()
    other[:, 5, -1] += 1.0
    points_2, context_2, _ = model.advance(model.start(ROWS), other)
    assert torch.equal(points, points_2)
    one, two = (model.given(h.flatten(0, 1)).energy(points.flatten(0, 1)) for h in (context, context_2))
    change = (one - two).abs().reshape(ROWS, TIME)
    assert torch.equal(change[:, :5], torch.zeros_like(change[:, :5]))
    assert (change[:, 5:] > 0).all()


def test_float32_agrees_with_float64_far_from_the_data():
    model = RecurrentEnergy(WIDTH, (8, 8), frame=2, generator=generator())
    far, precise = torch.full((2, TIME, WIDTH), 720.0), copy.deepcopy(model).double()
    torch.testing.assert_close(model.energy(far), precise.energy(far.double()), rtol=1e-6, atol=0)
    points, conditional = model.factors(far)
    exact = precise.factors(far.double())[1].reconstruct(points.double())
    torch.testing.assert_close(conditional.reconstruct(points).double(), exact, rtol=1e-5, atol=1e-4)


# -- what may depend on what ---------------------------------------------------------------------------------


def test_what_comes_later_changes_nothing_before_it(model):
    for t in range(TIME - 1):
        other = X.clone()
        other[:, t + 1 :] += normal(ROWS, TIME - t - 1, WIDTH, seed=5)
        (points, context, _), (points_2, context_2, _) = (
            model.advance(model.start(ROWS), x) for x in (X, other)
        )
        seen = slice(0, t + 1)
        assert torch.equal(points[:, seen], points_2[:, seen])
        assert torch.equal(context[:, seen], context_2[:, seen])
        one, two = (
            model.given(h[:, seen].flatten(0, 1)).energy(p[:, seen].flatten(0, 1))
            for p, h in ((points, context), (points_2, context_2))
        )
        assert torch.equal(one, two)


def test_a_step_changes_the_energy_of_every_later_step(model):
    """The history counts: nothing is cut off."""
    other = X.clone()
    other[:, 0] += 1.0
    one, two = (model.factors(x) for x in (X, other))
    change = (one[1].energy(one[0]) - two[1].energy(two[0])).abs().reshape(ROWS, TIME)
    assert (change > 0).all()


@pytest.mark.parametrize("extra", [0, 1, 6])
def test_padding_does_not_leak(model, extra):
    together = ragged(extra)
    alone = torch.cat([model.energy(X[row : row + 1, :n]) for row, n in enumerate(LENGTHS)])
    close(model.energy(together), alone)
    points, conditional = model.factors(together)
    assert points.shape[0] == sum(LENGTHS)
    parts = [model.factors(X[row : row + 1, :n]) for row, n in enumerate(LENGTHS)]
    close(points, torch.cat([p for p, _ in parts]))
    close(conditional.energy(points), torch.cat([energy.energy(p) for p, energy in parts]))
    close(conditional.reconstruct(points), torch.cat([energy.reconstruct(p) for p, energy in parts]))


def test_padding_does_not_leak_into_the_training_gradient(model):
    """The noise is drawn per point, so that the losses are of the same draws."""
    gradients = []
    for x in (ragged(0), ragged(5)):
        model.zero_grad()
        denoising(model, x, 0.5, generator(3)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert torch.isfinite(one).all()
        close(one, two)


def test_equivariant_under_a_permutation_of_sequences(model):
    order = torch.randperm(ROWS, generator=generator())
    close(model.energy(ragged()[order]), model.energy(ragged())[order], 1e-13)


# -- reading step by step ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_reading_on_equals_reading_at_once(model, dtype, tolerance):
    model.to(dtype)
    x = X.to(dtype)
    whole = model.advance(model.start(ROWS), x)
    at_once = model.given(whole[1].flatten(0, 1)).energy(whole[0].flatten(0, 1))
    for pieces in ([1] * TIME, [2, 7], [4, 4, 1], [8, 1]):
        state, points, contexts = model.start(ROWS), [], []
        for piece in x.split(pieces, dim=1):
            point, context, state = model.advance(state, piece)
            points.append(point)
            contexts.append(context)
        assert torch.equal(torch.cat(points, dim=1), whole[0])
        close(torch.cat(contexts, dim=1), whole[1], tolerance)
        for part, part_at_once in zip(state, whole[2], strict=True):
            close(part, part_at_once, tolerance)
        energies = model.given(torch.cat(contexts, 1).flatten(0, 1)).energy(whole[0].flatten(0, 1))
        close(energies, at_once, tolerance)


def test_a_state_is_not_changed_by_reading_on(model):
    _, _, state = model.advance(model.start(ROWS), X)
    before = [part.clone() for part in state]
    first, second = (model.advance(state, X)[1] for _ in range(2))
    assert torch.equal(first, second)
    for part, kept in zip(state, before, strict=True):
        assert torch.equal(part, kept)


# -- training ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_every_weight_gets_a_gradient_and_moves(model, objective):
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        objective(model, ragged(), 1.0, generator(step)).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None, name
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.abs().max() > 0, name
        optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_training_gradient_equals_that_of_double_backward(model, objective, monkeypatch):
    by_hand, twice = copy.deepcopy(model), copy.deepcopy(model)
    one = objective(by_hand, X, 0.6, generator(5))
    one.backward()
    monkeypatch.setattr(Conditional, "reconstruct", EnergyModel.reconstruct)
    two = objective(twice, X, 0.6, generator(5))
    two.backward()
    torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-12)
    for (name, a), b in zip(by_hand.named_parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-11, msg=name)


def test_initial_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (RecurrentEnergy(WIDTH, (8, 4), frame=2, generator=generator(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    other = RecurrentEnergy(WIDTH, (8, 4), frame=2, generator=generator(8))
    drawn = [name for name, _ in one.named_parameters() if name != "prior" and not name.startswith("biases")]
    weights = [dict(m.named_parameters()) for m in (one, two, other)]
    for name in drawn:
        assert torch.equal(weights[0][name], weights[1][name]), name
        assert not torch.equal(weights[0][name], weights[2][name]), name


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="gru, lstm, rnn, got 'transformer'"):
        RecurrentEnergy(WIDTH, cell="transformer")


# -- log Z ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(8,), (8, 6), (8, 6, 5)])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_log_partition_is_that_of_quadrature_in_one_dimension(hidden, sigma):
    model = randomise(recurrent(frame=1, hidden=hidden, width=1), seed=2, scale=0.5)
    context = normal(12, 5, seed=4)
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    with torch.no_grad():
        each = [model.given(h.expand(grid.numel(), -1)).energy(grid[:, None]) for h in context.split(1)]
    expected = torch.logsumexp(-torch.stack(each) / sigma**2, dim=1) + math.log(80 / 40_000)
    estimate = model.given(context).log_partition(sigma)
    torch.testing.assert_close(estimate, expected, rtol=0, atol=0.01)
    assert estimate.std() > 0.01  # it does depend on the history


def test_log_partition_is_exact_where_the_hidden_units_see_nothing():
    """Without weights p(x | h) is N(b', sigma^2) in every dimension, times a constant."""
    model = recurrent()
    with torch.no_grad():
        model.weights[0].zero_()
    conditional = model.given(normal(6, 5, seed=4))
    width, sigma = model.frame * WIDTH, 0.4
    expected = (
        0.5 * width * math.log(2 * math.pi * sigma**2) - conditional.energy(conditional.prior) / sigma**2
    )
    close(conditional.log_partition(sigma), expected.detach(), 1e-9)


def test_log_partition_is_deterministic_and_of_each_context_alone():
    model = recurrent()
    context = normal(200, 5, seed=4)
    state = torch.get_rng_state()
    estimate = model.given(context).log_partition(0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(estimate, model.given(context).log_partition(0.5))
    close(model.given(context[150:160]).log_partition(0.5), estimate[150:160], 1e-9)
