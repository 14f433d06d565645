"""Sobol' points, always the same, whatever PyTorch's default dtype is."""

import torch
from torch import Tensor


def sobol_points(count: int, width: int, dtype: torch.dtype) -> Tensor:
    """Evenly spread points of the unit cube, scrambled with a fixed seed: `(count, width)`.

    Args:
        count: number of points.
        width: dimensions.
        dtype: of the points; the first one has the precision of float32.
    """
    engine = torch.quasirandom.SobolEngine(width, scramble=True, seed=0)
    first = engine.quasi.to(torch.float32) / 2**engine.MAXBIT  # the engine divides in the default dtype
    points = engine.draw(count, dtype=dtype)
    points[0] = first
    return points
