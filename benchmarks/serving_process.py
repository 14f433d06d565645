"""A server as a process of its own: started, asked, looked at and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

START = "from upland.cli import main; main()"  # what the `upland` script does
PATIENCE = 60.0
"""Seconds within which a server starts, and within which it ends."""


class Server:
    """A server at a free port of this machine, as a context.

    Args:
        log: file that takes what it writes: JSON lines, `listening` with its port and `ready` of each worker.
        command: that starts it, without the interpreter.
        workers: processes that answer.
        before: called in the new process before the command, such as to limit it.
    """

    def __init__(
        self, log: Path, command: Sequence[str], workers: int = 1, before: Callable[[], None] | None = None
    ) -> None:
        self.log, self.workers = log, workers
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stderr=file,
                stdout=file,
                preexec_fn=before,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.port = 0

    def __enter__(self) -> Server:
        try:
            listening = wait(lambda: self.logged("listening"), self.process)
            self.port = int(listening[0]["port"])
            wait(lambda: len(self.logged("ready")) >= self.workers, self.process)
        except BaseException:
            self.process.kill()
            self.process.wait()
            sys.stderr.write(self.log.read_text())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            for process in [*children, self.process]:
                process.kill()
            self.process.wait()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The lines of the log with a message."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in map(_line, lines) if line.get("message") == message]

    def processes(self) -> list[psutil.Process]:
        """Those that answer requests."""
        main = psutil.Process(self.process.pid)
        pids = {line["pid"] for line in self.logged("ready")}
        return [one for one in [main, *main.children(recursive=True)] if one.pid in pids]

    def cpu_seconds(self) -> float:
        """CPU time of all processes so far."""
        return sum(sum(one.cpu_times()[:2]) for one in self.processes())

    def resident(self) -> int:
        """Bytes of memory that its processes hold."""
        return sum(int(one.memory_info().rss) for one in self.processes())

    def end(self) -> None:
        """Ask it to end, as an orchestrator does."""
        self.process.send_signal(signal.SIGTERM)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, of one process."""
        text = httpx.get(f"{self.url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def upland(
    log: Path, *arguments: str | Path, workers: int = 1, before: Callable[[], None] | None = None
) -> Server:
    """`upland serve`; the arguments are those of the command and of `Server`."""
    command = ["-c", START, "serve", *map(str, arguments), "--port", "0", "--workers", str(workers)]
    return Server(log, command, workers, before)


def _line(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:  # half written
        return {}
    return found


def wait(there: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    """What a call returns once it is true.

    Raises:
        RuntimeError: the process has ended, or too much time has passed.
    """
    end = time.monotonic() + PATIENCE
    while not (found := there()):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        if time.monotonic() > end:
            raise RuntimeError(f"nothing came within {PATIENCE:g} s")
        time.sleep(0.02)
    return found


class Machine:
    """How many cores other processes used while something ran."""

    def __enter__(self) -> Machine:
        self._begun, self._busy = time.monotonic(), _busy()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._begun
        self._busy = _busy() - self._busy

    def others(self, own: float) -> float:
        """Cores in use beside so many CPU seconds of one's own."""
        return max(0.0, self._busy - own) / self.seconds


def _busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def named(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Columns x0, x1 ... of a matrix."""
    return {f"x{column}": rows[:, column] for column in range(rows.shape[1])}


def record(names: Mapping[str, Any]) -> bytes:
    """One row as a JSON object."""
    return json.dumps({name: float(value) for name, value in names.items()}).encode()
