"""Laws of group statistics: closed forms, means of means, far outranks near, a number for every group."""

import copy
import math

import pytest
import torch

from laws import covariance, normal, points_with_moments
from upland.groups.baselines import Kernel, Likelihood, Projections, Stein, Typicality
from upland.groups.gaussians import divergence, null_mean
from upland.groups.joint import Combined, default_statistics, drawn, ladder
from upland.groups.splits import SPLITS, cut
from upland.groups.statistic import Divergence, Isotropy, Rows, Sphericity
from upland.models.base import Level

SIZES = (1, 2, 5, 40)
SHAPE = (3, 6, 4)


def image_rows(count, seed=0, near=0.0, scale=1.0):
    """Rows of a model with one flat and one image level; `near` mixes neighbours, `scale` stretches."""
    z = normal(count, *SHAPE, seed=seed)
    z = scale * (z + near * z.roll(1, 3) + near * z.roll(1, 1))
    flat = scale * normal(count, 5, seed=seed + 1)
    points = torch.cat([z.flatten(1), flat], 1)
    return Rows(points, 0.5 * points.square().sum(1), [Level(z), Level(flat)], -points)


def uncertain_rows(count, seed=0, scale=1.0):
    rows = image_rows(count, seed, scale=scale)
    levels = [Level(0.8 * level.mean, torch.full_like(level.mean, 0.36 * scale**2)) for level in rows.levels]
    return rows._replace(levels=levels)


STATISTICS = {
    "whole": lambda: Divergence("whole", 1),
    "coordinate": lambda: Divergence("coordinate", 1),
    "blocks": lambda: Divergence("blocks", 1),
    "pairs": lambda: Divergence("pairs", 1),
    "location": lambda: Divergence("location", 0),
    "block": lambda: Divergence("block", 0),
    "pair": lambda: Divergence("pair", 0),
    "channels": lambda: Divergence("channels", 0),
    "prior": lambda: Divergence("location", 0, "prior"),
    "sphericity": lambda: Sphericity("location", 0),
    "isotropy": lambda: Isotropy("location", 0),
    "likelihood": Likelihood,
    "typicality": Typicality,
    "GOD2KS": Projections,
    "GOD1KS": lambda: Projections(against="prior"),
    "columns": lambda: Projections("points", 0),
    "kernel": Kernel,
    "stein": Stein,
    "combined": lambda: Combined([Divergence("pair", 0), Divergence("whole", 1), Typicality()]),
    "max": lambda: Combined([Divergence("pair", 0), Typicality(), Likelihood()], "max"),
}
REFERENCE = image_rows(400, seed=100)


@pytest.fixture(params=STATISTICS, scope="module")
def statistic(request):
    return STATISTICS[request.param]().fit(REFERENCE)


def value(statistic, rows):
    features = statistic.features(rows)
    return float(statistic.value(features.mean(0, keepdim=True), torch.tensor([len(features)]))[0])


def parts(statistic, rows):
    features = statistic.features(rows)
    return statistic.parts(features.mean(0, keepdim=True), torch.tensor([len(features)]))


# -- every statistic ---------------------------------------------------------------------------------


def test_features_are_finite_float64_and_do_not_depend_on_the_batch(statistic):
    rows = image_rows(9)
    features = statistic.features(rows)
    assert features.dtype == torch.float64
    assert torch.isfinite(features).all()
    one_by_one = torch.cat([statistic.features(rows.take(slice(i, i + 1))) for i in range(9)])
    torch.testing.assert_close(one_by_one, features, rtol=1e-9, atol=1e-9)


def test_a_value_is_a_function_of_the_mean_however_rows_are_split(statistic):
    rows = image_rows(12)
    sums = statistic.features(rows.take(slice(0, 5))).sum(0) + statistic.features(
        rows.take(slice(5, 12))
    ).sum(0)
    again = statistic.value(sums[None] / 12, torch.tensor([12]))
    assert float(again) == pytest.approx(value(statistic, rows), rel=1e-9)


def test_groups_in_one_call_are_groups_one_by_one(statistic):
    groups = [image_rows(n, seed=n) for n in SIZES]
    means = torch.stack([statistic.features(rows).mean(0) for rows in groups])
    together = statistic.value(means, torch.tensor(SIZES))
    alone = torch.tensor([value(statistic, rows) for rows in groups], dtype=torch.float64)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in STATISTICS if name not in ("sphericity", "isotropy")])
def test_a_far_group_outranks_a_near_one(name):
    fitted = STATISTICS[name]().fit(REFERENCE)
    near, far = (value(fitted, image_rows(25, seed=7, scale=s)) for s in (1.0, 2.0))
    assert far > near


@pytest.mark.parametrize("name", ["sphericity", "isotropy", "location", "pair", "channels", "combined"])
def test_a_group_whose_neighbours_depend_outranks_one_whose_do_not(name):
    fitted = STATISTICS[name]().fit(REFERENCE)
    near, far = (value(fitted, image_rows(25, seed=7, near=r)) for r in (0.0, 0.6))
    assert far > near


