"""What a server does when something goes wrong: each fault with counts, and the time until it is over.

Every function takes a running server, whose model file it may change, and returns one row. `Sizes` says how
much; the tests run the same with less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.records import Records
from benchmarks.serving_clients import JSON, SCORE, Clients, Opened, Tally, head, raw
from benchmarks.serving_load import COLUMNS, write_model
from benchmarks.serving_process import Server, record, upland, wait
from benchmarks.timing import note

KINDS = ("application/json", "text/csv", "application/vnd.apache.arrow.stream",
         "application/vnd.apache.parquet", "image/png", "multipart/form-data; boundary=b",
         "application/x-ndjson", "application/octet-stream")  # fmt: skip
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """How much is sent.

    Args:
        clients: that send at a time.
        seconds: of load before and after a fault.
        connections: open at a time.
        garbage: bytes of a body of garbage.
        queue: requests that wait at most.
        timeout: seconds that a head, and a body, may take.
        restarts: whether a worker that takes the place of a killed one is waited for.
    """

    clients: int = 32
    seconds: float = 5.0
    connections: int = 1000
    garbage: int = 10 * MEBIBYTE
    queue: int = 512
    timeout: float = 30.0
    restarts: bool = True


SHORT = Sizes(6, 0.3, 100, MEBIBYTE, 32, 1.0, False)


@dataclass(frozen=True)
class Case:
    """What a fault is tried on.

    Args:
        folder: with `model.safetensors`, which may be replaced, and `other.safetensors` of the same columns.
        names: of the columns.
        sizes: how much is sent.
    """

    folder: Path
    names: tuple[str, ...]
    sizes: Sizes

    @property
    def model(self) -> Path:
        """The file of the model that is asked."""
        return self.folder / "model.safetensors"

    @property
    def body(self) -> bytes:
        """A request of one row."""
        return record(dict.fromkeys(self.names, 0.1))

    def rows(self, count: int) -> bytes:
        """A request of several rows."""
        numbers = np.random.default_rng(0).normal(size=(count, len(self.names))).tolist()
        return json.dumps([dict(zip(self.names, row, strict=True)) for row in numbers]).encode()

    def clients(self, server: Server, count: int = 4) -> Clients:
        """Clients that send single rows."""
        return Clients(server.url, self.body, count)

    def server(self, workers: int = 1) -> Server:
        """A server with a model of a table, one of sequences, and a file of states that cannot grow much."""
        series, sizes = series_model(self.folder / "series.safetensors"), self.sizes
        given = ["--timeout", sizes.timeout, "--queue", sizes.queue, "--reload", 0.1, "--drain", 0.5]
        given += ["--state", self.folder / "states"]
        return upland(
            self.folder / "log", self.model, series, *map(str, given), workers=workers, before=self._limit
        )

    def _limit(self) -> None:
        """No file of the process may become larger than this: it stands for a full disk."""
        most = self.sizes.garbage + MEBIBYTE // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


Fault = Callable[[Case, Server], Awaitable[dict[str, Any]]]

# -- processes that end --------------------------------------------------------------------------------------


async def killed_worker(case: Case, server: Server) -> dict[str, Any]:
    """SIGKILL to one of two workers under load: what it had is lost at once, all else goes on."""
    clients = case.clients(server, case.sizes.clients)
    await asyncio.sleep(case.sizes.seconds)
    begun, before = time.monotonic(), {one.pid for one in server.processes()}
    psutil.Process(min(before)).kill()
    if case.sizes.restarts:
        await asyncio.to_thread(wait, lambda: len({one["pid"] for one in server.logged("ready")}) > 2)
    again = time.monotonic() - begun
    await asyncio.sleep(case.sizes.seconds)
    tally = await clients.stop()
    return {**tally.values(), "clients": case.sizes.clients, "workers_after": len(server.processes()),
            "seconds": again}  # fmt: skip


async def terminated(case: Case, server: Server, stop_when_closed: bool = True) -> dict[str, Any]:
    """SIGTERM under load: every request that was taken is answered, and the server ends."""
    clients = Clients(server.url, case.body, case.sizes.clients, stop_when_closed=stop_when_closed)
    await asyncio.sleep(case.sizes.seconds)
    begun = time.monotonic()
    server.end()
    tally = await clients.gone()
    status = await asyncio.to_thread(server.process.wait, 60)
    return {**tally.values(), "exit_status": status, "seconds": time.monotonic() - begun}


async def terminated_deaf(case: Case, server: Server) -> dict[str, Any]:
    """SIGTERM while clients open new connections to the very end, as behind no balancer."""
    return await terminated(case, server, stop_when_closed=False)


# -- clients that do not go on -------------------------------------------------------------------------------


async def slow_clients(case: Case, server: Server) -> dict[str, Any]:
    """Bodies, and heads, that come a byte at a time: each is ended, and others are answered meanwhile."""
    count, begun = case.sizes.clients, time.monotonic()
    clients = case.clients(server)
    slow = [raw(server.port, head(1000)) for _ in range(count)]  # a head, and no body
    slow += [raw(server.port, head(1000), b" " * 1000, pause=0.1) for _ in range(count)]
    slow += [raw(server.port, head(1000)[:-2] + b"X-Slow: ", b"x" * 1000, pause=0.1) for _ in range(count)]
    answers = await asyncio.gather(*slow)
    seconds = time.monotonic() - begun
    tally = await clients.stop()
    late = sum(b" 408 " in answer[:20] for answer in answers)
    closed = sum(not answer for answer in answers)
    return {**tally.values(), "slow": len(slow), "slow_408": late, "slow_closed": closed, "seconds": seconds}


async def half_open(case: Case, server: Server) -> dict[str, Any]:
    """Bodies shorter than they say, from clients that then leave: nothing of them stays."""
    begun, left = time.monotonic(), 8 * case.sizes.clients
    clients = case.clients(server)
    before = server.metric("upland_disconnects_total")
    for _ in range(8):
        cut = (raw(server.port, head(MEBIBYTE), case.body, close=True) for _ in range(case.sizes.clients))
        await asyncio.gather(*cut)
    await asyncio.to_thread(wait, lambda: server.metric("upland_disconnects_total") >= before + left)
    tally = await clients.stop()
    waiting = server.metric("upland_queue_length")
    sockets = len(server.processes()[0].net_connections())
    return {**tally.values(), "left": left, "waiting_after": waiting, "sockets_after": sockets,
            "seconds": time.monotonic() - begun}  # fmt: skip


async def many_connections(case: Case, server: Server) -> dict[str, Any]:
    """Connections that are all open at a time; each sends a request, as many as may wait at once."""
    begun = time.monotonic()
    async with Opened(server.port, case.sizes.connections) as opened:
        tally, half = Tally(), case.sizes.queue // 2
        for first in range(0, len(opened.all), half):
            await opened.sent(case.body, tally, first, first + half)
    return {**tally.values(), "connections": case.sizes.connections, "seconds": time.monotonic() - begun}


# -- too much, and what is no data ---------------------------------------------------------------------------


async def overflow(case: Case, server: Server) -> dict[str, Any]:
    """More requests at a time than may wait: each is answered, or refused with the time to try again."""
    begun, tally = time.monotonic(), Tally()
    async with Opened(server.port, case.sizes.connections) as opened:
        heads = await opened.sent(case.rows(20), tally, 0, case.sizes.connections)
    refused = [answer for answer in heads if b" 429 " in answer[:20]]
    again = sum(b"retry-after: 1" in answer.lower() for answer in refused)
    await asyncio.sleep(1)
    after = httpx.post(f"{server.url}{SCORE}", content=case.body, headers=JSON).status_code
    return {**tally.values(), "with_retry_after": again, "status_after": after,
            "seconds": time.monotonic() - begun}  # fmt: skip


async def garbage(case: Case, server: Server) -> dict[str, Any]:
    """Bodies of noise in every content type: refused as such, while others are answered."""
    noise = np.random.default_rng(0).bytes(case.sizes.garbage)
    texts = [noise, b"[" * len(noise), b"1," * (len(noise) // 2), b'{"a":' * (len(noise) // 5)]
    refused, resident, begun = Tally(), server.resident(), time.monotonic()
    clients = case.clients(server)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for kind in KINDS:
            for text in texts:
                response = await client.post(SCORE, content=text, headers={"content-type": kind})
                refused.statuses[response.status_code] += 1
    tally = await clients.stop()
    grown = (server.resident() - resident) / MEBIBYTE
    wrong = {f"garbage_{status}": count for status, count in sorted(refused.statuses.items())}
    return {**tally.values(), **wrong, "bodies": refused.answered, "grown_megabytes": grown,
            "seconds": time.monotonic() - begun}  # fmt: skip


# -- files ---------------------------------------------------------------------------------------------------


async def reloads(case: Case, server: Server) -> dict[str, Any]:
    """A model file that is replaced again and again under load: no answer is lost or of two models."""
    files = case.model.read_bytes(), (case.folder / "other.safetensors").read_bytes()
    seen: dict[str, set[tuple[float, ...]]] = {}

    def check(response: httpx.Response) -> None:
        if response.status_code == 200:
            found = response.json()
            scores = tuple(row["anomaly_score"] for row in found["results"])
            seen.setdefault(found["version"], set()).add(scores)

    begun, turns = time.monotonic(), 0
    clients = Clients(server.url, case.rows(20), case.sizes.clients, check)
    while time.monotonic() < begun + 2 * case.sizes.seconds or turns % 2 or not turns:
        turns += 1
        known = server.metric("upland_reloads_total")
        replace(case.model, files[turns % 2])
        await asyncio.to_thread(wait, lambda known=known: server.metric("upland_reloads_total") > known)
        after = clients.tally.answered + 2 * case.sizes.clients  # then some were sent since
        await asyncio.to_thread(wait, lambda after=after: clients.tally.answered >= after)
    tally = await clients.stop()
    return {**tally.values(), "reloads": turns, "versions": len(seen),
            "mixed": sum(len(scores) - 1 for scores in seen.values()),
            "seconds": time.monotonic() - begun}  # fmt: skip


async def damaged_model(case: Case, server: Server) -> dict[str, Any]:
    """A model file that is replaced by garbage, and removed: the model that was loaded goes on."""
    begun, whole = time.monotonic(), case.model.read_bytes()
    clients = case.clients(server)
    known = server.metric("upland_reloads_total")
    replace(case.model, os.urandom(100_000))
    await asyncio.to_thread(wait, lambda: server.metric("upland_reloads_total") > known)
    case.model.unlink()
    await asyncio.sleep(case.sizes.seconds)
    tally = await clients.stop()
    ready = httpx.get(f"{server.url}/v2/health/ready").status_code
    replace(case.model, whole)
    return {**tally.values(), "ready_after": ready, "seconds": time.monotonic() - begun}


def replace(path: Path, data: bytes) -> None:
    """Put other bytes in the place of a file, in one step."""
    made = path.with_name("made")
    made.write_bytes(data)
    made.replace(path)


async def full_disk(case: Case, server: Server) -> dict[str, Any]:
    """A file of states that cannot grow: a step is refused and its state stays, and scores go on."""
    begun, tally, step = time.monotonic(), Tally(), b'{"x0": 0.1, "x1": 0.2}'
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for number in range(2000):
            path = f"/models/series/next?series={number}"
            response = await client.post(path, content=step, headers=JSON)
            tally.statuses[response.status_code] += 1
            if response.status_code != 200:
                break
        scored = await client.post(SCORE, content=case.body, headers=JSON)
        ready = await client.get("/v2/health/ready")
    return {**tally.values(), "refusal": response.status_code, "score_after": scored.status_code,
            "ready_after": ready.status_code, "seconds": time.monotonic() - begun}  # fmt: skip


def series_model(path: Path) -> Path:
    """A small model of sequences."""
    from upland import SequenceEnergyDetector, save

    x = np.random.default_rng(0).normal(size=(40, 30, 2))
    detector = SequenceEnergyDetector(epochs=1, random_state=0, progress=False)
    save(detector.fit(x), path)
    return path


# -- all -----------------------------------------------------------------------------------------------------

FAULTS: dict[str, Fault] = {
    "slow heads and bodies": slow_clients,
    "half-open bodies": half_open,
    "many connections": many_connections,
    "a full queue": overflow,
    "garbage": garbage,
    "reloads": reloads,
    "a damaged model file": damaged_model,
    "a full disk": full_disk,
    "SIGTERM": terminated,
}
"""Faults of a server of one process; the last ends it."""

OF_SEVERAL: dict[str, Fault] = {"a worker of two killed": killed_worker, "SIGTERM, 2 workers": terminated}
ALONE: dict[str, Fault] = {"SIGTERM, clients that go on": terminated_deaf}


def tried(
    case: Case, several: dict[str, Fault], workers: int, done: Callable[[str, dict[str, Any]], object]
) -> None:
    """Faults on one server, one after another.

    Args:
        case: with the model files.
        several: by name.
        workers: processes of the server.
        done: called with the name and the row of each.
    """
    with case.server(workers) as server:
        for name, fault in several.items():
            done(name, asyncio.run(_called(fault, case, server)))


async def _called(fault: Fault, case: Case, server: Server) -> dict[str, Any]:
    return await fault(case, server)


def faults(records: Records, options: argparse.Namespace) -> None:
    """Every fault, one after another."""
    sizes = SHORT if options.quick else Sizes()
    names = tuple(f"x{column}" for column in range(COLUMNS))
    for several, workers in ((FAULTS, 1), (OF_SEVERAL, 2), (ALONE, 1)):
        if all(records.find(part="faults", method=name) for name in several):
            continue
        with tempfile.TemporaryDirectory() as made:
            case = Case(Path(made), names, sizes)
            write_model(case.model, options.quick)
            write_model(case.folder / "other.safetensors", True)
            tried(case, several, workers, lambda name, values: note(records, "faults", name, values))
