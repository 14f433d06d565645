"""Phrases that several sections use."""

from __future__ import annotations

from upland.scoring.words import one_line

LONGEST = 60
"""Characters of a name in a heading, a caption or a chart."""


def clipped(text: str) -> str:
    """A name of one line that a heading or a chart has space for."""
    line = one_line(text)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def percent(part: float) -> str:
    """A part of one in words, small ones with more digits."""
    return f"{part:.0%}" if part >= 0.0095 or part == 0 else f"{100 * part:.2g}%"


def counted(count: int, one: str) -> str:
    """A number of things: `1 step`, `1,024 steps`."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def flagged_text(flagged: int, total: int, one: str, behind: str = "") -> str:
    """How many of some things are flagged, as a sentence.

    Args:
        flagged: How many.
        total: Of how many.
        one: What one of them is called.
        behind: What else is said of those that are flagged.
    """
    if not flagged:
        return (
            f"The {one} is not flagged." if total == 1 else f"None of the {counted(total, one)} is flagged."
        )
    are = "is" if flagged == 1 else "are"
    return f"{flagged:,} of {counted(total, one)} ({flagged / total:.1%}) {are} flagged{behind}."
