"""Work in a process that is watched: its time, its memory, and whether it comes back at all."""

from __future__ import annotations

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


def watched(work: Callable[[int], Record], numbers: range) -> Iterator[Record]:
    """What the work says of each number, with `seconds` and the peak of memory in `mib` beyond that before;
    `outcome` is "died" where the process did not come back, and "hangs" where it was too long.
    """
    context = multiprocessing.get_context("fork")
    position = numbers.start
    while position < numbers.stop:
        here, there = context.Pipe()
        child = context.Process(target=_serve, args=(work, range(position, numbers.stop), there))
        child.start()
        there.close()
        while position < numbers.stop:
            try:
                record = here.recv() if here.poll(SECONDS) else {"outcome": "hangs", "seconds": SECONDS}
            except EOFError:
                record = {"outcome": "died"}
            yield {"number": position} | record
            position += 1
            if record["outcome"] in ("hangs", "died"):
                break
        child.kill()
        child.join()
        here.close()


def _serve(work: Callable[[int], Record], numbers: range, pipe: Any) -> None:
    limit = _addresses() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        before, start = _forget_peak(), time.perf_counter()
        record = work(number)
        seconds = round(time.perf_counter() - start, 3)
        pipe.send(record | {"seconds": seconds, "mib": round((_peak() - before) / 1024, 1)})


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _forget_peak() -> int:
    """Set the peak to what is in use, which is returned, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
