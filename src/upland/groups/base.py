r"""The contract of a statistic of groups: a function of means over the group's rows.

A group statistic T is built from *features* phi, some numbers of each row, and depends on a group of n rows
through their mean alone,

    T = value(1/n sum_i phi(x_i), n),

in float64. So it depends on its own group and on what was fitted, a million rows in a thousand groups are one
pass, and a permutation of rows among groups is another average of the same matrix. Higher is more anomalous.

A new statistic is one file beside this one, with a function `(ModelOutputs) -> Statistic` that chooses its
arguments by what the model says of normal rows, and a line in `upland.catalogue.STATISTICS`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from upland.groups.outputs import ModelOutputs

LIMIT = 1e6
"""Standardised numbers beyond it, infinite ones and NaN are set to it."""

AT_ONCE = 256  # rows whose values are computed at once


@dataclass
class Statistic(ABC):
    """A number for a group of rows: abstract; `features` and `value` are to be written, `learn` may be.

    What is learned from normal rows lies in `fitted`, tensors by name, and is a function of these rows:
    fitted on the same ones again, a statistic gives the same bits.
    """

    fitted: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)
    positive = True
    """Whether values are at least 0 and compared by their ratios."""

    def fit(self, outputs: ModelOutputs) -> Self:
        """Learn from normal rows; returns the statistic itself.

        Args:
            outputs: what the model says of normal rows that it has not been trained on.
        """
        self.fitted = self.learn(outputs)
        return self

    def reaches(self, largest: int) -> bool:
        """Whether it was fitted for groups of so many rows; it is, unless a statistic says otherwise.

        Args:
            largest: rows.
        """
        return True

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """The tensors that are learned from normal rows; none by default.

        Args:
            outputs: as in `fit`.
        """
        return {}

    @abstractmethod
    def features(self, outputs: ModelOutputs) -> Tensor:
        """The numbers of each row: `(N, F)`, float64, finite.

        Args:
            outputs: what the model says of N rows.
        """

    @abstractmethod
    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The statistic of G groups: `(G,)`, float64.

        Args:
            means: `(G, F)` means of features over each group's rows.
            sizes: `(G,)` numbers of rows.
        """

    def of_each_row(self, outputs: ModelOutputs) -> Tensor:
        """The statistic of each row as a group of its own: `(N,)`, float64.

        Args:
            outputs: what the model says of N rows.
        """
        parts = self.features(outputs).split(AT_ONCE)
        return torch.cat([self.value(part, torch.ones(len(part), dtype=torch.float64)) for part in parts])


def bounded(x: Tensor) -> Tensor:
    """Numbers within +-1e6, float64, whatever they were: the same shape."""
    return torch.nan_to_num(x.double(), nan=LIMIT, posinf=LIMIT, neginf=-LIMIT).clamp(-LIMIT, LIMIT)
