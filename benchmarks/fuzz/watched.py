"""Work in a process that is watched: its time, its memory, and whether it comes back at all."""

from __future__ import annotations

import ctypes
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY = 4 << 30
"""Bytes of addresses that a process may have beyond those that it starts with."""
SECONDS = 30.0
"""Seconds after which a case counts as one that hangs."""

Record = dict[str, Any]


def watched(
    prepare: Callable[[int], Record], work: Callable[[Record], Record], numbers: range
) -> Iterator[Record]:
    """What is prepared for each number here, and what the work says of it in a process of its own.

    To that come `seconds`, and in `mib` the peak of memory beyond what was in use before; `outcome` is "died"
    where the process did not come back, and "hangs" where it took too long.
    """
    context = multiprocessing.get_context("fork")
    position = numbers.start
    while position < numbers.stop:
        here, there = context.Pipe()
        child = context.Process(target=_serve, args=(work, there))
        child.start()
        there.close()
        alive = True
        while alive and position < numbers.stop:
            case = prepare(position)
            try:
                here.send(case)
                found = here.recv() if here.poll(SECONDS) else {"outcome": "hangs", "seconds": SECONDS}
            except (EOFError, OSError):
                found = {"outcome": "died"}
            yield {"number": position} | case | found
            position, alive = position + 1, found["outcome"] not in ("hangs", "died")
        child.kill()
        child.join()
        here.close()


def _serve(work: Callable[[Record], Record], pipe: Any) -> None:
    limit = _addresses() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        case = pipe.recv()
        before, start = _forget_peak(), time.perf_counter()
        found = work(case)
        seconds = round(time.perf_counter() - start, 3)
        pipe.send(found | {"seconds": seconds, "mib": round((_peak() - before) / 1024, 1)})


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _forget_peak() -> int:
    """Give back what is free, and set the peak to what is in use, which is returned, in KiB."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
