"""Run a fresh Python that finds the same upland as this one."""

import os
import subprocess
import sys
from pathlib import Path

import upland

COMMAND_LINE = ("-c", "from upland.cli.commands import main; main()")


def run_python(*arguments, **options):
    """Run to the end with both outputs as text; the exit code is for the caller to judge."""
    environment = os.environ | {"PYTHONPATH": str(Path(upland.__file__).resolve().parents[1])}
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, env=environment, **outputs)
