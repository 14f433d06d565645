"""The rate of a server under load: single rows from many connections, and bodies of many rows."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.records import Records
from benchmarks.serving_process import Machine, Server, named, record, upland
from benchmarks.synthetic import Surface
from benchmarks.timing import note

COLUMNS, TRAIN_ROWS, BODIES = 30, 4000, 500
BODY_ROWS = (1000, 10_000)
SINGLE = f"single rows, {COLUMNS} columns"
MANY = f"bodies of rows, {COLUMNS} columns"
CORES = 2


def train_and_test(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows of one distribution: those that train, and others."""
    generator = np.random.default_rng(0)
    surface = Surface.make(COLUMNS, generator)
    return surface.draw(TRAIN_ROWS, generator), surface.draw(rows, generator)


def write_model(path: Path, quick: bool = False) -> Path:
    """A model file of the default detector; a small one for a quick run."""
    from upland import EnergyDetector, save

    arguments: dict[str, Any] = {"epochs": 1, "n_nets": 1, "hidden": [32]} if quick else {}
    detector = EnergyDetector(random_state=0, progress=False, **arguments)
    save(detector.fit(pa.table(named(train_and_test(1)[0]))), path)
    return path


# -- single rows ---------------------------------------------------------------------------------------------


def load(records: Records, options: argparse.Namespace) -> None:
    """Servers that answer a constant, then those of a model, each with one connection and more."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = write_model(folder / "model.safetensors", options.quick)
        rows = train_and_test(BODIES)[1]
        lines = [record({f"x{place}": value for place, value in enumerate(row)}) for row in rows]
        (folder / "bodies").write_bytes(b"\n".join(lines))
        for kind in ("asgi", "fastapi"):
            constant = ["-m", "benchmarks.serving_constant", kind]
            with Server(folder / "log", constant) as server:
                loaded(records, options, server, f"constant answer, {kind}", options.connections[-1:])
        for workers in options.workers:
            with upland(folder / "log", model, workers=workers) as server:
                name = f"{workers} worker" + "s" * (workers > 1)
                loaded(records, options, server, name, options.connections)


def loaded(
    records: Records, options: argparse.Namespace, server: Server, name: str, connections: list[int]
) -> None:
    """A row for each number of connections."""
    for count in connections:
        method = f"{name}, {count} connection" + "s" * (count > 1)
        if records.find(part=SINGLE, method=method) is None:
            note(records, SINGLE, method, sent(server, count, options.seconds))


def sent(server: Server, connections: int, seconds: float) -> dict[str, Any]:
    """Rate, times and CPU time of a load from so many connections."""
    result = server.log.with_name("result")
    bodies = server.log.with_name("bodies")
    users = ["-m", "benchmarks.serving_users", server.url, bodies, connections, seconds, result]
    before = server.cpu_seconds()
    with Machine() as machine:
        subprocess.run([sys.executable, *map(str, users)], check=True)
    own = server.cpu_seconds() - before
    found = json.loads(result.read_text())
    times = np.asarray(found["milliseconds"])
    per_request = own / found["every"]
    generator = found["cpu_seconds"] / len(times)
    return {
        "requests": len(times),
        "failed": len(found["failed"]),
        "per_second": len(times) / found["seconds"],
        **{f"p{q}_ms": float(np.percentile(times, q)) for q in (50, 95, 99)},
        "server_us": 1e6 * per_request,
        "generator_us": 1e6 * generator,
        "per_second_of_two_cores": CORES / (per_request + generator),
        "cores_of_others": machine.others(own + found["cpu_seconds"]),
    }


# -- bodies of many rows -------------------------------------------------------------------------------------


def bodies(records: Records, options: argparse.Namespace) -> None:
    """CPU seconds of a server for bodies of each kind, beside those of `assess` in this process."""
    from upland import load as load_model

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        model = write_model(folder / "model.safetensors", options.quick)
        detector = load_model(model)
        with upland(folder / "log", model) as server, httpx.Client(base_url=server.url, timeout=60) as client:
            for count in options.body_rows:
                table = pa.table(named(train_and_test(count)[1]))
                asked = {kind: _asking(client, kind, make(table)) for kind, make in KINDS.items()}
                turns = _in_turns(server, asked, lambda table=table: detector.assess(table), options.repeats)
                plain, _ = turns[""]
                for kind in KINDS:
                    cpu, wall = turns[kind]
                    values = {
                        "rows_per_cpu_second": count / cpu,
                        "rows_per_second": count / wall,
                        "in_process_rows_per_cpu_second": count / plain,
                        "share_of_in_process": plain / cpu,
                    }
                    if records.find(part=MANY, method=f"{count:,} rows, {kind}") is None:
                        note(records, MANY, f"{count:,} rows, {kind}", values)


def _asking(client: httpx.Client, kind: str, body: bytes) -> Callable[[], object]:
    content, accept = TYPES[kind]
    headers = {"content-type": content, "accept": accept}

    def ask() -> object:
        response = client.post("/score", content=body, headers=headers)
        response.raise_for_status()
        return response.content

    return ask


def _in_turns(
    server: Server, asked: dict[str, Callable[[], object]], plain: Callable[[], object], repeats: int
) -> dict[str, tuple[float, float]]:
    """Median CPU and wall seconds of each kind of body, and of `assess` under the name ''."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (*asked, "")}
    clocks: dict[str, Callable[[], float]] = dict.fromkeys(asked, server.cpu_seconds) | {
        "": time.process_time
    }
    for turn in range(repeats + 1):
        for name, call in {**asked, "": plain}.items():
            calls = CALLS  # the clock of another process has steps of 10 ms
            cpu, wall = clocks[name](), time.perf_counter()
            for _ in range(calls):
                call()
            if turn:
                taken[name].append(((clocks[name]() - cpu) / calls, (time.perf_counter() - wall) / calls))
    return {name: tuple(np.median(values, axis=0).tolist()) for name, values in taken.items()}


def _json(table: pa.Table) -> bytes:
    return json.dumps(table.to_pylist()).encode()


def _csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


CALLS = 5
JSON, STREAM = "application/json", "application/vnd.apache.arrow.stream"
KINDS: dict[str, Callable[[pa.Table], bytes]] = {
    "JSON": _json,
    "CSV": _csv,
    "Arrow": _arrow,
    "Parquet": _parquet,
}
TYPES = {
    "JSON": (JSON, JSON),
    "CSV": ("text/csv", STREAM),
    "Arrow": (STREAM, STREAM),
    "Parquet": ("application/vnd.apache.parquet", STREAM),
}
"""Content type of each kind of body, and of its answer."""
