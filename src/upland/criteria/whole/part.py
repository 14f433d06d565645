"""A part of the score of whole sequences: an energy, and where in a sequence it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.criteria.whole.gaussian import ShrunkGaussian, shrunk_gaussian

Arrays = dict[str, Floats]

FOLDS = 10
LEAST = 0.01
"""Added to energies before their logarithm: a copy of a normal sequence is no endless evidence."""


def folds(n: int) -> Iterator[NDArray[np.bool_]]:
    """Which of n sequences are left out together, for each fold: neighbours, as windows may share steps.

    Args:
        n: two at least.
    """
    for left_out in np.array_split(np.arange(n), min(FOLDS, n)):
        yield np.isin(np.arange(n), left_out)


class Part(ABC):
    """An energy of sequences `(T_i, D)`: abstract.

    Attributes:
        name: in a stored file.
        weight: among the parts.
        whole_numbers: names of stored arrays that hold whole numbers above zero.
    """

    name: ClassVar[str]
    weight: ClassVar[float]

    @abstractmethod
    def fit(self, sequences: Sequence[Floats]) -> Floats:
        """Learn from normal sequences; returned are their energies as if each had been left out: `(n,)`.

        Args:
            sequences: `(T_i, D)` each.
        """

    @abstractmethod
    def energies(self, sequences: Sequence[Floats]) -> Floats:
        """`(N,)`, zero or more.

        Args:
            sequences: `(T_i, D)` each.
        """

    @abstractmethod
    def shares(self, steps: Floats) -> Floats:
        """What each value has in the energy of its sequence: `(T, D)`, of any sum.

        Args:
            steps: a sequence `(T, D)`.
        """

    @abstractmethod
    def arrays(self) -> Arrays:
        """What was learned, by name."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, Floats], width: int) -> Self:
        """Take up what `arrays` gave; raises KeyError and ValueError for anything else.

        Args:
            arrays: finite, by name.
            width: channels.
        """


class VectorPart(Part):
    """A Gaussian energy of a vector of each sequence: abstract, `learn`, `vectors` and `spread` to write."""

    gaussian: ShrunkGaussian

    @abstractmethod
    def learn(self, sequences: Sequence[Floats]) -> None:
        """Learn what the vectors are made by.

        Args:
            sequences: normal, `(T_i, D)` each.
        """

    @abstractmethod
    def vectors(self, sequences: Sequence[Floats]) -> Floats:
        """The vector of each sequence: `(N, K)`.

        Args:
            sequences: `(T_i, D)` each.
        """

    @abstractmethod
    def spread(self, steps: Floats, pull: Floats, away: Floats) -> Floats:
        """The parts `pull * away` of a vector as shares of the values: `(T, D)`.

        Args:
            steps: the sequence.
            pull: `(K,)` what each number of the vector counts for.
            away: `(K,)` how far it is from the center.
        """

    def fit(self, sequences: Sequence[Floats]) -> Floats:
        """See `Part.fit`."""
        self.learn(sequences)
        vectors = self.vectors(sequences)
        found = np.ones(len(vectors))
        if len(vectors) > 1:
            for left_out in folds(len(vectors)):
                found[left_out] = shrunk_gaussian(vectors[~left_out]).energies(vectors[left_out])
        self.gaussian = shrunk_gaussian(vectors)
        return found

    def energies(self, sequences: Sequence[Floats]) -> Floats:
        """See `Part.energies`."""
        return self.gaussian.energies(self.vectors(sequences))

    def shares(self, steps: Floats) -> Floats:
        """See `Part.shares`."""
        vector = self.vectors([steps])[0]
        return self.spread(steps, self.gaussian.pull(vector), vector - self.gaussian.center)

    def arrays(self) -> Arrays:
        """See `Part.arrays`."""
        return dict(self.gaussian._asdict())

    def restore_gaussian(self, arrays: Mapping[str, Floats], size: int) -> None:
        """Take up the energy of vectors.

        Args:
            arrays: by name.
            size: numbers of a vector, K.
        """
        gaussian = ShrunkGaussian(*(arrays[name] for name in ShrunkGaussian._fields))
        rank = gaussian.gains.size
        shapes = [(size,), (size,), (rank, size), (rank,), (1,)]
        if [value.shape for value in gaussian] != shapes:
            raise ValueError(f"the arrays of {self.name} do not fit each other")
        if (gaussian.scale <= 0).any() or gaussian.level[0] <= 0:
            raise ValueError(f"scales of {self.name} must be positive")
        self.gaussian = gaussian


def whole_number(value: Floats, most: int) -> int:
    """The whole number that an array of one holds, from 1 to `most`; raises ValueError.

    Args:
        value: `(1,)`.
        most: what it may be.
    """
    if value.shape != (1,) or not 1 <= value[0] <= most or value[0] != int(value[0]):
        raise ValueError(f"not a whole number from 1 to {most}")
    return int(value[0])
