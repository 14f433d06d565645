"""Any table a user may hold, as named columns: NumPy arrays, lists of rows, dicts of columns, pandas, polars,
Arrow, what narwhals reads, and batches of these.

The messages about shapes and names follow scikit-learn's, since its users know them and its checks ask for
them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.arrays import as_cells, filled
from upland.data.table.columns import (
    column_of,
    column_of_array,
    column_of_pandas,
    column_of_series,
    is_one_value,
)
from upland.data.table.containers import Batches, contents, is_container, no_table
from upland.data.table.values import Values, concatenated, plain
from upland.io.advice import Advice, Wording
from upland.io.bounds import checked
from upland.io.schema import Naming


@dataclass(frozen=True)
class TableView:
    """A table with its columns by position, converted when asked for.

    Args:
        names: One name for each column.
        naming: Whether these are the user's names, whole numbers, or absent (`none`).
        n_rows: Number of rows.
        read: Position to values.
        matrix: The whole table where it is one numeric or boolean array `(N, M)`.
    """

    names: tuple[str, ...]
    naming: Naming
    n_rows: int
    read: Callable[[int], Values]
    matrix: NDArray[Any] | None = None

    def take(self, rows: NDArray[np.integer[Any]]) -> TableView:
        """The rows of these numbers."""
        if self.matrix is not None:
            matrix = self.matrix[rows]
            return replace(self, n_rows=len(rows), read=lambda position: matrix[:, position], matrix=matrix)
        read = cache(lambda position: self.read(position).take(rows))
        return replace(self, n_rows=len(rows), read=read)


def view_table(X: object) -> TableView:
    """A user's table as columns by position.

    Raises:
        TypeError: For a sparse matrix, an object that holds no table, objects that are no values, names of
            mixed types.
        ValueError: For other than two dimensions, complex numbers, ragged lists, duplicate names, an Arrow
            table whose buffers are damaged.
    """
    if isinstance(X, TableView):
        return X
    if isinstance(X, np.ndarray):
        return _view_array(X)
    if isinstance(X, pa.RecordBatch):
        return _view_arrow(pa.Table.from_batches([X]))
    if isinstance(X, pa.Table):
        return _view_arrow(X)
    if isinstance(X, nw.DataFrame | nw.LazyFrame):
        return view_table(X.to_native())
    if nw.dependencies.is_pandas_dataframe(X):
        return _view_pandas(X)
    if "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(X):
        raise TypeError("sparse data is not supported: use X.toarray() to make it dense")
    frame = nw.from_native(cast(Any, X), pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.DataFrame):
        return _view_frame(frame)
    return _view_contents(X)


def held(X: Any) -> Any:
    """The table of a container that may be read only once, as one that can be read again; anything else
    unchanged; raises as `view_table`.
    """
    if isinstance(X, np.ndarray):
        return view_table(X) if X.dtype.names else X
    return view_table(X) if is_container(X) else X


def arrow_table(rows: TableView, names: Sequence[str]) -> pa.Table:
    """Some columns as an Arrow table, those of dictionaries without these."""
    columns = [rows.read(rows.names.index(name)) for name in names]
    arrays = [
        pa.array(column, from_pandas=True) if isinstance(column, np.ndarray) else column for column in columns
    ]
    plain = [array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in arrays]
    return pa.Table.from_arrays(plain, names=list(names))


def check_size(rows: TableView, least: int = 1) -> None:
    """Refuse a table with no columns or fewer than `least` rows; raises ValueError."""
    check_shape(rows.n_rows, len(rows.names), least)


def check_shape(n_rows: int, n_columns: int, least: int = 1) -> None:
    """The same of a table of this size."""
    shape = f"(shape=({n_rows}, {n_columns}))"
    found, needed = "", f"while a minimum of {least} is required."
    if not n_columns:
        found, here = f"0 feature(s) {shape} while a minimum of 1 is required.", "{data} has no columns"
    elif n_rows == 0:
        found, here = f"0 sample(s) {shape} {needed}", "{data} has no rows"
    elif n_rows < least:
        found = f"1 sample(s) {shape}, n_samples = 1, {needed}"
        here = f"{{data}} has 1 row; at least {least} are needed"
    if found:
        raise ValueError(Advice(Wording(f"Found array with {found}", here)))


def _view_contents(X: object) -> TableView:
    found = contents(X)
    if isinstance(found, Batches):
        return _joined([view_table(part) for part in found.parts])
    if isinstance(found, dict):
        return _view_columns(found)
    if isinstance(found, pa.Table | pa.RecordBatchReader):
        return view_table(found)
    cells = as_cells(found)
    if cells.ndim == 0 and cells.dtype == object:
        raise no_table(X)
    return _view_array(cells)


def _view_array(X: NDArray[Any]) -> TableView:
    if X.dtype.names is not None:
        return _view_columns({name: X[name] for name in X.dtype.names}, None if X.ndim == 1 else X.ndim)
    if isinstance(X, np.ma.MaskedArray | np.matrix):
        X = filled(X) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
    if X.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{X}\n")
    if X.ndim != 2:
        found = "scalar" if X.ndim == 0 else f"{X.ndim}D"
        raise ValueError(
            f"Expected 2D array, got {found} array instead. Reshape your data using array.reshape(-1, 1) "
            "if it has a single feature, array.reshape(1, -1) if it is a single sample, "
            "or array.reshape(len(array), -1) to make columns of all that belongs to a sample."
        )
    names = tuple(f"x{position}" for position in range(X.shape[1]))
    if X.dtype.kind in "biuf":
        return TableView(names, "none", len(X), lambda position: X[:, position], X)
    if X.dtype.kind in "SV":
        raise TypeError(
            f"an array of dtype {X.dtype} is not supported: argument must be a string or a number"
        )
    return TableView(
        names, "none", len(X), cache(lambda position: column_of_array(X[:, position], names[position]))
    )


def _view_columns(columns: Mapping[Any, Any], dimensions: int | None = None) -> TableView:
    """Columns by their names."""
    if dimensions is not None:
        raise ValueError(f"an array of records has one dimension, not {dimensions}: use X.ravel()")
    names, naming = _names(list(columns))
    values = list(columns.values())
    for name, column in zip(names, values, strict=True):
        if is_one_value(column):
            raise TypeError(
                f"column {name!r} is one value, {column!r}: a column is a list or an array of values"
            )
    lengths = [len(column) for column in values]
    if odd := [number for number, length in enumerate(lengths) if length != lengths[0]]:
        raise ValueError(
            f"the columns have different lengths: {names[0]!r} has {lengths[0]} values, "
            f"{names[odd[0]]!r} has {lengths[odd[0]]}"
        )
    read = cache(lambda position: column_of(values[position], names[position]))
    return TableView(names, naming, lengths[0] if lengths else 0, read)


def _joined(parts: Sequence[TableView]) -> TableView:
    """Tables of the same columns, one after another."""
    first = parts[0]
    for number, part in enumerate(parts):
        if sorted(part.names) != sorted(first.names):
            here, there = (", ".join(map(repr, names[:20])) for names in (part.names, first.names))
            raise ValueError(f"batch {number + 1} has the columns {here}, but the first has {there}")
    rows = sum(part.n_rows for part in parts)
    matrices = [part.matrix for part in parts if part.matrix is not None and part.names == first.names]
    if len(matrices) == len(parts):
        matrix = np.concatenate(matrices)
        return TableView(first.names, first.naming, rows, lambda position: matrix[:, position], matrix)

    def read(position: int) -> Values:
        name = first.names[position]
        try:
            return concatenated([part.read(part.names.index(name)) for part in parts])
        except pa.ArrowException as error:
            raise ValueError(f"column {name!r} has several types in the batches: {error}") from None

    return TableView(first.names, first.naming, rows, cache(read))


def _view_arrow(X: pa.Table) -> TableView:
    checked(X, "the table")
    names, naming = _names(X.column_names)
    return TableView(names, naming, X.num_rows, cache(lambda position: plain(X.column(position))))


def _view_frame(X: nw.DataFrame[Any]) -> TableView:
    names, naming = _names(X.columns)
    read = cache(lambda position: column_of_series(X.get_column(names[position]), names[position]))
    return TableView(names, naming, len(X), read)


def _view_pandas(X: Any) -> TableView:
    names, naming = _names(list(X.columns))
    dtypes = set(X.dtypes)
    if len(dtypes) == 1 and isinstance(dtype := dtypes.pop(), np.dtype) and dtype.kind in "biuf":
        matrix = X.to_numpy()
        return TableView(names, naming, len(X), lambda position: matrix[:, position], matrix)
    read = cache(lambda position: column_of_pandas(X.iloc[:, position], names[position]))
    return TableView(names, naming, len(X), read)


def _names(names: Sequence[object]) -> tuple[tuple[str, ...], Naming]:
    types = sorted({_type_of(name) for name in names})
    if types == ["tuple"]:
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your columns have "
            "several levels (tuples): join them, "
            "X.columns = ['_'.join(map(str, names)) for names in X.columns], or in a dict "
            "X = {'_'.join(map(str, names)): X[names] for names in X}"
        )
    if len(types) > 1 or (types and types[0] not in ("str", "int")):
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{types} as feature name / column name types. If you want feature names to be "
            "stored and validated, you must "
            "convert them all to strings, by using X.columns = X.columns.astype(str) for example."
        )
    texts = tuple(str(name) for name in names)
    if twice := sorted(name for name, count in Counter(texts).items() if count > 1):
        raise ValueError(
            f"duplicate column names: {', '.join(map(repr, twice))}; rename or drop all but one of each"
        )
    return texts, "numbers" if types == ["int"] else "names"


def _type_of(name: object) -> str:
    if isinstance(name, str):
        return "str"
    return "int" if isinstance(name, int | np.integer) else type(name).__name__
