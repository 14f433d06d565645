r"""A product of experts for rows of a table: energies in closed form, joined in units of normal rows.

Each part (`upland.models.parts`) is an energy that sees one aspect of the data: three kernels (what lies
apart from normal rows, near or far), a pseudo-likelihood (what does not fit the other columns), and the
missing mass of values and of pairs of values (what has never occurred). The energy of a row is standardised
by those of normal rows that the part had not seen, z = (E - m) / s, and

    A(x) = (sum_p w_p softplus(z_p)^3 / sum_p w_p)^(1/3).

The cubic mean lies between the mean and the maximum: a row scores high where one part is far from usual, or
all are somewhat. The parts are fitted at once, without gradients. Labelled rows may change the weights w_p
and multiply A(x)^3 by the odds exp(g(x)) of `upland.models.tilt`.

The support points of the kernels are training rows, distinct and in random order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from upland.models.adaptive_kernel import AdaptiveKernel
from upland.models.base import EnergyModel, ExpertEnergy
from upland.models.conditional import ConditionalEnergy
from upland.models.kernel_prior import distinct_rows
from upland.models.missing_mass import UnseenPairs, UnseenValues
from upland.models.parts import LEAST_DEVIATION, Layout, Part
from upland.models.recurring_values import blocks_of_neighbours
from upland.models.stored import StoredModule, require
from upland.models.tilt import log_odds

POWER = 3
MOST_OF_COUNTS = 8.0
"""Standard score at which the parts that count values are cut: a new resolution of a sensor is one event."""

PARTS: dict[str, float] = {
    "distance": 1.0,
    "local": 1.0,
    "whitened": 1.0,
    "conditional": 1.0,
    "unseen": 0.5,
    "pairs": 0.5,
}
"""The parts and their weights, where no labelled rows have changed them."""

COUNTS = ("unseen", "pairs")


class ProductOfExperts(ExpertEnergy, StoredModule):
    """Energies of rows of a table in closed form, joined by the cubic mean of their standard scores.

    Args:
        layout: of the encoded inputs.
        parts: names of `PARTS`.
        support_points: training rows that the kernels stand on, at most.
        groups: of columns that the pseudo-likelihood hides together, at most.
        features: its random features, at most.

    Examples:
        >>> import torch
        >>> from upland.models.parts import plain_layout
        >>> model = ProductOfExperts(plain_layout(2))
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> model.init_from_data(rows, torch.Generator().manual_seed(0))
        >>> near, far = model.joined_score(torch.tensor([[0.0, 0.0], [6.0, -6.0]])).tolist()
        >>> near < 1 < far
        True
    """

    block_rows = 512

    rows: Tensor
    part_weights: Tensor | None
    tilt: Tensor | None
    normal_means: Tensor
    normal_deviations: Tensor

    def __init__(
        self,
        layout: Layout,
        parts: Sequence[str] = tuple(PARTS),
        support_points: int = 1_000,
        groups: int = 8,
        features: int = 100,
    ) -> None:
        super().__init__()
        self.support_points = support_points
        made: dict[str, Callable[[], Part]] = {
            "distance": lambda: AdaptiveKernel(layout, "bent", adaptive=False),
            "local": lambda: AdaptiveKernel(layout, "plain"),
            "whitened": lambda: AdaptiveKernel(layout, "whitened"),
            "conditional": lambda: ConditionalEnergy(layout, groups, features),
            "unseen": lambda: UnseenValues(layout),
            "pairs": lambda: UnseenPairs(layout),
        }
        self.parts = nn.ModuleDict({name: made[name]() for name in parts})
        self.usual_weights = [PARTS[name] for name in parts]
        self.register_buffer("part_weights", None)  # stored where labelled rows have changed them
        self.register_buffer("tilt", None)
        self.register_buffer("rows", torch.zeros(1, layout.width, dtype=torch.float32))
        self.register_buffer("normal_means", torch.zeros(len(parts), dtype=torch.float32))
        self.register_buffer("normal_deviations", torch.ones(len(parts), dtype=torch.float32))
        self.most = [MOST_OF_COUNTS if name in COUNTS else float("inf") for name in parts]
        # models live where their parameters do
        self.anchor = nn.Parameter(torch.zeros(1, dtype=torch.float32), requires_grad=False)

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Fit every part on training rows `(N, D)`, and the normalisation on them as if each were left out.

        Args:
            x: encoded rows.
            generator: source of random choices; None draws from torch's own.
        """
        order = torch.randperm(len(x), generator=generator)
        blocks = blocks_of_neighbours(len(x))[order].to(x.device)
        x = x[order.to(x.device)]
        first, copies, number = distinct_rows(x)
        first = first[: self.support_points]
        points = x[first]
        if self.keeps_rows:
            self.rows = points
        left_in = (copies > 1) | (number >= len(first)) | (len(first) < 2)
        own = torch.where(left_in, -1, number)
        means, deviations = [], []
        for part in self._parts():
            if isinstance(part, AdaptiveKernel):
                part.set_points(points, first, own)
            elif isinstance(part, UnseenValues):
                part.set_blocks(blocks)
            left_out = part.fit(x, generator)
            means.append(float(left_out.mean()))
            least = max(part.least_deviation(), LEAST_DEVIATION)
            deviations.append(max(float(left_out.std(correction=0)), least))
        self.normal_means = self.normal_means.new_tensor(means)
        self.normal_deviations = self.normal_deviations.new_tensor(deviations)

    @property
    def keeps_rows(self) -> bool:
        """Whether there is a kernel, which stands on training rows."""
        return any(isinstance(part, AdaptiveKernel) for part in self._parts())

    def _parts(self) -> list[Part]:
        return [part for part in self.parts.values() if isinstance(part, Part)]

    def refine(self, part_weights: Tensor | None, tilt: Tensor | None) -> None:
        """Take over weights and log odds that labelled rows have changed; None for the usual score.

        Args:
            part_weights: `(P,)`, positive.
            tilt: `(2 D + 1,)` coefficients of `upland.models.tilt.log_odds`.
        """
        self.part_weights = None if part_weights is None else part_weights.to(self.anchor)
        self.tilt = None if tilt is None else tilt.to(self.anchor)

    # -- scores

    @property
    def shares_of_parts(self) -> Tensor:
        """The weights as shares of one: `(P,)`, float64."""
        usual = torch.tensor(self.usual_weights, dtype=torch.float64, device=self.anchor.device)
        weights = usual if self.part_weights is None else self.part_weights.double()
        return weights / weights.sum()

    def cubes(self, x: Tensor) -> Tensor:
        """softplus(z)^3 of each part: `(N, D) -> (P, N)`, float64."""
        return _cubes(self.standard_scores(x))

    def standard_scores(self, x: Tensor) -> Tensor:
        """The standard score of each part: `(N, D) -> (P, N)`, float64."""
        energies = torch.stack([part.values(x) for part in self._parts()])
        z = (energies - self.normal_means.double()[:, None]) / self.normal_deviations.double()[:, None]
        return torch.minimum(z, z.new_tensor(self.most)[:, None])

    def _weighted_cubes(self, z: Tensor) -> Tensor:
        return _cubes(z) * self.shares_of_parts[:, None]

    def _terms(self, x: Tensor) -> Tensor:
        """What each part adds to A(x)^3: `(N, D) -> (P, N)`."""
        terms = self._weighted_cubes(self.standard_scores(x))
        return terms if self.tilt is None else terms * log_odds(x, self.tilt).exp()

    def joined_score(self, x: Tensor) -> Tensor:
        """The cubic mean of the parts, in standard deviations of normal rows: `(N, D) -> (N,)`, float64."""
        cubes: Tensor = self._terms(x).sum(0)
        return cubes ** (1 / POWER)

    def shares(self, x: Tensor) -> Tensor:
        """The share of each input in the joined score, which they sum to: `(N, D) -> (N, D)`, float64.

        The score is divided among the parts by their terms in A(x)^3, and each of these as the part divides
        its energy.
        """
        cubes = self._terms(x)
        whole = cubes.sum(0)
        pieces = cubes * whole ** (1 / POWER) / whole.clamp(min=1e-300)
        total = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        for part, piece in zip(self._parts(), pieces, strict=True):
            inputs = part.shares(x)
            energy = inputs.sum(1, keepdim=True)
            even = torch.full_like(inputs, 1 / inputs.shape[1])
            total += piece[:, None] * torch.where(energy > 0, inputs / energy.clamp(min=1e-300), even)
        return total

    def expected(self, x: Tensor) -> Tensor:
        """What normal rows like these have, the mean of what the parts expect: `(N, D) -> (N, D)`."""
        found = [part.expected(x) for part in self._parts()]
        said = [expected for expected in found if expected is not None]
        return torch.stack(said).mean(0) if said else x

    # -- as one energy

    def energy(self, x: Tensor) -> Tensor:
        """The weighted mean of the standard scores: `(N, D) -> (N,)`, float64."""
        return self.shares_of_parts @ self.standard_scores(x)

    def without_prior(self) -> EnergyModel:
        """The pseudo-likelihood alone, in nats, which no single training row stands in."""
        conditional = dict(self.parts.items()).get("conditional")
        if isinstance(conditional, ConditionalEnergy) and conditional.groups > 1:
            return PseudoLikelihood(conditional)
        return self

    def reconstruct_without_prior(self, x: Tensor) -> Tensor:
        """What the pseudo-likelihood predicts for each input from the other columns: `(N, D) -> (N, D)`.

        The gradient of the energy has no measure: it is bounded, and smallest far from all rows.
        """
        free = self.without_prior()
        predicted = free.part.expected(x) if isinstance(free, PseudoLikelihood) else None
        return self.expected(x) if predicted is None else predicted

    # -- persistence

    def check_values(self) -> None:
        """Refuse deviations that are not positive; raises ValueError."""
        require(self.normal_deviations > 0, "deviations of normal rows must be positive")
        if self.part_weights is not None:
            require(self.part_weights > 0, "weights of parts must be positive")

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the number of the support points, and give them to the kernels, which are loaded next."""
        for name in ("part_weights", "tilt"):
            there = state.get(prefix + name)
            setattr(self, name, None if there is None else self.anchor.detach().new_zeros(there.shape))
        self.rows = self.rows.new_zeros(state.get(prefix + "rows", self.rows).shape)
        super()._load_from_state_dict(state, prefix, *rest)
        for part in self._parts():
            if isinstance(part, AdaptiveKernel):
                part.points = self.rows


def _cubes(z: Tensor) -> Tensor:
    return torch.logaddexp(z, torch.zeros_like(z)) ** POWER


class PseudoLikelihood(EnergyModel):
    """The pseudo-likelihood part by itself, as an energy in nats up to a constant.

    Args:
        part: fitted.
    """

    block_rows = 512

    def __init__(self, part: ConditionalEnergy) -> None:
        super().__init__()
        self.part = part

    def energy(self, x: Tensor) -> Tensor:
        """Minus the logarithm of the product of the conditionals: `(N, D) -> (N,)`, float64."""
        return self.part.nats(x)
