"""A server that reads a body and answers a constant: what is left of the cost when nothing is scored.

    python -m benchmarks.serving_constant KIND

KIND is `asgi` (a function of uvicorn's own interface) or `fastapi` (a route of FastAPI).
"""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response

from upland.serve.logs import log_config

ANSWER = (
    b'{"model":"m","version":"0123456789ab","alpha":0.05,"results":[{"anomaly_score":1.245415414373928,'
    b'"p_value":0.15730337078651685,"is_anomaly":false}]}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
LOG = logging.getLogger("upland.serve")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answer as ASGI has it, without a framework."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


def fastapi() -> Any:
    """The same as a route."""
    app = FastAPI()

    @app.post("/score")
    async def score(request: Request) -> Response:
        await request.body()
        return Response(ANSWER, media_type="application/json")

    return app


def main(argv: list[str]) -> int:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    app = asgi if argv == ["asgi"] else fastapi()
    config = uvicorn.Config(
        app, loop="auto", http="httptools", lifespan="off", log_config=log_config(), access_log=False
    )
    LOG.info("listening", extra={"port": listener.getsockname()[1]})
    LOG.info("ready")
    uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
