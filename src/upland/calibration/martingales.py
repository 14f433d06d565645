r"""Test martingales: wealth that grows on evidence against independent uniform p-values, and else does not.

A betting function b >= 0 with mean 1 on (0, 1) multiplies the wealth by b(p). If the p-values are independent
and uniform, the wealth M is a nonnegative martingale from 1, so that P(M >= 1 / delta ever) <= delta (Ville
1939). Three ways to bet, in equal parts:

* powers: eps p^(eps - 1), for small p-values (Vovk, Nouretdinov and Gammerman 2003);
* jumpers on p: 1 + eps (p - 1/2) with eps in {-1, 0, 1}, which jumps with probability J before each bet
  (Vovk, Petej, Nouretdinov, Ahlberg, Carlsson and Gammerman 2021), for several J;
* jumpers on |2 p - 1|, which is uniform too, for scores that spread more or less on both sides.

Wealth that bets on nothing is lost, and a change that comes late must first win it back. So each part starts
with half of its wealth, and puts in the rest by and by: after t bets 1 / (2 log2(t + 2)) is left of it, a sum
that is part of the wealth, which therefore remains a martingale. A change after t bets then costs at most
log(t log2(t)^2) or so of the log wealth, and not a multiple of t.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtbsv

from upland.calibration.conformal import Floats

Integers = NDArray[np.int64]

POWERS = np.array([0.25, 0.5, 0.75])
JUMP_RATES = np.array([0.001, 0.01])
SLOPES = np.array([-1.0, 0.0, 1.0])
CHUNK = 1024
"""Bets of a jumper that are solved at once: wealth grows by 1.5^1024 at most, which is a number."""


def kept(bets: Integers) -> Floats:
    """The share that is not put in after so many bets.

    Args:
        bets: how many.
    """
    found: Floats = 0.5 / np.log2(bets + 2.0)
    return found


def put_in(bets: Integers) -> Floats:
    """The share that is put in before the t-th bet, the first is 1; the half at the start is not among it.

    Args:
        bets: t.
    """
    return kept(bets - 1) - kept(bets)


def log_mean(logs: Floats, axis: int) -> Floats:
    """The log of the mean over an axis, of numbers of which the logs are given.

    Args:
        logs: at least one of them finite.
        axis: to take the mean over.
    """
    top = logs.max(axis=axis, keepdims=True)
    found: Floats = np.log(np.exp(logs - top).mean(axis=axis)) + top.squeeze(axis)
    return found


@dataclass
class Powers:
    """The wealth of power bets on K sequences of p-values.

    Args:
        bets: how many so far.
        log_p: `(K,)` the sum of log p.
        entered: `(K, E)` log of the shares put in, each over the growth that was before it.
    """

    bets: int
    log_p: Floats
    entered: Floats

    @classmethod
    def begin(cls, count: int) -> Self:
        """The wealth before the first bet.

        Args:
            count: of sequences, K.
        """
        return cls(0, np.zeros(count), np.full((count, POWERS.size), np.log(0.5)))

    def update(self, p: Floats) -> Floats:
        """Bet on more p-values: the log wealth after each, without what is not put in, `(K, N)`.

        Args:
            p: `(K, N)`, one at least.
        """
        bets = self.bets + np.arange(p.shape[1] + 1)
        sums = np.cumsum(np.concatenate([self.log_p[:, None], np.log(p)], axis=1), axis=1)
        growth = np.log(POWERS)[:, None] * bets + (POWERS - 1)[:, None] * sums[:, None]
        shares = np.log(put_in(bets[1:])) - growth[..., :-1]
        entered = np.concatenate([self.entered[..., None], shares], axis=-1)
        np.logaddexp.accumulate(entered, axis=-1, out=entered)
        self.bets, self.log_p, self.entered = int(bets[-1]), sums[:, -1], entered[..., -1]
        return log_mean(growth[..., 1:] + entered[..., 1:], axis=1)


@dataclass
class Jumpers:
    """The wealth of jumpers on K sequences, for each jump rate.

    Args:
        bets: how many so far.
        wealth: `(K, J, 3)` of each slope, over 2^exponent.
        exponent: `(K, J)`.
    """

    bets: int
    wealth: Floats
    exponent: Integers

    @classmethod
    def begin(cls, count: int) -> Self:
        """The wealth before the first bet.

        Args:
            count: of sequences, K.
        """
        shape = (count, JUMP_RATES.size)
        return cls(0, np.full((*shape, SLOPES.size), 0.5 / SLOPES.size), np.zeros(shape, dtype=np.int64))

    def update(self, p: Floats) -> Floats:
        """Bet on more p-values: the log wealth after each, without what is not put in, `(K, N)`.

        Args:
            p: `(K, N)`, one at least.
        """
        parts = [self._chunk(p[:, start : start + CHUNK]) for start in range(0, p.shape[1], CHUNK)]
        return np.concatenate(parts, axis=1)

    def _chunk(self, p: Floats) -> Floats:
        """A banded triangular system: the wealth x_t of the slopes is D_t (T x_{t-1} + share), solved in the
        order of time, so that the numbers do not depend on how p-values are cut into batches.
        """
        (k, n), (_, rates, slopes) = p.shape, self.wealth.shape
        factors = 1 + SLOPES * (p[:, None, :, None] - 0.5)  # (K, 1, N, 3)
        jumps = (1 - JUMP_RATES)[:, None, None] * np.eye(slopes) + JUMP_RATES[:, None, None] / slopes
        width = 2 * slopes
        band = np.zeros((k, rates, n, slopes, width))  # of column (t, e'): row (t + 1, e) at 3 + e - e'
        for e in range(slopes):
            for other in range(slopes):
                entry = band[:, :, :-1, other, slopes + e - other]
                np.multiply(factors[:, :, 1:, e], -jumps[:, e, other, None], out=entry)
        shares = np.repeat(put_in(self.bets + 1 + np.arange(n)) / slopes, slopes)
        scale = np.clip(-self.exponent, -2_000, 2_000).astype(np.intc)
        right = factors.reshape(k, 1, -1) * np.ldexp(shares, scale[..., None])
        right[..., :slopes] += factors[:, :, 0] * (jumps * self.wealth[:, :, None]).sum(axis=-1)
        matrix = band.reshape(right.size, width).T
        solved = dtbsv(width - 1, matrix, right.reshape(-1), lower=1, diag=1, overwrite_x=1)
        wealth = solved.reshape(k, rates, n, slopes)
        total, shift = np.frexp(wealth[..., 0] + wealth[..., 1] + wealth[..., 2])
        logs = np.log(total) + (shift + self.exponent[..., None]) * np.log(2.0)
        self.bets, self.exponent = self.bets + n, self.exponent + shift[..., -1]
        self.wealth = np.ldexp(wealth[:, :, -1], -shift[..., -1:])
        return log_mean(logs, axis=1)


@dataclass
class Martingales:
    """One test martingale for each of K sequences of p-values.

    Args:
        powers: bets on small p-values.
        jumpers: on K sequences p, then on K sequences |2 p - 1|.
    """

    powers: Powers
    jumpers: Jumpers

    @classmethod
    def begin(cls, count: int) -> Self:
        """The martingales at 1.

        Args:
            count: of sequences, K.
        """
        return cls(Powers.begin(count), Jumpers.begin(2 * count))

    def update(self, p: Floats) -> Floats:
        """Bet on more p-values: the log of each martingale after each, `(K, N)`.

        Args:
            p: `(K, N)`, one at least.
        """
        count, n = p.shape
        left = np.log(kept(self.powers.bets + 1 + np.arange(n)))
        jumpers = self.jumpers.update(np.concatenate([p, np.abs(2 * p - 1)]))
        parts = np.stack([self.powers.update(p), jumpers[:count], jumpers[count:]])
        found: Floats = np.logaddexp(log_mean(parts, axis=0), left)
        return found

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as arrays by name."""
        return {
            "bets": np.array(self.powers.bets),
            "log_p": self.powers.log_p,
            "entered": self.powers.entered,
            "wealth": self.jumpers.wealth,
            "exponent": self.jumpers.exponent,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The martingales of which `to_arrays` gave the state.

        Args:
            arrays: by name.

        Raises:
            ValueError: they are not such a state.
        """
        bets = np.array(arrays["bets"], dtype=np.int64)
        floats = [np.array(arrays[name], dtype=np.float64) for name in ("log_p", "entered", "wealth")]
        log_p, entered, wealth = floats
        exponent = np.array(arrays["exponent"], dtype=np.int64)
        count = log_p.size
        shape = (2 * count, JUMP_RATES.size)
        shapes = ((), (count,), (count, POWERS.size), (*shape, SLOPES.size), shape)
        found = (bets.shape, log_p.shape, entered.shape, wealth.shape, exponent.shape)
        if (
            found != shapes
            or not 0 <= bets < 1 << 48
            or not all(np.isfinite(part).all() for part in floats)
            or (wealth < 0).any()
            or (log_p > 0).any()
            or (np.abs(exponent) > 1 << 48).any()
        ):
            raise ValueError("the arrays of the martingales do not belong together")
        return cls(Powers(int(bets), log_p, entered), Jumpers(int(bets), wealth, exponent))
