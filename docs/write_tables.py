"""Write the tables of estimators, criteria, statistics and file formats from `upland.catalogue` into pages.

    python docs/write_tables.py

A table is between `<!-- table: NAME -->` and `<!-- end -->`. `tests/test_docs.py` checks that all are fresh.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from upland import catalogue

DOCS = Path(__file__).resolve().parent
PAGES = sorted(DOCS.rglob("*.md"))
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: str, rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the header is its first line."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([header, re.sub(r"[^|]+", "---", header), *lines]) + "\n"


def estimators() -> str:
    """The estimator of each family and modality."""
    classes = {key: f"`{entry.home.partition(':')[2]}`" for key, entry in catalogue.DETECTORS.items()}
    rows = (
        (f"`{family}`: {words}", *(classes.get((family, modality), "") for modality in catalogue.MODALITIES))
        for family, words in catalogue.FAMILIES.items()
    )
    return table(f"| model | {' | '.join(catalogue.MODALITIES.values())} |", rows)


def criteria() -> str:
    """The criteria, with the estimators that offer them."""
    rows = ((f"`{name}`", entry.summary, _offered(name)) for name, entry in catalogue.CRITERIA.items())
    return table("| criterion | score | estimators (bold: default) |", rows)


def _offered(criterion: str) -> str:
    names = []
    for key in catalogue.CRITERIA[criterion].models:
        entry = catalogue.DETECTORS[key]
        name = f"`{entry.home.partition(':')[2]}`"
        units = [unit for unit, default in entry.defaults.items() if default == criterion]
        some = units and len(units) < len(entry.defaults)
        of = f" ({units[0]}s)" if some else ""
        names.append(f"**{name}**{of}" if units else name)
    return ", ".join(names)


def statistics() -> str:
    """The statistics of groups."""
    rows = (
        (f"`{name}`", entry.summary, _needs(entry.needs), _of_sequences(entry))
        for name, entry in catalogue.STATISTICS.items()
    )
    return table("| statistic | measures | needs | of sequences |", rows)


def _of_sequences(entry: catalogue.Statistic) -> str:
    """Which models of sequences have it: energies are compared by their scores, flows by their latents."""
    return "all" if entry.of_scores else "" if entry.needs == "score" else "flow"


def _needs(needs: str | None) -> str:
    return (needs or "any model").replace("score", "the gradient of log p")


def formats() -> str:
    """The endings of files of rows, by the module that reads and writes them."""
    endings: dict[str, list[str]] = {}
    for ending, module in catalogue.FORMATS.items():
        endings.setdefault(module.partition(":")[0], []).append(f"`{ending}`")
    rows = ((", ".join(names), _summary(module)) for module, names in endings.items())
    return table("| ending | format |", rows)


def _summary(module: str) -> str:
    """What the docstring of a module begins with, without importing it."""
    found = find_spec(module)
    source = found.origin if found else None
    assert source is not None, module
    words = ast.get_docstring(ast.parse(Path(source).read_text(encoding="utf-8"))) or ""
    return re.split(r"[:.\n]", words)[0]


TABLES = {
    "estimators": estimators,
    "criteria": criteria,
    "statistics": statistics,
    "formats": formats,
}


def fresh(text: str) -> str:
    """A page with its tables as the catalogue has them."""
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := fresh(before)) != before:
            page.write_text(after, encoding="utf-8")