@pytest.mark.parametrize("n", [1, 2, 50])
def test_there_is_a_number_for_every_group(statistic, n):
    usual = image_rows(n)
    constant = Rows(
        torch.zeros_like(usual.points),
        torch.zeros(n).double(),
        [Level(torch.zeros_like(level.mean)) for level in usual.levels],
        torch.zeros_like(usual.points),
    )
    wild = Rows(
        torch.full_like(usual.points, torch.nan),
        torch.full((n,), torch.inf).double(),
        [Level(torch.full_like(level.mean, -torch.inf)) for level in usual.levels],
        torch.full_like(usual.points, torch.nan),
    )
    for rows in (usual, constant, wild):
        assert math.isfinite(value(statistic, rows))
        for part in parts(statistic, rows).values():
            assert torch.isfinite(part).all()


@pytest.mark.parametrize("rows", [4, 5])
def test_there_is_a_number_after_few_or_constant_normal_rows(statistic, rows):
    few = image_rows(rows)
    same = few.take(torch.zeros(rows, dtype=torch.long))
    for known in (few, same):
        fitted = copy.deepcopy(statistic).fit(known)
        assert math.isfinite(value(fitted, image_rows(3, seed=5)))


def test_the_same_rows_teach_the_same_bits(statistic):
    """A model file holds the rows, and what was learned is learned again after `load`."""
    again = copy.deepcopy(statistic).fit(REFERENCE)
    assert set(again.known) == set(statistic.known)
    assert all(torch.equal(learned, statistic.known[name]) for name, learned in again.known.items())
    rows = image_rows(6, seed=3)
    assert value(again, rows) == value(statistic, rows)


# -- the divergence ----------------------------------------------------------------------------------


def test_of_given_moments_it_is_the_closed_form():
    """In the two-sample form, for any normal moments and any of the group's."""
    d, n = 5, 300
    mean, spread, mean0, spread0 = normal(d, seed=1), covariance(d, 2), normal(d, seed=3), covariance(d, 4)
    known = points_with_moments(mean0, spread0, 500, seed=5)
    seen = points_with_moments(mean, spread, n, seed=6)
    rows = [Rows(x, x[:, 0], [Level(x)]) for x in (known, seen)]
    expected = float(divergence(mean, spread, mean0, spread0))
    assert value(Divergence("whole").fit(rows[0]), rows[1]) == pytest.approx(expected, rel=1e-4)
    prior = float(divergence(mean, spread, torch.zeros(d).double(), torch.eye(d).double()))
    assert value(Divergence("whole", against="prior").fit(rows[0]), rows[1]) == pytest.approx(prior, rel=1e-4)


def test_an_encoder_s_variance_is_part_of_the_covariance():
    x = points_with_moments(torch.zeros(3).double(), 0.5 * torch.eye(3).double(), 200)
    rows = Rows(x, x[:, 0], [Level(x, torch.full_like(x, 0.5))])
    assert value(Divergence("whole", against="prior").fit(rows), rows) == pytest.approx(0, abs=1e-9)


def test_its_parts_add_up(statistic):
    if not isinstance(statistic, Divergence):
        return
    rows = image_rows(30, seed=8, near=0.3)
    found = parts(statistic, rows)
    assert float(found["dependence"] + found["marginals"]) == pytest.approx(value(statistic, rows), rel=1e-9)
    assert float(found["columns"].sum()) == pytest.approx(float(found["marginals"]))


def test_without_its_mean_it_is_nothing_for_normal_rows():
    prior = Divergence("whole", 1, "prior").fit(REFERENCE)
    groups = [image_rows(40, seed=1_000 + 2 * k) for k in range(400)]
    excess = torch.cat([parts(prior, rows)["excess"] for rows in groups])
    assert abs(float(excess.mean())) < 3 * float(excess.std()) / math.sqrt(len(excess))
    plain = torch.tensor([value(prior, rows) for rows in groups])
    assert float(plain.mean()) == pytest.approx(float(null_mean(40, 5)), rel=0.05)


def test_uncertain_latents_are_told_from_stretched_ones():
    fitted = Divergence("location").fit(uncertain_rows(300, seed=50))
    near, far = value(fitted, uncertain_rows(20)), value(fitted, uncertain_rows(20, scale=1.5))
    assert far > 2 * near


# -- splits ------------------------------------------------------------------------------------------


