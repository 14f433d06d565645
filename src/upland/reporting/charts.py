"""Charts of a report, as Altair makes them.

Fields have plain names; what comes from the data stands in cells and titles only. Marks are called by the
styles of `upland.reporting.html.STYLES`, which gives them their colours. Control characters are written out
by `upland.reporting.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upland.io.extras import needed
from upland.reporting.html import shortened
from upland.reporting.page import Chart
from upland.scoring.words import one_line

HEIGHT = 220
"""Pixels of a chart; its width is that of the page."""

LONGEST = 60
"""Characters of a label."""


def altair() -> Any:
    """Altair; raises ImportError where it is not installed."""
    return needed("altair", "The report needs Altair", "report")


def label(text: str) -> str:
    """A name from the data as it stands on an axis: one line, not too long."""
    return shortened(one_line(text), LONGEST)


def unlike(names: Sequence[str]) -> list[str]:
    """Labels of names, numbered where they would be the same."""
    labels = [label(name) for name in names]
    return [
        word if labels.count(word) == 1 else f"{word} ({labels[: place + 1].count(word)})"
        for place, word in enumerate(labels)
    ]


def rows(values: Sequence[Mapping[str, Any]]) -> Any:
    """Data of a chart.

    Args:
        values: Records with plain names.
    """
    return altair().Data(values=[dict(record) for record in values])


def finished(chart: Any, title: str, description: str, height: int = HEIGHT) -> Chart:
    """A chart of a page, as wide as that.

    Args:
        chart: Of Altair, without facets.
        title: What it shows, in a sentence.
        description: What is to be seen in it.
        height: In pixels.
    """
    return Chart(chart.properties(width="container", height=height).to_dict(), title, description)
