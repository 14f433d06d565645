"""Features by modules and functions of one's own: what they see, what is made of what they give, and what is
refused.
"""

import copy

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.image.features import FeaturesError
from upland.detectors.features.modules import check_own, described, digest_of, label_of
from upland.detectors.features.network import weights_digest
from upland.detectors.features.own import CHANNELS, OwnFeatures


class Net(torch.nn.Module):
    """Two maps, of one half and one quarter of the sides; its mode and its batch would show."""

    def __init__(self, seed=0, channels=7):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 5, 3, 2, 1)
        self.norm, self.drop = torch.nn.BatchNorm2d(5), torch.nn.Dropout(0.5)
        self.second = torch.nn.Conv2d(5, channels, 3, 2, 1)
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in [*self.parameters(), self.norm.running_mean]:
                value.copy_(torch.randn(value.shape, generator=source, dtype=torch.float32))

    def forward(self, x):
        first = torch.relu(self.norm(self.first(x)))
        return {"first": first, "second": self.second(self.drop(first))}


def means(x):
    return x.mean((2, 3))


def half(x):
    return avg_pool2d(x, 2)


MADE = {
    "a module": (Net(), (5, 7), (12, 8, 10)),
    "a map": (half, (3,), (3, 8, 10)),
    "a list of maps": (lambda x: [avg_pool2d(x, 4), half(x)], (3, 3), (6, 8, 10)),
    "a tuple of maps": (lambda x: (x, half(x), x), (3, 3, 3), (6, 16, 20)),
    "a dict of maps": (lambda x: {"a": half(x), "b": half(x)}, (3, 3), (6, 8, 10)),
    "coarse maps": (lambda x: [avg_pool2d(x, 5), avg_pool2d(x, 8)], (3, 3), (0, 1, 1)),
    "one fine map": (lambda x: [avg_pool2d(x, 8), half(x)], (3, 3), (3, 8, 10)),
    "vectors": (means, (3,), (0, 1, 1)),
    "two vectors": (lambda x: [means(x), x.amax((2, 3))[:, :1]], (3, 1), (0, 1, 1)),
    "a map and a vector": (lambda x: (means(x), half(x)), (3, 3), (3, 8, 10)),
    "whole numbers": (lambda x: (half(x) * 255).to(torch.int64), (3,), (3, 8, 10)),
    "many channels": (lambda x: half(x).repeat(1, 50, 1, 1), (150,), (CHANNELS, 8, 10)),
    "a large map": (lambda x: x.repeat(1, 1, 5, 5), (3,), (3, 40, 50)),
}
every = pytest.mark.parametrize("made", MADE)


def codes(count=4, channels=3, seed=0, height=16, width=20):
    levels = np.random.default_rng(seed).integers(0, 256, (count, channels, height, width))
    return ((levels + 0.5) / 256 - 0.5).astype(np.float32)


@every
def test_the_layout_is_of_what_is_given(made):
    module, vectors, patches = MADE[made]
    layout = OwnFeatures(module).layout((3, 16, 20))
    assert (layout.vectors, layout.map) == (vectors, patches)
    assert layout.directions
    assert not layout.pixels


@every
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_features_of_an_image_depend_on_it_alone(made, channels):
    source, x = OwnFeatures(MADE[made][0]), codes(channels=channels)
    found = source.transform(x)
    assert found.shape == (4, source.layout(x.shape[1:]).width)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    for row in range(4):
        np.testing.assert_array_equal(source.transform(x[row : row + 1])[0], found[row])
    np.testing.assert_array_equal(source.transform(x[::-1].copy())[::-1], found)
    assert source.transform(x[:0]).shape == (0, found.shape[1])


