"""What belongs to a whole process is changed by one thread at a time."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def in_forks(call: Callable[[], object]) -> None:
    """Call a function in each process that is forked from this one, where there are forks.

    Args:
        call: Takes nothing; other threads, and what they hold, are not there.
    """
    if "register_at_fork" in dir(os):  # not on Windows
        os.register_at_fork(after_in_child=call)


class ProcessLock:
    """A lock that one thread holds at a time, as often as it likes; open in a process that is forked."""

    def __init__(self) -> None:
        self._renew()
        in_forks(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


WARNINGS = ProcessLock()
"""Held while the filters of warnings are changed, which all threads share."""


@contextmanager
def warnings_apart(record: bool = False) -> Iterator[Any]:
    """Warnings with filters of their own, which are the program's again afterwards, whatever the order in
    which threads begin and end; others that want the same wait.

    Args:
        record: Whether warnings are kept in a list, which is given, instead of being said.
    """
    with WARNINGS, warnings.catch_warnings(record=record) as caught:
        yield caught
