r"""Verdicts on groups of stretches of series, or of whole sequences, by the latents of their steps.

A model with a likelihood of each step given the past makes of a step a latent z_t, N(0, I) and independent
over time if the model is right. Where it is not quite right, latents of neighbouring steps depend on each
other, so steps cannot be exchanged with those of normal data. *Blocks* of consecutive steps can, as far as
the normal process is stationary and forgets within a block: a group is cut into blocks of one length, and
compared with as many blocks of that length of the held-out normal series. Whole sequences are blocks of their
own, and exchangeable wherever the sequences are.

A statistic is a function of means of features (`upland.groups.base`). A block has the mean over its steps, so
the p-values of `upland.groups.null` hold for blocks as they do for rows.

The length is that of the held-out windows, or less where the longest stretch of the group is shorter or no
multiple of it. What is left over at the end of a stretch, fewer steps than a block, is not tested.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.false_discovery import Control
from upland.catalogue import STATISTICS, load
from upland.groups.base import Statistic
from upland.groups.null import Null
from upland.groups.outputs import ModelOutputs
from upland.groups.reasons import NO_REASON, Reasons
from upland.groups.verdicts import NEAR, Finding, GroupVerdicts, verdicts_of
from upland.io.advice import Advice, Argument
from upland.models.base import Level

Indices = NDArray[np.int64]

WIDEST = 32
"""Channels up to which the latents of two steps in a row are compared together."""

AT_ONCE = 16_384  # steps whose features are in memory at once


@dataclass(frozen=True, eq=False)
class Steps:
    """What a model says of the steps of some series, run after run.

    Args:
        latents: `(S, D)`.
        nats: `(S,)` -log p of each step given those before it.
        runs: `(S,)` the number of the run that each is of, from 0; steps of a run follow each other.
    """

    latents: Tensor
    nats: Tensor
    runs: Tensor

    @property
    def lengths(self) -> Indices:
        """Steps of each run."""
        return np.bincount(self.runs.numpy())

    def outputs(self) -> ModelOutputs:
        """The same as a statistic takes them: the latents of each step, and with those of the step before."""
        z = self.latents
        before = torch.cat([torch.zeros_like(z[:1]), z[:-1]])
        follows = torch.cat([self.runs.new_zeros(1, dtype=torch.bool), self.runs[1:] == self.runs[:-1]])
        levels = [Level(z)]
        if z.shape[1] <= WIDEST:
            levels.append(Level(torch.cat([z, torch.where(follows[:, None], before, 0.0)], 1)))
        return ModelOutputs(z[..., None], self.nats.double(), levels)

    def take(self, index: Tensor) -> Steps:
        """Some of the steps, in order; runs keep their numbers."""
        return Steps(self.latents[index], self.nats[index], self.runs[index])

    def kept(self, most: int) -> Steps:
        """At most so many steps: whole runs, evenly spread, of one run its first steps.

        Args:
            most: steps.
        """
        lengths = self.lengths
        count = min(len(lengths), max(1, int(most // max(1.0, float(lengths.mean())))))
        chosen = np.linspace(0, len(lengths) - 1, count).round().astype(np.int64)
        index = np.flatnonzero(np.isin(self.runs.numpy(), chosen))[:most]
        some = self.take(torch.from_numpy(index))
        return Steps(some.latents, some.nats, torch.from_numpy(numbered(some.runs.numpy())))

    def to_tensor(self) -> Tensor:
        """All of it side by side, `(S, D + 2)`, float32."""
        columns = (self.nats[:, None], self.runs[:, None])
        return torch.cat([self.latents, *columns], 1).float()

    @classmethod
    def from_tensor(cls, rows: Tensor) -> Steps:
        """What `to_tensor` gave.

        Args:
            rows: `(S, D + 2)`.
        """
        return cls(rows[:, :-2].double(), rows[:, -2].double(), rows[:, -1].long())


def numbered(*keys: NDArray[Any], most: int | None = None) -> Indices:
    """The number of each step's run: a run ends where a key changes, or with so many steps: `(S,)`.

    Args:
        keys: `(S,)` each, such as the sequence and the group of a step.
        most: steps of a run at most.
    """
    ends = np.any([np.diff(key) != 0 for key in keys], axis=0)
    runs = np.concatenate([[0], np.cumsum(ends)])
    if most is None:
        return runs
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    within = (np.arange(len(runs)) - starts[runs]) // most
    return numbered(runs, within)


class StretchTester:
    """Tests groups of steps against the normal steps kept with a model.

    Args:
        standard: normal steps that statistics are fitted on.
        held_out: normal steps that groups are compared with.
        names: of the user's columns.
        columns: `(D,)` the number of the column that each channel belongs to.
        whole: whether a run is a whole sequence, and a block of its own.
    """

    def __init__(
        self, standard: Steps, held_out: Steps, names: tuple[str, ...], columns: Tensor, whole: bool
    ) -> None:
        self.standard, self.held_out, self.whole = standard, held_out, whole
        self.names, self.columns = names, columns

    def check(self, statistic: str) -> None:
        """Refuse a statistic that there is not; arguments and errors are those of `test`."""
        if statistic not in STATISTICS:
            raise ValueError(
                f"statistic must be one of {', '.join(map(repr, STATISTICS))}, got {statistic!r}"
            )
        possible = [other for other, entry in STATISTICS.items() if entry.needs != "score"]
        if statistic not in possible:
            raise TypeError(
                Advice(
                    "groups of steps are tested by their latents: ",
                    Argument("statistic"),
                    f" is one of {', '.join(map(repr, possible))}",
                )
            )

    def test(
        self,
        steps: Steps,
        groups: Indices,
        names: NDArray[Any],
        alpha: float,
        control: Control,
        statistic: str,
        reasons: bool,
    ) -> GroupVerdicts:
        """A verdict on every group, in their order.

        Args:
            steps: runs of one group each.
            groups: `(S,)` the number of each step's group.
            names: of the groups.
            alpha: the rate to keep, in (0, 1).
            control: "fdr" keeps the false discovery rate at alpha, "false_alarm" the false-alarm rate.
            statistic: one of `upland.catalogue.STATISTICS`.
            reasons: whether verdicts say which columns contribute.

        Raises:
            ValueError: there is no such statistic.
            TypeError: it needs a gradient of log p, which steps have none of.
        """
        fitted = self._fitted(statistic)
        why = Reasons(self.standard.latents, self.names, self.columns) if reasons else None
        resolution = alpha / len(names) if control == "fdr" else alpha
        nulls: dict[int, Null] = {}
        found, weakest = [], (0.0, 0, 0, 0)
        for number in range(len(names)):
            own = steps.take(torch.from_numpy(np.flatnonzero(groups == number)))
            size = self._block(own)
            if size not in nulls:
                nulls[size] = self._null(fitted, size, resolution, alpha)
            features, kept = block_features(fitted, own, size), len(nulls[size].features)
            p = nulls[size].p_value(features)
            if p.smallest <= alpha:  # else all verdicts together say so
                weakest = max(weakest, (half_anomalous(kept, len(features)), kept, size, len(features)))
            found.append(Finding(p, why.of(own.latents) if why else NO_REASON))
        if weakest[0] > alpha:
            warnings.warn(_few_blocks(*weakest, alpha), stacklevel=4)
        sizes = np.bincount(groups, minlength=len(names))
        return verdicts_of(names, sizes, found, alpha, control, len(self.held_out.nats), "steps")

    def _fitted(self, name: str) -> Statistic:
        self.check(name)
        outputs = self.standard.outputs()
        statistic: Statistic = load(STATISTICS[name].home)(outputs)
        return statistic.fit(outputs)

    def _block(self, own: Steps) -> int:
        """Steps of a group's blocks; 0 where they are whole sequences."""
        if self.whole:
            return 0
        usual, longest = int(np.median(self.held_out.lengths)), int(own.lengths.max())
        return longest // -(-longest // usual)

    def _null(self, statistic: Statistic, size: int, resolution: float, alpha: float) -> Null:
        """The p-values of groups of blocks of one length."""
        features = block_features(statistic, self.held_out, size)
        steps = size or float(self.held_out.lengths.mean())

        def value(means: Tensor, blocks: Tensor) -> Tensor:
            return statistic.value(means, blocks * steps)

        seed = zlib.crc32(self.held_out.latents.numpy().tobytes())
        return Null(features, value, resolution, seed, min(NEAR * alpha, 1.0))


