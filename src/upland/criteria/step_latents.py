r"""Criteria of sequences whose steps have a likelihood and latents z_t, N(0, I) if the model is right.

* Likelihood: -log p(x_t | x_<t), in nats, smoothed over the past; of a sequence the mean over its steps. It
  is the sum over channels of -log p(x_tc | the channels before c, x_<t).
* Divergence: for each channel the KL of the Gaussian of its latents over the past from that of normal steps,

      1/2 (v / v0 + (m - m0)^2 / v0 - 1 - log(v / v0)),

  with the exponential means m of z and v of z^2 less m^2 (KLODS, arXiv 2002.03328, over time in place of the
  parts of one latent), and the mean of that over two spans: 16 steps, in which a break of the dynamics is
  soonest seen, and the smoothing. It is two-sided: a channel that is stuck or calmer than normal has a small
  v.
* Likelihood and divergence: the sum of the nats beyond those of normal steps, and the divergence.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from upland.criteria.base import Floats, Shares, finite
from upland.criteria.reading import step_values
from upland.criteria.running_means import RunningMeans
from upland.criteria.sequence import EncodedSequences, lengths_of_steps
from upland.groups.stretches import Steps
from upland.models.base import EnergyModel
from upland.models.recurrent_flow import ConditionalFlow, RecurrentFlow

LEAST_VARIANCE = 1e-6
"""Of latents, in those of normal steps."""


def channel_nats(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
    """-log p of each channel given those before it and the past, in nats: `(M, D) -> (M, D)`, float64."""
    assert isinstance(given, ConditionalFlow)
    return given.parts(points)[1]


def latent_steps(model: RecurrentFlow, x: EncodedSequences) -> Steps:
    """The latents of steps and -log p of each, each sequence a run.

    Args:
        model: as trained.
        x: sequences.
    """

    def both(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        assert isinstance(given, ConditionalFlow)
        z, nats = given.parts(points)
        return torch.cat([z.double(), nats.sum(1, keepdim=True)], 1)

    found = step_values(both, model, x.codes, x.lengths, 1.0)
    finite(found.numpy().sum(1))
    return Steps(found[:, :-1], found[:, -1], torch.from_numpy(x.owners))


def divergence_of(means: Floats, usual: Floats) -> Floats:
    """The KL of Gaussians of latents from normal ones: `(..., 2 D)`, `(2 D,)` -> `(..., D)`, in nats.

    Args:
        means: of latents, and of their squares.
        usual: the same among normal steps.
    """
    usual_mean, usual_square = np.split(usual, 2)
    mean, square = np.split(means, 2, axis=-1)
    usual_variance = np.maximum(usual_square - usual_mean**2, LEAST_VARIANCE)
    variance = np.maximum((square - mean**2) / usual_variance, LEAST_VARIANCE)
    kl: Floats = 0.5 * (variance + (mean - usual_mean) ** 2 / usual_variance - 1 - np.log(variance))
    return kl


class StepLikelihood(RunningMeans):
    """-log p(x_t | x_<t) in nats, smoothed over the past; of a sequence the mean over its steps."""

    requires: ClassVar[type] = RecurrentFlow

    def numbers(self, given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        """-log p of each channel: `(M, D) -> (M, D)`."""
        return channel_nats(given, points, sigma)

    def parts(self, means: Floats) -> Floats:
        """The nats of each channel beyond its mean among normal steps, and an even part of what is usual.

        Nats depend on the unit of a channel, so that channels are compared by what is beyond the usual ones.
        """
        usual: Floats = self.usual.numpy()
        return means - usual + float(usual.mean())

    def shares(self, x: EncodedSequences) -> Shares:
        """The channels' parts at each step, and the conditional medians: `(S, D)` twice."""
        found = super().shares(x)
        if self.unit == "step":
            return found
        nats = step_values(self.numbers, self.model, x.codes, x.lengths, self.sigma).numpy()
        return Shares(self.parts(nats) / lengths_of_steps(x), found.expected)


class StepLikelihoodDivergence(RunningMeans):
    """The likelihood beyond that of normal steps and the divergence, in nats, summed; over two spans."""

    requires: ClassVar[type] = RecurrentFlow
    least_span: ClassVar[int] = 8
    short_span: ClassVar[int] = 16
    numbers_per_channel: ClassVar[int] = 3

    def numbers(self, given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        """-log p of each channel, the latents and their squares: `(M, D) -> (M, 3 D)`."""
        assert isinstance(given, ConditionalFlow)
        z, nats = given.parts(points)
        return torch.cat([nats, z.double(), z.double().square()], 1)

    def parts(self, means: Floats) -> Floats:
        """The nats of each channel beyond its mean among normal steps, and its KL."""
        usual, width = self.usual.numpy(), means.shape[-1] // 3
        kl: Floats = divergence_of(means[..., width:], usual[width:])
        both: Floats = means[..., :width] - usual[:width] + kl
        return both


class StepDivergence(RunningMeans):
    """The KL of the latents of each channel over two spans of the past from normal ones, two-sided."""

    requires: ClassVar[type] = RecurrentFlow
    least_span: ClassVar[int] = 8
    short_span: ClassVar[int] = 16
    numbers_per_channel: ClassVar[int] = 2

    def numbers(self, given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        """The latents and their squares: `(M, D) -> (M, 2 D)`."""
        assert isinstance(given, ConditionalFlow)
        z = given.parts(points)[0].double()
        return torch.cat([z, z.square()], 1)

    def parts(self, means: Floats) -> Floats:
        """The KL of each channel, in nats."""
        return divergence_of(means, self.usual.numpy())
