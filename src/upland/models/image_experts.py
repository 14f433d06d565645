r"""A product of experts for images: energies in closed form of vectors and patches of features.

Features (`upland.data.image.features`) are vectors of the whole image and a map of patches. Each vector has two
energies (pixels only the first), a kernel density (`upland.models.adaptive_kernel`, the distance to the nearest normal images) and a
Gaussian of principal axes (`upland.models.ppca`); the patches have one (`upland.models.patch_maps`). Each is
standardised by what it is of normal images that it has not seen, z = (E - m) / s, and

    A(x) = (sum_p w_p softplus(z_p)^3 / sum_p w_p)^(1/3),

as for tables (`upland.models.experts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from upland.data.image.features import FeatureLayout
from upland.models.adaptive_kernel import AdaptiveKernel
from upland.models.base import JoinedEnergy
from upland.models.kernel_prior import distinct_rows
from upland.models.parts import LEAST_DEVIATION, Part, plain_layout
from upland.models.patch_maps import PatchMaps
from upland.models.ppca import PrincipalGaussian
from upland.models.stored import StoredModule, require

POWER = 3
PATCHES = "patches"
LEAST_LENGTH = 1e-12


class ImageExperts(JoinedEnergy, StoredModule):
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

    block_rows = 32

    rows: Tensor
    normal_means: Tensor
    normal_deviations: Tensor

    def __init__(self, layout: FeatureLayout, support_points: int = 3_000) -> None:
        super().__init__()
        self.layout, self.support_points = layout, support_points
        parts: dict[str, Part] = {}
        for number, width in enumerate(layout.vectors):
            parts[f"kernel {number}"] = AdaptiveKernel(plain_layout(width), "bent", adaptive=False)
            if number or not layout.pixels:
                parts[f"gaussian {number}"] = PrincipalGaussian(width)
        if layout.map[0]:
            parts[PATCHES] = PatchMaps(layout.map)
        self.parts = nn.ModuleDict(parts)
        self.register_buffer("rows", torch.zeros(1, layout.of_vectors, dtype=torch.float32))
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
        self.rows = x[first][:, : self.layout.of_vectors]
        left_in = (copies > 1) | (number >= len(first)) | (len(first) < 2)
        own = torch.where(left_in, -1, number)
        means, deviations = [], []
        for part, seen, points in self._parts(x, self.rows):
            if isinstance(part, AdaptiveKernel):
                part.set_points(points, first, own)
            left_out = part.fit(seen, generator)
            means.append(float(left_out.mean()))
            deviations.append(max(float(left_out.std(correction=0)), LEAST_DEVIATION))
        self.normal_means = self.normal_means.new_tensor(means)
        self.normal_deviations = self.normal_deviations.new_tensor(deviations)

    def _parts(self, x: Tensor, rows: Tensor) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """Each part with what it sees of features, and of the support points."""
        start = 0
        for number, width in enumerate(self.layout.vectors):
            there = slice(start, start + width)
            yield self._part(f"kernel {number}"), self._directions(x[:, there]), self._directions(rows[:, there])
            if number or not self.layout.pixels:
                yield self._part(f"gaussian {number}"), x[:, there], rows[:, there]
            start += width
        if self.layout.map[0]:
            yield self._part(PATCHES), x[:, start:], rows[:, :0]

    def _part(self, name: str) -> Part:
        part = self.parts[name]
        assert isinstance(part, Part)
        return part

    def _directions(self, x: Tensor) -> Tensor:
        if not self.layout.directions:
            return x
        return x / x.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH)

    # -- scores ----------------------------------------------------------------------------------------------

    def standard_scores(self, x: Tensor) -> Tensor:
        """The standard score of each part: `(N, D) -> (P, N)`, float64."""
        energies = torch.stack([part.values(seen) for part, seen, _ in self._parts(x, self.rows[:1])])
        return (energies - self.normal_means.double()[:, None]) / self.normal_deviations.double()[:, None]

    def _terms(self, x: Tensor) -> Tensor:
        """What each part adds to A(x)^3: `(N, D) -> (P, N)`."""
        return _cubes(self.standard_scores(x)) * self._weights()[:, None]

    def _weights(self) -> Tensor:
        """The weights as shares of one: `(P,)`, float64."""
        weights = [1.0] * len(self.parts)
        whole = torch.tensor(weights, dtype=torch.float64, device=self.anchor.device)
        return whole / whole.sum()

    def joined_score(self, x: Tensor) -> Tensor:
        """The cubic mean of the parts, in standard deviations of normal images: `(N, D) -> (N,)`, float64."""
        joined: Tensor = self._terms(x).sum(0) ** (1 / POWER)
        return joined

    def shares(self, x: Tensor) -> Tensor:
        """The share of each feature in the joined score, which they sum to: `(N, D) -> (N, D)`, float64."""
        cubes = self._terms(x)
        whole = cubes.sum(0)
        pieces = cubes * whole ** (1 / POWER) / whole.clamp(min=1e-300)
        found = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        start, several = 0, self._parts(x, self.rows[:1])
        for (part, seen, _), piece in zip(several, pieces, strict=True):
            inputs = part.shares(seen)
            energy = inputs.sum(1, keepdim=True)
            even = torch.full_like(inputs, 1 / inputs.shape[1])
            there = slice(start, start + inputs.shape[1])
            found[:, there] += piece[:, None] * torch.where(energy > 0, inputs / energy.clamp(min=1e-300), even)
            start += inputs.shape[1] if isinstance(part, PrincipalGaussian) else 0
        return found

    def expected(self, x: Tensor) -> Tensor:
        """The features themselves: what is expected instead of them is not known."""
        return x

    # -- as one energy

    def energy(self, x: Tensor) -> Tensor:
        """The mean of the standard scores: `(N, D) -> (N,)`, float64."""
        return self._weights() @ self.standard_scores(x)

    # -- persistence -----------------------------------------------------------------------------------------

    def check_values(self) -> None:
        """Refuse deviations that are not positive; raises ValueError."""
        require(self.normal_deviations > 0, "deviations of normal images must be positive")

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the number of the support points, and give them to the kernels, which are loaded next."""
        self.rows = self.rows.new_zeros(state.get(prefix + "rows", self.rows).shape)
        super()._load_from_state_dict(state, prefix, *rest)
        for part, _, points in self._parts(self.rows[:1], self.rows):
            if isinstance(part, AdaptiveKernel):
                part.points = points


def _cubes(z: Tensor) -> Tensor:
    return torch.logaddexp(z, torch.zeros_like(z)) ** POWER