def test_images_come_at_their_size_with_values_from_0_to_1_and_three_channels():
    seen = []
    source = OwnFeatures(lambda x: seen.append(x.clone()) or half(x))
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    source.transform(((levels + 0.5) / 256 - 0.5).astype(np.float32))
    assert {(tuple(x.shape), x.dtype) for x in seen} == {((1, 3, 16, 16), torch.float32)}
    np.testing.assert_array_equal(seen[-1][0, 0].numpy(), levels[0, 0] / np.float32(255))
    assert torch.equal(seen[-1][:, 0], seen[-1][:, 2])


def test_vectors_are_means_and_patches_are_averaged_over_three_by_three():
    x = codes(1)
    found = OwnFeatures(lambda x: x).transform(x)[0]
    pixels = np.round((x[0].astype(np.float64) + 0.5) * 256 - 0.5) / 255
    np.testing.assert_allclose(found[:3], pixels.mean((1, 2)), rtol=1e-5)
    patches = found[3:].reshape(3, 16, 20)
    np.testing.assert_allclose(patches[1, 5, 7], pixels[1, 4:7, 6:9].mean(), rtol=1e-5)
    np.testing.assert_allclose(patches[2, 0, 0], pixels[2, :2, :2].mean(), rtol=1e-5)


def test_of_many_channels_those_at_even_steps_are_used():
    def wide(x):
        return half(x)[:, :1] + torch.arange(2 * CHANNELS, dtype=torch.float32)[:, None, None]

    found = OwnFeatures(wide).transform(codes(1))[0, 2 * CHANNELS :].reshape(CHANNELS, -1).mean(1)
    np.testing.assert_allclose(np.diff(found), 2, rtol=1e-4)


