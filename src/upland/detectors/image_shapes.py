"""Names and shapes of the weights of a product of experts of images, as far as its tensors say how many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.detectors.image_experts import ExpertsOfImages
from upland.models.patch_maps import AXES, AXES_HERE

Weights = Mapping[str, Tensor]


def shapes_of_image_experts(
    model: ExpertsOfImages, encoder: Encoder, weights: Weights
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each weight and its shape.

    Args:
        model: the architecture.
        encoder: fitted.
        weights: as they are stored, by name.
    """
    assert isinstance(encoder, FeatureEncoder)
    layout = encoder.layout
    rows = _counted(weights, "rows", layout.of_vectors)
    has_gaussian = [bool(number) or not layout.pixels for number in range(len(layout.vectors))]
    count = len(layout.vectors) + sum(has_gaussian) + bool(layout.map[0])
    yield "anchor", (1,)
    yield "rows", (rows, layout.of_vectors)
    for name in ("weights", "normal_means", "normal_deviations"):
        yield name, (count,)
    for number, width in enumerate(layout.vectors):
        place = f"parts.kernel {number}"
        for name in ("scale", "mean"):
            yield f"{place}.{name}", (width,)
        yield f"{place}.axes", (0, 0)
        yield f"{place}.bandwidths", (rows,)
        yield f"{place}.usual_distance", (1,)
        if has_gaussian[number]:
            place = f"parts.gaussian {number}"
            axes = weights[f"{place}.variances"].numel() if f"{place}.variances" in weights else 1
            yield f"{place}.mean", (width,)
            yield f"{place}.axes", (width, max(1, axes))
            yield f"{place}.variances", (max(1, axes),)
            yield f"{place}.rest", (1,)
    if layout.map[0]:
        yield from _patches(layout.map, weights)


def _patches(shape: tuple[int, int, int], weights: Weights) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Of the energies of patches."""
    channels, places = shape[0], math.prod(shape[1:])
    axes = min(AXES, channels)
    here = min(AXES_HERE, axes)
    yield "parts.patches.mean", (channels,)
    yield "parts.patches.axes", (channels, axes)
    yield "parts.patches.scale", (channels,)
    yield "parts.patches.anywhere", (_counted(weights, "parts.patches.anywhere", axes), axes)
    yield "parts.patches.here", (_counted(weights, "parts.patches.here", places * here), places, here)
    yield "parts.patches.usual", (2, places)
    yield "parts.patches.deviations", (2, places)


def _counted(weights: Weights, name: str, width: int) -> int:
    """How many rows of some width a tensor has, at least one."""
    return max(1, weights[name].numel() // width) if name in weights and width else 1
