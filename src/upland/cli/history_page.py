"""The history of a watch as an HTML page."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from upland.cli.console import writing


def write_history_page(history: Path, page: Path) -> None:
    """Write the page of a history; one that is there is replaced.

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
