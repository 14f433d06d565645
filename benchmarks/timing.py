"""What the benchmarks of time and memory share: CPU seconds in turns, commands in small processes, parts.

Times are CPU seconds of this process, so that a busy machine changes them little.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from benchmarks.options import parsed
from benchmarks.records import Records

KEYS = ("part", "method")
Part = Callable[[Records, argparse.Namespace], None]
# A new process inherits the peak of the one it was forked from: so a small one, not this, starts the command.
WATCH = """
import os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run_parts(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    name: str,
    parts: Mapping[str, Part],
    quick: Mapping[str, Any],
    keys: Sequence[str] = KEYS,
) -> int:
    """A benchmark of several parts on one thread: the chosen ones, in order.

    Args:
        parser: from `options.command`, with the benchmark's own options; `--parts` is added.
        argv: the arguments; None for those of the process.
        name: of the benchmark.
        parts: by name.
        quick: the defaults of a quick run, where they differ.
        keys: of a row.
    """
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts), metavar="PART")
    options = parsed(parser, argv, name, quick, is_bundled=True)
    torch.set_num_threads(1)
    records = Records.open(options.output, keys)
    for part in options.parts:
        parts[part](records, options)
    return 0


def note(records: Records, part: str, method: str, values: Mapping[str, Any]) -> None:
    """Write one row and print it."""
    records.add({"part": part, "method": method, **values})
    shown = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
    print(f"{part:8} {method:34} {shown}", flush=True)


def interleaved(tasks: Mapping[str, Callable[[], object]], repeats: int = 20) -> dict[str, float]:
    """Median CPU seconds of each task, taken in turns, after two turns of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(repeats + 2):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if turn >= 2:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def n_weights(model: torch.nn.Module) -> int:
    """The number of weights."""
    return sum(weight.numel() for weight in model.parameters())


def measured_command(parts: Sequence[str]) -> tuple[float, float]:
    """Peak resident megabytes and CPU seconds of one command."""
    ended = subprocess.run([sys.executable, "-S", "-c", WATCH, *parts], capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(parts)} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    peak, seconds = ended.stdout.split()[-2:]
    return float(peak) / (2**20 if sys.platform == "darwin" else 2**10), float(seconds)
