"""Tables, sequences, images: how each kind of data goes through a fit, and how its scores come back.

A detector is the same for all of them but for these questions: which normal rows are there to hold out, which
encoder reads them, what is judged, and in which arrangement the user expects the answers. A *unit* is what
one score is of: a row, an image, a sequence or a time step. Sequences have a page of their own,
`upland.detectors.sequencing`.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.points import CRITERIA, Criterion, in_blocks
from upland.data.encoder import Encoder
from upland.data.encoder import Kind as Name
from upland.data.image.container import Images, is_image_input
from upland.data.image.encoder import ImageEncoder, ImageRows, Scaling
from upland.data.image.pixels import Mode
from upland.data.rows import NormalRows, normal_rows
from upland.data.sequence.container import is_sequence_input
from upland.data.table.encoder import TableEncoder
from upland.detectors.fitting import Member, References
from upland.io.advice import Advice, Argument
from upland.io.formats import open_source
from upland.models.base import EnergyModel, NoiseConditional

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

    def fresh(self, X: Any, encoder: Any, unit: Unit) -> Iterator[Any]:
        """Normal data that calibrate such units, in pieces: cut as those that a fit holds out."""

    def unit(self, piece: Any) -> Unit:
        """What the user expects one score of."""

    def unit_of_rows(self, rows: Any) -> Unit:
        """The same of normal rows."""

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


Judge = Callable[[Member, Tensor], Floats]
"""A member's number for each of some encoded rows, higher = worse."""


@dataclass(frozen=True)
class Points(ABC):
    """Rows or images: what is judged each by itself; abstract.

    Args:
        judges: what they can be judged by, the default first.
        owner: who asks, for messages.
    """

    judges: Mapping[str, Judge]
    owner: str

    @property
    def criteria(self) -> tuple[str, ...]:
        """The names of the judges, the default first."""
        return tuple(self.judges)

    def by(self, criterion: str, unit: Unit) -> str:
        """What the user says, or the first."""
        return self.criteria[0] if criterion == "auto" else criterion

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Each stands alone."""
        return None, rows.n_rows

    def judge(self, criterion: str, member: Member, piece: Any, unit: Unit) -> Floats:
        """A number for each."""
        return finite(self.judges[criterion](member, torch.from_numpy(member.encoder.transform(piece))))

    def judge_held_out(
        self, criterion: str, member: Member, rows: NormalRows, held_out: Indices, unit: Unit
    ) -> Floats:
        """The same of held-out ones."""
        return self.judge(criterion, member, rows.take(held_out), unit)

    def refer(self, member: Member, rows: NormalRows, seen: Indices) -> References:
        """Nothing beyond what the member keeps."""
        return {}

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """As they are."""
        return values


@dataclass(frozen=True)
class Tables(Points):
    """Rows of a table.

    Args:
        judges: what they can be judged by, the default first.
        owner: who asks, for messages.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
    """

    categorical: Sequence[str | int] = ()
    ignore: Sequence[str | int] = ()
    name: ClassVar[Literal["table"]] = "table"
    units: ClassVar[tuple[Unit, ...]] = ("row",)

    def encoder(self) -> TableEncoder:
        """One that has seen nothing yet."""
        return TableEncoder(categorical=self.categorical, ignore=self.ignore, owner=self.owner)

    def normal_rows(self, X: Any) -> NormalRows:
        """The rows of a table or a file."""
        return normal_rows(X)

    def pieces(self, X: Any, encoder: TableEncoder) -> Iterator[Any]:
        """The table itself, or a file batch by batch."""
        if isinstance(X, str | Path):
            yield from open_source(X).batches(encoder.schema_)
        else:
            yield X

    def fresh(self, X: Any, encoder: TableEncoder, unit: Unit) -> Iterator[Any]:
        """As any other."""
        return self.pieces(X, encoder)

    def unit(self, piece: Any) -> Unit:
        """A row."""
        return "row"

    def unit_of_rows(self, rows: NormalRows) -> Unit:
        """A row."""
        return "row"


@dataclass(frozen=True)
class Pictures(Points):
    """Images: arrays, files, a folder.

    Args:
        judges: what they can be judged by, the default first.
        owner: who asks, for messages.
        size: (height, width) that images of other sizes are brought to.
        mode: "grey" or "rgb" that images are brought to.
        scaling: how pixels become numbers, see `ImageEncoder`.
    """

    size: tuple[int, int] | None = None
    mode: Mode | None = None
    scaling: Scaling = "contrast"
    name: ClassVar[Literal["image"]] = "image"
    units: ClassVar[tuple[Unit, ...]] = ("image",)

    def encoder(self) -> ImageEncoder:
        """One that has seen nothing yet."""
        return ImageEncoder(size=self.size, mode=self.mode, scaling=self.scaling, owner=self.owner)

    def normal_rows(self, X: Any) -> NormalRows:
        """One row an image."""
        return ImageRows(X, size=self.size, mode=self.mode, owner=self.owner)

    def pieces(self, X: Any, encoder: ImageEncoder) -> Iterator[Images]:
        """As many images at a time as memory allows."""
        images = encoder.images(X)
        at_once = max(1, PIXELS_AT_ONCE // math.prod(images.shape))
        for start in range(0, len(images), at_once):
            yield images.select(np.arange(start, min(start + at_once, len(images))))

    def fresh(self, X: Any, encoder: ImageEncoder, unit: Unit) -> Iterator[Any]:
        """As any other."""
        return self.pieces(X, encoder)

    def unit(self, piece: Any) -> Unit:
        """An image."""
        return "image"

    def unit_of_rows(self, rows: NormalRows) -> Unit:
        """An image."""
        return "image"


def plain_judge(criterion: Criterion) -> Judge:
    """The judge by a criterion of the model alone."""

    def judge(member: Member, rows: Tensor) -> Floats:
        found: Floats = in_blocks(criterion, member.model, rows, member.sigma).numpy()
        return found

    return judge


def _combined(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    assert isinstance(model, NoiseConditional)
    return model.combined(x)


COMBINED = plain_judge(_combined)
RECONSTRUCTION, ENERGY = (plain_judge(CRITERIA[name]) for name in ("reconstruction", "energy"))


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
            Advice(
                "time and id are of sequences, but ",
                Argument("kind", kind),
                ": leave them out or say ",
                Argument("kind", "sequence"),
            )
        )
    if kind != "auto":
        return kind  # type: ignore[return-value]
    if is_sequence_input(X, time, id):
        return "sequence"
    return "image" if is_image_input(X) else "table"
