"""The history of a watch as an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from upland.cli.checks import check, check_other
from upland.cli.console import check_target, writing

SUFFIXES = (".html", ".htm")


def check_page(page: Path, inputs: Sequence[Path]) -> None:
    """Refuse, before any work, a page that could not be written.

    Args:
        page: The HTML file.
        inputs: What is read, which no page replaces.

    Raises:
        typer.BadParameter: It is not called as a page.
        OutputError: It cannot be written, or is one of the inputs.
        ImportError: Altair or vl-convert is not installed; the message says what to install.
    """
    from upland.io.extras import needed

    check(page.suffix.lower() in SUFFIXES, f"name the page *.html, such as --report {page.stem}.html")
    check_target(page, overwrite=True)
    for path in inputs:
        check_other(page, path)
    for module, package in (("altair", "Altair"), ("vl_convert", "vl-convert")):
        needed(module, f"The report needs {package}", "report")


def write_history_page(history: Path, page: Path) -> Path:
    """Write the page of a history; one that is there is replaced. Returns its path.

    Args:
        history: The SQLite file.
        page: The HTML file.

    Raises:
        OutputError: The page cannot be written.
        OSError: The history cannot be read.
        ImportError: Altair or vl-convert is not installed; the message says what to install.
    """
    from upland.io.replace import replacing
    from upland.reporting.history import Watched, history_page
    from upland.reporting.html import page_html
    from upland.watch.history import History
    from upland.watch.summary import summary

    with History(history, create=False) as opened:
        found = Watched(**vars(summary(opened)))
    footer = [f"Made by upland {version('upland')}. The page asks no other host for anything."]
    text = page_html(history_page(found, history.name, footer))
    with writing(page), replacing(page, overwrite=True) as file:
        file.write(text.encode())
    return page
