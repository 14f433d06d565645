"""The rows of a fit, in memory or in a file: by number, and each once in a new order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.frames import TableView, check_size, view_table
from upland.io.arrays import is_array_file, read_array
from upland.io.cells import USUAL, CellOptions
from upland.io.formats import open_source
from upland.io.places import is_place
from upland.io.source import Source

FILE_ROWS = 4_096
"""Rows of a file beyond memory that its digest is of."""

CELLS_IN_MEMORY = 200_000_000
"""Files of more numbers than this are left on the disk and streamed."""


class NormalRows(Protocol):
    """The normal rows of a fit, in memory or in a file."""

    @property
    def n_rows(self) -> int:
        """How many there are."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""

    @property
    def in_memory(self) -> bool:
        """Whether all rows can be taken at once."""

    def whole(self) -> Any:
        """All of them, without a copy where they are in memory."""

    def take(self, rows: NDArray[np.int64]) -> Any:
        """The rows of these sorted numbers, as a table."""

    def shuffled(self, generator: np.random.Generator, skip: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Every row but the skipped ones once, in a new order, as tables of about `size` rows."""

    def digest(self) -> str:
        """SHA-256 of their values, which tells these rows from others."""


class MemoryRows:
    """Any table that `TableEncoder` reads, as `NormalRows`.

    Args:
        X: `(N, M)` array or frame.

    Raises:
        TypeError: For data that are no table.
        ValueError: For a wrong shape.
    """

    in_memory = True

    def __init__(self, X: object) -> None:
        self._table = view_table(X)
        check_size(self._table, least=2)
        self.n_rows, self.names = self._table.n_rows, list(self._table.names)

    def whole(self) -> TableView:
        """All rows."""
        return self._table

    def take(self, rows: NDArray[np.int64]) -> TableView:
        """The rows of these numbers."""
        return self._table.take(rows)

    def shuffled(
        self, generator: np.random.Generator, skip: NDArray[np.int64], size: int
    ) -> Iterator[TableView]:
        """Every row but the skipped ones once, in a new order, as tables of `size` rows."""
        order = generator.permutation(np.setdiff1d(np.arange(self.n_rows), skip))
        for start in range(0, order.size, size):
            yield self.take(order[start : start + size])

    def digest(self) -> str:
        """SHA-256 of every value."""
        return digest_of(self._table)


class SampledRows(MemoryRows):
    """A uniform sample of normal rows that lie elsewhere; an encoder learns from all of them.

    Args:
        X: The sample, a table.
        n_all: How many rows there are.
        learn: Fits an encoder on all rows but those of the sample with these numbers.
        train: Runs a training, given with it the training rows, the generator of their order, the rows of the
            held-out loss and what shows progress; None where this process does it alone.
    """

    def __init__(
        self,
        X: object,
        n_all: int,
        learn: Callable[[Any, NDArray[np.int64]], object],
        train: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(X)
        self.n_all, self.learn, self.train = n_all, learn, train


class FileRows:
    """A file whose rows are counted, as `NormalRows`.

    Args:
        source: A file of a format that says how many rows it has, such as Parquet or Arrow.
    """

    in_memory = False

    def __init__(self, source: Source) -> None:
        self._source, self.n_rows, self.names = source, source.n_rows or 0, list(source.names)

    def whole(self) -> pa.Table:
        """All rows, read into memory."""
        return self._source.read()

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows of these sorted numbers."""
        return self._source.take(rows)

    def shuffled(
        self, generator: np.random.Generator, skip: NDArray[np.int64], size: int
    ) -> Iterator[pa.Table]:
        """Every row but the skipped ones once, in a new order."""
        return self._source.shuffled(generator, skip, size)

    def digest(self) -> str:
        """SHA-256 of some thousands of rows spread over the file."""
        some = np.linspace(0, self.n_rows - 1, num=min(self.n_rows, FILE_ROWS)).astype(np.int64)
        return digest_of(self.take(np.unique(some)))


def normal_rows(X: object, cells: CellOptions = USUAL) -> NormalRows:
    """A user's training data as rows; files are read whole unless they are too big for memory.

    Args:
        X: A table, the path of a file of rows or of one of NumPy's, or whatever else `open_source` opens.
        cells: How cells of text are written.
    """
    if not is_place(X):
        return MemoryRows(X)
    if is_array_file(X):
        return MemoryRows(read_array(Path(X)))
    source = open_source(X, cells)
    if (source.n_rows or 0) * len(source.names) <= CELLS_IN_MEMORY:
        return MemoryRows(source.read())
    return FileRows(source)


def take_rows(X: Any, rows: NDArray[np.int64]) -> Any:
    """Rows by number from an array, an Arrow table, or any frame."""
    if isinstance(X, np.ndarray):
        return X[rows]
    if isinstance(X, pa.Table):
        return X.take(pa.array(rows))
    return nw.from_native(X)[rows].to_native()


def slice_rows(X: Any, start: int, stop: int) -> Any:
    """Consecutive rows of an array, an Arrow table, or any frame; not copied where that can be."""
    if isinstance(X, np.ndarray):
        return X[start:stop]
    if isinstance(X, pa.Table):
        return X.slice(start, stop - start)
    return nw.from_native(X)[start:stop].to_native()


def digest_of(table: Any) -> str:
    """SHA-256 of a table's values, but for columns that hold no single values, which no fit uses."""
    digest = hashlib.sha256()
    view = view_table(table)
    if view.matrix is not None:
        digest.update(np.ascontiguousarray(view.matrix).tobytes())
        return digest.hexdigest()
    for position in range(len(view.names)):
        try:
            values = view.read(position)
        except (TypeError, ValueError):
            continue
        if not isinstance(values, np.ndarray) and _is_numeric(values):
            values = values.to_numpy(zero_copy_only=False)
        plain = isinstance(values, np.ndarray)
        digest.update(np.ascontiguousarray(values).tobytes() if plain else repr(values.to_pylist()).encode())
    return digest.hexdigest()


def _is_numeric(values: pa.Array) -> bool:
    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    return bool(number and not values.null_count)
