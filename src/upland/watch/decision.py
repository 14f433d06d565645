"""What a watch says of one batch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["taken", "known", "refused"]
Kind = Literal["changed", "repeated change", "site", "batch", "group"]
Action = Literal["nothing", "check batch", "check columns", "check site", "retrain"]
ACTIONS: tuple[Action, ...] = ("nothing", "check batch", "check columns", "check site", "retrain")


@dataclass(frozen=True)
class FlaggedRow:
    """A row with a p-value of at most alpha.

    Args:
        row: its number in the batch, from 0.
        score: its anomaly score.
        p_value: its conformal p-value.
        reasons: what contributes most, as sentences; empty where nobody asked.
    """

    row: int
    score: float
    p_value: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupVerdict:
    """The verdict on a group of a batch, or on a batch or a bucket of time as a whole.

    Args:
        group: its name.
        kind: "group", "batch" or "bucket".
        rows: of it.
        p_value: of `score_groups`; None for batches and buckets.
        log_e_value: natural logarithm of its e-value.
        level: 1 / level is the e-value from which it is flagged, by e-LOND.
        flag: whether it is.
        reason: why it differs, as `score_groups` says.
        columns: that contribute most.
    """

    group: str
    kind: Literal["group", "batch", "bucket"]
    rows: int
    p_value: float | None
    log_e_value: float
    level: float
    flag: bool
    reason: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The evidence against "nothing has changed", natural logarithms.

    Args:
        log_martingale: of the test martingale after the batch.
        log_peak: its largest value ever.
        log_detector: of the e-detector after the batch.
        log_e_value: of the batch alone.
        counted: rows that entered.
        left_out: rows that did not: of segments that the fit did not see, or thinned out by blocks.
    """

    log_martingale: float
    log_peak: float
    log_detector: float
    log_e_value: float
    counted: int
    left_out: int


@dataclass(frozen=True)
class Alarm:
    """An alarm, which is raised once.

    Args:
        alarm: its number in the history.
        kind: what it is of.
        subject: the site, group, batch or bucket; None of the whole.
        since: the number of the batch that the change is estimated to have begun with.
        log_value: the evidence, a natural logarithm.
        log_threshold: what it had to reach.
        action: what is advised.
        text: the sentence that says so.
    """

    alarm: int
    kind: Kind
    subject: str | None
    since: int
    log_value: float
    log_threshold: float
    action: Action
    text: str


@dataclass(frozen=True)
class Decision:
    """What a watch says of one batch.

    Args:
        status: "taken" now; "known", it was taken before and nothing is tested again; or "refused".
        batch: its number in the history, from 1; None where it was refused.
        name: of the batch.
        time: as it was given.
        digest: of its content.
        rows: how many.
        flagged: how many of them are flagged.
        flagged_rows: the most anomalous of these, most anomalous first.
        evidence: against "nothing has changed"; None where nothing was tested.
        alarms: raised by this batch.
        groups: verdicts.
        action: what is advised.
        why: sentences with the numbers that it rests on.
        reason: why it was refused.
        late: rows of parts of time that were tested before, which are in no test.
        model_changed: whether this is the first batch under another model than the batch before.

    Examples:
        >>> Decision("refused", None, "7.csv", None, "ab12", reason="missing column(s): 'flow'").to_json()[
        ...     "reason"
        ... ]
        "missing column(s): 'flow'"
    """

    status: Status
    batch: int | None
    name: str | None
    time: str | None
    digest: str
    rows: int = 0
    flagged: int = 0
    flagged_rows: tuple[FlaggedRow, ...] = ()
    evidence: Evidence | None = None
    alarms: tuple[Alarm, ...] = ()
    groups: tuple[GroupVerdict, ...] = ()
    action: Action = "nothing"
    why: tuple[str, ...] = ()
    reason: str = ""
    late: int = 0
    model_changed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The same as plain data that `json.dumps` takes; numbers without end are None."""
        found = _finite(asdict(self))
        assert isinstance(found, dict)
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
