"""Files of long frames that are read in pieces: which series there are, and which of their steps stand out.

A piece is scored from the state that the pieces before it left, so that a file has to hold the steps of each
series in the order of time; series may come one after the other or side by side. Of the steps only those that
are flagged, and a few with the highest scores, are remembered.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
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


@dataclass
class Remembered:
    """The flagged steps of series that are read in pieces, and so many others with the highest scores that
    single steps can be named which are near no episode.

    Args:
        count: how many findings are wanted.
    """

    count: int
    _flagged: list[Steps] = field(default_factory=list)
    _others: list[Steps] = field(default_factory=list)

    def see(self, steps: Steps, cut: float) -> None:
        """Take in a piece.

        Args:
            steps: all steps of it, series after series.
            cut: the largest p-value that is flagged.
        """
        flags = steps.p_values <= cut
        self._flagged.append(steps.take(flags))
        near_flagged = flags.copy()  # these are named with an episode, or not needed
        for lag in range(1, NEAR + 1):
            same = steps.owners[lag:] == steps.owners[:-lag]
            near_flagged[lag:] |= flags[:-lag] & same
            near_flagged[:-lag] |= flags[lag:] & same
        others = joined_steps([*self._others, steps.take(~near_flagged)])
        near = 2 * NEAR + 1  # steps that are taken by one that is named, itself among them
        self._others = [others.take(worst_first(others.scores, 2 * self.count * near))]

    def episodes(self, starts: Indices, alpha: float, block: int | None) -> tuple[Steps, Episodes]:
        """All flagged steps, in the order of the series, and their episodes.

        Args:
            starts: `(N,)` the first step of each series, counted over all series.
            alpha: p-values of episodes up to which two near each other are one.
            block: steps of a block; None of a model without blocks.

        Returns:
            The steps, and episodes whose numbers are of steps counted over all series.
        """
        flagged = joined_steps(self._flagged)
        numbers = starts[flagged.owners] + flagged.places
        order = np.argsort(numbers, kind="stable")
        flagged, numbers = flagged.take(order), numbers[order]
        strong = None if block is None else flagged.block_p_values <= alpha
        return flagged, episodes_at(numbers, flagged.owners, flagged.scores, strong, block or 0)

    def quiet(self, starts: Indices, taken: Episodes, owners: Indices, count: int) -> Steps:
        """Steps that are not flagged with the highest scores, none near another or an episode.

        Args:
            starts: `(N,)` the first step of each series, counted over all series.
            taken: the episodes that are named beside them.
            owners: `(E,)` the series of each.
            count: how many are wanted.
        """
        (others,) = self._others
        numbers = starts[others.owners] + others.places
        order = np.lexsort((numbers, -others.scores))
        spans = list(zip(owners.tolist(), taken.firsts.tolist(), taken.lasts.tolist(), strict=True))
        found: list[int] = []
        for row in order.tolist():
            owner, number = int(others.owners[row]), int(numbers[row])
            if len(found) < count and not any(
                owner == other and first - NEAR <= number <= last + NEAR for other, first, last in spans
            ):
                found.append(row)
                spans.append((owner, number, number))
        return others.take(np.array(found, dtype=np.int64))
