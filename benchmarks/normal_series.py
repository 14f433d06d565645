"""Normal series at hand, for faults that are planted into parts of them that no detector was fitted on.

    pumps   the made-up pumps of `upland demo`: fitted on its normal day (three pumps, 1,440 rows), faults
            planted into days of other seeds
    one     real series of one channel: the longest unlabelled part of series of NAB, and the telemetry of
            training parts of SMAP and MSL (alone: their other channels are commands)
    many    recorded movements with channels that go together: the sequences of one class of BasicMotions,
            Epilepsy and NATOPS, one after the other

Of a series of `one` and `many` the first 60 % of at most 5,000 steps train, and the others take faults, on
channels that move: no value is kept for 16 steps, and fewer than half of the steps repeat the value before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import series
from benchmarks.series import Array

SHARE, MOST = 0.6, 5_000
PUMP_DAYS, PUMP_MINUTES = 12, 1_200
STILL = 16  # steps of one value, of a channel that stands still
SEAM = 8  # steps from one sequence to the next

NAB = (
    "realKnownCause__machine_temperature_system_failure",
    "realKnownCause__nyc_taxi",
    "realTraffic__occupancy_t4013",
)
TELEMETRY = (("smap", "F_1"), ("smap", "T_1"), ("msl", "C_1"))
MOVEMENTS = (("BasicMotions", "1"), ("BasicMotions", "3"), ("Epilepsy", "3"), ("NATOPS", "0"))


@dataclass(frozen=True)
class Normal:
    """A normal series: what trains, and what is held out, each a list of `(T, D)`.

    Args:
        group: "pumps", "one" or "many".
        name: of the series.
        columns: of the channels.
        train: pieces that train.
        held: pieces that take faults.
    """

    group: str
    name: str
    columns: tuple[str, ...]
    train: list[Array]
    held: list[Array]

    @cached_property
    def steps(self) -> Array:
        """All training steps."""
        return np.concatenate(self.train)

    @cached_property
    def deviation(self) -> Array:
        """Standard deviation of each channel."""
        return self.steps.std(axis=0)

    @cached_property
    def noise(self) -> Array:
        """Standard deviation of each channel's noise, by third differences, which slow swings do not have."""
        thirds = np.concatenate([np.diff(piece, 3, axis=0) for piece in self.train])
        found: Array = thirds.std(axis=0) / np.sqrt(20)
        return found

    @cached_property
    def usual_noise(self) -> Array:
        """The same by the median absolute deviation: that of most steps."""
        thirds = np.concatenate([np.diff(piece, 3, axis=0) for piece in self.train])
        found: Array = 1.4826 * np.median(np.abs(thirds), axis=0) / np.sqrt(20)
        return found

    @cached_property
    def moving(self) -> list[int]:
        """Channels that move."""
        return [c for c in range(len(self.columns)) if _moves(self.steps[:, c])]

    @cached_property
    def noisy(self) -> list[int]:
        """Moving channels with a noise of a tenth of their deviation at least, in most steps."""
        return [c for c in self.moving if self.usual_noise[c] >= 0.1 * self.deviation[c]]

    @cached_property
    def periods(self) -> dict[int, int]:
        """The period of each moving channel that has one."""
        found = {c: _period(max(self.train, key=len)[:, c]) for c in self.moving}
        return {c: period for c, period in found.items() if period}

    @cached_property
    def related(self) -> dict[int, int]:
        """The moving channels that the others explain three quarters of the variance of or more, and the one
        that each is most correlated with.
        """
        if len(self.moving) < 2:
            return {}
        x = (self.steps - self.steps.mean(axis=0))[:, self.moving] / self.deviation[self.moving]
        half, found = len(x) // 2, {}
        for place, channel in enumerate(self.moving):
            others = np.delete(x, place, axis=1)
            gram = others[:half].T @ others[:half] + 1e-3 * half * np.eye(others.shape[1])
            weights = np.linalg.solve(gram, others[:half].T @ x[:half, place])
            left = x[half:, place] - others[half:] @ weights
            if left.var() <= 0.25 * x[half:, place].var():
                strength = np.abs(x.T @ x[:, place])
                strength[place] = -1
                found[channel] = self.moving[int(strength.argmax())]
        return found


def _moves(values: Array) -> bool:
    same = np.diff(values) == 0
    runs = np.diff(np.flatnonzero(np.r_[True, ~same, True]))
    return bool(same.mean() < 0.5 and runs.max() < STILL and values.std() > 0)


def _period(values: Array) -> int:
    """The lag up to 128 of the highest autocorrelation behind the first that is not positive; 0 below .5."""
    away = values - values.mean()
    lags = np.array([away[: len(away) - lag] @ away[lag:] for lag in range(129)]) / (away @ away)
    first = int(np.argmax(lags <= 0))
    if not first or first >= 120:
        return 0
    best = first + int(np.argmax(lags[first:]))
    return best if lags[best] >= 0.5 and best < 128 else 0


# -- series --------------------------------------------------------------------------------------------------


def pumps() -> Normal:
    """The pumps: the demonstration's normal day, and days of other seeds."""
    from upland.cli.demonstration import load_demonstration

    load_demonstration()
    module = import_module("upland_demo.pumps")
    columns = ("load", "pressure", "bearing")

    def pieces(seed: int, length: int) -> list[Array]:
        table = module.day(module.NORMAL_DAY, np.random.default_rng(seed), False, length)
        values = np.stack([table[name].to_numpy() for name in columns], axis=1)
        return [values[number :: module.PUMPS] for number in range(module.PUMPS)]

    held = [piece for day in range(PUMP_DAYS) for piece in pieces(1_000 + day, PUMP_MINUTES)]
    return Normal("pumps", "pumps", columns, pieces(0, module.MINUTES), held)


def recorded(data: Path) -> Iterator[Normal]:
    """The real series.

    Args:
        data: folder of the data sets.
    """
    with np.load(series.stored_in(data, "nab")) as stored:
        for name in NAB:
            values, labels = stored[f"{name}__value"], stored[f"{name}__label"]
            ends = np.flatnonzero(np.r_[1, labels, 1])
            longest = int(np.diff(ends).argmax())
            yield _cut("one", name.partition("__")[2], values[ends[longest] : ends[longest + 1] - 1])
    for collection, name in TELEMETRY:
        with np.load(series.stored_in(data, collection)) as stored:
            yield _cut("one", f"{collection} {name}", stored[f"{name}_train"][:, :1])
    for name, chosen in MOVEMENTS:
        found = series.load_sequences(data, name)
        parts = ((found.train, found.train_classes), (found.test, found.test_classes))
        glued = [steps for x, y in parts for steps, label in zip(x, y, strict=True) if label == chosen]
        order = np.random.default_rng(0).permutation(len(glued))  # each person in both parts
        yield _cut("many", f"{name} {chosen}", joined([glued[number] for number in order]))


def joined(parts: list[Array]) -> Array:
    """Sequences one after the other: from one to the next in 8 steps, so that there are no jumps."""
    rising = (np.arange(1, SEAM + 1) / (SEAM + 1))[:, None]
    found = [parts[0]]
    for part in parts[1:]:
        found[-1] = found[-1].copy()
        found[-1][-SEAM:] = (1 - rising) * found[-1][-SEAM:] + rising * part[:SEAM]
        found.append(part[SEAM:])
    return np.concatenate(found)


def _cut(group: str, name: str, values: Array) -> Normal:
    steps = np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:MOST]
    end = int(SHARE * len(steps))
    return Normal(group, name, tuple(f"c{i}" for i in range(steps.shape[1])), [steps[:end]], [steps[end:]])
