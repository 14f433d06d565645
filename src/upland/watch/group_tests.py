"""Which groups, batches and buckets of time are anomalous, and which sites have changed.

Verdicts are by e-values, at a false discovery rate over all tests ever (e-LOND). The
e-value of a group is the mean of two: that of its verdict's p-value, and that of its rows' scores compared
with the calibration alone. A bucket's is accumulated over batches, and tested once, when a later time comes.
A site has a change monitor of its own; the k-th site has the weight 1 / (k (k + 1)), so that the probability
of a false alarm of any is at most delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from upland.calibration.conformal import Floats
from upland.calibration.e_detector import log_e_value, sums
from upland.calibration.monitor import Evidence, Monitor
from upland.calibration.online_false_discovery import ELond
from upland.calibration.online_false_discovery import log_e_values as of_p_values
from upland.calibration.segments import Indices
from upland.detectors.base import Detector
from upland.detectors.monitoring import monitor_of
from upland.watch.decision import GroupVerdict, Kind
from upland.watch.ledger import Ledger
from upland.watch.monitors import CONSTANT, load_monitor, save_monitor
from upland.watch.options import WatchOptions
from upland.watch.scored import Scored
from upland.watch.states import of, packed, under, unpacked

SITES = 10_000
"""Sites that have a martingale of their own, the first that come."""


class Raised(NamedTuple):
    """An alarm that is to be raised.

    Args:
        kind: what it is of.
        subject: the site, group, batch or bucket; None of the whole.
        log_value: the evidence.
        log_threshold: what it had to reach.
        since: the batch that the change is estimated to have begun with.
    """

    kind: Kind
    subject: str | None
    log_value: float
    log_threshold: float
    since: int


@dataclass
class GroupTests:
    """The tests of one batch, in an open transaction.

    Args:
        ledger: of the transaction.
        options: of the watch.
        detector: fitted.
        model: its number in the history.
        batch: the number of the batch.
        since: the batch that a change is estimated to have begun with.
        late: rows of buckets that were tested before.
        alarms: that the tests raise.
        verdicts: in the order of the tests.
    """

    ledger: Ledger
    options: WatchOptions
    detector: Detector
    model: int
    batch: int
    since: int = 1
    late: int = 0
    alarms: list[Raised] = field(default_factory=list)
    verdicts: list[GroupVerdict] = field(default_factory=list)

    def test(self, scored: Scored, found: Evidence, name: str | None) -> None:
        """Test what the batch is made of: its groups, or the buckets that it closes, or itself.

        Args:
            scored: the batch.
            found: by the change monitor.
            name: of the batch.
        """
        batch = scored.batch
        if batch is not None and batch.names is not None and batch.of is not None:
            self._groups(scored, batch.names, batch.of)
        elif batch is not None and batch.moments is not None and self.options.width is not None:
            self._fill(np.floor(batch.moments / self.options.width) * self.options.width, scored)
        elif batch is not None and found.counted:  # a step of a series is tested as part of it
            called = name or f"batch {self.batch}"
            self._verdict(GroupVerdict(called, "batch", found.counted, None, found.e_value, 0.0, False))

    def _verdict(self, found: GroupVerdict) -> int:
        """Test by an e-value, at the level that the tests before it leave; returns the number of the test."""
        family = "groups" if found.kind == "group" else "batches"
        tests, flags = self.ledger.fdr(family)
        state = ELond(self.options.fdr, tests, flags)
        level = state.level
        flag = state.test(found.log_e_value)
        self.ledger.set_fdr(family, state.tested, state.discoveries)
        tested = replace(found, level=level, flag=flag)
        self.verdicts.append(tested)
        if flag:
            kind: Kind = "group" if found.kind == "group" else "batch"
            self.alarms.append(Raised(kind, found.group, found.log_e_value, -math.log(level), self.batch))
        return self.ledger.add_verdict(self.batch, tested)

    # -- groups and sites ----------------------------------------------------------------------------------

    def _groups(self, scored: Scored, names: tuple[str, ...], of_group: Indices) -> None:
        verdicts, log_e_values, options = scored.verdicts, scored.log_e_values, self.options
        assert verdicts is not None
        assert log_e_values is not None
        begin = monitor_of(self.detector, options.seed, options.block, scored.unit).to_arrays()
        for number, name in enumerate(names):
            rows = np.flatnonzero(of_group == number)
            values = scored.values[rows]
            segments = None if scored.segments is None else scored.segments[rows]
            p = float(verdicts.p_value[number])
            log_e = float(np.logaddexp(log_e_values[number], of_p_values(p)) - math.log(2))
            why = (str(verdicts.reason[number]), verdicts.columns[number])
            self._verdict(GroupVerdict(name, "group", rows.size, p, log_e, 0.0, False, *why))
            self._site(name, Monitor.from_arrays(begin), values, segments, scored.unit)

    def _site(self, name: str, begin: Monitor, values: Floats, segments: Indices | None, unit: str) -> None:
        """The martingale of a site, over its own rows."""
        known = self.ledger.site(self.model, name)
        count = self.ledger.count_sites(self.model) if known is None else 0
        if count >= SITES:
            return
        number, rows, first = known or (count + 1, 0, self.batch)
        kind = f"site {unit}"
        found = load_monitor(self.ledger, self.model, kind, name)
        monitor = begin if found is None else found[0]
        peak = monitor.update(values, segments).log_peak
        save_monitor(self.ledger, self.model, kind, name, monitor, {})
        weight = -math.log(number * (number + 1))
        logs = (monitor.log_martingale, peak, weight)
        self.ledger.set_site((self.model, name, number, rows + len(values), first, self.batch, *logs))
        threshold = -math.log(self.options.delta)
        if peak + weight >= threshold and not self.ledger.has_alarm(self.model, "site", name):
            self.alarms.append(Raised("site", name, peak + weight, threshold, max(first, self.since)))

    # -- buckets of time -----------------------------------------------------------------------------------

    def _fill(self, starts: Floats, scored: Scored) -> None:
        """Add the rows to their buckets, and test those that a later time has closed.

        Each bucket has a monitor that begins at the calibration, so that buckets before it change nothing.
        """
        newest, options = self.ledger.newest_bucket(), self.options
        begin = monitor_of(self.detector, options.seed, options.block, scored.unit).to_arrays()
        for start in np.unique(starts).tolist():
            inside = np.flatnonzero(starts == start)
            rows, state, test = self.ledger.bucket(start) or (0, None, None)
            if test is not None or (state is None and newest is not None and start < newest):
                self.late += len(inside)
                continue
            kept = {} if state is None else unpacked(state)
            same = "model" in kept and int(kept["model"][0]) == self.model
            monitor = Monitor.from_arrays(begin | (of("monitor", kept) if same else {}))
            segments = None if scored.segments is None else scored.segments[inside]
            found = monitor.update(scored.values[inside], segments)
            total = sums(found.p[np.isfinite(found.p).all(axis=1)].T)
            changing = {name: value for name, value in monitor.to_arrays().items() if name not in CONSTANT}
            more = {
                "sums": total + kept["sums"] if same else total,
                "model": np.array([self.model], dtype=np.int64),
            }
            self.ledger.set_bucket(
                start, rows + found.counted, packed(under("monitor", changing) | more), None
            )
        newest = self.ledger.newest_bucket()
        if newest is not None:
            self.close_buckets(newest)

    def close_buckets(self, before: float) -> None:
        """Test the buckets that start before a time.

        Args:
            before: seconds since 1970.
        """
        for start, rows, state in self.ledger.open_buckets(before):
            log_e = log_e_value(unpacked(state)["sums"])
            name = str(np.datetime64(round(start * 1000), "ms"))
            test = self._verdict(GroupVerdict(name, "bucket", rows, None, log_e, 0.0, False))
            self.ledger.set_bucket(start, rows, None, test)
