"""Laws of the energies of patches: distances by brute force, what is usual at a place, shares, few images."""

import math

import pytest
import torch

from laws import generator, normal
from upland.models import patch_maps
from upland.models.patch_maps import LEAST_SQUARE, OVER_PLACES, POWER, SHRINKAGE, PatchMaps
from upland.models.stored import check_values

MAPS = [(3, 4, 5), (2, 1, 6), (1, 3, 3), (5, 1, 1)]
maps = pytest.mark.parametrize("shape", MAPS, ids=str)


def images(count, shape, seed=0):
    """Maps whose channels depend on each other and whose places differ in mean and deviation."""
    channels, height, width = shape
    mixing = normal(channels, channels, seed=7) + 2 * torch.eye(channels, dtype=torch.float64)
    spread = 0.3 + torch.rand(height, width, generator=generator(8), dtype=torch.float64)
    mean = 2 * normal(*shape, seed=9)
    noise = torch.einsum("cd,ndhw->nchw", mixing, normal(count, *shape, seed=seed))
    return (mean + spread * noise).flatten(1)


def fitted(shape, count=20, x=None):
    made = PatchMaps(shape).double()
    made.left_out = made.fit(images(count, shape) if x is None else x, generator())
    return made


def patches_of(x, shape):
    """`(N, h, w, C)`."""
    return x.reshape(len(x), *shape).movedim(1, 3)


def brute_force(x, new, shape):
    """Distances anywhere and here, `(2, N, h, w)`, by the definition: all patches of all images are kept."""
    normal_ones, seen = patches_of(x, shape), patches_of(new, shape)
    flat = normal_ones.reshape(-1, shape[0])
    scale = 1 / flat.std(0, correction=0)
    covariance = torch.cov((flat * scale).T, correction=0).reshape(shape[0], shape[0])
    ridge = SHRINKAGE * covariance.diagonal().mean() * torch.eye(shape[0], dtype=torch.float64)
    precision = torch.linalg.inv(covariance + ridge)
    found = torch.zeros(2, *seen.shape[:3], dtype=torch.float64)
    for row in range(shape[1]):
        for column in range(shape[2]):
            here = [
                normal_ones[:, r, c]
                for r in range(shape[1])
                for c in range(shape[2])
                if abs(r - row) <= 1 and abs(c - column) <= 1
            ]
            for number, others in enumerate((flat, torch.cat(here))):
                gaps = (seen[:, row, column, None] - others) * scale
                squares = (gaps @ precision * gaps).sum(2).amin(1)
                found[number, :, row, column] = squares.clamp(min=LEAST_SQUARE).sqrt()
    return found


@maps
def test_distances_are_to_the_nearest_normal_patches_anywhere_and_here(shape):
    x, new = images(20, shape), images(7, shape, seed=1)
    found = fitted(shape, x=x)._distances(patches_of(new, shape).flatten(1, 2))
    torch.testing.assert_close(found, brute_force(x, new, shape).flatten(2), rtol=1e-6, atol=1e-6)
    assert bool((found[0] <= found[1] + 1e-9).all())


def test_only_patches_at_the_same_place_or_beside_it_count_as_here():
    """Two normal images change places: what is usual at one corner is far away at the other."""
    shape = (2, 1, 5)
    x = torch.zeros(12, 2, 1, 5, dtype=torch.float64) + 0.01 * images(12, shape).reshape(12, *shape)
    x[:, :, :, 4] += 5
    x = x.flatten(1)
    for place, near in ((4, True), (3, True), (2, False), (0, False)):
        new = x[:1].clone().reshape(1, *shape)
        new[..., place] = x[1].reshape(shape)[..., 4]
        there = fitted(shape, x=x)._distances(patches_of(new.flatten(1), shape).flatten(1, 2))[:, 0, place]
        assert float(there[0]) < 1e-3
        assert (float(there[1]) < 1e-3) is near


@pytest.mark.parametrize("shape", [(12, 4, 5), (9, 1, 6)], ids=str)
def test_the_left_out_distances_are_standardised_at_each_place(shape):
    """New images have a mean of nearly zero and a deviation of nearly one at each place."""
    made, new = fitted(shape, 400), images(400, shape, seed=1)
    distances = made._distances(patches_of(new, shape).flatten(1, 2))
    z = (distances - made.usual[:, None]) / made.deviations[:, None]
    assert float(z.mean(1).abs().max()) < 0.35
    assert float(z.std(1).min()) > 0.7
    assert float(z.std(1).max()) < 1.3
    assert 0.9 < float(made.left_out.mean() / made.values(new).mean()) < 1.1


