"""What to do about a change, and the sentences that say why; all of them from numbers in the history.

* "check site": one site alone has evidence of a change, and the others, tested likewise, have no more than
  chance gives.
* "check columns": few columns have moved since the estimated beginning, by a test that no column of unchanged
  data passes, and the others have not.
* "retrain": neither; what has changed is not confined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from upland.watch.columns import Moved
from upland.watch.decision import Action, Kind
from upland.watch.options import WatchOptions
from upland.watch.scored import Share

FEW = 4
"""Few columns are at most one in so many."""
CHANCE = 0.1
"""The probability that any of the other sites has so much evidence by chance; less of it is none."""
SITE_ROWS = 30
"""Rows of the other sites from which the absence of evidence there means something."""


@dataclass(frozen=True)
class SiteEvidence:
    """The evidence for a change in one site, beside the others.

    Args:
        site: its name.
        log_value: of its martingale at its peak, with its weight.
        rows: of it.
        others: how many other sites there are.
        others_log_value: the largest peak of their martingales.
        others_rows: of them together.
    """

    site: str
    log_value: float
    rows: int
    others: int
    others_log_value: float
    others_rows: int


@dataclass(frozen=True)
class Findings:
    """What is known when an alarm is raised.

    Args:
        log_threshold: what a martingale had to reach.
        moved: columns, the one that moved furthest first.
        z_threshold: the size of z from which a column counts as moved.
        shares: of columns in the scores of the most anomalous rows of the batch, the largest first.
        sites: the site with most evidence; None without sites.
    """

    log_threshold: float
    moved: Sequence[Moved]
    z_threshold: float
    shares: Sequence[Share]
    sites: SiteEvidence | None


def advised(findings: Findings) -> tuple[Action, tuple[str, ...]]:
    """What to do about a change, and why.

    Args:
        findings: at the alarm.
    """
    sentences = []
    action: Action = "retrain"
    if findings.sites is not None and is_one_site(findings.sites, findings.log_threshold):
        action = "check site"
        sentences.append(_of_site(findings.sites))
    few = moved_columns(findings)
    if few and action == "retrain":
        action = "check columns"
    sentences += _of_columns(findings, few)
    if action == "retrain":
        sentences.append("It is not confined to a site or to few columns: retrain on fresh normal data.")
    return action, tuple(sentences)


def is_one_site(found: SiteEvidence, log_threshold: float) -> bool:
    """Whether one site alone has changed.

    Args:
        found: of the site with most evidence.
        log_threshold: what counts as evidence.
    """
    if found.log_value < log_threshold or not found.others or found.others_rows < SITE_ROWS:
        return False
    return found.others_log_value < min(math.log(found.others / CHANCE), found.log_value / 2)


def moved_columns(findings: Findings) -> list[Moved]:
    """The columns that have moved, if they are few; else none.

    Args:
        findings: at the alarm.
    """
    moved = [column for column in findings.moved if abs(column.z) >= findings.z_threshold]
    most = max(1, len(findings.moved) // FEW)
    return moved if 0 < len(moved) <= most and len(findings.moved) > 1 else []


def _of_site(found: SiteEvidence) -> str:
    return (
        f"The change shows at {found.site} alone: its martingale has reached {power(found.log_value)} over "
        f"{found.rows:,} rows; of {_counted(found.others, 'other site')}, with {found.others_rows:,} rows, "
        f"none has ever had more than {power(found.others_log_value)}."
    )


def _of_columns(findings: Findings, few: Sequence[Moved]) -> list[str]:
    """The figure and the comparison."""
    if not findings.moved:
        return []
    reached = [column for column in findings.moved if abs(column.z) >= findings.z_threshold]
    if not reached:
        return ["No column's mean has moved by more than chance allows."]
    if not few:
        names = ", ".join(column.column for column in reached[:3])
        return [f"{len(reached)} of {len(findings.moved)} columns have moved, {names} furthest."]
    rest = findings.moved[len(few)]
    parts = {share.column: share.part for share in findings.shares}
    sentences = []
    for column in few:
        text = f"{column.column} has moved by {column.shift:+.2g} standard deviations (z = {column.z:.1f})"
        if column.column in parts:
            part, usual = parts[column.column], 1 / max(len(parts), 1)
            text += (
                f" and makes up {part:.0%} of the most anomalous scores, where an even part is {usual:.0%}"
            )
        sentences.append(text)
    compared = f"of the other columns {rest.column} has moved most, by {rest.shift:+.2g} (z = {rest.z:.1f})"
    return [f"{'; '.join(sentences)}; {compared}."]


def power(log_value: float) -> str:
    """A natural logarithm as a power of ten.

    Args:
        log_value: the logarithm.

    Examples:
        >>> power(4.605170185988092)
        '10^2.0'
    """
    return f"10^{log_value / math.log(10):.1f}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def sentence(
    kind: Kind, subject: str | None, value: float, threshold: float, since: int, options: WatchOptions
) -> str:
    """What an alarm says.

    Args:
        kind: of the alarm.
        subject: the site, group, batch or bucket.
        value: the evidence, a natural logarithm.
        threshold: what it had to reach.
        since: the batch that the change is estimated to have begun with.
        options: of the watch.
    """
    reached = f"{power(value)} where {power(threshold)} is an alarm"
    if kind == "changed":
        return (
            f"The data have changed, by estimate since batch {since}: the test martingale has reached "
            f"{reached}; if nothing changes it ever does with probability {options.delta:g} at most."
        )
    if kind == "repeated change":
        return (
            f"The data have changed, by estimate since batch {since}: the e-detector has reached {reached}; "
            f"if nothing changes, it does within t batches with a probability of t / {options.run_length:g}."
        )
    if kind == "site":
        return (
            f"{subject} has changed: its martingale, weighted among the sites, has reached {reached}; if no "
            f"site changes any ever does with probability {options.delta:g} at most."
        )
    what, all_of = ("Group", "groups") if kind == "group" else ("Batch", "batches")
    return (
        f"{what} {subject} is anomalous: its e-value is {power(value)}, and from {power(threshold)} it is "
        f"flagged; of all {all_of} ever flagged, {100 * options.fdr:g}% are normal on average at most."
    )
