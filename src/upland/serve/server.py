"""A server process, or several behind one socket."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import torch
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from upland.io.modelfile import read_bytes, tensors_of
from upland.serve.app import create_app
from upland.serve.logs import log_config
from upland.serve.protocols import PatientProtocol
from upland.serve.series import InFile
from upland.serve.settings import Settings

LOG = logging.getLogger("upland.serve")
BACKLOG = 2048
"""Connections that the system keeps until they are taken."""

SWITCH = 0.0005
"""Seconds after which a thread lets another run; the usual 5 ms would be waiting time of each request."""


def serve(models: Sequence[Path], settings: Settings, host: str, port: int) -> None:
    """Answer requests until a signal ends the process; then drain and return.

    Args:
        models: paths of model files.
        settings: limits and behaviour.
        host: the address to listen at.
        port: the port; 0 takes a free one, and the log says which.

    Raises:
        OSError: nobody can listen there; a model file cannot be read.
        ValueError: a model file cannot be loaded.
    """
    with _listening(host, port) as listener:
        if settings.workers > 1:
            _check(models, settings)
            _serve_by_workers(models, settings, listener)
            return
        app = create_app(models, settings)
        config = _config(app, settings)
        _say_where(listener, settings)
        prepare_process()
        freeze_objects()
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again when all is answered
            signal.signal(number, lambda number, frame: None)
        uvicorn.Server(config).run(sockets=[listener])


def _serve_by_workers(models: Sequence[Path], settings: Settings, listener: socket.socket) -> None:
    """The same by several processes; raises OSError where none can start."""
    made = partial(_made_or_ended, models, settings)
    config = _config(made, settings, factory=True, workers=settings.workers)
    _say_where(listener, settings)
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise OSError("no worker can start; the log says why")


def _config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="auto",
        http=partial(PatientProtocol, patience=settings.seconds),  # type: ignore[arg-type]
        ws="none",
        log_config=log_config(),
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=int(settings.seconds) + 5,
        timeout_worker_healthcheck=30,
        **options,
    )


def _say_where(listener: socket.socket, settings: Settings) -> None:
    host, port, *_ = listener.getsockname()
    LOG.info("listening", extra={"host": host, "port": port, "workers": settings.workers})
    if not (settings.keys or ip_address(host).is_loopback):
        LOG.warning("whoever reaches this machine can send requests: no key is asked for")


def _check(models: Sequence[Path], settings: Settings) -> None:
    """Refuse before any worker starts what none could use; raises ValueError, OSError."""
    for model in models:
        tensors_of(read_bytes(model), model)
    if settings.state is not None:
        InFile(settings.state, settings.series).close()


def prepare_process() -> None:
    """Set up what all threads of a server process share."""
    torch.set_num_threads(1)  # one call at a time beside other processes: more threads are in the way
    sys.setswitchinterval(SWITCH)
    warnings.simplefilter("default")  # each once
    logging.captureWarnings(True)


def freeze_objects() -> None:
    """Take what is there, such as torch and the models, out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def _made_or_ended(models: Sequence[Path], settings: Settings) -> Any:
    """The application of a worker; where it cannot be made the supervisor is to stop, not to try again."""
    prepare_process()
    try:
        app = create_app(models, settings)
        freeze_objects()
        return app
    except (ValueError, OSError) as error:
        LOG.error("the worker cannot start", extra={"reason": str(error)})
        sys.exit(STARTUP_FAILURE)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from None
    listener.set_inheritable(True)
    return listener
