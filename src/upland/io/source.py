"""Files of rows: CSV, Parquet and Arrow behind one face, read in batches.

A file is a row of groups (Parquet's row groups, Arrow's record batches, all of a CSV), and a group is a row
of pieces of at most 65,536 rows. Reading, taking single rows and shuffling for training are written once on
top of that, so that memory depends on the pieces and not on the file. A CSV says nothing of its types: to
learn them it is read whole; against a known schema it streams.
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

from upland.io.schema import Schema

PIECE = 65_536
"""Rows that are held at a time."""

POOL = 262_144
"""Rows that are shuffled together in a training pass."""


class Source(ABC):
    """A file of rows.

    Args:
        path: Where it is.
        names: Its columns.
        sizes: Rows in each group; None until they are known.
    """

    def __init__(self, path: Path, names: Sequence[str], sizes: Sequence[int] | None) -> None:
        self.path = path
        self.names = list(names)
        self._sizes = None if sizes is None else list(sizes)

    @property
    def n_rows(self) -> int | None:
        """Number of rows; None for a CSV that was not read yet."""
        return None if self._sizes is None else sum(self._sizes)

    @abstractmethod
    def pairs(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Batches of at most `size` rows, twice: as they stand in the file, and typed for the schema. See
        `batches`.
        """

    @abstractmethod
    def _pieces(self, group: int) -> Iterator[pa.Table]:
        """The rows of one group, typed, at most `PIECE` at a time."""

    def batches(self, schema: Schema | None = None, size: int = PIECE) -> Iterator[pa.Table]:
        """Batches of at most `size` rows, in the file's order and in constant memory.

        With a schema the text of a CSV is cast to the kinds of its columns, and other columns stay the text
        they are. Parquet and Arrow have types of their own; they are left to the encoder's checks.

        Raises:
            ValueError: For a damaged file; for a cell that is not of its column's kind, with column, row and
                value.
        """
        return (typed for _, typed in self.pairs(schema, size))

    def read(self) -> pa.Table:
        """The whole file."""
        return pa.concat_tables(self._all(range(len(self._known_sizes()))))

    def take(self, rows: NDArray[np.integer[Any]]) -> pa.Table:
        """Single rows by their places in the file, counted from 0 and sorted; reads only the groups that hold
        them.
        """
        sizes = self._known_sizes()
        rows = _checked(rows, sum(sizes))
        parts: list[pa.Table] = []
        for group, first in enumerate(np.cumsum([0, *sizes[:-1]]).tolist()):
            inside = rows[(rows >= first) & (rows < first + sizes[group])]
            if len(inside) or not parts:
                parts += [
                    piece.take(pa.array(here)) for piece, here in _meet(self._pieces(group), inside - first)
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
            for piece in self._pieces(group):
                keep = np.ones(piece.num_rows, dtype=bool)
                low, high = np.searchsorted(left_out, [start, start + piece.num_rows])
                keep[left_out[low:high] - start] = False
                start += piece.num_rows
                yield piece if keep.all() else piece.filter(pa.array(keep))

    def _all(self, groups: Iterable[int]) -> Iterator[pa.Table]:
        return (piece for group in groups for piece in self._pieces(group))

    def _known_sizes(self) -> list[int]:
        if self._sizes is None:
            self.read()
        return cast(list[int], self._sizes)


def suffix_of(path: Path) -> str:
    """What a file is by its name: csv, tsv, parquet or arrow; raises ValueError for anything else."""
    name = path.name.casefold()
    kinds = {
        ".csv": "csv",
        ".csv.gz": "csv",
        ".tsv": "tsv",
        ".tsv.gz": "tsv",
        ".parquet": "parquet",
        ".pq": "parquet",
        ".arrow": "arrow",
        ".feather": "arrow",
    }
    for suffix, kind in kinds.items():
        if name.endswith(suffix):
            return kind
    raise ValueError(f"{path}: unknown kind of file; known are {', '.join(kinds)}")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn pyarrow's errors into ones that name the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} cannot be read as {what}, it is damaged or of another kind: {first_line}"
        ) from error


# -- rows by place -------------------------------------------------------------------------------------------


def _checked(rows: NDArray[np.integer[Any]], n_rows: int) -> NDArray[np.int64]:
    places = np.asarray(rows, dtype=np.int64)
    if places.ndim != 1 or np.any(np.diff(places) <= 0):
        raise ValueError("row numbers must be sorted and each be there once")
    if len(places) and (places[0] < 0 or places[-1] >= n_rows):
        raise ValueError(f"row numbers must lie between 0 and {n_rows - 1}, got {places[0]} to {places[-1]}")
    return places


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
