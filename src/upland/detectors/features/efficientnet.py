"""EfficientNet-Lite, a convolutional network for mobile processors, as a source of feature maps.

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019 (arXiv
1905.11946); the Lite variants (2020) have no squeeze-and-excitation and ReLU6 for swish. Batch normalisation
is folded into the convolutions, w' = w g / sqrt(v + e) and b' = b - m g / sqrt(v + e), so that a map is one
convolution and one bound. Padding is that of TensorFlow ("same"), from which the weights were converted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
"""Of each stage: blocks, side of the filters, stride of the first block, factor of the channels inside."""

STRIDES = (2, 4, 8, 16, 16, 32, 32, 32)
"""Pixels from one position of a map to the next, of each stage and of the head."""

CHANNELS = (16, 24, 40, 80, 112, 192, 320, 1280)
"""Channels of the map of each stage and of the head."""

_EPSILON = 1e-3
_CENTRE, _UNIT = 127.0, 128.0


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 without its classifier.

    Args:
        state: weights by the names of the package `efficientnet_lite_pytorch`.

    Raises:
        ValueError: a weight lacks, or has another shape.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        source = _Weights(state)
        self.stem = _convolution(source, "_conv_stem", "_bn0", (32, 3, 3, 3), stride=2)
        blocks, below, number = [], 32, 0
        for (count, side, stride, factor), channels in zip(STAGES, CHANNELS, strict=False):
            stage = []
            for position in range(count):
                sizes = (below, channels, side, stride if position == 0 else 1, factor)
                stage.append(_Block(source, f"_blocks.{number}.", *sizes))
                below, number = channels, number + 1
            blocks.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(blocks)
        self.head = _convolution(source, "_conv_head", "_bn1", (CHANNELS[-1], below, 1, 1))
        self.requires_grad_(False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """The maps of the stages and of the head: `(N, 3, H, W)`, 0 to 255, to `(N, C, h, w)` each."""
        x = functional.relu6(self.stem((pixels - _CENTRE) / _UNIT))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*maps, functional.relu6(self.head(x))]


class _Same(nn.Conv2d):
    """A convolution whose output has 1 / stride of the sides of its input, rounded up."""

    def reset_parameters(self) -> None:
        """Nothing is drawn: weights are given."""

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, C', h, w)`."""
        side, stride = self.kernel_size[0], self.stride[0]
        lacking = [max((math.ceil(n / stride) - 1) * stride + side - n, 0) for n in (x.shape[3], x.shape[2])]
        padded = functional.pad(x, [part for n in lacking for part in (n // 2, n - n // 2)])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, 1, self.groups)


class _Block(nn.Module):
    """An inverted residual: wider by a factor, filtered channel by channel, narrow again."""

    def __init__(
        self, source: _Weights, name: str, below: int, channels: int, side: int, stride: int, factor: int
    ) -> None:
        super().__init__()
        inside = below * factor
        self.expand = (
            _convolution(source, f"{name}_expand_conv", f"{name}_bn0", (inside, below, 1, 1))
            if factor > 1
            else None
        )
        shape = (inside, 1, side, side)
        self.filter = _convolution(source, f"{name}_depthwise_conv", f"{name}_bn1", shape, stride, inside)
        self.project = _convolution(source, f"{name}_project_conv", f"{name}_bn2", (channels, inside, 1, 1))
        self.residual = stride == 1 and below == channels

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, C', h, w)`."""
        inside = x if self.expand is None else functional.relu6(self.expand(x))
        narrow: Tensor = self.project(functional.relu6(self.filter(inside)))
        return x + narrow if self.residual else narrow


class _Weights:
    """Weights that are asked for by name and shape."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def get(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A weight in float64; raises ValueError where there is none of this shape."""
        found = self.state.get(name)
        if found is None or found.shape != shape:
            raise ValueError(f"the weights have no {name} of shape {shape}")
        return found.double()


def _convolution(
    source: _Weights, name: str, norm: str, shape: tuple[int, ...], stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution with the batch normalisation behind it folded in."""
    channels = shape[0]
    gain, offset, mean, variance = (
        source.get(f"{norm}.{part}", (channels,))
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / torch.sqrt(variance + _EPSILON)
    made = _Same(shape[1] * groups, channels, shape[2], stride, groups=groups)
    weight = source.get(f"{name}.weight", shape) * factor[:, None, None, None]
    made.weight = nn.Parameter(weight.float(), requires_grad=False)
    made.bias = nn.Parameter((offset - mean * factor).float(), requires_grad=False)
    return made
