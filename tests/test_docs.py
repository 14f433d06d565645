"""The documentation is true: code runs, commands succeed, links lead somewhere, the reference is fresh."""

import re
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest

from programs import COMMAND_LINE, run_python

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
console = runpy.run_path(str(ROOT / "docs" / "run_console.py"))


def named(path):
    return str(path.relative_to(ROOT))


def holding(pattern):
    return [page for page in PAGES if pattern.search(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def demonstration():
    """The folder that `upland demo` writes; made once for all pages."""
    with tempfile.TemporaryDirectory() as folder:
        done = run_python(*COMMAND_LINE, "demo", cwd=folder)
        assert done.returncode == 0, done.stderr
        yield Path(folder) / "upland-demo"


@pytest.fixture
def folder(demonstration, tmp_path, monkeypatch):
    shutil.copytree(demonstration, tmp_path / "upland-demo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_are_there():
    names = {path.stem for path in PAGES}
    assert names >= {
        "README",
        "index",
        "install",
        "tables",
        "energy",
        "calibration",
        "benchmarks",
        "architecture",
        "api",
    }


@pytest.mark.parametrize("page", holding(PYTHON), ids=named)
def test_the_python_of_a_page_runs(page, folder):
    names = {}
    for number, block in enumerate(PYTHON.findall(page.read_text(encoding="utf-8")), start=1):
        exec(compile(block, f"{named(page)}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", holding(console["BLOCK"]), ids=named)
def test_the_commands_of_a_page_succeed(page, folder):
    shell = console["Shell"](folder)
    for block in console["BLOCK"].findall(page.read_text(encoding="utf-8")):
        for command in console["commands"](block):
            shell.run(command)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{named(page)} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(there), f"{named(page)} links to {target}: no such heading"


def anchors(page):
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_reference_is_what_the_source_says():
    generator = runpy.run_path(str(ROOT / "docs" / "generate_api.py"))
    fresh = generator["page"]()
    assert generator["PAGE"].read_text(encoding="utf-8") == fresh, "stale: python docs/generate_api.py"


def test_the_architecture_page_names_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = runpy.run_path(str(ROOT / "tests" / "test_architecture.py"))["FLOORS"]
    lacking = [room for rooms in floors for room in rooms if f"`{room}`" not in text]
    assert not lacking, f"docs/architecture.md does not name {lacking}"
