"""Sequences with their scores, and the shares of their channels where these are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.sequence.encoder import SequenceEncoder
from upland.reporting.page import Section
from upland.reporting.phrases import clipped, percent
from upland.reporting.traces import Floats, Indices, Positions, positions
from upland.scoring.explained_steps import AssessedSteps
from upland.scoring.words import cell_text, label_text

if TYPE_CHECKING:
    from upland.catalogue import Unit
    from upland.data.sequence.container import Sequences
    from upland.detectors.scoring import ScoringDetector

LISTED = 50
"""Episodes or sequences in a table, unless more or fewer are wanted."""

FEWEST = 5
"""So many are listed at least, though they are not flagged."""

LEAST = 0.05
"""The part of a score from which a channel is named beside the first."""

CLOSE = 3
"""Those of them that are drawn closely, with what was expected."""

CHANNELS = 3
"""Channels that are named, and drawn, of each."""


Said = tuple[list[str], list[Section]]
"""Plain sentences, and the sections behind them."""


@dataclass(frozen=True, eq=False)
class Assessed:
    """Sequences with their scores.

    Args:
        detector: Fitted on sequences.
        sequences: All of them.
        scores: Of each step `(S,)`, sequence after sequence in time order; or of each sequence `(N,)`.
        p_values: Likewise.
        cut: The largest p-value that is flagged.
        threshold: The least score that is not flagged, for the charts; None where it is not known.
        top: How many episodes or sequences are listed and explained.
        block_p_values: Of each step, for the p-values of episodes; None where there are none.
    """

    detector: ScoringDetector
    sequences: Sequences
    scores: Floats
    p_values: Floats
    cut: float
    threshold: float | None = None
    top: int = LISTED
    block_p_values: Floats | None = None

    @property
    def unit(self) -> Unit:
        """What a score is of."""
        return self.detector.plan_.reader.unit(self.sequences)

    @property
    def encoder(self) -> SequenceEncoder:
        """Of the detector."""
        assert isinstance(self.detector.encoder_, SequenceEncoder)
        return self.detector.encoder_

    @property
    def channels(self) -> tuple[str, ...]:
        """Their names, C of them."""
        return self.encoder.column_names

    @property
    def alone(self) -> bool:
        """Whether there is one sequence that has no name."""
        return self.sequences.ids is None and self.sequences.n_sequences == 1

    @property
    def called(self) -> str:
        """What the user calls a sequence."""
        return "sequence" if self.sequences.ids is None else clipped(str(self.encoder.id))

    @property
    def steps(self) -> AssessedSteps:
        """Scores and p-values of steps."""
        return AssessedSteps(self.scores, self.p_values, self.block_p_values)

    @cached_property
    def flags(self) -> NDArray[np.bool_]:
        """Which are flagged."""
        return self.p_values <= self.cut

    @cached_property
    def owners(self) -> Indices:
        """`(S,)` the sequence of each step."""
        return np.repeat(np.arange(self.sequences.n_sequences), self.sequences.lengths)

    def name(self, number: int) -> str:
        """What the user calls one of the sequences."""
        return label_text(self.sequences.label(number, 0)[0])

    def title(self, number: int) -> str:
        """The same in a heading."""
        if self.alone:
            return "The series"
        called, name = self.called, clipped(self.name(number))
        return name if name.casefold().startswith(called.casefold()) else f"{called} {name}"

    def prefix(self, number: int) -> str:
        """The same before other words; empty where there is one sequence alone."""
        return "" if self.alone else f"{self.title(number)}, "

    def where(self, number: int, steps: Indices | None = None) -> Positions:
        """The positions of the steps of a sequence, or of some of them."""
        time = self.encoder.time
        steps = np.arange(int(self.sequences.lengths[number])) if steps is None else steps
        return positions(self.sequences, number, steps, "time" if time is None else str(time))

    def word(self, number: int, step: int) -> str:
        """The position of a step of a sequence in words."""
        return self.where(number, np.array([step])).word(0)

    def piece(self, number: int, steps: int | None = None) -> Sequences:
        """One sequence, or its first steps."""
        start, length = self.sequences.starts[[number]], self.sequences.lengths[[number]]
        return self.sequences.cut(np.array([number]), start, length if steps is None else np.array([steps]))

    def explain(self, number: int, steps: Indices) -> Explained:
        """Some steps of a sequence with the shares of their channels.

        Args:
            number: The sequence.
            steps: `(K,)` numbers of steps in it, ascending.
        """
        from upland.detectors.host import usual_settings
        from upland.detectors.shares import member_shares

        piece = self.piece(number, int(steps[-1]) + 1 if self.unit == "step" else None)
        with usual_settings():
            shares, (reached, *_) = member_shares(self.detector, piece, self.unit)
            values = {name: cells[steps] for name, cells in self.encoder.values(piece).items()}
            reached = reached[steps]
            band = self.encoder.bounds(reached) if self.unit == "step" else []
            return Explained(
                self.channels, steps, shares[steps], values, self.encoder.decode(reached), tuple(band)
            )


class Cause(NamedTuple):
    """A channel's part in the score of a step.

    Args:
        channel: Its name.
        part: Of the sum of the step's shares.
        value: What it holds, in words.
        expected: What was expected, in words; of steps the band of it, where there is one.
    """

    channel: str
    part: float
    value: str
    expected: str

    @property
    def sentence(self) -> str:
        """What was there and what was expected."""
        return f"it is {clipped(self.value)} where {clipped(self.expected)} was expected"


class Explained(NamedTuple):
    """Some steps of one sequence, explained.

    Args:
        channels: Names of the channels, C of them.
        steps: `(K,)` their numbers in the sequence, ascending.
        shares: `(K, C)`.
        values: By channel `(K,)`.
        expected: Likewise.
        band: The lower and the upper bounds of what was expected, by channel; none where there is no band.
    """

    channels: Sequence[str]
    steps: Indices
    shares: Floats
    values: Mapping[str, NDArray[Any]]
    expected: Mapping[str, NDArray[Any]]
    band: tuple[Mapping[str, NDArray[Any]], ...] = ()

    def parts(self, step: int) -> Floats:
        """`(C,)` the part of each channel in the score of a step."""
        shares = self.shares[np.searchsorted(self.steps, step)]
        return parts_of(shares)

    def causes(self, step: int, count: int = CHANNELS) -> list[Cause]:
        """The channels with the largest shares of a step, largest first; behind the first only those with a
        part of `LEAST`.
        """
        parts = self.parts(step)
        best = [k for k in np.argsort(-parts, kind="stable")[:count].tolist() if parts[k] > 0]
        best = best[:1] + [k for k in best[1:] if parts[k] >= LEAST]
        return [self.cause(step, channel, float(parts[channel])) for channel in best]

    def cause(self, step: int, channel: int, part: float) -> Cause:
        """One channel at a step."""
        name, row = self.channels[channel], int(np.searchsorted(self.steps, step))
        value, expected = (cell_text(cells[name][row]) for cells in (self.values, self.expected))
        if self.band and name in self.band[0]:
            expected = " to ".join(cell_text(side[name][row]) for side in self.band)
        return Cause(name, part, value, expected)


def parts_of(shares: Floats) -> Floats:
    """Shares as parts of their sum, none negative."""
    positive = np.maximum(shares, 0.0)
    parts: Floats = positive / max(float(positive.sum()), np.finfo(float).tiny)
    return parts


def cause_texts(causes: Sequence[Cause]) -> tuple[str, ...]:
    """What contributes, as the lines of a cell of a table."""
    return tuple(
        f"{clipped(name)} ({percent(part)}): {clipped(value)}, expected {clipped(expected)}"
        for name, part, value, expected in causes
    )
