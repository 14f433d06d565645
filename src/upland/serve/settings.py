"""What a server is asked to do, as plain data that can be sent to its worker processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Settings:
    """The limits and the behaviour of a server.

    Args:
        alpha: the false-alarm rate that flags keep where a request does not say another; None is each model's
            own.
        body_bytes: bytes of a body at most; more is 413.
        rows: rows of a request at most; more is 413.
        seconds: time from the first byte of a body to its answer; more is 504, or 408 where the body itself
            is late.
        queue: requests that wait at most; beyond it the answer is 429.
        batch_rows: rows of small requests that are scored together at most.
        batch_seconds: how long a request waits for others once several have come together.
        keys: keys of which a request must hold one; empty asks for none.
        reload_seconds: between checks of the model files; 0 never checks.
        drain_seconds: from the signal to end until no connection is taken any more; `ready` is false and
            everything is answered in that time.
        series: series whose state is kept in memory at most.
        state: a file (SQLite) that keeps the states of series; None keeps them in memory alone.
        workers: processes that share the requests; the states of series are then in a file, or nowhere.
        access_log: whether each request is logged, not only those that fail.
    """

    alpha: float | None = None
    body_bytes: int = 16 * MEBIBYTE
    rows: int = 100_000
    seconds: float = 30.0
    queue: int = 512
    batch_rows: int = 256
    batch_seconds: float = 0.002
    keys: tuple[str, ...] = field(default=(), repr=False)
    reload_seconds: float = 2.0
    drain_seconds: float = 1.0
    series: int = 10_000
    state: Path | None = None
    workers: int = 1
    access_log: bool = False
