"""A network with few fixed weights as features of images."""

import torch
from torch.nn import functional

from upland.detectors.features.network import Backbone, NetworkFeatures

TINY = "tiny"


def tiny():
    """Features by two convolutions with random weights, the same at each call."""
    source = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=source) for shape in [(6, 3, 3, 3), (8, 6, 3, 3)])

    def network(pixels):
        x = functional.conv2d(pixels / 128 - 1, first, stride=4, padding=1).tanh()
        return [x, functional.conv2d(x, second, stride=2, padding=1).tanh()]

    return NetworkFeatures(TINY, Backbone(network, (0, 1), (), (0,), (6, 8), 4, "0" * 64))
