"""Run a fresh Python that finds the same upland as this one."""

import os
import subprocess
import sys
from pathlib import Path

import upland

COMMAND_LINE = ("-c", "from upland.cli import main; main()")
SOURCE = Path(upland.__file__).resolve().parents[1]


def run_python(*arguments, source=SOURCE, **options):
    """Run to the end on the upland in `source`, both outputs as text; the caller looks at the exit code."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, env=environment, **outputs)
