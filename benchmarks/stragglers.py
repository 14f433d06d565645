"""How much longer than ideal many tasks take on many workers, where some are slow or fail: a simulation.

A data set is cut into partitions, each a task; a free worker takes the next. The time of a task is its share
of the work times a random factor of mean 1: lognormal (sigma 0.3), or heavy-tailed (Pareto with index 1.5). A
worker is lost at random, once in `--hours` hours of work; its task is tried again, three times at most, and
the worker is back after a minute. Each task costs `--start` seconds besides. With backups a worker that finds
no task left runs a second copy of the task that has run longest, if that is twice the mean, and the first
copy to end counts (Dean and Ghemawat, "MapReduce", OSDI 2004, section 3.6).

`over_ideal` is the time until all is done over the work divided by the workers: mean and largest over the
seeds; `waste` is the work that was done in vain as a share of all.
"""

from __future__ import annotations

import argparse
import heapq
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import run_parts

KEYS = ("times", "per_worker", "backups", "failures")
RETRIES = 3
BACK = 60.0
INDEX, SIGMA = 1.5, 0.3


@dataclass
class Attempt:
    """One run of a task by a worker."""

    task: int
    start: float
    end: float
    lost: bool


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--workers", type=int, default=128)
    parser.add_argument("--work", type=float, default=3600.0, help="seconds that each worker has in all")
    parser.add_argument("--per-worker", nargs="+", type=int, default=[1, 4, 16, 64], help="tasks of each")
    parser.add_argument("--hours", type=float, default=20.0, help="hours of work between losses of a worker")
    parser.add_argument("--start", type=float, default=0.05, help="seconds of a task besides its work")
    parser.add_argument("--seeds", type=int, default=20)
    quick = {"workers": 8, "per_worker": [1, 8], "seeds": 3}
    return run_parts(parser, argv, "stragglers", {"table": table}, quick, KEYS)


def table(records: Records, options: argparse.Namespace) -> None:
    """Every kind of times, sizes of partitions, with and without losses and backups."""
    for times in ("lognormal", "pareto"):
        for failures in (False, True):
            for per_worker in options.per_worker:
                for backups in (False, True):
                    key = {"times": times, "per_worker": per_worker, "backups": backups}
                    key["failures"] = failures
                    if records.find(**key) is None:
                        row = (
                            {"benchmark": "stragglers"}
                            | key
                            | measured(options, times, per_worker, backups, failures)
                        )
                        records.add(row)
                        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


def measured(
    options: argparse.Namespace, times: str, per_worker: int, backups: bool, failures: bool
) -> dict[str, Any]:
    spans, wastes = [], []
    rate = 1 / (options.hours * 3600) if failures else 0.0
    for seed in range(options.seeds):
        draw = np.random.default_rng([seed, per_worker])
        mean = options.work / per_worker
        span, waste = simulated(
            draw, times, per_worker * options.workers, options.workers, mean, options.start, rate, backups
        )
        spans.append(span / options.work)
        wastes.append(waste / (options.work * options.workers))
    return {
        **{"workers": options.workers, "work": options.work, "hours": options.hours, "seeds": options.seeds},
        "over_ideal": round(float(np.mean(spans)), 3),
        "over_ideal_most": round(max(spans), 3),
        "waste": round(float(np.mean(wastes)), 4),
    }


def factor(draw: np.random.Generator, times: str) -> float:
    """A random factor of mean 1."""
    if times == "lognormal":
        return float(draw.lognormal(-(SIGMA**2) / 2, SIGMA))
    return float((1 + draw.pareto(INDEX)) * (INDEX - 1) / INDEX)


def simulated(
    draw: np.random.Generator,
    times: str,
    tasks: int,
    workers: int,
    mean: float,
    start: float,
    rate: float,
    backups: bool,
) -> tuple[float, float]:
    """When the last task ends, and the seconds of work that were done in vain."""
    todo = list(range(tasks))[::-1]
    tries, done = np.zeros(tasks, dtype=int), np.zeros(tasks, dtype=bool)
    running: dict[int, list[Attempt]] = {}
    events: list[tuple[float, int, int, Attempt | None]] = [(0.0, n, n, None) for n in range(workers)]
    order, waste, last = workers, 0.0, 0.0
    idle: list[int] = []
    while events:
        now, _, worker, attempt = heapq.heappop(events)
        if attempt is not None:
            own = running[attempt.task]
            own.remove(attempt)
            if attempt.lost or done[attempt.task]:
                waste += attempt.end - attempt.start
                if attempt.lost and not done[attempt.task] and not own:
                    tries[attempt.task] += 1
                    if tries[attempt.task] > RETRIES:
                        raise RuntimeError("a task was lost four times")
                    todo.append(attempt.task)
            else:
                done[attempt.task] = True
                last = now
                for other in own:  # a copy is stopped, and its worker is free at once
                    waste += now - other.start
                free = [event for event in events if event[3] is not None and event[3] in own]
                if free:
                    events = [event for event in events if event not in free]
                    events += [(now, order + n, event[2], None) for n, event in enumerate(free)]
                    order += len(free)
                    heapq.heapify(events)
                own.clear()
            if attempt.lost:
                heapq.heappush(events, (now + BACK, order, worker, None))
                order += 1
                continue
        idle.append(worker)
        while idle:
            task = todo.pop() if todo else _slowest(running, now, mean) if backups else None
            if task is None:
                break
            seconds = start + mean * factor(draw, times)
            until = draw.exponential(1 / rate) if rate else np.inf
            found = Attempt(task, now, now + min(seconds, until), bool(until < seconds))
            running.setdefault(task, []).append(found)
            heapq.heappush(events, (found.end, order, idle.pop(), found))
            order += 1
        if done.all():
            return last, waste
        if backups and idle and not todo:
            wake = _wake(running, now, mean)
            if wake is not None:
                heapq.heappush(events, (wake, order, idle.pop(), None))
                order += 1
    return last, waste


def _slowest(running: dict[int, list[Attempt]], now: float, mean: float) -> int | None:
    """The task that has run longest, of those with one copy and twice the mean."""
    alone = [own[0] for own in running.values() if len(own) == 1 and now - own[0].start >= 2 * mean]
    return min(alone, key=lambda attempt: attempt.start).task if alone else None


def _wake(running: dict[int, list[Attempt]], now: float, mean: float) -> float | None:
    """When the next task with one copy will have run twice the mean."""
    ends = [own[0].start + 2 * mean for own in running.values() if len(own) == 1]
    later = [end for end in ends if end > now]
    return min(later) if later else None


if __name__ == "__main__":
    sys.exit(main())
