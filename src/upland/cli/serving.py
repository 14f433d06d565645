"""The command that serves model files over HTTP."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from upland.cli.app import command
from upland.cli.checks import check, check_alpha
from upland.cli.console import reporting
from upland.cli.options import OfModel

KEY = "UPLAND_SERVE_API_KEY"

Models = Annotated[
    list[Path],
    typer.Argument(readable=False, help="Model files that `upland fit` wrote.", show_default=False),
]
Host = Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
Workers = Annotated[int, typer.Option(min=1, metavar="N", help="Processes; each holds the models.")]
Body = Annotated[int, typer.Option("--max-body", min=1, metavar="MIB", help="Mebibytes of a body at most.")]
MostRows = Annotated[int, typer.Option("--max-rows", min=1, metavar="N", help="Rows of a request at most.")]
Timeout = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time for a body and for a result.")]
Queue = Annotated[int, typer.Option(min=1, metavar="N", help="Requests that wait at most; then 429.")]
Together = Annotated[
    float, typer.Option("--batch-wait", min=0, metavar="MS", help="Milliseconds to wait for more requests.")
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file", readable=False, help=f"File of keys, one a line; or {KEY} in the environment."
    ),
]
Reload = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="How often model files are looked at; 0 never.")
]
Drain = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Time not ready, but answering, before the end.")
]
State = Annotated[
    Path | None, typer.Option(readable=False, help="SQLite file that keeps the states of series.")
]
Series = Annotated[int, typer.Option(min=1, metavar="N", help="Series whose states are kept in memory.")]
Access = Annotated[bool, typer.Option("--access-log", help="Log every request, not only those that fail.")]


@command
def serve(
    models: Models,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = 1,
    alpha: OfModel = None,
    max_body: Body = 16,
    max_rows: MostRows = 100_000,
    timeout: Timeout = 30.0,
    queue: Queue = 512,
    batch_wait: Together = 2.0,
    api_key_file: Key = None,
    reload: Reload = 2.0,
    drain: Drain = 1.0,
    state: State = None,
    series: Series = 10_000,
    access_log: Access = False,
) -> None:
    """Answer requests for scores over HTTP until SIGTERM or Ctrl-C, and then every request that came.

    The page at /docs shows the addresses. A model file that changes is loaded without a pause. Logs are JSON
    on standard error.
    """
    check_alpha(alpha)
    with reporting():
        from upland.io.extras import needed

        for name, value in (("--timeout", timeout), ("--drain", drain), ("--reload", reload)):
            check(value < math.inf, f"{name} is a number of seconds, not {value}")
        for module in ("fastapi", "uvicorn", "httptools", "prometheus_client", "python_multipart"):
            needed(module, f"The server needs {module}", "serve")
        from upland.serve.server import serve as run
        from upland.serve.settings import MEBIBYTE, Settings

        settings = Settings(
            alpha=alpha,
            body_bytes=max_body * MEBIBYTE,
            rows=max_rows,
            seconds=timeout,
            queue=queue,
            batch_seconds=batch_wait / 1000,
            keys=_keys(api_key_file),
            reload_seconds=reload,
            drain_seconds=drain,
            series=series,
            state=state,
            workers=workers,
            access_log=access_log,
        )
        run([model.absolute() for model in models], settings, host, port)


def _keys(file: Path | None) -> tuple[str, ...]:
    """The keys that requests may hold; raises ValueError where a file holds none."""
    from upland.serve.gate import keys_of

    found = keys_of([os.environ.get(KEY, "")])
    if KEY in os.environ and not found:
        raise ValueError(f"the variable {KEY} is set and holds no key")
    if file is not None:
        found += keys_of(file.read_text(encoding="utf-8").splitlines())
        if not found:
            raise ValueError(f"{file} holds no key: write one a line")
    return found
