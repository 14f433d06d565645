"""Taking a scored batch into a history: one transaction, from the state before it to that after it.

Nothing here depends on a clock, on the order of dictionaries or on an earlier call: the same history and the
same batch give the same rows, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from upland.calibration.conformal import Floats
from upland.calibration.e_detector import log_e_value, log_products
from upland.calibration.monitor import Evidence as Found
from upland.calibration.monitor import Monitor
from upland.calibration.segments import Indices
from upland.detectors.monitoring import monitor_of
from upland.watch.columns import ChangeSums
from upland.watch.decision import Action, Alarm, Decision, Evidence, FlaggedRow, GroupVerdict, Kind
from upland.watch.discoveries import Discoveries, calibrated
from upland.watch.evidence import Findings, SiteEvidence, advised, power
from upland.watch.ledger import Ledger
from upland.watch.models import WatchedModel
from upland.watch.options import WatchOptions
from upland.watch.scored import Scored, shares_of_worst
from upland.watch.states import of, packed, under, unpacked

FLAGGED = 1000
"""Flagged rows of a batch that are kept, the most anomalous; how many there are is kept in any case."""
SHOWN = 20
"""Flagged rows that a decision holds."""
SITES = 10_000
"""Sites that have a martingale of their own, the first that come."""


@dataclass(frozen=True)
class Named:
    """What a batch is called.

    Args:
        digest: of its content.
        name: given, or of its file.
        path: where it lies.
        time: as it was given.
    """

    digest: str
    name: str | None = None
    path: str | None = None
    time: str | None = None


@dataclass
class Taking:
    """One batch on its way into the history.

    Args:
        ledger: of the open transaction.
        options: of the watch.
        alpha: the level of single rows.
        channels: by which alarms are delivered.
        watched: the detector.
        named: what the batch is called.
    """

    ledger: Ledger
    options: WatchOptions
    alpha: float
    channels: Sequence[str]
    watched: WatchedModel
    named: Named
    late: int = 0
    alarms: list[tuple[Kind, str | None, float, float, int]] = field(default_factory=list)
    groups: list[GroupVerdict] = field(default_factory=list)

    def take(self, scored: Scored | None) -> Decision:
        """Take the batch; None has no rows. A content that was taken before is known."""
        last, previous = self.ledger.last()
        model = self.ledger.model(self.watched.digest)
        if found := self.ledger.known(self.named.digest, model):
            return found
        self.batch = last + 1
        if model is None:
            self._close_buckets(math.inf)  # those of the model before
            model = self.ledger.add_model(self.watched.digest, self.watched.facts(self.alpha), self.batch)
        self.model = model
        changed = previous is not None and previous != model
        if scored is None:
            return self._recorded(Decision("taken", self.batch, *self._name(), model_changed=changed), None)
        monitor, sums = self._state(scored.unit)
        found_now = monitor.update(scored.values, scored.segments)
        evidence = _evidence(found_now)
        sums = sums.after(scored.totals, evidence.log_martingale, self.batch)
        self._test_changes(scored.unit, monitor, evidence, sums)
        self._test_groups(scored, found_now)
        self.ledger.set_state(
            model,
            "monitor",
            scored.unit,
            under("monitor", monitor.to_arrays()) | under("sums", sums.to_arrays()),
        )
        return self._decided(scored, evidence, sums, changed)

    def _name(self) -> tuple[str | None, str | None, str]:
        return self.named.name, self.named.time, self.named.digest

    # -- changes -------------------------------------------------------------------------------------------

    def _state(self, unit: Any) -> tuple[Monitor, ChangeSums]:
        arrays = self.ledger.state(self.model, "monitor", unit)
        if arrays is None:
            monitor = monitor_of(self.watched.detector, self.options.seed, self.options.block, unit)
            return monitor, ChangeSums.begin(len(self.watched.columns.labels), self.batch)
        return Monitor.from_arrays(of("monitor", arrays)), ChangeSums.from_arrays(of("sums", arrays))

    @property
    def _log_threshold(self) -> float:
        return -math.log(self.options.delta)

    def _test_changes(self, unit: str, monitor: Monitor, evidence: Evidence, sums: ChangeSums) -> None:
        subject = None if unit == self.watched.detector.unit_ else unit
        threshold = self._log_threshold
        if evidence.log_peak >= threshold and not self.ledger.has_alarm(self.model, "changed", subject):
            self.alarms.append(("changed", subject, evidence.log_peak, threshold, sums.begins))
        threshold = math.log(self.options.run_length)
        if evidence.log_detector >= threshold:
            self.alarms.append(("repeated change", subject, evidence.log_detector, threshold, sums.begins))
            monitor.restart_detector()

    # -- groups, batches, buckets --------------------------------------------------------------------------

    def _test_groups(self, scored: Scored, found: Found) -> None:
        batch = scored.batch
        if batch is not None and batch.names is not None and batch.of is not None:
            self._test_named(scored, batch.names, batch.of)
        elif batch is not None and batch.moments is not None and self.options.width is not None:
            self._fill_buckets(np.floor(batch.moments / self.options.width) * self.options.width, found.p)
        elif found.counted:
            name = self.named.name or str(self.batch)
            self._verdict(GroupVerdict(name, "batch", found.counted, None, found.e_value, 0.0, False))

    def _test_named(self, scored: Scored, names: tuple[str, ...], of_group: Indices) -> None:
        """Each group of the batch by itself, and the site that it is of."""
        verdicts = scored.verdicts
        assert verdicts is not None
        fresh = monitor_of(self.watched.detector, self.options.seed, self.options.block, scored.unit)
        begin = fresh.to_arrays()
        for number, name in enumerate(names):
            rows = np.flatnonzero(of_group == number)
            values = scored.values[rows]
            segments = None if scored.segments is None else scored.segments[rows]
            alone = Monitor.from_arrays(begin).update(values, segments).e_value
            p = float(verdicts.p_value[number])
            log_e = float(np.logaddexp(alone, calibrated(p)) - math.log(2))
            why = (str(verdicts.reason[number]), verdicts.columns[number])
            self._verdict(GroupVerdict(name, "group", rows.size, p, log_e, 0.0, False, *why))
            self._site(name, Monitor.from_arrays(begin), values, segments, scored.unit)

    def _site(self, name: str, begin: Monitor, values: Floats, segments: Indices | None, unit: str) -> None:
        """The martingale of a site, over its own rows."""
        known = self.ledger.site(self.model, name)
        sites, _ = self.ledger.fdr(f"sites of model {self.model}")
        if known is None and sites >= SITES:
            return
        number, rows, first = known or (sites + 1, 0, self.batch)
        if known is None:
            self.ledger.set_fdr(f"sites of model {self.model}", number, 0)
        arrays = self.ledger.state(self.model, f"site {unit}", name)
        monitor = begin if arrays is None else Monitor.from_arrays(arrays)
        found = monitor.update(values, segments)
        self.ledger.set_state(self.model, f"site {unit}", name, monitor.to_arrays())
        weight = -math.log(number * (number + 1))
        now = float(found.log_martingale[-1]) if len(values) else monitor.log_martingale
        row = (self.model, name, number, rows + len(values), first, self.batch, now, found.log_peak, weight)
        self.ledger.set_site(row)
        value = found.log_peak + weight
        if value >= self._log_threshold and not self.ledger.has_alarm(self.model, "site", name):
            self.alarms.append(("site", name, value, self._log_threshold, first))

    def _verdict(self, found: GroupVerdict) -> int:
        """Test by its e-value, at the level that the tests before it leave."""
        family = "groups" if found.kind == "group" else "batches"
        tests, flags = self.ledger.fdr(family)
        state = Discoveries(tests, flags)
        level = state.level(self.options.fdr)
        flag = found.log_e_value >= -math.log(level)
        self.ledger.set_fdr(family, tests + 1, flags + flag)
        tested = replace(found, level=level, flag=bool(flag))
        self.groups.append(tested)
        if flag:
            kind: Kind = "group" if found.kind == "group" else "batch"
            self.alarms.append((kind, found.group, found.log_e_value, -math.log(level), self.batch))
        return self.ledger.add_verdict(self.batch, tested)

    def _fill_buckets(self, starts: Floats, p: Floats) -> None:
        """Add the rows to their buckets, and test those that a later time has closed."""
        for start in np.unique(starts).tolist():
            mine = p[starts == start]
            mine = mine[np.isfinite(mine).all(axis=1)]
            rows, state, test = self.ledger.bucket(start) or (0, None, None)
            if test is not None or (rows == 0 and start < (self.ledger.newest_bucket() or -math.inf)):
                self.late += len(mine)
                continue
            products = log_products(mine)
            if state is not None:
                products = products + unpacked(state)["products"]
            self.ledger.set_bucket(start, rows + len(mine), packed({"products": products}), None)
        newest = self.ledger.newest_bucket()
        if newest is not None:
            self._close_buckets(newest)

    def _close_buckets(self, before: float) -> None:
        for start, rows, state in self.ledger.open_buckets(before):
            log_e = log_e_value(unpacked(state)["products"])
            name = str(np.datetime64(round(start * 1000), "ms"))
            test = self._verdict(GroupVerdict(name, "bucket", rows, None, log_e, 0.0, False))
            self.ledger.set_bucket(start, rows, None, test)

    # -- what is decided -----------------------------------------------------------------------------------

    def _decided(self, scored: Scored, evidence: Evidence, sums: ChangeSums, changed: bool) -> Decision:
        flagged = int((scored.p <= self.alpha).sum())
        rows = [
            FlaggedRow(
                int(scored.rows[at]),
                float(scored.scores[at]),
                float(scored.p[at]),
                scored.reasons.get(at, ()),
            )
            for at in scored.worst(min(flagged, FLAGGED)).tolist()
        ]
        action, why, alarms = self._advice(scored, sums)
        decision = Decision(
            "taken", self.batch, *self._name(), scored.p.size, flagged, tuple(rows[:SHOWN]), evidence, (),
            tuple(self.groups), action, why, model_changed=changed,
        )  # fmt: skip
        least = float(scored.p.min()) if scored.p.size else None
        return self._recorded(decision, scored, least, rows, alarms)

    def _recorded(
        self,
        decision: Decision,
        scored: Scored | None,
        least: float | None = None,
        rows: Sequence[FlaggedRow] = (),
        alarms: Sequence[Alarm] = (),
    ) -> Decision:
        self.ledger.add_batch(decision, self.named.path, self.model, least, self.late)
        self.ledger.add_flagged(self.batch, rows)
        if scored is not None:
            self.ledger.add_means(self.batch, self.watched.columns.labels, scored.totals.mean)
            if scored.batch is not None and scored.batch.kept is not None:
                self.ledger.keep_rows(self.batch, _arrow_bytes(scored.batch.kept))
        raised = [self.ledger.add_alarm(alarm, self.batch, self.model, self.channels) for alarm in alarms]
        return replace(decision, alarms=tuple(raised))

    def _advice(self, scored: Scored, sums: ChangeSums) -> tuple[Action, tuple[str, ...], list[Alarm]]:
        """The action, why, and the alarms with their sentences."""
        changes = [alarm for alarm in self.alarms if alarm[0] in ("changed", "repeated change", "site")]
        action: Action = "nothing"
        why: tuple[str, ...] = ()
        if changes:
            action, why = advised(self._findings(scored, sums))
        elif standing := self.ledger.standing(self.model):
            batch, action_then, text = standing
            action, why = _action(action_then), (f"Since the alarm with batch {batch}: {text}",)
        elif self.alarms:
            action = "check site" if self.alarms[0][0] == "group" else "check batch"
        alarms, told = [], list(why) if not changes else []
        for kind, subject, value, threshold, since in self.alarms:
            text = _text(kind, subject, value, threshold, since, self.options)
            of_change = kind in ("changed", "repeated change", "site")
            own: Action = action if of_change else "check site" if kind == "group" else "check batch"
            alarms.append(
                Alarm(
                    0,
                    kind,
                    subject,
                    since,
                    value,
                    threshold,
                    own,
                    " ".join([text, *(why if of_change else ())]),
                )
            )
            told.append(text)
        return action, tuple([*told, *why]) if changes else tuple(told), alarms

    def _findings(self, scored: Scored, sums: ChangeSums) -> Findings:
        columns = self.watched.columns
        sites = None
        strongest = self.ledger.strongest_sites(self.model)
        if len(strongest) == 2:
            total, count = self.ledger.sum_of_sites(self.model)
            (site, value, rows), (_, other, _) = strongest
            sites = SiteEvidence(site, value, rows, count - 1, other, total - rows)
        return Findings(
            self._log_threshold,
            columns.moved(sums),
            columns.threshold(),
            shares_of_worst(self.watched.detector, scored),
            sites,
        )


def _evidence(found: Found) -> Evidence:
    now = float(found.log_martingale[-1]) if len(found.log_martingale) else 0.0
    return Evidence(
        now, found.log_peak, found.log_detector, found.e_value, found.counted, len(found.p) - found.counted
    )


def _action(text: str) -> Action:
    actions: tuple[Action, ...] = ("nothing", "check batch", "check columns", "check site", "retrain")
    return next(action for action in actions if action == text)


def _text(
    kind: Kind, subject: str | None, value: float, threshold: float, since: int, options: WatchOptions
) -> str:
    """The sentence of an alarm."""
    reached = f"{power(value)} where {power(threshold)} is an alarm"
    if kind == "changed":
        return (
            f"The data have changed, by estimate since batch {since}: the test martingale has reached {reached}, "
            f"which data that do not change ever reach with probability {options.delta:g} at most."
        )
    if kind == "repeated change":
        return (
            f"The data have changed, by estimate since batch {since}: the e-detector has reached {reached}, which "
            f"data that do not change reach every {options.run_length:g} batches on average at most."
        )
    if kind == "site":
        return (
            f"{subject} has changed: its own martingale, with its weight among the sites, has reached {reached}, "
            f"which happens to any site that does not change with probability {options.delta:g} at most."
        )
    what = "Group" if kind == "group" else "Batch"
    return (
        f"{what} {subject} is anomalous: its e-value is {power(value)}, and from {power(threshold)} it is flagged, "
        f"so that of all {'groups' if kind == 'group' else 'batches'} ever flagged {options.fdr:.0%} are false on "
        "average at most."
    )


def _arrow_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as file:
        file.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
