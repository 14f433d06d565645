"""The coordinates in which projections, mean discrepancies and Stein discrepancies are taken."""

from typing import Literal

import torch
from torch import Tensor

from upland.groups.base import bounded
from upland.groups.outputs import ModelOutputs

SEED = 2002_03328
BLOCK = 256  # rows of a product
PAIRS = 1_000  # rows among which the median distance is taken

Space = Literal["latents", "points"]


def space_of(outputs: ModelOutputs) -> Space:
    """The latents where the model has them, otherwise the encoded rows.

    Args:
        outputs: what the model says of some rows.
    """
    return "latents" if outputs.levels else "points"


def flat(outputs: ModelOutputs, space: Space) -> Tensor:
    """All latents, or the points, of each row: `(N, D)`, float64, bounded.

    Args:
        outputs: what the model says of N rows.
        space: "latents" or "points".
    """
    if space == "points":
        return bounded(outputs.points).flatten(1)
    return torch.cat([bounded(level.mean).flatten(1) for level in outputs.levels], 1)


def median_distance(x: Tensor) -> Tensor:
    """The median distance between two rows among the first thousand: `(N, D)` -> scalar, positive."""
    distances = torch.pdist(x[:PAIRS])
    positive = distances[distances > 0]
    return positive.median() if len(positive) else torch.ones((), dtype=x.dtype)


def gaussian_matrix(rows: int, columns: int) -> Tensor:
    """Standard normal numbers, the same at every call: `(rows, columns)`, float64."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)


def product(x: Tensor, matrix: Tensor) -> Tensor:
    """Rows times a matrix, the same bits of each row whatever is beside it: `(N, D)`, `(D, M)` -> `(N, M)`.

    All products are of one shape, the last rows padded: libraries choose their sums by the shape.

    Args:
        x: the rows.
        matrix: the other factor.
    """
    padded = torch.nn.functional.pad(x, (0, 0, 0, -len(x) % BLOCK))
    return torch.cat([part @ matrix for part in padded.split(BLOCK)])[: len(x)]
