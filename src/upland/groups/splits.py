r"""Cutting a latent into many small vectors that keep neighbours together (KLODS, arXiv 2002.03328).

The covariance of a whole latent cannot be estimated from a few rows. But flows leave the dependence between
neighbours in their latents (Kirichenko et al. 2020), so a latent is cut into vectors of few coordinates, and
all vectors of a row and of its group count as draws of one Gaussian. A split brings a level's latents to

    (N, P, K, d): N rows, P vectors that are pooled, K Gaussians of their own, d coordinates.

Of images `(N, C, H, W)`:

| name | vector | P | K | d |
|---|---|---|---|---|
| location | the channels of one position | H W | 1 | C |
| block | 2 x 2 positions of one channel | C H W / 4 | 1 | 4 |
| pair | two positions of one channel side by side or one above the other | C (H (W-1) + W (H-1)) | 1 | 2 |

Of flat latents `(N, D)`:

| name | vector | P | K | d |
|---|---|---|---|---|
| whole | the latent | 1 | 1 | D |
| coordinate | each column | 1 | D | 1 |
| pairs | two neighbouring columns | D - 1 | 1 | 2 |

"whole" and "coordinate" also take images, as flat.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from upland.groups.outputs import ModelOutputs

WIDEST = 64
"""Coordinates of a vector up to which covariances are estimated."""


def location(z: Tensor) -> Tensor:
    """The channels of each position: `(N, C, H, W) -> (N, H W, 1, C)`."""
    return z.flatten(2).mT.unsqueeze(2)


def block(z: Tensor) -> Tensor:
    """Squares of 2 x 2 positions in each channel, the last odd row or column left out: `-> (N, P, 1, 4)`."""
    n, c, h, w = z.shape
    even = z[:, :, : h - h % 2, : w - w % 2].reshape(n, c, h // 2, 2, w // 2, 2)
    return even.permute(0, 1, 2, 4, 3, 5).reshape(n, -1, 1, 4)


def pair(z: Tensor) -> Tensor:
    """Neighbours in a row and in a column of each channel: `(N, C, H, W) -> (N, P, 1, 2)`."""
    across = torch.stack([z[..., :-1], z[..., 1:]], -1).reshape(z.shape[0], -1, 1, 2)
    down = torch.stack([z[..., :-1, :], z[..., 1:, :]], -1).reshape(z.shape[0], -1, 1, 2)
    return torch.cat([across, down], 1)


def whole(z: Tensor) -> Tensor:
    """The latent as one vector: `(N, ...) -> (N, 1, 1, D)`."""
    return z.reshape(z.shape[0], 1, 1, -1)


def coordinate(z: Tensor) -> Tensor:
    """Each column by itself: `(N, ...) -> (N, 1, D, 1)`."""
    return z.reshape(z.shape[0], 1, -1, 1)


def pairs(z: Tensor) -> Tensor:
    """All pairs of neighbouring columns, pooled: `(N, D) -> (N, D - 1, 1, 2)`."""
    z = z.flatten(1)
    return torch.stack([z[:, :-1], z[:, 1:]], -1).unsqueeze(2)


SPLITS: dict[str, Callable[[Tensor], Tensor]] = {
    "location": location,
    "block": block,
    "pair": pair,
    "whole": whole,
    "coordinate": coordinate,
    "pairs": pairs,
}
OF_IMAGES = ("location", "block", "pair")
OF_COLUMNS = ("pairs",)


def cut(z: Tensor, split: str) -> Tensor:
    """A level's latents as vectors: `(N, ...) -> (N, P, K, d)`, float64.

    Args:
        z: `(N, D)` or `(N, C, H, W)`.
        split: one of the names above.

    Raises:
        ValueError: there is no such split, or none of latents of this shape.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if (split in OF_IMAGES and z.ndim != 4) or (split in OF_COLUMNS and z.ndim != 2):
        raise ValueError(f"split {split!r} is not for latents of shape {tuple(z.shape)}")
    vectors = SPLITS[split](z.double())
    if not vectors[0].numel():
        raise ValueError(f"split {split!r} leaves nothing of latents of shape {tuple(z.shape)}")
    return vectors


def latent_splits(outputs: ModelOutputs) -> list[tuple[str, int]]:
    """The suitable splits of every level of latents: their names and the level's number.

    Args:
        outputs: of some rows, for their shapes.
    """
    return [(split, n) for n, level in enumerate(outputs.levels) for split in suitable_splits(level.mean)]


def suitable_splits(z: Tensor) -> list[str]:
    """The splits by which latents of this shape are compared.

    Args:
        z: `(N, D)` or `(N, C, H, W)`.
    """
    shape = z.shape[1:]
    if len(shape) == 3:
        suitable = {"location": shape[0] <= WIDEST, "block": min(shape[1:]) > 1, "pair": max(shape[1:]) > 1}
    else:
        width = shape.numel()
        suitable = {"whole": width <= WIDEST, "coordinate": width > 1, "pairs": width > WIDEST}
    return [name for name, suits in suitable.items() if suits]
