"""Files of rows, whatever their format, read in batches: the class that every format's reader derives from.

A file is a sequence of groups (Parquet's row groups, Arrow's record batches, all of a CSV), and a group is a
sequence of pieces of at most 65,536 rows. A reader gives the pieces of a group. Reading, taking single rows
and shuffling for training are written once on top of that, so that memory depends on the pieces and not on
the file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.io.dialect import PLAIN, Dialect
from upland.io.plain import plain_table
from upland.io.schema import Schema

PIECE = 65_536
"""Rows that are held at a time."""

POOL = 262_144
"""Rows that are shuffled together in a training pass."""


class NoRowsError(ValueError):
    """A file of rows holds none."""


class Source(ABC):
    """A file of rows.

    Args:
        path: Where it is.
        names: Its columns.
        sizes: Rows in each group; None until they are known.

    Attributes:
        nulls: Spellings of a missing cell, in a format whose cells are text without types; else empty.
        dialect: How its text is laid out.
    """

    nulls: tuple[str, ...] = ()
    dialect: Dialect = PLAIN

    def __init__(self, path: Path, names: Sequence[str], sizes: Sequence[int] | None) -> None:
        self.path = path
        self.names = list(names)
        self._sizes = None if sizes is None else list(sizes)

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None for a CSV that was not read yet."""
        return None if self._sizes is None else sum(self._sizes)

    @property
    def typed(self) -> bool:
        """Whether the file says which type each column has; text is cast to the types of a schema."""
        return not self.nulls

    @property
    def sizes(self) -> list[int] | None:
        """Rows in each group; None until they are known."""
        return self._sizes

    @property
    def types(self) -> pa.Schema | None:
        """The columns with the types that the file says, None for a file of text."""
        return None

    def pieces(self, group: int, size: int = PIECE) -> Iterator[pa.Table]:
        """The rows of one group in plain types, at most `size` at a time."""
        return map(plain_table, self._pieces(group, size))

    @abstractmethod
    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        """The rows of one group, typed, at most `size` at a time."""

    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Batches of at most `size` rows, twice: as they stand in the file, and typed for the schema. See
        `batches`.
        """
        for group in range(len(self._known_sizes())):
            for piece in self._pieces(group, size):
                yield piece, plain_table(piece)

    def batches(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[pa.Table]:
        """Batches of at most `size` rows, in the file's order and in constant memory.

        With a schema the text of an untyped file is cast to the kinds of its columns, and other columns stay
        text. Types of the file's own are left to the encoder's checks.

        Raises:
            ValueError: For a damaged file; for a cell that is not of its column's kind, with column, row and
                value.
        """
        return (typed for _, typed in self.pairs(schema, size))

    def read(self) -> pa.Table:
        """The whole file."""
        return pa.concat_tables(self._all(range(len(self._known_sizes()))))

    def take(self, rows: NDArray[np.integer[Any]]) -> pa.Table:
        """Single rows by their sorted numbers, counted from 0; reads only the groups that hold them."""
        sizes = self._known_sizes()
        rows = _checked(rows, sum(sizes))
        parts: list[pa.Table] = []
        for group, first in enumerate(np.cumsum([0, *sizes[:-1]]).tolist()):
            inside = rows[(rows >= first) & (rows < first + sizes[group])]
            if len(inside) or not parts:
                parts += [
                    piece.take(pa.array(here)) for piece, here in _meet(self.pieces(group), inside - first)
                ]
        return pa.concat_tables(parts)

    def shuffled(
        self,
        generator: np.random.Generator,
        skip: NDArray[np.integer[Any]] | None = None,
        size: int = 1024,
    ) -> Iterator[pa.Table]:
        """One training pass: every row once, but for the `skip` rows (sorted), in batches of `size` (the last
        may be smaller).

        Groups come in random order; their rows are shuffled in pools of `POOL` rows. The same generator state
        gives the same pass.
        """
        sizes = self._known_sizes()
        left_out = _checked(np.empty(0, np.int64) if skip is None else skip, sum(sizes))
        order = generator.permutation(len(sizes)).tolist()
        firsts = np.cumsum([0, *sizes[:-1]])
        rest: list[pa.Table] = []
        for pool in _pooled(self._without(order, firsts, left_out)):
            table = pa.concat_tables([*rest, pool.take(pa.array(generator.permutation(pool.num_rows)))])
            whole = table.num_rows - table.num_rows % size
            yield from (table.slice(start, size) for start in range(0, whole, size))
            rest = [table.slice(whole)]
        if rest and rest[0].num_rows:
            yield rest[0]

    def _without(
        self, order: Sequence[int], firsts: NDArray[np.integer[Any]], left_out: NDArray[np.int64]
    ) -> Iterator[pa.Table]:
        for group in order:
            start = int(firsts[group])
            for piece in self.pieces(group):
                keep = np.ones(piece.num_rows, dtype=bool)
                low, high = np.searchsorted(left_out, [start, start + piece.num_rows])
                keep[left_out[low:high] - start] = False
                start += piece.num_rows
                yield piece if keep.all() else piece.filter(pa.array(keep))

    def _all(self, groups: Iterable[int]) -> Iterator[pa.Table]:
        return (piece for group in groups for piece in self.pieces(group))

    def _known_sizes(self) -> list[int]:
        if self._sizes is None:
            self.read()
        return cast(list[int], self._sizes)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn pyarrow's errors into ones that name the file."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, what, error) from error


def damaged(path: Path, what: str, error: Exception) -> ValueError:
    """The error that says that a file cannot be read.

    Args:
        path: The file.
        what: The format that it should have.
        error: What went wrong.
    """
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{path} cannot be read as {what}, it is damaged or of another format: {first_line}")


def check_rows(source: Source) -> None:
    """Refuse a file without columns or without rows; raises ValueError."""
    if not source.names:
        raise ValueError(f"{source.path} has no columns")
    if source.n_rows == 0:
        raise NoRowsError(f"{source.path} has columns but no rows")


# -- rows by number -----------------------------------------------------------------------------------------


def _checked(rows: NDArray[np.integer[Any]], n_rows: int) -> NDArray[np.int64]:
    numbers = np.asarray(rows, dtype=np.int64)
    if numbers.ndim != 1 or np.any(np.diff(numbers) <= 0):
        raise ValueError("row numbers must be sorted and distinct")
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= n_rows):
        raise ValueError(
            f"row numbers must lie between 0 and {n_rows - 1}, got {numbers[0]} to {numbers[-1]}"
        )
    return numbers


def _meet(
    pieces: Iterable[pa.Table], rows: NDArray[np.int64]
) -> Iterator[tuple[pa.Table, NDArray[np.int64]]]:
    """Each piece with those of the rows that lie in it; the first piece always, so that even no rows have
    columns.
    """
    start = 0
    for piece in pieces:
        inside = rows[(rows >= start) & (rows < start + piece.num_rows)]
        if len(inside) or start == 0:
            yield piece, inside - start
        start += piece.num_rows
        if not len(rows) or rows[-1] < start:
            return


def _pooled(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for piece in pieces:
        held.append(piece)
        if sum(table.num_rows for table in held) >= POOL:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
