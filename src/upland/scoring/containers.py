"""What engines hold rows in, and the same with more columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

WAYS = "an Arrow table or record batch, a pandas or polars frame, or a dict of arrays"


class Container(ABC):
    """Rows in the user's own container: abstract.

    Args:
        data: The container, which is left as it is.
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    @property
    @abstractmethod
    def names(self) -> list[Any]:
        """The names of the columns."""

    @property
    @abstractmethod
    def n_rows(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def column(self, name: Any) -> Any:
        """A column, as the container holds it."""

    @abstractmethod
    def with_columns(self, columns: Mapping[str, Any], without: Sequence[str] = ()) -> Any:
        """The same rows with columns behind; those of the same names give way, and those to leave out."""

    def without(self, names: Sequence[str]) -> Any:
        """The same rows without some columns."""
        return self.with_columns({}, names)

    @abstractmethod
    def made_of(self, columns: Mapping[str, Any]) -> Any:
        """A container of the same kind with other rows."""


class ArrowTable(Container):
    """An Arrow table."""

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.data.schema.names)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return int(self.data.num_rows)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data.column(name)

    def with_columns(self, columns: Mapping[str, Any], without: Sequence[str] = ()) -> pa.Table:
        """The same rows with columns behind."""
        table = self.data.select([name for name in self.names if name not in (*columns, *without)])
        for name, values in columns.items():
            table = table.append_column(name, as_arrow(values))
        return table

    def made_of(self, columns: Mapping[str, Any]) -> pa.Table:
        """A table of other rows."""
        return pa.table({name: as_arrow(values) for name, values in columns.items()})


class ArrowBatch(ArrowTable):
    """An Arrow record batch."""

    def with_columns(self, columns: Mapping[str, Any], without: Sequence[str] = ()) -> pa.RecordBatch:
        """The same rows with columns behind."""
        kept = [name for name in self.names if name not in (*columns, *without)]
        arrays = [self.data.column(name) for name in kept] + [as_arrow(part) for part in columns.values()]
        return pa.RecordBatch.from_arrays(arrays, [*kept, *columns])

    def made_of(self, columns: Mapping[str, Any]) -> pa.RecordBatch:
        """A batch of other rows."""
        return pa.RecordBatch.from_pydict({name: as_arrow(values) for name, values in columns.items()})


class Frame(Container):
    """A frame in memory that narwhals reads, such as one of pandas or polars."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self._frame: Any = nw.from_native(data, eager_only=True)

    @property
    def names(self) -> list[Any]:
        """The names of the columns."""
        return list(self._frame.columns)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self._frame)

    def column(self, name: Any) -> Any:
        """A column."""
        return self._frame[name].to_native()

    def with_columns(self, columns: Mapping[str, Any], without: Sequence[str] = ()) -> Any:
        """The same rows, of pandas with their index, with columns behind."""
        kept = self._frame.drop([name for name in self.names if name in (*columns, *without)])
        return kept.with_columns(*self._series(columns)).to_native()

    def made_of(self, columns: Mapping[str, Any]) -> Any:
        """A frame of other rows."""
        series = self._series(columns)
        return series[0].to_frame().with_columns(*series[1:]).to_native()

    def _series(self, columns: Mapping[str, Any]) -> list[Any]:
        return [_series(name, values, self._frame.implementation) for name, values in columns.items()]


class Arrays(Container):
    """A dict of arrays, one for each column."""

    @property
    def names(self) -> list[Any]:
        """The names of the columns."""
        return list(self.data)

    @property
    def n_rows(self) -> int:
        """The length of the arrays; raises ValueError where they differ."""
        lengths = {name: len(values) for name, values in self.data.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the arrays of the dict differ in length: {lengths}")
        return next(iter(lengths.values()), 0)

    def column(self, name: Any) -> Any:
        """A column."""
        return self.data[name]

    def with_columns(self, columns: Mapping[str, Any], without: Sequence[str] = ()) -> dict[Any, Any]:
        """The same arrays and more."""
        kept = {name: values for name, values in self.data.items() if name not in (*columns, *without)}
        return kept | self.made_of(columns)

    def made_of(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """A dict of other arrays."""
        return {name: as_array(values) for name, values in columns.items()}


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
    if nw.dependencies.is_into_dataframe(data) and isinstance(
        nw.from_native(data, pass_through=True), nw.DataFrame
    ):
        return Frame(data)
    lazy = isinstance(nw.from_native(data, pass_through=True), nw.LazyFrame)
    advice = ": collect it, or score its batches" if lazy else ""
    raise TypeError(f"a Scorer takes {WAYS}, not a {type(data).__name__}{advice}")


def as_arrow(values: Any) -> pa.Array:
    """An Arrow array of any array."""
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.array(values)


def _series(name: str, values: Any, backend: Any) -> Any:
    """A series of an array; of texts also where there are none."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        dtype = nw.String() if pa.types.is_string(values.type) else None
        return nw.new_series(name, values.to_pylist(), dtype, backend=backend)
    return nw.new_series(name, values, backend=backend)


def as_array(values: Any) -> Any:
    """A NumPy array of any array; texts are objects."""
    return values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else np.asarray(values)
