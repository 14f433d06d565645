"""How tables are read: any frame or array, or a file batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from upland.catalogue import Unit
from upland.data.reader import Floats
from upland.data.rows import NormalRows, normal_rows
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import held
from upland.io.arrays import is_array_file, read_array
from upland.io.cells import USUAL, CellOptions
from upland.io.formats import open_source
from upland.io.places import is_place


@dataclass(frozen=True)
class TableReader:
    """Rows of a table.

    Args:
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        owner: the estimator, for messages.
        cells: how cells of text are written, and what dates are used as.
    """

    categorical: Sequence[str | int] = ()
    ignore: Sequence[str | int] = ()
    owner: str = "TableReader"
    cells: CellOptions = USUAL
    modality: ClassVar[Literal["table"]] = "table"
    units: ClassVar[tuple[Unit, ...]] = ("row",)

    def encoder(self) -> TableEncoder:
        """An encoder that has learned nothing yet."""
        return TableEncoder(
            categorical=self.categorical, ignore=self.ignore, cells=self.cells, owner=self.owner
        )

    def normal_rows(self, X: Any) -> NormalRows:
        """The rows of a table or a file."""
        return normal_rows(X, self.cells)

    def resolved(self, rows: NormalRows) -> TableReader:
        """Returns itself."""
        return self

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Each row is a block of its own."""
        return None, rows.n_rows

    def pieces(self, X: Any, encoder: TableEncoder) -> Iterator[Any]:
        """The table itself, or files batch by batch."""
        if isinstance(X, np.ndarray) or not is_place(X):
            yield held(X)
        elif is_array_file(X):
            yield read_array(Path(X))
        else:
            yield from open_source(X, self.cells).batches(encoder.schema_)

    def calibration_pieces(self, X: Any, encoder: TableEncoder, unit: Unit) -> Iterator[Any]:
        """The same as `pieces`."""
        return self.pieces(X, encoder)

    def unit(self, piece: Any) -> Unit:
        """A row."""
        return "row"

    def unit_of_rows(self, rows: NormalRows) -> Unit:
        """A row."""
        return "row"

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """The values as they are."""
        return values
