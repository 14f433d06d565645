"""Sequences: how they go through a fit, what their steps and wholes are judged by, and how steps are read.

A long series is cut into windows to train on; what is held out is windows too. Steps, however, are judged in
one pass over the whole series from its start, those that calibrate as those that are new: the past of a step
may hold others, as it will in use.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from upland.criteria.max_channel import Channels, channel_reference, channel_tests
from upland.criteria.points import Criterion, energy, reconstruction
from upland.criteria.reading import Codes, step_values
from upland.criteria.score_test import (
    SAMPLES,
    WINDOWS,
    Reference,
    Running,
    reference_of,
    running_vectors,
    sequence_vectors,
    step_tests,
    summed,
)
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows, windows_of
from upland.detectors.fitting import Member, References
from upland.detectors.kinds import Floats, Indices, Per, Unit, finite
from upland.models.base import EnergyModel
from upland.models.recurrent import Conditional, RecurrentEnergy


@dataclass(frozen=True)
class Series:
    """Sequences: whole ones, or long series cut into windows to train on.

    Args:
        id: the column that tells sequences apart in a long frame.
        time: the column that orders the steps of a long frame.
        window: steps of a training window.
        stride: steps from one window to the next.
        per: what one score is of; "auto" goes by the data's layout.
        smoothing: steps that the worst channel is smoothed over.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        owner: who asks, for messages.
        window_: steps of the windows that the fit cut; None where it cut nothing.
    """

    id: str | int | None
    time: str | int | None
    window: int | Literal["auto"] | None
    stride: int | None
    per: Per
    smoothing: int
    categorical: Sequence[str | int]
    ignore: Sequence[str | int]
    owner: str
    window_: int | None = None
    name: ClassVar[Literal["sequence"]] = "sequence"
    units: ClassVar[tuple[Unit, ...]] = ("step", "sequence")
    criteria: ClassVar[tuple[str, ...]] = ("score_test", "worst_channel", "reconstruction", "energy")

    def by(self, criterion: str, unit: Unit) -> str:
        """What the user says; else the score test for sequences, the worst channel for steps."""
        if criterion == "auto":
            return "score_test" if unit == "sequence" else "worst_channel"
        return criterion

    def encoder(self) -> SequenceEncoder:
        """One that has seen nothing yet."""
        return SequenceEncoder(
            id=self.id, time=self.time, categorical=self.categorical, ignore=self.ignore, owner=self.owner
        )

    def normal_rows(self, X: Any) -> SequenceRows:
        """One row a window, or a sequence that is shorter."""
        return SequenceRows(
            X, id=self.id, time=self.time, window=self.window, stride=self.stride, owner=self.owner
        )

    def blocks(self, rows: SequenceRows) -> tuple[Indices, int]:
        """Windows that share steps are held out together."""
        per_step = self.unit_of_rows(rows) == "step"
        return rows.blocks, rows.sequences.n_steps if per_step else rows.n_rows

    def pieces(self, X: Any, encoder: SequenceEncoder) -> Iterator[Sequences]:
        """All sequences at once: a score rests on the whole past of its sequence."""
        yield as_sequences(X, id=self.id, time=self.time, owner=self.owner)

    def fresh(self, X: Any, encoder: SequenceEncoder, unit: Unit) -> Iterator[Sequences]:
        """Whole for steps; for sequences the windows, where the fit cut any."""
        for piece in self.pieces(X, encoder):
            cut = unit == "sequence" and self.window_ is not None
            yield windows_of(piece, self.window_, self.stride) if cut else piece

    def unit(self, piece: Sequences) -> Unit:
        """Sequences, or the steps of a long series, unless the user says which."""
        return piece.per if self.per == "auto" else self.per

    def unit_of_rows(self, rows: SequenceRows) -> Unit:
        """The same."""
        return self.unit(rows.sequences)

    def judge(self, criterion: str, member: Member, piece: Sequences, unit: Unit) -> Floats:
        """A number for each step, or for each sequence: of its own, or the mean over its steps."""
        model, codes = self.model_of(member), self.codes(member, piece)
        if criterion == "score_test" and unit == "sequence":
            vectors = sequence_vectors(model, codes, piece.lengths)
            return finite(member.references["sequence"].test(vectors).numpy())
        values = self.values(criterion, member, piece)
        if unit == "step":
            return values
        means: Floats = np.add.reduceat(values, piece.starts) / piece.lengths
        return means

    def values(self, criterion: str, member: Member, piece: Sequences) -> Floats:
        """A number for each step."""
        model, codes = self.model_of(member), self.codes(member, piece)
        if criterion == "score_test":
            return finite(step_tests(model, codes, piece.lengths, windows_in(member)).numpy())
        if criterion == "worst_channel":
            known = member.references["channels"].center
            return finite(channel_tests(model, codes, piece.lengths, known, self.smoothing).numpy())
        return finite(step_values(OF_STEPS[criterion], model, codes, piece.lengths, member.sigma).numpy())

    def judge_held_out(
        self, criterion: str, member: Member, rows: SequenceRows, held_out: Indices, unit: Unit
    ) -> Floats:
        """Held-out windows as sequences; or their steps as they come in a pass over the whole sequences."""
        if unit == "sequence":
            return self.judge(criterion, member, rows.take(held_out), unit)
        return self.values(criterion, member, rows.sequences)[rows.steps_of(held_out)]

    def refer(self, member: Member, rows: SequenceRows, seen: Indices) -> References:
        """The vectors of the sequences that were seen, and the running vectors of their steps."""
        model, piece = self.model_of(member), rows.take(seen)
        vectors = sequence_vectors(model, self.codes(member, piece), piece.lengths)
        steps = rows.steps_of(seen)
        longest = int(rows.sequences.lengths.max())
        windows = [w for w in WINDOWS if w <= max(longest // 4, WINDOWS[0])]
        settled = steps[rows.positions(steps) >= min(model.frame - 1 + windows[-1], longest // 4)]
        settled = settled if settled.size > 1 else steps
        some = np.unique(settled[np.linspace(0, settled.size - 1, min(settled.size, SAMPLES)).astype(int)])
        codes = self.codes(member, rows.sequences)
        running = running_vectors(model, codes, rows.sequences.lengths, windows, some)
        usual = channel_reference(model, codes, rows.sequences.lengths, settled)
        whole = {
            "sequence": reference_of(vectors, relative=False),
            "channels": Reference(usual, torch.eye(0), 1.0),
        }
        return whole | {
            f"step {window}": reference_of(found, relative=True)
            for window, found in zip(windows, running, strict=True)
        }

    def reader(self, criterion: str, member: Member, model: RecurrentEnergy) -> Reader:
        """What judges the steps of one sequence as they come.

        Args:
            criterion: what a step is judged by.
            member: whose references count.
            model: the member's, in float64.
        """
        by = self.by(criterion, "step")
        if by == "worst_channel":
            known = member.references["channels"].center
            return ChannelReader(Channels(model, known, self.smoothing, 1))
        if by == "score_test":
            return TestReader(Running(model, windows_in(member), 1))
        return PointReader(OF_STEPS[by], model, member.sigma)

    @staticmethod
    def model_of(member: Member) -> RecurrentEnergy:
        """The member's model."""
        assert isinstance(member.model, RecurrentEnergy)
        return member.model

    @staticmethod
    def codes(member: Member, piece: Sequences) -> Codes:
        """The member's codes of a piece, by their steps."""
        assert isinstance(member.encoder, SequenceEncoder)
        read = member.encoder.slices(piece)
        return lambda start, stop: torch.from_numpy(read(start, stop))

    def arrange(self, values: Floats, piece: Sequences, unit: Unit) -> Floats:
        """Steps go back to the user's rows."""
        return piece.arrange(values) if unit == "step" else values


