r"""A product of experts for images: energies in closed form of vectors and patches of features.

Features (`upland.data.image.features`) are vectors of the whole image and a map of patches. Each vector has
two energies (pixels only the first), a kernel density (`upland.models.adaptive_kernel`, the distance to the
nearest normal images) and a Gaussian of principal axes (`upland.models.ppca`); the patches have one
(`upland.models.patch_maps`). Each is standardised by what it is of normal images that it has not seen, z = (E
- m) / s, and

    A(x) = (sum_p w_p softplus(z_p)^3 / sum_p w_p)^(1/3),

as for tables (`upland.models.experts`). Kernels have the weight 1, and all Gaussians together that of all
kernels: of pixels there is one beside two. Patches have a weight of their own. The mean cosine r of the
vectors of two normal images (but of pixels) says how alike these are as wholes: near 1 of one part or texture
photographed again and again, smaller of different things of a class. The more alike, the more it is a detail
that is wrong, and the patches have the weight (o(r) / o(r_0))^2 by the odds o(r) = r / (1 - r), where r_0
lies between (`FeatureLayout.alike`): one half of networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from upland.data.image.features import FeatureLayout
from upland.models.adaptive_kernel import AdaptiveKernel
from upland.models.base import EnergyModel, ExpertEnergy
from upland.models.kernel_prior import distinct_rows
from upland.models.parts import LEAST_DEVIATION, Part, plain_layout
from upland.models.patch_maps import PatchMaps
from upland.models.ppca import PrincipalGaussian
from upland.models.stored import StoredModule, require

POWER = 3
PATCHES = "patches"
LEAST_SPREAD = 0.02
"""Deviation of normal images, as a share of their mean, at least: two images have the same distance."""
LEAST_LENGTH = 1e-12
BLOCK, BLOCK_NUMBERS = 32, 1 << 19
"""Images that are scored together at most, and their features: a few are padded to a whole block."""
LEAST_APART, MOST_WEIGHT = 1e-6, 99.0**2
"""What the mean cosine lacks of one, at least; the weight of patches, at most: 1 / MOST_WEIGHT at least."""


class _Seen(NamedTuple):
    """A part and what it sees.

    Args:
        part: of the product.
        x: features of images.
        points: those of the support points.
        where: which features these are.
    """

    part: Part
    x: Tensor
    points: Tensor
    where: slice


class ImageExperts(ExpertEnergy, StoredModule):
    """Energies of features of images in closed form, joined by the cubic mean of their standard scores.

    Args:
        layout: of the features.
        support_points: training images that the kernels stand on, at most.

    Examples:
        >>> import torch
        >>> from upland.data.image.features import FeatureLayout
        >>> model = ImageExperts(FeatureLayout((4,), (2, 3, 3)))
        >>> rows = torch.randn(50, 4 + 18, generator=torch.Generator().manual_seed(0))
        >>> model.init_from_data(rows, torch.Generator().manual_seed(0))
        >>> near, far = model.joined_score(torch.stack([rows[0], rows[0] + 9])).tolist()
        >>> near < far
        True
    """

    rows: Tensor
    weights: Tensor
    normal_means: Tensor
    normal_deviations: Tensor

    def __init__(self, layout: FeatureLayout, support_points: int = 3_000) -> None:
        super().__init__()
        self.layout, self.support_points = layout, support_points
        self.block_rows = max(1, min(BLOCK, BLOCK_NUMBERS // max(layout.width, 1)))
        parts: dict[str, Part] = {}
        for number, width in enumerate(layout.vectors):
            parts[f"kernel {number}"] = AdaptiveKernel(plain_layout(width), "centred", adaptive=False)
            if number or not layout.pixels:
                parts[f"gaussian {number}"] = PrincipalGaussian(width)
        if layout.map[0]:
            parts[PATCHES] = PatchMaps(layout.map)
        self.parts = nn.ModuleDict(parts)
        self.register_buffer("rows", torch.zeros(1, layout.of_vectors, dtype=torch.float32))
        self.register_buffer("weights", torch.ones(len(parts), dtype=torch.float32))
        self.register_buffer("normal_means", torch.zeros(len(parts), dtype=torch.float32))
        self.register_buffer("normal_deviations", torch.ones(len(parts), dtype=torch.float32))
        # models live where their parameters do
        self.anchor = nn.Parameter(torch.zeros(1, dtype=torch.float32), requires_grad=False)

    # -- fit -------------------------------------------------------------------------------------------------

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Fit every part on normal images `(N, D)`, and the normalisation on them as if each were left out.

        Args:
            x: features.
            generator: source of random choices; None draws from torch's own.
        """
        x = x[torch.randperm(len(x), generator=generator).to(x.device)]
        first, copies, number = distinct_rows(x[:, : self.layout.of_vectors])
        first = first[: self.support_points]
        self.rows = x[first, : self.layout.of_vectors].contiguous()
        left_in = (copies > 1) | (number >= len(first)) | (len(first) < 2)
        own = torch.where(left_in, -1, number)
        self.weights = self._fitted_weights(x)
        means, deviations = [], []
        for part, seen, points, _ in self.seen(x):
            if isinstance(part, AdaptiveKernel):
                part.set_points(points, first, own)
            left_out = part.fit(seen, generator)
            mean, deviation = float(left_out.mean()), float(left_out.std(correction=0))
            means.append(mean)
            deviations.append(max(deviation, LEAST_SPREAD * mean, LEAST_DEVIATION))
        self.normal_means = self.normal_means.new_tensor(means)
        self.normal_deviations = self.normal_deviations.new_tensor(deviations)

    def _fitted_weights(self, x: Tensor) -> Tensor:
        """The weight of each part: `(N, D) -> (P,)`."""
        weights = torch.ones_like(self.weights)
        gaussians = [isinstance(one, PrincipalGaussian) for one in self.parts.values()]
        kernels = len(self.layout.vectors)
        weights[torch.tensor(gaussians, dtype=torch.bool)] = kernels / max(sum(gaussians), 1)
        cosines = [_mean_cosine(one.x) for one in self.seen(x) if isinstance(one.part, PrincipalGaussian)]
        if self.layout.map[0] and cosines:
            odds = _odds(max(sum(cosines) / len(cosines), 0.0)) / _odds(self.layout.alike)
            weights[-1] = min(max(odds**2, 1 / MOST_WEIGHT), MOST_WEIGHT)
        return weights

    def seen(self, x: Tensor) -> Iterator[_Seen]:
        """Each part with what it sees of images `(N, D)`; of vectors alone there are no patches."""
        start = 0
        for number, width in enumerate(self.layout.vectors):
            where = slice(start, start + width)
            kernel = self._part(f"kernel {number}")
            yield _Seen(kernel, self._directions(x[:, where]), self._directions(self.rows[:, where]), where)
            if number or not self.layout.pixels:
                yield _Seen(self._part(f"gaussian {number}"), x[:, where], self.rows[:, where], where)
            start += width
        if self.layout.map[0] and x.shape[1] > start:
            where = slice(start, x.shape[1])
            yield _Seen(self._part(PATCHES), x[:, where], self.rows[:, :0], where)

    def _part(self, name: str) -> Part:
        part = self.parts[name]
        assert isinstance(part, Part)
        return part

    def _directions(self, x: Tensor) -> Tensor:
        if not self.layout.directions or x.shape[1] == 1:
            return x
        units: Tensor = x / x.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH)
        return units

    # -- scores ----------------------------------------------------------------------------------------------

    def standard_scores(self, x: Tensor) -> Tensor:
        """The standard score of each part: `(N, D) -> (P, N)`, float64."""
        return self._standardised(self._energies(x))

    def _energies(self, x: Tensor) -> Tensor:
        return torch.stack([one.part.values(one.x) for one in self.seen(x)])

    def _standardised(self, energies: Tensor) -> Tensor:
        there = slice(0, len(energies))
        centred = energies - self.normal_means.double()[there, None]
        return centred / self.normal_deviations.double()[there, None]

    def _terms(self, energies: Tensor) -> Tensor:
        """What each part adds to A(x)^3: `(P, N)` twice."""
        cubes = _cubes(self._standardised(energies))
        return cubes * self._shares_of(len(cubes))[:, None]

    def _shares_of(self, count: int) -> Tensor:
        """The weights of the first parts as shares of one: `(P,)`, float64."""
        weights = self.weights[:count].double()
        return weights / weights.sum()

    def joined_score(self, x: Tensor) -> Tensor:
        """The cubic mean of the parts, in standard deviations of normal images: `(N, D) -> (N,)`, float64."""
        joined: Tensor = self._terms(self._energies(x)).sum(0) ** (1 / POWER)
        return joined

    def shares(self, x: Tensor) -> Tensor:
        """The share of each feature in the joined score, which they sum to: `(N, D) -> (N, D)`, float64.

        The score is divided among the parts by their terms in A(x)^3, and each of these as the part divides
        its energy.
        """
        each = [(one, one.part.shares(one.x)) for one in self.seen(x)]  # they sum to the energies
        cubes = self._terms(torch.stack([inputs.sum(1) for _, inputs in each]))
        whole = cubes.sum(0)
        pieces = cubes * whole ** (1 / POWER) / whole.clamp(min=1e-300)
        found = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for (one, inputs), piece in zip(each, pieces, strict=True):
            energy = inputs.sum(1)
            scaled = inputs * (piece / energy.clamp(min=1e-300))[:, None]
            even = (piece / inputs.shape[1])[:, None]
            found[:, one.where] += torch.where(energy[:, None] > 0, scaled, even)
        return found

    def expected(self, x: Tensor) -> Tensor:
        """The features, with pixels as those of the nearest normal images: `(N, D)` twice."""
        if not self.layout.pixels:
            return x
        first = next(self.seen(x))
        pixels = first.part.expected(first.x)
        assert pixels is not None
        return torch.cat([pixels, x[:, pixels.shape[1] :]], 1)

    # -- as one energy ---------------------------------------------------------------------------------------

    def energy(self, x: Tensor) -> Tensor:
        """The weighted mean of the standard scores: `(N, D) -> (N,)`, float64."""
        scores = self.standard_scores(x)
        return self._shares_of(len(scores)) @ scores

    def without_prior(self) -> EnergyModel:
        """The Gaussians of the vectors alone, in nats, which no single training image stands in."""
        return VectorGaussians(self)

    def reconstruct_without_prior(self, x: Tensor) -> Tensor:
        """Each vector moved against the slope of its Gaussian: `(N, D) -> (N, D)`."""
        return self.without_prior().reconstruct(x)

    # -- persistence -----------------------------------------------------------------------------------------

    def check_values(self) -> None:
        """Refuse deviations and weights that are not positive; raises ValueError."""
        require(self.normal_deviations > 0, "deviations of normal images must be positive")
        require(self.weights > 0, "weights of parts must be positive")

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the number of the support points, and give them to the kernels, which are loaded next."""
        self.rows = self.rows.new_zeros(state.get(prefix + "rows", self.rows).shape)
        super()._load_from_state_dict(state, prefix, *rest)
        for one in self.seen(self.rows):
            if isinstance(one.part, AdaptiveKernel):
                one.part.points = one.points


def _odds(r: float) -> float:
    return r / max(1 - r, LEAST_APART)


def _cubes(z: Tensor) -> Tensor:
    return torch.logaddexp(z, torch.zeros_like(z)) ** POWER


def _mean_cosine(x: Tensor) -> float:
    """The mean cosine of two of some vectors: `(N, D)`; 1 of a single one."""
    count, exact = len(x), x.double()
    if count < 2:
        return 1.0
    units = exact / exact.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH)
    return (float(units.sum(0).square().sum()) - count) / (count * (count - 1))


class VectorGaussians(EnergyModel):
    """The Gaussians of the vectors of images, as an energy in nats up to a constant.

    Args:
        model: fitted.
    """

    def __init__(self, model: ImageExperts) -> None:
        super().__init__()
        self.model = model

    def energy(self, x: Tensor) -> Tensor:
        """The sum of half the squared lengths: `(N, D) -> (N,)`, float64."""
        lengths = [one.part.values(one.x) for one in self._seen(x)]
        return 0.5 * torch.stack(lengths).square().sum(0)

    def reconstruct(self, x: Tensor) -> Tensor:
        """X - grad E: `(N, D) -> (N, D)`."""
        moved = x.clone()
        for one in self._seen(x):
            assert isinstance(one.part, PrincipalGaussian)
            moved[:, one.where] -= one.part.slope(one.x)
        return moved

    def _seen(self, x: Tensor) -> list[_Seen]:
        found = self.model.seen(x[:, : self.model.layout.of_vectors])
        return [one for one in found if isinstance(one.part, PrincipalGaussian)]
