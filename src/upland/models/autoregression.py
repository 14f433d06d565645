r"""A forecast in closed form of the next step from a window of the last ones: linear, and by random features.

With w the last K steps, flat, and phi(w) = tanh(w' R + o) of fixed random R and o (random features: Rahimi
and Recht, NeurIPS 2007; extreme learning machines: Huang, Zhu, Siew, Neurocomputing 70, 2006),

    m(w) = w' A + phi(w)' B + c,

with A, B and c by ridge regression. By Takens' theorem the window of enough lags holds the state of a
deterministic system (delay embedding), so that a nonlinear m forecasts a chaotic one up to its noise. The
penalties of A and B are chosen for each channel by the last quarter of the sequences; an infinite one of B
leaves the linear forecast.

The residuals x - m(w) are whitened by a triangular matrix (`upland.models.whitening`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from upland.models.whitening import Whitening

PENALTIES = (1e-7, 1e-5, 1e-3, 1e-1)
"""Of A, and of B beside infinity, in variances of an input."""

OF_INPUTS = (1, 2, 4, 0)
"""Inputs that random features are of, in turn; 0 are all."""

GAIN = 0.8
"""Standard deviation of what goes into the tanh of a feature, beside its offset."""

LEAST_RESIDUAL = 0.01
"""Standard deviation of the noise that residuals are taken to have, in units of the encoded channels."""

STEPS_MOST, HELD_OUT = 16_384, 4_096
"""Steps that the regression is fitted on and chosen by at most."""


class Autoregression(nn.Module):
    """A ridge regression of a step on the window before it, with whitened residuals; fitted, not trained.

    Args:
        width: values of a step, D.
        lags: steps of the window, K.
        features: random features, F.
        generator: source of the random features; None draws from torch's own.
    """

    random: Tensor
    offsets: Tensor
    coefficients: Tensor
    constant: Tensor

    def __init__(
        self, width: int, lags: int, features: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        inputs = lags * width
        random, offsets = random_features(inputs, features, generator)
        self.register_buffer("random", random)
        self.register_buffer("offsets", offsets)
        self.register_buffer("coefficients", torch.zeros(inputs + features, width, dtype=torch.float32))
        self.register_buffer("constant", torch.zeros(width, dtype=torch.float32))
        self.whitening = Whitening(width).requires_grad_(False)

    def forward(self, windows: Tensor) -> Tensor:
        """The forecasts: `(M, K D) -> (M, D)`."""
        return torch.addmm(self.constant, self._inputs(windows), self.coefficients)

    @torch.no_grad()
    def fit(self, windows: Tensor, x: Tensor) -> None:
        """Regress steps on the windows before them.

        Args:
            windows: `(M, K D)`, in the order of time; M of two at least.
            x: `(M, D)` the steps that follow.
        """
        away = (windows.double() - windows.double().mean(0)) @ self.random.double()
        spread = away.square().mean(0).sqrt().clamp_min(LEAST_RESIDUAL)
        self.random.mul_((GAIN / spread).to(self.random.dtype))
        last = max(1, len(x) // 4)
        first = _evenly(len(x) - last, STEPS_MOST)
        later = len(x) - last + _evenly(last, HELD_OUT)
        inputs = self._inputs(windows.double())
        normal, held_out = _Normal(inputs[first], x[first].double()), inputs[later]
        everything = _Normal(*(part[torch.cat([first, later])] for part in (inputs, x.double())))
        least = torch.full((x.shape[1],), math.inf, dtype=torch.float64, device=x.device)
        for penalty in self._penalties(windows.shape[1], inputs):
            weights, constant = normal.solved(penalty)
            away = (held_out @ weights + constant - x[later]).square().mean(0)
            better = away < least
            if bool(better.any()):
                least = torch.where(better, away, least)
                weights, constant = everything.solved(penalty)
                self.coefficients[:, better] = weights[:, better].to(self.coefficients.dtype)
                self.constant[better] = constant[better].to(self.constant.dtype)
        both = torch.cat([first, later])
        residuals = x[both].double() - (inputs[both] @ self.coefficients.double() + self.constant.double())
        self.whitening.fit(residuals, LEAST_RESIDUAL)

    def _inputs(self, windows: Tensor) -> Tensor:
        """Windows and their random features: `(M, K D + F)`, of the dtype of the windows."""
        random, offsets = self.random.to(windows.dtype), self.offsets.to(windows.dtype)
        return torch.cat([windows, torch.tanh(torch.addmm(offsets, windows, random))], 1)

    def _penalties(self, lagged: int, inputs: Tensor) -> list[Tensor]:
        """The penalty of each input, in every combination: the strongest first."""
        count = inputs.shape[1] - lagged
        grid = []
        for of_features in (math.inf, *PENALTIES[::-1]) if count else (math.inf,):
            for of_lags in PENALTIES[::-1]:
                parts = (inputs.new_full((lagged,), of_lags), inputs.new_full((count,), of_features))
                grid.append(torch.cat(parts))
        return grid


def random_features(
    inputs: int, features: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Directions `(inputs, features)` and offsets `(features,)` of random features.

    A quarter of them each are of one input, of two, of four and of all: where the next step goes by few of
    many inputs, as in a map, features of all of them would take far more steps to find it.

    Args:
        inputs: numbers of a window.
        features: how many.
        generator: of the draws; None draws from torch's own.
    """
    random = torch.randn(inputs, features, generator=generator, dtype=torch.float32)
    order = torch.rand(inputs, features, generator=generator, dtype=torch.float32).argsort(0).argsort(0)
    counts = torch.tensor(OF_INPUTS, dtype=torch.int64)[
        torch.arange(features, dtype=torch.int64) % len(OF_INPUTS)
    ]
    counts = torch.where(counts > 0, counts, inputs)
    offsets = 3 * torch.rand(features, generator=generator, dtype=torch.float32) - 1.5
    return torch.where(order < counts, random, 0.0), offsets


class _Normal:
    """The normal equations of a regression with a constant.

    Args:
        inputs: `(M, I)`, float64.
        x: `(M, D)`, float64.
    """

    def __init__(self, inputs: Tensor, x: Tensor) -> None:
        self.means, self.mean = inputs.mean(0), x.mean(0)
        away = inputs - self.means
        self.square = away.T @ away / len(x)
        self.product = away.T @ (x - self.mean) / len(x)

    def solved(self, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Weights `(I, D)` and constants `(D,)`, by the penalty of each input; infinite ones leave it out."""
        used = penalty.isfinite()
        weights = torch.zeros_like(self.product)
        matrix = self.square[used][:, used] + penalty[used].diag()
        weights[used] = torch.cholesky_solve(self.product[used], torch.linalg.cholesky(matrix))
        return weights, self.mean - self.means @ weights


def _evenly(count: int, most: int) -> Tensor:
    """Numbers below `count`, `most` of them at most, evenly spread."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()
