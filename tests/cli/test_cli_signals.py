"""Signals that end a command: whenever they come, no unfinished file is left."""

import os
import signal

import pytest

from upland.cli.console import claimed
from upland.cli.process import Ended, signals_raised
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
