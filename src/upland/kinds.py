"""Tables, sequences, images: how each kind of data goes through a fit, and how its scores come back.

A detector is the same for all of them but for these questions: which normal rows are there to hold out, which
encoder reads them, what is judged, and in which arrangement the user expects the answers. A *unit* is what
one score is of: a row, an image, a sequence or a time step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.channels import Channels, channel_reference, channel_tests
from upland.criteria.evidence import (
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
from upland.criteria.points import CRITERIA, Criterion, energy, in_blocks, reconstruction
from upland.criteria.steps import Codes, step_values
from upland.data.encoder import Encoder
from upland.data.encoder import Kind as Name
from upland.data.images import ImageEncoder, ImageRows
from upland.data.memory import NormalRows, normal_rows
from upland.data.pictures import Images, is_image_input
from upland.data.pixels import Mode
from upland.data.sequences import Sequences, as_sequences, is_sequence_input
from upland.data.sources import open_source
from upland.data.steps import SequenceEncoder
from upland.data.tables import TableEncoder
from upland.data.windows import SequenceRows
from upland.fitting import Member, References
from upland.models.base import EnergyModel
from upland.models.recurrent import Conditional, RecurrentEnergy

PIXELS_AT_ONCE = 1 << 23  # pixel values of a piece of new images

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Unit = Literal["row", "image", "sequence", "step"]
Per = Literal["auto", "sequence", "step"]


class Kind(Protocol):
    """What a detector asks of a kind of data; a structural type.

    A *piece* is as much new data as is judged at once: all of it, or a batch of a file.
    """

    @property
    def name(self) -> Name:
        """Table, sequence or image."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What one score can be of."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """What can be judged by; the default first."""

    def by(self, criterion: str, unit: Unit) -> str:
        """What a unit is judged by: what the user says, or the default."""

    def encoder(self) -> Encoder:
        """One that has seen nothing yet."""

    def normal_rows(self, X: Any) -> NormalRows:
        """The user's normal data as rows that can be held out."""

    def blocks(self, rows: Any) -> tuple[Indices | None, int]:
        """`(n_rows,)` numbers of blocks that are held out whole, None where each row stands alone; and how
        many units there are in all.
        """

    def pieces(self, X: Any, encoder: Any) -> Iterator[Any]:
        """New data in pieces."""

    def unit(self, piece: Any) -> Unit:
        """What the user expects one score of."""

    def judge(self, criterion: str, member: Member, piece: Any, unit: Unit) -> Floats:
        """A member's number for each unit: `(units,)`."""

    def judge_held_out(
        self, criterion: str, member: Member, rows: Any, held_out: Indices, unit: Unit
    ) -> Floats:
        """A member's number for each unit of the normal rows that it has not seen."""

    def refer(self, member: Member, rows: Any, seen: Indices) -> References:
        """What a criterion compares with, from the normal rows that the member may see."""

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """One number a unit in the user's own arrangement."""