def half_anomalous(kept: int, count: int) -> float:
    """About the least p-value of a group with anomalies in half of its blocks, which as many drawn from these
    and the normal ones hold, too, with this probability.

    Args:
        kept: normal blocks.
        count: blocks of the group.

    Examples:
        >>> round(half_anomalous(4, 8), 3), round(half_anomalous(18, 8), 4)
        (0.141, 0.0047)
    """
    half = (count + 1) // 2
    return math.comb(kept + count - half, count - half) / math.comb(kept + count, count)


def _few_blocks(p: float, kept: int, size: int, count: int, alpha: float) -> Advice:
    """What is said where anomalies in half of a group cannot be found."""
    blocks = f"held-out blocks of {size} steps" if size else "held-out sequences"
    return Advice(
        f"{kept} {blocks} are few: a group of {count}, half of them anomalous, has hardly a p-value below "
        f"{p:.3g}, so that it is not flagged at alpha = {alpha:g}; calibrate on more normal data, of which ",
        Argument("keep_rows"),
        " steps at most are kept",
    )


def block_features(statistic: Statistic, steps: Steps, size: int) -> Tensor:
    """The features of blocks, each the mean over its steps: `(B, F)`.

    Args:
        statistic: fitted.
        steps: cut from the start of each run.
        size: steps of a block; 0 takes each run as one.
    """
    lengths = steps.lengths
    used = lengths[lengths > 0]
    starts = np.cumsum(used) - used
    if size:
        counts = used // size
        starts = np.repeat(starts, counts) + size * _within(counts)
        used = np.full(len(starts), size)
    return torch.cat([_mean_features(statistic, steps, starts[some], used[some]) for some in _pieces(used)])


def _mean_features(statistic: Statistic, steps: Steps, starts: Indices, lengths: Indices) -> Tensor:
    index = np.repeat(starts, lengths) + _within(lengths)
    blocks = np.repeat(np.arange(len(starts)), lengths)
    some = steps.take(torch.from_numpy(index))
    features = statistic.features(Steps(some.latents, some.nats, torch.from_numpy(blocks)).outputs())
    total = features.new_zeros(len(starts), features.shape[1])
    return total.index_add_(0, torch.from_numpy(blocks), features) / torch.from_numpy(lengths)[:, None]


def _pieces(lengths: Indices) -> Sequence[Indices]:
    """Blocks some thousand steps at a time."""
    return np.split(np.arange(len(lengths)), np.flatnonzero(np.diff(np.cumsum(lengths) // AT_ONCE)) + 1)


def _within(counts: Indices) -> Indices:
    """0, 1, ... for each count, one after the other."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
