r"""The pseudo-likelihood energy: each column given all others, by ridge regression on random features.

Besag ("Statistical analysis of non-lattice data", The Statistician 24, 1975) replaces the likelihood of a row
by the product of its conditionals p(x_j | x_-j), which needs no partition function; Hyvarinen ("Consistency
of pseudolikelihood estimation of fully visible Boltzmann machines", Neural Computation 18, 2006) relates it
to score matching. The columns are dealt into G groups; the inputs of a hidden group are predicted from the
visible ones v by

    f_j(v) = a_j' phi(v),   log s_j(v) = b_j' phi(v),   phi(v) = [1, v / sqrt(p), max(W'v + w, 0) / sqrt(F)],

with F random features (Rahimi and Recht, "Weighted sums of random kitchen sinks", NIPS 2008), a by ridge
regression of x_j and b by ridge regression of log |x_j - f_j|. The energy is that of a Student t with three
degrees of freedom without the logarithm of its width, which tells how well a column can be known but not
whether its value is anomalous:

    E(x) = 1/D sum_j log(1 + (x_j - f_j(v))^2 / (3 s_j(v)^2)).

The ridge parameter is the one of least leave-one-out error. With the hat matrix H of a ridge regression the
residual of row i of a fit without it is (y_i - f_i) / (1 - H_ii) (Allen, "The relationship between variable
selection and data augmentation and a method for prediction", Technometrics 16, 1974), so that energies of
training rows as if left out cost nothing more.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from upland.models.parts import Layout, Part
from upland.models.stored import require

GROUPS, FEATURES = 8, 100
FEATURES_LEAST = 20
FIT_ROWS = 4_000
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Ridge parameters that are tried, in units of the number of rows."""

RIDGE_OF_SPREAD = 1e-2
FEATURE_SCALES = (0.5, 1.0, 2.0)
FREEDOM = 3.0
LOG_SHIFT = 0.635
"""Minus the mean of log |t| of a standard normal t."""

LEAST_RESIDUAL, LEAST_DEVIATION = 0.02, 0.05
MOST_LOG_SPREAD = 3.0
LEAST_LEFT = 1e-2
MOST_USUAL = 50.0
MEASURED = 2_000


class Ridge(NamedTuple):
    """A ridge regression on n rows of q features, decomposed: P = U S V'.

    Args:
        left: `(n, r)` U.
        squares: `(r,)` S^2.
        right: `(q, r)` V S^-1, or P'U S^-2 of it.
    """

    left: Tensor
    squares: Tensor
    right: Tensor

    def hat(self, ridge: float) -> Tensor:
        """The diagonal of the hat matrix: `(n,)`."""
        return self.left.square() @ self._kept(ridge)

    def fitted(self, y: Tensor, ridge: float) -> Tensor:
        """Predictions of the rows of the fit: `(n, k)`."""
        return self.left @ (self._kept(ridge)[:, None] * (self.left.T @ y))

    def coefficients(self, y: Tensor, ridge: float) -> Tensor:
        """Of the features: `(q, k)`."""
        return self.right @ (self._kept(ridge)[:, None] * (self.left.T @ y))

    def left_out(self, y: Tensor, ridge: float) -> Tensor:
        """Residuals `(n, k)` of y, each by the regression on all other rows."""
        remaining = (1 - self.hat(ridge)).clamp(min=LEAST_LEFT)
        return (y - self.fitted(y, ridge)) / remaining[:, None]

    def _kept(self, ridge: float) -> Tensor:
        return self.squares / (self.squares + ridge)


def ridge_regression(features: Tensor) -> Ridge:
    """Decompose features `(n, q)`, float64, by the smaller of their two Gram matrices."""
    n, q = features.shape
    if q <= n:
        squares, right = torch.linalg.eigh(features.T @ features)
        squares = squares.clamp(min=0)
        kept = squares > squares.max() * 1e-12
        squares, right = squares[kept], right[:, kept] / squares[kept].sqrt()
        return Ridge(features @ right, squares, right)
    squares, left = torch.linalg.eigh(features @ features.T)
    squares = squares.clamp(min=0)
    kept = squares > squares.max() * 1e-12
    squares, left = squares[kept], left[:, kept]
    return Ridge(left, squares, features.T @ left / squares)


def hidden_sizes(layout: Layout, groups: int) -> tuple[int, int]:
    """How many groups of columns there are, and how many inputs the largest has.

    Columns are dealt out in turn, so that neighbours, which often belong together, are in different groups.

    Args:
        layout: of the encoded inputs.
        groups: at most.
    """
    count = min(max(layout.columns) + 1, groups)
    dealt = [0] * count
    for owner in layout.columns:
        dealt[owner % count] += 1
    return count, max(dealt)


