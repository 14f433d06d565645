"""Fitting the experts of time steps, and what their numbers are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from upland.criteria.base import Floats
from upland.criteria.reading import STRETCH, Indices
from upland.criteria.steps.forecasts import Dynamics, Relation
from upland.criteria.steps.levels import Level, Movement, Shift
from upland.criteria.steps.part import Normal, StepPart
from upland.criteria.steps.patches import Patches, Subspace
from upland.criteria.steps.states import Transitions

RECURRENT, TRANSITIONS, RELATION = "recurrent", "transitions", "relation"
PARTS = (
    *("level", "shift", "movement", "patch8", "patch32", "patch96"),
    *("subspace", "dynamics", RELATION, TRANSITIONS),
)
"""The experts that are functions of the last steps."""

EXPERTS = (*PARTS, RECURRENT)
"""All experts, in the order in which they are joined."""

COMPARED = ("usual", "most", "scale", "joint")
"""What the numbers of an expert are compared with."""

QUANTILE = 0.99
LARGE = 300.0  # of the percentile: no number counts as more
MOST = 1e12  # of a number, so that all stay finite
LEAST = 1e-6  # of what numbers are divided by: (a thousandth of a standard deviation)^2
LEAST_NATS = 1.0  # likewise, of the surprise of transitions
MANY = 32  # steps of a number
FEWEST = 32  # steps that an expert is fitted on


def part_of(name: str, n_channels: int) -> StepPart:
    """An expert, not fitted.

    Args:
        name: of `PARTS`.
        n_channels: that it is of.
    """
    features = 512 if n_channels <= 2 else 256 if n_channels <= 4 else 128 if n_channels <= 16 else 64
    makers: dict[str, StepPart] = {
        "level": Level(),
        "shift": Shift(),
        "movement": Movement(),
        "patch8": Patches(8, 1),
        "patch32": Patches(32, 4),
        "patch96": Patches(96, 8),
        "subspace": Subspace(),
        "dynamics": Dynamics(features),
        RELATION: Relation(64),
        TRANSITIONS: Transitions(),
    }
    return makers[name]


@dataclass(frozen=True, eq=False)
class Expert:
    """An expert of K channels and what its numbers are compared with.

    Args:
        name: of `PARTS`, or the recurrent one.
        part: fitted; None for the recurrent one.
        usual: `(K,)` the mean of each channel's number among normal steps.
        most: `(K,)` what a number counts as at most: 300 times its 99th percentile, so that the means
            fall in bounded time after a fault, however large it was.
        scale: `(2, K)` the 99th percentile of each channel's mean over each span.
        joint: `(2,)` that of the largest channel's ratio.
        reach: steps that a number depends on.
        spans: steps of its means, about.
    """

    name: str
    part: StepPart | None
    usual: Floats
    most: Floats
    scale: Floats
    joint: Floats
    reach: int
    spans: tuple[int, int]

    @property
    def weight(self) -> float:
        """In the mean over experts; half for transitions, which rare commands alone make large."""
        return 0.5 if self.name == TRANSITIONS else 1.0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learned, by name."""
        own = {} if self.part is None else self.part.state()
        return own | {name: getattr(self, name) for name in COMPARED}


@dataclass(frozen=True, eq=False)
class NormalSteps:
    """All normal steps, and which of them an expert may see.

    Args:
        steps: `(S, K + C)` its channels and the context inputs.
        n_context: C.
        seen: the steps that may be seen, sorted.
        starts: `(N,)` the first step of each sequence.
        lengths: `(N,)` steps of each.
        spans: of the exponential means.
    """

    steps: Floats
    n_context: int
    seen: Indices
    starts: Indices
    lengths: Indices
    spans: tuple[int, int]

    def ends(self, seen: Indices, reach: int) -> Indices:
        """The steps of `seen` whose last `reach` steps are all seen and of one sequence."""
        marks = np.zeros(len(self.steps) + 1, dtype=np.int64)
        marks[seen + 1] = 1
        count = np.cumsum(marks)
        firsts = np.repeat(self.starts, self.lengths)[seen]
        begins = seen - reach + 1
        inside = seen[begins >= firsts]
        found: Indices = inside[count[inside + 1] - count[inside - reach + 1] == reach]
        return found

    def numbers(self, part: StepPart) -> Floats:
        """The numbers of every step: `(S, K)`, NaN where there is too little past."""
        found = np.full((len(self.steps), self.steps.shape[1] - self.n_context), np.nan)
        before = part.reach - 1
        for start, length in zip(self.starts, self.lengths, strict=True):
            for first in range(start + before, start + length, STRETCH):
                stop = min(first + STRETCH, start + length)
                found[first:stop] = part.squares(self.steps[None, first - before : stop])[0]
        return np.minimum(found, MOST, out=found)


def fitted(name: str, normal: NormalSteps) -> Expert | None:
    """An expert, fitted on all steps that may be seen and compared with halves of them that it had not seen;
    None where they are too few.

    Args:
        name: of `PARTS`.
        normal: the steps.
    """
    n_channels = normal.steps.shape[1] - normal.n_context
    halves = np.array_split(normal.seen, 2)
    pairs = []
    for fitted_on, other in (halves, halves[::-1]):
        part = _fitted_part(name, n_channels, normal, fitted_on)
        if part is None:
            return None
        pairs.append((normal.numbers(part), other))
    part = _fitted_part(name, n_channels, normal, normal.seen)
    return None if part is None else compared(name, part, part.reach, pairs, normal)


