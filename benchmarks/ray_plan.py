"""How long a run of many partitions takes against the least it could: a simulation.

Each partition takes a time drawn from a log-normal distribution (`spread` is its standard deviation of the
logarithm), a share of the CPUs is slow (`slow` times longer for all that runs there), and a task dies with a
probability and is run again. CPUs take the next partition as they become free, as Ray's tasks do. `ratio` is
the time to the end over the time if the same work were divided evenly over CPUs of the same speed.
"""

from __future__ import annotations

import argparse
import heapq
import sys

import numpy as np

from benchmarks.group_draws import generator
from benchmarks.options import command, parsed
from benchmarks.records import Records

KEYS = ("cpus", "partitions_per_cpu", "spread", "slow_share", "deaths")
CASES = {
    "even": (0.1, 0.0, 0.0),
    "usual": (0.3, 0.05, 0.001),
    "bad": (0.6, 0.2, 0.01),
}
"""Spread, share of slow CPUs, probability that a task dies."""

SLOW = 3.0  # how many times longer a slow CPU takes


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--cpus", type=int, default=64)
    parser.add_argument("--per-cpu", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=20)
    options = parsed(parser, argv, "ray_plan", {"repeats": 3, "per_cpu": [1, 4, 16]}, is_bundled=True)
    records = Records.open(options.output, KEYS)
    for case, values in CASES.items():
        for count in options.per_cpu:
            add(records, options, case, count, *values)
    return 0


def add(
    records: Records,
    options: argparse.Namespace,
    case: str,
    count: int,
    spread: float,
    slow: float,
    deaths: float,
) -> None:
    """The row of one case."""
    key = {"cpus": options.cpus, "partitions_per_cpu": count}
    key |= {"spread": spread, "slow_share": slow, "deaths": deaths}
    if records.find(**key) is not None:
        return
    ratios = [
        simulated(options.cpus, count, spread, slow, deaths, generator(count, seed))
        for seed in range(options.repeats)
    ]
    row = {"benchmark": "ray plan", "case": case, **key, "ratio": float(np.mean(ratios))}
    records.add({**row, "worst": float(np.max(ratios)), "repeats": options.repeats})
    print(case, key, f"ratio {np.mean(ratios):.3f}, worst {np.max(ratios):.3f}", flush=True)


def simulated(
    cpus: int, per_cpu: int, spread: float, slow: float, deaths: float, source: np.random.Generator
) -> float:
    """The time to the end over the least there could be, in one run.

    Args:
        cpus: That work.
        per_cpu: Partitions for each of them.
        spread: Standard deviation of the logarithm of a partition's time.
        slow: Share of the CPUs that are slow.
        deaths: Probability that a task dies; it has then run for half of its time.
        source: Of the draws.
    """
    work = np.exp(source.normal(-(spread**2) / 2, spread, cpus * per_cpu))
    speed = np.where(np.arange(cpus) < round(slow * cpus), SLOW, 1.0)
    free = [(0.0, cpu) for cpu in range(cpus)]
    waiting = list(work[::-1])
    end = 0.0
    while waiting:
        size = waiting.pop()
        start, cpu = heapq.heappop(free)
        died = source.random() < deaths
        stop = start + size * speed[cpu] * (0.5 if died else 1.0)
        if died:
            waiting.append(size)
        end = max(end, stop)
        heapq.heappush(free, (stop, cpu))
    return float(end / (work.sum() / cpus))


if __name__ == "__main__":
    sys.exit(main())
