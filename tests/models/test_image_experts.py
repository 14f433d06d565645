"""Laws of the product of experts of images: shares, weights, vectors alone, what is stored."""

from dataclasses import replace

import pytest
import torch

from laws import generator, normal
from upland.data.image.features import FeatureLayout
from upland.models.blocks import in_blocks
from upland.models.image_experts import ImageExperts, VectorGaussians
from upland.models.stored import check_values

LAYOUTS = {
    "one vector and a map": FeatureLayout((4,), (2, 3, 3)),
    "of a network": FeatureLayout((5, 3), (2, 2, 2), directions=True),
    "pixels and a map": FeatureLayout((6, 4), (2, 2, 3), pixels=True),
    "pixels": FeatureLayout((6,), (0, 0, 0), pixels=True),
    "vectors": FeatureLayout((2, 3, 4), (0, 0, 0)),
}
layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def rows(layout, count=40, seed=0, shift=3.0):
    width = layout.width
    return (normal(count, width, seed=seed) @ normal(width, width, seed=7) / width**0.5 + shift).float()


def fitted(layout, x=None, points=3_000):
    made = ImageExperts(layout, points)
    made.init_from_data(rows(layout) if x is None else x, generator())
    return made.eval()


@layouts
def test_shares_sum_to_the_score(layout):
    made, new = fitted(layout), torch.cat([rows(layout, 8, seed=1), rows(layout, 2, shift=30.0)])
    shares = made.shares(new)
    assert shares.shape == new.shape
    assert shares.dtype == torch.float64
    assert bool((shares >= 0).all())
    torch.testing.assert_close(shares.sum(1), made.joined_score(new), rtol=1e-9, atol=1e-12)


@layouts
def test_the_score_is_the_weighted_cubic_mean_of_standard_scores(layout):
    made, new = fitted(layout), rows(layout, 9, seed=1)
    z, weights = made.standard_scores(new), made.weights.double()
    assert len(z) == len(weights) == len(made.parts)
    cubes = ((1 + z.exp()).log() ** 3 * weights[:, None]).sum(0) / weights.sum()
    torch.testing.assert_close(made.joined_score(new), cubes ** (1 / 3), rtol=1e-9, atol=0)
    torch.testing.assert_close(made.energy(new), (weights @ z) / weights.sum(), rtol=1e-9, atol=1e-9)


@layouts
def test_new_images_have_standard_scores_of_mean_zero_and_deviation_one(layout):
    z = fitted(layout, rows(layout, 400)).standard_scores(rows(layout, 400, seed=1))
    assert float(z.mean(1).abs().max()) < 0.3
    assert float(z.std(1).min()) > 0.75
    assert float(z.std(1).max()) < 1.4