def _fitted_part(name: str, n_channels: int, normal: NormalSteps, seen: Indices) -> StepPart | None:
    part = part_of(name, n_channels)
    ends = normal.ends(seen, part.reach)
    return part.fit(Normal(normal.steps, ends, normal.n_context)) if ends.size >= FEWEST else None


def compared(
    name: str,
    part: StepPart | None,
    reach: int,
    pairs: list[tuple[Floats, Indices]],
    normal: NormalSteps,
) -> Expert | None:
    """An expert with what its numbers are compared with; None where no step has enough past.

    Args:
        name: of the expert.
        part: as fitted.
        reach: steps that a number depends on.
        pairs: numbers `(S, K)` of all steps, and which steps were not fitted on.
        normal: the steps.
    """
    own = np.concatenate([numbers[rows] for numbers, rows in pairs])
    there = ~np.isnan(own).any(axis=1)
    if not there.any():
        return None
    spans = spans_of(reach, normal.spans)
    least = LEAST_NATS if name == TRANSITIONS else LEAST
    most = np.minimum(LARGE * np.maximum(np.quantile(own[there], QUANTILE, axis=0), least), MOST)
    usual = np.maximum(np.minimum(own[there], most).mean(axis=0), LEAST)
    means = []
    for numbers, rows in pairs:
        filled = np.where(np.isnan(numbers), usual, np.minimum(numbers, most))
        smooth = np.empty((len(filled), 2, usual.size))
        for start, length in zip(normal.starts, normal.lengths, strict=True):
            level = np.broadcast_to(usual, (1, 2, usual.size))
            smooth[start : start + length] = smoothed(filled[None, start : start + length], level, spans)[0]
        means.append(smooth[rows])
    every = np.concatenate(means)[there]
    scale = np.maximum(np.quantile(every, QUANTILE, axis=0), least)
    joint = np.maximum(np.quantile((every / scale).max(axis=2), QUANTILE, axis=0), 0.1)
    return Expert(name, part, usual, most, scale, joint, reach, spans)


def spans_of(reach: int, spans: tuple[int, int]) -> tuple[int, int]:
    """The spans of an expert: a number of more than `MANY` steps holds long by itself, and is smoothed over
    the rest of the longer span.

    Args:
        reach: steps that a number depends on.
        spans: a short and a long one, of numbers of one step.
    """
    short, long = spans
    return short, max(long - reach + 1, short) if reach > MANY else long


def smoothed(numbers: Floats, levels: Floats, spans: tuple[int, int]) -> Floats:
    """Exponential means of numbers over two spans: `(n, L, K)`, `(n, 2, K) -> (n, L, 2, K)`.

    Args:
        numbers: of the next steps.
        levels: the means before them.
        spans: about so many steps each.
    """
    found = np.empty((*numbers.shape[:2], 2, numbers.shape[2]))
    for number, span in enumerate(spans):
        share = 2 / (span + 1)
        kept = 1 - share
        found[:, :, number], _ = lfilter(
            [share], [1, -kept], numbers, axis=1, zi=kept * levels[:, number][:, None]
        )
    return found


def restored(
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    n_channels: int,
    recurrent_reach: int,
    spans: tuple[int, int],
) -> Expert:
    """The expert that `Expert.arrays` gave; nothing is checked.

    Args:
        name: of the expert.
        arrays: by name.
        n_channels: K.
        recurrent_reach: steps that a number of the recurrent one depends on.
        spans: of numbers of one step.
    """
    compared_with = {key: arrays[key] for key in COMPARED}
    part = None if name == RECURRENT else part_of(name, n_channels).restore(arrays)
    reach = recurrent_reach if part is None else part.reach
    return Expert(name, part, **compared_with, reach=reach, spans=spans_of(reach, spans))


def check_expert(name: str, arrays: Mapping[str, NDArray[Any]], n_channels: int, n_context: int) -> None:
    """Refuse arrays that `Expert.arrays` does not give; raises ValueError.

    Args:
        name: as the file has it.
        arrays: by name.
        n_channels: K.
        n_context: C.
    """
    if name not in EXPERTS:
        raise ValueError(f"{name!r} is no expert of time steps")
    left = dict(arrays)
    shapes = {"usual": (n_channels,), "most": (n_channels,), "scale": (2, n_channels), "joint": (2,)}
    for key, shape in shapes.items():
        value = left.pop(key, np.zeros(0))
        inside = (value >= LEAST) & (value <= MOST)
        if value.shape != shape or value.dtype != np.float64 or not inside.all():
            raise ValueError(
                f"{key} of the expert {name} must be numbers of at least {LEAST:g} of shape {shape}"
            )
    if name == RECURRENT:
        if left:
            raise ValueError("the recurrent expert learns nothing else")
        return
    part_of(name, n_channels).check(left, {"channel": n_channels, "column": n_channels + n_context})
