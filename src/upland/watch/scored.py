"""What a detector says of one batch, computed before the history is asked: it depends on the batch alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.calibration.conformal import Floats
from upland.calibration.false_discovery import benjamini_hochberg
from upland.calibration.monitor import Monitor
from upland.calibration.segments import Indices
from upland.catalogue import Unit
from upland.data.table.frames import view_table
from upland.detectors.base import Detector
from upland.detectors.monitoring import monitor_of
from upland.explanation import Explanation, ImageExplanation, SequenceExplanation, explain
from upland.groups.verdicts import GroupVerdicts
from upland.io.locks import warnings_apart
from upland.io.places import is_place
from upland.scoring.columns import texts
from upland.scoring.regions import regions
from upland.watch.batches import Batch
from upland.watch.columns import Columns, Totals
from upland.watch.decision import FlaggedRow
from upland.watch.options import WatchOptions

EXPLAINED = 5
"""Rows of a batch that have reasons at most."""
NAMED = 3
"""Reasons of a row."""


class Share(NamedTuple):
    """A column's part in the scores of the most anomalous rows.

    Args:
        column: its name.
        part: of the sum.
    """

    column: str
    part: float


@dataclass(frozen=True)
class Scored:
    """A batch with its scores.

    Args:
        unit: what one score is of.
        rows: `(N,)` the user's numbers of the rows.
        scores: `(N,)` anomaly scores.
        p: `(N,)` conformal p-values.
        values: `(N, K)` scores under each fold's member.
        segments: `(N,)` the number of each row's segment; None without segments.
        totals: of the columns.
        batch: the batch itself; None of a single step.
        verdicts: on its groups; None without groups.
        log_e_values: `(G,)` of the groups' rows, compared with the calibration alone.
        reasons: of some rows, by position.
    """

    unit: Unit
    rows: Indices
    scores: Floats
    p: Floats
    values: Floats
    segments: Indices | None
    totals: Totals
    batch: Batch | None = None
    verdicts: GroupVerdicts | None = None
    log_e_values: Floats | None = None
    reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def worst(self, count: int) -> Indices:
        """The positions of the most anomalous rows, most anomalous first."""
        order = np.lexsort((np.arange(self.p.size), -self.scores, self.p))
        return np.asarray(order[:count], dtype=np.int64)

    def flagged_rows(self, count: int) -> list[FlaggedRow]:
        """The most anomalous rows as a history holds them.

        Args:
            count: how many.
        """
        some = self.worst(count)
        parts = (self.rows[some].tolist(), self.scores[some].tolist(), self.p[some].tolist(), some.tolist())
        rows = zip(*parts, strict=True)
        return [FlaggedRow(row, score, p, self.reasons.get(at, ())) for row, score, p, at in rows]


def score_batch(
    detector: Detector, batch: Batch, columns: Columns, alpha: float, options: WatchOptions
) -> Scored:
    """What a detector says of a batch.

    Args:
        detector: fitted.
        batch: with rows.
        columns: of the detector.
        alpha: the level of single rows.
        options: of the watch.

    Raises:
        ValueError, TypeError, FloatingPointError: the data are not like those of the fit.
    """
    totals = [columns.nothing()]
    assessed, values, segments, unit = detector.assess_members(
        batch.data, lambda codes: totals.append(totals[-1].plus(columns.totals(codes)))
    )
    scores, p = assessed.anomaly_score.ravel(), assessed.p_value.ravel()
    there = np.flatnonzero(np.isfinite(p))  # behind the end of a sequence there is none
    found = Scored(
        unit=unit,
        rows=there,
        scores=scores[there],
        p=p[there],
        values=values,
        segments=segments,
        totals=totals[-1],
        batch=batch,
        verdicts=_verdicts(detector, batch, options),
    )
    if batch.of is not None:
        found = replace(found, log_e_values=_log_e_values(detector, found, batch.of, options))
    flags = found.p <= alpha
    if flags.any() and (stand_out := benjamini_hochberg(found.p, alpha)).any():
        some = found.worst(min(EXPLAINED, int(stand_out.sum())))
        found.reasons.update(_reasons(detector, found, some))
    return found


def _verdicts(detector: Detector, batch: Batch, options: WatchOptions) -> GroupVerdicts | None:
    if batch.names is None or batch.of is None:
        return None
    labels = np.array(batch.names, dtype=object)[batch.of]
    with warnings_apart():  # flags are by e-values, whatever the resolution of the p-values
        warnings.simplefilter("ignore")
        return detector.score_groups(
            batch.data, labels, options.fdr, "false_alarm", statistic=options.statistic
        )


def _log_e_values(detector: Detector, found: Scored, of: Indices, options: WatchOptions) -> Floats:
    """The log e-value of the rows of each group, as those of a batch of their own at the start."""
    begin = monitor_of(detector, options.seed, options.block, found.unit).to_arrays()
    values = []
    for number in range(int(of.max()) + 1):
        rows = np.flatnonzero(of == number)
        segments = None if found.segments is None else found.segments[rows]
        values.append(Monitor.from_arrays(begin).update(found.values[rows], segments).e_value)
    return np.array(values)


def _reasons(detector: Detector, found: Scored, some: Indices) -> dict[int, tuple[str, ...]]:
    """Reasons of rows by position."""
    explained, where = _explained(detector, found, some)
    if isinstance(explained, ImageExplanation):
        reasons = regions(explained, NAMED)
    elif isinstance(explained, Explanation) and explained.shares.ndim > 2:
        reasons = [row for of_sequence in explained.top(NAMED) for row in of_sequence]
    else:
        reasons = explained.top(NAMED)
    return {
        int(position): tuple(texts([[reason]])[0] for reason in reasons[place])
        for position, place in zip(some, where, strict=True)
    }


def _explained(detector: Detector, found: Scored, some: Indices) -> tuple[Any, Indices]:
    """The explanation of some rows, and the place of each in it."""
    assert found.batch is not None
    data = found.batch.data
    places = np.arange(some.size, dtype=np.int64)
    if detector.modality == "sequence":
        if found.unit == "sequence":
            return explain(detector, data.take(some)), places
        return explain(detector, data), found.rows[some]  # a step's score rests on its past
    if detector.modality == "image":
        return explain(detector, data.select(some)), places
    pieces = detector.plan_.reader.pieces(data, detector.encoder_)
    if not is_place(data):
        return explain(detector, view_table(next(pieces)).take(some)), places
    order, start, parts = np.sort(some), 0, []
    for piece in pieces:  # of a file, which is not held as a whole
        inside = order[(order >= start) & (order < start + piece.num_rows)] - start
        parts.append(piece.take(pa.array(inside)))
        start += piece.num_rows
    return explain(detector, pa.concat_tables(parts, promote_options="permissive")), np.searchsorted(
        order, some
    )


def shares_of_worst(detector: Detector, found: Scored, count: int = 10) -> list[Share]:
    """The part of each column in the scores of the most anomalous rows, the largest first.

    Args:
        detector: fitted.
        found: the batch; single steps have none.
        count: rows.
    """
    if found.batch is None or not found.p.size:
        return []
    some = found.worst(count)
    explained, where = _explained(detector, found, some)
    if isinstance(explained, ImageExplanation):
        return []
    if isinstance(explained, SequenceExplanation):
        shares: NDArray[Any] = explained.channels()
    else:
        shares = explained.shares.reshape(-1, len(explained.columns))[where]
    total = np.maximum(shares, 0.0).sum(axis=0)
    parts = total / max(float(total.sum()), np.finfo(float).tiny)
    found_shares = [Share(name, float(part)) for name, part in zip(explained.columns, parts, strict=True)]
    return sorted(found_shares, key=lambda share: -share.part)
