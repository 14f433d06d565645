"""Charts of values along the steps of a sequence, thinned so that a page stays small.

Steps are cut into bins of equal numbers of steps, and of each bin the least and the greatest value stay, as
real points at their own positions: no excursion is lost (Steinarsson 2013, Downsampling Time Series for
Visual Representation, section 2). Stretches that are marked stay marked however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.sequence.container import Sequences
from upland.reporting.charts import altair
from upland.reporting.page import Chart
from upland.reporting.phrases import clipped
from upland.scoring.words import cell_text

BINS = 250
"""Bins of a line; two points of each are drawn."""

MARGIN = 44
"""Pixels left of a chart, so that the axes of charts below each other are above each other."""

LEVELS = 12
"""Levels of a categorical channel that are drawn; others are one."""

HEIGHT = 110
"""Pixels of a chart of one channel."""

MOMENTS = {
    **{"year": "%Y", "quarter": "%Y-%m", "month": "%Y-%m", "week": "%m-%d", "date": "%m-%d", "day": "%m-%d"},
    **{"hours": "%H:%M", "minutes": "%H:%M", "seconds": "%H:%M:%S", "milliseconds": ".%L"},
}
"""How marks of an axis of time are written."""

MOMENT = "%Y-%m-%d %H:%M:%S"
"""How one moment is written."""

WIDE = 10
"""Scores whose greatest is this many times their median are drawn on a logarithmic scale."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Scale = Literal["time", "number", "duration", "step"]


class Positions(NamedTuple):
    """Where steps are on the axis.

    Args:
        scale: What the numbers are: milliseconds since 1970, numbers of the user's, seconds, or steps from 0.
        at: `(S,)`.
        title: Of the axis.
    """

    scale: Scale
    at: Floats
    title: str

    def word(self, step: int) -> str:
        """The position of a step in words."""
        return position_text(self.scale, float(self.at[step]))


def positions(sequences: Sequences, number: int, steps: Indices, title: str) -> Positions:
    """Where steps of one sequence are.

    Args:
        sequences: Of which one is drawn.
        number: Which.
        steps: `(K,)` their numbers in it.
        title: The name of the time column.
    """
    if sequences.stamps is None:
        return Positions("step", steps.astype(np.float64), "step")
    stamps = sequences.stamps[int(sequences.starts[number]) + steps]
    if stamps.dtype.kind == "M":
        return Positions("time", stamps.astype("M8[us]").astype(np.int64) / 1000, title)
    if stamps.dtype.kind == "m":
        return Positions("duration", stamps.astype("m8[us]").astype(np.int64) / 1e6, f"{title} (seconds)")
    return Positions("number", stamps.astype(np.float64), title)


