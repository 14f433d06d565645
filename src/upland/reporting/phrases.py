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
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}{'es' if one.endswith('ch') else 's'}"


def about(number: float) -> str:
    """A number in words, to three digits or whole."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def most_of(count: int, one: str) -> str:
    """The first of some things that are sorted: `the worst episode`, `the 8 worst episodes`."""
    return f"the worst {one}" if count == 1 else f"the {count:,} worst {one}s"


def flagged_text(flagged: int, total: int, one: str, alpha: float, behind: str = "") -> str:
    """How many of some things are flagged, as a sentence.

    Args:
        flagged: How many.
        total: Of how many.
        one: What one of them is called.
        alpha: The false-alarm rate.
        behind: What else is said of those that are flagged.
    """
    rate = f"at a false-alarm rate of {alpha:g}"
    usual = f"if all were normal, about {about(alpha * total)} would be."
    if not flagged:
        none = f"The {one} is not" if total == 1 else f"None of the {counted(total, one)} is"
        return f"{none} flagged {rate}; {usual}"
    are = "is" if flagged == 1 else "are"
    return (
        f"{flagged:,} of {counted(total, one)} ({flagged / total:.1%}) {are} flagged {rate}{behind}; {usual}"
    )
