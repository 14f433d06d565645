"""Laws of the product of experts: the cubic mean, its shares, units of normal rows, parts, and its state."""

import copy
import math

import pytest
import torch

from laws import covariance, finite_difference, generator, normal
from upland.models.experts import COUNTS, MOST_OF_COUNTS, PARTS, POWER, ProductOfExperts, PseudoLikelihood
from upland.models.parts import Layout, plain_layout
from upland.models.stored import check_values

SUBSETS = [
    *[(name,) for name in PARTS],
    ("local", "conditional"),
    ("distance", "unseen", "pairs"),
    tuple(PARTS),
]
CONTINUOUS = [name for name in PARTS if name not in COUNTS]


def dependent(count=300, width=4, seed=0):
    """Normal rows whose columns depend on each other."""
    return (normal(count, width, seed=seed) @ torch.linalg.cholesky(covariance(width)).T).float()


def with_counts(count=300, seed=0):
    """The same with two columns that repeat their values, the second following the first."""
    rows = dependent(count, 4, seed)
    steps = torch.randint(0, 5, (count,), generator=generator(seed)).float()
    return torch.cat([rows, torch.stack([steps, (steps * 2).remainder(5)], 1)], 1)


def fitted(rows, parts=tuple(PARTS), seed=0, **options):
    model = ProductOfExperts(plain_layout(rows.shape[1]), parts, **options)
    model.init_from_data(rows, generator(seed))
    return model


@pytest.fixture(scope="module")
def model():
    return fitted(with_counts())


@pytest.fixture(scope="module")
def new():
    """Normal rows, broken ones, and rows far away."""
    rows = with_counts(60, seed=1)
    rows[20:30, 0] += 3.0
    rows[30:40] *= 5.0
    rows[40:50, 4] += 0.5
    return rows


# -- the cubic mean ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", SUBSETS, ids=" ".join)
def test_the_score_is_the_weighted_cubic_mean_of_the_excess_of_each_part(parts, new):
    """Of some parts too, whose energies are those of a model of all parts but for random choices."""
    model = fitted(with_counts(), parts)
    weights = torch.tensor([PARTS[name] for name in parts], dtype=torch.float64)
    cubes = []
    for number, (name, part) in enumerate(model.parts.items()):
        z = (part.values(new) - model.normal_means[number].double()) / model.normal_deviations[
            number
        ].double()
        z = z.clamp(max=MOST_OF_COUNTS) if name in COUNTS else z
        torch.testing.assert_close(model.standard_scores(new)[number], z)
        cubes.append(torch.nn.functional.softplus(z, threshold=1e9) ** POWER)
    expected = ((weights[:, None] * torch.stack(cubes)).sum(0) / weights.sum()) ** (1 / POWER)
    torch.testing.assert_close(model.joined_score(new), expected)
    assert list(model.parts) == list(parts)


def test_a_part_is_the_same_alone_and_among_others(new):
    """But for the pseudo-likelihood, whose random features are drawn after other choices."""
    rows, whole = with_counts(), fitted(with_counts())
    for number, name in enumerate(PARTS):
        alone = fitted(rows, (name,)).standard_scores(new)[0]
        torch.testing.assert_close(alone, whole.standard_scores(new)[number], rtol=1e-6, atol=1e-6)


def test_it_lies_between_mean_and_maximum(model, new):
    excess = torch.nn.functional.softplus(model.standard_scores(new), threshold=1e9)
    score = model.joined_score(new)
    mean = model.shares_of_parts @ excess
    assert (score >= mean - 1e-9).all()
    assert (score <= excess.amax(0) + 1e-9).all()


def test_it_grows_with_each_standard_score(model):
    z = normal(len(PARTS), 40, seed=3)
    before = model._weighted_cubes(z).sum(0)
    for number in range(len(PARTS)):
        more = z.clone()
        more[number] += 0.1
        assert (model._weighted_cubes(more).sum(0) > before).all()


@pytest.mark.parametrize("parts", SUBSETS, ids=" ".join)
def test_shares_are_not_negative_and_sum_to_the_score(parts, new):
    model = fitted(with_counts(), parts)
    shares = model.shares(new)
    assert shares.shape == new.shape
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), model.joined_score(new))


def test_shares_point_at_the_column_that_is_far(model):
    x = with_counts(8, seed=5)
    for column in range(4):
        far = x.clone()
        far[:, column] += 30.0
        assert (model.shares(far).argmax(1) == column).all()


