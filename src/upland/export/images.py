"""Images as their codes in a graph: what `upland.data.image.encoder` computes, by the same steps.

The graph takes images of the size, the channels and the type of the fit, `(N, H, W)` grey ones or
`(N, H, W, C)`; it does not resize. Images with NaN or infinite pixels are refused.
"""

from __future__ import annotations

import numpy as np

from upland.data.image.encoder import FAR, ImageEncoder
from upland.detectors.base import Detector
from upland.export.encoded import Encoded
from upland.export.functions import within
from upland.export.graph import Graph, Value
from upland.io.advice import Advice, Wording

NAME = "image"
"""Name of the input."""


def encoded(graph: Graph, detector: Detector) -> Encoded:
    """The images as every member encodes them.

    Args:
        graph: that inputs and codes are added to.
        detector: fitted.

    Raises:
        ValueError: its encoders make features.
    """
    encoders = [member.encoder for member in detector.members_ if isinstance(member.encoder, ImageEncoder)]
    if not encoders:
        way = Wording("with energy='dsebm'", "with --epochs")
        raise ValueError(Advice("there is no graph of features of images: fit the deep energy, ", way))
    channels, height, width = encoders[0].shape
    dtype = encoders[0].dtype
    shape: list[int | str] = ["N", height, width, *([channels] if channels > 1 else [])]
    given = graph.input(graph.names.reserve(NAME), dtype, shape)
    pixels = given.to(np.float64).reshape(0, height, width, channels)
    refused: list[Value] = []
    if dtype.kind == "f":
        odd = graph.op("IsInf", pixels, dtype=bool) | graph.op("IsNaN", pixels, dtype=bool)
        refused.append(odd.reshape(0, -1).to(np.int32).sum(1) > 0)
        pixels = graph.where(odd, 0.0, pixels)
    points = [_codes(graph, encoder, pixels) for encoder in encoders]
    return Encoded(points, refused, [{"name": NAME, "type": dtype.name, "shape": shape}])


def _codes(graph: Graph, encoder: ImageEncoder, pixels: Value) -> Value:
    """Codes `(N, C, H, W)` float32 of pixels `(N, H, W, C)` float64."""
    center, unit = encoder.mean, encoder.scale
    channels, height, width = encoder.shape
    counted = None
    if encoder.ignored is not None:
        counted = graph.constant(~encoder.ignored[..., None], bool)
        pixels = graph.where(counted, pixels, 0.0)
    if encoder.scaling == "contrast":
        pixels = graph.op("Sign", pixels) * pixels.abs().sqrt()
        flat = pixels.reshape(0, -1)
        count = float(encoder.width if encoder.ignored is None else channels * (~encoder.ignored).sum())
        mean = flat.sum(1, keep=True) / count
        away = flat - mean
        if counted is not None:
            away = graph.where(counted, away.reshape(-1, height, width, channels), 0.0).reshape(0, -1)
        contrast = ((away * away).sum(1, keep=True) / count).sqrt()
        codes = (away / ((contrast + center) * unit)).reshape(-1, height, width, channels)
    else:
        codes = (pixels - center) / unit
        if counted is not None:
            codes = graph.where(counted, codes, 0.0)
    codes = within(codes, -FAR, FAR).to(np.float32)
    return graph.op("Transpose", codes, perm=[0, 3, 1, 2])
