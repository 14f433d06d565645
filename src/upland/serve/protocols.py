"""HTTP connections that are closed where a client does not go on."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOMENT = 0.5
"""Seconds that a new connection has for its request once the server ends."""

LONGEST_HEAD = 1 << 16
"""Bytes of the line and the headers of a request."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits for what comes before the body of a request, which has its own.

    Args:
        arguments: of uvicorn's protocol.
        patience: seconds from a connection, or from the first byte of a request, to the end of its headers.
        named: of uvicorn's protocol, by name.
    """

    def __init__(self, *arguments: Any, patience: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._late: asyncio.TimerHandle | None = None
        self._head = 0
        self._served = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """Begin to wait, where no connection has begun it."""
        self._head = 0
        self._wait()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is too long is refused."""
        super().data_received(data)
        if self._late is not None:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """The request is there."""
        self._stop()
        self._served = True
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is to come."""
        self._stop()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close; a connection without a request so far gets a moment for the one that may be on its way."""
        if self._served or self.transport.is_closing():
            super().shutdown()
        else:
            self._stop()
            self._late = self.loop.call_later(MOMENT, self._close)

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self._patience, self._close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        """Close, unless an earlier request of the connection still waits for its answer."""
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
