"""Rows whose normal part is curved and correlated: a mixture of Gaussians in few dimensions, seen through a
smooth map.

z ~ sum_k w_k N(m_k, S_k) in `latent` dimensions, x = B tanh(A z + a) + noise in `columns` dimensions. Planted
anomalies: half have some of their columns taken from other rows (each column normal by itself, their relation
broken), half are shifted off the surface in a few columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """One fixed normal distribution; `draw` samples it."""

    means: Array
    factors: Array
    lift: Array
    offset: Array
    spread: Array
    noise: float = 0.1

    @classmethod
    def make(cls, columns: int, generator: np.random.Generator, latent: int = 4, parts: int = 6) -> Surface:
        units = 4 * latent
        return cls(
            means=1.5 * generator.normal(size=(parts, latent)),
            factors=0.5 * generator.normal(size=(parts, latent, latent)),
            lift=generator.normal(size=(latent, units)) / np.sqrt(latent),
            offset=generator.normal(size=units),
            spread=generator.normal(size=(units, columns)) / np.sqrt(units) * 2.0,
        )

    def draw(self, rows: int, generator: np.random.Generator) -> Array:
        """Normal rows, (rows, columns)."""
        part = generator.integers(len(self.means), size=rows)
        normal = generator.normal(size=(rows, self.means.shape[1]))
        z = self.means[part] + np.einsum("nij,nj->ni", self.factors[part], normal)
        x = np.tanh(z @ self.lift + self.offset) @ self.spread
        return x + self.noise * generator.normal(size=x.shape)

    def plant(self, rows: int, generator: np.random.Generator, touched: int = 5) -> Array:
        """Anomalous rows: every second one has columns of strangers, the others are shifted in as many."""
        x, strangers = self.draw(rows, generator), self.draw(rows, generator)
        touch = generator.random(x.shape).argsort(axis=1) < min(touched, max(1, x.shape[1] // 2))
        shifted = x + 5.0 * self.noise * generator.choice([-1.0, 1.0], size=x.shape)
        exchange = (np.arange(rows) % 2 == 0)[:, None]
        return np.where(touch, np.where(exchange, strangers, shifted), x)


def planted_table(rows: int, columns: int, share: float, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """A shuffled table with `share` of planted anomalies, and its labels."""
    generator = np.random.default_rng(seed)
    return planted(Surface.make(columns, generator), rows, share, generator)


def planted(
    surface: Surface, rows: int, share: float, generator: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Shuffled rows of a surface with `share` of planted anomalies, and their labels."""
    anomalies = round(share * rows)
    x = np.concatenate([surface.draw(rows - anomalies, generator), surface.plant(anomalies, generator)])
    labels = np.repeat([0, 1], [rows - anomalies, anomalies])
    order = generator.permutation(rows)
    return x[order], labels[order]