def test_splits_keep_neighbours_together():
    z = torch.arange(2 * 3 * 4 * 4).double().reshape(2, 3, 4, 4)
    torch.testing.assert_close(cut(z, "location")[1, 5, 0], z[1, :, 1, 1])
    torch.testing.assert_close(cut(z, "block")[0, 1, 0], z[0, 0, :2, 2:].flatten())
    torch.testing.assert_close(cut(z, "pair")[0, 0, 0], z[0, 0, 0, :2])
    torch.testing.assert_close(cut(z, "pair")[0, -1, 0], z[0, -1, -2:, -1])
    assert cut(z, "pair").shape == (2, 3 * (4 * 3 + 3 * 4), 1, 2)
    assert cut(z, "channels").shape == (2, 16, 1, 3)
    assert cut(normal(2, 6, 4, 4), "channels").shape == (2, 32, 1, 4)
    columns = torch.arange(10).double().reshape(1, 10)
    assert cut(columns, "blocks")[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert cut(columns, "pairs")[0, 3, 0].tolist() == [3, 4]
    assert cut(columns, "coordinate").shape == (1, 1, 10, 1)
    assert cut(normal(1, 3), "blocks").shape == (1, 1, 1, 3)


@pytest.mark.parametrize(
    ("split", "shape"), [("location", (2, 5)), ("pairs", (2, 3, 4, 4)), ("pairs", (2, 1))]
)
def test_a_split_that_does_not_suit_is_refused(split, shape):
    with pytest.raises(ValueError, match=f"split '{split}'"):
        cut(normal(*shape), split)


def test_an_unknown_split_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(SPLITS)):
        cut(normal(2, 3), "halves")


def test_too_wide_vectors_are_refused():
    x = normal(100, 65)
    with pytest.raises(ValueError, match="vectors of 65 coordinates; at most 64"):
        Divergence("whole").fit(Rows(x, x[:, 0], [Level(x)]))


def test_stein_needs_the_score():
    with pytest.raises(ValueError, match="gradient of log p"):
        Stein().fit(REFERENCE._replace(score=None))


# -- several in one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_both_tails_count(n, scale):
    """Groups that are too good, too, for all components together."""
    fitted = Combined([Divergence("pair", 0), Likelihood()]).fit(REFERENCE)
    usual = [value(fitted, image_rows(n, seed=500 + 2 * k)) for k in range(20)]
    assert value(fitted, image_rows(n, seed=9, scale=scale)) > max(usual)


def test_components_of_normal_groups_are_of_one_size():
    fitted = Combined([Divergence("pair", 0), Typicality(), Projections()]).fit(image_rows(1_000, seed=60))
    for n in (1, 4, 20):
        means = torch.stack([fitted.features(image_rows(n, seed=2_000 + 2 * k)).mean(0) for k in range(150)])
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
        return Rows(x, x.double().square().sum(1), [Level(x)])

    learning = rows(1_000, 3) if apart else None
    medians = []
    for seed in range(6):
        stock = rows(130, 10 + seed)
        combined = Combined(default_statistics(stock)).fit(stock, learning)
        fresh = combined.features(rows(60 * n, 100 + seed)).reshape(60, n, -1).mean(1)
        medians.append(combined.standardised(fresh, torch.full((60,), float(n))).median(0).values)
    assert torch.stack(medians).mean(0).abs().max() < 2


def test_a_column_that_follows_from_others_does_not_drown_the_rest():
    """One-hot columns add up to a constant; larger groups than half the rows are standardised as well."""

    def rows(n, seed):
        x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        x = torch.cat([x, 0.75 * (x[:, :1] > 0) - 0.4, 0.4 - 0.75 * (x[:, :1] > 0), 0 * x[:, :1]], 1).float()
        return Rows(x, x.double().square().sum(1), [])

    combined = Combined(default_statistics(rows(120, 1))).fit(rows(120, 1))
    features = combined.features(rows(5_000, 2)).reshape(100, 50, -1)
    u = combined.standardised(features.mean(1), torch.full((100,), 50.0))
    assert u.abs().median(0).values.max() < 3


def test_the_ladder():
    assert ladder(400).tolist()[:6] == [1, 2, 3, 4, 7, 10]
    assert 200 < ladder(400)[-1] <= 400
    assert ladder(1).tolist() == [1]


def test_components_by_the_shapes():
    found = [statistic.name for statistic in default_statistics(REFERENCE)]
    assert "divergence location 0 normal" in found
    assert "divergence whole 1 normal" in found
    without = REFERENCE._replace(levels=[])
    of_rows = [Divergence] * 2 if REFERENCE.points.ndim == 2 else []
    kinds = [type(s) for s in default_statistics(without)]
    assert kinds == [Likelihood, *of_rows, Projections, Stein]
    assert [type(s) for s in default_statistics(without._replace(score=None))] == kinds[:-1]
    for rows in (REFERENCE, without):
        assert math.isfinite(value(Combined(default_statistics(rows)).fit(rows), rows.take(slice(0, 3))))


@pytest.mark.parametrize("wrong", [{"components": []}, {"components": [Likelihood()], "rule": "sum"}])
def test_what_cannot_be_combined_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 4 rows, a component and a rule"):
        Combined(**wrong).fit(REFERENCE)
