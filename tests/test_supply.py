"""What `make` installs is pinned with hashes, and an audit says what it could not see."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from audit import verdict

ROOT = Path(__file__).parent.parent
SETS = ("runtime", "demo", "dev", "docs", "bench")


def pins(path):
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text("utf-8"), re.MULTILINE))


LISTS = {name: pins(ROOT / "requirements" / f"{name}.txt") for name in SETS}


def test_the_lists_are_the_constraints():
    together = {package: version for pinned in LISTS.values() for package, version in pinned.items()}
    assert sum(map(len, LISTS.values())) == len(together)
    assert together == {name: it for name, it in pins(ROOT / "constraints.txt").items() if name != "torch"}


@pytest.mark.parametrize("name", [*SETS, "audit"])
def test_every_package_has_hashes(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    for block in re.split(r"\n(?=[a-z])", text):
        if "==" in block:
            assert re.search(r"--hash=sha256:[0-9a-f]{64}$", block.strip()), block


def test_everything_that_is_asked_for_is_in_a_list():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = {"runtime": project["dependencies"], "demo": extras["report"], **extras}
    names = {extra: [re.match(r"[\w.-]+", it)[0].lower() for it in wanted] for extra, wanted in asked.items()}
    for number, extra in enumerate(SETS):
        there = {package for earlier in SETS[: number + 1] for package in LISTS[earlier]} | {"torch"}
        assert sorted(set(names[extra]) - there - {"upland"}) == [], extra


def test_the_tests_have_every_extra_that_a_user_may_ask_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    there = LISTS["runtime"] | LISTS["demo"] | LISTS["dev"]
    for extra in set(project["optional-dependencies"]) - {"dev", "docs", "bench"}:
        for wanted in project["optional-dependencies"][extra]:
            assert re.match(r"[\w.-]+", wanted)[0].lower() in there, extra


PACKAGE = {"name": "numpy", "version": "2.0", "vulns": []}
FAULT = {"id": "CVE-1", "fix_versions": ["2.1"]}


@pytest.mark.parametrize(
    ("dependencies", "words", "code"),
    [
        ([PACKAGE], "1 of 1 packages audited", 0),
        ([PACKAGE | {"vulns": [FAULT]}], r"numpy 2.0: CVE-1, mended in \['2.1'\]", 1),
        ([{"name": "numpy", "skip_reason": "not found"}], "not audited: none of 1 is known", 0),
    ],
)
def test_what_an_audit_says(dependencies, words, code):
    text, found = verdict(json.dumps({"dependencies": dependencies}), "")
    assert re.search(words, text)
    assert found == code


def test_an_audit_without_an_answer_says_so():
    assert verdict("", "Traceback\nConnectionError: no route") == (
        "packages are not audited: ConnectionError: no route",
        0,
    )