def test_a_function_may_change_the_image_that_it_is_given():
    def in_place(x):
        return half(x.sub_(0.5).div_(0.2))

    x = codes(2, channels=1)
    kept = x.copy()
    np.testing.assert_allclose(
        OwnFeatures(in_place).transform(x), OwnFeatures(lambda x: half((x - 0.5) / 0.2)).transform(x)
    )
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_in_evaluation_mode_while_it_runs_and_stays_as_it_was(training):
    module = Net().train(training)
    module.drop.train(not training)
    module.first.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = OwnFeatures(module).transform(codes())
    assert (module.training, module.drop.training) == (training, not training)
    assert [value.requires_grad for value in module.parameters()] == [False, *[True] * 5]
    assert all(value.grad is None for value in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    np.testing.assert_array_equal(found, OwnFeatures(Net().eval()).transform(codes()))


def test_nothing_has_gradients_while_a_function_runs():
    module, seen = Net().eval(), []
    OwnFeatures(lambda x: seen.append(module(x)["first"].requires_grad) or half(x)).transform(codes(1))
    assert set(seen) == {False}
    assert torch.is_grad_enabled()


def test_what_becomes_of_the_module_later_changes_no_feature():
    module = Net()
    source = OwnFeatures(module)
    before = source.transform(codes())
    with torch.no_grad():
        module.second.weight.zero_()
    np.testing.assert_array_equal(source.transform(codes()), before)


def test_a_module_of_another_dtype_is_used_with_float32():
    found = OwnFeatures(Net().double()).transform(codes())
    np.testing.assert_allclose(found, OwnFeatures(Net()).transform(codes()), rtol=1e-5, atol=1e-6)


@every
def test_shares_keep_their_sum_and_patches_their_place(made):
    source = OwnFeatures(MADE[made][0])
    layout = source.layout((3, 16, 20))
    shares = np.random.default_rng(0).random((3, layout.width))
    pixels = source.to_pixels(shares, (3, 16, 20))
    assert pixels.shape == (3, 3, 16, 20)
    np.testing.assert_allclose(pixels.sum((1, 2, 3)), shares.sum(1))
    assert source.to_codes(shares, (3, 16, 20)) is None
    assert set(source.regions((3, 16, 20))) == {9}
    if layout.map[0]:
        shares = np.zeros((1, layout.width))
        shares[0, layout.of_vectors] = 1  # the patch at the top on the left
        heat = source.to_pixels(shares, (3, 16, 20))[0].sum(0)
        assert np.unravel_index(heat.argmax(), heat.shape) == (0, 0)


# -- what is refused -----------------------------------------------------------------------------------------

WRONG = {
    "no tensor": (lambda x: x.numpy(), r"Cut must return maps \(N, C, h, w\) or vectors .* got ndarray"),
    "nothing": (lambda x: None, "must return .* got NoneType"),
    "a part": (lambda x: {"x": x, "masks": None}, "got under 'masks' NoneType"),
    "an item": (lambda x: [x, 3], "got at 1 int"),
    "an empty list": (lambda x: [], "got an empty list"),
    "no channels": (lambda x: x[:, :0], "which is empty"),
    "tokens": (lambda x: x.flatten(2), r"got Tensor \(1, 3, 320\)"),
    "a number": (lambda x: x.mean(), r"got Tensor \(\) of torch.float32"),
    "complex numbers": (lambda x: x + 1j, "of torch.complex64"),
    "two rows": (lambda x: x.repeat(2, 1, 1, 1), r"gives 2 rows for 1 image"),
    "no row": (lambda x: x[:0], r"gives 0 rows for 1 image"),
    "infinite": (lambda x: half(x) / 0, "are not all finite"),
    "not a number": (lambda x: means(x).log() * 0 / 0, "are not all finite"),
    "an error": (lambda x: torch.nn.Linear(5, 5)(x), r"raised RuntimeError for an image \(1, 3, 16, 20\)"),
    "random numbers": (lambda x: half(x) + torch.rand(1, 3, 8, 10), "something else .* each time"),
}


class Cut:
    """A function with a name."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_gives_no_features_is_refused_at_fit(wrong):
    function, message = WRONG[wrong]
    with pytest.raises(FeaturesError, match=f"^features: .*{message}"):
        OwnFeatures(Cut(function)).fit(codes())


def test_sizes_that_differ_between_images_are_refused():
    source = OwnFeatures(lambda x: half(x)[:, :, : 4 + int(x[0, 0, 0, 0] > 0.5)])
    x = codes(2)
    x[:, :, 0, 0] = [[-0.4], [0.4]]
    with pytest.raises(FeaturesError, match="for another of the same size"):
        source.transform(x)


def test_an_image_without_finite_features_is_named():
    encoder = FeatureEncoder(
        ImageEncoder(scaling="levels"), OwnFeatures(lambda x: half(x) / x.std().round(decimals=4))
    )
    pictures = np.random.default_rng(0).integers(0, 256, (6, 16, 20), dtype=np.uint8)
    encoder.fit_batches([pictures])
    pictures[4] = 7
    with pytest.raises(ValueError, match=r"features='own': those of image\D*4 are not all finite"):
        encoder.transform(pictures)


@pytest.mark.parametrize(
    ("wrong", "message"), [(3, "got 3"), (None, "got None"), ([half], "got "), (Net, "class Net")]
)
def test_what_is_no_module_and_no_function_is_refused(wrong, message):
    with pytest.raises(FeaturesError, match=f"^features must be a module or function from images.*{message}"):
        check_own(wrong)


def test_a_module_that_cannot_be_copied_is_refused_with_a_way_out():
    class Alone(Net):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    module = Alone().eval()
    with pytest.raises(FeaturesError, match=r"Alone cannot be copied .*there is one of me.* give a function"):
        OwnFeatures(module)
    found = OwnFeatures(lambda x: module(x)).transform(codes())
    np.testing.assert_array_equal(found, OwnFeatures(Net()).transform(codes()))


def test_compiled_modules_are_modules():
    expected = OwnFeatures(Net()).transform(codes())
    for compiled in (
        torch.jit.script(Net().eval()),
        torch.jit.trace(Net().eval(), torch.zeros(1, 3, 16, 18), strict=False),
    ):
        np.testing.assert_allclose(OwnFeatures(compiled).transform(codes()), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "module", [torch.nn.LazyConv2d(4, 3), torch.nn.Conv2d(3, 4, 3, device="meta")], ids=["lazy", "meta"]
)
def test_a_module_without_values_is_refused(module):
    with pytest.raises(FeaturesError, match="Conv2d has weights without values: call it once first"):
        OwnFeatures(module)


# -- names, digests and state --------------------------------------------------------------------------------


def test_names_and_digests():
    assert [label_of(one) for one in (Net(), means, Cut(means), lambda x: x)] == [
        *("Net", "means", "Cut", "<lambda>")
    ]
    assert digest_of(means) == digest_of(torch.nn.Flatten()) == digest_of(Cut(means))
    assert digest_of(Net()) == digest_of(Net()) == digest_of(copy.deepcopy(Net()).eval())
    others = [Net(seed=1), Net(channels=8), Net().double()]
    others.append(Net())
    others[-1].norm.num_batches_tracked += 1  # a tensor without dimensions
    assert len({digest_of(one) for one in [Net(), *others]}) == 5
    assert described(Net()) == f"Net, SHA-256 {weights_digest(Net())}"


def test_a_class_within_a_function_has_its_own_name():
    class Net(torch.nn.Module):
        pass

    assert label_of(Net()) == "Net"


def saved(module, shape=(3, 16, 20)):
    source = OwnFeatures(module)
    source.fit(np.zeros((1, *shape), dtype=np.float32))
    return source.to_state()


@every
def test_the_state_is_taken_up_by_the_same_module(made):
    module = MADE[made][0]
    manifest, tensors = saved(module)
    assert manifest == {"name": label_of(module), "digest": digest_of(module), "shape": [3, 16, 20]}
    parts = [*MADE[made][1], int(np.prod(MADE[made][2]))]
    assert tensors["probe"].shape == (sum(min(64, part) for part in parts),)
    again = OwnFeatures(module)
    again.restore(manifest, tensors)
    assert again.to_state()[0] == manifest
    np.testing.assert_array_equal(again.to_state()[1]["probe"], tensors["probe"])


class Normalised(torch.nn.Module):
    """Does something before its weights, which are always the same."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.net = factor, Net()

    def forward(self, x):
        return self.net(x * self.factor)["second"]


@pytest.mark.parametrize(
    ("module", "other", "message"),
    [
        (Net(), half, "by Net, and those given are by half: give the module or function of the fit"),
        (Net(), Net(seed=1), "Net with other weights"),
        (Normalised(1.0), Normalised(1.01), "with the same weights: look at what it does before and after"),
        (lambda x: half(x), lambda x: half(x) + 0.01, r"of the same picture \(by 0.01"),
        (lambda x: half(x), lambda x: means(x), r"of the same picture \(another number\)"),
        (lambda x: half(x), lambda x: x / "a", "cannot be read with the features given: .* raised TypeError"),
    ],
)
def test_another_module_is_refused(module, other, message):
    with pytest.raises(FeaturesError, match=message):
        OwnFeatures(other).restore(*saved(module))


def test_rounding_is_no_other_module():
    OwnFeatures(Normalised(1.0 + 1e-5)).restore(*saved(Normalised(1.0)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("shape", value)
            for value in ([3, 16], [3, 0, 20], [2, 16, 20], "3", [3, 1 << 20, 1 << 20], [True] * 3)
        ),
        ("probe", np.ones((2, 2), dtype=np.float32)),
        ("probe", np.ones(64, dtype=np.float64)),
        ("probe", np.full(64, np.nan, dtype=np.float32)),
        ("more", 1),
    ],
)
def test_a_state_that_no_fit_leaves_is_refused(field, value):
    manifest, tensors = saved(half)
    (tensors if field == "probe" else manifest)[field] = value
    with pytest.raises(ValueError, match=r"fixed picture|not the state") as refused:
        OwnFeatures(half).restore(manifest, tensors)
    assert not isinstance(refused.value, FeaturesError)
