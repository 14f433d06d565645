"""Reading and writing in threads of their own, beside the work on what was read.

Decoding, casting and compressing run in Arrow's own code, without Python's lock, so that they take place
while the caller computes. Of what is read and written only one thing waits at a time; order stays. An error
arrives where it would without a thread: a reader's after all that was read before it, a writer's at the next
write or at the end, and before an error of the caller's that came later. When the caller leaves, for whatever
reason, both threads have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items in the same order; the next one is made while the caller uses the last.

    Args:
        items: Makes them, in the thread; a generator is closed there too.

    Examples:
        >>> with read_ahead(number * number for number in range(4)) as squares:
        ...     list(squares)
        [0, 1, 4, 9]
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()

    def make() -> None:
        try:
            with closing(_each(items)) as rest:
                while wanted.get():
                    made.put((next(rest),))
        except StopIteration:
            made.put(None)
        except BaseException as error:  # noqa: BLE001
            made.put(error)

    def taken() -> Iterator[T]:
        while (found := made.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            wanted.put(True)
            yield found[0]

    wanted.put(True)
    with _beside(make, lambda: wanted.put(False)):
        yield taken()


@contextmanager
def written_behind(write: Callable[[T], None]) -> Iterator[Callable[[T], None]]:
    """A function that has something written while the caller goes on; at the end all is written.

    Args:
        write: Writes one thing, in the thread.

    Raises:
        Exception: What `write` raised first; nothing is written after it. After what is no `Exception`, such
            as a `KeyboardInterrupt`, what waits is not written.

    Examples:
        >>> found = []
        >>> with written_behind(found.append) as write:
        ...     write("a")
        ...     write("b")
        >>> found
        ['a', 'b']
    """
    given: SimpleQueue[tuple[T] | None] = SimpleQueue()
    ready: SimpleQueue[None] = SimpleQueue()
    failed: list[BaseException] = []
    later: Exception | None = None

    def work() -> None:
        while (item := given.get()) is not None:
            try:
                if not failed:
                    write(item[0])
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
            del item  # so that it is not held while there is nothing to write
            ready.put(None)

    def put(item: T) -> None:
        ready.get()
        if failed:
            raise failed[0]
        given.put((item,))

    ready.put(None)
    with _beside(work, lambda: given.put(None)):
        try:
            yield put
        except Exception as error:  # noqa: BLE001
            later = error
        except BaseException as error:
            failed.append(error)
            raise
    if failed:
        raise failed[0]
    if later is not None:
        raise later


def _each(items: Iterator[T]) -> Generator[T, None, None]:
    yield from items


@contextmanager
def _beside(work: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run a function in a thread, in the caller's context of numerical errors, until it is asked to stop."""
    thread = Thread(target=copy_context().run, args=(work,))
    try:
        thread.start()
        yield
    finally:
        stop()
        if thread.ident is not None:
            try:
                thread.join()
            finally:
                thread.join()  # where a signal has ended the first
