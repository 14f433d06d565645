"""Threads beside the work: order, bounds, errors as without them, and no thread afterwards."""

import threading
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import pytest

from upland.io.threads import read_ahead, written_behind


class Stop(BaseException):
    """What ends a command, as a signal does."""


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class Numbers:
    """Numbers from 0, and what is known of who made them."""

    def __init__(self, stop, error=None):
        self.stop, self.error = stop, error
        self.made, self.threads, self.closed = 0, set(), False

    def __iter__(self):
        try:
            for number in range(self.stop):
                self.made += 1
                self.threads.add(threading.current_thread())
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


# -- reading -------------------------------------------------------------------------------------------------


def test_all_is_read_in_order_by_another_thread():
    numbers = Numbers(50)
    with read_ahead(iter(numbers)) as read:
        assert list(read) == list(range(50))
    assert numbers.closed
    assert threading.current_thread() not in numbers.threads
    with read_ahead(iter(())) as read:
        assert list(read) == []


def test_one_more_is_made_than_is_asked_for():
    numbers, done = Numbers(50), SimpleQueue()

    def counted():
        for number in numbers:
            done.put(number)
            yield number

    with read_ahead(counted()) as read:
        assert done.get() == 0
        for number in read:
            if number < 49:
                assert done.get() == number + 1  # made while this one is used
            assert numbers.made <= number + 2


@pytest.mark.parametrize("error", [ValueError("row 7 holds 'x'"), MemoryError(), Stop()])
def test_an_error_comes_after_all_that_was_read_before_it(error):
    seen, numbers = [], Numbers(3, error)
    with pytest.raises(type(error)) as raised, read_ahead(iter(numbers)) as read:
        seen.extend(iter(lambda: next(read), None))
    assert raised.value is error
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("of the caller"), Stop(), KeyboardInterrupt()])
def test_a_caller_that_leaves_ends_the_reading(error):
    numbers = Numbers(10**9)
    with pytest.raises(type(error)) as raised, read_ahead(iter(numbers)) as read:
        next(read)
        raise error
    assert raised.value is error
    assert numbers.closed
    assert numbers.made <= 3


def test_settings_of_numerical_errors_hold_in_the_thread():
    def divided():
        yield np.ones(1) / np.zeros(1)

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError), read_ahead(divided()) as read:
        next(read)


# -- writing -------------------------------------------------------------------------------------------------


def test_all_is_written_in_order_by_another_thread_at_the_end():
    written, threads = [], set()

    def write(number):
        threads.add(threading.current_thread())
        written.append(number)

    with written_behind(write) as put:
        for number in range(50):
            put(number)
            assert len(written) >= number  # one waits at most
    assert written == list(range(50))
    assert threading.current_thread() not in threads


@contextmanager
def failing(at, error):
    """A writer that fails, and what it has written."""
    written = []

    def write(number):
        if number == at:
            raise error
        written.append(number)

    with written_behind(write) as put:
        yield put, written


@pytest.mark.parametrize("at", [0, 3, 9])
def test_an_error_of_writing_stops_what_comes_after(at):
    error, held = OSError(28, "No space left on device"), []
    with pytest.raises(OSError, match="No space left") as raised, failing(at, error) as (put, written):
        held.append(written)
        for number in range(10):
            put(number)
    assert raised.value is error
    assert held == [list(range(at))]


def test_an_error_of_writing_comes_before_a_later_one_of_the_caller():
    first, later = OSError(28, "No space left on device"), ValueError("row 7 holds 'x'")
    with pytest.raises(OSError, match="No space left"), failing(0, first) as (put, _):
        put(0)
        raise later
    with pytest.raises(ValueError, match="row 7") as raised, failing(1, first) as (put, written):
        put(0)
        raise later
    assert (raised.value, written) == (later, [0])


def test_what_waits_is_not_written_after_an_interruption():
    started, goes_on, written = SimpleQueue(), SimpleQueue(), []

    def write(number):
        started.put(number)
        goes_on.get()
        written.append(number)

    def interrupted(put):
        put(0)
        started.get()
        threading.Timer(0.05, goes_on.put, [None]).start()
        raise Stop

    with pytest.raises(Stop), written_behind(write) as put:
        interrupted(put)
    assert written == [0]
