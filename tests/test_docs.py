"""The documentation is true: code runs, commands succeed, links lead somewhere, tables are fresh."""

import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import upland
from programs import COMMAND_LINE, run_python
from upland.cli import program

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
console = runpy.run_path(str(DOCS / "run_console.py"))
tables = runpy.run_path(str(DOCS / "write_tables.py"))


def named(path):
    return str(path.relative_to(ROOT))


def holding(pattern):
    return [page for page in PAGES if pattern.search(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="session")
def demonstration(tmp_path_factory):
    """The folder that `upland demo` writes, made once for all pages and all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "demonstration"
    with FileLock(shared / "demonstration.lock"):
        if not folder.exists():
            folder.mkdir()
            done = run_python(*COMMAND_LINE, "demo", cwd=folder)
            assert done.returncode == 0, done.stderr
    return folder / "upland-demo"


@pytest.mark.parametrize("page", holding(BLOCK), ids=named)
def test_a_page_can_be_pasted_from_the_top(page, demonstration, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shell, names = console["Shell"](tmp_path), {}
    for number, (language, block) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1):
        if "upland-demo" in block and not Path("upland-demo").exists():  # what comes before needs no files
            shutil.copytree(demonstration, "upland-demo")
        if language == "python":
            exec(compile(block, f"{named(page)}, block {number}", "exec"), names)
        else:
            for command in console["commands"](block):
                run_command(command, shell, monkeypatch)


def run_command(command, shell, monkeypatch):
    if not command.startswith("upland ") or set(command) & set("|;<>&"):
        shell.run(command)
        return
    monkeypatch.setattr(sys, "argv", shlex.split(command))  # a process of its own takes seconds
    with pytest.raises(SystemExit) as stopped:
        program.main()
    assert stopped.value.code == 0, command


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_file(), f"{named(page)} links to {target}, which is no file"
        assert not anchor or anchor in anchors(there), f"{named(page)} links to {target}: no such heading"


def anchors(page):
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", holding(tables["MARKED"]), ids=named)
def test_tables_are_what_the_catalogue_says(page):
    text = page.read_text(encoding="utf-8")
    assert text == tables["fresh"](text), f"stale: python docs/{Path(tables['__file__']).name}"


def test_every_page_is_in_the_navigation():
    navigation = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    outside = {name.removeprefix("repository/") for name in navigation if name.startswith("repository/")}
    assert pages == {name for name in navigation if not name.startswith("repository/")}
    assert all((ROOT / name).is_file() for name in outside)


def test_every_public_name_is_in_the_reference():
    reference = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = re.findall(r"^::: upland\.(\w+)$", reference, re.MULTILINE)
    assert sorted(shown) == sorted(set(upland.__all__) - {"__version__"})


def test_a_warning_fails_the_site():
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (build,) = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert re.search(r"^strict: true$", settings, re.MULTILINE)
    assert set(re.findall(r"^    \w+: (\w+)$", settings.partition("validation:")[2], re.MULTILINE)) == {
        "warn"
    }
    assert build == "mkdocs build"  # with --quiet, warnings are dropped before strict mode counts them


def test_contributing_says_what_make_does():
    recipes = dict(
        re.findall(r"^(\w+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = re.findall(
        r"^    make (\w+) +# (.*)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert lines
    for target, words in lines:
        for tool in ("ruff", "mypy"):
            assert (tool in words) == (tool in recipes[target]), f"make {target}: {words}"


def test_no_estimator_is_said_to_be_one_file_and_one_line():
    for page in (*PAGES, *(ROOT / "src").rglob("*.py")):  # tests/test_extension.py adds what is
        text = " ".join(page.read_text(encoding="utf-8").split())
        for sentence in re.findall(r"[^.]*one file and one line", text):
            assert not re.search(r"estimator|famil|detector", sentence), f"{named(page)}: {sentence}"