class ConditionalEnergy(Part):
    """The pseudo-likelihood energy of rows of a table.

    Args:
        layout: of the encoded inputs.
        groups: of columns that are hidden together, at most.
        features: random features, at most.

    Examples:
        >>> import torch
        >>> from upland.models.parts import plain_layout
        >>> x = torch.randn(300, 1, generator=torch.Generator().manual_seed(0))
        >>> model = ConditionalEnergy(plain_layout(2))
        >>> _ = model.fit(torch.cat([x, x], 1), torch.Generator().manual_seed(0))
        >>> together, apart = model.values(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist()
        >>> apart > 10 * together
        True
    """

    sized = ("random", "offsets", "of_features")

    hidden: Tensor
    random: Tensor
    offsets: Tensor
    of_inputs: Tensor
    of_features: Tensor
    constants: Tensor
    usual: Tensor

    def __init__(self, layout: Layout, groups: int = GROUPS, features: int = FEATURES) -> None:
        super().__init__()
        self.features, width = features, layout.width
        self.groups, largest = hidden_sizes(layout, groups)
        hidden = [
            [position for position, owner in enumerate(layout.columns) if owner % self.groups == group]
            for group in range(self.groups)
        ]
        padded = [inputs + [width] * (largest - len(inputs)) for inputs in hidden]
        outputs = 2 * largest
        self.register_buffer("hidden", torch.tensor(padded, dtype=torch.int64), persistent=False)
        self.register_buffer("random", torch.zeros(1, width, dtype=torch.float32))
        self.register_buffer("offsets", torch.zeros(1, dtype=torch.float32))
        self.register_buffer("of_inputs", torch.zeros(self.groups, outputs, width, dtype=torch.float32))
        self.register_buffer("of_features", torch.zeros(self.groups, outputs, 1, dtype=torch.float32))
        self.register_buffer("constants", torch.zeros(self.groups, outputs, 1, dtype=torch.float32))
        self.register_buffer("usual", torch.zeros(self.groups, largest, 1, dtype=torch.float32))

    # -- fit

    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fit the regressions; returned are the energies of the first rows, each without itself.

        Args:
            x: `(N, D)` encoded rows in random order.
            generator: source of the random features; None draws from torch's own.
        """
        x = x[:FIT_ROWS]
        if self.groups == 1:
            return x.new_zeros(min(MEASURED, len(x)), dtype=torch.float64)
        width = x.shape[1]
        count = min(self.features, max(FEATURES_LEAST, len(x) // 2))
        self._draw(count, width, generator, x.device)
        self.of_inputs, self.constants = torch.zeros_like(self.of_inputs), torch.zeros_like(self.constants)
        self.of_features = x.new_zeros(self.groups, self.of_inputs.shape[1], count)
        found = x.new_zeros(len(x), dtype=torch.float64)
        for group in range(self.groups):
            found += self._fit_group(x, group)
        return found[:MEASURED] / width

    def _draw(self, count: int, width: int, generator: torch.Generator | None, device: torch.device) -> None:
        scales = torch.tensor(FEATURE_SCALES, dtype=torch.float32).repeat(count)[:count, None]
        weights = torch.randn(count, width, generator=generator, dtype=torch.float32)
        self.random = (scales * weights / math.sqrt(width)).to(device)
        self.offsets = torch.randn(count, generator=generator, dtype=torch.float32).to(device)

    def _fit_group(self, x: Tensor, group: int) -> Tensor:
        """The regressions of one group; the energies of the rows, each without itself, are returned."""
        inputs = self.hidden[group][self.hidden[group] < x.shape[1]]
        y, used = x[:, inputs].double(), len(inputs)
        visible = torch.ones(x.shape[1], dtype=torch.bool, device=x.device)
        visible[inputs] = False
        p = int(visible.sum())
        linear = x[:, visible].double() / math.sqrt(p)
        random = self._features(x.T)[group].T.double()
        regression = ridge_regression(torch.cat([torch.ones_like(linear[:, :1]), linear, random], 1))
        ridges = [len(x) * ridge for ridge in RIDGES]
        errors = [float(regression.left_out(y, ridge).square().mean()) for ridge in ridges]
        ridge = ridges[errors.index(min(errors))]
        away = regression.left_out(y, ridge)
        least = LEAST_RESIDUAL * y.std(0, correction=0).clamp(min=LEAST_DEVIATION)
        logs = (away.abs() + least).log()
        usual, of_spread = logs.mean(0), len(x) * RIDGE_OF_SPREAD
        log_spread = logs - usual - regression.left_out(logs - usual, of_spread)
        spread = (log_spread.clamp(-MOST_LOG_SPREAD, MOST_LOG_SPREAD) + usual + LOG_SHIFT).exp()
        fitted = regression.coefficients(y, ridge), regression.coefficients(logs - usual, of_spread)
        largest = self.hidden.shape[1]
        for start, coefficients in zip((0, largest), fitted, strict=True):
            rows = slice(start, start + used)
            self.constants[group, rows, 0] = coefficients[0].float()
            self.of_inputs[group, rows, visible] = (coefficients[1 : p + 1].T / math.sqrt(p)).float()
            self.of_features[group, rows] = coefficients[p + 1 :].T.float()
        self.usual[group, :used, 0] = (usual + LOG_SHIFT).float()
        return torch.log1p(away.square() / (FREEDOM * spread.square())).sum(1)

    # -- energies

    def _features(self, columns: Tensor) -> Tensor:
        """The random features of the visible inputs of each group: `(D, N) -> (G, F, N)`."""
        width = columns.shape[0]
        padded = torch.cat([columns, torch.zeros_like(columns[:1])])
        of_hidden = torch.cat([self.random, torch.zeros_like(self.random[:, :1])], 1)
        whole = (self.random @ columns).expand(self.groups, -1, -1)
        weights = of_hidden[:, self.hidden].permute(1, 0, 2)
        phases = torch.baddbmm(whole, weights, padded[self.hidden], alpha=-1)
        visible = (width - (self.hidden < width).sum(1)).clamp(min=1)
        ratios = (width / visible.to(columns)).sqrt()[:, None, None]
        features = (phases * ratios + self.offsets[:, None]).clamp_(min=0)
        return features / math.sqrt(len(self.offsets))

    def _predicted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals and log widths of the hidden inputs: `(N, D) -> (G, H, N)` twice."""
        columns = x.T.contiguous()
        groups, outputs, width = self.of_inputs.shape
        linear = (self.of_inputs.view(groups * outputs, width) @ columns).view(groups, outputs, -1)
        found = torch.baddbmm(linear, self.of_features, self._features(columns)) + self.constants
        mean, log_spread = found.split(outputs // 2, 1)
        padded = torch.cat([columns, torch.zeros_like(columns[:1])])
        log_spread = log_spread.clamp(-MOST_LOG_SPREAD, MOST_LOG_SPREAD) + self.usual
        return padded[self.hidden] - mean, log_spread

    def _terms(self, x: Tensor) -> Tensor:
        """The terms of the energy, by group and hidden input: `(N, D) -> (G, H, N)`."""
        away, log_spread = self._predicted(x)
        return torch.log1p((away * (-log_spread).exp()).square() / FREEDOM) / x.shape[1]

    def values(self, x: Tensor) -> Tensor:
        """The pseudo-likelihood energy: `(N, D) -> (N,)`, float64."""
        if self.groups == 1:
            return x.new_zeros(x.shape[0], dtype=torch.float64)
        return self._terms(x).flatten(0, 1).sum(0, dtype=torch.float64)

    def nats(self, x: Tensor) -> Tensor:
        """Minus the log of the product of the conditionals, up to a constant: `(N, D) -> (N,)`, float64."""
        log_widths = torch.where((self.hidden < x.shape[1])[..., None], self._predicted(x)[1], 0.0)
        terms = 0.5 * (FREEDOM + 1) * x.shape[1] * self._terms(x) + log_widths
        return terms.flatten(0, 1).sum(0, dtype=torch.float64)

    def shares(self, x: Tensor) -> Tensor:
        """The term of each input: `(N, D) -> (N, D)`, float64."""
        if self.groups == 1:
            return torch.zeros_like(x, dtype=torch.float64)
        return self._by_input(self._terms(x).double())

    def expected(self, x: Tensor) -> Tensor | None:
        """The prediction of each input from the columns of other groups: `(N, D) -> (N, D)`; None for a table
        of one column.
        """
        if self.groups == 1:
            return None
        return x - self._by_input(self._predicted(x)[0])

    def _by_input(self, of_hidden: Tensor) -> Tensor:
        """`(G, H, N) -> (N, D)`; what is padded is dropped."""
        width = self.of_inputs.shape[2]
        found = of_hidden.new_zeros(width + 1, of_hidden.shape[2])
        found[self.hidden.flatten()] = of_hidden.flatten(0, 1)
        return found[:-1].T

    def check_values(self) -> None:
        """Refuse widths that no residual has; raises ValueError."""
        require(self.usual.abs() <= MOST_USUAL, "logarithms of residuals must be moderate")
