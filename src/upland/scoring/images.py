"""Images of a column, in any of the ways that engines hold them."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from upland.scoring.containers import Container, as_arrow

IMAGE = "image"
"""The column that holds images."""


def images_in(rows: Container) -> Any:
    """The images of the rows as detectors of images read them: an array, or a list of the bytes or the paths
    of files or of arrays.

    Args:
        rows: The column `image` holds the bytes or the paths of image files, a struct of both as the
            library `datasets` has it, nested lists of pixels or arrays; in a dict also one array of all.

    Raises:
        ValueError: There is no such column, or a row holds no image; the message says which.
    """
    if IMAGE not in rows.names:
        raise ValueError(
            f"the model is of images, and the data have no column {IMAGE!r}: it holds the bytes or the "
            "paths of image files, or in a dict of arrays the pixels (N, H, W) or (N, H, W, C)"
        )
    column = rows.column(IMAGE)
    if isinstance(column, np.ndarray):
        return list(map(_image, column, range(len(column)))) if column.dtype.kind in "OSU" else column
    if isinstance(column, list | tuple) or _of_objects(column):
        return list(map(_image, column, range(len(column))))
    series = nw.dependencies.is_into_series(column) or isinstance(column, pa.Array | pa.ChunkedArray)
    return _in_arrow(as_arrow(column)) if series else column


def _of_objects(column: Any) -> bool:
    """Whether a column of pandas holds Python's objects."""
    return nw.dependencies.is_pandas_series(column) and column.dtype == object


def _in_arrow(column: pa.Array) -> Any:
    if isinstance(column, pa.FixedShapeTensorArray) and not column.null_count:
        return column.to_numpy_ndarray()
    leaf = column.type
    while pa.types.is_list(leaf) or pa.types.is_large_list(leaf) or pa.types.is_fixed_size_list(leaf):
        leaf = leaf.value_type
    if leaf == column.type:
        return list(map(_image, column.to_pylist(), range(len(column))))
    dtype = leaf.to_pandas_dtype()
    return [np.asarray(_image(value, number), dtype=dtype) for number, value in enumerate(column.to_pylist())]


def _image(value: Any, number: int) -> Any:
    """An image of a cell: of a struct its bytes, or its path where it has none."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None or isinstance(value, float) or type(value).__name__ == "NAType":
        raise ValueError(f"row {number + 1} of column {IMAGE!r} holds no image")
    return bytes(value) if isinstance(value, bytearray | memoryview) else value
