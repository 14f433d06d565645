"""The next steps of series that go on: which rows belong to which series, and in which order."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.rows import take_rows
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.longframes import in_time, read_ids, read_stamps
from upland.data.table.frames import view_table

Indices = NDArray[np.int64]


def next_steps(X: object, ids: Any, encoder: SequenceEncoder) -> Sequences:
    """The next steps of series, series after series; `ids` of it names each, None a series without an id.

    Args:
        X: steps as rows: an array `(N, D)`, or a frame, which may lack the columns of the id and the time;
            what this has given stays as it is.
        ids: of the series of each row, or of all rows; None takes the column of ids, if there is one.
        encoder: of the fit.

    Raises:
        TypeError: X is no table of values.
        ValueError: there are not as many ids as rows, or one is missing; time stamps are equal or missing; X
            is of whole sequences.
    """
    if isinstance(X, Sequences) and X.ids is not None:
        return X
    found = as_sequences(X, owner=encoder.owner, cells=encoder.table.cells)
    if found.per == "sequence":
        raise ValueError(
            "score_steps takes steps as rows, (N, D), with the series of each row in ids; these are whole "
            "sequences, which anomaly_score takes"
        )
    rows = view_table(found.table)
    places = {name: place for place, name in enumerate(rows.names)}
    codes, called = None, "the series"
    names: tuple[Hashable, ...] = (None,)
    if ids is not None:
        codes, names = _numbered(_listed(ids, rows.n_rows))
    elif str(encoder.id) in places and encoder.id is not None:
        codes, names = read_ids(rows, places[str(encoder.id)])
        called = str(encoder.id)
    timed = encoder.time is not None and str(encoder.time) in places
    stamps = read_stamps(rows, places[str(encoder.time)], encoder.table.cells) if timed else None
    steps = in_time(codes, stamps, rows.n_rows, lambda row: f"{called} {names[row]!r}")
    table = found.table if steps.order is None else take_rows(found.table, steps.order)
    return replace(
        found,
        table=table,
        lengths=steps.lengths,
        layout="frame",
        order=steps.order,
        ids=names,
        stamps=steps.stamps,
    )


def _listed(ids: Any, count: int) -> list[Hashable]:
    """An id for each row."""
    if isinstance(ids, np.ndarray | pa.Array | pa.ChunkedArray):
        ids = ids.tolist()
    elif not isinstance(ids, list | tuple) and nw.dependencies.is_into_series(ids):
        ids = nw.from_native(ids, series_only=True).to_list()
    named = list(ids) if isinstance(ids, list | tuple) else [ids] * count
    if len(named) != count:
        raise ValueError(f"there are {count} steps, but {len(named)} ids: give one for each row")
    for row, name in enumerate(named):
        if name is None or name != name:
            raise ValueError(f"ids[{row}] is missing: a step needs the id of its series")
    return named


def _numbered(ids: list[Hashable]) -> tuple[Indices, tuple[Hashable, ...]]:
    """The number of each row's series, and the ids in the order in which they first appear."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in ids], dtype=np.int64)
    return codes, tuple(numbers)
