"""Taking a scored batch into a history: one transaction, from the state before it to that after it.

Nothing here depends on a clock, on the order of dictionaries or on an earlier call: the same history and the
same batch give the same rows, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from upland.calibration.monitor import Evidence as Found
from upland.calibration.monitor import Monitor
from upland.catalogue import Unit
from upland.detectors.monitoring import monitor_of
from upland.watch.columns import ChangeSums
from upland.watch.decision import ACTIONS, Action, Alarm, Decision, Evidence, FlaggedRow
from upland.watch.evidence import Findings, SiteEvidence, advised, sentence
from upland.watch.group_tests import GroupTests, Raised
from upland.watch.ledger import Ledger
from upland.watch.models import WatchedModel
from upland.watch.monitors import Memory, load_monitor, save_monitor
from upland.watch.options import WatchOptions
from upland.watch.scored import Scored, shares_of_worst
from upland.watch.states import of, under

FLAGGED = 1000
"""Flagged rows of a batch that are kept, the most anomalous; how many there are is kept in any case."""
SHOWN = 20
"""Flagged rows that a decision holds."""
EPISODE = 10
"""Batches after an alarm within which a crossing of the e-detector is of the same episode."""
CHANGES = ("changed", "repeated change", "site")
"""Alarms that say that the data are no longer those of the calibration, and stand until the model changes."""


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


@dataclass(frozen=True)
class Taking:
    """One batch on its way into the history.

    Args:
        ledger: of the open transaction.
        options: of the watch.
        alpha: the level of single rows.
        channels: by which alarms are delivered.
        watched: the detector.
        named: what the batch is called.
        memory: of the process.
    """

    ledger: Ledger
    options: WatchOptions
    alpha: float
    channels: Sequence[str]
    watched: WatchedModel
    named: Named
    memory: Memory

    def take(self, scored: Scored | None) -> Decision:
        """Take the batch; a content that was taken before is known.

        Args:
            scored: the batch; None where it has no rows.
        """
        ledger, named = self.ledger, self.named
        last, previous = ledger.last()
        self.memory.begin(last)
        model, batch = ledger.model(self.watched.digest), last + 1
        if found := ledger.known(named.digest, self.watched.digest):
            return found
        is_new = model is None
        if model is None:
            model = ledger.add_model(self.watched.digest, self.watched.facts(self.alpha), batch)
        tests = GroupTests(ledger, self.options, self.watched.detector, model, batch)
        if is_new or previous not in (None, model):
            tests.close_buckets(math.inf)  # those of the model before, by its calibration
        decision = Decision(
            "taken", batch, named.name, named.time, named.digest, model_changed=previous not in (None, model)
        )
        if scored is None:
            action, why, alarms = self._advice(None, model, tests.alarms)
            decided = replace(decision, groups=tuple(tests.verdicts), action=action, why=why)
            return self._recorded(decided, None, tests, alarms)
        evidence, sums, raised = self._test_changes(scored, model, batch, tests)
        action, why, alarms = self._advice((scored, sums), model, [*raised, *tests.alarms])
        flagged = int((scored.p <= self.alpha).sum())
        decided = replace(
            decision,
            rows=scored.p.size,
            flagged=flagged,
            flagged_rows=tuple(scored.flagged_rows(min(flagged, FLAGGED))),
            evidence=evidence,
            groups=tuple(tests.verdicts),
            action=action,
            why=why,
        )
        return self._recorded(decided, scored, tests, alarms)

    # -- changes -------------------------------------------------------------------------------------------

    def _test_changes(
        self, scored: Scored, model: int, batch: int, tests: GroupTests
    ) -> tuple[Evidence, ChangeSums, list[Raised]]:
        """Take the batch into the state of the model, and test it."""
        monitor, sums, crossing = self._state(scored.unit, model, batch)
        found = monitor.update(scored.values, scored.segments)
        evidence = _evidence(found, monitor.log_martingale)
        with_batch = sums.including(scored.totals)
        sums = sums.after(scored.totals, evidence, batch)
        shown = with_batch if sums.begins > batch else sums  # what was high within the batch may have passed
        subject = None if scored.unit == self.watched.detector.unit_ else scored.unit
        raised = []
        threshold = -math.log(self.options.delta)
        if evidence.log_peak >= threshold and not self.ledger.has_alarm(model, "changed", subject):
            raised.append(Raised("changed", subject, evidence.log_peak, threshold, shown.begins))
        threshold = math.log(self.options.run_length)
        if evidence.log_detector >= threshold:
            monitor.restart_detector()
            if raised:
                crossing = batch
            elif batch - crossing > EPISODE:
                value, crossing = evidence.log_detector, batch
                raised.append(Raised("repeated change", subject, value, threshold, shown.begins))
        tests.since = shown.begins
        tests.test(scored, found, self.named.name)
        more = under("sums", sums.to_arrays()) | {"crossing": np.array([crossing])}
        save_monitor(self.ledger, model, f"monitor {scored.unit}", "", monitor, more)
        self.memory.waiting[model, scored.unit, ""] = monitor, (sums, crossing)
        return evidence, shown, raised

    def _state(self, unit: Unit, model: int, batch: int) -> tuple[Monitor, ChangeSums, int]:
        """The monitor, the sums of columns, and the batch of the last alarm of a change."""
        kept = self.memory.kept.pop((model, unit, ""), None)
        if kept is not None:
            return kept[0], *kept[1]
        found = load_monitor(self.ledger, model, f"monitor {unit}", "")
        if found is None:
            monitor = monitor_of(self.watched.detector, self.options.seed, self.options.block, unit)
            return monitor, ChangeSums.begin(len(self.watched.columns.labels), batch), -EPISODE
        monitor, more = found
        return monitor, ChangeSums.from_arrays(of("sums", more)), int(more["crossing"][0])

    # -- what is decided -----------------------------------------------------------------------------------

    def _advice(
        self, now: tuple[Scored, ChangeSums] | None, model: int, raised: Sequence[Raised]
    ) -> tuple[Action, tuple[str, ...], list[Alarm]]:
        """The action, why, and the alarms with their sentences."""
        action: Action = "nothing"
        findings: tuple[str, ...] = ()
        standing: tuple[str, ...] = ()
        before = self.ledger.standing(model)
        kinds = {alarm.kind for alarm in raised if alarm.kind in CHANGES}
        if now is not None and kinds:
            action, findings = advised(self._findings(*now, model))
            if kinds == {"site"} and before and before[1] != "check site":
                action = next(
                    known for known in ACTIONS if known == before[1]
                )  # the whole has changed already
        elif before:
            action = next(known for known in ACTIONS if known == before[1])
            standing = (f"The alarm with batch {before[0]} stands: {action}.",)
        elif raised:
            action = _action_of(raised[0])
        alarms, texts = [], []
        for alarm in raised:
            text = sentence(*alarm, self.options)
            texts.append(text)
            of_change = alarm.kind in CHANGES
            own, whole = (action, " ".join([text, *findings])) if of_change else (_action_of(alarm), text)
            logs = (alarm.log_value, alarm.log_threshold)
            alarms.append(Alarm(0, alarm.kind, alarm.subject, alarm.since, *logs, own, whole))
        return action, (*texts, *findings, *standing), alarms

    def _findings(self, scored: Scored, sums: ChangeSums, model: int) -> Findings:
        columns, sites = self.watched.columns, None
        if strongest := self.ledger.strongest_site(model):
            site, value, rows = strongest
            other = self.ledger.most_of_others(model, site)
            total, count = self.ledger.sum_of_sites(model)
            if other is not None:
                sites = SiteEvidence(site, value, rows, count - 1, other, total - rows)
        return Findings(
            log_threshold=-math.log(self.options.delta),
            moved=columns.moved(sums),
            z_threshold=columns.threshold(),
            shares=shares_of_worst(self.watched.detector, scored),
            sites=sites,
        )

    def _recorded(
        self, decision: Decision, scored: Scored | None, tests: GroupTests, alarms: Sequence[Alarm]
    ) -> Decision:
        """Write it down; returns it with the numbers of the alarms."""
        if tests.late:
            text = f"{tests.late:,} row(s) are of parts of time that were tested before: no test has them."
            decision = replace(decision, late=tests.late, why=(*decision.why, text))
        ledger, model, batch = self.ledger, tests.model, tests.batch
        least = None if scored is None or not scored.p.size else float(scored.p.min())
        ledger.add_batch(decision, self.named.path, model, least, tests.late)
        ledger.add_flagged(batch, decision.flagged_rows)
        if scored is not None:
            ledger.add_means(batch, self.watched.columns.labels, scored.totals.mean)
            if scored.batch is not None and scored.batch.kept is not None:
                ledger.keep_rows(batch, _arrow_bytes(scored.batch.kept))
        raised = tuple(ledger.add_alarm(alarm, batch, model, self.channels) for alarm in alarms)
        shown: tuple[FlaggedRow, ...] = decision.flagged_rows[:SHOWN]
        return replace(decision, flagged_rows=shown, alarms=raised)


def _evidence(found: Found, log_martingale: float) -> Evidence:
    return Evidence(
        log_martingale=log_martingale,
        log_peak=found.log_peak,
        log_detector=found.log_detector,
        log_e_value=found.e_value,
        counted=found.counted,
        left_out=len(found.p) - found.counted,
    )


def _action_of(alarm: Raised) -> Action:
    return "check site" if alarm.kind == "group" else "check batch"


def _arrow_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as file:
        file.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
