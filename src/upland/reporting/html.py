"""A page as one HTML file that asks no other host for anything.

Everything that comes from data is text: it is escaped in elements and attributes, in the JSON of charts, and
its control characters are written out. Field names of charts are plain words, so that no name from the data
becomes a part of an expression. A Content-Security-Policy allows the scripts of the page by their digests,
styles and embedded images, and nothing from the network.

Charts are drawn as SVG in the colours that the style sheet has for the theme: marks by their `style`
(`STYLES`), categories in the order normal, anomalous, others.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from upland.io.extras import needed
from upland.reporting.page import (
    Chart,
    Facts,
    Gallery,
    Links,
    Page,
    Part,
    Picture,
    Prose,
    Section,
    Slider,
    Standing,
    Table,
)
from upland.reporting.page import Column as Column
from upland.reporting.phrases import percent
from upland.scoring.escapes import escaped
from upland.scoring.words import cell_text

LONGEST = 300
"""Characters of a cell that are shown."""

LONG = 60
"""Characters from which a cell is a sentence, which needs some width."""

SHORT = 25
"""Characters up to which a cell stays on one line."""

AT_FIRST = 25
"""Records of a table that are shown before a reader asks for all; without scripts and on paper all are."""

STYLES = ("normal", "anomalous", "threshold", "soft", "text", "link")
"""What marks of charts are called by their `style`, which gives them their colours."""

INHERITED = frozenset(
    {
        *("__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
        *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString"),
        *("toString", "valueOf"),
    }
)
"""What every object of JavaScript has: Vega, which takes cells for keys of objects, draws nothing of them."""

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BARS = 40
"""Units of height of the small picture of a column."""


def page_html(page: Page) -> str:
    """The whole file.

    Args:
        page: What it holds.

    Raises:
        ImportError: It has charts, and Altair or vl-convert is not installed.
        ValueError: A chart has a field that is no plain word.
    """
    numbered = list(enumerate(page.sections, start=1))
    body = [_header(page), _contents(numbered)]
    body += ["<main>", *(_section(section, number) for number, section in numbered), "</main>", _footer(page)]
    scripts = [_resource("page.js")]
    if any(isinstance(part, Chart) for section in page.sections for part in section.parts):
        scripts = [_vega(), *scripts]
    policy = _policy(scripts)
    head = (
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(page.title)}</title>\n<style>\n{_resource('page.css')}</style>"
    )
    ends = "\n".join(f"<script>{script}</script>" for script in scripts)
    whole = f"{''.join(body)}{ends}"
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{whole}\n</body>\n</html>\n'


def text(value: object) -> str:
    """Any text as HTML that shows it: escaped, control characters and signs of direction written out."""
    return html.escape(escaped(str(value), lines=False))


def in_script(value: Any) -> str:
    """A value as JSON that may stand in a script element, where it means the same."""
    written = json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


# -- the frame -----------------------------------------------------------------------------------------------


def _resource(name: str) -> str:
    return files("upland.reporting").joinpath(name).read_text("utf-8")


def _vega() -> str:
    """Vega with Vega-Lite of the version that Altair writes, as a script."""
    altair = needed("altair", "The report needs Altair", "report")
    bundle = needed("vl_convert", "The report needs vl-convert", "report").javascript_bundle
    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    script: str = bundle("window.vegaEmbed=vegaEmbed;", version)
    return "{" + script.replace("</script", "<\\/script").replace("<!--", "<\\!--") + "}"


def _policy(scripts: Iterable[str]) -> str:
    """What the page may do; Vega makes functions of the expressions of a chart, which are all of upland."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _header(page: Page) -> str:
    sentences = "".join(f"<p>{text(sentence)}</p>" for sentence in page.summary)
    return f'<header><h1>{text(page.title)}</h1><div class="summary">{sentences}</div></header>\n'


