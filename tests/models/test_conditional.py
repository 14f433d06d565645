"""Laws of the pseudo-likelihood: refits without a row, the conditionals of a Gaussian, hidden columns."""

import math

import pytest
import torch

from laws import covariance, finite_difference, generator, normal
from upland.models.conditional import (
    FREEDOM,
    LEAST_LEFT,
    LOG_SHIFT,
    MOST_LOG_SPREAD,
    MOST_USUAL,
    ConditionalEnergy,
    hidden_sizes,
    ridge_regression,
)
from upland.models.parts import Layout, plain_layout
from upland.models.stored import check_values

LAYOUTS = {
    "two": plain_layout(2),
    "five": plain_layout(5),
    "in groups": plain_layout(20),
    "mixed": Layout((0, 1, 1, 1, 2, 2, 3), (False, True, False, False), (False, False, True, False)),
}


def fitted(rows, layout=None, seed=0, **options):
    """A part in float64 but for its random features, fitted."""
    made = ConditionalEnergy(layout or plain_layout(rows.shape[1]), **options)
    made.left_out = made.fit(rows, generator(seed))
    return made


def rows_of(layout, count=200, seed=0):
    """Float32 rows whose columns depend on each other."""
    mixed = normal(count, layout.width, seed=seed) @ torch.linalg.cholesky(covariance(layout.width)).T
    return mixed.float()


# -- ridge regression ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [3, 12, 40])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 30.0])
def test_a_ridge_regression_solves_the_normal_equations(features, ridge):
    p, y = normal(25, features), normal(25, 2, seed=1)
    regression = ridge_regression(p)
    exact = torch.linalg.solve(p.T @ p + ridge * torch.eye(features, dtype=torch.float64), p.T @ y)
    hat = p @ torch.linalg.solve(p.T @ p + ridge * torch.eye(features, dtype=torch.float64), p.T)
    torch.testing.assert_close(regression.coefficients(y, ridge), exact)
    torch.testing.assert_close(regression.fitted(y, ridge), p @ exact)
    torch.testing.assert_close(regression.hat(ridge), hat.diagonal())


@pytest.mark.parametrize("features", [3, 12, 40])
def test_left_out_residuals_are_those_of_refits(features):
    p, y, ridge = normal(25, features), normal(25, 2, seed=1), 2.0
    found = ridge_regression(p).left_out(y, ridge)
    for row in range(25):
        others = torch.arange(25) != row
        away = y[row] - p[row] @ ridge_regression(p[others]).coefficients(y[others], ridge)
        torch.testing.assert_close(found[row], away)


def test_a_row_that_no_other_row_tells_of_has_a_bounded_residual():
    p = torch.eye(4, dtype=torch.float64)
    found = ridge_regression(p).left_out(torch.ones(4, 1, dtype=torch.float64), 1e-9)
    assert found.isfinite().all()
    assert found.abs().max() <= 1 / LEAST_LEFT


def test_features_that_depend_on_each_other_give_finite_coefficients():
    p = normal(30, 3)[:, [0, 0, 1, 2, 2]]
    assert ridge_regression(p).coefficients(normal(30, 1), 1e-6).isfinite().all()
    assert ridge_regression(0 * p).fitted(normal(30, 1), 1e-6).eq(0).all()


# -- conditionals --------------------------------------------------------------------------------------------


def test_on_a_gaussian_table_it_comes_to_the_closed_form():
    """E[x_j | x_-j] = -P_j,-j x_-j / P_jj, of standard deviation P_jj^(-1/2), P the inverse covariance."""
    spread = covariance(4)
    root, precision = torch.linalg.cholesky(spread), torch.linalg.inv(spread)
    rows, new = ((normal(count, 4, seed=seed) @ root.T).float() for count, seed in ((4000, 0), (500, 1)))
    made = fitted(rows, features=20)
    x = new.double()
    sd = precision.diagonal() ** -0.5
    closed = x - (x @ precision) / precision.diagonal()
    away = (made.expected(new).double() - closed) / sd
    assert away.square().mean().sqrt() < 0.1
    spreads = made._by_input(made._predicted(new)[1].double())
    least = 0.02 * spread.diagonal().sqrt()  # is added to residuals, so that widths are somewhat larger
    widths = (sd * normal(100_000, 4, seed=2).abs() + least).log().mean(0) + LOG_SHIFT
    assert ((spreads - widths).abs().mean(0) < 0.08).all()
    assert ((spreads.mean(0) - widths).abs() < 0.03).all()
    assert ((widths - sd.log() > 0) & (widths - sd.log() < 0.12)).all()
    z = (x - closed) / widths.exp()
    energy = torch.log1p(z.square() / FREEDOM).mean(1)
    assert torch.corrcoef(torch.stack([made.values(new), energy]))[0, 1] > 0.98
    assert float(made.values(new).mean()) == pytest.approx(float(energy.mean()), rel=0.05)


