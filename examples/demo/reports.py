"""The demonstration's reports: a page for each part, and one that names them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from upland_demo import biopsies, clinics, digits, pumps

if TYPE_CHECKING:
    from upland.reporting.report import Report

INDEX = "report.html"
"""The page that names the others."""

PAGES = {
    "biopsies.html": "a table, breast cancer biopsies",
    "clinics.html": "groups, patients of eight clinics",
    "digits.html": "images, handwritten digits",
    "pumps.html": "long series, three pumps",
}
"""The pages, and what each is of."""


def missing() -> list[str]:
    """The packages that pages need and that are not installed."""
    needed = {"altair": "altair", "vl_convert": "vl-convert-python", "PIL": "Pillow"}
    return [package for module, package in needed.items() if find_spec(module) is None]


def contents() -> dict[str, str]:
    """What is in the files."""
    first, second = list(PAGES)[:2], list(PAGES)[2:]
    return {
        INDEX: "a page that names the reports",
        **dict.fromkeys(map(", ".join, (first, second)), "the reports"),
    }


def write(folder: Path, pictures: digits.Files) -> Path:
    """Write a page for each part, and one that names them, which is returned.

    Args:
        folder: Where the demonstration wrote its files.
        pictures: The files of its images.
    """
    from upland.reporting.report import report

    table, patients, series = biopsies.Files(folder), clinics.Files(folder), pumps.Files(folder)
    made = {
        "biopsies.html": report(table.model, table.new),
        "clinics.html": report(patients.model, patients.new, by=clinics.CLINIC),
        "digits.html": report(pictures.model, pictures.new),
        "pumps.html": report(series.model, series.new),
    }
    for name, page in made.items():
        page.save(folder / name, overwrite=True)
    return _index(folder / INDEX, made)


def _index(path: Path, made: dict[str, Report]) -> Path:
    """The page that names the others, with what is in each."""
    from upland.io.replace import replacing
    from upland.reporting.html import page_html
    from upland.reporting.page import Links, Page, Prose, Section

    sections = [
        Section(PAGES[name].capitalize(), [Links({name: "the report"}), Prose(page.page.summary)])
        for name, page in made.items()
    ]
    summary = ["Each report is of data that its model had not seen, and no model has seen a label."]
    with replacing(path, overwrite=True) as file:
        file.write(page_html(Page("The demonstration of upland", summary, sections)).encode())
    return path
