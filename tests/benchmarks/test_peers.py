"""The environment of the benchmarks: whatever they import is declared, pinned and there; every peer fits."""

import ast
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import peers, series_peers

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
}  # where module and distribution differ in name
INDIRECT = {"tqdm"}  # PyOD's deep detectors import it without declaring it


def names(requirements):
    """The distributions of some requirements; of upland itself those of its extras that are asked for."""
    found = set()
    for wanted in map(Requirement, requirements):
        own = (PROJECT["optional-dependencies"][extra] for extra in sorted(wanted.extras))
        found |= set().union(*map(names, own)) if wanted.name == "upland" else {wanted.name}
    return found


def imported():
    """Each third-party module that the benchmarks import, and the names that they take from it."""
    found = {}
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found.setdefault(alias.name, set())
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    own = {"upland", "benchmarks", *sys.stdlib_module_names}
    return {module: taken for module, taken in found.items() if module.split(".")[0] not in own}


EXTRA = names(PROJECT["optional-dependencies"]["bench"])
MODULES = imported()


def absent():
    installed = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    return sorted(EXTRA - installed)


needs_extra = pytest.mark.skipif(
    bool(absent()), reason=f"the bench extra is not installed (make .venv/.bench): no {', '.join(absent())}"
)
of_peers = pytest.mark.filterwarnings("ignore")  # theirs are not upland's to keep silent


def test_the_extra_declares_what_benchmarks_import():
    needed = {DISTRIBUTIONS.get(top := module.split(".")[0], top) for module in MODULES} | INDIRECT
    assert "pyod" in needed
    assert needed <= EXTRA | names(PROJECT["dependencies"])


def closure(requirements):
    """The distributions that these need, and those that they need in turn."""
    found, waiting = set(), list(requirements)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            for one in map(Requirement, metadata.requires(name) or []):
                if one.marker is None or one.marker.evaluate({"extra": ""}):
                    waiting.append(one.name)
    return found


@needs_extra
def test_whatever_the_extra_installs_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.split("==")[0]) for line in lines}
    assert closure(EXTRA) - pinned == set()


@needs_extra
@of_peers
@pytest.mark.parametrize("module", MODULES)
def test_every_import_of_the_benchmarks_is_there(module):
    loaded = import_module(module)
    assert {name for name in MODULES[module] if name not in dir(loaded)} == set()


@needs_extra
@of_peers
@pytest.mark.parametrize("name", peers.PEERS)
def test_every_peer_of_tables_fits_and_scores(name):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    assert np.isfinite(peers.run(peers.PEERS[name], rows, rows[:7], 0).scores).all()


@needs_extra
@of_peers
@pytest.mark.parametrize("name", series_peers.SERIES_PEERS)
def test_every_peer_of_series_fits_and_scores(name):
    steps = np.random.default_rng(0).normal(size=(128, 2))
    assert np.isfinite(peers.run(series_peers.SERIES_PEERS[name], steps, steps[:64], 0).scores).all()
