r"""What kind of fault an episode is, from the values of the channel that contributes most.

Robust statistics of the values in the episode are compared with those of stretches as long before it (of
which there must be `FEWEST`), so that a threshold is in units of what stretches of normal values differ by:
each statistic's median over them, and a spread that is 1.4826 times the median absolute deviation, or a small
part of the channel's own spread where that is larger. In the order in which they are asked:

    stuck            at least 90 % of steps repeat the value before to 1 % of the usual change, and before at
                     most half did
    spike            at most three steps, or a tenth, are more than 6 spreads of values away from the median,
                     and the others are as rough as usual
    drift            the line through the medians of the thirds rises by more than 4 spreads of such rises,
                     and explains more than half of the variance
    level shift      the median differs by more than 4 spreads of medians
    changed rhythm   the values before have a dominant period (half of the variance or more), and those of the
                     episode another frequency, or do not continue its phase
    noise up, noise down    third differences are larger or smaller by a factor of 1.8, and more than 4
                     spreads of their logarithm
    lost relation    the other channels say half of the variance or more before, by ridge regression, and the
                     residuals in the episode are more than 3 times as large
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Kind = Literal[
    "stuck",
    "drift",
    "spike",
    "level shift",
    "noise up",
    "noise down",
    "changed rhythm",
    "lost relation",
]

FEWEST = 4
"""Stretches before the episode that its values are compared with."""
SHORTEST = 8
"""Steps that all kinds but a spike take."""
FAR, SPREADS = 6.0, 4.0
"""Spreads of values from which a single one is far off, and of statistics from which one differs."""
REPEATS, FACTOR, RESIDUAL = 0.9, 1.8, 3.0
EXPLAINED = 0.5
"""The part of a variance that a line, a period or other channels must explain."""
SMALL = 1e-9


class Usual(NamedTuple):
    """A statistic of stretches before the episode.

    Args:
        middle: its median.
        spread: 1.4826 times the median absolute deviation, or more.
    """

    middle: float
    spread: float

    def away(self, value: float) -> float:
        """By how many spreads a value differs, with its sign."""
        return (value - self.middle) / self.spread


def kind_of(inside: Floats, before: Floats, others: tuple[Floats, Floats] | None = None) -> Kind | None:
    """What kind of fault the values of a channel show; None where none is clear, or too little came before.

    Args:
        inside: `(K,)` the values in the episode.
        before: `(M,)` the values before it, which are taken to be normal.
        others: `(K, C)` and `(M, C)` the other channels, in the episode and before; None without any.

    Examples:
        >>> before = np.random.default_rng(0).normal(size=200)
        >>> kind_of(before[:20] + 9, before), kind_of(np.ones(20), before), kind_of(before[20:40], before)
        ('level shift', 'stuck', None)
    """
    inside, before = (values[np.isfinite(values)] for values in (inside, before))
    length = inside.size
    if not length or before.size < FEWEST * max(length, SHORTEST):
        return None
    scale = _spread(before)
    if length >= SHORTEST and _stuck(inside, before):
        return "stuck"
    if _spike(inside, before, scale):
        return "spike"
    if length < SHORTEST:
        return None
    stretches = np.lib.stride_tricks.sliding_window_view(before, length)[:: max(length // 4, 1)]
    level = _usual(np.median(stretches, axis=1), 0.2 * scale)
    rise = _usual(np.array([_rise(part) for part in stretches]), 0.2 * scale)
    lost = others is not None and _lost(inside, before, *others)
    moved = _moved(inside, level, rise)
    if moved is not None and not (lost and _in_range(inside, before)):
        return moved
    if _rhythm(inside, before):
        return "changed rhythm"
    noise = _usual(np.log([_roughness(part) for part in stretches]), 0.05)
    change = np.log(_roughness(inside)) - noise.middle
    if abs(change) > max(np.log(FACTOR), SPREADS * noise.spread):
        return "noise up" if change > 0 else "noise down"
    return "lost relation" if lost else moved


def _moved(inside: Floats, level: Usual, rise: Usual) -> Kind | None:
    """Whether values drift, or lie at another level."""
    if abs(rise.away(_rise(inside))) > SPREADS and _by_line(inside) > EXPLAINED:
        return "drift"
    return "level shift" if abs(level.away(float(np.median(inside)))) > SPREADS else None


def _usual(values: Floats, least: float) -> Usual:
    return Usual(float(np.median(values)), max(_spread(values), least, SMALL))


def _spread(values: Floats) -> float:
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _in_range(inside: Floats, before: Floats) -> bool:
    """Whether the values are such as there were before."""
    low, high = np.percentile(before, [1, 99])
    return bool(np.mean((inside >= low) & (inside <= high)) > 0.9)


def _stuck(inside: Floats, before: Floats) -> bool:
    usual = float(np.median(np.abs(np.diff(before))))
    same = [np.mean(np.abs(np.diff(values)) <= 0.01 * usual) for values in (inside, before)]
    return bool(same[0] >= REPEATS and same[1] <= 0.5)


def _spike(inside: Floats, before: Floats, scale: float) -> bool:
    """Whether a few values are far off, and the others are not."""
    rest = np.concatenate([before[-SHORTEST:], inside]) if inside.size < SHORTEST else inside
    spread = max(_spread(np.diff(before)) / np.sqrt(2), 0.1 * scale, SMALL)
    local = np.abs(inside - np.median(rest)) > FAR * max(scale, spread)
    jumps = np.abs(np.diff(np.concatenate([before[-1:], inside]))) > FAR * spread
    count = int(local.sum())
    if not 0 < count <= max(3, inside.size // 10) or not jumps.any():
        return False
    return inside.size < SHORTEST or _roughness(inside[~local]) <= FACTOR * _roughness(before)


def _rise(values: Floats) -> float:
    """From the median of the first third to that of the last."""
    third = max(values.size // 3, 1)
    return float(np.median(values[-third:]) - np.median(values[:third]))


def _by_line(values: Floats) -> float:
    """The part of the variance that a line explains."""
    variance = float(values.var())
    if variance <= SMALL:
        return 0.0
    times = np.arange(values.size) - (values.size - 1) / 2
    slope = float(times @ values) / float(times @ times)
    return 1 - float((values - values.mean() - slope * times).var()) / variance


def _roughness(values: Floats) -> float:
    """The size of third differences, which slow movements do not have."""
    return max(_spread(np.diff(values, 3)), SMALL)


def _rhythm(inside: Floats, before: Floats) -> bool:
    """Whether a dominant period of before changes, in length or in phase."""
    frequency, explained = _dominant(before)
    if explained < EXPLAINED or frequency * inside.size < 1.5:
        return False
    own, of_own = _dominant(inside)
    kept = _by_wave(inside, frequency)
    if of_own >= EXPLAINED and kept < 0.5 * of_own and abs(own / frequency - 1) > 0.15:
        return True
    recent = before[-round(6 / frequency) :]
    waves = _waves(np.arange(recent.size + inside.size), frequency)
    found, *_ = np.linalg.lstsq(waves[: recent.size], recent, rcond=None)
    expected = waves[recent.size :] @ found
    agreement = float(np.corrcoef(expected, inside)[0, 1]) if inside.std() > SMALL else 1.0
    return kept >= EXPLAINED and agreement < 0.6


def _dominant(values: Floats) -> tuple[float, float]:
    """The frequency, in cycles a step, that explains most of the variance, and how much of it."""
    size = 8 * values.size
    power = np.abs(np.fft.rfft(values - values.mean(), size)) ** 2
    low = max(round(1.5 * 8), 1)  # slower than one and a half cycles is no rhythm
    at = low + int(np.argmax(power[low : size // 3])) if size // 3 > low else low
    return at / size, _by_wave(values, at / size)


def _by_wave(values: Floats, frequency: float) -> float:
    """The part of the variance that a wave explains."""
    variance = float(values.var())
    if variance <= SMALL:
        return 0.0
    waves = _waves(np.arange(values.size), frequency)
    found, *_ = np.linalg.lstsq(waves, values, rcond=None)
    return 1 - float((values - waves @ found).var()) / variance


def _waves(times: NDArray[np.int64], frequency: float) -> Floats:
    turns = 2 * np.pi * frequency * times
    return np.stack([np.ones(times.size), np.sin(turns), np.cos(turns)], axis=1)


def _lost(inside: Floats, before: Floats, near: Floats, far: Floats) -> bool:
    """Whether the other channels no longer say what they said of the channel."""
    whole = near.shape[0] == inside.size and far.shape[0] == before.size
    if not whole or not near.shape[1] or not (np.isfinite(near).all() and np.isfinite(far).all()):
        return False
    centre, scale = far.mean(axis=0), np.maximum(far.std(axis=0), SMALL)
    x, y = (far - centre) / scale, before - before.mean()
    weights = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ y)
    residual = y - x @ weights
    if residual.var() > (1 - EXPLAINED) * max(y.var(), SMALL):
        return False
    now = inside - before.mean() - (near - centre) / scale @ weights
    size = [np.sqrt(np.median(np.square(part))) for part in (now, residual)]
    return bool(size[0] > RESIDUAL * max(size[1], SMALL))
