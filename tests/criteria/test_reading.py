"""Reading sequences in stretches: every step once, in bounded memory, whatever is read beside it."""

import copy

import numpy as np
import pytest
import torch

from laws import generator, normal, randomise
from upland.criteria import reading
from upland.criteria.energy import scaled_energy
from upland.criteria.reading import precise, step_values, stretches
from upland.criteria.residuals import residual, squared_error
from upland.models.recurrent import RecurrentEnergy

WIDTH, FRAME, SIGMA = 3, 4, 0.5
LENGTHS = np.array([5, 40, 1, 12, 12, 3, 27])
STARTS = np.cumsum(LENGTHS) - LENGTHS
CODES = normal(int(LENGTHS.sum()), WIDTH, seed=1).float()
SIZES = [(1, 1), (6, 10), (13, 26), (1_000, 1_000), (8, 1_000), (1_000, 12)]


def read(start, stop):
    return CODES[start:stop]


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def model(request):
    made = RecurrentEnergy(WIDTH, (5, 4), state=3, frame=FRAME, cell=request.param, generator=generator())
    return randomise(made)


def one_by_one(function, model):
    """Each sequence alone, whole, in float64."""
    exact, found = precise(model), []
    for start, length in zip(STARTS, LENGTHS, strict=True):
        with torch.no_grad():
            points, context, _ = exact.advance(exact.start(1), CODES[start : start + length].double()[None])
            found.append(function(exact.given(context[0]), points[0], SIGMA))
    return torch.cat(found)


def at_most(monkeypatch, stretch, together, points=4_096):
    monkeypatch.setattr(reading, "STRETCH", stretch)
    monkeypatch.setattr(reading, "TOGETHER", together)
    monkeypatch.setattr(reading, "POINTS", points)


@pytest.mark.parametrize("function", [squared_error, scaled_energy, residual])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_steps_value_is_that_of_its_sequence_read_alone(model, function, sizes, monkeypatch):
    at_most(monkeypatch, *sizes, points=7)
    found = step_values(function, model, read, LENGTHS, SIGMA)
    torch.testing.assert_close(found, one_by_one(function, model), rtol=1e-10, atol=1e-10)
    assert not found.requires_grad


def test_scale_reaches_the_function(model):
    one, two = (step_values(scaled_energy, model, read, LENGTHS, sigma) for sigma in (1.0, 0.5))
    torch.testing.assert_close(two, 4 * one)


@pytest.mark.parametrize("order", [[6, 5, 4, 3, 2, 1, 0], [3, 0, 6], [1]])
def test_the_order_and_the_company_of_sequences_do_not_matter(model, order):
    whole = step_values(squared_error, model, read, LENGTHS, SIGMA).split(LENGTHS.tolist())
    codes = torch.cat([CODES[STARTS[row] : STARTS[row] + LENGTHS[row]] for row in order])
    found = step_values(squared_error, model, lambda start, stop: codes[start:stop], LENGTHS[order], SIGMA)
    torch.testing.assert_close(found, torch.cat([whole[row] for row in order]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sizes", SIZES)
def test_each_step_is_read_once_and_memory_is_bounded(model, sizes, monkeypatch):
    at_most(monkeypatch, *sizes)
    stretch, together = sizes
    asked, positions = [], []

    def watched(start, stop):
        asked.append(stop - start)
        return read(start, stop)

    for part in stretches(precise(model), watched, LENGTHS):
        n, length = part.valid.shape
        assert part.points.shape == (n, length, FRAME * WIDTH)
        assert length <= stretch
        assert n == 1 or n * min(length, stretch) <= together or length > LENGTHS[part.group].min()
        assert part.begin % stretch == 0
        positions.append(part.positions[part.valid])
        torch.testing.assert_close(
            part.points[part.valid][:, -WIDTH:].float(), CODES[part.positions[part.valid]], rtol=0, atol=0
        )
    torch.testing.assert_close(torch.cat(positions).sort().values, torch.arange(LENGTHS.sum()))
    assert max(asked) <= stretch
    assert sum(asked) == LENGTHS.sum()


def test_many_short_sequences_are_read_together(model):
    lengths = np.full(len(CODES), 1)
    assert len(list(stretches(precise(model), read, lengths))) == 1


def test_nothing_behind_the_end_of_a_sequence_is_counted(model):
    """Codes behind an end belong to the next sequence: what stands there must not matter."""
    whole = step_values(squared_error, model, read, LENGTHS, SIGMA)
    other = CODES.clone()
    other[STARTS[4] :] = 99.0
    changed = step_values(squared_error, model, lambda start, stop: other[start:stop], LENGTHS, SIGMA)
    before = STARTS[4]
    torch.testing.assert_close(changed[:before], whole[:before], rtol=1e-10, atol=1e-10)
    assert (changed[before:] > whole[before:]).all()


def test_values_are_nearly_those_of_the_models_own_precision(model):
    exact = step_values(scaled_energy, model, read, LENGTHS, SIGMA)
    with torch.no_grad():
        single = [
            model.energy(CODES[start : start + length][None]) / SIGMA**2
            for start, length in zip(STARTS, LENGTHS, strict=True)
        ]
    sums = torch.stack([part.sum() for part in exact.split(LENGTHS.tolist())])
    torch.testing.assert_close(sums, torch.cat(single).double(), rtol=1e-4, atol=1e-3)


def test_a_precise_copy_leaves_the_model_as_it_was(model):
    before = copy.deepcopy(model.state_dict())
    model.train()
    exact = precise(model)
    assert not exact.training
    assert all(value.dtype == torch.float64 for value in exact.parameters())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        next(exact.parameters()).zero_()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
