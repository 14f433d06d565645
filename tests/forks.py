"""Runs command lines in forks of one process that has imported everything: one JSON object a line in and out.

A case names the arguments, what standard output and error are (`kept`, `closed`, `full` or `gone`, a pipe
whose reader has left), a limit for the size of files, and a signal with the pattern of the file whose
appearance it waits for.
"""

import glob
import json
import os
import resource
import sys
import time

import upland.cli.program
import upland.cli.scoring
import upland.detectors.auto
import upland.io.csv
import upland.io.parquet
import upland.persistence


def connected(number, form, kept):
    """Put a standard stream where the case wants it, as the interpreter would find it."""
    if form == "closed":
        os.close(number)
        return None
    if form == "gone":
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, number)
    else:
        os.dup2(os.open("/dev/full" if form == "full" else kept, os.O_WRONLY | os.O_CREAT), number)
    return open(number, "w", closefd=False, buffering=1 if number == 2 else -1)


def run(case):
    """The case in this process; gives the exit code that the interpreter would."""
    err = connected(2, case["err"], case["kept"] + "err")
    out = connected(1, case["out"], case["kept"] + "out")
    if case["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], resource.RLIM_INFINITY))
    sys.stdout, sys.stderr = out, err
    sys.argv = ["upland", *case["arguments"]]
    try:
        upland.cli.main()
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    except BaseException as error:  # noqa: BLE001
        sys.stderr.write(f"Traceback {error!r}")
        code = 1
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(code)


def wait(child, case):
    if case["signal"] is not None:
        while not glob.glob(case["after"], include_hidden=True):
            if os.waitpid(child, os.WNOHANG)[0]:
                raise RuntimeError("it ended before its signal")
            time.sleep(0.005)
        os.kill(child, case["signal"])
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        case = json.loads(line)
        child = os.fork()
        if not child:
            run(case)
        print(json.dumps(wait(child, case)), flush=True)
