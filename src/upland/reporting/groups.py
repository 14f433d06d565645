"""Verdicts on groups of rows, as a section."""

from __future__ import annotations

from typing import Any

from upland.detectors.scoring import ScoringDetector
from upland.groups.verdicts import GroupVerdicts
from upland.reporting.base import Settings
from upland.reporting.page import Column, Prose, Section, Table
from upland.reporting.phrases import clipped
from upland.scoring.words import label_text

SHOWN = 500
"""Groups that are shown at most."""

_REASONS = {
    "marginals": "single columns differ",
    "dependence": "the correlation between columns differs",
    "": "",
}


def groups_section(detector: ScoringDetector, data: Any, settings: Settings) -> tuple[Section, GroupVerdicts]:
    """A test of each group at a false discovery rate.

    Args:
        detector: Fitted.
        data: All rows.
        settings: Of the page, with the columns that name groups.

    Raises:
        ValueError: There is no such column, or no normal rows are kept to compare with.
    """
    verdicts = detector.score_groups(data, settings.by, settings.group_alpha)
    order = _order(verdicts)
    columns = [
        Column("group"),
        Column("rows", "number"),
        Column("p", "p_value"),
        Column("flagged"),
        Column("what differs"),
        Column("columns"),
        Column("smallest p of its size", "p_value"),
    ]
    records = [
        (
            label_text(verdicts.group[n]),
            int(verdicts.size[n]),
            float(verdicts.p_value[n]),
            "yes" if verdicts.flag[n] else "no",
            _REASONS.get(str(verdicts.reason[n]), str(verdicts.reason[n])) if verdicts.flag[n] else "",
            ", ".join(map(label_text, verdicts.columns[n])) if verdicts.flag[n] else "",
            float(verdicts.smallest_p[n]),
        )
        for n in order[:SHOWN]
    ]
    note = (
        "Each group is compared with groups of its size of held-out normal rows: it can be anomalous as a "
        "whole where no single row is. No p-value of a group can be below the smallest of its size."
    )
    if len(order) > SHOWN:
        note += f" The {SHOWN:,} groups with the smallest p-values of {len(order):,} are shown."
    return Section("Groups", [Prose([said_of(verdicts, settings)]), Table(columns, records, note)]), verdicts


def said_of(verdicts: GroupVerdicts, settings: Settings) -> str:
    """The verdicts in a sentence.

    Args:
        verdicts: Of all groups.
        settings: Of the page.
    """
    order = _order(verdicts)
    flagged = [clipped(label_text(verdicts.group[n])) for n in order if verdicts.flag[n]]
    by = " / ".join(settings.by)
    some = f": {', '.join(flagged[:5])}{' and others' if len(flagged) > 5 else ''}" if flagged else ""
    return (
        f"{len(flagged):,} of {len(order):,} groups by {label_text(by)} are flagged at a false discovery "
        f"rate of {settings.group_alpha:g}{some}."
    )


def _order(verdicts: GroupVerdicts) -> list[int]:
    """The numbers of the groups, the smallest p-value first."""
    return sorted(range(len(verdicts.group)), key=lambda n: (verdicts.p_value[n], -verdicts.statistic[n], n))
