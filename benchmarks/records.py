"""A file of results: one JSON object with a header (date, machine, versions) and rows, saved after every
row."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("upland", "torch", "numpy", "scikit-learn", "pyod", "hmmlearn", "pyarrow"),
    *("antsnormflows", "zuko", "river"),
)


def header() -> dict[str, Any]:
    """When and where the rows were measured."""
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The CPU's name, with its instruction set where the system says both."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    wide = " AVX-512" if "avx512f" in fields.get("flags", "") else ""
    return f"{fields.get('model name', platform.machine())} ({platform.machine()}{wide})"


def version(package: str) -> str | None:
    """The installed version; of upland also from a source tree that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _source_version() if package == "upland" else None


def _source_version() -> str | None:
    try:
        import upland
    except ImportError:
        return None
    return upland.__version__


@dataclass
class Records:
    """Rows of results by key; `add` writes the file at once: a run can be stopped and taken up again."""

    path: Path
    keys: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=header)

    @classmethod
    def open(cls, path: Path, keys: Sequence[str]) -> Records:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path, keys)
        stored = json.loads(path.read_text())
        return cls(path, keys, stored["rows"], stored["header"])

    def find(self, **key: Any) -> dict[str, Any] | None:
        """The row of this key, or None."""
        return next((row for row in self.rows if all(row[name] == key[name] for name in self.keys)), None)

    def of_another_seed(self, **key: Any) -> dict[str, Any] | None:
        """A copy of a row of the same key but for the seed, or None."""
        same = [name for name in self.keys if name != "seed"]
        found = (dict(row) for row in self.rows if all(row[name] == key[name] for name in same))
        return next(found, None)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.header = header()
        text = json.dumps({"header": self.header, "rows": self.rows}, indent=1)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(text + "\n")
        os.replace(temporary, self.path)
