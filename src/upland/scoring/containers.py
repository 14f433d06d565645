"""What engines hold rows in, and the same with more columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.columns import is_one_value
from upland.io.advice import type_text

WAYS = "an Arrow table or record batch, a pandas or polars frame, or a dict of arrays"

Columns = Mapping[str, Any]
"""New columns by their names: NumPy arrays `(N,)`, of texts an Arrow array; of a dict any shape."""


class Container(ABC):
    """Rows in the user's own container: abstract.

    Args:
        data: The container, which is left as it is.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    @cached_property
    def names(self) -> list[Any]:
        """The names of the columns."""
        return self._names()

    @abstractmethod
    def _names(self) -> list[Any]:
        """The same, read once."""

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def column(self, name: Any) -> Any:
        """A column, as the container holds it."""

    @abstractmethod
    def without(self, names: Collection[Any]) -> Any:
        """The same rows without some columns."""

    @abstractmethod
    def cells(self, name: Any, rows: NDArray[np.int64]) -> Any:
        """A container of one column, with some of its cells."""

    @abstractmethod
    def added(self, columns: Columns) -> Any:
        """The same rows with columns behind, which are new."""

    @abstractmethod
    def made_of(self, table: pa.Table) -> Any:
        """A container of the same kind with other rows."""

    def with_columns(self, columns: Columns) -> Any:
        """The same rows with columns behind; those of the same names give way."""
        clash = [name for name in columns if name in self.names]
        return (container(self.without(clash)) if clash else self).added(columns)


class ArrowTable(Container):
    """An Arrow table."""

    def _names(self) -> list[str]:
        return list(self.data.schema.names)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return int(self.data.num_rows)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data.column(name)

    def without(self, names: Collection[Any]) -> Any:
        """The same rows without some columns."""
        return self.data.select([name for name in self.names if name not in names])

    def cells(self, name: Any, rows: NDArray[np.int64]) -> Any:
        """One column with some of its cells."""
        return self.data.select([name]).take(pa.array(rows, pa.int64()))

    def added(self, columns: Columns) -> Any:
        """The same rows with columns behind."""
        data = self.data
        for name, values in columns.items():
            data = data.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
        return data

    def made_of(self, table: pa.Table) -> pa.Table:
        """The table itself."""
        return table


class ArrowBatch(ArrowTable):
    """An Arrow record batch."""

    def made_of(self, table: pa.Table) -> pa.RecordBatch:
        """The rows as one batch."""
        return pa.RecordBatch.from_arrays([_one(column) for column in table.columns], schema=table.schema)


class PandasFrame(Container):
    """A frame of pandas."""

    def _names(self) -> list[Any]:
        return self.data.columns.tolist()  # type: ignore[no-any-return]

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.data)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data[name]

    def without(self, names: Collection[Any]) -> Any:
        """The same rows without some columns."""
        return self.data.drop(columns=list(names))

    def cells(self, name: Any, rows: NDArray[np.int64]) -> Any:
        """One column with some of its cells, numbered from 0."""
        return self.data[[name]].iloc[rows].reset_index(drop=True)

    def added(self, columns: Columns) -> Any:
        """The same rows, with their index, and columns behind."""
        pandas: Any = nw.dependencies.get_pandas()
        index = self.data.index
        new = {
            name: pandas.Series(values.to_pylist(), dtype="str", index=index)
            if isinstance(values, pa.Array)
            else values
            for name, values in columns.items()
        }
        return pandas.concat([self.data, pandas.DataFrame(new, index=index)], axis=1)

    def made_of(self, table: pa.Table) -> Any:
        """A frame of a table."""
        pandas: Any = nw.dependencies.get_pandas()
        return pandas.DataFrame(table.to_pandas())


class PolarsFrame(Container):
    """A frame of polars."""

    def _names(self) -> list[str]:
        return self.data.columns  # type: ignore[no-any-return]

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return int(self.data.height)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data.get_column(name)

    def without(self, names: Collection[Any]) -> Any:
        """The same rows without some columns."""
        return self.data.drop(list(names))

    def cells(self, name: Any, rows: NDArray[np.int64]) -> Any:
        """One column with some of its cells."""
        return self.data.get_column(name).gather(rows).to_frame()

    def added(self, columns: Columns) -> Any:
        """The same rows with columns behind."""
        polars: Any = nw.dependencies.get_polars()
        return self.data.hstack([polars.Series(name, values) for name, values in columns.items()])

    def made_of(self, table: pa.Table) -> Any:
        """A frame of a table."""
        polars: Any = nw.dependencies.get_polars()
        return polars.from_arrow(table)


class Arrays(Container):
    """A dict of arrays, one for each column."""

    def _names(self) -> list[Any]:
        return list(self.data)

    @property
    def n_rows(self) -> int:
        """The length of the arrays; raises ValueError where they differ."""
        lengths = {name: len(values) for name, values in self.data.items() if not is_one_value(values)}
        for name, length in lengths.items():
            if length != (first := next(iter(lengths.items())))[1]:
                text = f"{first[0]!r} has {first[1]} values, {name!r} has {length}"
                raise ValueError(f"the columns have different lengths: {text}")
        return next(iter(lengths.values()), 0)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data[name]

    def without(self, names: Collection[Any]) -> dict[Any, Any]:
        """The same arrays without some."""
        return {name: values for name, values in self.data.items() if name not in names}

    def cells(self, name: Any, rows: NDArray[np.int64]) -> dict[Any, Any]:
        """One array with some of its cells."""
        return {name: np.asarray(self.data[name])[rows]}

    def added(self, columns: Columns) -> dict[Any, Any]:
        """The same arrays and more."""
        return {**self.data, **{name: _array(values) for name, values in columns.items()}}

    def made_of(self, table: pa.Table) -> dict[str, Any]:
        """A dict of the columns of a table."""
        return {name: _array(_one(table.column(name))) for name in table.column_names}


def container(data: Any) -> Container:
    """A user's rows.

    Raises:
        TypeError: They are in no such container; the message says what is right.
    """
    if isinstance(data, pa.Table):
        return ArrowTable(data)
    if isinstance(data, pa.RecordBatch):
        return ArrowBatch(data)
    if isinstance(data, Mapping):
        return Arrays(data)
    if nw.dependencies.is_pandas_dataframe(data):
        return PandasFrame(data)
    if nw.dependencies.is_polars_dataframe(data):
        return PolarsFrame(data)
    lazy = isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame)
    advice = ": collect it, or score its batches" if lazy else ""
    raise TypeError(f"a Scorer takes {WAYS}, not {type_text(data)}{advice}")


def as_arrow(column: Any) -> pa.Array:
    """A column of any container as one Arrow array; raises `pyarrow.ArrowException` where it holds objects
    that Arrow does not know.
    """
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return _one(column)
    if nw.dependencies.is_polars_series(column):
        return _one(column.to_arrow())
    return _one(pa.array(column, from_pandas=True))


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One chunk."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _array(values: Any) -> Any:
    """A NumPy array; texts are objects."""
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else np.asarray(values)
