"""Energies of whole sequences: laws of every part, and what each of them finds."""

import numpy as np
import pytest
import torch

import upland
from upland.criteria.sequence import EncodedSequences
from upland.criteria.whole import experts
from upland.criteria.whole.aligned import Aligned, path, warped
from upland.criteria.whole.experts import PARTS, WholeExperts
from upland.criteria.whole.gaussian import shrunk_gaussian
from upland.criteria.whole.part import VectorPart, folds
from upland.criteria.whole.resampling import from_grid, on_grid, resampling


def waves(count, seed, speed=0.5, length=24, size=1.0):
    """Two channels; the second follows the first."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 1, (count, 1)) + speed * np.arange(length)
    both = size * np.stack([np.sin(phase), np.sin(phase - 0.5)], axis=2)
    return both + 0.1 * generator.normal(size=both.shape)


def together(sequences):
    codes = torch.from_numpy(np.concatenate(sequences).astype(np.float32))
    return EncodedSequences(lambda start, stop: codes[start:stop], np.array([len(s) for s in sequences]))


@pytest.fixture(scope="module")
def detector():
    return upland.SequenceEnergyDetector(calibration="split", epochs=2, progress=False, random_state=0).fit(
        waves(100, 0)
    )


@pytest.fixture(scope="module")
def criterion(detector):
    return detector.members_[0].criteria["experts", "sequence"]


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", PARTS)
def test_a_part_tells_what_it_knows_from_what_it_does_not(made):
    part = made()
    left_out = part.fit(list(waves(20, 0)))
    assert left_out.shape == (20,)
    new = part.energies(list(waves(40, 1)))
    other = part.energies(list(waves(10, 2, speed=1.1)))
    assert 0.5 < np.median(left_out) / np.median(new) < 2  # as if each had been left out
    assert other.min() > np.quantile(new, 0.9)


@pytest.mark.parametrize("made", PARTS)
def test_a_parts_arrays_are_all_that_it_has_learned(made):
    part = made()
    part.fit(list(waves(12, 0)))
    arrays = part.arrays()
    again = made().restore(arrays, 2)
    x = [*waves(3, 1), waves(1, 2, length=40)[0], waves(1, 3, length=7)[0]]
    np.testing.assert_array_equal(again.energies(x), part.energies(x))
    for steps in x:
        np.testing.assert_array_equal(again.shares(steps), part.shares(steps))


@pytest.mark.parametrize("made", PARTS)
def test_shares_of_a_part_are_of_each_value_and_sum_to_its_squared_energy(made):
    part = made()
    part.fit(list(waves(12, 0)))
    for steps in (waves(1, 1)[0], waves(1, 1, length=31)[0], waves(1, 1, length=9)[0]):
        shares, energy = part.shares(steps), part.energies([steps])[0]
        assert shares.shape == steps.shape
        # of a distance under alignment: mean over grid and channels
        scale = 1.0 if isinstance(part, VectorPart) else part.normal[0].size
        assert shares.sum() == pytest.approx(scale * energy**2, rel=1e-9)


@pytest.mark.parametrize("made", PARTS)
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_part_is_fitted_on_few_sequences_of_any_length(made, width, count):
    generator = np.random.default_rng(0)
    sequences = [generator.normal(size=(length, width)) for length in (2, 9, 30, 4, 1)[:count]]
    part = made()
    assert np.isfinite(part.fit(sequences)).all()
    assert np.isfinite(part.energies(sequences)).all()


@pytest.mark.parametrize("made", PARTS)
def test_constant_sequences_are_like_each_other(made):
    part = made()
    part.fit([np.ones((10, 2))] * 6)
    same, other = part.energies([np.ones((10, 2)), np.linspace(0, 3, 20).reshape(10, 2)])
    assert same < 1e-6 < 0.05 < other


# -- alignment, grids, Gaussians -------------------------------------------------------------------


def test_alignment_forgives_a_short_delay_and_no_long_one():
    bump = np.exp(-0.5 * ((np.arange(60) - 30) / 3.0) ** 2)[:, None]
    part = Aligned()
    part.fit([bump, bump * 1.01])
    at_once, later, late = (part.energies([np.roll(bump, by, axis=0)])[0] for by in (0, 4, 20))
    assert max(at_once, later) < 1e-6
    assert late > 0.05


def test_the_distance_is_the_least_over_all_paths():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 8, 2))

    def least(i, j):
        if abs(i - j) > 1:
            return np.inf
        here = ((x[i] - y[j]) ** 2).sum()
        before = [least(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
        return here + (min(before) if before else 0.0)

    wanted = least(7, 7)
    assert warped(x[None], y[None])[0, 0] ** 2 * 16 == pytest.approx(wanted)
    assert sum(((x[i] - y[j]) ** 2).sum() for i, j in path(x, y)) == pytest.approx(wanted)


@pytest.mark.parametrize(("steps", "length"), [(7, 7), (5, 12), (30, 12), (13, 1), (1, 4), (1000, 512)])
def test_a_grid_keeps_constants_and_the_sum_of_shares(steps, length):
    np.testing.assert_allclose(resampling(steps, length).sum(1), 1.0)
    assert on_grid([np.full((steps, 2), 3.0)], length) == pytest.approx(np.full((1, length, 2), 3.0))
    shares = np.random.default_rng(0).normal(size=(length, 2))
    np.testing.assert_allclose(from_grid(shares, steps).sum(0), shares.sum(0), atol=1e-12)


def test_the_energy_is_that_of_the_shrunk_covariance_and_is_shared_out():
    vectors = np.random.default_rng(0).normal(size=(8, 20)) * np.linspace(0.1, 3, 20)
    gaussian = shrunk_gaussian(vectors)
    inverse = gaussian.level[0] * np.eye(20) + (gaussian.axes.T * gaussian.gains) @ gaussian.axes
    z = (vectors[0] + 1 - gaussian.center) / gaussian.scale
    energy = gaussian.energies(vectors[:1] + 1)[0]
    assert energy**2 == pytest.approx(z @ inverse @ z / 20)
    away = vectors[0] + 1 - gaussian.center
    assert (gaussian.pull(vectors[0] + 1) * away).sum() == pytest.approx(energy**2)
    assert np.linalg.eigvalsh(inverse).min() > 0


def test_each_sequence_is_left_out_once_with_its_neighbours():
    for n in (2, 5, 33):
        left_out = np.stack(list(folds(n)))
        np.testing.assert_array_equal(left_out.sum(0), 1)
        assert all(np.ptp(np.flatnonzero(row)) + 1 == row.sum() for row in left_out)


# -- joined ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (waves(4, 5, speed=0.8), "another rhythm"),
        (waves(4, 5, size=0.1), "calmer than normal"),
        (waves(4, 5)[:, :, ::-1], "swapped channels"),
        (waves(4, 5) + 2.0, "another level"),
    ],
)
def test_what_is_odd_in_any_way_scores_above_normal_sequences(detector, odd, reason):
    assert detector.anomaly_score(odd).min() > 1.5 * detector.anomaly_score(waves(40, 6)).max(), reason


def test_normal_scores_are_about_one(detector):
    scores = detector.anomaly_score(waves(100, 7))
    assert 0.3 < np.median(scores) < 2


def test_shares_sum_to_the_score_and_point_at_the_fault(detector):
    x = waves(6, 8)
    x[:, 10:14, 1] += 1.5
    found = np.stack(upland.explain(detector, x).shares)
    np.testing.assert_allclose(found.sum((1, 2)), detector.anomaly_score(x), rtol=1e-9)
    steps = found.sum(2)
    assert (steps[:, 8:16].sum(1) > 0.5 * steps.sum(1)).all()
    assert (found[:, 8:16, 1].sum(1) > found[:, 8:16, 0].sum(1)).all()


def test_a_score_depends_on_its_sequence_alone(criterion, monkeypatch):
    x = [*waves(3, 9), waves(1, 10, length=300)[0], waves(1, 11, length=5)[0]]
    scores = criterion.score(together(x))
    alone = [criterion.score(together([one]))[0] for one in x]
    np.testing.assert_allclose(alone, scores, rtol=1e-9)
    monkeypatch.setattr(experts, "TOGETHER", 2)
    np.testing.assert_allclose(criterion.score(together(x)), scores, rtol=1e-9)


def test_a_long_sequence_is_read_in_pieces_of_the_normal_length(criterion):
    longest = int(criterion.longest)
    usual, long = waves(40, 12), waves(6, 13, length=6 * longest)
    assert criterion.score(together(list(long))).max() < 3 * criterion.score(together(list(usual))).max()
    read = []
    x = together([long[0]])
    codes = lambda start, stop: read.append(stop - start) or x.codes(start, stop)  # noqa: E731
    list(experts._together(EncodedSequences(codes, x.lengths), longest))
    assert sum(read) == 6 * longest
    assert max(read) <= longest


BROKEN = {
    "lacks a part": lambda state: state.pop("aligned/normal"),
    "has another part": lambda state: state.update({"more/normal": torch.zeros(1, dtype=torch.float64)}),
    "NaN": lambda state: state["values/center"].fill_(torch.nan),
    "no deviation": lambda state: state["join/deviations"].zero_(),
    "one deviation": lambda state: state.update({"join/deviations": torch.ones(1, dtype=torch.float64)}),
    "no length": lambda state: state["join/longest"].zero_(),
    "a huge grid": lambda state: state["convolutions/length"].fill_(1e12),
    "a huge spectrum": lambda state: state["summaries/length"].fill_(1e12),
    "another channel": lambda state: state["convolutions/layout"].fill_(7.0),
    "no scale": lambda state: state["summaries/scale"].zero_(),
    "sequences of other channels": lambda state: state.update(
        {"aligned/normal": torch.ones(3, 4, 5, dtype=torch.float64)}
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_state_that_cannot_be_is_refused(criterion, how):
    state = {name: value.clone() for name, value in criterion.state().items()}
    WholeExperts("sequence").check_state(criterion.model, state)
    BROKEN[how](state)
    with pytest.raises(ValueError):
        WholeExperts("sequence").check_state(criterion.model, state)