# -- units of normal rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 6, 20])
@pytest.mark.parametrize("count", [150, 400])
def test_standard_scores_of_fresh_normal_rows_have_mean_zero_and_deviation_one(width, count):
    """Over redraws: each training row was measured without itself, in the whitened view by a fit on four
    fifths of the rows, from which it is somewhat farther.
    """
    found = []
    for seed in range(12):
        model = fitted(dependent(count, width, seed), CONTINUOUS, seed)
        found.append(model.standard_scores(dependent(200, width, 1000 + seed)))
    z = torch.stack(found)
    means, deviations = z.mean((0, 2)).tolist(), z.std(2).median(0).values.tolist()
    for name, mean, deviation in zip(CONTINUOUS, means, deviations, strict=True):
        assert abs(mean) < (0.25 if name == "whitened" else 0.1), name
        assert 0.7 < deviation < 1.3, name


@pytest.mark.parametrize("name", COUNTS)
def test_standard_scores_of_counts_are_small_on_average(name):
    z = torch.cat(
        [
            fitted(with_counts(300, seed), (name,)).standard_scores(with_counts(300, 500 + seed))
            for seed in range(8)
        ],
        1,
    )
    assert abs(float(z.mean())) < 0.15
    assert float(z.std()) < 1.25


# -- what it says of a row -----------------------------------------------------------------------------------


def test_of_a_broken_dependence_what_is_expected_is_near_the_conditionals():
    """With two columns that are equal, a row of 2 and -2: each is expected nearer to the other."""
    one = normal(1000, 1).float()
    rows = torch.cat([one, one + 0.05 * normal(1000, 1, seed=1).float()], 1)
    model = fitted(rows)
    x = torch.tensor([[1.5, -1.5], [1.5, 1.5]])
    z = model.standard_scores(x)
    assert z[list(PARTS).index("conditional"), 0] > 5
    assert model.joined_score(x)[0] > 3 * model.joined_score(x)[1]
    conditional = model.parts["conditional"].expected(x)
    torch.testing.assert_close(conditional, x.flip(1), rtol=0, atol=0.3)
    torch.testing.assert_close(model.reconstruct_without_prior(x), conditional)
    torch.testing.assert_close(model.expected(x)[1], x[1], rtol=0, atol=0.3)
    said = [part.expected(x) for part in model.parts.values()]
    torch.testing.assert_close(
        model.expected(x), torch.stack([row for row in said if row is not None]).mean(0)
    )


def test_parts_that_count_expect_nothing_else(new):
    model = fitted(with_counts(), COUNTS)
    assert torch.equal(model.expected(new), new)
    assert torch.equal(model.reconstruct_without_prior(new), new)


def test_new_resolution_of_a_sensor_is_one_event():
    """Unseen values in all columns are no more than a standard score of eight."""
    rows = torch.randint(0, 4, (400, 12), generator=generator()).float()
    z = fitted(rows).standard_scores(rows[:5] + 0.5)
    places = [list(PARTS).index(name) for name in COUNTS]
    assert (z[places] <= MOST_OF_COUNTS).all()
    assert (z[places[0]] == MOST_OF_COUNTS).all()


# -- as an energy --------------------------------------------------------------------------------------------


