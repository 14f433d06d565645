"""Run the `console` blocks of pages as a reader would, and put what they print back into the page.

    python docs/run_console.py README.md docs/tables.md

Lines that begin with `$ ` are commands; what follows them is their output. All blocks of a page run in one
temporary folder that holds `upland-demo/`, as `make demo` leaves it. `tests/test_docs.py` runs the same
commands and asks that each succeeds; it does not compare what they print, which changes with the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
SOURCE = Path(__file__).resolve().parents[1] / "src"
UPLAND = 'exec "{python}" -c "from upland.cli import main; main()" "$@"'


class Shell:
    """A folder in which `upland` is a command.

    Args:
        folder: where commands run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / ".programs"
        programs.mkdir()
        (programs / "upland").write_text("#!/bin/sh\n" + UPLAND.format(python=sys.executable) + "\n")
        (programs / "upland").chmod(0o755)
        path = os.pathsep.join([str(programs), os.environ.get("PATH", "")])
        self._environment = os.environ | {"PATH": path, "PYTHONPATH": str(SOURCE), "COLUMNS": "80"}

    def run(self, command: str) -> str:
        """What a command prints, errors included; raises RuntimeError if it fails."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"$ {command}\nexit code {done.returncode}\n{done.stdout}")
        return "\n".join(line.rstrip() for line in done.stdout.splitlines()).strip("\n")


def commands(block: str) -> list[str]:
    """The commands of a block."""
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def refreshed(text: str, shell: Shell) -> str:
    """A page with the output of its commands as it is now."""

    def again(found: re.Match[str]) -> str:
        outputs = [(command, shell.run(command)) for command in commands(found.group(1))]
        return "```console\n" + "".join(f"$ {c}\n{o}\n" if o else f"$ {c}\n" for c, o in outputs) + "```"

    return BLOCK.sub(again, text)


def main(pages: list[str]) -> None:
    """Refresh pages in place."""
    for name in pages:
        page = Path(name)
        with tempfile.TemporaryDirectory() as folder:
            shell = Shell(Path(folder))
            shell.run("upland demo")
            page.write_text(refreshed(page.read_text(encoding="utf-8"), shell), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
