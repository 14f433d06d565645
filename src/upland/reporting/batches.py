"""Charts along the batches of a history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.reporting.charts import altair
from upland.reporting.page import Chart
from upland.reporting.traces import MARGIN

HEIGHT = 160
"""Pixels of a chart."""

POINTS = 60
"""Up to so many batches each is a point of its own."""


class LineOfBatches(NamedTuple):
    """A line of a chart.

    Args:
        values: `(B,)`; what is not finite is a gap.
        dotted: Whether it is dotted and pale, and a step.
    """

    values: NDArray[np.float64]
    dotted: bool = False


def batch_chart(
    title: str,
    description: str,
    batches: NDArray[np.int64],
    lines: Sequence[LineOfBatches],
    limit: float | None = None,
    marked: Sequence[int] = (),
    models: Sequence[int] = (),
    powers: bool = False,
    shares: bool = False,
    height: int = HEIGHT,
) -> Chart:
    """Values along batches.

    Args:
        title: What is drawn, in a sentence.
        description: What is to be seen.
        batches: `(B,)` numbers of the batches.
        lines: What is drawn.
        limit: A level that is drawn across.
        marked: Batches that are marked.
        models: Batches with which a new model began.
        powers: Whether the values are powers of ten.
        shares: Whether they are parts of one.
        height: In pixels.
    """
    alt = altair()
    x = alt.X(
        "x:Q",
        title="batch",
        scale=alt.Scale(nice=False, zero=False),
        axis=alt.Axis(tickMinStep=1, grid=False),
    )
    axis = alt.Axis(tickCount=5, minExtent=MARGIN, format=".3~%" if shares else ".5~g")
    if powers:
        axis = alt.Axis(
            tickCount=5, tickMinStep=1, minExtent=MARGIN, labelExpr="'10^' + format(datum.value, '.4~g')"
        )
    y = alt.Y("v:Q", title=None, axis=axis, scale=alt.Scale(zero=shares))
    layers: list[Any] = []
    sets: dict[str, Any] = {}
    for name, at, style, dash in (
        ("marked", marked, "anomalous", [1, 0]),
        ("models", models, "soft", [2, 3]),
    ):
        if at:
            sets[name] = [{"x": int(batch)} for batch in sorted(set(at))]
            rule = alt.Chart(alt.NamedData(name=name)).mark_rule(
                style=style, size=2, opacity=0.6, strokeDash=dash
            )
            layers.append(rule.encode(x=x))
    for number, line in enumerate(lines):
        sets[f"line{number}"] = [
            {"x": int(batch), "v": float(f"{value:.6g}") if np.isfinite(value) else None}
            for batch, value in zip(batches.tolist(), line.values.tolist(), strict=True)
        ]
        mark: dict[str, Any] = {"style": "text", "strokeWidth": 1.4}
        if line.dotted:
            mark = {"style": "soft", "strokeWidth": 1.4, "strokeDash": [2, 3], "interpolate": "step-before"}
        mark |= (
            {"point": {"size": 25, "filled": True, "style": "text"}}
            if batches.size <= POINTS and not line.dotted
            else {}
        )
        layers.append(alt.Chart(alt.NamedData(name=f"line{number}")).mark_line(**mark).encode(x=x, y=y))
    if limit is not None and np.isfinite(limit):
        sets["limit"] = [{"v": limit}]
        rule = alt.Chart(alt.NamedData(name="limit")).mark_rule(style="anomalous", strokeDash=[6, 4])
        layers.append(rule.encode(y=y))
    made = alt.layer(*layers).properties(width="container", height=height).to_dict()
    made["datasets"] = sets
    return Chart(made, title, description)
