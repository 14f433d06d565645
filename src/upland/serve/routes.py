"""The addresses of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from upland import __version__
from upland.calibration.false_discovery import ALPHA
from upland.scoring.columns import ADDED
from upland.serve import protocol
from upland.serve.answers import JSON, accepted, json_bytes
from upland.serve.bodies import joined, parsed
from upland.serve.errors import Refusal
from upland.serve.files import check_rows
from upland.serve.models import Served
from upland.serve.more import REASONS, next_steps, reason_record, reasons, series_of, verdicts
from upland.serve.openapi import DATA, INFERENCE, described
from upland.serve.service import Service

Endpoint = Callable[[Request], Awaitable[Response]]


def add_routes(app: FastAPI, service: Service) -> None:
    """Add all addresses but that of the page.

    Args:
        app: the application.
        service: of the server.
    """
    _add_health(app, service)
    _add_series(app, service)
    _add_groups_and_reasons(app, service)
    _add_protocol(app, service)
    _add_scores(app, service)  # the last is looked at first


def _add(app: FastAPI, path: str, endpoint: Endpoint, tag: str, **content: Any) -> None:
    """An address that takes data.

    FastAPI describes it; a plain route before it answers, since what FastAPI does for typed arguments takes
    longer than all else in a request of one row.
    """
    names = [name for name in ("name", "version") if f"{{{name}}}" in path]
    _describe(app, path, endpoint, tag, "POST", described(names, **content))
    app.router.routes.insert(0, Route(path, endpoint, methods=["POST"]))


def _describe(
    app: FastAPI, path: str, endpoint: Endpoint, tag: str, method: str, extra: dict[str, Any]
) -> None:
    name = f"{endpoint.__name__} {path}"
    app.add_api_route(path, endpoint, methods=[method], tags=[tag], openapi_extra=extra, operation_id=name)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type=JSON)


def _add_scores(app: FastAPI, service: Service) -> None:
    async def score(request: Request) -> Response:
        """Anomaly scores, p-values and flags of rows, images or sequences."""
        served = _served(request, service)
        kind = accepted(request.headers.get("accept", ""))
        asked = service.asked(request.query_params, served.alpha)
        body = await service.body(request, served)
        columns = await service.score(served, body, asked)
        return service.answer(kind, served, columns, {"alpha": asked.alpha})

    for path in ("/models/{name}/score", "/score"):
        _add(app, path, score, "scores", data=DATA, query=("alpha", "explain"))


def _served(request: Request, service: Service) -> Served:
    """The model that a request names, in the version that it names."""
    served = service.models.get(request.path_params.get("name"))
    version = request.path_params.get("version", served.version)
    if version != served.version:
        raise Refusal(404, f"there is no such version; there is {served.version}")
    return served


def _add_protocol(app: FastAPI, service: Service) -> None:
    tag = "Open Inference Protocol"

    async def infer(request: Request) -> Response:
        """Scores of tensors, one for each column."""
        served = _served(request, service)
        given = parsed(await service.bytes_of(request))
        body = protocol.inference_body(given, served)
        check_rows(body.size, service.settings.rows)
        asked = service.asked(given.get("parameters") or {}, served.alpha)
        columns = await service.score(served, body, asked)
        answer: dict[str, Any] = {"model_name": served.name, "model_version": served.version}
        if given.get("id") is not None:
            answer["id"] = given["id"]
        return _json(answer | {"outputs": protocol.outputs(given, columns)})

    async def model(request: Request) -> Response:
        """The columns that a model takes, and what it gives."""
        return _json(protocol.metadata(_served(request, service)))

    async def model_ready(request: Request) -> Response:
        """Whether a model takes requests."""
        found = _served(request, service)
        return _json({"name": found.name, "ready": not service.draining}, 503 if service.draining else 200)

    @app.get("/v2", tags=[tag])
    async def server() -> Response:
        """The name and the version of the server."""
        return _json({"name": "upland", "version": __version__, "extensions": []})

    for versions in ("", "/versions/{version}"):
        path = f"/v2/models/{{name}}{versions}"
        _add(app, f"{path}/infer", infer, tag, data=INFERENCE)
        for end, endpoint in (("", model), ("/ready", model_ready)):
            names = ["name", "version"] if versions else ["name"]
            _describe(app, path + end, endpoint, tag, "GET", described(names))


def _add_health(app: FastAPI, service: Service) -> None:
    tag = "health"

    @app.get("/v2/health/live", tags=[tag])
    async def live() -> Response:
        """Whether the server lives."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=[tag])
    async def ready() -> Response:
        """Whether the server takes requests: 503 once it drains."""
        return _json({"ready": not service.draining}, 503 if service.draining else 200)

    @app.get("/models", tags=[tag])
    async def models() -> Response:
        """The models of the server."""
        found = [
            {
                "name": one.name,
                "version": one.version,
                "modality": one.detector.modality,
                "detector": type(one.detector).__name__,
                "unit": one.unit,
                "alpha": one.alpha,
                "smallest_p": one.detector.calibrations_[one.unit].smallest_p,
            }
            for one in service.models
        ]
        return _json({"models": found})

    @app.get("/metrics", tags=[tag])
    async def metrics() -> Response:
        """Metrics in the text format of Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_groups_and_reasons(app: FastAPI, service: Service) -> None:
    async def groups(request: Request) -> Response:
        """A verdict on each group of rows; alpha is the false discovery rate among them."""
        served = _served(request, service)
        kind = accepted(request.headers.get("accept", ""))
        query, usual = request.query_params, service.settings.alpha
        asked = service.asked(query, ALPHA if usual is None else usual)
        by, statistic = query.getlist("by"), query.get("statistic", "auto")
        body = await service.body(request, served)
        columns = await service.in_thread(lambda: verdicts(served, body, by, asked.alpha, statistic))
        return service.answer(kind, served, columns, {"alpha": asked.alpha, "by": by})

    async def explain(request: Request) -> Response:
        """Scores, and the contributing columns, steps or regions with what was expected of them."""
        served = _served(request, service)
        asked = service.asked({"explain": REASONS, **request.query_params}, served.alpha)
        body = await service.body(request, served)
        columns = await service.score(served, body, service.asked({}, asked.alpha))
        found = await service.in_thread(lambda: reasons(served, joined([body]), asked.explain))
        records = [list(map(reason_record, row)) for row in found]
        return service.answer(JSON, served, {**columns, "reasons": records}, {"alpha": asked.alpha})

    for prefix in ("/models/{name}", ""):
        _add(app, f"{prefix}/groups", groups, "groups", data=DATA, query=("by", "alpha", "statistic"))
        _add(app, f"{prefix}/explain", explain, "reasons", data=DATA, query=("alpha", "explain"))


def _add_series(app: FastAPI, service: Service) -> None:
    async def next(request: Request) -> Response:
        """The scores of the step, or the steps, that follow in a series."""
        served = _served(request, service)
        kind = accepted(request.headers.get("accept", ""))
        if service.settings.workers > 1 and service.settings.state is None:
            raise Refusal(503, "this server has several workers and no file for the states of series")
        asked = service.asked(request.query_params, served.alpha)
        series, after = series_of(request.query_params)
        body = await service.body(request, served)
        columns = await service.in_thread(lambda: next_steps(served, service.states, series, body, after))
        service.metrics.scored(served, columns[ADDED[0]].to_numpy(), columns[ADDED[1]].to_numpy())
        flags = columns[ADDED[1]].to_numpy() <= asked.alpha
        details = {"series": series, "alpha": asked.alpha}
        return service.answer(kind, served, {**columns, ADDED[2]: flags}, details)

    async def forget(request: Request) -> Response:
        """Forget a series, so that its next step is a first one."""
        served = _served(request, service)
        series, _ = series_of(request.query_params)
        known = await service.in_thread(lambda: service.states.forget((served.name, series)))
        return _json({"model": served.name, "series": series, "forgotten": known})

    for prefix in ("/models/{name}", ""):
        path, names = f"{prefix}/next", ["name"] if prefix else []
        _add(app, path, next, "series", data=DATA, query=("series", "after", "alpha"))
        _describe(app, path, forget, "series", "DELETE", described(names, query=("series",)))
