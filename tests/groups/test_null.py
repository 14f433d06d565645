"""Laws of group p-values: super-uniform over redraws of the reference, the same for the same, never with
replacement.
"""

import math

import numpy as np
import pytest
import torch

from latents import latent_outputs
from laws import assert_level, normal
from upland.groups import null as null_module
from upland.groups.auto import auto
from upland.groups.draws import ENOUGH_EXCEEDED, FEW_EXCEEDED, MOST_BLOCK, chosen_rows
from upland.groups.null import LEAST_DRAWS, Null

REDRAWS = 300


def features(rows):
    return torch.cat([rows, rows.square()], 1)


def divergence(means, sizes):
    """KL of each column's moments to N(0, 1), summed; it has a law of its own at every size."""
    mean, second = means.chunk(2, 1)
    spread = (second - mean.square()).clamp(min=1e-9) * (1 - 0.5 / sizes[:, None]) + 0.5 / sizes[:, None]
    return (0.5 * (second - 1 - spread.log())).sum(1)


@pytest.mark.parametrize(
    ("n", "rows", "method"),
    [
        (1, 60, "disjoint groups"),
        (2, 60, "disjoint groups"),
        (2, 30, "permutation"),
        (5, 120, "disjoint groups"),
        (5, 40, "permutation"),
        (25, 500, "disjoint groups"),
        (25, 100, "permutation"),
        (25, 20, "permutation"),
    ],
)
def test_p_values_of_normal_groups_are_super_uniform(n, rows, method):
    draws = normal(REDRAWS, rows + n, 2, seed=n + rows)
    found = []
    for draw in draws:
        null = Null(features(draw[n:]), divergence)
        assert null.method(n) == method
        found.append(null.p_value(features(draw[:n])))
        assert found[-1].method == method
        assert found[-1].smallest <= found[-1].p <= 1
    for alpha in (0.05, 0.2, 0.5):
        assert_level([one.p for one in found], alpha, rows // n if method == "disjoint groups" else None)


@pytest.mark.parametrize(("n", "rows"), [(5, 200), (5, 60), (25, 60)])
def test_so_are_those_of_a_fitted_statistic(n, rows):
    """The statistic is fixed; the reference and the group are drawn again and again."""
    reference = latent_outputs(normal(300, 3, seed=1))
    statistic = auto(reference).fit(reference)
    p = []
    for draw in normal(REDRAWS, rows + n, 3, seed=2):
        phi = statistic.features(latent_outputs(draw))
        p.append(Null(phi[n:], statistic.value).p_value(phi[:n]).p)
    for alpha in (0.05, 0.3):
        assert_level(p, alpha, rows // n if rows // n >= 19 else None)


def test_with_replacement_it_would_not_hold():
    """Why the rejected procedure is: drawn groups repeat rows and miss fresh ones."""
    n, rows, hits = 20, 20, []
    draws = normal(200, rows + n, 8, seed=5)
    source = np.random.default_rng(0)
    size = torch.full((200,), n)
    for draw in draws:
        known = features(draw[n:])
        null = divergence(known[torch.from_numpy(source.integers(rows, size=(200, n)))].mean(1), size)
        statistic = divergence(features(draw[:n]).mean(0, keepdim=True), size[:1])
        hits.append(float(1 + (null >= statistic).sum()) / 201)
    rate = np.mean([p >= 0.95 for p in hits]), np.mean([p <= 0.05 for p in hits])
    assert max(rate) > 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("n", [2, 10, 80])
def test_a_far_group_has_the_smallest_p(n):
    null = Null(features(normal(100, 2)), divergence)
    found = null.p_value(features(4 + 3 * normal(n, 2, seed=1)))
    assert found.p == found.smallest == null.smallest(n)
    assert found.smallest <= 0.05


def test_the_same_input_gives_the_same_p_whatever_came_before():
    known, groups = features(normal(60, 2)), [features(normal(10, 2, seed=k)) for k in range(5)]
    null = Null(known, divergence)
    forward = [null.p_value(group) for group in groups]
    null = Null(known, divergence)
    assert [null.p_value(group) for group in reversed(groups)] == forward[::-1]
    assert Null(known, divergence, seed=7).p_value(groups[0]).p != forward[0].p


def test_shared_draws_are_the_draws_themselves():
    known, group = features(normal(30, 2)), features(normal(12, 2, seed=3))
    null = Null(known, divergence)
    other = features(normal(12, 2, seed=4))
    for start in (0, 64, 512):
        found = null._draw(torch.stack([other, group]), null._shared(12, start))[1]
        chosen = chosen_rows(42, 12, start, null.seed)
        means = torch.cat([known, group])[torch.from_numpy(chosen)].mean(1)
        torch.testing.assert_close(found, divergence(means, torch.full((len(chosen),), 12)))


def test_blocks_of_draws_follow_each_other():
    starts, sizes = [0], []
    for _ in range(7):
        sizes.append(len(chosen_rows(5, 2, starts[-1], 0)))
        starts.append(starts[-1] + sizes[-1])
    assert sizes == [64, 64, 128, 256, 512, 512, 512]


@pytest.mark.parametrize(("n", "rows"), [(5, 60), (25, 100), (5, 200), (25, 900)])
def test_the_standard_error_is_that_of_other_draws(n, rows):
    """Of draws the spread over seeds; of a partition into disjoint groups it is at most about that."""
    known = features(normal(rows, 2, seed=rows))
    for scale in (1.0, 1.1):
        group = features(scale * normal(n, 2, seed=n))
        found = [Null(known, divergence, seed=seed).p_value(group) for seed in range(80)]
        spread, error = np.std([one.p for one in found]), np.mean([one.error for one in found])
        least = 0.75 if found[0].method == "permutation" else 0.5
        assert least * error < spread < 1.3 * error


def test_p_values_near_the_rate_are_more_accurate():
    """More draws are made where the p-value is not clearly above the rate that is kept."""
    known = features(normal(60, 2))
    groups = [features(scale * normal(20, 2, seed=9)) for scale in np.linspace(0.7, 1.6, 40)]
    found = [one for one in Null(known, divergence, 1e-4).p_values(groups) if one.p > 0.002]
    near, far = ([one.error / one.p for one in found if (one.p <= 0.09) == small] for small in (True, False))
    assert near
    assert far
    assert max(near) <= 1 / np.sqrt(ENOUGH_EXCEEDED)
    assert 0 < max(far) <= 1 / np.sqrt(FEW_EXCEEDED)


def test_single_rows_take_no_draws():
    assert Null(features(normal(60, 2)), divergence).p_value(features(normal(1, 2, seed=3))).error == 0


def test_a_p_value_does_not_depend_on_those_beside_it(monkeypatch):
    known, groups = features(normal(60, 2)), [features(normal(10, 2, seed=k)) for k in range(9)]
    alone = [Null(known, divergence, 0.001).p_value(group) for group in groups]
    assert Null(known, divergence, 0.001).p_values(groups) == alone
    monkeypatch.setattr(null_module, "AT_ONCE", 1)
    assert Null(known, divergence, 0.001).p_values(groups) == alone


def test_few_distinct_draws_bound_the_smallest_p():
    null = Null(features(normal(4, 2)), divergence)
    assert null.smallest(2) == pytest.approx(1 / math.comb(6, 2))
    assert null.smallest(30) == pytest.approx(1 / (LEAST_DRAWS + 1))
    assert null.smallest(1) == pytest.approx(1 / 5)


def test_resolution_decides_the_method_and_the_draws():
    known = features(normal(200, 2))
    assert Null(known, divergence, 0.05).method(10) == "disjoint groups"
    assert Null(known, divergence, 0.01).method(10) == "permutation"
    assert Null(known, divergence, 0.05).draws == LEAST_DRAWS
    assert Null(known, divergence, 1e-4).smallest(10) == pytest.approx(5e-5)


def test_ties_count_as_reached():
    def constant(means, sizes):
        return torch.ones(len(means)).double()

    for n in (2, 50):
        assert Null(features(normal(60, 2)), constant).p_value(features(normal(n, 2))).p == 1


def test_drawing_stops_early_for_normal_groups():
    null = Null(features(normal(60, 2)), divergence, 1e-4)
    p = null.p_value(features(normal(20, 2, seed=4))).p
    assert p > 0.01
    drawn = sum(len(block.values) for block in null._blocks.values())
    assert drawn < max(2 * ENOUGH_EXCEEDED / p, ENOUGH_EXCEEDED / p + MOST_BLOCK)


@pytest.mark.parametrize("resolution", [0.0, 1.0, math.nan])
def test_a_resolution_that_is_no_probability_is_refused(resolution):
    with pytest.raises(ValueError, match="resolution must be between 0 and 1"):
        Null(features(normal(5, 2)), divergence, resolution)


def test_no_reference_is_refused():
    with pytest.raises(ValueError, match="held-out normal rows"):
        Null(torch.zeros(0, 4), divergence)
