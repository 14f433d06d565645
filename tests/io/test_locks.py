"""What a process shares is whole after threads that overlap, and open in a process that is forked."""

import threading
import warnings

import pytest

from programs import run_python
from upland.io.locks import ProcessLock, warnings_apart


def test_filters_of_warnings_are_the_programs_own_after_threads_that_overlap():
    """Without a lock the second to end would put back what the first had set."""
    before, shown = list(warnings.filters), warnings.showwarning
    inside, trying, left = threading.Event(), threading.Event(), threading.Event()
    seen = {}

    def first():
        with warnings_apart(record=True):
            warnings.simplefilter("ignore")
            inside.set()
            trying.wait(10)
            left.wait(0.2)  # until the second is in, if anything lets it
        left.set()

    def second():
        inside.wait(10)
        trying.set()
        with warnings_apart():
            seen["filters"] = list(warnings.filters)
            left.wait(10)

    threads = [threading.Thread(target=run) for run in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen["filters"] == list(warnings.filters) == before
    assert warnings.showwarning is shown
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


def test_a_thread_may_hold_a_lock_as_often_as_it_likes():
    lock = ProcessLock()
    with lock, lock:
        pass


FORKED = """
import os, sys, threading
import torch
from upland.io.locks import WARNINGS, warnings_apart
from upland.models.process import EXACT, PRECISION, THREADS
from upland.scoring.loaded import OF_THIS_PROCESS

torch.set_num_threads(3)
torch.set_float32_matmul_precision("medium")
inside, done = threading.Event(), threading.Event()

def compute():
    with THREADS.at(1), PRECISION.at(EXACT), WARNINGS, OF_THIS_PROCESS._lock, THREADS._lock, PRECISION._lock:
        inside.set()
        done.wait(30)

thread = threading.Thread(target=compute)
thread.start()
inside.wait(30)
child = os.fork()
if not child:
    import faulthandler
    faulthandler.dump_traceback_later(20, exit=True)
    found = [torch.get_num_threads(), torch.get_float32_matmul_precision()]
    with THREADS.at(2), PRECISION.at(EXACT), warnings_apart(), OF_THIS_PROCESS._lock:
        found += [torch.get_num_threads(), torch.get_float32_matmul_precision()]
    found += [torch.get_num_threads(), torch.get_float32_matmul_precision()]
    print(*found, flush=True)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
done.set()
thread.join()
print(code, torch.get_num_threads(), torch.get_float32_matmul_precision())
"""


def test_a_process_that_is_forked_while_a_thread_computes_is_whole():
    done = run_python("-W", "ignore", "-c", FORKED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["3 medium 2 highest 3 medium", "0 3 medium"]