@layouts
def test_rows_of_vectors_alone_are_scored_without_patches(layout):
    made, new = fitted(layout), rows(layout, 9, seed=1)
    vectors = new[:, : layout.of_vectors]
    z = made.standard_scores(vectors)
    assert len(z) == len(made.parts) - bool(layout.map[0])
    torch.testing.assert_close(z, made.standard_scores(new)[: len(z)], rtol=1e-9, atol=1e-9)
    shares = made.shares(vectors)
    assert shares.shape == vectors.shape
    torch.testing.assert_close(shares.sum(1), made.joined_score(vectors), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(made.joined_score(vectors).isfinite().all(), torch.tensor(True))


@layouts
def test_what_is_far_from_normal_images_scores_more(layout):
    made, new = fitted(layout), rows(layout, 9, seed=1)
    noise = normal(*new.shape, seed=3).float()
    scores = [made.joined_score(new + size * noise) for size in (0, 10, 100)]
    assert bool((scores[0] < scores[1]).all())
    if not layout.directions:
        assert bool((scores[1] < scores[2]).all())


def test_the_weight_of_patches_goes_by_how_alike_the_images_are():
    """By the odds of the mean cosine of the vectors of two images, but of pixels, and those of `alike`."""
    for name, share in (("of a network", 0.5), ("pixels and a map", 0.5), ("of a network", 0.9)):
        layout = replace(LAYOUTS[name], alike=share)
        apart = rows(layout, shift=0.0)
        alike = rows(layout, 1) + 1e-4 * rows(layout)
        for x in (apart, alike, rows(layout)):
            cosines = []
            parts = x[:, : layout.of_vectors].double().split(layout.vectors, dim=1)
            for part in parts[1:] if layout.pixels else parts:
                units = part / part.norm(dim=1, keepdim=True)
                pairs = units @ units.T
                cosines.append(float(pairs[~torch.eye(len(x), dtype=torch.bool)].mean()))
            r = max(sum(cosines) / len(cosines), 0.0)
            weights = fitted(layout, x).weights
            of_kernels = len(layout.vectors)
            assert weights[:-1].sum() == 2 * of_kernels
            assert weights[0] == 1
            expected = (r / (1 - r) / share * (1 - share)) ** 2
            assert float(weights[-1]) == pytest.approx(min(max(expected, 99**-2), 99**2), rel=1e-4)
        assert float(fitted(layout, alike).weights[-1]) == pytest.approx(99**2, rel=1e-4)
        assert float(fitted(layout, apart).weights[-1]) < 1
    assert set(fitted(LAYOUTS["vectors"]).weights.tolist()) == {1.0}


def test_lengths_of_vectors_of_a_network_do_not_count_for_their_kernels():
    layout = FeatureLayout((5,), (0, 0, 0), directions=True)
    made, new = fitted(layout), rows(layout, 6, seed=1)
    kernel = [made.standard_scores(factor * new)[0] for factor in (1, 3)]
    torch.testing.assert_close(kernel[0], kernel[1], rtol=1e-4, atol=1e-4)


@layouts
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_images_are_enough(layout, count):
    made, new = fitted(layout, rows(layout, count)), rows(layout, 20, seed=1)
    check_values(made)
    for found in (made.joined_score(new), made.energy(new), made.shares(new), made.expected(new)):
        assert bool(found.isfinite().all())


@layouts
def test_images_that_are_all_equal_still_tell_a_change(layout):
    x = rows(layout, 1).expand(8, -1).clone()
    made = fitted(layout, x)
    changed = x[:1] + torch.where(torch.arange(layout.width) % 2 == 0, 0.5, -0.5)
    assert float(made.joined_score(changed)) > float(made.joined_score(x[:1]))
    assert bool(made.joined_score(x).isfinite().all())


@layouts
@pytest.mark.parametrize("points", [3_000, 12])
def test_stored_it_is_the_same_bits(layout, points):
    made, again = fitted(layout, points=points), ImageExperts(layout, points)
    assert len(made.rows) == min(points, 40)
    again.load_state_dict(made.state_dict())
    check_values(again)
    new = rows(layout, 9, seed=1)
    for one, other in (
        (made.joined_score(new), again.joined_score(new)),
        (made.shares(new), again.shares(new)),
        (made.expected(new), again.expected(new)),
        (made.reconstruct_without_prior(new), again.reconstruct_without_prior(new)),
    ):
        assert torch.equal(one, other)


@layouts
def test_the_order_of_images_and_the_global_seed_do_not_matter_to_a_fit(layout):
    before = torch.get_rng_state()
    one, two = fitted(layout), fitted(layout)
    assert torch.equal(torch.get_rng_state(), before)
    new = rows(layout, 9, seed=1)
    assert torch.equal(one.joined_score(new), two.joined_score(new))
    order = torch.randperm(9, generator=generator(2))
    scores = [in_blocks(lambda model, x, _: model.joined_score(x), one, x, 1.0) for x in (new, new[order])]
    torch.testing.assert_close(scores[1], scores[0][order], rtol=1e-7, atol=0)


@layouts
def test_copies_of_an_image_do_not_hide_what_new_images_are_like(layout):
    """A support point that stands for several equal images is not left out: its copies are there."""
    x = rows(layout)
    made = fitted(layout, torch.cat([x, x[:5]]))
    assert len(made.rows) == len(x)
    assert bool(made.joined_score(rows(layout, 9, seed=1)).isfinite().all())


@pytest.mark.parametrize("name", ["of a network", "pixels and a map", "vectors"])
def test_the_gaussians_alone_are_an_energy_whose_reconstruction_is_by_its_gradient(name):
    layout = LAYOUTS[name]
    made = fitted(layout).double()
    alone, new = made.without_prior(), rows(layout, 6, seed=1).double()
    assert isinstance(alone, VectorGaussians)
    point = new.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(alone.energy(point).sum(), point)
    torch.testing.assert_close(alone.reconstruct(new), new - gradient, rtol=1e-6, atol=1e-6)
    assert not gradient[:, layout.of_vectors :].any()


@pytest.mark.parametrize("name", ["weights", "normal_deviations"])
def test_values_that_are_not_positive_are_refused(name):
    made = fitted(LAYOUTS["of a network"])
    made.get_buffer(name)[0] = -1
    with pytest.raises(ValueError, match="must be positive"):
        check_values(made)