def test_it_finds_what_is_not_linear():
    """Of y = |x| with noise, a row below is far: the random features bend."""
    x = normal(2000, 1)
    rows = torch.cat([x, x.abs() + 0.05 * normal(2000, 1, seed=1)], 1).float()
    made = fitted(rows)
    new = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [0.0, 1.0]])
    values = made.values(new)
    assert values[2:].min() > 3 * values[:2].max()


def test_the_width_goes_by_the_other_columns():
    """Noise that grows with another column makes the same residual less unusual."""
    x = normal(3000, 1).abs()
    rows = torch.cat([x, (0.05 + x) * normal(3000, 1, seed=1)], 1).float()
    made = fitted(rows)
    near, far = made.shares(torch.tensor([[0.05, 1.0], [2.5, 1.0]]))[:, 1]
    assert near > 4 * far


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_hidden_column_never_sees_itself_nor_its_group(name):
    layout = LAYOUTS[name]
    made, rows = fitted(rows_of(layout), layout, groups=3), rows_of(layout, 20, seed=1)
    groups, _ = hidden_sizes(layout, 3)
    before = made.expected(rows)
    spreads = made._by_input(made._predicted(rows)[1])
    for column in range(max(layout.columns) + 1):
        hidden = [i for i, owner in enumerate(layout.columns) if owner % groups == column % groups]
        changed = rows.clone()
        changed[:, layout.inputs(column)] += 1.5
        torch.testing.assert_close(made.expected(changed)[:, hidden], before[:, hidden], rtol=0, atol=2e-5)
        torch.testing.assert_close(
            made._by_input(made._predicted(changed)[1])[:, hidden], spreads[:, hidden], rtol=0, atol=2e-5
        )
        others = [i for i in range(layout.width) if i not in hidden]
        assert not torch.isclose(made.expected(changed)[:, others], before[:, others], atol=1e-3).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_energies_left_out_are_those_of_refits_without_the_row(name):
    """Given features, ridge and the targets of the widths, which are left-out residuals themselves."""
    layout = LAYOUTS[name]
    rows = rows_of(layout, 40)
    made = fitted(rows, layout)
    assert made.left_out.shape == (40,)
    found = torch.zeros(40, dtype=torch.float64)
    for group in range(made.groups):
        inputs = made.hidden[group][made.hidden[group] < layout.width]
        visible = [i for i in range(layout.width) if i not in inputs.tolist()]
        p = torch.cat(
            [
                torch.ones(40, 1, dtype=torch.float64),
                rows[:, visible].double() / math.sqrt(len(visible)),
                made._features(rows.T)[group].T.double(),
            ],
            1,
        )
        y = rows[:, inputs].double()
        whole = ridge_regression(p)
        ridge = min(
            (40 * r for r in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)),
            key=lambda ridge: float(whole.left_out(y, ridge).square().mean()),
        )
        away = torch.stack([y[i] - _without(p, y, i, ridge) for i in range(40)])
        away = torch.where((1 - whole.hat(ridge))[:, None] > LEAST_LEFT, away, whole.left_out(y, ridge))
        least = 0.02 * y.std(0, correction=0).clamp(min=0.05)
        logs = (away.abs() + least).log()
        usual = logs.mean(0)
        spread = torch.stack([_without(p, logs - usual, i, 40 * 1e-2) for i in range(40)])
        spread = (spread.clamp(-MOST_LOG_SPREAD, MOST_LOG_SPREAD) + usual + LOG_SHIFT).exp()
        found += torch.log1p(away.square() / (FREEDOM * spread.square())).sum(1)
    torch.testing.assert_close(made.left_out, found / layout.width, rtol=1e-6, atol=1e-9)


def _without(p, y, row, ridge):
    others = torch.arange(len(p)) != row
    return p[row] @ ridge_regression(p[others]).coefficients(y[others], ridge)


