"""An application of every example of an estimator, asked in the process, and a server process."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from programs import COMMAND_LINE, SOURCE
from upland.serve.app import create_app
from upland.serve.settings import Settings

ARROW = "application/vnd.apache.arrow.stream"


class Reply(NamedTuple):
    """An answer: its status, its document (of JSON) and its headers."""

    status: int
    document: Any
    headers: Any
    content: bytes

    @property
    def error(self):
        return self.document["error"]

    def column(self, name):
        return [record[name] for record in self.document["results"]]


class Client:
    """Asks an application in this process.

    Args:
        models: paths of model files.
        settings: of the server.
    """

    def __init__(self, *models, **settings):
        self.app = create_app(models, Settings(**settings))

    @property
    def service(self):
        return self.app.state.service

    def ask(self, method, path, **request):
        return asyncio.run(self.asks([(method, path, request)]))[0]

    async def asks(self, requests):
        """The answers to requests that are sent at the same time."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://upland") as client:
            calls = [client.request(method, path, **request) for method, path, request in requests]
            return [reply_of(response) for response in await asyncio.gather(*calls)]

    def post(self, path, data=None, kind=None, **request):
        """Post an object as JSON, or bytes of a content type."""
        if isinstance(data, bytes):
            request["content"] = data
        elif data is not None:
            request["content"], kind = json.dumps(data).encode(), kind or "application/json"
        headers = request.pop("headers", {}) | ({"content-type": kind} if kind else {})
        return self.ask("POST", path, headers=headers, **request)

    def get(self, path, **request):
        return self.ask("GET", path, **request)


def reply_of(response):
    plain = response.headers.get("content-type", "").startswith("application/json")
    return Reply(response.status_code, response.json() if plain else None, response.headers, response.content)


class Server:
    """A server process.

    Args:
        process: that runs.
        log: the file of its standard error.
    """

    def __init__(self, process, log):
        self.process, self.log = process, log

    def lines(self):
        """What it has logged, each line an object of JSON."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def logged(self, message, count=1):
        """Wait until it has logged a message so many times; the last line of them."""
        for _ in range(2000):  # where the machine is busy a process takes long to start
            found = [line for line in self.lines() if line["message"] == message]
            if len(found) >= count:
                return found[-1]
            if self.process.poll() is not None:
                break
            self.pause()
        raise AssertionError(self.log.read_text())

    def pause(self, seconds=0.05):
        asyncio.run(asyncio.sleep(seconds))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.logged('listening')['port']}"

    def end(self, number=signal.SIGTERM):
        """Ask it to end, and its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def server(folder, *arguments, workers=1):
    """A server process that is ready, and ended in any event."""
    log = folder / "server.log"
    command = [sys.executable, *COMMAND_LINE, "serve", *map(str, arguments), "--port", "0"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            stderr=errors,
            stdout=errors,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        )
    found = Server(process, log)
    try:
        found.logged("ready", workers)
        yield found
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def metric(text, name, **labels):
    """The value of a metric in Prometheus' text."""
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            return float(found[2])
    raise AssertionError(f"no metric {name} {labels}")
