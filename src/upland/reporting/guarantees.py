"""What the p-values of a page guarantee and what not, and the model card, as sections."""

from __future__ import annotations

import html
import re
from pathlib import Path

from upland.detectors.scoring import ScoringDetector
from upland.reporting.base import Settings
from upland.reporting.card import Facts, model_card
from upland.reporting.page import Column, Part, Prose, Section, Table

_UNITS = {"row": "rows", "step": "steps", "sequence": "sequences", "image": "images"}
COLUMNS = 200
"""Rows of a table of the card that are shown at most."""

_IMAGINED = "model.safetensors"


def guarantee_section(detector: ScoringDetector, settings: Settings) -> Section:
    """What holds for the numbers of the page, in sentences.

    Args:
        detector: Fitted.
        settings: Of the page.
    """
    found = detector.info()["calibration"]
    units = _UNITS[found["of"]]
    lines = [
        f"P-values compare each {found['of']} with {found['rows']:,} held-out normal {units} that the model "
        f"has not been fitted on ({found['method']} conformal). Guarantee: {found['guarantee']}.",
        *([f"Segments: {found['guarantee_unseen']}."] if "guarantee_unseen" in found else []),
        f"The smallest p-value that can occur is {found['smallest_p']:.3g}: a level below it flags nothing.",
        f"At alpha = {settings.alpha:g} about {settings.alpha:.3g} of normal {units} are flagged too: a flag "
        "says unusual, not bad, and says nothing of the cause.",
        f"This holds for {units} like those of the calibration. Where normal data have changed, more are "
        "flagged; calibrate again on fresh normal data (upland calibrate).",
        "Contributing columns say what the score is made of, not what caused the anomaly; their shares, the "
        "causes and the pictures are descriptions without an error rate.",
    ]
    return Section("What is guaranteed, and what is not", [Prose(lines)])


def card_section(detector: ScoringDetector, file: Path | None, digest: str | None) -> Section:
    """The model card, folded.

    Args:
        detector: Fitted.
        file: Its model file; None where it is in memory only.
        digest: SHA-256 of that.
    """
    facts = Facts(
        type(detector).__name__ if file is None else file.stem,
        _IMAGINED if file is None else file.name,
        digest or "",
    )
    text = model_card(detector, facts).split("\n---\n", 1)[1]
    unknown = ("How to load and score", "File") if file is None else ()
    return Section("Model card", plain_parts(text, unknown), folded=True)


def plain_parts(markdown: str, without: tuple[str, ...] = ()) -> list[Part]:
    """The parts of a page for Markdown as `upland.reporting.card` writes it.

    Args:
        markdown: Headings, paragraphs, lists, tables and blocks of code.
        without: Headings of what is left out.
    """
    parts: list[Part] = []
    for block in re.split(r"\n(?=## )", markdown.strip()):
        heading, _, rest = block.partition("\n")
        title = _plain(heading.lstrip("# "))
        if title in without:
            continue
        lines: list[str] = [line for line in rest.split("\n") if line.strip() and not line.startswith("```")]
        rows = [line for line in lines if line.startswith("|")]
        prose = [_plain(line.removeprefix("- ")) for line in lines if not line.startswith("|")]
        if heading.startswith("## "):
            parts.append(Prose(prose, title))
        elif prose:
            parts.append(Prose(prose))
        if rows:
            cells = [
                [_plain(cell) for cell in _cells(row)] for row in rows if not re.fullmatch(r"[|\-]+", row)
            ]
            left = len(cells) - 1 - COLUMNS
            note = f"The first {COLUMNS} of {len(cells) - 1:,} columns." if left > 0 else ""
            parts.append(Table([Column(name) for name in cells[0]], cells[1 : COLUMNS + 1], note))
    return parts


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def _plain(markdown: str) -> str:
    """Text without its markup: no signs of code, no escapes."""
    bare = re.sub(r"(?<!\\)`", "", markdown.strip())
    return html.unescape(re.sub(r"\\([\\`*_\[\]|~#$!])", r"\1", bare))