@dataclass(frozen=True)
class Tables:
    """Rows of a table.

    Args:
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        owner: who asks, for messages.
    """

    categorical: Sequence[str | int]
    ignore: Sequence[str | int]
    owner: str
    name: ClassVar[Literal["table"]] = "table"
    units: ClassVar[tuple[Unit, ...]] = ("row",)
    criteria: ClassVar[tuple[str, ...]] = ("reconstruction", "energy")

    def by(self, criterion: str, unit: Unit) -> str:
        """What the user says, or the first."""
        return self.criteria[0] if criterion == "auto" else criterion

    def encoder(self) -> TableEncoder:
        """One that has seen nothing yet."""
        return TableEncoder(categorical=self.categorical, ignore=self.ignore, owner=self.owner)

    def normal_rows(self, X: Any) -> NormalRows:
        """The rows of a table or a file."""
        return normal_rows(X)

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Rows stand alone."""
        return None, rows.n_rows

    def pieces(self, X: Any, encoder: TableEncoder) -> Iterator[Any]:
        """The table itself, or a file batch by batch."""
        if isinstance(X, str | Path):
            yield from open_source(X).batches(encoder.schema_)
        else:
            yield X

    def unit(self, piece: Any) -> Unit:
        """A row."""
        return "row"

    def judge(self, criterion: str, member: Member, piece: Any, unit: Unit) -> Floats:
        """A number for each row."""
        return judged_rows(CRITERIA[criterion], member, piece)

    def judge_held_out(
        self, criterion: str, member: Member, rows: NormalRows, held_out: Indices, unit: Unit
    ) -> Floats:
        """The same of held-out rows."""
        piece = rows.take(held_out)
        return self.judge(criterion, member, piece, unit)

    def refer(self, member: Member, rows: NormalRows, seen: Indices) -> References:
        """Nothing: an energy and a reconstruction stand for themselves."""
        return {}

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """As they are."""
        return values


@dataclass(frozen=True)
class Pictures:
    """Images: arrays, files, a folder.

    Args:
        size: (height, width) that images of other sizes are brought to.
        mode: "grey" or "rgb" that images are brought to.
        owner: who asks, for messages.
    """

    size: tuple[int, int] | None
    mode: Mode | None
    owner: str
    name: ClassVar[Literal["image"]] = "image"
    units: ClassVar[tuple[Unit, ...]] = ("image",)
    criteria: ClassVar[tuple[str, ...]] = ("energy", "reconstruction")

    def by(self, criterion: str, unit: Unit) -> str:
        """What the user says, or the first."""
        return self.criteria[0] if criterion == "auto" else criterion

    def encoder(self) -> ImageEncoder:
        """One that has seen nothing yet."""
        return ImageEncoder(size=self.size, mode=self.mode, scaling="contrast", owner=self.owner)

    def normal_rows(self, X: Any) -> NormalRows:
        """One row an image."""
        return ImageRows(X, size=self.size, mode=self.mode, owner=self.owner)

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Images stand alone."""
        return None, rows.n_rows

    def pieces(self, X: Any, encoder: ImageEncoder) -> Iterator[Images]:
        """As many images at a time as memory allows."""
        images = encoder.images(X)
        at_once = max(1, PIXELS_AT_ONCE // math.prod(images.shape))
        for start in range(0, len(images), at_once):
            yield images.select(np.arange(start, min(start + at_once, len(images))))

    def unit(self, piece: Any) -> Unit:
        """An image."""
        return "image"

    def judge(self, criterion: str, member: Member, piece: Any, unit: Unit) -> Floats:
        """A number for each image."""
        return judged_rows(CRITERIA[criterion], member, piece)

    def judge_held_out(
        self, criterion: str, member: Member, rows: NormalRows, held_out: Indices, unit: Unit
    ) -> Floats:
        """The same of held-out images."""
        piece = rows.take(held_out)
        return self.judge(criterion, member, piece, unit)

    def refer(self, member: Member, rows: NormalRows, seen: Indices) -> References:
        """Nothing: an energy and a reconstruction stand for themselves."""
        return {}

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """As they are."""
        return values


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
        per_step = self.unit(rows.sequences) == "step"
        return rows.blocks, rows.sequences.n_steps if per_step else rows.n_rows

    def pieces(self, X: Any, encoder: SequenceEncoder) -> Iterator[Sequences]:
        """All sequences at once: a score rests on the whole past of its sequence."""
        yield as_sequences(X, id=self.id, time=self.time, owner=self.owner)

    def unit(self, piece: Sequences) -> Unit:
        """Sequences, or the steps of a long series, unless the user says which."""
        return piece.per if self.per == "auto" else self.per

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


def judged_rows(criterion: Criterion, member: Member, piece: Any) -> Floats:
    """A member's number for each row or image."""
    rows = torch.from_numpy(member.encoder.transform(piece))
    return finite(in_blocks(criterion, member.model, rows, member.sigma).numpy())


def finite(judged: Floats) -> Floats:
    """The numbers themselves, unless one is NaN.

    Raises:
        FloatingPointError: some are NaN; the message says how many.
    """
    if lost := int(np.isnan(judged).sum()):
        raise FloatingPointError(f"the model gives no number (NaN) for {lost} of {judged.size} rows")
    return judged


def kind_of(X: Any, kind: str, time: Any, id: Any) -> Name:
    """Which kind of data these are.

    Args:
        X: the user's data.
        kind: what the user says, or "auto".
        time: the user's time column.
        id: the user's id column.

    Raises:
        ValueError: kind is none of these, or the arguments speak of another.
    """
    if kind not in ("auto", "table", "sequence", "image"):
        raise ValueError(f"kind must be 'auto', 'table', 'sequence' or 'image', got {kind!r}")
    if kind in ("table", "image") and (time is not None or id is not None):
        raise ValueError(
            f"time and id are of sequences, but kind={kind!r}: leave them out or say kind='sequence'"
        )
    if kind != "auto":
        return kind  # type: ignore[return-value]
    if is_sequence_input(X, time, id):
        return "sequence"
    return "image" if is_image_input(X) else "table"
