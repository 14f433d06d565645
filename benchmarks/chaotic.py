"""Chaotic series whose dynamics break where nothing is to be seen, made after the recipe of MGAB.

Thill, Konen and Bäck, "Time series encodings with temporal convolutional networks", BIOMA 2020, and their
Mackey-Glass anomaly benchmark: between two steps where value and derivatives nearly agree a segment is cut
out, and the ends are joined. A first step t is drawn; the second is the one of t + 100, ..., t + 200 with the
smallest distance. Here the best of five first steps is taken, so that no seam is a jump. What follows a seam
is normal again, but it does not follow from what was before.

Three families of one channel, each of `PER_FAMILY` series; 10,000 steps, of which the first 4,000 train:

* `mackey_glass`: x' = .25 x(t - 18) / (1 + x(t - 18)^10) - .1 x, one step per unit of time, as in MGAB;
* `lorenz`: the first of five variables, x_i' = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + 8 (Lorenz, 1996), ten
  steps per unit of time; the ends agree in value and first derivative;
* `henon`: a delayed quadratic map, x_t = 1.76 - x_(t-3)^2 - .1 x_(t-4) (Baier and Klein, 1990): four
  interleaved maps like the logistic one, coupled to each other.

In each of them a value and its derivatives do not give the whole state: a seam breaks the dynamics although
they agree. The first half of a family is free of noise; the other half has uniform noise of 1 % of
their range to either side (MGAB: .01). A label covers `LABELLED` steps, with the seam in their middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.series import SeriesSplit

Array = NDArray[np.float64]
Random = np.random.Generator

PER_FAMILY = 6
TRAIN, TEST = 4000, 6000  # steps
SEAMS, LABELLED = 5, 20  # seams in a test part, labelled steps around each
BURN_IN = 1000  # steps before the first that is kept
NEAREST, FARTHEST = 100, 200  # how many steps a cut takes out, at least and at most
DRAWS = 5  # first steps that a cut is chosen from
NOISE = 0.01  # of the range of the series: uniform, to either side


def series() -> Iterator[tuple[str, SeriesSplit]]:
    """Every series with its name; the same ones in each call."""
    for place, (family, (orbit, order)) in enumerate(FAMILIES.items()):
        for number in range(PER_FAMILY):
            rng = np.random.default_rng([place, number])
            noisy = number >= PER_FAMILY // 2
            name = f"{family}_{number}{'_noise' if noisy else ''}"
            yield name, split(orbit(TRAIN + TEST + SEAMS * FARTHEST, rng), order, NOISE * noisy, rng)


def split(values: Array, order: int, noise: float, rng: Random) -> SeriesSplit:
    """The first `TRAIN` steps train; in the rest, of which `TEST` steps are left, segments are cut out.

    Args:
        values: (T,), a normal series with at least `SEAMS * FARTHEST` steps to spare.
        order: up to which derivative the two ends of a cut agree.
        noise: uniform noise to either side, as a share of the range.
        rng: draws the steps that are cut at, and the noise.
    """
    test, seams = cut(values[TRAIN:], order, rng)
    labels = np.zeros(TEST, dtype=np.int64)
    for seam in seams:
        labels[seam - LABELLED // 2 : seam + LABELLED // 2] = 1
    steps = np.concatenate([values[:TRAIN], test[:TEST]])
    steps = steps + noise * np.ptp(steps) * rng.uniform(-1.0, 1.0, len(steps))
    return SeriesSplit(steps[:TRAIN, None], steps[TRAIN:, None], labels)


def cut(values: Array, order: int, rng: Random) -> tuple[Array, list[int]]:
    """The series with `SEAMS` segments cut out, and the first step behind each seam.

    Seams lie in equal parts of the first `TEST` steps of the result, one in each, not near its ends.
    """
    seams = []
    part = TEST // SEAMS
    for number in range(SEAMS):
        drawn = number * part + rng.integers(part // 4, part - part // 4, DRAWS)
        _, last, first = min(ends(values, last, order) for last in drawn.tolist())
        values = np.concatenate([values[: last + 1], values[first + 1 :]])
        seams.append(last + 1)
    return values, seams


def ends(values: Array, last: int, order: int) -> tuple[float, int, int]:
    """The distance, `last`, and the step of `last + NEAREST`, ..., `last + FARTHEST` that is most like it.

    Distances are Euclidean, between values and numerical derivatives up to `order`.
    """
    states = [values[last - 2 * order : last + FARTHEST + 2 * order + 1]]
    for _ in range(order):
        states.append(np.gradient(states[-1]))
    kept = np.stack(states, axis=1)[2 * order :][: FARTHEST + 1]
    distances = np.linalg.norm(kept[NEAREST:] - kept[0], axis=1)
    return float(distances.min()), last, last + NEAREST + int(np.argmin(distances))


# -- orbits --------------------------------------------------------------------------------------------------


def mackey_glass(steps: int, rng: Random, per_step: int = 20) -> Array:
    """Integrated by the method of steps: what is produced in an interval of 18 is known from the one before.

    The linear equation that is left is integrated by the trapezoid rule with `per_step` points a step.
    """
    delay, decay = 18 * per_step, np.exp(-0.1 / per_step)
    intervals = [np.full(delay + 1, rng.uniform(0.8, 1.0))]
    for _ in range(-(-(BURN_IN + steps) // 18)):
        produced = 0.25 * intervals[-1] / (1.0 + intervals[-1] ** 10) / per_step
        driven = 0.5 * (decay * produced[:-1] + produced[1:])
        start = intervals[-1][-1]
        rest, _ = lfilter([1.0], [1.0, -decay], driven, zi=[decay * start])
        intervals.append(np.concatenate([[start], rest]))
    orbit = np.concatenate([interval[1:] for interval in intervals[1:]])
    return orbit[per_step - 1 :: per_step][BURN_IN:][:steps]


def lorenz(steps: int, rng: Random) -> Array:
    """The first of five variables of Lorenz's model of 1996, by Runge and Kutta's method."""
    state, width, orbit = 8.0 + rng.normal(0.0, 1.0, 5), 0.05, []
    for _ in range(2 * (BURN_IN + steps)):
        first = slope(state)
        second = slope(state + width / 2.0 * first)
        third = slope(state + width / 2.0 * second)
        fourth = slope(state + width * third)
        state = state + width / 6.0 * (first + 2.0 * second + 2.0 * third + fourth)
        orbit.append(state[0])
    return np.array(orbit[2 * BURN_IN :: 2])


def slope(state: Array) -> Array:
    """Time derivative of Lorenz's model of 1996."""
    wide = np.concatenate([state[-2:], state, state[:1]])
    return (wide[3:] - wide[:-3]) * wide[1:-2] - state + 8.0


def henon(steps: int, rng: Random) -> Array:
    """A delayed quadratic map from four values near zero."""
    orbit = list(rng.uniform(-0.1, 0.1, 4))
    for _ in range(BURN_IN + steps):
        orbit.append(1.76 - orbit[-3] ** 2 - 0.1 * orbit[-4])
    return np.array(orbit[-steps:])


FAMILIES: dict[str, tuple[Callable[[int, Random], Array], int]] = {
    "mackey_glass": (mackey_glass, 3),
    "lorenz": (lorenz, 1),
    "henon": (henon, 1),
}
