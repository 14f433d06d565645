"""The contract of the parts of a product of experts: energies of rows of a table, fitted in closed form.

Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14 (2002): a
density that is a product has an energy that is a sum, and each factor may see one aspect of the data only.
The parts here need no training by gradients: each is fitted on the training rows at once, and gives these
rows energies as if each had been left out, which is what new rows are compared with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from upland.models.stored import StoredModule

LEAST_DEVIATION = 1e-3
"""Deviation of an energy, at least."""


class Layout(NamedTuple):
    """Which encoded inputs belong together.

    Args:
        columns: `(D,)` the number of the user's column of each input, ascending from 0.
        categorical: for each column whether its inputs are a one-hot code, the last of unseen levels.
        cyclic: for each column whether its inputs are parts of a date.
        offsets: for each column how many standard deviations its mean is from zero, which says how far
            rounding a value to float32 moves its code; zeros where left out.
    """

    columns: tuple[int, ...]
    categorical: tuple[bool, ...]
    cyclic: tuple[bool, ...]
    offsets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Encoded inputs, D."""
        return len(self.columns)

    def inputs(self, column: int) -> list[int]:
        """The inputs of a column."""
        return [position for position, owner in enumerate(self.columns) if owner == column]


def plain_layout(width: int) -> Layout:
    """The layout of `width` columns of one number each."""
    return Layout(tuple(range(width)), (False,) * width, (False,) * width)


class Part(StoredModule, ABC):
    """One energy of a product: abstract.

    Attributes:
        sized: names of its tensors whose sizes go by the training rows.
    """

    sized: tuple[str, ...] = ()

    @abstractmethod
    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fit on training rows, and return the energies of some of them, each as if it had been left out.

        Args:
            x: `(N, D)` encoded rows, N at least 1, in random order.
            generator: source of random choices; None draws from torch's own.
        """

    @abstractmethod
    def values(self, x: Tensor) -> Tensor:
        """The energy of each row: `(N, D) -> (N,)`, float64, never negative."""

    @abstractmethod
    def shares(self, x: Tensor) -> Tensor:
        """What each input adds to the energy: `(N, D) -> (N, D)`, float64, never negative."""

    def least_deviation(self) -> float:
        """What the deviation of the energy of normal rows is at least, by what was fitted."""
        return LEAST_DEVIATION

    def expected(self, x: Tensor) -> Tensor | None:
        """What normal rows like these have in each input: `(N, D)`; None where the part does not say."""
        return None

    def after_loading(self) -> None:
        """Compute again what is not stored; nothing by default."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the sizes of stored tensors that go by the training rows, and compute what follows."""
        for name in self.sized:
            if prefix + name in state:
                setattr(self, name, self.get_buffer(name).new_zeros(state[prefix + name].shape))
        super()._load_from_state_dict(state, prefix, *rest)
        self.after_loading()