def test_energies_of_fresh_rows_are_those_left_out_on_average():
    """Energies inside the sample are smaller where there are few rows."""
    left_out, fresh, inside = [], [], []
    for seed in range(8):
        rows, new = (rows_of(plain_layout(5), 60, seed=start + seed) for start in (0, 50))
        made = fitted(rows, seed=seed)
        left_out.append(float(made.left_out.mean()))
        fresh.append(float(made.values(new).mean()))
        inside.append(float(made.values(rows).mean()))
    assert sum(left_out) == pytest.approx(sum(fresh), rel=0.08)
    assert sum(inside) < 0.95 * sum(fresh)


# -- the energy as such --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_shares_are_the_terms_and_sum_to_the_energy(name):
    layout = LAYOUTS[name]
    made, x = fitted(rows_of(layout), layout), 3 * rows_of(layout, 30, seed=1)
    shares = made.shares(x)
    assert shares.shape == x.shape
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), made.values(x), rtol=1e-5, atol=1e-7)


def test_the_share_of_the_column_that_broke_is_the_largest():
    rows = rows_of(plain_layout(5), 2000)
    x = rows[:1].clone()
    x[0, 3] += 20.0
    shares = fitted(rows).shares(x)[0]
    assert shares.argmax() == 3


def test_a_row_scores_alike_in_any_company():
    layout = LAYOUTS["in groups"]
    made, x = fitted(rows_of(layout), layout), rows_of(layout, 50, seed=1)
    one_by_one = torch.cat([made.values(row[None]) for row in x])
    torch.testing.assert_close(one_by_one, made.values(x), rtol=1e-6, atol=1e-7)


def test_it_is_differentiable():
    layout = plain_layout(3)
    made, x = fitted(rows_of(layout), layout).double(), normal(6, 3, seed=5).requires_grad_()
    (gradient,) = torch.autograd.grad(made.values(x).sum(), x)
    torch.testing.assert_close(gradient, finite_difference(made.values, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layout", [plain_layout(1), Layout((0, 0, 0), (True,), (False,))], ids=["one", "levels"]
)
def test_of_one_column_there_is_nothing_to_predict(layout):
    made = fitted(rows_of(layout), layout)
    x = rows_of(layout, 10)
    assert (made.left_out == 0).all()
    assert (made.values(x) == 0).all()
    assert (made.shares(x) == 0).all()
    assert made.expected(x) is None


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_constant_and_repeated_rows_give_finite_energies(count):
    for rows in (
        rows_of(plain_layout(3), count),
        torch.ones(count, 3),
        rows_of(plain_layout(3), 1).repeat(count, 1),
    ):
        made = fitted(rows)
        assert made.left_out.isfinite().all()
        assert made.values(rows_of(plain_layout(3), 5, seed=1)).isfinite().all()
        check_values(made)


@pytest.mark.parametrize("groups", [1, 2, 5, 8])
@pytest.mark.parametrize("name", LAYOUTS)
def test_columns_are_dealt_out_whole(name, groups):
    layout = LAYOUTS[name]
    made = ConditionalEnergy(layout, groups)
    count, largest = hidden_sizes(layout, groups)
    assert made.hidden.shape == (count, largest)
    inputs = made.hidden[made.hidden < layout.width]
    assert inputs.sort().values.tolist() == list(range(layout.width))
    for group in made.hidden.tolist():
        columns = {layout.columns[i] for i in group if i < layout.width}
        assert [i for i in group if i < layout.width] == [
            i for i, owner in enumerate(layout.columns) if owner in columns
        ]


@pytest.mark.parametrize("value", [2 * MOST_USUAL, -2 * MOST_USUAL, math.nan, math.inf])
def test_widths_that_no_fit_gives_are_refused(value):
    made = fitted(rows_of(plain_layout(3)))
    check_values(made)
    made.usual[0, 0, 0] = value
    with pytest.raises(ValueError, match=r"must be moderate|not all finite"):
        check_values(made)


def test_nats_fall_as_the_logarithm_of_the_conditionals_of_a_gaussian():
    """Of independent columns the differences are those of a Student t with three degrees of freedom."""
    rows = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(3))
    part = ConditionalEnergy(plain_layout(2))
    part.fit(rows, torch.Generator().manual_seed(0))
    at = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    nats = part.nats(at)
    expected = [2 * math.log1p(x**2 / 3) for x in (0.0, 1.0, 2.0)]
    torch.testing.assert_close(
        nats - nats[0], torch.tensor(expected, dtype=torch.float64), atol=0.6, rtol=0.0
    )
