"""Verdicts on groups of rows, as a section."""

from __future__ import annotations

from typing import Any

from upland.calibration.false_discovery import ALPHA
from upland.detectors.scoring import ScoringDetector
from upland.groups.verdicts import GroupVerdicts
from upland.reporting.base import Settings
from upland.reporting.page import Column, Prose, Section, Table
from upland.scoring.words import label_text

SHOWN = 500
"""Groups that are shown at most."""

_REASONS = {
    "marginals": "single columns differ",
    "dependence": "the correlation between columns differs",
    "": "",
}


def groups_section(detector: ScoringDetector, data: Any, settings: Settings) -> tuple[Section, GroupVerdicts]:
    """A test of each group at a false discovery rate of 0.05, whatever the level of single rows is.

    Args:
        detector: Fitted.
        data: All rows.
        settings: Of the page, with the columns that name groups.

    Raises:
        ValueError: There is no such column, or no normal rows are kept to compare with.
    """
    verdicts = detector.score_groups(data, settings.by)
    order = sorted(range(len(verdicts.group)), key=lambda n: (verdicts.p_value[n], -verdicts.statistic[n], n))
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
    flagged = [label_text(verdicts.group[n]) for n in order if verdicts.flag[n]]
    by = " / ".join(settings.by)
    some = f": {', '.join(flagged[:5])}{' and others' if len(flagged) > 5 else ''}" if flagged else ""
    text = (
        f"{len(flagged):,} of {len(order):,} groups by {label_text(by)} are flagged at a false discovery "
        f"rate of {ALPHA:g}{some}."
    )
    return Section("Groups", [Prose([text]), Table(columns, records, note)]), verdicts
