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
from starlette.routing import Route

from upland import __version__
from upland.serve import protocol
from upland.serve.answers import JSON, accepted, json_bytes
from upland.serve.bodies import parsed
from upland.serve.errors import Refusal
from upland.serve.gate import Gate, refused
from upland.serve.models import Models
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
    _add_routes(app, service)
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


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type=JSON)


def _add_routes(app: FastAPI, service: Service) -> None:
    """The routes of health, models and scores."""

    @app.get("/v2", tags=["Open Inference Protocol"])
    async def server() -> Response:
        """The server: its name and version."""
        return _json({"name": "upland", "version": __version__, "extensions": []})

    @app.get("/v2/health/live", tags=["health"])
    async def live() -> Response:
        """Whether the server lives."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=["health"])
    async def ready() -> Response:
        """Whether the server takes requests: 503 once it drains."""
        return _json({"ready": not service.draining}, 503 if service.draining else 200)

    @app.get("/v2/models/{name}", tags=["Open Inference Protocol"])
    async def model(name: str) -> Response:
        """What a model takes and gives."""
        return _json(protocol.metadata(service.models.get(name)))

    @app.get("/v2/models/{name}/ready", tags=["health"])
    async def model_ready(name: str) -> Response:
        """Whether a model takes requests."""
        found = service.models.get(name)
        return _json({"name": found.name, "ready": not service.draining}, 503 if service.draining else 200)

    async def infer(request: Request) -> Response:
        """Scores of tensors, one a column."""
        served = service.models.get(request.path_params["name"])
        given = parsed(await service.bytes_of(request))
        body = protocol.inference_body(given, served)
        parameters = given.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise Refusal(400, '"parameters" is an object')
        columns = await service.score(served, body, service.asked(parameters))
        answer: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
        if "id" in given:
            answer["id"] = given["id"]
        return _json(answer | {"outputs": protocol.outputs(given, columns)})

    async def score(request: Request) -> Response:
        """Anomaly scores, p-values and flags."""
        served = service.models.get(request.path_params.get("name"))
        kind = accepted(request.headers.get("accept", ""))
        asked = service.asked(request.query_params)
        body = await service.body(request, served)
        columns = await service.score(served, body, asked)
        return service.answer(kind, served, columns, {"alpha": asked.alpha})

    hot = {"/score": score, "/models/{name}/score": score, "/v2/models/{name}/infer": infer}
    app.router.routes[:0] = [Route(path, endpoint, methods=["POST"]) for path, endpoint in hot.items()]

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


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

    def drain(number: int, before: Any) -> None:
        if service.draining:
            before(number, None)  # a second signal does not wait
            return
        service.draining = True
        LOG.info("draining", extra={"seconds": service.settings.drain_seconds})
        loop.call_later(service.settings.drain_seconds, before, number, None)

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
