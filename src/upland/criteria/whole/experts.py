r"""Whole sequences scored by several energies, joined as the parts of a product of experts are.

The parts are Rao's score test on the biases of the recurrent model and those of `upland.criteria.whole`. With
m and s the mean and the deviation of log E among normal sequences, each left out of what it is compared with,

    A = (sum_p w_p softplus(z_p)^3 / sum_p w_p)^(1/3),   z = (log E - m) / s.

A few sequences say little of s: it is drawn towards `USUAL_DEVIATION`. Sequences that are longer than twice
the longest normal one are read in pieces no longer than it, and log E is the mean over the pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from upland.criteria.base import Floats, Shares, finite
from upland.criteria.score_test import ScoreTest
from upland.criteria.score_vectors import reference_of, sequence_vectors
from upland.criteria.sequence import (
    EncodedSequences,
    Memory,
    Of,
    SequenceCriterion,
    SequenceReference,
    State,
)
from upland.criteria.whole.aligned import Aligned, OwnScale
from upland.criteria.whole.convolutions import Convolutions
from upland.criteria.whole.part import LEAST, Part, folds, whole_number
from upland.criteria.whole.summaries import Summaries
from upland.criteria.whole.values import Values
from upland.models.recurrent import RecurrentEnergy
from upland.models.sequential import SequenceModel

PARTS: tuple[type[Part], ...] = (Convolutions, Aligned, OwnScale, Summaries, Values)
SCORE_TEST = "score_test"
WEIGHT_OF_SCORE_TEST = 0.5

POWER = 3
USUAL_DEVIATION, WORTH = 0.2, 5
"""The deviation of log E that is assumed beforehand, and the number of sequences that it counts as."""

NORMAL = 256
"""Normal sequences that the parts are fitted on, at most, evenly spread."""

TOGETHER = 64
MOST_STEPS = 1 << 31


class Piece(NamedTuple):
    """A sequence, or a piece of a long one.

    Args:
        owner: number of the sequence.
        start: its first step among all steps.
        codes: `(T, D)`.
    """

    owner: int
    start: int
    codes: Floats


class WholeExperts(SequenceCriterion):
    """The anomaly of a whole sequence over all parts, in standard deviations of normal ones.

    Args:
        unit: "sequence".
    """

    requires: ClassVar[type] = RecurrentEnergy
    learns_by_unit: ClassVar[bool] = True
    needs_beside_tensors: ClassVar[str] = "an alignment with normal sequences, step by step"

    def __init__(self, unit: Of) -> None:
        super().__init__(unit)
        self.score_test = ScoreTest("sequence")
        self.parts = [made() for made in PARTS]
        weights = np.array([WEIGHT_OF_SCORE_TEST, *(part.weight for part in self.parts)])
        self.weights = weights / weights.sum()

    # -- fit

    def fit(self, reference: SequenceReference) -> Self:
        """Fit every part, and what its energy is for normal sequences that it has not seen.

        Args:
            reference: a trained model and normal sequences.
        """
        super().fit(reference)
        windows = reference.windows
        self.score_test.fit(reference)
        self.longest = int(windows.lengths.max())
        some = np.unique(
            np.linspace(0, windows.lengths.size - 1, min(NORMAL, windows.lengths.size)).astype(int)
        )
        channels = windows.channels(self.model.width)
        sequences = [_codes(channels, int(windows.starts[n]), int(windows.lengths[n])) for n in some]
        left_out = [_left_out(self.model, windows), *(part.fit(sequences) for part in self.parts)]
        logs = [np.log(energies + LEAST) for energies in left_out]
        self.means = np.array([values.mean() for values in logs])
        counts = np.array([values.size for values in logs])
        squares = np.array([values.var() for values in logs]) * counts + WORTH * USUAL_DEVIATION**2
        self.deviations = np.sqrt(squares / (counts + WORTH))
        return self

    # -- scores

    def _standard_scores(self, x: EncodedSequences) -> Floats:
        """Z of each part and sequence: `(P, N)`."""
        of_test = np.sqrt(np.maximum(self.score_test.score(x), 0.0))
        logs = np.zeros((len(self.parts) + 1, x.lengths.size))
        logs[0] = np.log(of_test + LEAST)
        counts = np.bincount(_owners(x, self.longest), minlength=x.lengths.size)
        for pieces in _together(x.channels(self.model.width), self.longest):
            codes, owners = [piece.codes for piece in pieces], [piece.owner for piece in pieces]
            for row, part in enumerate(self.parts, start=1):
                np.add.at(logs[row], owners, np.log(part.energies(codes) + LEAST) / counts[owners])
        found: Floats = (logs - self.means[:, None]) / self.deviations[:, None]
        return found

    def _terms(self, x: EncodedSequences) -> Floats:
        """What each part adds to A^3: `(P, N)`."""
        found: Floats = np.logaddexp(self._standard_scores(x), 0.0) ** POWER * self.weights[:, None]
        return found

    def score(self, x: EncodedSequences) -> Floats:
        """A of each sequence: `(N,)`."""
        joined: Floats = self._terms(x).sum(0) ** (1 / POWER)
        return finite(joined)

    def step_scores(self, x: EncodedSequences) -> Floats:
        """The score of each step's sequence: `(S,)`, float64."""
        return self.score(x)[x.owners]

    def shares(self, x: EncodedSequences) -> Shares:
        """Shares of steps and channels `(S, D)`, which sum to the score of the sequence; and what the model
        expected.

        A is divided among the parts by their terms in A^3, and each of these as the part divides its energy.
        """
        terms = self._terms(x)
        pieces_of_score = terms * terms.sum(0) ** (1 / POWER) / np.maximum(terms.sum(0), 1e-300)
        of_test = self.score_test.shares(x)
        total = np.zeros_like(of_test.inputs)
        for number, (start, length) in enumerate(zip(x.starts, x.lengths, strict=True)):
            whole = slice(int(start), int(start + length))
            total[whole] += pieces_of_score[0, number] * _fractions(of_test.inputs[whole])
        counts = np.bincount(_owners(x, self.longest), minlength=x.lengths.size)
        for pieces in _together(x.channels(self.model.width), self.longest):
            for piece in pieces:
                there = slice(piece.start, piece.start + len(piece.codes))
                for row, part in enumerate(self.parts, start=1):
                    share = pieces_of_score[row, piece.owner] / counts[piece.owner]
                    total[there] += share * _fractions(part.shares(piece.codes))
        return Shares(total, of_test.expected)

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """Whole sequences have no next step.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("these are scores of whole sequences")

    # -- persistence

    def state(self) -> State:
        """What the parts have learned, by part and name; means and deviations."""
        found = {f"{SCORE_TEST}/{name}": value for name, value in self.score_test.state().items()}
        own = {"means": self.means, "deviations": self.deviations, "longest": np.array([float(self.longest)])}
        arrays = {f"join/{name}": value for name, value in own.items()}
        for part in self.parts:
            arrays |= {f"{part.name}/{name}": value for name, value in part.arrays().items()}
        return found | {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in arrays.items()}

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: not used.
            state: what was learned, by part and name.
        """
        super().restore(model, sigma, smoothing, state)
        if not state:  # before a fit
            return self
        self.score_test.restore(model, sigma, smoothing, _below(state, SCORE_TEST))
        own = {name: value.numpy() for name, value in _below(state, "join").items()}
        self.means, self.deviations = own["means"], own["deviations"]
        self.longest = whole_number(own["longest"], MOST_STEPS)
        for part in self.parts:
            arrays = {name: value.numpy() for name, value in _below(state, part.name).items()}
            part.restore(arrays, model.width)
        return self

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what is not the state of every part; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        self.score_test.check_state(model, _below(state, SCORE_TEST))
        if any(value.dtype != torch.float64 or not bool(value.isfinite().all()) for value in state.values()):
            raise ValueError("what a WholeExperts keeps must be finite")
        made = WholeExperts(self.unit)
        try:
            made.restore(model, 1.0, 1, state)
        except (KeyError, IndexError) as error:
            raise ValueError(f"a WholeExperts keeps arrays of every part: {error} is lacking") from None
        if set(made.state()) != set(state):
            raise ValueError("a WholeExperts keeps arrays of every part, and no others")
        if {made.means.shape, made.deviations.shape} != {(len(self.weights),)} or (
            made.deviations <= 0
        ).any():
            raise ValueError("the deviations of a WholeExperts must be positive, one for each part")


