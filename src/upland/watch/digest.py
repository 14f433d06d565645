"""The digest of a batch, by which it is taken once: SHA-256 of a file's bytes, or of the cells of data.

Two tables have one digest where their columns have the same names, types and cells in the same order, however
they are cut into chunks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import torch

from upland.data.image.container import Images, digest
from upland.data.sequence.container import Sequences
from upland.data.table.containers import contents, is_container
from upland.data.table.frames import TableView, arrow_table

CHUNK = 1 << 20


def digest_of(X: Any) -> str:
    """The digest of data in memory, or of what is at a path: a file, or a folder with all files in it.

    Args:
        X: data as a detector takes them; what can be read only once is not among them.

    Raises:
        FileNotFoundError: X is a path, and nothing is there.
        TypeError: X holds what has no digest.
    """
    found = hashlib.sha256()
    if isinstance(X, str | os.PathLike):
        _add_path(found, Path(X))
    else:
        _add(found, X)
    return found.hexdigest()


def _add_path(found: Any, path: Path) -> None:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                _add_text(found, file.relative_to(path).as_posix())
                _add_path(found, file)
        return
    with path.open("rb") as stream:
        while part := stream.read(CHUNK):
            found.update(part)


def _add(found: Any, X: Any) -> None:
    """Data of any container, so that no two different ones are the same bytes."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, pa.RecordBatch):
        X = pa.Table.from_batches([X])
    if isinstance(X, pa.Table):
        _add_table(found, X)
    elif isinstance(X, np.ndarray) and X.dtype != object and X.dtype.names is None:
        _add_text(found, f"array {X.dtype.str} {X.shape}")
        found.update(np.ascontiguousarray(X).tobytes())
    elif isinstance(X, TableView):
        _add_table(found, arrow_table(X, X.names))
    elif isinstance(X, Sequences):
        _add(found, [X.table, X.lengths, X.ids, X.stamps])
    elif isinstance(X, Images):
        found.update(digest(X).encode())
    elif isinstance(X, Mapping):
        _add_text(found, f"mapping {len(X)}")
        for name, part in X.items():
            _add(found, name)
            _add(found, part)
    elif isinstance(X, list | tuple | np.ndarray):
        _add_text(found, f"list {len(X)}")
        for part in X:
            _add(found, part)
    else:
        _add_other(found, X)


def _add_other(found: Any, X: Any) -> None:
    """Frames, Pillow's images, and single values."""
    frame = nw.from_native(X, pass_through=True, allow_series=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.DataFrame):
        _add_table(found, frame.to_arrow())
    elif isinstance(frame, nw.Series):
        _add_table(found, pa.table({"": frame.to_arrow()}))
    elif type(X).__module__.startswith("PIL."):
        _add(found, np.asarray(X))
    elif is_container(X):
        _add(found, contents(X))
    elif X.__class__.__repr__ is object.__repr__:  # its text would be where it lies in memory
        raise TypeError(f"a {type(X).__name__} has no content that tells it from others")
    else:
        _add_text(found, f"{type(X).__name__} {X!r}")


def _add_table(found: Any, table: pa.Table) -> None:
    _add_text(found, f"table {table.num_rows} {table.num_columns}")
    for name, column in zip(table.column_names, table.columns, strict=True):
        _add_text(found, f"{name} {column.type}")
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            found.update(column.is_valid().cast(pa.uint8()).to_numpy().tobytes())
            column = column.drop_null()
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        whole = pa.table({"": column}).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, whole.schema) as stream:
            stream.write_table(whole)
        found.update(sink.getvalue())


def _add_text(found: Any, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    found.update(len(data).to_bytes(8, "little") + data)
