"""The process of the command line: the signals that end it, and standard streams that are closed or full."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

STANDARD_OUTPUT = Path("-")
"""What an output is called that goes to standard output."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that end a command in good order."""


class Ended(BaseException):
    """A signal that ends the command; no `KeyboardInterrupt`, after which a fit keeps what it has.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code, as a shell counts it."""
        return 128 + self.number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Ended` at the first signal that would end the process, so that unfinished files are deleted;
    signals that are ignored, as `nohup` has it, stay so.
    """
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals that end a command wait for the end of this, where a file is made and noted for deletion.

    A mask would not do: a signal goes to any thread of the process, and its handler runs in the main one.
    """
    before: dict[int, Any] = {}
    came: list[int] = []
    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and callable(signal.getsignal(number)):
                before[number] = signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def open_streams() -> None:
    """Put the null device where a standard stream is closed, so that no file that is opened takes its
    number.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal cannot show is no reason to stop


def silence(stream: TextIO) -> None:
    """Let what is still to be written into a stream go nowhere."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextmanager
def delivering() -> Iterator[None]:
    """Write to standard output; a reader that leaves early, as `head` does, has what it wants.

    Raises:
        OSError: Standard output cannot be written.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError:
        silence(sys.stdout)
        raise
