"""The values of one step of a series as a table of one row, whatever holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, cast

import narwhals as nw
import numpy as np
import pyarrow as pa
import torch

from upland.data.table.frames import TableView, view_table


def one_row(x: Any) -> Any:
    """The values of one step as a table of one row.

    Args:
        x: `(D,)`, `(1, D)`, a mapping from column to value, a row of a frame, or a frame of one row.

    Raises:
        TypeError: it is nothing of these.
        ValueError: there is not exactly one step.
    """
    if type(x) is dict and x and all(type(value) is float and value == value for value in x.values()):
        return _of_numbers(x)
    table = _as_table(x)
    rows = len(table) if type(table) is np.ndarray else view_table(table).n_rows
    if rows != 1:
        raise ValueError(f"score_next takes one step at a time, got {rows}")
    return table


def _of_numbers(x: dict[Any, float]) -> TableView:
    """A row of numbers, none of which has to be looked at."""
    matrix = np.array([[*x.values()]])
    return TableView(tuple(map(str, x)), "names", 1, lambda position: matrix[:, position], matrix)


def _as_table(x: Any) -> Any:
    """A table of the values of a step, whatever holds them."""
    if type(x) is np.ndarray and x.ndim <= 2:
        return np.atleast_2d(x)
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    if isinstance(x, Mapping):
        columns = {str(name): _cells(value) for name, value in x.items()}
        return pa.table({name: pa.array(cells, from_pandas=True) for name, cells in columns.items()})
    if nw.dependencies.is_pandas_series(x) and all(isinstance(name, str) for name in x.index):
        return _as_table(dict(x))
    if isinstance(x, pa.Array | pa.ChunkedArray):
        return [x.to_pylist()]
    if nw.dependencies.is_into_series(x):
        return [nw.from_native(x, series_only=True).to_list()]
    if isinstance(x, np.ndarray | int | float | np.number):
        if np.ndim(x) > 2:
            raise ValueError(f"score_next takes one step, (D,) or (1, D), and this is {np.shape(x)}")
        return np.atleast_2d(x)
    if isinstance(x, tuple) and type(x) is not tuple:  # a named one, as `itertuples` gives
        return _as_table(dict(zip(cast(Any, x)._fields, x, strict=True)))
    if isinstance(x, list | tuple):
        if len(x) == 1 and isinstance(x[0], Mapping):
            return _as_table(x[0])
        return x if x and isinstance(x[0], list | tuple | np.ndarray) else [x]
    if x is None or isinstance(x, str | bytes | Set | Iterator):
        text = "score_next takes the values of one step, a mapping from column to value or a frame of one row"
        raise TypeError(f"{text}, got {type(x).__name__}")
    return x


def _cells(value: Any) -> Any:
    """The cells of a column: one value, or what a list of them holds."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return value if isinstance(value, list | tuple | np.ndarray) else [value]
