"""Signals that end a command: whenever they come, no unfinished file is left."""

import io
import os
import signal
import time
from contextlib import suppress

import pytest
import typer
from pyarrow import csv

from upland.cli import process
from upland.cli.console import claimed, reporting
from upland.cli.process import Ended, check_ended, signals_raised
from upland.cli.results import writer
from upland.io import replace

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
MAKERS = {
    "a model file": lambda path: claimed(path, overwrite=False),
    "rows": lambda path: writer(path, overwrite=False),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_a_file_and_its_note_leaves_nothing(maker, number, tmp_path, monkeypatch):
    make, sent = os.open, []

    def opened(path, flags, *rest, **named):
        descriptor = make(path, flags, *rest, **named)
        if str(path).endswith(".part") and not sent:
            sent.append(path)
            os.kill(os.getpid(), number)
        return descriptor

    monkeypatch.setattr(replace.os, "open", opened)
    with pytest.raises(Ended), signals_raised(), MAKERS[maker](tmp_path / "out.csv"):
        pass
    assert sent
    assert os.listdir(tmp_path) == []


class Leaves:
    """An object in whose end a signal comes: Python cannot raise what its handler raises there."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # the handler runs before the next line


def test_a_signal_in_a_callback_ends_the_command_all_the_same():
    with pytest.raises(Ended) as ended, signals_raised():
        Leaves()
        time.sleep(20)
    assert ended.value.number == signal.SIGTERM


def swallowing():
    """Take a signal as a library does that lets no exception out of its callbacks."""
    with suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)


def test_what_was_swallowed_is_raised_where_it_is_asked_for_and_by_a_later_signal(monkeypatch):
    with signals_raised():
        check_ended()
        swallowing()
        os.kill(os.getpid(), signal.SIGINT)  # on the way out nothing interrupts
        with pytest.raises(Ended):
            check_ended()
        now = time.monotonic()
        monkeypatch.setattr(process.time, "monotonic", lambda: now + process.UNWINDING)
        with pytest.raises(Ended):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)
    check_ended()


class Sends(io.BytesIO):
    """A file that is whole when a signal comes."""

    def read(self, size=-1):
        data = super().read(size)
        if not data:
            os.kill(os.getpid(), signal.SIGTERM)
        return data


@pytest.mark.parametrize("trial", range(8))
def test_a_signal_at_the_end_of_a_csv_file_is_not_lost(trial):
    """PyArrow's own handlers lose a signal that comes when all is read, about one in three times."""
    with pytest.raises(typer.Exit) as ended, signals_raised(), reporting():
        csv.read_csv(Sends(b"a\n1\n2\n"))
        time.sleep(0.5)
    assert ended.value.exit_code == 128 + signal.SIGTERM
