"""Laws of Glow, in float64, for images of many shapes."""

import copy
import math

import pytest
import torch

from laws import generator, normal, randomise
from upland.models.glow import Glow
from upland.models.glowlevels import EVEN, ChannelCoupling, ChannelMaps, Edges, ToneCurve

ROWS = 3
SHAPES = {
    "even": ((1, 4, 4), 1),
    "two levels": ((1, 8, 4), 2),
    "colour": ((3, 4, 8), 2),
    "odd": ((2, 7, 5), 2),
    "odd below": ((1, 6, 7), 2),
    "three levels": ((1, 9, 11), 3),
    "least": ((1, 2, 2), 1),
    "a strip": ((1, 2, 5), 1),
}


def glow(shape, levels, depth=2, hidden=4, seed=0, tones=8):
    """A Glow whose weights have all left their beginnings, but not so far that it folds space."""
    model = Glow(shape, levels, depth, hidden, tones, generator=generator(seed)).double()
    model.init_from_data(normal(50, *shape, seed=1))
    with torch.no_grad():
        for number, value in enumerate(model.parameters()):
            value.add_(0.1 * normal(*value.shape, seed=number))
    return model


@pytest.fixture(params=SHAPES)
def case(request):
    shape, levels = SHAPES[request.param]
    return glow(shape, levels), normal(ROWS, *shape, seed=2)


def test_decoding_undoes_encoding(case):
    model, x = case
    z, ladj = model.encode(x)
    assert [tuple(part.shape[1:]) for part in z] == model.latent_shapes
    assert sum(part[0].numel() for part in z) == x[0].numel()
    assert ladj.shape == (ROWS,)
    torch.testing.assert_close(model.decode(z), x, rtol=1e-9, atol=1e-9)


def test_encoding_undoes_decoding(case):
    model, _ = case
    z = [normal(ROWS, *shape, seed=number) for number, shape in enumerate(model.latent_shapes)]
    for part, again in zip(z, model.encode(model.decode(z))[0], strict=True):
        torch.testing.assert_close(again, part, rtol=1e-9, atol=1e-9)


def test_ladj_is_the_log_determinant_of_the_jacobian(case):
    model, x = case
    ladj = model.encode(x)[1]
    for row, expected in zip(x, ladj, strict=True):

        def flat(point):
            return torch.cat([part.flatten() for part in model.encode(point[None])[0]])

        jacobian = torch.autograd.functional.jacobian(flat, row).reshape(row.numel(), -1)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], expected, rtol=1e-9, atol=1e-9)


