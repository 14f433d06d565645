"""Ending a process of a Ray cluster while it works."""

import os
import re
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def kill(task):
    """End one process of this test's cluster while it runs a task of this name; gives those that ended."""
    ended, over = [], threading.Event()

    def watch():
        while not ended and not over.wait(0.01):
            ended.extend(running(task)[:1])
            for process in ended:
                os.kill(process, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield ended
    finally:
        over.set()
        watcher.join()


def running(task):
    """The numbers of the processes of this cluster that run such a task now."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            title = entry.name.isdecimal() and (entry / "cmdline").read_bytes()
            if title and title.startswith(b"ray::" + task) and is_below(entry.name):
                found.append(int(entry.name))
    return found


def is_below(process):
    """Whether a process was started by this one, or by one that was."""
    while process not in ("0", "1"):
        if process == str(os.getpid()):
            return True
        status = Path("/proc", process, "status").read_text()
        process = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)[1]
    return False