def test_of_few_images_deviations_are_nearer_to_that_of_all_places():
    shape = (2, 3, 4)
    few, many = fitted(shape, 5), fitted(shape, 200)
    ratios = [made.deviations.std(1) / made.deviations.mean(1) for made in (few, many)]
    assert bool((few.deviations > 0).all())
    assert bool((ratios[0] < 2 * ratios[1]).all())


@maps
def test_an_image_is_the_mean_near_the_maximum_of_its_places(shape):
    made, new = fitted(shape), images(9, shape, seed=1)
    distances = made._distances(patches_of(new, shape).flatten(1, 2))
    z = (distances - made.usual[:, None]) / made.deviations[:, None]
    soft = (1 + z.exp()).log()
    heat = (soft**POWER).mean(0) ** (1 / POWER)
    torch.testing.assert_close(made.heat(new), heat, rtol=1e-9, atol=0)
    whole = (heat**OVER_PLACES).mean(1) ** (1 / OVER_PLACES)
    torch.testing.assert_close(made.values(new), whole, rtol=1e-9, atol=0)
    assert bool((whole <= heat.amax(1) + 1e-9).all())
    assert bool((whole >= heat.mean(1) - 1e-9).all())


@maps
def test_shares_sum_to_the_energy(shape):
    made, new = fitted(shape), images(9, shape, seed=1)
    shares = made.shares(new)
    assert shares.shape == new.shape
    assert bool((shares >= 0).all())
    torch.testing.assert_close(shares.sum(1), made.values(new), rtol=1e-9, atol=0)


def test_a_patch_that_is_changed_has_the_largest_share():
    shape = (3, 4, 5)
    made, new = fitted(shape, 60), images(6, shape, seed=1)
    before = made.values(new)
    changed = new.reshape(6, *shape).clone()
    changed[:, :, 2, 3] += 20
    changed = changed.flatten(1)
    assert bool((made.values(changed) > before).all())
    assert set(made.heat(changed).argmax(1).tolist()) == {2 * 5 + 3}
    assert set(made.shares(changed).reshape(6, 3, -1).sum(1).argmax(1).tolist()) == {2 * 5 + 3}


@pytest.mark.parametrize("shape", MAPS[:3], ids=str)  # no image has a map of one position
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_images_are_enough(shape, count):
    made, new = fitted(shape, count), images(20, shape, seed=1)
    assert made.left_out.shape == (count,)
    assert bool(made.left_out.isfinite().all())
    assert bool(made.shares(new).isfinite().all())
    far = made.values(new + 50)
    assert bool((far > made.values(new)).all())
    check_values(made)


def test_images_that_are_all_equal_still_tell_a_change():
    shape = (2, 3, 3)
    x = images(1, shape).expand(6, -1).clone()
    made = fitted(shape, x=x)
    assert bool(made.values(x).isfinite().all())
    assert float(made.values(x + 0.1).amin()) > float(made.values(x).amax())


def test_what_is_kept_is_bounded_and_drawn_by_the_generator_alone(monkeypatch):
    monkeypatch.setattr(patch_maps, "ANYWHERE", 15)
    monkeypatch.setattr(patch_maps, "HERE", 3 * 20 * 2)
    shape, before = (3, 4, 5), torch.get_rng_state()
    one, two = fitted(shape), fitted(shape)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.anywhere.shape == (15, 3)
    assert one.here.shape == (2, 20, 3)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    other = PatchMaps(shape).double()
    other.fit(images(20, shape), generator(5))
    assert not torch.equal(other.anywhere, one.anywhere)


@maps
def test_stored_it_is_the_same_bits(shape):
    made, again = PatchMaps(shape), PatchMaps(shape)
    made.fit(images(12, shape).float(), generator())
    again.load_state_dict(made.state_dict())
    check_values(again)
    new = images(9, shape, seed=1).float()
    assert torch.equal(again.values(new), made.values(new))
    assert math.prod(made.here.shape) == again.here.numel()


@pytest.mark.parametrize("name", ["deviations", "scale"])
def test_widths_that_are_not_positive_are_refused(name):
    made = fitted((2, 2, 2), 5)
    made.get_buffer(name).reshape(-1)[0] = 0
    with pytest.raises(ValueError, match="must be positive"):
        check_values(made)
