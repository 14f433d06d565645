"""From one column's values to numbers of about unit size, and back: the formulas, and nothing else.

A value x of a column with mean m and standard deviation s becomes z = (x - m) / s, squashed beyond `KNEE`:

    squash(z) = z                                        for |z| <= KNEE
              = sign(z) (KNEE + log(1 + |z| - KNEE))     beyond

The squash is monotone with a continuous slope, so that heavy tails and extreme values stay finite, ordered
and far from zero: the largest double is encoded below 720. A column that was constant among the normal rows
has no scale; there

    z = 0                                              where x equals the constant c (`tolerance_of`)
      = sign(x - c) (FAR + log(1 + |x - c| / max(|c|, 1)))   elsewhere: never seen, hence far.

A categorical column is one-hot, centred at the shares p_k of its levels and divided by sqrt(sum_k p_k (1 -
p_k)): its total variance is 1, as that of a number.

Missing cells are encoded in `upland.data.table.encoder` (slots in `upland.data.table.layout`): 0 in place of
the number and a 0/1 value beside it, or a level of its own; `FAR` in a column that had no missing cell among
the normal rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KNEE = 2.0
"""Where the logarithm begins, in standard deviations."""

FAR = 5.0
"""The code of what was never seen among normal rows: that of a number some twenty standard deviations out."""

LEAST_SCALE = 0.01
"""Least standard deviation of a 0/1 value: a flag that never changed is 100 deviations away when it does,
before the squash.
"""

TOLERANCE = 1e-7
"""Relative difference up to which a number equals a constant: one rounding to float32."""

LEAST_TOLERANCE, WHOLE_TOLERANCE = 1e-12, 0.25
"""Difference up to which a number equals the constant 0, and the largest one for another whole number."""

_HUGE = 1e308


def squash(z: Floats) -> Floats:
    """Identity up to `KNEE`, logarithmic growth beyond; finite for every z but NaN, which stays. Works in
    place.
    """
    far = np.abs(z) > KNEE
    if far.any():
        tail = z[far]
        z[far] = np.copysign(KNEE + np.log1p(np.minimum(np.abs(tail), _HUGE) - KNEE), tail)
    return z


def unsquash(z: Floats) -> Floats:
    """The inverse of `squash`, capped at the largest double."""
    size = np.abs(z)
    tail = KNEE + np.expm1(np.clip(size - KNEE, 0.0, 709.0))
    return np.where(size <= KNEE, z, np.copysign(tail, z))


def encode_numeric(x: Floats, center: Floats | float, scale: Floats | float) -> Floats:
    """Standardise and squash: `(N,)` or `(N, M)` values to codes of the same shape. `scale` must be
    positive.
    """
    with np.errstate(over="ignore"):
        z = x - center
        z /= scale
    return squash(z)


def decode_numeric(z: Floats, center: Floats | float, scale: Floats | float) -> Floats:
    """The inverse of `encode_numeric`, kept within the doubles."""
    with np.errstate(over="ignore"):
        return np.clip(unsquash(z) * scale + center, -_HUGE, _HUGE)


def tolerance_of(constant: float, resolution: float = 0.0) -> float:
    """Deviation up to which a number equals a constant: one rounding to float32, but less than the step from
    one whole number to the next, and more than the rounding that makes a difference of equals other than 0.

    Args:
        constant: What never changed.
        resolution: Relative distance of neighbouring numbers in the type in which it was given.
    """
    if constant == 0.0:
        return LEAST_TOLERANCE
    wide = TOLERANCE * abs(constant)
    if constant == np.rint(constant):
        wide = min(wide, WHOLE_TOLERANCE)
    return float(max(wide, resolution * abs(constant)))


def encode_constant(x: Floats, center: float, tolerance: float | None = None) -> Floats:
    """Deviation from a value that never changed among the normal rows: 0 where equal, at least `FAR` away
    elsewhere.

    Args:
        x: Values `(N,)`.
        center: What never changed.
        tolerance: Deviation up to which they are equal; None for `TOLERANCE` of the constant.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = x - center
    size = np.minimum(np.abs(deviation), _HUGE)
    code = np.copysign(FAR + np.log1p(size / max(abs(center), 1.0)), deviation)
    return np.where(size <= (TOLERANCE * abs(center) if tolerance is None else tolerance), 0.0, code)


def decode_constant(z: Floats, center: float) -> Floats:
    """The constant itself for codes nearer than `FAR`, else the value that `encode_constant` put there."""
    size = np.expm1(np.clip(np.abs(z) - FAR, 0.0, 709.0)) * max(abs(center), 1.0)
    return np.clip(center + np.copysign(np.minimum(size, _HUGE), z), -_HUGE, _HUGE)


def deviation_of_flag(share: float) -> float:
    """Standard deviation of a 0/1 value with the given share of ones, not below `LEAST_SCALE`."""
    return max(float(np.sqrt(share * (1.0 - share))), LEAST_SCALE)


def deviation_of_levels(shares: Floats) -> float:
    """Square root of the total variance of a one-hot code with the given shares, not below `LEAST_SCALE`."""
    return max(float(np.sqrt(np.sum(shares * (1.0 - shares)))), LEAST_SCALE)


def encode_levels(shares: Floats) -> tuple[Floats, Floats]:
    """Codes of a one-hot column: what each slot holds when its level is the row's (`hit`), and when it is not
    (`miss`).

    The last slot is that of unseen levels: `FAR` for such a row, 0 for every other.
    """
    scale = deviation_of_levels(shares)
    hit = squash((1.0 - shares) / scale)
    miss = squash(-shares / scale)
    return np.append(hit, FAR), np.append(miss, 0.0)


def decode_levels(z: Floats, shares: Floats) -> NDArray[np.intp]:
    """The most probable of the levels seen: `(N, K + 1)` codes to `(N,)` indices below K."""
    shares_here = unsquash(z[:, :-1]) * deviation_of_levels(shares) + shares
    winner: NDArray[np.intp] = np.argmax(shares_here, axis=1)
    return winner
