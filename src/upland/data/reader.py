"""What a detector asks of a modality of data: which encoder reads it, what can be held out, what one score is
of.

A *piece* is as much new data as is scored at once: all of it, or a batch of a file. A *unit* is what one
score is
of: a row, an image, a sequence or a time step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import Modality, Unit
from upland.data.encoder import Encoder
from upland.data.rows import NormalRows

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Reader(Protocol):
    """How the data of a modality are read, as a fit resolved it; a structural type."""

    @property
    def modality(self) -> Modality:
        """Table, sequence or image."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What one score can be of."""

    def encoder(self) -> Encoder:
        """An encoder that has learned nothing yet."""

    def normal_rows(self, X: Any) -> NormalRows:
        """The user's normal data as rows that can be held out."""

    def resolved(self, rows: Any) -> Reader:
        """The same with what "auto" came to for these normal rows."""

    def blocks(self, rows: Any) -> tuple[Indices | None, int]:
        """`(n_rows,)` numbers of blocks that are held out whole, None where each row is one; how many units
        there are in all.
        """

    def pieces(self, X: Any, encoder: Any) -> Iterator[Any]:
        """New data in pieces."""

    def calibration_pieces(self, X: Any, encoder: Any, unit: Unit) -> Iterator[Any]:
        """Normal data that calibrate such units, in pieces: cut as those that a fit holds out."""

    def unit(self, piece: Any) -> Unit:
        """What the user expects one score of."""

    def unit_of_rows(self, rows: Any) -> Unit:
        """The same of normal rows."""

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """One number a unit in the user's own arrangement."""