def test_the_density_is_that_of_the_latents_times_the_determinant(case):
    model, x = case
    z, ladj = model.encode(x)
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = sum(standard.log_prob(part).flatten(1).sum(1) for part in z) + ladj
    torch.testing.assert_close(model.log_prob(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model.energy(x), -expected, rtol=1e-12, atol=1e-12)
    assert [level.variance for level in model.latents(x)] == [None] * len(z)
    assert all(torch.equal(level.mean, part) for level, part in zip(model.latents(x), z, strict=True))


def test_the_density_integrates_to_one():
    """Of a image of four pixels, by importance sampling."""
    model = glow((1, 2, 2), 1, depth=1, hidden=3, tones=3)
    with torch.no_grad():
        drawn = model.sample(20_000, generator()).flatten(1)
        proposal = torch.distributions.MultivariateNormal(drawn.mean(0), 1.5 * torch.cov(drawn.T))
        points = proposal.mean + normal(100_000, 4, seed=3) @ proposal.scale_tril.T
        ratio = (model.log_prob(points.reshape(-1, 1, 2, 2)) - proposal.log_prob(points)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / math.sqrt(len(ratio))
    assert ratio.std() / math.sqrt(len(ratio)) < 0.02


def test_equivariant_under_a_permutation_of_rows(case):
    model, x = case
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model.log_prob(x[order]), model.log_prob(x)[order], rtol=1e-12, atol=1e-12)


# -- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 5, 256])
def test_tones_are_the_distribution_function_between_the_ends(pieces):
    curve = ToneCurve(pieces).double()
    x = 0.2 * normal(400, 1, 3, 3, seed=5)
    curve.init_from_data(x)
    steps = torch.linspace(-0.5, 0.5, pieces + 1, dtype=torch.float64)
    below = torch.stack([(x.clamp(-0.499, 0.499) < step).double().mean() for step in steps])
    expected = (1 - EVEN) * (below - 0.5) + EVEN * steps
    torch.testing.assert_close(curve.heights, expected, rtol=0, atol=1e-6)
    at = steps.reshape(1, -1, 1, 1)
    torch.testing.assert_close(curve(at)[0].flatten(), expected, rtol=0, atol=1e-6)
    wide = 3 * x
    torch.testing.assert_close(curve.inverse(curve(wide)[0]), wide)
    outside = wide.abs() > 0.5
    assert torch.equal(curve(wide)[0][outside], wide[outside])
    point = x[:5].clone().requires_grad_()
    z, ladj = curve(point)
    (slope,) = torch.autograd.grad(z.sum(), point)
    torch.testing.assert_close(slope.log().flatten(1).sum(1), ladj)


def test_a_curve_of_one_piece_is_the_straight_line():
    curve, x = ToneCurve(1).double(), normal(4, 1, 3, 3)
    curve.init_from_data(x)
    torch.testing.assert_close(curve(x)[0], x)
    torch.testing.assert_close(curve(x)[1], torch.zeros(4, dtype=torch.float64))


def test_the_map_of_a_step_is_actnorm_then_rotation():
    maps = randomise(ChannelMaps(3, 4, generator()).double(), scale=0.3)
    x = normal(ROWS, 4, 2, 3)
    for step, affine in enumerate(maps.maps()):
        lower = maps.lower[step].tril(-1) + torch.eye(4)
        upper = maps.upper[step].triu(1) + torch.diag(maps.signs[step] * maps.diagonal[step].exp())
        scaled = x * maps.scale[step].exp()[:, None, None]
        expected = torch.einsum("oi,nihw->nohw", maps.permutations[step] @ lower @ upper, scaled)
        expected = expected + maps.bias[step][:, None, None]
        torch.testing.assert_close(affine(x), expected)
        torch.testing.assert_close(affine.inverse()(affine(x)), x)
    whole = sum(torch.linalg.slogdet(affine.matrix)[1] for affine in maps.maps())
    torch.testing.assert_close(maps.ladj(), whole)


def test_a_coupling_begins_as_the_identity_and_its_scale_is_bounded():
    coupling = ChannelCoupling(6, 4, generator()).double()
    x = normal(ROWS, 6, 3, 3)
    kept, moved, ladj = coupling(x)
    assert torch.equal(torch.cat([kept, moved], 1), x)
    assert torch.equal(ladj, torch.zeros(ROWS, dtype=torch.float64))
    randomise(coupling, scale=100.0)
    assert coupling(x)[2].abs().max() <= 2.0 * 27
    assert torch.isfinite(coupling(1e4 * x)[1]).all()


def test_edges_are_the_last_row_and_column():
    edges = Edges(2, 3, 5, 4, generator()).double()
    x = torch.arange(30.0, dtype=torch.float64).reshape(1, 2, 3, 5)
    inner, z, _ = edges(x)
    torch.testing.assert_close(inner, x[:, :, :2, :4])
    torch.testing.assert_close(
        z[0], torch.tensor([4.0, 9, 10, 11, 12, 13, 14, 19, 24, 25, 26, 27, 28, 29]).double()
    )
    randomise(edges, scale=0.3)
    inner, z, _ = edges(x)
    torch.testing.assert_close(edges.inverse(inner, z), x)


# -- initialisation ------------------------------------------------------------------------------------------


def test_initialisation_makes_channels_standard():
    model = Glow((2, 6, 6), 1, depth=3, hidden=4, generator=generator()).double()
    x = 5 + 0.01 * normal(200, 2, 6, 6)
    model.init_from_data(x)
    z = model.encode(x)[0][-1].transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-9)
    torch.testing.assert_close(z.var(1, correction=0).sum(), torch.tensor(8.0, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("kind", ["constant", "one channel constant", "one row", "same rows"])
def test_initialisation_survives_what_does_not_vary(shape, kind):
    x = normal(20, *shape).float()
    if kind == "constant":
        x = torch.full_like(x, 0.25)
    elif kind == "one channel constant":
        x[:, 0] = -0.5
    elif kind == "one row":
        x = x[:1]
    else:
        x = x[:1].expand_as(x)
    model = Glow(shape, 2, depth=2, hidden=4, generator=generator())
    model.init_from_data(x)
    assert torch.isfinite(model.log_prob(x)).all()
    z, _ = model.encode(x)
    torch.testing.assert_close(model.decode(z), x, rtol=1e-3, atol=1e-3)


def test_nothing_is_initialised_again_by_a_batch_or_by_loading():
    model = glow((1, 6, 5), 2)
    before = copy.deepcopy(model.state_dict())
    x = normal(9, 1, 6, 5)
    expected = model.log_prob(x)
    model.train()
    model.log_prob(100 * normal(9, 1, 6, 5, seed=4) + 7)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    again = Glow((1, 6, 5), 2, 2, 4, 8, generator=generator(5)).double()
    again.load_state_dict(before)
    torch.testing.assert_close(again.train().log_prob(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(again.eval().log_prob(x), expected, rtol=0, atol=0)


def test_initial_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    one, two = (Glow((1, 7, 8), 2, 2, 4, generator=generator(7)) for _ in range(2))
    other = Glow((1, 7, 8), 2, 2, 4, generator=generator(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    x = normal(2, 1, 7, 8).float()
    assert not torch.equal(one.encode(x)[0][-1], other.encode(x)[0][-1])
    assert torch.equal(one.sample(3, generator(1)), two.sample(3, generator(1)))


# -- training ------------------------------------------------------------------------------------------------


def test_every_weight_gets_a_gradient_and_moves(case):
    model, x = case
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.energy(x).mean().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        if math.prod(value.shape[-2:]) > 1 or value.dim() < 3:
            assert value.grad.abs().max() > 0, name
    optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("seed", range(3))
def test_trains_from_any_seed(seed):
    """Images that are mostly a constant, as many are, in single precision and at a high rate."""
    noise = generator(seed)
    x = torch.zeros(200, 1, 10, 10) - 0.5
    x[:, :, 3:7, 3:7] = torch.rand(200, 1, 1, 1, generator=noise) - 0.5
    model = Glow((1, 10, 10), depth=4, hidden=8, generator=noise)
    model.init_from_data(x, noise)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.energy(x + (torch.rand(x.shape, generator=noise) - 0.5) / 256).mean() / 100
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] - 0.5
    z, _ = model.eval().encode(x)
    assert torch.isfinite(model.decode(z)).all()
    assert torch.isfinite(model.sample(20, noise)).all()


# -- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((1, 28, 28), 3), ((3, 32, 32), 3), ((1, 2, 2), 1), ((1, 8, 8), 1), ((1, 12, 30), 2)],
)
def test_levels_that_are_taken(shape, levels):
    assert len(Glow(shape, depth=1, hidden=1).levels) == levels


@pytest.mark.parametrize(
    "wrong",
    [{"levels": 0}, {"levels": 4}, {"depth": 0}, {"hidden": 0}, {"tones": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_arguments_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Glow((1, 8, 8), **wrong)
    with pytest.raises(ValueError, match="sides of 1 x 9"):
        Glow((1, 1, 9))
