"""HTTP connections that are closed where a client does not go on."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS = 30.0
"""Time that the line and the headers of a request may take; its body has a limit of its own."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a limit for the time from a connection, or from the first byte of a request,
    to the end of the headers.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        super().connection_made(transport)
        self._late = self.loop.call_later(SECONDS, self._close)

    def on_message_begin(self) -> None:
        """Begin to count, where no connection has begun it."""
        if self._late is None:
            self._late = self.loop.call_later(SECONDS, self._close)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The request is there."""
        self._stop()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is to come."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        """Close, unless an earlier request of the connection still waits for its answer."""
        self._late = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
