"""Files of long frames that are read in pieces: which series there are, and which of their steps stand out.

A piece is scored from the state that the pieces before it left, so that a file has to hold the steps of each
series in the order of time; series may come one after the other or side by side. What is remembered of steps
does not grow with their number: the worst episodes, those that go on, a few steps with high scores.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.io.inference import TypedRows
from upland.io.locks import warnings_apart
from upland.io.source import Source
from upland.scoring.episodes import NEAR, Episodes, episodes_at, worst_first

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.data.sequence.encoder import SequenceEncoder

AT_ONCE = 65_536
"""Rows that are read at a time."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class LongFile:
    """The rows of a file as a detector of sequences takes them; ids and times as the whole file has them.

    Args:
        source: the file; one of text is read once to learn what ids and time stamps are.
        encoder: of the detector.
    """

    def __init__(self, source: Source, encoder: SequenceEncoder) -> None:
        self.source, self.encoder = source, encoder
        own = (encoder.id, encoder.time)
        self.own = [str(name) for name in own if name is not None and str(name) in source.names]
        schema = encoder.table.schema_
        self._typed = None if source.typed or not self.own else TypedRows(source, schema)
        self._warned = False

    def pieces(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Rows as they stand in the file, and as the detector takes them."""
        for raw, table in self.source.pairs(self.encoder.table.schema_, AT_ONCE):
            if not raw.num_rows:
                continue
            if self._typed is not None:
                found = self._typed.table(raw, table)
                for name in self.own:
                    table = table.set_column(table.column_names.index(name), name, found[name])
            yield raw, table

    def steps(self, table: pa.Table, quiet: bool = False) -> Sequences:
        """A piece as steps of series; of its warnings those of the first piece that gives any are said.

        Args:
            table: as the detector takes it.
            quiet: whether none are.
        """
        from upland.data.sequence.next_steps import next_steps

        with warnings_apart(record=True) as caught:
            warnings.simplefilter("always")
            found = next_steps(table, None, self.encoder)
        for warning in () if self._warned or quiet else caught:
            self._warned = True
            warnings.warn(warning.message, warning.category, stacklevel=2)
        return found


class Series(NamedTuple):
    """The series of a file, in the order in which they first appear.

    Args:
        ids: of each; None of a series without one.
        lengths: `(N,)` steps of each.
    """

    ids: tuple[Hashable, ...]
    lengths: Indices

    @property
    def starts(self) -> Indices:
        """`(N,)` the first step of each, counted over all series."""
        return np.cumsum(self.lengths) - self.lengths


def series_in_order(file: LongFile) -> Series | None:
    """The series of a file; None where the steps of one do not stand in the order of time, or something else
    is wrong with it, which reading it whole tells.

    Args:
        file: long rows.
    """
    lengths: dict[Hashable, int] = {}
    last: dict[Hashable, Any] = {}
    try:
        for _, table in file.pieces():
            steps = file.steps(table, quiet=True)
            if not _goes_on(steps, last):
                return None
            for name, length in zip(steps.ids or (), steps.lengths.tolist(), strict=True):
                lengths[name] = lengths.get(name, 0) + length
    except (ValueError, TypeError):
        return None
    return Series(tuple(lengths), np.array([*lengths.values()], dtype=np.int64)) if lengths else None


def _goes_on(steps: Sequences, last: dict[Hashable, Any]) -> bool:
    """Whether all steps stand in the order of time, after the last ones of their series, which it renews."""
    firsts, ends = steps.starts, steps.starts + steps.lengths - 1
    inside = np.ones(max(steps.n_steps - 1, 0), dtype=bool)
    inside[firsts[1:] - 1] = False
    if (np.diff(steps.row_numbers)[inside] < 0).any():
        return False
    if steps.stamps is None:
        return True
    for name, first, end in zip(steps.ids or (), firsts.tolist(), ends.tolist(), strict=True):
        if name in last and not steps.stamps[first] > last[name]:
            return False
        last[name] = steps.stamps[end]
    return True


class Steps(NamedTuple):
    """Some steps of series, `(M,)` each.

    Args:
        owners: the number of the series of each.
        places: how many steps come before it in its series.
        scores: anomaly scores.
        p_values: their p-values.
        stamps: time stamps; where there are none, the places.
        block_p_values: as `upland.calibration.block_calibration` has them; NaN of a model without blocks.
    """

    owners: Indices
    places: Indices
    scores: Floats
    p_values: Floats
    stamps: NDArray[Any]
    block_p_values: Floats

    def take(self, rows: Any) -> Steps:
        """Some of them."""
        return Steps(*(part[rows] for part in self))


def joined_steps(parts: list[Steps]) -> Steps:
    """Several parts in a row, one at least."""
    return Steps(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class Found(NamedTuple):
    """Episodes, or single steps, `(E,)` each.

    Args:
        owners: the number of the series of each.
        firsts: how many steps come before its first step in its series.
        lasts: likewise of its last step.
        peaks: likewise of the step with the highest score.
        scores: the highest anomaly score.
        p_values: of that step.
        stamps: `(E, 3)` time stamps of first, last and peak.
        block_p_values: the smallest of its steps.
    """

    owners: Indices
    firsts: Indices
    lasts: Indices
    peaks: Indices
    scores: Floats
    p_values: Floats
    stamps: NDArray[Any]
    block_p_values: Floats

    def take(self, rows: Any) -> Found:
        """Some of them."""
        parts: list[Any] = [part[rows] for part in self]
        return Found(*parts)

    def worst(self, count: int) -> Found:
        """Those with the highest scores, worst first; of equals, the earlier one."""
        return self.take(np.lexsort((self.peaks, self.owners, -self.scores))[:count])

    def beside(self, other: Found) -> Found:
        """These and others."""
        return Found(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


def _episodes(steps: Steps, episodes: Episodes, numbers: Indices) -> Found:
    """Episodes of flagged steps, whose numbers are ascending."""
    first, last, peak = (np.searchsorted(numbers, part) for part in episodes)
    least = np.minimum.reduceat(steps.block_p_values, first) if first.size else np.empty(0)
    places, stamps = steps.places, np.stack([steps.stamps[part] for part in (first, last, peak)], axis=1)
    own = (steps.owners[peak], places[first], places[last], places[peak])
    return Found(*own, steps.scores[peak], steps.p_values[peak], stamps, least)


class Remembered:
    """What is found in series that are read in pieces: the worst episodes that have ended, the flagged steps
    of the others, and so many steps with high scores that some are near no episode and can be named.

    Args:
        starts: `(N,)` the first step of each series, counted over all series.
        count: how many findings are wanted.
        alpha: p-values of episodes up to which two near each other are one.
        block: steps of a block; None of a model without blocks.
    """

    def __init__(self, starts: Indices, count: int, alpha: float, block: int | None) -> None:
        self.starts, self.count, self.alpha, self.block = starts, count, alpha, block
        self.n_episodes = 0
        self.hit: set[int] = set()
        self._seen = np.zeros(starts.size, dtype=np.int64)
        self._going_on: list[Steps] = []
        self._others: list[Steps] = []
        self._worst: list[Found] = []

    def see(self, steps: Steps, cut: float) -> None:
        """Take in a piece.

        Args:
            steps: all steps of it, series after series.
            cut: the largest p-value that is flagged.
        """
        np.maximum.at(self._seen, steps.owners, steps.places + 1)
        flags = steps.p_values <= cut
        near_flagged = flags.copy()  # these are named with an episode, or not needed
        for lag in range(1, NEAR + 1):
            same = steps.owners[lag:] == steps.owners[:-lag]
            near_flagged[lag:] |= flags[:-lag] & same
            near_flagged[:-lag] |= flags[lag:] & same
        others = joined_steps([*self._others, steps.take(~near_flagged)])
        near = 2 * NEAR + 1  # steps that are taken by one that is named, itself among them
        self._others = [others.take(worst_first(others.scores, 2 * self.count * near))]
        self._end(joined_steps([*self._going_on, steps.take(flags)]), max(NEAR, self.block or 0))

    def _end(self, flagged: Steps, reach: int) -> None:
        """Count the episodes that no step to come can be of, which are so many steps ago; keep the worst."""
        numbers = self.starts[flagged.owners] + flagged.places
        order = np.argsort(numbers, kind="stable")
        flagged, numbers = flagged.take(order), numbers[order]
        strong = None if self.block is None else flagged.block_p_values <= self.alpha
        found = _episodes(
            flagged, episodes_at(numbers, flagged.owners, flagged.scores, strong, self.block or 0), numbers
        )
        ended = found.lasts + reach < self._seen[found.owners]
        self.n_episodes += int(ended.sum())
        self.hit |= set(np.unique(found.owners[ended]).tolist())
        some = found.take(ended)
        self._worst = [(self._worst[0].beside(some) if self._worst else some).worst(self.count)]
        counts = np.diff(
            np.r_[np.searchsorted(numbers, self.starts[found.owners] + found.firsts), numbers.size]
        )
        self._going_on = [flagged.take(np.repeat(~ended, counts))]

    def found(self) -> Found:
        """The worst episodes, and single steps where there are too few: steps that are not flagged with the
        highest scores, none near another or an episode. All pieces have been seen.
        """
        self._end(self._going_on[0], -1)
        (worst,), (others,) = self._worst, self._others
        order = np.lexsort((others.places, others.owners, -others.scores))
        spans = list(zip(*(part.tolist() for part in worst[:3]), strict=True))
        rows: list[int] = []
        for row in order.tolist():
            owner, place = int(others.owners[row]), int(others.places[row])
            if len(spans) < self.count and not any(
                owner == other and first - NEAR <= place <= last + NEAR for other, first, last in spans
            ):
                rows.append(row)
                spans.append((owner, place, place))
        quiet = others.take(np.array(rows, dtype=np.int64))
        stamps = np.stack([quiet.stamps] * 3, axis=1)
        places = (quiet.places,) * 3
        single = Found(quiet.owners, *places, quiet.scores, quiet.p_values, stamps, quiet.block_p_values)
        return worst.beside(single)
