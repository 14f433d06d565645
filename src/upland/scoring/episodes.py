"""From flagged rows to episodes: what is flagged again within a short while is one event, and one alarm.

The rule: flagged rows of one series, in the order of time, are of one episode while each is at most `NEAR`
rows after the one before. (`upland.scoring.alarms` counts the episodes of all levels at once by the same
rule, and knows it by a duration too.)

Where episodes have p-values (`upland.calibration.block_calibration`), two of them that both reach alpha are
one, with all between them, where the second begins at most a block after the end of the first: peaks so near
each other are no evidence beside each other, and what is promised counts each block once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NEAR = 3
"""Flagged rows of a series that are at most so far apart are of one episode."""


class Episodes(NamedTuple):
    """Stretches of steps, `(E,)` each; steps are counted over all sequences.

    Args:
        firsts: the first step of each.
        lasts: the last step of each.
        peaks: the step with the highest score; of equals, the earlier one.
    """

    firsts: Indices
    lasts: Indices
    peaks: Indices

    def select(self, rows: Indices) -> Episodes:
        """Some of them, in the order of these numbers."""
        return Episodes(*(part[rows] for part in self))


def worst_first(scores: Floats, count: int) -> Indices:
    """The numbers of the highest scores; of equals, the earlier one."""
    order: Indices = np.argsort(-scores, kind="stable")[:count]
    return order


def episodes_of(
    flags: Bools, owners: Indices, scores: Floats, strong: Bools | None = None, block: int = 0
) -> Episodes:
    """Group flagged steps.

    Args:
        flags: `(S,)` which steps are flagged, sequence after sequence, in time order.
        owners: `(S,)` the sequence of each.
        scores: `(S,)` their anomaly scores.
        strong: `(S,)` which steps have a block p-value of at most alpha; None where they have none.
        block: episodes with such steps that are at most so many steps apart are one.

    Returns:
        The episodes in the order of the steps.
    """
    steps = np.flatnonzero(flags)
    among = None if strong is None else strong[steps]
    return episodes_at(steps, owners[steps], scores[steps], among, block)


def episodes_at(
    steps: Indices, owners: Indices, scores: Floats, strong: Bools | None = None, block: int = 0
) -> Episodes:
    """Group flagged steps, of which alone something is known.

    Args:
        steps: `(F,)` the numbers of the flagged steps among all steps, ascending.
        owners: `(F,)` the sequence of each.
        scores: `(F,)` their anomaly scores.
        strong: `(F,)` which of them have a block p-value of at most alpha; None where they have none.
        block: episodes with such steps that are at most so many steps apart are one.

    Returns:
        The episodes in the order of the steps.
    """
    if not steps.size:
        return Episodes(steps, steps, steps)
    parted = (np.diff(steps) > NEAR) | (np.diff(owners) != 0)
    if strong is not None:
        parted &= ~_near_strong(steps, np.cumsum(np.r_[0, parted]), owners, strong, block)
    starts = np.flatnonzero(np.r_[True, parted])
    number = np.cumsum(np.r_[0, parted])
    order = np.lexsort((-scores, number))  # within each episode the worst stands first
    ends = np.r_[starts[1:], steps.size] - 1
    return Episodes(steps[starts], steps[ends], steps[order[starts]])


def _near_strong(steps: Indices, number: Indices, owners: Indices, strong: Bools, block: int) -> Bools:
    """`(F - 1,)` whether a flagged step and the next lie between two episodes with strong steps that are at
    most a block apart.

    Args:
        steps: `(F,)` flagged steps.
        number: `(F,)` the episode of each.
        owners: `(F,)` the sequence of each.
        strong: `(F,)` which are.
        block: steps.
    """
    held = np.unique(number[strong])
    first = np.searchsorted(number, held, side="left")
    last = np.searchsorted(number, held, side="right") - 1
    near = (steps[first[1:]] - steps[last[:-1]] <= block) & (np.diff(owners[first]) == 0)
    change = np.zeros(steps.size, dtype=np.int64)
    np.add.at(change, last[:-1][near], 1)
    np.add.at(change, first[1:][near], -1)
    between: Bools = np.cumsum(change)[:-1] > 0
    return between


def most_anomalous(found: Episodes, owners: Indices, scores: Floats, count: int) -> Episodes:
    """The episodes with the highest scores, worst first; where there are too few, single steps that are not
    flagged follow, none of them near another.

    Args:
        found: the episodes of flagged steps.
        owners: `(S,)` the sequence of each step.
        scores: `(S,)` anomaly scores.
        count: how many are wanted.
    """
    worst = found.select(np.argsort(-scores[found.peaks], kind="stable")[:count])
    lacking = count - worst.peaks.size
    if lacking <= 0:
        return worst
    taken = np.zeros(scores.size, dtype=bool)
    for first, last in zip(worst.firsts.tolist(), worst.lasts.tolist(), strict=True):
        _take(taken, owners, first, last)
    more: list[int] = []
    for step in np.argsort(-scores, kind="stable").tolist():
        if len(more) == lacking:
            break
        if not taken[step]:
            more.append(step)
            _take(taken, owners, step, step)
    quiet = np.array(more, dtype=np.int64)
    return Episodes(*(np.concatenate([part, quiet]) for part in worst))


def _take(taken: Bools, owners: Indices, first: int, last: int) -> None:
    """Mark the steps of a stretch and those near it in the same sequence."""
    low, high = max(first - NEAR, 0), last + NEAR + 1
    taken[low:high] |= owners[low:high] == owners[first]
