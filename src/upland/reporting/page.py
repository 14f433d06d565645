"""What a page holds, before it becomes HTML: sections of prose, charts, tables and pictures.

Whoever finds something out gives plain values; `upland.reporting.html` alone knows how they look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text, which is escaped.

    Args:
        paragraphs: In order.
        title: A heading above them; "" for none.
    """

    paragraphs: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values in two columns."""

    pairs: Mapping[str, str]


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        spec: Vega-Lite as Altair makes it (`Chart.to_dict()`), with its data.
        title: What it shows, in a sentence.
        description: What is to be seen in it, for those who do not see it.
    """

    spec: Mapping[str, Any]
    title: str
    description: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: The heading.
        kind: How cells are shown and sorted; a `picture` is where a value stands, see `Standing`.
    """

    name: str
    kind: Literal["text", "number", "p_value", "percent", "picture"] = "text"


@dataclass(frozen=True)
class Standing:
    """Where a value stands among normal ones of its column: a small picture.

    Args:
        counts: Normal values in each of equal parts of the range; of a categorical column, of each level.
        at: Where the value stands, from 0 to 1 of the range, outside it below or above; None is missing.
        description: The same in words.
    """

    counts: Sequence[float]
    at: float | None
    description: str


@dataclass(frozen=True)
class Table:
    """Rows that a reader sorts and filters.

    Args:
        columns: The headings.
        rows: A cell for each column; tuples in some of them stand line below line, beside the other cells.
        note: A sentence on what is not shown; "" for none.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """An image with a caption.

    Args:
        png: The bytes of a PNG file.
        caption: Below it.
        overlay: PNG bytes of a heat map of the same size, drawn above it; None for none.
    """

    png: bytes
    caption: str
    overlay: bytes | None = None


@dataclass(frozen=True)
class Gallery:
    """Images side by side."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Slider:
    """Levels that a reader moves along.

    Args:
        label: Of the slider.
        levels: What each level is called, in their order.
        shown: For each level the names and values that are shown.
        start: The number of the level shown first.
    """

    label: str
    levels: Sequence[str]
    shown: Sequence[Mapping[str, str]]
    start: int = 0


@dataclass(frozen=True)
class Links:
    """Other pages in the same folder.

    Args:
        pages: Names of files, and what is in them.
    """

    pages: Mapping[str, str]


Part = Links | Prose | Facts | Chart | Table | Gallery | Slider


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Args:
        title: The heading.
        parts: What it holds, in order.
        folded: Whether it is closed at first.
    """

    title: str
    parts: Sequence[Part]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole page.

    Args:
        title: Of the page.
        summary: Plain sentences that say what was found.
        sections: In order.
        footer: What made it, of which files.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    footer: Sequence[str] = field(default_factory=tuple)