def position_text(scale: Scale, at: float) -> str:
    """A position in words, times to the second."""
    if scale != "time":
        return f"{at:.10g}"
    try:
        moment = datetime.fromtimestamp(at / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{at:.10g} ms"
    return moment.strftime(MOMENT).removesuffix(":00")


def thinned(values: Floats, bins: int = BINS) -> Indices:
    """The numbers of the values that stay: the least and the greatest of each bin, in their order; of a bin
    without a finite value its first, so that a gap stays a gap.

    Args:
        values: `(S,)`, missing as NaN.
        bins: How many at most.
    """
    if values.size <= 2 * bins:
        return np.arange(values.size)
    starts = np.linspace(0, values.size, bins + 1).astype(np.int64)[:-1]
    number = np.repeat(np.arange(bins), np.diff(np.r_[starts, values.size]))
    there = np.isfinite(values)
    kept = [starts[~np.logical_or.reduceat(there, starts)]]
    for sign in (1.0, -1.0):
        order = np.lexsort((np.where(there, sign * values, np.inf), number))
        least = order[starts]
        kept.append(least[there[least]])
    return np.unique(np.concatenate(kept))


def stretches(firsts: Indices, lasts: Indices, length: int, bins: int = BINS) -> tuple[Indices, Indices]:
    """Marked stretches of steps, those in one bin or in touching ones made one where they are many.

    Args:
        firsts: `(E,)` first steps, ascending.
        lasts: `(E,)` last steps.
        length: Of the sequence.
        bins: How many stretches there are at most.
    """
    if firsts.size <= bins:
        return firsts, lasts
    width = max(1, -(-length // bins))
    parted = firsts[1:] // width > np.maximum.accumulate(lasts)[:-1] // width + 1
    begin = np.flatnonzero(np.r_[True, parted])
    return firsts[begin], np.maximum.reduceat(lasts, begin)


class Line(NamedTuple):
    """A line of a chart.

    Args:
        values: `(S,)` numbers, or levels as objects.
        dashed: Whether it is dashed and of another colour.
    """

    values: NDArray[Any]
    dashed: bool = False


def numeric(values: NDArray[Any]) -> Floats | None:
    """Values of a channel as numbers, dates as days since 1970; None where they are levels."""
    if values.dtype.kind in "fiub":
        return np.asarray(values, dtype=np.float64)
    if values.dtype.kind in "Mm":
        unit = "M8[s]" if values.dtype.kind == "M" else "m8[s]"
        days = values.astype(unit).astype(np.int64) / 86_400
        return np.where(np.isnat(values), np.nan, days)
    plain = [value for value in values.tolist() if value is not None]
    if all(isinstance(value, bool | int | float) for value in plain):
        return np.array([np.nan if value is None else float(value) for value in values.tolist()])
    return None


def missing_share(values: NDArray[Any]) -> float:
    """The share of values of a channel that are missing."""
    numbers = numeric(values)
    if numbers is not None:
        return float(np.isnan(numbers).mean())
    return sum(value is None for value in values.tolist()) / max(len(values), 1)


def line_chart(
    title: str,
    description: str,
    where: Positions,
    lines: Sequence[Line],
    marked: tuple[Indices, Indices],
    limit: float | None = None,
    height: int = HEIGHT,
) -> Chart:
    """Values along the steps of one sequence.

    Args:
        title: What is drawn, in a sentence.
        description: What is to be seen.
        where: The positions of the steps.
        lines: All of numbers, or all of levels.
        marked: First and last step of each flagged stretch, ascending.
        limit: A level that is drawn across.
        height: In pixels.
    """
    alt = altair()
    x = _axis(alt, where)
    columns = [numeric(line.values) for line in lines]
    numbers = [column for column in columns if column is not None]
    if len(numbers) == len(columns):
        layers, sets = _numbers(alt, x, where, lines, numbers, limit)
    else:
        layers, sets = _levels(alt, x, where, lines[0].values)
    shade, rows = _shaded(alt, x, where, marked)
    spec = alt.layer(*shade, *layers).properties(width="container", height=height).to_dict()
    spec["layer"][len(shade)]["encoding"]["x"]["scale"]["domain"] = _domain(where)  # once: all share it
    spec["datasets"] = sets | rows
    return Chart(spec, title, description)


def _numbers(
    alt: Any,
    x: Any,
    where: Positions,
    lines: Sequence[Line],
    columns: Sequence[Floats],
    limit: float | None,
) -> tuple[list[Any], dict[str, Any]]:
    joined = np.concatenate(columns)
    finite = joined[np.isfinite(joined)]
    log = limit is not None and bool(finite.size) and _spread(finite, limit)
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    if not finite.size:
        scale["domain"] = [0, 1]
    y = alt.Y(
        "v:Q",
        title=None,
        scale=scale,
        axis=alt.Axis(tickCount=4, format=".5~g", minExtent=MARGIN, grid=not log),
    )
    layers: list[Any] = []
    sets: dict[str, Any] = {}
    drawable = [bool(np.isfinite(values).any()) for values in columns]
    for number, (line, values) in enumerate(zip(lines, columns, strict=True)):
        if not drawable[number] and any(drawable):
            continue
        sets[f"line{number}"] = _points(where, values, thinned(values))
        mark: dict[str, Any] = {"style": "text", "strokeWidth": 1.2}
        mark |= {"style": "link", "strokeDash": [5, 3], "strokeWidth": 1.8} if line.dashed else {}
        if _sparse(values):
            mark["point"] = {"size": 25, "filled": True, "style": mark["style"]}
        drawn = alt.Chart(alt.NamedData(name=f"line{number}"))
        layers.insert(0, drawn.mark_line(**mark).encode(x=x, y=y))  # the first on top
    if limit is not None and np.isfinite(limit) and (limit > 0 or not log):
        sets["limit"] = [{"v": _short(limit)}]
        rule = alt.Chart(alt.NamedData(name="limit")).mark_rule(style="anomalous", strokeDash=[6, 4])
        layers.append(rule.encode(y=y))
    return layers, sets


def _spread(values: Floats, limit: float) -> bool:
    """Whether scores are drawn on a logarithmic scale."""
    middle = float(np.median(values))
    return bool(values.min() > 0 and limit > 0 and values.max() > WIDE * max(middle, limit))


def _sparse(values: Floats) -> bool:
    """Whether values stand alone between missing ones, where a line would show nothing."""
    there = np.isfinite(values)
    alone = there & ~np.r_[False, there[:-1]] & ~np.r_[there[1:], False]
    return bool(alone.any()) and values.size <= 4 * BINS


def _points(where: Positions, values: Floats, kept: Indices) -> list[dict[str, Any]]:
    return [
        {"x": _short(at, 15), "v": _short(value)}
        for at, value in zip(where.at[kept].tolist(), values[kept].tolist(), strict=True)
    ]


def _levels(alt: Any, x: Any, where: Positions, values: NDArray[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The levels of a categorical channel, each a lane."""
    words = ["missing" if value is None else clipped(cell_text(value)) for value in values.tolist()]
    names, counts = np.unique(np.array(words, dtype=object).astype(str), return_counts=True)
    common = set(names[np.argsort(-counts, kind="stable")[:LEVELS]].tolist())
    shown = [word if word in common else "other levels" for word in words]
    bins = np.arange(len(shown)) * BINS // max(len(shown), BINS)
    points: dict[tuple[str, int], int] = {}
    for step, (one, part) in enumerate(zip(shown, bins.tolist(), strict=True)):
        points.setdefault((one, part), step)
    rows = [{"x": _short(float(where.at[step]), 15), "v": one} for (one, _), step in points.items()]
    drawn = alt.Chart(alt.NamedData(name="levels")).mark_tick(thickness=2)
    axis = alt.Axis(labelLimit=110, minExtent=MARGIN)
    return [drawn.encode(x=x, y=alt.Y("v:N", title=None, axis=axis))], {"levels": rows}


def _shaded(
    alt: Any, x: Any, where: Positions, marked: tuple[Indices, Indices]
) -> tuple[list[Any], dict[str, Any]]:
    """Marked stretches: shaded, each with a line at its beginning, so that one of a single step is seen."""
    firsts, lasts = stretches(*marked, where.at.size)
    if not firsts.size:
        return [], {}
    edges = np.r_[where.at[0], (where.at[1:] + where.at[:-1]) / 2, where.at[-1]]
    rows = [
        {"x": _short(float(edges[first]), 15), "x2": _short(float(edges[last + 1]), 15)}
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)
    ]
    drawn = alt.Chart(alt.NamedData(name="flagged"))
    shade = drawn.mark_rect(style="anomalous", opacity=0.22).encode(x=x, x2="x2")
    return [shade, drawn.mark_rule(style="anomalous", opacity=0.5, size=2).encode(x=x)], {"flagged": rows}


def _axis(alt: Any, where: Positions) -> Any:
    axis = alt.Axis(grid=False, labelOverlap=True, tickCount=6, titleLimit=300)
    if where.at.size == 1 and np.isfinite(where.at[0]):
        axis["values"] = [float(where.at[0])]
    if where.scale == "time":
        axis["format"] = MOMENTS if where.at.size > 1 else MOMENT
        return alt.X("x:T", title=clipped(where.title), scale=alt.Scale(type="utc", nice=False), axis=axis)
    scale = alt.Scale(nice=False, zero=False)
    return alt.X("x:Q", title=clipped(where.title), scale=scale, axis=axis)


def _domain(where: Positions) -> list[float]:
    """From where to where the axis goes."""
    finite = where.at[np.isfinite(where.at)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return [low, high] if low < high else [low - 1, high + 1]


def _short(value: float, digits: int = 6) -> float | None:
    """A number that JSON can hold, to so many digits; None for what is not finite."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
