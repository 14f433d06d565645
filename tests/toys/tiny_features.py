"""A network with few fixed weights as features of images."""

import torch
from torch import nn

from upland.detectors.features.network import Backbone, NetworkFeatures

TINY = "tiny"


def tiny():
    """Features by two convolutions with random weights, the same at each call."""
    return NetworkFeatures(TINY, Backbone(Tiny(), (0, 1), (), (0,), (6, 8), 4, "0" * 64))


class Tiny(nn.Module):
    """Two convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=4, padding=1, bias=False)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False)
        source = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=source)
        self.requires_grad_(False)

    def forward(self, pixels):
        x = self.first(pixels / 128 - 1).tanh()
        return [x, self.second(x).tanh()]
