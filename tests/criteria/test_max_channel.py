"""The largest smoothed residual of any channel, against an exponential mean by hand."""

import numpy as np
import pytest
import torch

from laws import generator, normal, randomise
from upland.criteria import reading
from upland.criteria.max_channel import channel_levels, channel_reference, channel_tests
from upland.criteria.reading import precise
from upland.models.recurrent import RecurrentEnergy

WIDTH, FRAME = 3, 2
LENGTHS = np.array([6, 1, 25])
STARTS = np.cumsum(LENGTHS) - LENGTHS
CODES = normal(int(LENGTHS.sum()), WIDTH, seed=3).float()
USUAL = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)


def read(start, stop):
    return CODES[start:stop]


@pytest.fixture(scope="module")
def model():
    return randomise(RecurrentEnergy(WIDTH, (5,), state=3, frame=FRAME, generator=generator()), scale=0.5)


@pytest.fixture(scope="module")
def squares(model):
    """Squared residuals of the last step of each frame, each sequence read alone."""
    exact, found = precise(model), []
    for start, length in zip(STARTS, LENGTHS, strict=True):
        x = CODES[start : start + length].double()[None]
        with torch.no_grad():
            points, context, _ = exact.advance(exact.start(1), x)
            away = points[0] - exact.given(context[0]).reconstruct(points[0])
        found.append(away[:, -WIDTH:].square().numpy())
    return found


@pytest.mark.parametrize("span", [1, 4, 30])
def test_levels_are_exponential_means_that_start_from_what_is_usual(model, squares, span):
    share, expected = 2 / (span + 1), []
    for part in squares:
        level = USUAL.numpy()
        for square in part:
            level = (1 - share) * level + share * square
            expected.append(level)
    levels = channel_levels(model, read, LENGTHS, USUAL, span)
    np.testing.assert_allclose(levels, expected, rtol=1e-9)
    scores = channel_tests(model, read, LENGTHS, USUAL, span)
    np.testing.assert_allclose(scores, np.max(expected, axis=1), rtol=1e-9)


def test_what_is_usual_is_the_mean_over_the_wanted_steps(model, squares):
    wanted = np.array([0, 4, 6, 20])
    expected = np.concatenate(squares)[wanted].mean(0)
    np.testing.assert_allclose(channel_reference(model, read, LENGTHS, wanted), expected, rtol=1e-9)


@pytest.mark.parametrize(("stretch", "together"), [(1, 1), (4, 8), (1_000, 20)])
def test_stretches_of_any_length_agree(model, stretch, together, monkeypatch):
    whole = channel_levels(model, read, LENGTHS, USUAL, 5)
    monkeypatch.setattr(reading, "STRETCH", stretch)
    monkeypatch.setattr(reading, "TOGETHER", together)
    torch.testing.assert_close(channel_levels(model, read, LENGTHS, USUAL, 5), whole, rtol=1e-10, atol=1e-10)


def test_a_fault_in_one_channel_of_many_stands_out(model):
    usual = channel_reference(model, read, LENGTHS, np.arange(LENGTHS.sum()))
    broken = CODES.clone()
    broken[-10:, 1] += 8.0
    before = channel_tests(model, read, LENGTHS, usual, 4)
    after = channel_tests(model, lambda start, stop: broken[start:stop], LENGTHS, usual, 4)
    torch.testing.assert_close(after[:-10], before[:-10], rtol=1e-10, atol=1e-10)
    assert (after[-8:] > 2 * before.max()).all()
