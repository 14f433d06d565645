"""Faults that are planted into held-out parts of the series of `benchmarks.normal_series`.

Sizes are as `KINDS` says, in standard deviations (sd) of the channel among the training steps: so that an
engineer would see them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.normal_series import Normal
from benchmarks.series import Array

HISTORY = 400
"""Steps before a fault that are scored too, where there are so many; half of them at least."""
RAMP, FASTER = 96, 1.5
TRIES = 60  # places that are looked at for one planting


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
        "the channel's values of another time; 1 sd away or more; the others explain three quarters of it",
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
