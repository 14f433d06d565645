"""What is found of a table: rows in one pass, and what is kept of them bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector
from upland.explanation import Explanation, explain
from upland.groups.labels import listed
from upland.io.threads import read_ahead
from upland.reporting.alarms import AlarmsSeen
from upland.reporting.base import Batch, Floats, Found, Indices, Settings
from upland.reporting.causes import REASONS, Cause, Flagged, causes_of, causes_section, sentence
from upland.reporting.groups import groups_section, said_of
from upland.reporting.over_time import OverTime
from upland.reporting.phrases import about
from upland.reporting.rows import batches, joined, taken
from upland.reporting.scores import DISCOVERY, ScoreCounter
from upland.reporting.standings import normal_columns
from upland.reporting.strangest import columns_section, strangest_section
from upland.scoring.words import label_text

GROUPED = 2_000
"""Flagged rows that are grouped by cause at most."""

CELLS = 2_000_000
"""Cells of rows that are kept at most, of more than are shown."""

SHARES_AT_ONCE = 4_000_000
"""Cells that are explained at a time."""


class Worst:
    """The rows with the highest scores so far, with their cells; of equals, the earlier row.

    Args:
        size: How many.
        columns: Those that are kept.
    """

    def __init__(self, size: int, columns: list[str]) -> None:
        self.size, self.columns = size, columns
        self.scores: Floats = np.empty(0)
        self.p_values: Floats = np.empty(0)
        self.numbers: Indices = np.empty(0, dtype=np.int64)
        self.times: NDArray[Any] | None = None
        self.table: Any = None

    def see(self, batch: Batch, times: NDArray[Any] | None) -> None:
        """Take in a batch.

        Args:
            batch: The rows.
            times: When each was, if that is known.
        """
        least = self.scores[-1] if self.scores.size == self.size else -np.inf
        here = np.flatnonzero(batch.scores > least)
        if not here.size and self.table is not None:
            return
        here = here[np.argsort(-batch.scores[here], kind="stable")[: self.size]]
        scores = np.concatenate([self.scores, batch.scores[here]])
        keep = np.argsort(-scores, kind="stable")[: self.size]
        new = taken(batch.table, here, self.columns)
        rows = new if self.table is None else joined([self.table, new])
        self.table = rows.take(pa.array(keep) if isinstance(rows, pa.Table) else keep)
        self.p_values = np.concatenate([self.p_values, batch.p_values[here]])[keep]
        self.numbers = np.concatenate([self.numbers, batch.first + here])[keep]
        self.scores = scores[keep]
        if times is not None:
            self.times = np.concatenate([times[:0] if self.times is None else self.times, times[here]])[keep]


def found_in_table(detector: ScoringDetector, data: Any, settings: Settings) -> Found:
    """What is found of the rows of a table.

    Args:
        detector: Fitted on a table.
        data: An array, a frame, or the path of a file or several.
        settings: Of the page.

    Raises:
        ValueError, TypeError, OSError: The data cannot be used; the message says why.
    """
    detector.check_alpha(settings.alpha)
    encoder = detector.encoder_
    assert isinstance(encoder, TableEncoder)
    names = encoder.column_names
    by = [detector.by_] if isinstance(detector, SegmentedDetector) else []
    worst = Worst(max(settings.top, min(GROUPED, CELLS // len(names))), list(dict.fromkeys([*names, *by])))
    scores = ScoreCounter(detector, settings)
    alarms = AlarmsSeen(detector, "row", settings.time is not None)
    over_time = None if settings.time is None else OverTime(settings.time, settings.alpha, encoder.cells)
    with read_ahead(batches(detector, data)) as tables:
        for table in tables:
            (of_rows, p_values), values, segments, _ = detector.assess_members(table)
            batch = Batch(scores.count, table, of_rows, p_values)
            times = None if over_time is None else over_time.stamps(table)
            if over_time is not None and times is not None:
                over_time.see(batch, times)
            worst.see(batch, times)
            scores.see(of_rows, p_values, values, segments)
            alarms.see(p_values, times, segments)
    if not scores.count:
        raise ValueError(f"{settings.data_name} has no rows: there is nothing to report")
    return alarms.beside(_found(detector, data, settings, worst, scores, over_time))


def _found(
    detector: ScoringDetector,
    data: Any,
    settings: Settings,
    worst: Worst,
    scores: ScoreCounter,
    over_time: OverTime | None,
) -> Found:
    normal = normal_columns(detector)
    names = tuple(normal)
    kept, parts = _explained(detector, worst, names)
    flagged = [row for row in kept if row.p_value <= settings.alpha]
    causes = causes_of(flagged, normal, settings.alpha)
    sections = [causes_section(causes, normal, scores.flagged)]
    sections += [] if over_time is None else [over_time.section()]
    verdicts = None
    if settings.by:
        section, verdicts = groups_section(detector, data, settings)
        sections.append(section)
    sections.append(strangest_section(kept[: settings.top], normal, settings.alpha, scores.count))
    some = np.array([row.p_value <= settings.alpha for row in kept], dtype=bool)
    what = "the flagged rows" if some.all() or len(flagged) == scores.flagged else "the most anomalous rows"
    if not some.any():
        some[: settings.top], what = (
            True,
            f"the {min(settings.top, len(kept)):,} highest scores, none flagged",
        )
    sections += [columns_section(names, parts[some].mean(axis=0), what), scores.section()]
    facts: dict[str, Any] = {
        "causes": [{"cause": sentence(cause, normal), "rows": len(cause.rows)} for cause in causes[:20]],
        "discoveries": scores.discoveries(),
    }
    groups = [] if verdicts is None else [said_of(verdicts, settings)]
    if verdicts is not None:
        facts["groups"] = len(verdicts.group)
        facts["flagged_groups"] = int(verdicts.flag.sum())
    summary = _summary(settings, scores, causes, _sentence(causes, normal))
    return Found("row", scores.count, scores.flagged, [*summary[:1], *groups, *summary[1:]], sections, facts)


def _sentence(causes: list[Cause], normal: Any) -> str:
    return sentence(causes[0], normal) if causes else ""


def _summary(settings: Settings, scores: ScoreCounter, causes: list[Cause], first: str) -> list[str]:
    """Three plain sentences: how many, how sure, why."""
    count, flagged, alpha = scores.count, scores.flagged, settings.alpha
    rows = f"{count:,} row{'' if count == 1 else 's'} in {settings.data_name}"
    expected = about(alpha * count)
    sentences = [
        f"{flagged:,} of {rows} {'is' if flagged == 1 else 'are'} flagged as anomalous at a false-alarm rate "
        f"of {alpha:g}; if all were normal, about {expected} would be."
    ]
    found = scores.discoveries()
    kept = f"{found:,} {'row is' if found == 1 else 'rows are'}" if found else "no row is"
    sentences.append(
        f"Where at most {DISCOVERY:.0%} of the flags may be false alarms on average, {kept} flagged"
        + ("." if found else f": {scores.size:,} calibration rows say no more.")
    )
    if causes:
        more = f" There are {len(causes):,} causes in all." if len(causes) > 1 else ""
        sentences.append(f"The first cause: {first}{more}")
    else:
        sentences.append("No row is flagged, so that no cause is named.")
    return sentences


def _explained(
    detector: ScoringDetector, worst: Worst, names: tuple[str, ...]
) -> tuple[list[Flagged], Floats]:
    """The kept rows with their contributing columns, and the part of each column in each, `(N, C)`."""
    found: list[Flagged] = []
    parts = []
    segments: list[Any] | None = None
    if isinstance(detector, SegmentedDetector):
        view = view_table(worst.table)
        segments = listed(view.read(view.names.index(detector.by_)))
    size = max(SHARES_AT_ONCE // len(names), 1)
    for start in range(0, worst.scores.size, size):
        here = np.arange(start, min(start + size, worst.scores.size))
        some = worst.table.take(pa.array(here) if isinstance(worst.table, pa.Table) else here)
        explanation = explain(detector, some)
        assert isinstance(explanation, Explanation)
        shares = np.clip(explanation.shares, 0, None)
        parts.append(shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(float).tiny))
        for number, reasons in zip(here.tolist(), explanation.top(REASONS), strict=True):
            time = None if worst.times is None else worst.times[number]
            score, p = float(worst.scores[number]), float(worst.p_values[number])
            segment = None if segments is None else label_text(segments[number])
            found.append(Flagged(int(worst.numbers[number]), score, p, reasons, time, segment))
    return found, np.concatenate(parts)
