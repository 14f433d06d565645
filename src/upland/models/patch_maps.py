r"""Energies of the patches of an image, each compared with what is usual at its place.

The features of a patch are whitened over all places. Two distances say how far it is from normal patches:

* *anywhere*: to the nearest of a few thousand normal patches of any place (Roth et al., "Towards total recall
in
  industrial anomaly detection", CVPR 2022, arXiv 2106.08265);
* *here*: to the nearest patch that some normal images have at this place or beside it, which is what aligned
  parts are compared by (Defard et al., "PaDiM", ICPR 2020, arXiv 2011.08785, with a Gaussian for each place).

Distances are large at the edge of an image and where normal images differ from each other, whatever is wrong.
So each is standardised by the mean and the deviation that it has at its place among normal images that it has
not seen, d = (e - m_p) / s_p, where few images are not enough for s_p with that of all places.
Both are joined at each place by their cubic mean z_p, and over an image by a mean near the maximum,

    A = (1/P sum_p softplus(z_p)^6)^(1/6).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from upland.models.parts import Part
from upland.models.stored import require

ANYWHERE, HERE = 3_000, 1 << 21
"""Patches that are kept of any place; numbers that are kept of all places."""
AXES, AXES_HERE = 64, 32
SHRINKAGE = 0.3
FOLDS, LEFT_OUT = 5, 2_000
"""Parts of the images, and how many images are held against the patches of other parts at most."""
POWER, OVER_PLACES = 3, 6
OWN = 10.0
"""Images whose deviation over all places counts beside that of a place."""
LEAST_SCALE, LEAST_DEVIATION = 1e-6, 0.01
"""Deviation of a number of a patch; of a distance of whitened patches, which of one image is none."""
LEAST_SQUARE = 1e-12
AT_ONCE = 128
COMPARED = 1 << 19
"""Comparisons of patches at a time, few enough for a processor's cache."""
BESIDE = 3
"""Places along a side among which a patch is looked for."""


