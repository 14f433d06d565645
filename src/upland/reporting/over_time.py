"""Flagged rows over time: the share that is flagged and the worst score, in bins of equal width.

Rows may come in any order and are more than memory holds: bins that are too many are merged, each time by the
next of `WIDTHS`, so that what is kept is bounded and does not depend on the order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.sequence.longframes import find_column, read_stamps
from upland.data.table.frames import view_table
from upland.data.table.values import Values, floats, is_text
from upland.io.cells import CellOptions
from upland.reporting.base import Batch, Floats
from upland.reporting.charts import altair, finished, rows
from upland.reporting.page import Chart, Section

MOST = 120
"""Bins at the end at most."""

SECONDS = (1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_419_200, 29_030_400, 290_304_000)
"""Widths of bins of dates, each a multiple of the one before."""

PLAIN = tuple(float(f"{digit}e{power}") for power in range(-12, 300) for digit in (1, 5))
"""The same of numbers."""


class OverTime:
    """Counts rows by time.

    Args:
        column: The name of the column that says when a row was.
        alpha: The level of the flags.
        cells: How cells of text are written.
    """

    def __init__(self, column: str, alpha: float, cells: CellOptions) -> None:
        self.column, self.alpha, self._cells = column, alpha, cells
        self.dated = False
        self._level = 0
        self._bins: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._table: Floats = np.empty((0, 3))

    def stamps(self, table: Any) -> NDArray[Any]:
        """When each row of a batch was.

        Args:
            table: As the detector reads it.

        Raises:
            ValueError: There is no such column, or it holds no times.
        """
        view = view_table(table)
        position = find_column(table, view, self.column, "time")
        assert position is not None
        values = view.read(position)
        numbers = _numbers(values)
        if numbers is not None:
            return numbers
        found = read_stamps(view, position, self._cells)
        named = isinstance(values, pa.Array | pa.ChunkedArray)
        if named and (pa.types.is_time(values.type) or (is_text(values.type) and found.dtype.kind == "m")):
            text = "holds times of day, which name no day: join them with their dates"
            raise ValueError(f"the time column {self.column!r} {text}")
        return found.astype(f"{found.dtype.str[1]}8[us]") if found.dtype.kind in "Mm" else found

    def see(self, batch: Batch, stamps: NDArray[Any]) -> None:
        """Take in a batch.

        Args:
            batch: The rows.
            stamps: When each was.
        """
        self.dated = stamps.dtype.kind == "M"
        times = stamps.astype(np.int64) / 1e6 if stamps.dtype.kind in "Mm" else stamps.astype(np.float64)
        here = np.floor(times / self._widths[self._level])
        while here.size and (here.max() - here.min() > 1e6 or np.abs(here).max() > 2.0**52):
            self._level += 1
            here = np.floor(times / self._widths[self._level])
            self._merge()
        flags = batch.p_values <= self.alpha
        values = np.stack([np.ones(len(times)), flags, batch.scores], axis=1)
        self._bins, self._table = _summed(
            np.concatenate([self._bins, here.astype(np.int64)]), np.concatenate([self._table, values])
        )
        while self._bins.size > 50 * MOST:
            self._level += 1
            self._merge()

    @property
    def _widths(self) -> tuple[float, ...]:
        return SECONDS if self.dated else PLAIN

    def _merge(self) -> None:
        """The bins, with those together that are one at the present width."""
        if self._bins.size:
            before, now = self._widths[self._level - 1], self._widths[self._level]
            times = np.round(now / before)
            self._bins, self._table = _summed(self._bins // int(times), self._table)

    def section(self) -> Section:
        """The share that is flagged and the worst score of each bin."""
        while self._bins[-1] - self._bins[0] >= MOST and self._level < len(self._widths) - 1:
            self._level += 1
            self._merge()
        width = self._widths[self._level]
        starts = self._bins * width
        counts, flagged, worst = self._table.T
        records = [
            {
                "start": start * 1000 if self.dated else start,
                "end": (start + width) * 1000 if self.dated else start + width,
                "share": share,
                "worst": score,
                "count": count,
            }
            for start, share, score, count in zip(
                starts.tolist(), (flagged / counts).tolist(), worst.tolist(), counts.tolist(), strict=True
            )
        ]
        top = int(np.argmax(flagged / counts))
        span = f"{len(records):,} bins of {self._named(width)}"
        words = (
            f"{span}. The largest share, {flagged[top] / counts[top]:.3g} of {int(counts[top]):,} rows, is "
            f"flagged in the bin from {self._when(starts[top])}. The line is at alpha = {self.alpha:g}, the "
            "share of normal rows."
        )
        worst_at = self._when(starts[int(np.argmax(worst))])
        parts = [
            self._chart(records, "share", "Share of rows that are flagged", words, ".3~%"),
            self._chart(
                records,
                "worst",
                "The highest score",
                f"{span}. The highest score is in the bin from {worst_at}.",
                ".3~s",
            ),
        ]
        return Section("Over time", parts)

    def _chart(self, records: list[dict[str, Any]], name: str, title: str, words: str, shown: str) -> Chart:
        alt = altair()
        kind = "T" if self.dated else "Q"
        scale = alt.Scale(type="utc") if self.dated else alt.Scale(zero=False, nice=False)
        clock = {"hours": "%H:%M", "minutes": "%H:%M", "seconds": "%H:%M:%S"}
        times = alt.Axis(format=clock, labelOverlap=True) if self.dated else alt.Axis()
        x = alt.X(f"start:{kind}", title=None if self.dated else "time", scale=scale, axis=times)
        axis = alt.Axis(format=shown, tickCount=4)
        y = alt.Y(
            f"{name}:Q",
            title=None,
            axis=axis,
            scale=alt.Scale(type="linear" if name == "share" else "symlog"),
        )
        base = alt.Chart(rows(records))
        if name == "share":
            chart = base.mark_bar(style="anomalous", stroke=None).encode(x=x.bin("binned"), x2="end", y=y)
            rule = alt.Chart(rows([{"level": self.alpha}])).mark_rule(style="threshold", strokeDash=[4, 3])
            chart = alt.layer(chart, rule.encode(y=alt.Y("level:Q")))
        else:
            chart = base.mark_point(style="anomalous", filled=True, size=22, opacity=1).encode(x=x, y=y)
        return finished(chart, title, words, 150)

    def _named(self, width: float) -> str:
        if not self.dated:
            return f"{width:g}"
        for seconds, word in (
            (604_800, "week"),
            (86_400, "day"),
            (3600, "hour"),
            (60, "minute"),
            (1, "second"),
        ):
            if width >= seconds:
                count = width / seconds
                return f"{count:g} {word}{'' if count == 1 else 's'}"
        return f"{width:g} seconds"

    def _when(self, start: float) -> str:
        if not self.dated:
            return f"{start:g}"
        return str(np.datetime64(int(start), "s")).replace("T", " ")


def _numbers(values: Values) -> Floats | None:
    """Text of a file as numbers; None where it is none, or where one is missing."""
    if isinstance(values, np.ndarray) or not is_text(values.type) or values.null_count:
        return None
    try:
        return floats(values.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def _summed(bins: NDArray[np.int64], table: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Rows of the same bin together: their number, the flagged ones, the highest score."""
    found, where = np.unique(bins, return_inverse=True)
    total = np.zeros((found.size, 3))
    np.add.at(total[:, :2], where, table[:, :2])
    total[:, 2] = -np.inf
    np.maximum.at(total[:, 2], where, table[:, 2])
    return found, total