def _left_out(model: SequenceModel, windows: EncodedSequences) -> Floats:
    """The square root of Rao's statistic of normal sequences, each left out of its mean and covariance."""
    assert isinstance(model, RecurrentEnergy)
    vectors = sequence_vectors(model, windows.codes, windows.lengths)
    found = np.ones(len(vectors))
    if len(vectors) > 1:
        for left_out in folds(len(vectors)):
            seen = reference_of(vectors[torch.from_numpy(~left_out)], relative=False)
            found[left_out] = seen.test(vectors[torch.from_numpy(left_out)]).numpy()
    return np.sqrt(found)


def _below(state: Mapping[str, Tensor], part: str) -> State:
    """The tensors of one part."""
    start = f"{part}/"
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def _fractions(shares: Floats) -> Floats:
    """Shares that sum to one; even ones where there is nothing to divide."""
    total = shares.sum()
    if total > 1e-12 * np.abs(shares).sum():
        found: Floats = shares / total
        return found
    return np.full_like(shares, 1 / shares.size)


# -- reading


def _codes(x: EncodedSequences, start: int, length: int) -> Floats:
    found: Floats = x.codes(start, start + length).double().cpu().numpy()
    return found


def _edges(length: int, longest: int) -> Sequence[int]:
    """Where a sequence is cut: nowhere, unless it is longer than twice the longest normal one."""
    count = -(-length // longest) if length > 2 * longest else 1
    return [length * number // count for number in range(count + 1)]


def _owners(x: EncodedSequences, longest: int) -> list[int]:
    """The number of each piece's sequence."""
    return [n for n, length in enumerate(x.lengths) for _ in _edges(int(length), longest)[1:]]


def _together(x: EncodedSequences, longest: int) -> Iterator[list[Piece]]:
    """All pieces, some at a time."""
    group: list[Piece] = []
    for number, (start, length) in enumerate(zip(x.starts, x.lengths, strict=True)):
        edges = _edges(int(length), longest)
        for begin, stop in pairwise(edges):
            group.append(Piece(number, int(start) + begin, _codes(x, int(start) + begin, stop - begin)))
            if len(group) == TOGETHER:
                yield group
                group = []
    if group:
        yield group
