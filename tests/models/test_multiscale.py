"""Laws of the multi-scale energy, its priors and its views, in float64."""

import copy
import math
from typing import get_args

import pytest
import torch

from laws import autograd_gradient, finite_difference, generator, normal, randomise
from upland.models import kernel_prior as kernels
from upland.models.energies import DenseEnergy
from upland.models.kernel_prior import CHUNK, KernelPrior, distinct_rows
from upland.models.multiscale import MultiscaleEnergy, Prior
from upland.models.multiscale import _softplus as from_gate
from upland.models.views import KNOTS, Ranks, log_compressed
from upland.training.objectives import conditional

WIDTH, ROWS = 5, 9
TRAINING = normal(300, WIDTH, seed=4)
X = normal(ROWS, WIDTH, seed=1) * 2.3


def made(prior="kernel", hidden=(16, 24), n_nets=2, scales=(0.1, 0.4, 1.5)):
    model = MultiscaleEnergy(WIDTH, hidden, n_nets, scales, prior, generator=generator()).double()
    model = randomise(model, scale=0.4)
    model.init_from_data(TRAINING, generator(1))
    model.fit_normalization(TRAINING)
    return model.eval()


MODELS = {
    **{prior: lambda prior=prior: made(prior) for prior in get_args(Prior)},
    "few units": lambda: made(hidden=(3,)),
    "three layers": lambda: made(hidden=(6, 7, 8), n_nets=3),
    "one scale": lambda: made(scales=(0.5,), n_nets=1),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_reconstruction_is_x_minus_the_gradient(model):
    expected = X - autograd_gradient(model, X)
    torch.testing.assert_close(model.reconstruct(X), expected, rtol=1e-10, atol=1e-10)


def test_gradient_is_the_finite_difference(model):
    slope = finite_difference(model.energy, X)
    torch.testing.assert_close(X - model.reconstruct(X).detach(), slope, rtol=1e-5, atol=1e-6)


def test_far_out_the_gradient_still_holds(model):
    far = X + 40
    torch.testing.assert_close(
        model.reconstruct(far), far - autograd_gradient(model, far), rtol=1e-7, atol=1e-6
    )


def test_each_scale_is_denoised_by_its_own_gradient():
    model = made("centre", n_nets=1)
    for sigma in model.scales:
        x = X.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model._energy(x, sigma).sum(), x)
        torch.testing.assert_close(model.denoised(X, sigma)[0], X - slope, rtol=1e-10, atol=1e-10)


def test_training_and_scoring_denoise_alike(model):
    for sigma in model.scales:
        wide = X.expand(model.n_nets, -1, -1)
        trained = model.denoise(wide, torch.full((model.n_nets, ROWS, 1), sigma, dtype=X.dtype))
        torch.testing.assert_close(model.denoised(X, sigma), trained, rtol=1e-12, atol=1e-12)


def test_the_softplus_from_its_gate_is_the_softplus():
    a = torch.cat([torch.linspace(-300, 300, 6001), torch.tensor([-1e30, 1e30])])
    wanted = torch.nn.functional.softplus(a.double(), threshold=1e9)
    torch.testing.assert_close(from_gate(a, torch.sigmoid(a)).double(), wanted, rtol=1e-6, atol=1e-6)


def test_nets_share_nothing():
    model = made("centre")
    before = model.denoised(X, 0.4)
    with torch.no_grad():
        for value in model.parameters():
            value[1] += 0.1
    after = model.denoised(X, 0.4)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert not torch.allclose(after[1], before[1])


def test_shares_are_positive_and_sum_to_the_joined_score(model):
    shares = model.shares(X)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), model.joined_score(X), rtol=1e-12, atol=1e-12)


