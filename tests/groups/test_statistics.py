"""Laws of every statistic of groups: means of means, far outranks near, a number for every group."""

import copy
import math

import pytest
import torch

from latents import REFERENCE, image_outputs, value
from upland.catalogue import STATISTICS as NAMES
from upland.catalogue import load
from upland.groups.base import Statistic
from upland.groups.divergence import Divergence
from upland.groups.isotropy import Isotropy
from upland.groups.joint import JointStatistic
from upland.groups.likelihood import Likelihood
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.outputs import ModelOutputs
from upland.groups.projections import Projections
from upland.groups.shift import Shift
from upland.groups.sphericity import Sphericity
from upland.groups.stein import Stein
from upland.groups.typicality import Typicality
from upland.models.base import Level

SIZES = (1, 2, 5, 40)
STATISTICS = {
    "whole": lambda: Divergence("whole", 1),
    "coordinate": lambda: Divergence("coordinate", 1),
    "pairs": lambda: Divergence("pairs", 1),
    "location": lambda: Divergence("location", 0),
    "block": lambda: Divergence("block", 0),
    "pair": lambda: Divergence("pair", 0),
    "prior": lambda: Divergence("location", 0, "prior"),
    "sphericity": lambda: Sphericity("location", 0),
    "isotropy": lambda: Isotropy("location", 0),
    "likelihood": Likelihood,
    "typicality": Typicality,
    "projections": Projections,
    "mmd": MeanDiscrepancy,
    "stein": Stein,
    "shift": Shift,
    "shift of latents": lambda: Shift("latents", ridge=0.0, most=20),
    "joint": lambda: JointStatistic([Divergence("pair", 0), Divergence("whole", 1), Typicality()]),
}


@pytest.fixture(params=STATISTICS, scope="module")
def statistic(request):
    return STATISTICS[request.param]().fit(REFERENCE)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_statistic_that_tells_stretched_rows(name):
    fitted = load(NAMES[name].home)(REFERENCE).fit(REFERENCE)
    assert isinstance(fitted, Statistic)
    near, far = (value(fitted, image_outputs(25, seed=7, near=r, scale=1 + r)) for r in (0.0, 0.6))
    assert far > near


def test_features_are_finite_float64_and_do_not_depend_on_the_batch(statistic):
    rows = image_outputs(9)
    features = statistic.features(rows)
    assert features.dtype == torch.float64
    assert torch.isfinite(features).all()
    one_by_one = torch.cat([statistic.features(rows.take(slice(i, i + 1))) for i in range(9)])
    torch.testing.assert_close(one_by_one, features, rtol=1e-9, atol=1e-9)


def test_a_value_is_a_function_of_the_mean_however_rows_are_split(statistic):
    rows = image_outputs(12)
    sums = statistic.features(rows.take(slice(0, 5))).sum(0) + statistic.features(
        rows.take(slice(5, 12))
    ).sum(0)
    again = statistic.value(sums[None] / 12, torch.tensor([12]))
    assert float(again) == pytest.approx(value(statistic, rows), rel=1e-9)


def test_groups_in_one_call_are_groups_one_by_one(statistic):
    groups = [image_outputs(n, seed=n) for n in SIZES]
    means = torch.stack([statistic.features(rows).mean(0) for rows in groups])
    together = statistic.value(means, torch.tensor(SIZES))
    alone = torch.tensor([value(statistic, rows) for rows in groups], dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in STATISTICS if name not in ("sphericity", "isotropy")])
def test_a_far_group_outranks_a_near_one(name):
    fitted = STATISTICS[name]().fit(REFERENCE)
    near, far = (value(fitted, image_outputs(25, seed=7, scale=s)) for s in (1.0, 2.0))
    assert far > near


@pytest.mark.parametrize("name", ["sphericity", "isotropy", "location", "pair", "joint"])
def test_a_group_whose_neighbours_depend_outranks_one_whose_do_not(name):
    fitted = STATISTICS[name]().fit(REFERENCE)
    near, far = (value(fitted, image_outputs(25, seed=7, near=r)) for r in (0.0, 0.6))
    assert far > near


@pytest.mark.parametrize("n", [1, 2, 50])
def test_there_is_a_number_for_every_group(statistic, n):
    usual = image_outputs(n)
    constant = ModelOutputs(
        torch.zeros_like(usual.points),
        torch.zeros(n).double(),
        [Level(torch.zeros_like(level.mean)) for level in usual.levels],
        torch.zeros_like(usual.points),
    )
    wild = ModelOutputs(
        torch.full_like(usual.points, torch.nan),
        torch.full((n,), torch.inf).double(),
        [Level(torch.full_like(level.mean, -torch.inf)) for level in usual.levels],
        torch.full_like(usual.points, torch.nan),
    )
    for rows in (usual, constant, wild):
        assert math.isfinite(value(statistic, rows))


@pytest.mark.parametrize("rows", [4, 5])
def test_there_is_a_number_after_few_or_constant_normal_rows(statistic, rows):
    few = image_outputs(rows)
    same = few.take(torch.zeros(rows, dtype=torch.long))
    for known in (few, same):
        fitted = copy.deepcopy(statistic).fit(known)
        assert math.isfinite(value(fitted, image_outputs(3, seed=5)))


def test_the_same_rows_teach_the_same_bits(statistic):
    """A model file holds the rows, and what was learned is learned again after `load`."""
    again = copy.deepcopy(statistic).fit(REFERENCE)
    assert set(again.fitted) == set(statistic.fitted)
    assert all(torch.equal(learned, statistic.fitted[name]) for name, learned in again.fitted.items())
    rows = image_outputs(6, seed=3)
    assert value(again, rows) == value(statistic, rows)


def test_a_row_s_value_is_that_of_a_group_of_one(statistic):
    rows = image_outputs(300, seed=4)
    single = [value(statistic, rows.take(slice(i, i + 1))) for i in (0, 255, 256, 299)]
    assert statistic.of_each_row(rows)[[0, 255, 256, 299]].tolist() == pytest.approx(single, rel=1e-9)


def test_stein_needs_the_score():
    with pytest.raises(ValueError, match="gradient of log p"):
        Stein().fit(REFERENCE._replace(score=None))