def test_the_energy_is_the_mean_of_the_standard_scores_and_differentiable():
    model = fitted(dependent(100, 3)).double()
    x = dependent(6, 3, seed=5).double().requires_grad_()
    weights = torch.tensor(list(PARTS.values()), dtype=torch.float64)
    expected = (weights[:, None] * model.standard_scores(x)).sum(0) / weights.sum()
    torch.testing.assert_close(model.energy(x), expected)
    for function in (model.energy, model.joined_score):
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        assert gradient.isfinite().all()
        torch.testing.assert_close(gradient, finite_difference(function, x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        x - model.reconstruct(x), torch.autograd.grad(model.energy(x).sum(), x)[0], rtol=1e-6, atol=1e-6
    )


def test_without_single_training_rows_it_is_the_pseudo_likelihood_in_nats(model, new):
    """Minus the sum of the logarithms of Student t densities and of their widths."""
    free = model.without_prior()
    assert isinstance(free, PseudoLikelihood)
    part = model.parts["conditional"]
    away, log_spread = part._predicted(new)
    density = torch.distributions.StudentT(3.0)
    t = part._by_input((away / log_spread.exp()).double())
    expected = (density.log_prob(torch.zeros(1, dtype=torch.float64)) - density.log_prob(t)).sum(1)
    expected += part._by_input(log_spread.double()).sum(1)
    torch.testing.assert_close(free.energy(new), expected, rtol=1e-4, atol=1e-4)
    alone = fitted(with_counts(), ("local",))
    assert alone.without_prior() is alone


# -- random choices, order, copies ---------------------------------------------------------------------------


def test_with_one_seed_it_is_the_same_and_with_another_it_is_not(new):
    one, two, other = (fitted(with_counts(), seed=seed) for seed in (0, 0, 1))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert torch.equal(one.joined_score(new), two.joined_score(new))
    assert not torch.equal(one.joined_score(new), other.joined_score(new))


def test_a_row_scores_alike_in_any_company_and_order(model, new):
    whole = model.joined_score(new)
    torch.testing.assert_close(model.joined_score(new.flip(0)).flip(0), whole, rtol=1e-5, atol=1e-6)
    one_by_one = torch.cat([model.joined_score(row[None]) for row in new])
    torch.testing.assert_close(one_by_one, whole, rtol=1e-5, atol=1e-6)


def test_support_points_are_distinct_training_rows():
    rows = dependent(100, 3)
    model = fitted(rows.repeat(5, 1), support_points=30)
    assert model.rows.shape == (30, 3)
    assert len(model.rows.unique(dim=0)) == 30
    assert (model.rows[:, None] == rows).all(2).any(1).all()
    assert len(fitted(rows.repeat(5, 1)).rows) == 100


def test_rows_repeated_thousands_of_times_are_normal():
    rows = torch.cat([dependent(3, 3).repeat(2000, 1), dependent(20, 3, seed=1)])
    model = fitted(rows)
    score = model.joined_score(torch.cat([rows[:3], rows[:3] + 4.0]))
    assert score.isfinite().all()
    assert score[:3].max() < score[3:].min()


# -- state ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", SUBSETS, ids=" ".join)
def test_a_state_comes_back_bit_for_bit(parts, new):
    model = fitted(with_counts(), parts, support_points=100)
    again = ProductOfExperts(plain_layout(6), parts, support_points=100)
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    for one, other in (
        (model.joined_score(new), again.joined_score(new)),
        (model.shares(new), again.shares(new)),
        (model.expected(new), again.expected(new)),
        (model.energy(new), again.energy(new)),
        (model.without_prior().energy(new), again.without_prior().energy(new)),
    ):
        assert torch.equal(one, other)
    check_values(again)


def test_a_copy_is_a_model_of_its_own(model, new):
    twin, before = copy.deepcopy(model), model.joined_score(new)
    assert torch.equal(twin.joined_score(new), before)
    twin.init_from_data(with_counts(100, seed=7), generator())
    assert torch.equal(model.joined_score(new), before)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_deviations_that_no_fit_gives_are_refused(value):
    model = fitted(with_counts(50))
    check_values(model)
    model.normal_deviations[1] = value
    with pytest.raises(ValueError, match=r"must be positive|not all finite"):
        check_values(model)


@pytest.mark.parametrize("name", ["rows", "normal_means"])
def test_numbers_that_are_none_are_refused(name):
    model = fitted(with_counts(50))
    getattr(model, name).view(-1)[0] = math.nan
    with pytest.raises(ValueError, match="not all finite"):
        check_values(model)


# -- limits --------------------------------------------------------------------------------------------------


LEVELS = Layout((0, 0, 0, 1, 1), (True, True), (False, False))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20, 50])
def test_few_rows_give_finite_scores(count):
    for rows in (dependent(count, 3), dependent(count, 1), torch.ones(count, 2)):
        model = fitted(rows)
        x = torch.cat([rows, rows + 1.0, rows * 1e4])
        assert model.joined_score(x).isfinite().all()
        assert model.shares(x).isfinite().all()
        assert model.expected(x).isfinite().all()
        assert model.energy(x).isfinite().all()
        check_values(model)


def test_of_categories_alone_an_unseen_combination_scores_higher():
    levels = torch.randint(0, 2, (300,), generator=generator())
    one, two = torch.nn.functional.one_hot(levels, 3), torch.nn.functional.one_hot(levels, 2)
    rows = torch.cat([one, two], 1).float()
    model = ProductOfExperts(LEVELS)
    model.init_from_data(rows, generator())
    new = torch.tensor([[1.0, 0, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 1, 1, 0]])
    score = model.joined_score(new)
    assert score[0] < 1
    assert (score[1:] > 3).all()
    torch.testing.assert_close(model.shares(new).sum(1), score)


def test_kernels_share_their_support_points_which_are_stored_once(model):
    for name in ("distance", "local", "whitened"):
        assert torch.equal(model.parts[name].points, model.rows)
    assert not any("points" in name for name in model.state_dict())


def test_without_a_kernel_no_training_row_is_kept():
    for parts in (("conditional",), COUNTS):
        assert fitted(with_counts(), parts).rows.eq(0).all()