def surprise(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """E / sigma^2 + log Z(h) of points given their contexts: -log p(x_t | x_<t), in nats."""
    assert isinstance(model, Conditional)
    return energy(model, x, sigma) + model.log_partition(sigma)


OF_STEPS: dict[str, Criterion] = {"reconstruction": reconstruction, "energy": surprise}


class Reader(Protocol):
    """Judges the next steps of one sequence: points `(1, L, P D)`, contexts `(1, L, S)` -> L numbers."""

    def __call__(self, points: Tensor, context: Tensor) -> Tensor:
        """The numbers of the steps."""


@dataclass
class ChannelReader:
    """Judges by the worst channel; a copy goes its own way."""

    channels: Channels

    def __call__(self, points: Tensor, context: Tensor) -> Tensor:
        """The worst channel of each step."""
        self.channels = copy.copy(self.channels)
        return self.channels.advance(points, context).amax(-1)[0]


@dataclass
class TestReader:
    """Judges by running score tests; a copy goes its own way."""

    running: Running

    def __call__(self, points: Tensor, context: Tensor) -> Tensor:
        """The test of each step."""
        self.running = copy.copy(self.running)
        return summed(self.running.advance(points, context), self.running.known())[0]


@dataclass(frozen=True)
class PointReader:
    """Judges each step by itself."""

    function: Criterion
    model: RecurrentEnergy
    sigma: float

    def __call__(self, points: Tensor, context: Tensor) -> Tensor:
        """The criterion of each step."""
        return self.function(self.model.given(context[0]), points[0], self.sigma)


def windows_in(member: Member) -> dict[int, Reference]:
    """What running vectors are compared with, by the steps of their window."""
    return {
        int(name.removeprefix("step ")): known
        for name, known in member.references.items()
        if name.startswith("step ")
    }