def test_the_joined_score_is_the_cubic_mean_of_its_parts(model):
    parts = model._distances(X).mean(1)
    z = (parts - model.normal_means[:, None]) / model.normal_deviations[:, None]
    weights = [1 / len(model.scales)] * len(z)
    if model.prior is not None:
        weights = [0.4 * weight for weight in weights] + [0.2] * 3
        z = torch.cat([z, model.prior.standard_scores(X)])
    excess = torch.nn.functional.softplus(z)
    expected = sum(weight * part**3 for weight, part in zip(weights, excess, strict=True)) ** (1 / 3)
    torch.testing.assert_close(model.joined_score(X), expected, rtol=1e-7, atol=1e-7)
    assert (expected <= excess.amax(0) + 1e-12).all()


def test_a_planted_column_has_the_largest_share(model):
    x = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    x.fill_diagonal_(30.0)
    assert torch.equal(model.shares(x).argmax(1), torch.arange(WIDTH))


def test_a_row_alone_is_the_row_in_a_batch(model):
    for function in (model.energy, model.joined_score, model.reconstruct, model.shares):
        alone = torch.cat([function(row[None]) for row in X])
        torch.testing.assert_close(alone, function(X), rtol=1e-10, atol=1e-10)


def test_a_far_row_outranks_a_near_one(model):
    x = torch.zeros(1, WIDTH, dtype=torch.float64)
    distances = torch.tensor([0.0, 4.0, 8.0, 30.0, 300.0, 700.0], dtype=torch.float64)
    scores = model.joined_score(x + distances[:, None])
    assert (scores.diff() > 0).all(), scores
    assert torch.isfinite(scores).all()


def test_every_weight_gets_a_gradient_and_moves():
    model = made()
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        conditional(model, X, 1.0, generator(step)).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None, name
            assert value.grad.abs().max() > 0, name
        optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_the_objective_is_minimal_where_theory_says():
    """Of N(0, v I) the best denoiser shrinks by v / (v + sigma^2); so does the centre's term where v = 1."""
    model = MultiscaleEnergy(2, (4,), 1, (0.1, 1.0), "centre", generator=generator()).double()
    with torch.no_grad():
        model.gains.zero_()
    draws = generator(5)
    rows = torch.randn(40_000, 2, generator=draws, dtype=torch.float64)
    best = float(conditional(model, rows, 1.0, generator(7)).detach())
    assert best == pytest.approx(2.0, abs=0.05)  # (1 + s^2) / s^2 * D * s^2 / (1 + s^2)
    for shift in (0.4, -0.4):
        with torch.no_grad():
            model.centre.fill_(shift)
        assert float(conditional(model, rows, 1.0, generator(7)).detach()) > best + 0.01


def test_without_its_prior_it_is_the_ensemble_alone(model):
    bare = model.without_prior()
    mean = torch.stack([model._energy(X, sigma) for sigma in model.scales]).mean(0)
    torch.testing.assert_close(bare.energy(X), mean, rtol=1e-12, atol=1e-12)
    before = X - autograd_gradient(bare, X)
    torch.testing.assert_close(bare.reconstruct(X), before, rtol=1e-10, atol=1e-10)
    assert (model.prior is None) == (bare is model)


