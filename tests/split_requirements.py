"""Cut one list of pinned packages with hashes into those of `make`: python tests/split_requirements.py LIST

LIST is what this writes, in an environment with pip-tools, pip-audit and everything of pyproject.toml:

    echo pip-audit | pip-compile --generate-hashes --strip-extras --no-annotate --no-emit-index-url
        --no-emit-find-links --allow-unsafe --unsafe-package torch --unsafe-package pip
        --extra dev --extra docs --extra bench -c constraints.txt -o LIST pyproject.toml -
"""

import re
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
SETS = {
    "runtime": ["upland", "hatchling"],
    "demo": ["upland[report]"],
    "dev": ["upland[dev]"],
    "docs": ["upland[docs]"],
    "bench": ["upland[bench]"],
}
HEAD = "# Written by tests/split_requirements.py; to be installed with --require-hashes --no-deps.\n"
BY_THE_MACHINE = {"torch", "pip"}


def needed(wanted, done):
    """The packages that are needed, with what they need themselves."""
    requirement = Requirement(wanted)
    name = canonicalize_name(requirement.name)
    if (name, frozenset(requirement.extras)) in done:
        return done
    done.add((name, frozenset(requirement.extras)))
    lines = of_upland(requirement.extras) if name == "upland" else requires(name) or []
    for inner in map(Requirement, lines):
        extras = [{"extra": extra} for extra in ("", *requirement.extras)]
        if inner.marker is None or any(inner.marker.evaluate(extra) for extra in extras):
            needed(f"{inner.name}[{','.join(inner.extras)}]" if inner.extras else inner.name, done)
    return done


def of_upland(extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return project["dependencies"] + optional


def names_of(wanted):
    return {name for line in wanted for name, _ in needed(line, set())} - BY_THE_MACHINE


def main(path):
    text = re.sub(r"^#.*\n", "", Path(path).read_text("utf-8"), flags=re.MULTILINE)
    found = re.findall(r"^\S+==(?:.*\\\n)*.*\n", text, re.MULTILINE)
    blocks = {block.split("==")[0]: block for block in found}
    earlier = set()
    for name, wanted in SETS.items():
        write(name, blocks, (names_of(wanted) & blocks.keys()) - earlier)
        earlier |= names_of(wanted)
    write("audit", blocks, names_of(["pip-audit"]))  # in an environment of its own


def write(name, blocks, packages):
    path = ROOT / "requirements" / f"{name}.txt"
    path.write_text(HEAD + "".join(blocks[package] for package in sorted(packages)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