def _contents(sections: Sequence[tuple[int, Section]]) -> str:
    links = "".join(
        f'<li><a href="#s{number}">{text(section.title)}</a></li>' for number, section in sections
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n' if len(sections) > 1 else ""


def _footer(page: Page) -> str:
    return "<footer>" + "".join(f"<p>{text(line)}</p>" for line in page.footer) + "</footer>\n"


def _section(section: Section, number: int) -> str:
    heading = f'<h2 id="h{number}">{text(section.title)}</h2>'
    parts = "".join(
        _part(part, f"s{number}p{place}", section.title) for place, part in enumerate(section.parts, start=1)
    )
    inside = f"{heading}{parts}"
    if section.folded:
        inside = f"<details><summary>{heading}</summary>{parts}</details>"
    return f'<section id="s{number}" aria-labelledby="h{number}">{inside}</section>\n'


def _part(part: Part, name: str, title: str) -> str:
    if isinstance(part, Prose):
        heading = f"<h3>{text(part.title)}</h3>" if part.title else ""
        return heading + "".join(f"<p>{text(paragraph)}</p>" for paragraph in part.paragraphs)
    if isinstance(part, Facts):
        return _facts(part.pairs)
    if isinstance(part, Links):
        return _links(part.pages)
    if isinstance(part, Chart):
        return _chart(part, name)
    if isinstance(part, Table):
        return _table(part, name, title)
    return _gallery(part, name) if isinstance(part, Gallery) else _slider(part, name)


def _links(pages: Mapping[str, str]) -> str:
    """Names of files are quoted whole, so that none is the address of another place."""
    links = "".join(
        f'<li><a href="{quote(file, safe="")}">{text(file)}</a>: {text(words)}</li>'
        for file, words in pages.items()
    )
    return f'<ul class="links">{links}</ul>'


def _facts(pairs: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{text(key)}</dt><dd>{text(it)}</dd>" for key, it in pairs.items()) + "</dl>"


# -- charts --------------------------------------------------------------------------------------------------


def _chart(chart: Chart, name: str) -> str:
    _check_fields(chart.spec)
    spec = {key: value for key, value in chart.spec.items() if key not in ("config", "$schema")}
    return (
        f'<figure class="chart" id="{name}"><figcaption>{text(chart.title)}</figcaption>'
        f'<div class="drawing" role="img" aria-label="{text(chart.description)}" '
        f'data-spec="{name}-spec"></div>'
        f'<p class="described">{text(chart.description)}</p>'
        f'<script type="application/json" id="{name}-spec">{in_script(spec)}</script></figure>'
    )


def _check_fields(spec: Any) -> None:
    """Refuse names of fields that Vega would take for more than a name; raises ValueError."""
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            if key in ("data", "datasets"):
                continue
            if key == "field" and isinstance(value, str) and not _WORD.fullmatch(value):
                raise ValueError(f"the field {value!r} of a chart is no plain word of letters and digits")
            _check_fields(value)
    elif isinstance(spec, list | tuple):
        for value in spec:
            _check_fields(value)


def _finite(value: Any) -> Any:
    """A value for a chart: what is no number as null, control characters of texts written out, and a space
    behind the names of `INHERITED`.
    """
    if isinstance(value, Mapping):
        return {escaped(str(key)): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, str):
        word = escaped(value)
        return f"{word} " if word in INHERITED else word
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


# -- tables --------------------------------------------------------------------------------------------------


def _table(table: Table, name: str, title: str) -> str:
    heads = "".join(f'<th scope="col" data-kind="{c.kind}">{text(c.name)}</th>' for c in table.columns)
    bodies = "".join(
        _record(table, row, "later" if number >= AT_FIRST else "") for number, row in enumerate(table.rows)
    )
    note = f'<p class="note" id="{name}-note">{text(table.note)}</p>' if table.note else ""
    described = f' aria-describedby="{name}-note"' if table.note else ""
    return (
        f'<div class="table" id="{name}"><div class="scroll" role="region" tabindex="0" '
        f'aria-label="{text(title)}"><table{described}><caption>{text(title)}</caption>'
        f"<thead><tr>{heads}</tr></thead>{bodies}</table></div>{note}</div>"
    )


def _record(table: Table, row: Sequence[Any], kind: str) -> str:
    """A record as a body of its own; cells that are tuples stand line below line beside the others."""
    lines = max([len(cell) for cell in row if isinstance(cell, tuple)], default=1) or 1
    found = []
    for line in range(lines):
        cells = []
        for column, cell in zip(table.columns, row, strict=True):
            label = f' data-label="{text(column.name)}"'
            if isinstance(cell, tuple):
                cells.append(_cell(column.kind, cell[line] if line < len(cell) else None, label))
            elif line == 0:
                span = f' rowspan="{lines}"' if lines > 1 else ""
                cells.append(_cell(column.kind, cell, label + span))
        found.append(f"<tr>{''.join(cells)}</tr>")
    return f"<tbody{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{''.join(found)}</tbody>"


def _cell(kind: str, cell: Any, span: str) -> str:
    """A cell with attributes of its own; its label is shown where a narrow page has no headings."""
    if kind == "picture":
        return f"<td{span}>{'' if cell is None else _standing(cell)}</td>"
    if kind == "text":
        words = shortened("" if cell is None else str(cell))
        width = ' class="long"' if len(words) > LONG else ' class="short"' if len(words) < SHORT else ""
        return f'<td{span}{width} dir="auto">{text(words)}</td>'
    if cell is None:
        return f'<td{span} class="number"></td>'
    shown = (
        percent(cell) if kind == "percent" else cell_text(cell) if isinstance(cell, float) else f"{cell:,}"
    )
    return f'<td{span} class="number" data-value="{float(cell)!r}">{text(shown)}</td>'


def shortened(value: str, most: int = LONGEST) -> str:
    """A text of at most so many characters, with an ellipsis where it was longer.

    Args:
        value: The text.
        most: Characters.
    """
    return value if len(value) <= most else f"{value[: most - 1]}…"


def _standing(standing: Standing) -> str:
    """Bars of the normal values and a mark where the value stands; an arrow where that is outside."""
    most = max([*standing.counts, 0]) or 1
    width = 100 / max(len(standing.counts), 1)
    bars = "".join(
        f'<rect x="{10 + number * width:.4g}" y="{_BARS * (1 - count / most):.4g}" '
        f'width="{max(width - 0.6, 0.4):.4g}" height="{_BARS * count / most:.4g}"/>'
        for number, count in enumerate(standing.counts)
        if count > 0
    )
    mark = "" if standing.at is None else _mark(standing.at)
    words = text(shortened(standing.description))
    return (
        f'<svg class="standing" viewBox="0 0 120 {_BARS + 2}" role="img" aria-label="{words}">'
        f'<title>{words}</title><path class="axis" d="M10 {_BARS + 0.5}H110"/>'
        f'<g class="bars">{bars}</g>{mark}</svg>'
    )


def _mark(at: float) -> str:
    if 0 <= at <= 1:
        return f'<path class="mark" d="M{10 + 100 * at:.4g} 0V{_BARS + 2}"/>'
    x, tip = (7, 1) if at < 0 else (113, 119)
    middle = _BARS / 2
    return (
        f'<path class="mark" d="M{x} 4V{_BARS - 2}"/>'
        f'<path class="tip" d="M{x} {middle - 7}L{tip} {middle}L{x} {middle + 7}Z"/>'
    )


# -- pictures and levels -------------------------------------------------------------------------------------


def _gallery(gallery: Gallery, name: str) -> str:
    maps = any(picture.overlay is not None for picture in gallery.pictures)
    switch = (
        f'<input type="checkbox" class="switch" id="{name}-maps" checked>'
        f'<label for="{name}-maps">Show heat maps</label>'
    )
    pictures = "".join(map(_picture, gallery.pictures))
    return f'<div class="gallery">{switch if maps else ""}<div class="pictures">{pictures}</div></div>'


def _picture(picture: Picture) -> str:
    above = "" if picture.overlay is None else f'<img class="overlay" alt="" src="{_png(picture.overlay)}">'
    caption = text(shortened(picture.caption))
    return (
        f'<figure><div class="layers"><img alt="{caption}" src="{_png(picture.png)}">{above}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _png(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _slider(slider: Slider, name: str) -> str:
    """Levels as a table, which a script turns into a slider and the values at its level."""
    names = list(dict.fromkeys(key for shown in slider.shown for key in shown))
    heads = "".join(f'<th scope="col">{text(key)}</th>' for key in names)
    rows = "".join(
        f'<tr><th scope="row">{text(level)}</th>'
        + "".join(f"<td>{text(shown.get(key, ''))}</td>" for key in names)
        + "</tr>"
        for level, shown in zip(slider.levels, slider.shown, strict=True)
    )
    return (
        f'<div class="slider" id="{name}" data-start="{int(slider.start)}" data-label="{text(slider.label)}">'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(slider.label)}"><table>'
        f'<caption>{text(slider.label)}</caption><thead><tr><th scope="col">{text(slider.label)}</th>{heads}'
        f"</tr></thead><tbody>{rows}</tbody></table></div></div>"
    )