class PatchMaps(Part):
    """The energies of the patches of images, and of the images by them.

    Args:
        map: (C, h, w) of the map of patches.

    Examples:
        >>> import torch
        >>> rows = torch.randn(20, 2 * 3 * 3, generator=torch.Generator().manual_seed(0))
        >>> part = PatchMaps((2, 3, 3))
        >>> part.fit(rows, torch.Generator().manual_seed(0)).shape
        torch.Size([20])
        >>> part.heat(rows[:4]).shape
        torch.Size([4, 9])
    """

    sized = ("axes", "scale", "anywhere", "here")

    mean: Tensor
    axes: Tensor
    scale: Tensor
    anywhere: Tensor
    here: Tensor
    usual: Tensor
    deviations: Tensor

    def __init__(self, map: tuple[int, int, int]) -> None:
        super().__init__()
        self.map = map
        channels, height, width = map
        places = height * width
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float32))
        self.register_buffer("axes", torch.zeros(channels, 1, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(channels, dtype=torch.float32))
        self.register_buffer("anywhere", torch.zeros(1, 1, dtype=torch.float32))
        self.register_buffer("here", torch.zeros(1, places, 1, dtype=torch.float32))
        self.register_buffer("usual", torch.zeros(2, places, dtype=torch.float32))
        self.register_buffer("deviations", torch.ones(2, places, dtype=torch.float32))

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fit whitening, kept patches and what is usual; returned are the energies of the first images,
        `LEFT_OUT` at most, by other folds.

        Args:
            x: `(N, D)` maps in random order.
            generator: chooses patches.
        """
        patches = self._patches(x)
        found = x.new_zeros(2, min(len(x), LEFT_OUT), patches.shape[1])
        folds = torch.arange(len(x), dtype=torch.int64, device=x.device) % FOLDS
        for fold in range(min(FOLDS, len(x)) if len(x) > 1 else 0):
            self._keep(patches[folds != fold], generator)
            held_out = folds[: found.shape[1]] == fold
            found[:, held_out] = self._distances(patches[: found.shape[1]][held_out])
        self._keep(patches, generator)
        if len(x) == 1:
            found = self._distances(patches)
        self._fit_usual(found)
        return self._of_images(self._standardised(found))

    def _patches(self, x: Tensor) -> Tensor:
        """Rows as patches: `(N, D) -> (N, P, C)`."""
        return x.reshape(len(x), self.map[0], -1).movedim(1, 2)

    def _keep(self, patches: Tensor, generator: torch.Generator | None) -> None:
        """Whiten, and keep some patches of any place and of each."""
        flat = patches.flatten(0, 1)
        self.scale = 1 / flat.std(0, correction=0).clamp(min=LEAST_SCALE)
        scaled = (flat * self.scale).double()
        mean = scaled.mean(0)
        squares, axes = torch.linalg.eigh((scaled - mean).T @ (scaled - mean) / len(scaled))
        squares = squares.clamp(min=0)
        count = min(AXES, len(squares))
        axes = axes / (squares + SHRINKAGE * squares.mean().clamp(min=LEAST_SCALE)).sqrt()
        self.mean, self.axes = mean.to(flat), axes[:, -count:].flip(1).contiguous().to(flat)
        chosen = torch.randperm(len(flat), generator=generator)[:ANYWHERE].to(flat.device)
        self.anywhere = self._whitened(flat[chosen]).contiguous()
        images = max(1, HERE // (patches.shape[1] * min(AXES_HERE, count)))
        some = self._whitened(patches[:images].flatten(0, 1))[:, :AXES_HERE]
        self.here = some.reshape(min(images, len(patches)), patches.shape[1], -1).contiguous()

    def _fit_usual(self, distances: Tensor) -> None:
        """Mean and deviation of both distances at each place among images: `(2, N, P)`."""
        count, values = distances.shape[1], distances.double()
        own = values.var(dim=1, correction=0)
        at_all = own.mean(1, keepdim=True)
        shrunk = (count * own + OWN * at_all) / (count + OWN)
        self.usual = values.mean(1).to(distances)
        self.deviations = shrunk.sqrt().clamp(min=LEAST_DEVIATION).to(distances)

    # -- distances -------------------------------------------------------------------------------------------

    def _whitened(self, patches: Tensor) -> Tensor:
        """`(M, C) -> (M, K)`."""
        return (self.axes.T @ (patches * self.scale - self.mean).T).T

    def _distances(self, patches: Tensor) -> Tensor:
        """Distances to the nearest normal patches anywhere and here: `(N, P, C) -> (2, N, P)`."""
        seen = self._whitened(patches.flatten(0, 1))
        anywhere = torch.cat([_nearest(part, self.anywhere) for part in seen.split(AT_ONCE)])
        near = seen[:, : self.here.shape[2]].reshape(*patches.shape[:2], -1)
        return torch.stack([anywhere.reshape(near.shape[:2]), self._nearest_here(near)])

    def _nearest_here(self, seen: Tensor) -> Tensor:
        """The distance of each patch to the nearest at its place or beside it: `(N, P, K) -> (N, P)`.

        Each kept patch is compared with those that are seen at its place and at the eight beside it; of a
        place the least of the nine comparisons counts in which it has a part.
        """
        count, places, axes = seen.shape
        _, height, width = self.map
        maps = seen.movedim(1, 2).reshape(count, axes, height, width)
        around = functional.unfold(maps, BESIDE, padding=BESIDE // 2).reshape(count, axes, -1, places)
        kept, around = self.here.movedim(0, 1), around.permute(3, 1, 0, 2).reshape(places, axes, -1)
        centre = kept.mean(1, keepdim=True)  # of what is alike at a place the differences are small
        rows, columns = _factors(kept - centre, around - centre.mT)
        some = max(1, COMPARED // (rows.shape[1] * columns.shape[2]))
        pairs = zip(rows.split(some), columns.split(some), strict=True)
        least = torch.cat([(one @ other).amin(1) for one, other in pairs]).reshape(height, width, count, -1)
        found = torch.full((height, width, count), math.inf, dtype=seen.dtype, device=seen.device)
        for number in range(BESIDE**2):
            down, right = (part - BESIDE // 2 for part in divmod(number, BESIDE))
            below, own_rows = _overlap(height, down)
            beside, own_columns = _overlap(width, right)
            own = found[own_rows, own_columns]
            torch.minimum(own, least[below, beside, :, number], out=own)
        return found.permute(2, 0, 1).flatten(1).clamp(min=LEAST_SQUARE).sqrt()

    def _standardised(self, distances: Tensor) -> Tensor:
        """softplus(z_p) of each place: `(2, N, P) -> (N, P)`, float64."""
        z = (distances.double() - self.usual.double()[:, None]) / self.deviations.double()[:, None]
        joined: Tensor = torch.logaddexp(z, torch.zeros_like(z)).pow(POWER).mean(0).pow(1 / POWER)
        return joined

    def _of_images(self, heat: Tensor) -> Tensor:
        most: Tensor = heat.pow(OVER_PLACES).mean(1).pow(1 / OVER_PLACES)
        return most

    # -- energies --------------------------------------------------------------------------------------------

    def heat(self, x: Tensor) -> Tensor:
        """How anomalous each patch is, in deviations of its place: `(N, D) -> (N, P)`, float64."""
        return self._standardised(self._distances(self._patches(x)))

    def values(self, x: Tensor) -> Tensor:
        """A of each image: `(N, D) -> (N,)`, float64."""
        return self._of_images(self.heat(x))

    def shares(self, x: Tensor) -> Tensor:
        """A divided by the patches' cubes, those of a patch by its channels evenly: `(N, D) -> (N, D)`."""
        heat = self.heat(x)
        cubes = heat.pow(POWER)
        total = cubes.sum(1, keepdim=True)
        parts = torch.where(total > 0, cubes / total.clamp(min=1e-300), 1 / cubes.shape[1])
        each = self._of_images(heat)[:, None] * parts
        return each[:, None].expand(-1, self.map[0], -1).flatten(1) / self.map[0]

    def check_values(self) -> None:
        """Refuse deviations that are not positive; raises ValueError."""
        require(self.deviations > 0, "deviations of places must be positive")
        require(self.scale > 0, "scales of patches must be positive")


def _overlap(side: int, step: int) -> tuple[slice, slice]:
    """The places of a side that have a neighbour some steps on, and these neighbours."""
    return slice(max(0, -step), side - max(0, step)), slice(max(0, step), side - max(0, -step))


def _nearest(x: Tensor, others: Tensor) -> Tensor:
    """The distance of each row to the nearest of others: `(M, K)`, `(R, K)` -> `(M,)`."""
    rows, columns = _factors(others, x.T)
    nearest = others[(rows @ columns).min(0).indices]  # by products, and exactly then
    return (x - nearest).square().sum(1).clamp(min=LEAST_SQUARE).sqrt()


def _factors(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(-2 r, |r|^2, 1) and (x, 1, |x|^2), whose product is |r - x|^2: `(..., R, K)`, `(..., K, M)` with two
    numbers more.
    """
    squares, lengths = rows.square().sum(-1, keepdim=True), columns.square().sum(-2, keepdim=True)
    one = torch.cat([-2 * rows, squares, torch.ones_like(squares)], -1)
    return one, torch.cat([columns, torch.ones_like(lengths), lengths], -2)
