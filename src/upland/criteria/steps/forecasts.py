r"""Experts that forecast a channel: conditional Gaussian energies whose means are ridge regressions.

* Dynamics: x_tc from the channel's own last 32 steps and from the context inputs. The mean is linear in
  these, plus random features cos(w's + b) of the past (Rahimi and Recht 2007), so that a series whose next
  step is a nonlinear function of its past is forecast too. How far back the features reach and how sharp they
  are is chosen for each channel by the last quarter of the normal steps.
* Relation: x_tc from the context inputs and the channels that it is most correlated with, at the same step
  and the three before, with random features of the same step: the pseudo-likelihood of a channel given the
  others, which a broken relation between channels lowers.

The number is the squared error in units of its variance among normal steps that the regression had not seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.criteria.steps.part import Normal, StepPart, past_windows, spread

LAGS = 32  # steps before the one that is forecast
NEAR = 4  # steps of other channels and of the context inputs, the same step among them
PENALTIES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-1)
REACHES, SHARPNESSES = (8, 24), (0.1, 0.5, 2.0)
TRIED = 96  # features of a trial of reach and sharpness
TRIED_ON = 2_000  # steps of such a trial
MOST_OTHERS = 16  # columns that a channel is forecast from
MOST = 6_000  # steps that a regression is fitted on
HELD_OUT = 4  # a fourth of the steps, the last ones, chooses
LEAST_VARIANCE = 1e-10
SEED = 20_020


class Forecast(StepPart):
    """The squared standardised error of a regression of each channel: abstract, `inputs` to write.

    Args:
        features: random features of a channel.
    """

    FIELDS: ClassVar = {
        "frequencies": ("channel", "feature", "input"),
        "phases": ("feature",),
        "coefficients": ("channel", "term"),
        "variance": ("channel",),
    }
    POSITIVE: ClassVar = ("variance",)
    frequencies: Floats
    phases: Floats
    coefficients: Floats
    variance: Floats

    def __init__(self, features: int) -> None:
        self.features = features

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        now = steps[:, self.reach - 1 :]
        found = np.empty((*now.shape[:2], len(self.variance)))
        for channel, variance in enumerate(self.variance):
            terms = self.terms(steps, channel, len(self.variance), self.frequencies[channel], self.phases)
            error = now[..., channel] - terms @ self.coefficients[channel]
            found[..., channel] = error**2 / variance
        return found

    @abstractmethod
    def inputs(self, steps: Floats, channel: int, n_channels: int) -> tuple[Floats, Floats]:
        """What the features are of, and what else the mean is linear in: `(n, L, F)`, `(n, L, K)`.

        Args:
            steps: `(n, L + reach - 1, D + C)`.
            channel: that is forecast.
            n_channels: D.
        """

    def terms(
        self, steps: Floats, channel: int, n_channels: int, frequencies: Floats, phases: Floats
    ) -> Floats:
        """The terms of the regression: `(n, L, K + features + 1)`."""
        of_features, linear = self.inputs(steps, channel, n_channels)
        angles = torch.from_numpy(of_features @ frequencies.T + phases[: len(frequencies)])
        waves = angles.cos_().numpy()  # of float64, PyTorch's is several times faster than NumPy's
        return np.concatenate([linear, waves, np.ones((*waves.shape[:2], 1))], axis=2)

    @abstractmethod
    def widths(self, state: Mapping[str, NDArray[Any]], n_context: int) -> tuple[int, int]:
        """How many numbers the features are of, F, and how many else the mean is linear in, K.

        Args:
            state: of a file.
            n_context: C.
        """

    def check(self, state: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
        """See `StepPart.check`."""
        super().check(state, sizes)
        of_features, linear = self.widths(state, sizes["column"] - sizes["channel"])
        _, features, inputs = state["frequencies"].shape
        if inputs != of_features or state["coefficients"].shape[1] != linear + features + 1:
            raise ValueError(f"the terms of {type(self).__name__} are others")

    def _solve(self, windows: Floats, channel: int, n_channels: int, frequencies: Floats) -> _Solution:
        terms = self.terms(windows, channel, n_channels, frequencies, self.phases)[:, 0]
        return _ridge(terms, windows[:, -1, channel])


class _Solution:
    """A ridge regression whose penalty the last quarter chose; its coefficients are of all rows."""

    def __init__(self, error: float, coefficients: Floats) -> None:
        self.error, self.coefficients = error, coefficients


def _ridge(terms: Floats, wanted: Floats) -> _Solution:
    """The regression by all rows, with the penalty that the first three quarters chose on the last."""
    count = len(terms)
    first = count - count // HELD_OUT
    gram, right = terms[:first].T @ terms[:first], terms[:first].T @ wanted[:first]
    rest, identity = terms[first:], np.eye(terms.shape[1])
    errors = [
        float(np.mean((wanted[first:] - rest @ _solved(gram + penalty * first * identity, right)) ** 2))
        for penalty in PENALTIES
    ]
    best = int(np.argmin(errors))
    gram, right = gram + rest.T @ rest, right + rest.T @ wanted[first:]
    return _Solution(errors[best], _solved(gram + PENALTIES[best] * count * identity, right))


def _solved(matrix: Floats, right: Floats) -> Floats:
    found: Floats = np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
    return found


class Dynamics(Forecast):
    """A channel given its own past and the context inputs."""

    reach = LAGS + 1

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        windows, n_channels = normal.windows(ends, self.reach), normal.n_channels
        few = windows[spread(len(ends), TRIED_ON)]
        generator = np.random.default_rng(SEED)
        draws = generator.normal(size=(self.features, LAGS))
        self.phases = np.asarray(generator.uniform(0, 2 * np.pi, self.features), dtype=np.float64)
        frequencies, coefficients, variances = [], [], []
        for channel in range(n_channels):
            trials = [
                (self._solve(few, channel, n_channels, _drawn(draws[:TRIED], *shape)).error, shape)
                for shape in product(REACHES, SHARPNESSES)
            ]
            frequencies.append(_drawn(draws, *min(trials)[1]))
            solved = self._solve(windows, channel, n_channels, frequencies[-1])
            coefficients.append(solved.coefficients)
            variances.append(max(solved.error, LEAST_VARIANCE))
        self.frequencies, self.coefficients = np.stack(frequencies), np.stack(coefficients)
        self.variance = np.array(variances, dtype=np.float64)
        return self

    def widths(self, state: Mapping[str, NDArray[Any]], n_context: int) -> tuple[int, int]:
        """See `Forecast.widths`."""
        return LAGS, LAGS + NEAR * n_context

    def inputs(self, steps: Floats, channel: int, n_channels: int) -> tuple[Floats, Floats]:
        """See `Forecast.inputs`."""
        own = past_windows(steps[:, :-1, channel], LAGS)
        given = past_windows(steps[:, LAGS + 1 - NEAR :, n_channels:], NEAR)
        return own, np.concatenate([own, given.reshape(*own.shape[:2], -1)], axis=2)


def _drawn(draws: Floats, lags: int, sharpness: float) -> Floats:
    """Frequencies of features of the last `lags` steps."""
    frequencies = np.zeros_like(draws)
    frequencies[:, -lags:] = draws[:, -lags:] * (sharpness / np.sqrt(lags))
    return frequencies


class Relation(Forecast):
    """A channel given those that it is most correlated with, and the context inputs."""

    FIELDS: ClassVar = {"others": ("channel", "other"), **Forecast.FIELDS}
    reach = NEAR
    others: Floats

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        n_channels = normal.n_channels
        self.others = _most_correlated(normal.steps[ends], n_channels)
        generator = np.random.default_rng(SEED)
        self.phases = np.asarray(generator.uniform(0, 2 * np.pi, self.features), dtype=np.float64)
        drawn = generator.normal(size=(self.features, self.others.shape[1])) / np.sqrt(self.others.shape[1])
        self.frequencies = np.repeat(drawn[None], n_channels, axis=0)
        windows = normal.windows(ends, self.reach)
        solved = [self._solve(windows, channel, n_channels, drawn) for channel in range(n_channels)]
        self.coefficients = np.stack([one.coefficients for one in solved])
        self.variance = np.maximum(np.array([one.error for one in solved]), LEAST_VARIANCE)
        return self

    def widths(self, state: Mapping[str, NDArray[Any]], n_context: int) -> tuple[int, int]:
        """See `Forecast.widths`."""
        others = state["others"].shape[1]
        return others, NEAR * others

    def inputs(self, steps: Floats, channel: int, n_channels: int) -> tuple[Floats, Floats]:
        """See `Forecast.inputs`."""
        near = past_windows(steps[..., self.others[channel].astype(np.int64)], NEAR)
        return near[..., -1], near.reshape(*near.shape[:2], -1)

    def check(self, state: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
        """See `StepPart.check`."""
        super().check(state, sizes)
        others = state["others"]
        if (others != np.floor(others)).any() or others.min() < 0 or others.max() >= sizes["column"]:
            raise ValueError("others must be numbers of columns")


def _most_correlated(steps: Floats, n_channels: int) -> Floats:
    """The columns that each channel is forecast from: `(D, K)`, as floats."""
    away = steps - steps.mean(axis=0)
    away /= np.maximum(np.sqrt((away**2).mean(axis=0)), 1e-9)
    strength = np.abs(away.T @ away)[:n_channels] / len(steps)
    strength[:, n_channels:] += 2.0  # context inputs first
    strength[np.arange(n_channels), np.arange(n_channels)] = -1.0
    kept = min(MOST_OTHERS, steps.shape[1] - 1)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :kept]
    return np.sort(order, axis=1).astype(np.float64)
