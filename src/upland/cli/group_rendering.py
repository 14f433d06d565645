"""What verdicts on groups look like: a table and a line for a person, JSON for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upland.cli.console import grid
from upland.cli.groups import Grouped, shown
from upland.cli.words import json_value, label_text

if TYPE_CHECKING:
    from rich.console import RenderableType

RATES = {"fdr": "false discovery rate", "false_alarm": "false-alarm rate"}
HEADINGS = ("statistic", "p-value", "made of")
ROWS = {"table": "rows", "sequence": "sequences", "image": "images"}


def groups_table(found: Grouped) -> RenderableType:
    """One line a group; a star marks a flagged one, and what it is made of is told where p <= alpha."""
    verdicts = found.verdicts
    lines = []
    for n in shown(found)[0].tolist():
        told = verdicts.p_value[n] <= found.asked.alpha
        lines.append(
            [
                f"{label_text(verdicts.group[n])}{'*' if verdicts.flag[n] else ' '}",
                f"{verdicts.size[n]:,}",
                f"{verdicts.statistic[n]:.4g}",
                f"{verdicts.p_value[n]:.3g}",
                made_of(found, n) if told else "",
            ]
        )
    members = ROWS[found.kind]
    return grid([found.called, members, *HEADINGS], lines, right=[members, *HEADINGS[:2]])


def groups_note(found: Grouped) -> str:
    """What the marks and words of the table mean, and which groups it leaves out."""
    count = len(found.verdicts.group)
    here, order = shown(found)
    parts = ["* flagged"]
    if any(found.verdicts.reason):
        parts.append("marginals: values by themselves; dependence: how they go together")
    if order == "strangest":
        parts.append(f"the {len(here):,} strangest of {count:,}, worst first; -o FILE writes all")
    return "; ".join(parts)


def groups_line(found: Grouped) -> str:
    """How many have gone off, at which rate of which error: `2 of 12 shifts have gone off (...)`."""
    count, flagged = len(found.verdicts.group), int(found.verdicts.flag.sum())
    what = found.called if count == 1 else plural(found.called)
    has = "has" if flagged == 1 or count == 1 else "have"
    rate = f"{RATES[found.asked.control]} {100 * found.asked.alpha:.3g} %"
    return f"{flagged:,} of {count:,} {what} {has} gone off ({rate})"


def groups_document(found: Grouped) -> dict[str, Any]:
    """The same for a program: all groups, in order of first appearance."""
    verdicts, asked = found.verdicts, found.asked
    return {
        "kind": found.kind,
        "by": asked.by,
        "groups": len(verdicts.group),
        "flagged": int(verdicts.flag.sum()),
        "alpha": asked.alpha,
        "control": asked.control,
        "statistic": asked.statistic,
        "kept_rows": found.kept,
        "verdicts": [_verdict_document(found, n) for n in range(len(verdicts.group))],
    }


def _verdict_document(found: Grouped, number: int) -> dict[str, Any]:
    verdicts = found.verdicts
    return {
        "group": json_value(verdicts.group[number]),
        "size": int(verdicts.size[number]),
        "statistic": float(verdicts.statistic[number]),
        "p_value": float(verdicts.p_value[number]),
        "is_anomaly": bool(verdicts.flag[number]),
        "made_of": str(verdicts.reason[number]) or None,
        "columns": list(verdicts.columns[number]),
        "smallest_p": float(verdicts.smallest_p[number]),
        "method": str(verdicts.method[number]),
    }


def made_of(found: Grouped, number: int) -> str:
    """`dependence: hdl, cholesterol`.

    Args:
        found: The verdicts.
        number: Which of them.
    """
    reason, names = str(found.verdicts.reason[number]), found.verdicts.columns[number]
    return f"{reason}: {', '.join(names)}" if names else ""


def plural(name: str) -> str:
    """`shift` -> `shifts`; what is no plain word becomes `groups of 'lot_id'`."""
    if not (name.isascii() and name.isalpha()):
        return f"groups of {name!r}"
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") and name[-2:-1] not in "aeiou" else f"{name}s"
