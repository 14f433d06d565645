"""The memory of a server over time, under requests of every kind, errors and reloads.

Resident memory is read every five seconds after the first minute. The slope is that of least squares over the
means of eight equal parts of the time, whose errors are nearly independent, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from scipy import stats

from benchmarks.records import Records
from benchmarks.serving_clients import JSON, SCORE, Tally, head, raw
from benchmarks.serving_faults import Case, Sizes, replace
from benchmarks.serving_load import COLUMNS, KINDS, TYPES, train_and_test, write_model
from benchmarks.serving_process import Server, named
from benchmarks.timing import note

PARTS = 8
STEP = 5.0
CLIENTS = 4
SIZES = Sizes(garbage=64 << 20)


def soak(records: Records, options: argparse.Namespace) -> None:
    """One server for so many minutes."""
    method = f"{options.minutes:g} minutes"
    if records.find(part="soak", method=method):
        return
    with tempfile.TemporaryDirectory() as made:
        case = Case(Path(made), tuple(f"x{column}" for column in range(COLUMNS)), SIZES)
        write_model(case.model, options.quick)
        write_model(case.folder / "other.safetensors", True)
        with case.server() as server:
            values = asyncio.run(soaked(case, server, 60 * options.minutes))
    note(records, "soak", method, values)


async def soaked(case: Case, server: Server, seconds: float) -> dict[str, Any]:
    """Counts of answers, memory and its slope, after a beginning of a tenth of the time, a minute at most."""
    tally, ended = Tally(), asyncio.Event()
    asked = requests(case)
    tasks = [asyncio.create_task(_client(server, asked, tally, ended)) for _ in range(CLIENTS)]
    tasks.append(asyncio.create_task(_reloads(case, ended)))
    await asyncio.sleep(min(60.0, seconds / 10))
    begun, times, memory = time.monotonic(), [], []
    while time.monotonic() - begun < seconds:
        times.append(time.monotonic() - begun)
        memory.append(server.resident() / 2**20)
        await asyncio.sleep(min(STEP, seconds / 50))
    ended.set()
    await asyncio.gather(*tasks)
    reloads = server.metric("upland_reloads_total")
    return {**tally.values(), "reloads": reloads, **slope(np.asarray(times), np.asarray(memory))}


def slope(times: Any, memory: Any) -> dict[str, float]:
    """Megabytes an hour with their 95 % interval, and as a share of the mean.

    Args:
        times: in seconds.
        memory: in megabytes.
    """
    hours = np.array([part.mean() for part in np.array_split(times, PARTS)]) / 3600
    means = np.array([part.mean() for part in np.array_split(memory, PARTS)])
    found = stats.linregress(hours, means)
    wide = float(stats.t.ppf(0.975, PARTS - 2) * found.stderr)
    mean = float(np.mean(memory))
    return {
        "mean_megabytes": mean,
        "first_megabytes": float(means[0]),
        "last_megabytes": float(means[-1]),
        "slope_megabytes_an_hour": float(found.slope),
        "slope_low": float(found.slope) - wide,
        "slope_high": float(found.slope) + wide,
        "slope_percent_an_hour": 100 * float(found.slope) / mean,
        "samples": len(memory),
    }


def requests(case: Case) -> list[tuple[str, bytes, dict[str, str]]]:
    """Paths, bodies and headers: rows of each kind, reasons, groups, series, and what is refused."""
    table = pa.table(named(train_and_test(1000)[1]))
    grouped = table.append_column("site", pa.array([f"s{row % 10}" for row in range(len(table))]))
    files = [(SCORE, make(table), _headers(kind)) for kind, make in KINDS.items()]
    steps = [(f"/models/series/next?series={name}", b'{"x0": 0.1, "x1": 0.2}', JSON) for name in range(300)]
    wrong = [
        (SCORE, b'{"x0": "a"}', JSON),
        (SCORE, b"[" * 100_000, JSON),
        (SCORE, random.Random(0).randbytes(100_000), _headers("Parquet")),
        (SCORE, b"x0,x1\n1,2\n1\n", _headers("CSV")),
        ("/models/none/score", case.body, JSON),
        ("/nowhere", case.body, JSON),
    ]
    return [
        *[(SCORE, case.body, JSON)] * 300,
        *files,
        *steps,
        *wrong * 10,
        ("/models/model/explain", case.rows(5), JSON),
        ("/models/model/groups?by=site", KINDS["CSV"](grouped), _headers("CSV")),
    ]


def _headers(kind: str) -> dict[str, str]:
    content, accept = TYPES[kind]
    return {"content-type": content, "accept": f"{accept}, application/json;q=0.5"}


async def _client(
    server: Server, asked: list[tuple[str, bytes, dict[str, str]]], tally: Tally, ended: asyncio.Event
) -> None:
    """Send requests in an order of its own, and leave before the answer now and then."""
    order = list(asked)
    random.Random(len(asyncio.all_tasks())).shuffle(order)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for number, (path, body, headers) in enumerate(itertools.cycle(order)):
            if ended.is_set():
                return
            if number % 50 == 0:
                await raw(server.port, head(1 << 20), body, close=True)
                await client.get("/metrics")
            try:
                response = await client.post(path, content=body, headers=headers)
                tally.statuses[response.status_code] += 1
            except httpx.TransportError:
                tally.lost += 1


async def _reloads(case: Case, ended: asyncio.Event) -> None:
    """Replace the model file every few seconds."""
    files = case.model.read_bytes(), (case.folder / "other.safetensors").read_bytes()
    for turn in itertools.count(1):
        if ended.is_set():
            return
        replace(case.model, files[turn % 2])
        await asyncio.sleep(3.0)
