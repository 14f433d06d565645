"""A batch as the detector takes it, and what its rows say beside the features: their groups and their times.

A file of rows is read once, into one table; of one that takes more than `WHOLE` bytes only groups and times
are kept, and the detector reads it again piece by piece. Sequences and images have no columns: their groups
are given as labels.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upland.calibration.conformal import Floats
from upland.calibration.segments import Indices
from upland.data.image.container import Images
from upland.data.image.feature_encoder import pixel_encoder
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.frames import TableView, arrow_table, view_table
from upland.detectors.base import Detector
from upland.detectors.segmented import SegmentedDetector
from upland.detectors.sequence_flow import SequenceFlowDetector, step_labels
from upland.groups.labels import grouped, labels_by
from upland.io.advice import Advice, Argument
from upland.io.arrays import is_array_file
from upland.io.formats import blanks_at
from upland.io.places import is_place
from upland.io.source import NoRowsError
from upland.scoring.containers import as_arrow, container

WHOLE = 1 << 28
"""Bytes of rows that are held at once."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Batch:
    """A batch, read.

    Args:
        data: as the detector takes it.
        names: `(G,)` of its groups, in order of first appearance; None without groups.
        of: `(N,)` the number of each row's group.
        moments: `(N,)` seconds since 1970 of the rows; None without times.
        kept: the rows as a table, where they are to be kept.
    """

    data: Any
    names: tuple[str, ...] | None = None
    of: Indices | None = None
    moments: Floats | None = None
    kept: pa.Table | None = None


@dataclass(frozen=True)
class BatchReader:
    """How batches are read.

    Args:
        by: the column of the groups.
        time: the column of the times.
        keep: whether rows are kept.
    """

    by: str | None
    time: str | None
    keep: bool

    def read(self, detector: Detector, X: Any, groups: Any = None) -> Batch | None:
        """A batch; None where it has no rows.

        Args:
            detector: fitted.
            X: data like those of the fit; or the path of a file.
            groups: `(N,)` the group of each, where the data have no column of them.

        Raises:
            ValueError, TypeError: the data are not like those of the fit, or lack a column.
        """
        if _is_empty(X):
            return None
        try:
            return self._read(detector, X, groups)
        except NoRowsError:
            return None

    def _read(self, detector: Detector, X: Any, groups: Any) -> Batch | None:
        if detector.modality == "table":
            return self._of_table(detector, X, groups)
        encoder = detector.encoder_
        moments = None
        data: Sequences | Images
        if isinstance(encoder, SequenceEncoder):
            data = as_sequences(
                X, id=encoder.id, time=encoder.time, owner=encoder.owner, cells=encoder.table.cells
            )
            moments = None if self.time is None else _of_steps(data)
        else:
            data = pixel_encoder(encoder).images(X)
            if self.time is not None:
                raise ValueError(Advice("images have no times: leave ", Argument("every"), " out"))
        if self.by is not None and groups is None:
            groups = _labels_of_steps(detector, data, self.by)
        names, of = (None, None) if groups is None else _named(groups, None)
        return Batch(data, names, of, moments)

    def _of_table(self, detector: Detector, X: Any, groups: Any) -> Batch | None:
        whole, rows, is_large = self._whole(detector, X)
        if not rows:
            return None
        asked = self.by is not None or isinstance(detector, SegmentedDetector)
        blanks = blanks_at(X) if asked and is_place(X) and not is_array_file(X) else ()
        names = of = moments = None
        if groups is None and self.by is not None:
            features = [used["name"] for used in detector.encoder_.describe()]
            groups = labels_by(whole, (self.by,), features, blanks)
        if groups is not None:
            names, of = _named(groups, rows)
        if self.time is not None:
            moments = seconds(_column(whole, self.time), self.time)
        kept = _as_table(whole) if self.keep else None
        exact = blanks and isinstance(detector, SegmentedDetector)  # blank names of segments
        return Batch(X if exact or is_large else whole, names, of, moments, kept)

    def _whole(self, detector: Detector, X: Any) -> tuple[Any, int, bool]:
        """The rows in one piece, how many they are, and whether only groups and times are kept of them."""
        parts: list[Any] = []
        rows = size = 0
        may_be_large = is_place(X) and not is_array_file(X) and not self.keep
        for piece in detector.plan_.reader.pieces(X, detector.encoder_):
            rows += view_table(piece).n_rows
            size += piece.nbytes if may_be_large else 0
            parts.append(piece)
            if size > WHOLE:
                parts = [
                    part.select([n for n in part.column_names if n in (self.by, self.time)]) for part in parts
                ]
        whole = parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")
        return whole, rows, size > WHOLE


