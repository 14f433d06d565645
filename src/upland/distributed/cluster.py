"""A Ray cluster for the time of one command, and tasks on it that are not more at a time than it can work on.

Work is done by tasks, not by a pool of actors: a process that runs tasks keeps the model that it has loaded
(`upland.scoring.loaded`), Ray runs a task again whose process or machine has died, and a cluster that grows
takes more of them. Files are read and written by the tasks themselves, so that no rows go through the driver.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from upland import __version__
from upland.io.advice import Advice, Argument
from upland.io.extras import needed

T = TypeVar("T")

RETRIES = 3
"""How often a task is run again whose process has died."""

AHEAD = 2
"""Tasks that are handed over for each CPU: one runs, one waits."""

EVERY = 0.5
"""Seconds after which signals are looked for."""

PATIENCE = 5.0
"""Seconds that tasks have to end after an interruption."""

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def cluster(address: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected: to the cluster that the program is connected to already, to that of the
    address, or to one of this machine alone, which ends with the block.

    Args:
        address: `auto` for the cluster that this machine is part of, or HOST:PORT; None starts one.
        workers: CPUs of a cluster that is started here; None takes all of the machine.

    Raises:
        ImportError: Ray is not installed; the message says what to install.
        ValueError: There is no cluster at the address.
    """
    ray = needed("ray", "The engine ray needs Ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with _environment(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"), _signals_held():
        if address is None:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        else:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, ValueError, RuntimeError) as error:
                text = f"there is no Ray cluster at {address!r}: `ray start --head` starts one; without "
                raise ValueError(Advice(text, Argument("address"), " this machine is used")) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that processes which are started here find, unless the user has set them."""
    fresh = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            os.environ.pop(name, None)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Put back the program's own handlers of signals, some of which Ray replaces."""
    found = _handlers()
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait for the end of this: an error that a handler raises within Ray's own code is lost."""
    came: list[int] = []
    with _handlers_kept():
        for number, handler in _handlers().items():
            if callable(handler):
                signal.signal(number, lambda number, frame: came.append(number))
        yield
    if came:
        signal.raise_signal(came[0])


def _handlers() -> dict[int, Any]:
    """The handlers of signals that end a program; none in another thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = [getattr(signal, name, None) for name in _SIGNALS]
    return {number: signal.getsignal(number) for number in numbers if number is not None}


def cpus(ray: Any) -> int:
    """How many CPUs the cluster has now, at least one."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def completed(
    ray: Any, items: Iterable[T], submit: Callable[[T], Any], workers: int | None = None
) -> Iterator[tuple[T, Any]]:
    """Each item and the result of its task, as they end; of a task that has failed its error.

    Args:
        ray: The module, connected.
        items: What is to be done.
        submit: Starts the task of an item and returns the reference of its result.
        workers: How many tasks there are at a time; None takes two for each CPU of the cluster.
    """
    rest = iter(items)
    running: dict[Any, T] = {}
    try:
        while True:
            most = workers or AHEAD * cpus(ray)
            with _signals_held():
                for item in islice(rest, max(0, most - len(running))):
                    running[submit(item)] = item
                if not running:
                    return
                done, _ = ray.wait(list(running), num_returns=1, timeout=EVERY)
                found = [(running.pop(reference), _result(ray, reference)) for reference in done]
            yield from found
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=PATIENCE)


def _result(ray: Any, reference: Any) -> Any:
    """What a task returned, or its error where the process that ran it died again and again; raises
    ImportError where a machine has not what it needs.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if found := re.search(r"No module named '([\w.]+)'", str(error)):
            raise ImportError(
                f"the processes of the cluster find no {found[1]}: install upland {__version__} with what "
                "the model needs on every machine"
            ) from error
        raise  # a fault of ours: tasks return what is wrong with the data
    except ray.exceptions.RayError as error:
        first = (str(error).splitlines() or [""])[0]
        return Lost(
            f"the process that worked on it died {RETRIES + 1} times: {type(error).__name__}: {first}"
        )


class Lost(str):
    """Why there is no result of a task."""
