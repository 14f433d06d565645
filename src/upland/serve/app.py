"""The routes of a server, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from upland import __version__
from upland.serve.errors import Refusal
from upland.serve.gate import Gate, refused
from upland.serve.models import Models
from upland.serve.page import add_page
from upland.serve.routes import add_routes
from upland.serve.service import Service
from upland.serve.settings import Settings

LOG = logging.getLogger("upland.serve")


def create_app(models: Sequence[str | Path], settings: Settings | None = None) -> FastAPI:
    """An ASGI application that serves model files.

    Args:
        models: paths of model files; the name of a model is that of its file without `.safetensors`.
        settings: limits and behaviour; None is the usual ones.

    Raises:
        ValueError, OSError: a model file cannot be loaded; two have one name.
    """
    settings = settings or Settings()
    service = Service(Models([Path(model) for model in models], settings.alpha), settings)
    app = FastAPI(
        title="upland",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: _life(service),
    )
    app.state.service = service
    add_routes(app, service)
    add_page(app)
    app.add_middleware(Gate, service=service)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        request.scope["refused"](error.message)
        return refused(error, request.scope["request_id"])

    async def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {404: "there is no such address", 405: "the address does not take this method"}
        text = message.get(error.status_code, str(error.detail))
        return await refuse(request, Refusal(error.status_code, text, error.headers))

    app.add_exception_handler(Refusal, refuse)
    app.add_exception_handler(HTTPException, refuse_route)
    return app


# -- from start to end ---------------------------------------------------------------------------------


@asynccontextmanager
async def _life(service: Service) -> AsyncIterator[None]:
    """Look after the model files, and drain at the signal to end."""
    _drain_first(service)
    tasks = [asyncio.create_task(_renew(service))] if service.settings.reload_seconds else []
    LOG.info("ready", extra={"models": {one.name: one.version for one in service.models}})
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    service.close()
    LOG.info("ended: every request was answered")


def _drain_first(service: Service) -> None:
    """Put a time of draining before what a signal does now: `ready` is false, and everything is answered."""
    loop = asyncio.get_running_loop()

    begun: list[asyncio.TimerHandle] = []

    def drain(number: int, before: Any) -> None:
        if not begun:
            service.draining = True
            LOG.info("draining", extra={"seconds": service.settings.drain_seconds})
            begun.append(loop.call_later(service.settings.drain_seconds, end, before))
        elif begun[0].when() > loop.time() and not begun[0].cancelled():
            begun[0].cancel()  # a second signal does not wait
            end(before)
        else:
            before(number, None)  # a third does not wait for answers, if it is SIGINT

    def end(before: Any) -> None:
        before(signal.SIGTERM, None)

    def install(number: int, before: Any) -> None:
        def caught(number: int, frame: object) -> None:
            loop.call_soon_threadsafe(drain, number, before)

        signal.signal(number, caught)

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before) and threading.current_thread() is threading.main_thread():
            install(number, before)


async def _renew(service: Service) -> None:
    """Look at the model files again and again."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(service.settings.reload_seconds)
        await loop.run_in_executor(None, service.models.renew, service.metrics.reloaded)