def _named(groups: Any, rows: int | None) -> tuple[tuple[str, ...], Indices]:
    names, of = grouped(groups, len(groups) if rows is None else rows)
    return tuple(map(str, names)), of


def _labels_of_steps(detector: Detector, data: Sequences | Images, by: str) -> Any:
    """The group of each time step by a column; raises ValueError where data have none, or no groups of
    steps are tested.
    """
    if not isinstance(data, Sequences) or data.layout != "frame" or detector.unit_ != "step":
        raise ValueError("the data have no columns: give groups=..., one label for each")
    if not isinstance(detector, SequenceFlowDetector):
        raise ValueError(
            "groups of time steps are tested by a SequenceFlowDetector alone: the scores of other models "
            "depend on those of the steps before"
        )
    assert isinstance(detector.encoder_, SequenceEncoder)
    return step_labels(detector.encoder_, data, (by,))


def _is_empty(X: Any) -> bool:
    """Whether data in memory have no rows at all, of which nothing can be said."""
    if isinstance(X, np.ndarray | list | tuple):
        return len(X) == 0
    if isinstance(X, TableView):
        return X.n_rows == 0
    if isinstance(X, Sequences) or is_place(X):
        return False
    try:
        return container(X).n_rows == 0
    except TypeError:
        return False


def _column(table: Any, name: str) -> pa.Array:
    view = view_table(table)
    if view.naming == "none" or name not in view.names:
        there = ", ".join(map(repr, view.names[:8])) if view.naming != "none" else "no names"
        raise ValueError(f"there is no column {name!r} of times; the table has {there}")
    if isinstance(table, pa.Table):
        return as_arrow(table.column(name))
    return as_arrow(arrow_table(view, [name]).column(0))


def _as_table(table: Any) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    view = view_table(table)
    if view.naming == "none":
        text = "rows without names of columns cannot be kept: leave "
        raise ValueError(Advice(text, Argument("keep_rows"), " out"))
    return arrow_table(view, view.names)


def seconds(cells: pa.Array, name: str) -> Floats:
    """Times as seconds since 1970, UTC: `(N,)`.

    Args:
        cells: dates, time stamps, texts of either by ISO 8601, or numbers, which are such seconds.
        name: of the column, for messages.

    Raises:
        ValueError: a cell holds no time; its row is named.
    """
    if cells.null_count:
        row = int(np.argmax(~cells.is_valid().to_numpy(zero_copy_only=False)))
        raise ValueError(f"column {name!r}: row {row} has no time")
    kind = cells.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = cells.cast(pa.float64()).to_numpy()
        if not np.isfinite(found).all():
            raise ValueError(f"column {name!r}: row {int(np.argmin(np.isfinite(found)))} has no time")
        return np.asarray(found, dtype=np.float64)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text:
        with suppress(pa.ArrowException):  # seconds in a file of text
            return seconds(cells.cast(pa.float64()), name)
    for wanted in (pa.timestamp("us"), pa.timestamp("us", "UTC")) if text else (pa.timestamp("us"),):
        try:
            stamps = cells.cast(wanted, safe=False).cast(pa.int64())
            return np.asarray(pc.divide(stamps.cast(pa.float64()), 1e6).to_numpy(), dtype=np.float64)
        except pa.ArrowException:
            continue
    raise ValueError(
        f"column {name!r} holds {kind}, which are no times: dates and times like 2026-01-31 08:30:00 are "
        "read, and numbers as seconds since 1970"
    )


def _of_steps(data: Sequences) -> Floats:
    if data.stamps is None:
        raise ValueError(Advice("the steps have no times: leave ", Argument("every"), " out"))
    stamps = data.stamps
    if stamps.dtype.kind in "mM":
        unit = "datetime64[us]" if stamps.dtype.kind == "M" else "timedelta64[us]"
        return stamps.astype(unit).astype(np.int64) / 1e6
    return np.asarray(stamps, dtype=np.float64)


def width_of(every: str) -> float:
    """The seconds of a width such as "15min", "1h" or "7d".

    Args:
        every: a number and one of s, min, h, d, w.

    Raises:
        ValueError: it is nothing of the kind.

    Examples:
        >>> width_of("90min")
        5400.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d|w)", every) if isinstance(every, str) else None
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"every is a number above 0 and one of s, min, h, d, w, such as '1h', not {every!r}")
    return float(found[1]) * _SECONDS[found[2]]
