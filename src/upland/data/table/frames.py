"""Any table a user may hold, as named columns: NumPy arrays, lists of lists, pandas, polars, Arrow and what
narwhals reads.

The messages about shapes and names follow scikit-learn's, since its users know them and its checks ask for
them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.arrays import as_cells, filled
from upland.data.table.values import Values, from_objects, plain
from upland.io.advice import Advice, Argument, Wording
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


def view_table(X: object) -> TableView:
    """A user's table as columns by position.

    Raises:
        TypeError: For a sparse matrix, a table of objects that are no values, names of mixed types.
        ValueError: For other than two dimensions, complex numbers, ragged lists, duplicate names, an Arrow
            table whose buffers are damaged.
    """
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
    return _view_array(as_cells(X))


def check_size(rows: TableView, least: int = 1) -> None:
    """Refuse a table with no columns or fewer than `least` rows; raises ValueError."""
    shape = f"(shape=({rows.n_rows}, {len(rows.names)}))"
    found, needed = "", f"while a minimum of {least} is required."
    if not rows.names:
        found, here = f"0 feature(s) {shape} while a minimum of 1 is required.", "{data} has no columns"
    elif rows.n_rows == 0:
        found, here = f"0 sample(s) {shape} {needed}", "{data} has no rows"
    elif rows.n_rows < least:
        found = f"1 sample(s) {shape}, n_samples = 1, {needed}"
        here = f"{{data}} has 1 row; at least {least} are needed"
    if found:
        raise ValueError(Advice(Wording(f"Found array with {found}", here)))


def _view_array(X: NDArray[Any]) -> TableView:
    if isinstance(X, np.ma.MaskedArray):
        X = filled(X)
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
    if X.dtype.kind == "O":
        return TableView(
            names, "none", len(X), lambda position: from_objects(X[:, position], names[position])
        )
    return TableView(
        names,
        "none",
        len(X),
        lambda position: pa.array(np.ascontiguousarray(X[:, position]), from_pandas=True),
    )


def _view_arrow(X: pa.Table) -> TableView:
    checked(X, "the table")
    names, naming = _names(X.column_names)
    return TableView(names, naming, X.num_rows, cache(lambda position: plain(X.column(position))))


def _view_frame(X: nw.DataFrame[Any]) -> TableView:
    names, naming = _names(X.columns)

    def read(position: int) -> Values:
        column = X.get_column(names[position])
        if column.dtype == nw.Object:
            return from_objects(np.array(column.to_list(), dtype=object), names[position])
        try:
            return plain(column.to_arrow())
        except (pa.ArrowException, nw.exceptions.NarwhalsError):
            raise _unsupported(names[position], column.dtype) from None

    return TableView(names, naming, len(X), cache(read))


def _view_pandas(X: Any) -> TableView:
    names, naming = _names(list(X.columns))
    dtypes = set(X.dtypes)
    if len(dtypes) == 1 and isinstance(dtype := dtypes.pop(), np.dtype) and dtype.kind in "biuf":
        matrix = X.to_numpy()
        return TableView(names, naming, len(X), lambda position: matrix[:, position], matrix)

    def read(position: int) -> Values:
        column = X.iloc[:, position]
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
            return column.to_numpy()
        if column.dtype == object:
            return from_objects(column.to_numpy(), names[position])
        if isinstance(column.dtype, np.dtype) and column.dtype.kind == "c":
            raise ValueError(f"Complex data not supported: column {names[position]!r}")
        try:
            return plain(pa.array(column, from_pandas=True))
        except (pa.ArrowException, TypeError):
            return _dense(column, names[position])

    return TableView(names, naming, len(X), cache(read))


def _dense(column: Any, name: str) -> Values:
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise _unsupported(name, column.dtype)
    return values


def _unsupported(name: str, dtype: object) -> TypeError:
    return TypeError(
        Advice(
            f"column {name!r} has the type {dtype}, which is not supported: leave it out (",
            Argument("ignore", [name]),
            ")",
        )
    )


def _names(names: Sequence[object]) -> tuple[tuple[str, ...], Naming]:
    types = sorted({"int" if isinstance(name, int | np.integer) else type(name).__name__ for name in names})
    if len(types) > 1 or (types and types[0] not in ("str", "str_", "int")):
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
