"""Normal series at hand, and faults that are planted into parts of them that no detector was fitted on.

    pumps   the made-up pumps of `upland demo`: fitted on its normal day (three pumps, 1,440 rows), faults
            planted into days of other seeds
    one     real series of one channel: the longest unlabelled part of series of NAB, and the telemetry of
            training parts of SMAP and MSL (alone: their other channels are commands)
    many    recorded movements with channels that go together: the sequences of one class of BasicMotions,
            Epilepsy and NATOPS, one after the other

Of a series of `one` and `many` the first 60 % of at most 5,000 steps train, and the others take faults. A
fault is planted only where it is to be seen: what is planted on channels that move (no value is kept for 16
steps, fewer than half of the steps repeat the value before), and its size is as `KINDS` says, in standard
deviations (sd) of the channel among the training steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import series
from benchmarks.series import Array

SHARE, MOST = 0.6, 5_000
HISTORY = 400
"""Steps before a fault that are scored too, where there are so many; half of them at least."""
PUMP_DAYS, PUMP_MINUTES = 12, 1_200
STILL = 16  # steps of one value, of a channel that stands still
RAMP, FASTER = 96, 1.5
TRIES = 60  # places that are looked at for one planting

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
    def moving(self) -> list[int]:
        """Channels that move."""
        return [c for c in range(len(self.columns)) if _moves(self.steps[:, c])]

    @cached_property
    def noisy(self) -> list[int]:
        """Moving channels with a noise of a tenth of their deviation at least."""
        return [c for c in self.moving if self.noise[c] >= 0.1 * self.deviation[c]]

    @cached_property
    def periods(self) -> dict[int, int]:
        """The period of each moving channel that has one."""
        found = {c: _period(max(self.train, key=len)[:, c]) for c in self.moving}
        return {c: period for c, period in found.items() if period}

    @cached_property
    def related(self) -> dict[int, int]:
        """The moving channels that the others explain half of the variance of or more, and the one that each
        is most correlated with.
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
            if left.var() <= 0.5 * x[half:, place].var():
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
        yield _cut("many", f"{name} {chosen}", np.concatenate([glued[number] for number in order]))


def _cut(group: str, name: str, values: Array) -> Normal:
    steps = np.asarray(values, dtype=np.float64).reshape(len(values), -1)[:MOST]
    end = int(SHARE * len(steps))
    return Normal(group, name, tuple(f"c{i}" for i in range(steps.shape[1])), [steps[:end]], [steps[end:]])


# -- faults --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planting:
    """A stretch of a series with a fault in it.

    Args:
        values: `(B + K, D)` B steps before the fault, and K steps within which it must be found.
        normal: the same without the fault.
        begin: B.
        channels: the names that are right.
    """

    values: Array
    normal: Array
    begin: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where a fault is planted.

    Args:
        normal: the series.
        piece: held out.
        at: its first step.
        channel: of the fault.
        rng: of everything else.
    """

    normal: Normal
    piece: Array
    at: int
    channel: int
    rng: np.random.Generator

    def own(self, length: int) -> Array:
        """The normal values of the channel."""
        return self.piece[self.at : self.at + length, self.channel].copy()

    @property
    def size(self) -> float:
        """The standard deviation of the channel, with a random sign."""
        return float(self.normal.deviation[self.channel]) * float(self.rng.choice([-1.0, 1.0]))


Change = Callable[[Place, int], "tuple[Array, tuple[int, ...]] | None"]
"""The values of all channels from the fault's first step, so many; and the channels that are right."""


def _one_channel(change: Callable[[Place, int], Array], least: float = 0.0) -> Change:
    """A fault of one channel, which moves its values by so many sd (root mean square) at least."""

    def changed(place: Place, length: int) -> tuple[Array, tuple[int, ...]] | None:
        values = place.piece[place.at : place.at + length].copy()
        values[:, place.channel] = change(place, length)
        return (values, (place.channel,)) if _moved(place, values, place.channel) >= least else None

    return changed


def _moved(place: Place, values: Array, channel: int) -> float:
    """Root mean square of what has changed in a channel, in sd."""
    before = place.piece[place.at : place.at + len(values), channel]
    return float(np.sqrt(np.mean((values[:, channel] - before) ** 2)) / place.normal.deviation[channel])


def stuck(place: Place, length: int) -> Array:
    return np.full(length, place.piece[place.at - 1, place.channel])


def drift(place: Place, length: int) -> Array:
    return place.own(length) + 3 * place.size * np.minimum(np.arange(1, length + 1) / RAMP, 1.0)


def spike(place: Place, length: int) -> Array:
    return place.own(length) + 5 * place.size * (np.arange(length) == 0)


