"""The next steps of series that go on: which rows belong to which series, and in which order."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.rows import take_rows
from upland.data.sequence.clock import Codes, Floats, distance_between, distances_of, reading_of
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.longframes import check_id, find_column, in_time, read_ids, read_stamps
from upland.data.sequence.sampling import check_sampling
from upland.data.table.frames import view_table
from upland.io.advice import type_text

Indices = NDArray[np.int64]

TIME = "time"
"""Where the time stamps of the last steps of series are kept, `(n, 2)`."""


def next_steps(X: object, ids: Any, encoder: SequenceEncoder) -> Sequences:
    """The next steps of series, series after series; `ids` of it names each, None a series without an id.

    Args:
        X: steps as rows: an array `(N, D)`, or a frame, which may lack the columns of the id and the time;
            what this has given stays as it is.
        ids: of the series of each row, or of all rows; None takes the column of ids, if there is one.
        encoder: of the fit.

    Raises:
        TypeError: X is no table of values; an id is a list or another value that cannot be one.
        ValueError: there are not as many ids as rows, or one is missing; time stamps are equal, missing or of
            another kind than those of the fit; X is of whole sequences.
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
    following = replace(
        found,
        table=table,
        lengths=steps.lengths,
        layout="frame",
        order=steps.order,
        ids=names,
        stamps=steps.stamps,
    )
    if steps.stamps is not None:
        encoder.clock.check(steps.stamps, encoder.time)
        distances = distances_of(steps.stamps, steps.lengths)
        named = None if names == (None,) else names
        check_sampling(
            encoder.intervals, replace(following, distances=distances, ids=named, id=called), whole=False
        )
    return following


def next_step(
    row: Any, encoder: SequenceEncoder, times: Floats | None = None
) -> tuple[Codes, dict[str, Floats]]:
    """The codes `(1, D + C)` of the next step of a series, and its time to be kept.

    Args:
        row: a table of one row, with the time column where the model is conditioned on time.
        encoder: of the fit.
        times: `(1, 2)` of the step before; NaN or None at the start.

    Raises:
        ValueError: the time stamp is lacking, or is not after that of the step before; as
            `SequenceEncoder.transform`.
    """
    if not encoder.clock.width:
        return encoder.encoded(row, None, None), {}
    rows = view_table(row)
    at = find_column(row, rows, encoder.time, "time")
    assert at is not None
    stamp = read_stamps(rows, at, encoder.table.cells)
    encoder.clock.check(stamp, encoder.time)
    now = reading_of(stamp)
    distance = distance_between(np.full(2, np.nan) if times is None else times[0], now, stamp)
    return encoder.encoded(row, distance, stamp), {TIME: now[None]}


def continued(
    sequences: Sequences, encoder: SequenceEncoder, times: Floats | None
) -> tuple[Sequences, dict[str, Floats]]:
    """Series that go on with the distance of the first step of each, and the times of the last to be kept.

    Args:
        sequences: the next steps of N series.
        encoder: of the fit.
        times: `(N, 2)` of the steps before; NaN at the start.

    Raises:
        ValueError: there are no time stamps where there must be, or one is not after the step before.
    """
    if times is None or sequences.stamps is None:
        return sequences, {}
    stamps, distances = sequences.stamps, distances_of(sequences.stamps, sequences.lengths)
    after = times.copy()
    for n, (start, length) in enumerate(zip(sequences.starts, sequences.lengths, strict=True)):
        first = stamps[start : start + 1]
        distances[start] = distance_between(times[n], reading_of(first), first)[0]
        after[n] = reading_of(stamps[start + length - 1 : start + length])
    return replace(sequences, distances=distances), {TIME: after}


def _listed(ids: Any, count: int) -> list[Hashable]:
    """An id for each row."""
    if isinstance(ids, np.ndarray | pa.Array | pa.ChunkedArray):
        ids = ids.tolist()
    elif not isinstance(ids, list | tuple) and nw.dependencies.is_into_series(ids):
        ids = nw.from_native(ids, series_only=True).to_list()
    several = isinstance(ids, Sequence) and not isinstance(ids, str | bytes)
    if isinstance(ids, Iterable) and not several and not isinstance(ids, str | bytes):
        text = "ids must be one id, or a list with one for each row"
        raise TypeError(f"{text}, got {type_text(ids)}")
    named = list(ids) if several else [ids] * count
    if len(named) != count:
        raise ValueError(f"there are {count} steps, but {len(named)} ids: give one for each row")
    for row, name in enumerate(named):
        if name is None:
            raise ValueError(f"ids[{row}] is missing: a step needs the id of its series")
        check_id(name, row, "a step needs the id of its series")
    return named


def _numbered(ids: list[Hashable]) -> tuple[Indices, tuple[Hashable, ...]]:
    """The number of each row's series, and the ids in the order in which they first appear."""
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in ids], dtype=np.int64)
    return codes, tuple(numbers)
