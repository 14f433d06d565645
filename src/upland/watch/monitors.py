"""The state of change monitors in a history.

Most of a monitor is the bounds of its gaps, which follow from the calibration and never change: all monitors
of one kind share them, and they are written once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from upland.calibration.monitor import Monitor
from upland.watch.ledger import Ledger
from upland.watch.states import Arrays, StateError, of, under


@dataclass
class Memory:
    """Monitors as they were after the last batch that this process has taken, so that they need not be read
    again; where another process has taken one since, or a transaction has failed, they are.

    Args:
        batch: the last batch.
        kept: by model, kind and name.
        waiting: those of the transaction that is open.
    """

    batch: int = 0
    kept: dict[tuple[int, str, str], tuple[Monitor, Any]] = field(default_factory=dict)
    waiting: dict[tuple[int, str, str], tuple[Monitor, Any]] = field(default_factory=dict)

    def begin(self, last: int) -> None:
        """A transaction begins.

        Args:
            last: the last batch in the history.
        """
        self.waiting = {}
        if last != self.batch:
            self.kept = {}

    def done(self, batch: int) -> None:
        """The transaction is durable.

        Args:
            batch: that it has written.
        """
        self.batch, self.kept, self.waiting = batch, self.waiting, {}


CONSTANT = ("urns/values", "urns/codes", "urns/sizes", "urns/weights")
"""The arrays of a monitor that never change."""
SHARED = "calibration"


def save_monitor(ledger: Ledger, model: int, kind: str, name: str, monitor: Monitor, more: Arrays) -> None:
    """Keep a monitor.

    Args:
        ledger: of an open transaction.
        model: the number of the model.
        kind: of monitor.
        name: of the site, or nothing.
        monitor: to be kept.
        more: arrays beside it, by names that are not of a monitor.
    """
    arrays = monitor.to_arrays()
    changing = {part: value for part, value in arrays.items() if part not in CONSTANT}
    if not ledger.has_state(model, SHARED, kind):
        ledger.set_state(model, SHARED, kind, {part: arrays[part] for part in CONSTANT})
    ledger.set_state(model, kind, name, under("monitor", changing) | dict(more))


def load_monitor(ledger: Ledger, model: int, kind: str, name: str) -> tuple[Monitor, Arrays] | None:
    """A monitor and the arrays beside it; None where there is none.

    Args:
        ledger: of an open transaction.
        model: the number of the model.
        kind: of monitor.
        name: of the site, or nothing.

    Raises:
        StateError: what is kept cannot be read.
    """
    arrays = ledger.state(model, kind, name)
    if arrays is None:
        return None
    shared = ledger.state(model, SHARED, kind) or {}
    try:
        return Monitor.from_arrays(of("monitor", arrays) | shared), arrays
    except (ValueError, KeyError, IndexError) as error:
        raise StateError(str(error)) from None