def test_the_normalisation_is_that_of_normal_rows():
    model = made()
    roots = model._distances(TRAINING).mean(1)
    torch.testing.assert_close(model.normal_deviations, roots.std(1, correction=0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.normal_means, roots.mean(1), rtol=1e-9, atol=1e-9)


def test_state_survives_whatever_the_number_of_rows(model):
    prior = "centre" if model.prior is None else "mixture" if model.prior.clusters else "kernel"
    hidden = tuple(w.shape[2] for w in model.weights)
    fresh = MultiscaleEnergy(WIDTH, hidden, model.n_nets, model.scales, prior).double().eval()
    fresh.load_state_dict(model.state_dict())
    for function in ("energy", "joined_score", "shares", "reconstruct"):
        assert torch.equal(getattr(fresh, function)(X), getattr(model, function)(X)), function


def test_the_papers_model_is_untouched():
    model = DenseEnergy(WIDTH, (4,), generator()).double()
    h = torch.log1p(torch.exp(X @ model.weights[0].T + model.biases[0]))
    expected = 0.5 * (X - model.prior).square().sum(1) - h.sum(1)
    torch.testing.assert_close(model.energy(X), expected, rtol=1e-12, atol=1e-12)


# -- priors --------------------------------------------------------------------------------------------------


def test_a_kernel_of_few_rows_is_the_density_estimate():
    """With one chunk a row (all others at infinity) nothing is left out of the sum."""
    kernel = KernelPrior(2).double()
    kernel.init_from_data(normal(5, 2, seed=2), generator())
    rows = kernel.centres
    for number in range(3):
        seen, points = kernel.view(rows, number)[0], kernel.view(X[:, :2], number)[0]
        gaps = torch.cdist(points, seen).square()
        torch.testing.assert_close(kernel.energies(X[:, :2])[number], 0.5 * gaps.amin(1))


def test_a_kernel_sums_over_its_chunks():
    kernel = KernelPrior(WIDTH).double()
    kernel.init_from_data(TRAINING, generator())
    for number in range(3):
        seen, points = kernel.view(kernel.centres, number)[0], kernel.view(X, number)[0]
        least = [torch.cdist(points, part).square().amin(1) for part in seen.split(CHUNK)]
        scale = 2 * float(kernel.bandwidths[number]) ** 2
        expected = -scale / 2 * torch.stack([torch.exp(-part / scale) for part in least]).mean(0).log()
        torch.testing.assert_close(kernel.energies(X)[number], expected, rtol=1e-7, atol=1e-7)


def test_a_copy_of_a_training_row_is_no_special_case():
    """Next to a training row the score is next to that row's own."""
    model = made()
    copies = TRAINING[:20]
    there, beside = model.joined_score(copies), model.joined_score(copies + 1e-5)
    torch.testing.assert_close(there, beside, rtol=1e-2, atol=1e-2)


def test_what_is_near_does_not_depend_on_how_many_chunks_are_read_together(monkeypatch):
    kernel = made().prior
    wide = [kernel.nearest(X, number) for number in range(3)]
    monkeypatch.setattr(kernels, "NUMBERS_AT_ONCE", 2 * X.numel())
    for number, expected in enumerate(wide):
        for one, other in zip(kernel.nearest(X, number), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_kernel_keeps_distinct_rows_only():
    rows = torch.cat([TRAINING[:1].expand(5_000, -1), TRAINING[:200]])
    kernel = KernelPrior(WIDTH, support_points=150).double()
    kernel.init_from_data(rows, generator())
    assert kernel.centres.shape == (150, WIDTH)
    assert len(torch.unique(kernel.centres, dim=0)) == 150
    everything = KernelPrior(WIDTH).double()
    everything.init_from_data(rows, generator())
    assert torch.equal(torch.unique(everything.centres, dim=0), torch.unique(TRAINING[:200], dim=0))


def test_a_training_row_is_compared_with_the_others():
    """What is usual is that of rows that the centres lack; a row with copies keeps one of them."""
    rows = torch.cat([TRAINING, TRAINING[:30]])
    kernel = KernelPrior(WIDTH).double()
    kernel.init_from_data(rows, generator())
    for number in range(3):
        points, scale = kernel.view(kernel.centres, number)[0], 2 * float(kernel.bandwidths[number]) ** 2
        roots = []
        for row in rows:
            own = (kernel.centres == row).all(1)
            gaps = (points - kernel.view(row[None], number)[0]).square().sum(1)
            if (rows == row).all(1).sum() == 1:
                gaps[own] = math.inf
            least = torch.stack([part.amin() for part in gaps.split(CHUNK)])
            roots.append((-scale * torch.exp(-least / scale).mean().log()).sqrt())
        torch.testing.assert_close(
            kernel.normal_means[number], torch.stack(roots).mean(), rtol=1e-6, atol=1e-6
        )


def test_distinct_rows_come_in_their_order():
    rows = torch.tensor([[2.0], [1.0], [2.0], [3.0], [1.0], [2.0]])
    first, copies, number = distinct_rows(rows)
    assert first.tolist() == [0, 1, 3]
    assert copies.tolist() == [3, 2, 3, 1, 2, 3]
    assert number.tolist() == [0, 1, 0, 2, 1, 0]


def test_a_mixture_keeps_means_and_no_rows():
    model = made("mixture")
    gaps = torch.cdist(model.prior.centres, TRAINING).amin(1)
    assert len(model.prior.centres) <= 64
    assert (gaps > 1e-9).double().mean() > 0.7  # a cluster of one row is that row
    assert not any(len(value) == len(TRAINING) for value in model.state_dict().values() if value.ndim)


def test_columns_without_spread_do_no_harm():
    rows = torch.zeros(50, 3, dtype=torch.float64)
    rows[:, 0] = normal(50, seed=3)
    model = MultiscaleEnergy(3, (8,), 1, (0.1, 1.0), "kernel", generator=generator()).double().eval()
    model.init_from_data(rows, generator())
    model.fit_normalization(rows)
    scores = model.joined_score(torch.cat([rows, rows + torch.tensor([0.0, 5.0, 0.0])]))
    assert torch.isfinite(scores).all()
    assert scores[50:].min() > scores[:50].max()


def test_identical_rows_do_no_harm():
    rows = torch.ones(40, 3, dtype=torch.float64)
    for prior in get_args(Prior):
        model = MultiscaleEnergy(3, (8,), 1, (0.1, 1.0), prior, generator=generator()).double().eval()
        model.init_from_data(rows, generator())
        model.fit_normalization(rows)
        scores = model.joined_score(torch.stack([rows[0], rows[0] + 3]))
        assert torch.isfinite(scores).all()
        assert scores[1] > scores[0]


# -- views ---------------------------------------------------------------------------------------------------


def every_view():
    ranks = Ranks(1).double()
    ranks.fit(normal(500, 1, seed=6))
    return {
        "wide": lambda x: log_compressed(x, 4.0),
        "narrow": lambda x: log_compressed(x, 1.0),
        "ranks": ranks,
    }


@pytest.mark.parametrize("name", ["wide", "narrow", "ranks"])
def test_a_view_grows_and_its_slope_is_its_derivative(name):
    view = every_view()[name]
    x = torch.linspace(-70, 70, 4001, dtype=torch.float64)[:, None] + 1e-3
    value, slope = view(x)
    assert (value.diff(dim=0) > 0).all()
    step = 1e-7
    measured = (view(x + step)[0] - view(x - step)[0]) / (2 * step)
    close = torch.isclose(slope, measured, rtol=1e-4, atol=1e-4)
    assert close.double().mean() > 0.98  # at a knee or knot the slope jumps


def test_the_wide_view_undoes_the_encoders_knee():
    z = torch.tensor([[0.5, 1.9, 3.0, 4.0]], dtype=torch.float64)
    codes = torch.where(z <= 2, z, 2 + torch.log1p(z - 2))
    torch.testing.assert_close(log_compressed(codes, 4.0)[0], z)
    expected = torch.where(z <= 1, z, 1 + torch.log1p((z - 1).clamp(min=0)))
    torch.testing.assert_close(log_compressed(codes, 1.0)[0], expected)


def test_ranks_of_training_values_are_normal_scores():
    values = normal(KNOTS, 1, seed=8).exp()
    ranks = Ranks(1).double()
    ranks.fit(values)
    found = ranks(values.sort(0).values)[0][:, 0]
    middle = (torch.arange(KNOTS, dtype=torch.float64) + 0.5) / KNOTS
    expected = torch.special.ndtri(middle)
    torch.testing.assert_close(found, expected / expected.std(correction=0), rtol=1e-9, atol=1e-9)


def test_ranks_beyond_the_ends_follow_the_codes():
    ranks = Ranks(1).double()
    ranks.fit(torch.linspace(0, 1, 50, dtype=torch.float64)[:, None])
    inside, outside = ranks(torch.tensor([[1.0], [4.0]], dtype=torch.float64))[0]
    assert math.isclose(float(outside - inside), 3.0)
