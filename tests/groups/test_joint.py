"""Laws of the joint statistic: both tails count, components are of one size at every size of groups."""

import pytest
import torch

from latents import REFERENCE, image_outputs, value
from upland.groups.auto import default_components
from upland.groups.divergence import Divergence
from upland.groups.joint import JointStatistic, drawn, size_grid
from upland.groups.likelihood import Likelihood
from upland.groups.moments import INPUT
from upland.groups.outputs import ModelOutputs
from upland.groups.projections import Projections
from upland.groups.stein import Stein
from upland.groups.typicality import Typicality
from upland.models.base import Level


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_both_tails_count(n, scale):
    """Groups that are too good, too, for all components together."""
    fitted = JointStatistic([Divergence("pair", 0), Likelihood()]).fit(REFERENCE)
    usual = [value(fitted, image_outputs(n, seed=500 + 2 * k)) for k in range(20)]
    assert value(fitted, image_outputs(n, seed=9, scale=scale)) > max(usual)


def test_components_of_normal_groups_are_of_one_size():
    fitted = JointStatistic([Divergence("pair", 0), Typicality(), Projections()]).fit(
        image_outputs(1_000, seed=60)
    )
    for n in (1, 4, 20):
        means = torch.stack(
            [fitted.features(image_outputs(n, seed=2_000 + 2 * k)).mean(0) for k in range(150)]
        )
        u = fitted.standardised(means, torch.full((150,), n))
        assert float(u.abs().median()) < 1.5
        assert float(u.abs().median()) > 0.3


@pytest.mark.parametrize("n", [1, 7, 50])
def test_groups_to_standardise_by_hold_as_many_rows_as_said(n):
    chosen = drawn(100, n, torch.Generator().manual_seed(0))
    assert chosen.sum(1).tolist() == [n] * len(chosen)
    assert chosen.max() == 1
    assert len(chosen.unique(dim=0)) > 50


@pytest.mark.parametrize(
    ("n", "apart"), [(5, False), (30, False), (5, True), (30, True), (60, True), (100, True), (300, True)]
)
def test_fresh_normal_groups_are_usual_at_every_size(n, apart):
    """Even where there are too few rows to draw such groups from."""

    def rows(count, seed):
        x = torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))
        return ModelOutputs(x, x.double().square().sum(1), [Level(x)])

    training = rows(1_000, 3) if apart else None
    medians = []
    for seed in range(6):
        stock = rows(130, 10 + seed)
        joint = JointStatistic(default_components(stock)).fit(stock, training)
        fresh = joint.features(rows(60 * n, 100 + seed)).reshape(60, n, -1).mean(1)
        medians.append(joint.standardised(fresh, torch.full((60,), float(n))).median(0).values)
    assert torch.stack(medians).mean(0).abs().max() < 2


def test_a_column_that_follows_from_others_does_not_drown_the_rest():
    """One-hot columns add up to a constant; larger groups than half the rows are standardised as well."""

    def rows(n, seed):
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        x = torch.cat([x, 0.75 * (x[:, :1] > 0) - 0.4, 0.4 - 0.75 * (x[:, :1] > 0), 0 * x[:, :1]], 1).float()
        return ModelOutputs(x, x.double().square().sum(1), [])

    joint = JointStatistic(default_components(rows(120, 1))).fit(rows(120, 1))
    features = joint.features(rows(5_000, 2)).reshape(100, 50, -1)
    u = joint.standardised(features.mean(1), torch.full((100,), 50.0))
    assert u.abs().median(0).values.max() < 3


def test_the_size_grid():
    assert size_grid(400).tolist()[:6] == [1, 2, 3, 4, 7, 10]
    assert 200 < size_grid(400)[-1] <= 400
    assert size_grid(1).tolist() == [1]


def test_components_follow_the_shapes():
    found = default_components(REFERENCE)
    for part in (
        Divergence("location", 0),
        Divergence("whole", 1),
        Divergence("coordinate", INPUT),
        Likelihood(),
    ):
        assert part in found
    without = default_components(REFERENCE._replace(levels=[]))
    of_rows = [Divergence("coordinate", INPUT), Divergence("pairs", INPUT)]
    assert without == [Likelihood(), *of_rows, Projections("points", 32), Stein()]
    assert default_components(REFERENCE._replace(levels=[], score=None)) == without[:-1]


@pytest.mark.parametrize(("components", "rows"), [([], 400), ([Likelihood()], 3)])
def test_too_few_components_or_rows_are_refused(components, rows):
    with pytest.raises(ValueError, match=f"at least 4 rows and a component are needed, got {rows} and"):
        JointStatistic(components).fit(REFERENCE.take(slice(0, rows)))
