"""The process of the command line: the signals that end it, and standard streams that are closed or full."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

STANDARD_OUTPUT = Path("-")
"""What an output is called that goes to standard output."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that end a command in good order."""

UNWINDING = 5.0
"""Seconds after a signal in which others are ignored, so that nothing interrupts the way out."""


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


class Ending:
    """A handler of signals that raises `Ended` at the first of them, and again at one that comes later than
    unwinding takes: what was raised may have been swallowed, as in a callback or by a library.

    Attributes:
        came: The signal that came; None before.
    """

    def __init__(self) -> None:
        self.came: int | None = None
        self._again = 0.0

    def __call__(self, number: int, frame: object) -> None:
        """Take a signal.

        Args:
            number: Of the signal.
            frame: Where it came.
        """
        now = time.monotonic()
        if self.came is None or now >= self._again:
            self.came, self._again = number, now + UNWINDING
            raise Ended(number)

    def swallowed(self, report: Any, otherwise: Callable[[Any], object]) -> None:
        """What Python calls with an exception that it cannot raise: raise it soon after, where it can be.

        Args:
            report: Of the exception.
            otherwise: What is called for all others.
        """
        if not isinstance(report.exc_value, Ended):
            otherwise(report)
            return
        self._again = 0.0
        later = threading.Timer(0.02, os.kill, (os.getpid(), report.exc_value.number))
        later.daemon = True
        later.start()


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Ended` at the first signal that would end the process, so that unfinished files are deleted;
    signals that are ignored, as `nohup` has it, stay so.
    """
    before: dict[int, Any] = {}
    ending, otherwise = Ending(), sys.unraisablehook
    in_main = threading.current_thread() is threading.main_thread()
    if in_main:
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, ending)
        sys.unraisablehook = partial(ending.swallowed, otherwise=otherwise)
    try:
        yield
    finally:
        if in_main:
            sys.unraisablehook = otherwise
        for number, handler in before.items():
            signal.signal(number, handler)


def check_ended() -> None:
    """Raise `Ended` if a signal has come and what it raised was swallowed; for commands that run for ever."""
    for name in SIGNALS:
        handler = signal.getsignal(getattr(signal, name, signal.SIGINT))
        if isinstance(handler, Ending) and handler.came is not None:
            raise Ended(handler.came)


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
