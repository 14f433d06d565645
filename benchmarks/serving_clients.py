"""Clients of a server that count what they send and what comes back."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

JSON = {"content-type": "application/json"}
SCORE = "/models/model/score"
TIMEOUT = 60.0


@dataclass
class Tally:
    """What became of requests.

    Args:
        statuses: answers, by status.
        refused: connections that could not be made: the server never had these requests.
        lost: requests that were sent, and whose connection ended before an answer.
        hung: requests without an answer after `TIMEOUT` seconds.
        longest: seconds of the slowest answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    lost: int = 0
    hung: int = 0
    longest: float = 0.0

    @property
    def answered(self) -> int:
        """Requests that were answered."""
        return self.statuses.total()

    def values(self) -> dict[str, Any]:
        """As a row of results."""
        counts = {f"status_{status}": count for status, count in sorted(self.statuses.items())}
        return {
            "sent": self.answered + self.lost + self.hung,
            "answered": self.answered,
            "lost": self.lost,
            "hung": self.hung,
            "connections_refused": self.refused,
            "longest_seconds": self.longest,
            **counts,
        }


class Clients:
    """Clients that each send one request after another, each over a connection of its own.

    Args:
        url: of the server.
        body: of the requests.
        count: of clients.
        check: called with every answer.
        stop_when_closed: whether a client ends once the server closes its connection, as a balancer does that
            sees a server drain.
    """

    def __init__(
        self,
        url: str,
        body: bytes,
        count: int,
        check: Callable[[httpx.Response], object] | None = None,
        stop_when_closed: bool = False,
    ) -> None:
        self.tally, self.ended = Tally(), asyncio.Event()
        self._url, self._body, self._check, self._stop = url, body, check, stop_when_closed
        self._tasks = [asyncio.create_task(self._client()) for _ in range(count)]

    async def stop(self) -> Tally:
        """What was counted, after the last answers."""
        self.ended.set()
        return await self.gone()

    async def gone(self) -> Tally:
        """What was counted, once all clients have ended by themselves."""
        await asyncio.gather(*self._tasks)
        return self.tally

    async def _client(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT) as client:
            while not self.ended.is_set():
                response = await ask(client, self.tally, self._body)
                if response is None:
                    if self.tally.refused:  # nobody listens any more
                        return
                    continue
                if self._check is not None:
                    self._check(response)
                if self._stop and response.headers.get("connection") == "close":
                    return


async def ask(client: httpx.AsyncClient, tally: Tally, body: bytes) -> httpx.Response | None:
    """Send one request and count what becomes of it; None where there was no answer."""
    begun = time.monotonic()
    try:
        response = await client.post(SCORE, content=body, headers=JSON)
    except httpx.ConnectError:
        tally.refused += 1
    except httpx.TimeoutException:
        tally.hung += 1
    except httpx.TransportError:
        tally.lost += 1
    else:
        tally.statuses[response.status_code] += 1
        tally.longest = max(tally.longest, time.monotonic() - begun)
        return response
    return None


class Opened:
    """Connections that are open at the same time, as a context.

    Args:
        port: of the server.
        count: of connections.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self.all: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Opened:
        opening = (asyncio.open_connection("127.0.0.1", self._port) for _ in range(self._count))
        self.all = await asyncio.gather(*opening)
        return self

    async def __aexit__(self, *error: object) -> None:
        for _, writer in self.all:
            writer.close()

    async def sent(self, body: bytes, tally: Tally, first: int, last: int) -> list[bytes]:
        """The heads of the answers to a request on each of some connections, counted."""
        data, begun, chosen = head(len(body)) + body, time.monotonic(), self.all[first:last]
        for _, writer in chosen:
            writer.write(data)
        found = await asyncio.gather(*(_answer(reader) for reader, _ in chosen))
        for answer in found:
            if answer:
                tally.statuses[int(answer.split(b" ", 2)[1])] += 1
            else:
                tally.lost += 1
        tally.longest = max(tally.longest, time.monotonic() - begun)
        return found


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The head of an answer, its body read; empty where the connection ends before."""
    try:
        found = await reader.readuntil(b"\r\n\r\n")
        length = found.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    return found


async def raw(port: int, first: bytes, data: bytes = b"", close: bool = False, pause: float = 0.0) -> bytes:
    """What comes back for bytes on a connection until the server ends it.

    Args:
        port: of the server.
        first: sent at once.
        data: sent after it.
        close: whether the connection is closed once all is sent.
        pause: seconds before each byte of the data; 0 sends them at once.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.read())
    try:
        writer.write(first if pause else first + data)
        await writer.drain()
        if close:
            answer.cancel()
            return b""
        for place in range(len(data) if pause else 0):
            if (await asyncio.wait([answer], timeout=pause))[0]:
                break
            writer.write(data[place : place + 1])
        return await asyncio.wait_for(answer, TIMEOUT)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def head(length: int, kind: str = "application/json") -> bytes:
    """The head of a request for scores with so long a body."""
    lines = [
        f"POST {SCORE} HTTP/1.1",
        "Host: a",
        f"Content-Type: {kind}",
        f"Content-Length: {length}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()
