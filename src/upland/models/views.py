r"""Monotone views of encoded columns: the same row with its tails compressed, expanded, or by rank.

Distances depend on how a column is scaled, and no scaling is right for every table: a column with a heavy
tail is best compared after a logarithm, a far excursion of a compact one as it is, and a skewed one by the
rank of its values. A view is an increasing function of each encoded column by itself, given with its slope,
so that a distance in a view has a gradient in x.

The encoder's codes are z-scores, cut to a logarithm beyond two standard deviations
(`upland.data.table.encodings`). `log_compressed` undoes that and begins the logarithm at another
knee; `Ranks` maps a value to the normal score of its rank among training rows (van der Waerden scores),
linear between knots, with slope one beyond the ends.
"""

import math

import torch
from torch import Tensor

from upland.models.stored import StoredModule, require

CODES_KNEE = 2.0
"""Where the encoder's codes begin to grow like a logarithm: equal to `upland.data.table.encodings.KNEE`,
which models do not import.
"""

FARTHEST = 60.0  # codes farther beyond the knee are continued with slope one
KNOTS = 128


def log_compressed(x: Tensor, knee: float) -> tuple[Tensor, Tensor]:
    """Codes with the logarithm beginning at another knee: `x (N, D)` -> values and slopes `(N, D)`.

    Args:
        x: encoded rows.
        knee: in standard deviations.
    """
    size = x.abs()
    out = (size - CODES_KNEE).clamp(0.0, FARTHEST)
    grown = torch.expm1(out)
    z = size.clamp(max=CODES_KNEE) + grown
    beyond = (z - knee).clamp(min=0.0)
    value = z.clamp(max=knee) + torch.log1p(beyond) + (size - CODES_KNEE - FARTHEST).clamp(min=0.0)
    slope = torch.where(size > CODES_KNEE + FARTHEST, torch.ones_like(x), (1 + grown) / (1 + beyond))
    return torch.copysign(value, x), slope


class Ranks(StoredModule):
    """Normal scores of the ranks of training values, of unit variance in each column.

    Args:
        width: number of columns, D.
    """

    unbounded = ("knots",)

    knots: Tensor
    heights: Tensor
    slopes: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("knots", torch.zeros(width, 1, dtype=torch.float32))
        self.register_buffer("heights", torch.zeros(width, 1, dtype=torch.float32))
        self.register_buffer("slopes", torch.ones(width, 2, dtype=torch.float32))

    def fit(self, x: Tensor) -> None:
        """Fit the ranks of training rows `x (N, D)`."""
        columns = [_scores(column) for column in x.T]
        most = max(len(knots) for knots, _ in columns)
        knots = x.new_full((x.shape[1], most), math.inf)
        heights, slopes = x.new_zeros(x.shape[1], most), x.new_ones(x.shape[1], most + 1)
        for j, (positions, values) in enumerate(columns):
            n = len(positions)
            knots[j, :n], heights[j, :n] = positions, values
            slopes[j, 1:n] = values.diff() / positions.diff()
        self.knots, self.heights, self.slopes = knots, heights, slopes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values and slopes: `x (N, D)` -> `(N, D)` twice."""
        at = torch.searchsorted(self.knots, x.detach().T.contiguous(), right=True)
        slope = self.slopes.gather(1, at).T
        base = (at - 1).clamp(min=0)
        value = self.heights.gather(1, base).T + slope * (x - self.knots.gather(1, base).T)
        return value, slope

    def check_values(self) -> None:
        """Refuse knots that do not increase, and falling ranks; raises ValueError."""
        require(self.knots[:, :1].isfinite(), "the first knot of a column must be finite")
        require(self.knots[:, :-1] <= self.knots[:, 1:], "the knots of a column must be sorted")
        require(self.slopes >= 0, "ranks must not fall")


def _scores(column: Tensor) -> tuple[Tensor, Tensor]:
    """Knots and the normal scores there, of one column `(N,)`."""
    n = len(column)
    values, counts = column.unique(return_counts=True)
    middle = counts.cumsum(0).double() - 0.5 * counts.double()
    score = torch.special.ndtri((middle / n).clamp(0.5 / n, 1 - 0.5 / n))
    share = counts.double() / n
    mean = (share * score).sum()
    spread = float((share * (score - mean).square()).sum().sqrt())
    score = score / spread if spread > 1e-3 else score
    if len(values) > KNOTS:
        at = torch.linspace(0, n - 1, KNOTS, dtype=torch.float64, device=column.device)
        kept = torch.searchsorted(counts.cumsum(0).double(), at, right=True).clamp(max=len(values) - 1)
        kept = torch.cat([kept.new_zeros(1), kept, kept.new_full((1,), len(values) - 1)]).unique()
        values, score = values[kept], score[kept]
    return values, score.to(column.dtype)