def level_shift(place: Place, length: int) -> Array:
    return place.own(length) + 3 * place.size


def noise_up(place: Place, length: int) -> Array:
    normal, channel = place.normal, place.channel
    added = max(3 * normal.noise[channel], 0.25 * normal.deviation[channel])
    return place.own(length) + added * place.rng.normal(size=length)


def noise_down(place: Place, length: int) -> Array:
    around = place.piece[place.at - 4 : place.at + length + 4, place.channel]
    return np.convolve(around, np.ones(9) / 9, mode="valid")


def phase(place: Place, length: int) -> Array:
    speed = FASTER if place.rng.random() < 0.5 else 1 / FASTER
    steps = place.at + np.round(np.arange(1, length + 1) * speed).astype(int)
    values: Array = place.piece[steps, place.channel]
    return values


def swapped(place: Place, length: int) -> tuple[Array, tuple[int, ...]] | None:
    others = [c for c in place.normal.moving if c != place.channel]
    pair = [place.channel, int(place.rng.choice(others))]
    values = place.piece[place.at : place.at + length].copy()
    values[:, pair] = values[:, pair[::-1]]
    visible = max(_moved(place, values, channel) for channel in pair) >= 1
    return (values, (pair[0], pair[1])) if visible else None


def lost_relation(place: Place, length: int) -> tuple[Array, tuple[int, ...]] | None:
    held = place.normal.held
    piece = held[place.rng.integers(len(held))]
    begin = int(place.rng.integers(len(piece) - length))
    values = place.piece[place.at : place.at + length].copy()
    values[:, place.channel] = piece[begin : begin + length, place.channel]
    visible = _moved(place, values, place.channel) >= 1
    return (values, (place.channel, place.normal.related[place.channel])) if visible else None


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Args:
        text: what is planted.
        delay: steps within which it must be found; 0 is two periods of the channel, and 64 at least.
        channels: of a series that can have it.
        change: the fault.
    """

    text: str
    delay: int
    channels: Callable[[Normal], list[int]]
    change: Change


def _moving(normal: Normal) -> list[int]:
    return normal.moving


KINDS: dict[str, Kind] = {
    "stuck": Kind("the last value stays", 64, _moving, _one_channel(stuck, 0.5)),
    "drift": Kind("rises or falls by 3 sd in 96 steps, and stays", RAMP + 64, _moving, _one_channel(drift)),
    "spike": Kind("one step, 5 sd", 8, _moving, _one_channel(spike)),
    "level shift": Kind("3 sd", 64, _moving, _one_channel(level_shift)),
    "noise up": Kind(
        "normal noise of three times the channel's own is added, .25 sd at least",
        64,
        _moving,
        _one_channel(noise_up),
    ),
    "noise down": Kind(
        "the mean of 9 steps; channels with a noise of .1 sd or more",
        64,
        lambda normal: normal.noisy,
        _one_channel(noise_down),
    ),
    "phase": Kind(
        "the channel runs 1.5 times as fast or as slow; channels with a period (autocorrelation .5 or more)",
        0,
        lambda normal: list(normal.periods),
        _one_channel(phase),
    ),
    "swapped": Kind(
        "two channels change places; one changes by 1 sd or more",
        64,
        lambda normal: normal.moving if len(normal.moving) > 1 else [],
        swapped,
    ),
    "lost relation": Kind(
        "the channel's values of another time; it changes by 1 sd or more, and the others explain half of it",
        64,
        lambda normal: list(normal.related),
        lost_relation,
    ),
}


def planted(normal: Normal, kind: str, count: int, seed: int = 0) -> list[Planting]:
    """Faults of one kind at random times, on random channels.

    Args:
        normal: the series.
        kind: of `KINDS`.
        count: how many; fewer where they are not to be seen.
        seed: of the times, the channels and the values.
    """
    what, found = KINDS[kind], []
    channels = what.channels(normal)
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    for _ in range(TRIES * count if channels else 0):
        channel = int(rng.choice(channels))
        length = what.delay or max(2 * normal.periods[channel], 64)
        piece = normal.held[rng.integers(len(normal.held))]
        last = len(piece) - int(FASTER * length) - 8
        at = int(rng.integers(min(HISTORY // 2, last - 1), last))
        changed = what.change(Place(normal, piece, at, channel, rng), length)
        if changed is not None:
            begin = max(at - HISTORY, 0)
            stretch = piece[begin : at + length]
            values = np.concatenate([piece[begin:at], changed[0]])
            found.append(Planting(values, stretch.copy(), at - begin, changed[1]))
        if len(found) == count:
            break
    return found
