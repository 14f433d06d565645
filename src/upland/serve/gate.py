"""What every request passes: its id, its key, its time, its line in the log, and an answer in any event."""

from __future__ import annotations

import hmac
import logging
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from upland.serve.answers import JSON, json_bytes
from upland.serve.errors import Refusal, document

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from upland.serve.service import Service

LOG = logging.getLogger("upland.serve")
OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""What is answered without a key: whether the server lives, and the page that says how it is used."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Gate:
    """ASGI middleware around all routes.

    Args:
        app: the routes.
        service: of the server.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._keys = [key.encode() for key in service.settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        one = _Request(scope, headers, send, self._service)
        try:
            if self._keys and scope["path"] not in OPEN and not self._holds_key(headers):
                raise Refusal(401, "this server asks for a key: Authorization: Bearer KEY", _ASK)
            await self._app(scope, receive, one.send)
        except Refusal as refusal:
            await one.refuse(refusal, receive)
        except ClientDisconnect:
            self._service.metrics.abandoned.inc()
            one.status = 499
        except Exception:
            LOG.exception("error while answering", extra={"request_id": one.id, "path": scope["path"]})
            await one.refuse(Refusal(500, "an error inside the server; its log names this request"), receive)
        finally:
            one.end()

    def _holds_key(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request holds one of the keys; the time that this takes says nothing of a key."""
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else given
        matches = [hmac.compare_digest(given, key) for key in self._keys]  # of all, so that it takes one time
        return any(matches)


class _Request:
    """One request on its way."""

    def __init__(self, scope: Scope, headers: dict[bytes, bytes], send: Send, service: Service) -> None:
        self._scope, self._send, self._service = scope, send, service
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = given if _ID.fullmatch(given) else os.urandom(16).hex()
        scope["request_id"] = self.id
        self.status, self.begun, self.message = 0, time.perf_counter(), ""
        scope["refused"] = self._note

    def _note(self, message: str) -> None:
        self.message = message

    async def send(self, message: Message) -> None:
        """Send on, with the request's id; while the server drains the connection is closed behind it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[Any] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
            if self._service.draining:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def refuse(self, refusal: Refusal, receive: Receive) -> None:
        """Answer with an error, if nothing was answered yet."""
        if self.status:
            return
        self.message = refusal.message
        response = refused(refusal, self.id)
        await response(self._scope, receive, self.send)

    def end(self) -> None:
        """Count the request, and log it."""
        seconds = time.perf_counter() - self.begun
        endpoint = self._scope.get("endpoint")
        route = "none" if endpoint is None else endpoint.__name__
        self._service.metrics.answered(route, self.status, seconds)
        wrong = self.status >= 400
        if wrong or self._service.settings.access_log:
            details = {
                "request_id": self.id,
                "method": self._scope["method"],
                "path": self._scope["path"],
                "status": self.status,
                "ms": round(1000 * seconds, 3),
            }
            if self.message:
                details["error"] = self.message
            LOG.log(logging.WARNING if wrong else logging.INFO, "request", extra=details)


def refused(refusal: Refusal, request_id: str) -> Response:
    """An error as the answer of a request.

    Args:
        refusal: what is wrong.
        request_id: by which the log names the request.
    """
    body = json_bytes(document(refusal.status, refusal.message, request_id))
    return Response(body, refusal.status, refusal.headers, JSON)


def keys_of(lines: Iterable[str]) -> tuple[str, ...]:
    """The keys in the lines of a file; empty lines and such that begin with # hold none.

    Args:
        lines: of text.
    """
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


_ASK = {"www-authenticate": "Bearer"}
