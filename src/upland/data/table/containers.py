"""What holds a table and is neither an array nor a frame: dicts, records, streams of Arrow, batches; and what
holds none, refused by what it is.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from numbers import Number
from typing import Any, NamedTuple, NoReturn, Protocol, cast, runtime_checkable

import narwhals as nw
import numpy as np
import pyarrow as pa

from upland.data.arrays import from_tensor

WAYS = "a table is a 2-dimensional array, a frame, a dict of columns, a list of rows, or the path of a file"
"""What is right, for messages."""


@runtime_checkable
class ArrowStream(Protocol):
    """Whatever gives itself as a stream of Arrow batches, such as a DuckDB relation or a frame."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The stream, in a capsule."""


@runtime_checkable
class ArrowRelation(Protocol):
    """Whatever gives itself as an Arrow table or reader, such as an older DuckDB relation."""

    def arrow(self) -> Any:
        """The table or the reader."""


class Batches(NamedTuple):
    """Tables of the same columns, one after another."""

    parts: list[Any]


def is_container(X: object) -> bool:
    """Whether an object holds a table, but is no frame in memory, no array and no list of lists; many can be
    read only once.
    """
    if isinstance(X, np.ndarray):
        return bool(X.dtype.names)
    if isinstance(X, pa.Table | pa.RecordBatch | io.IOBase | type):
        return False
    if isinstance(X, list | tuple):
        return bool(X) and isinstance(X[0], Mapping)
    if isinstance(X, Mapping | Iterator | pa.RecordBatchReader | nw.LazyFrame) or _is_dataset(X):
        return True
    if nw.dependencies.is_into_series(cast(Any, X)) or nw.dependencies.is_into_dataframe(X):
        return False
    return isinstance(X, ArrowStream | ArrowRelation) or _is_lazy(X)


def contents(X: Any) -> Any:
    """What a container holds: a dict of columns, an Arrow table, `Batches`; anything else unchanged.

    Args:
        X: An iterator is read to its end.

    Raises:
        TypeError: X is something that holds no table.
        ValueError: It holds no batch.
    """
    if isinstance(X, Mapping):
        return dict(X)
    if isinstance(X, list | tuple):
        return _from_records(X) if X and isinstance(X[0], Mapping) else X
    if isinstance(X, pa.RecordBatchReader):
        return X.read_all()
    if _is_dataset(X):
        return X.to_table()
    _refuse(X)
    if isinstance(X, Iterator):
        return _from_iterator(X)
    if isinstance(X, ArrowStream):
        return pa.table(X)
    return X.arrow() if isinstance(X, ArrowRelation) else X


def no_table(X: object) -> TypeError:
    """The error for an object that holds no table."""
    return TypeError(f"{_named(X)} is no table: {WAYS}")


def _is_dataset(X: object) -> bool:
    """Whether an object is a data set of Arrow's or a scan of one."""
    module = sys.modules.get("pyarrow.dataset")
    return module is not None and isinstance(X, module.Dataset | module.Scanner)


def _is_lazy(X: Any) -> bool:
    return isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame)


def _from_records(rows: Iterable[Mapping[Any, Any]]) -> dict[Any, list[Any]]:
    """Columns from rows that name their cells; one that a row does not name is missing there."""
    rows = list(rows)
    if odd := [number for number, row in enumerate(rows) if not isinstance(row, Mapping)]:
        raise TypeError(f"row {odd[0] + 1} of the list is {_named(rows[odd[0]])}, but the first is a dict")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _from_iterator(X: Iterator[Any]) -> Any:
    """The batches of an iterator, or its rows."""
    parts = [_alone(part) for part in X]
    if not parts:
        raise ValueError(f"{_named(X)} gives no batch of rows: it is empty, or was read before")
    first = parts[0]
    if isinstance(first, Mapping):
        columns = any(np.ndim(value) for value in first.values() if not isinstance(value, str | bytes))
        return Batches(parts) if columns else _from_records(parts)
    rows = isinstance(first, list | tuple) and not (first and isinstance(first[0], list | tuple | np.ndarray))
    return parts if rows or (isinstance(first, np.ndarray) and first.ndim == 1) else Batches(parts)


def _alone(part: Any) -> Any:
    """The only array of a list, as data loaders give batches; any other batch unchanged."""
    first = from_tensor(part[0]) if isinstance(part, list | tuple) and len(part) == 1 else None
    return first if isinstance(first, np.ndarray) and first.ndim == 2 else part


def _refuse(X: object) -> None:
    """Refuse what holds no table; raises TypeError."""
    if isinstance(X, io.TextIOBase):
        _say(X, "give the path of the file, or read it: pandas.read_csv(X) makes a table of CSV text")
    if isinstance(X, io.IOBase):
        _say(X, "give the path of the file, or read it: pyarrow.csv.read_csv(X) makes a table of CSV")
    if isinstance(X, bytes | bytearray):
        _say(X, "pyarrow.csv.read_csv(io.BytesIO(X)) makes a table of CSV")
    if isinstance(X, Set):
        _say(X, "its rows have no order: list(X) makes a list of rows")
    if isinstance(X, str):
        raise TypeError(f"a text is no table: {WAYS}")
    if X is None or isinstance(X, Number | np.generic | type):
        raise no_table(X)
    if isinstance(X, pa.Array | pa.ChunkedArray):
        _one_column(X, "pyarrow.table({'x': X})")
    if nw.dependencies.is_into_series(X):
        _one_column(X, "X.to_frame()")


def _say(X: object, advice: str) -> NoReturn:
    raise TypeError(f"{_named(X)} is no table: {advice}")


def _one_column(X: object, advice: str) -> NoReturn:
    raise ValueError(
        f"Expected 2D array, got 1D array instead: {_named(X)} is one column, and {advice} makes it a table"
    )


def _named(X: object) -> str:
    """`None`, `a dict`, `an int`, `an open file`."""
    if X is None:
        return "None"
    if isinstance(X, io.IOBase) and not isinstance(X, io.StringIO | io.BytesIO):
        return "an open file"
    name = X.__name__ if isinstance(X, type) else type(X).__name__
    return f"{'the type' if isinstance(X, type) else 'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
