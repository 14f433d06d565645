"""One page about new data: what is anomalous in it, why, and how sure that is."""

from __future__ import annotations

import hashlib
import html as escapes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from upland.calibration.false_discovery import check_rate
from upland.catalogue import MODALITIES, Modality, load
from upland.detectors.foreign import check_detector
from upland.detectors.scoring import ScoringDetector
from upland.io.modelfile import read_bytes
from upland.io.replace import Claim, replacing
from upland.persistence import load_bytes
from upland.reporting.base import Found, Settings
from upland.reporting.guarantees import card_section, guarantee_section
from upland.reporting.html import page_html
from upland.reporting.page import Page

FINDERS: dict[Modality, str] = {
    "table": "upland.reporting.tables:found_in_table",
    "sequence": "upland.reporting.sequences:found_in_sequences",
    "image": "upland.reporting.images:found_in_images",
}
"""What finds the sections of a page for each modality: `(detector, data, settings) -> Found`."""

_HEIGHT = 720
"""Pixels of a page in a notebook before it has said how high it is."""


@dataclass(frozen=True)
class Report:
    """A page about new data, which a notebook shows inline.

    Args:
        page: What it holds.
        count: How many rows, images, sequences or steps there are.
        flagged: How many of them are flagged.
        facts: The numbers of the page for a program.

    Examples:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> upland.report(detector, rows + [0.0, 90.0, 0.0]).facts["causes"][0]["rows"]
        200
    """

    page: Page
    count: int
    flagged: int
    facts: dict[str, Any]

    @cached_property
    def html(self) -> str:
        """The whole page as one HTML file, which asks no other host for anything.

        Raises:
            ImportError: Altair or vl-convert is not installed; the message says what to install.
        """
        return page_html(self.page)

    def save(self, path: str | os.PathLike[str] | Claim, overwrite: bool = False) -> None:
        """Write the page into a file, whole or not at all.

        Args:
            path: The file, which ends in .html.
            overwrite: Whether an existing file may be replaced.

        Raises:
            OSError: It exists or cannot be written.
        """
        target = path if isinstance(path, Claim) else Path(path)
        with replacing(target, overwrite) as file:
            file.write(self.html.encode())

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which can reach nothing of the notebook; it says how high it is."""
        name = "upland-" + hashlib.sha256(self.html.encode()).hexdigest()[:12]
        frame = (
            f'<iframe id="{name}" sandbox="allow-scripts" srcdoc="{escapes.escape(self.html)}" '
            f'title="{escapes.escape(self.page.title)}" '
            f'style="width:100%;height:{_HEIGHT}px;border:0;resize:vertical"></iframe>'
        )
        listen = (
            f'(()=>{{const f=document.getElementById("{name}");addEventListener("message",e=>{{'
            "if(f&&e.source===f.contentWindow&&e.data&&e.data.uplandHeight>0)"
            'f.style.height=Math.min(e.data.uplandHeight+20,20000)+"px"})})()'
        )
        return f"{frame}<script>{listen}</script>"


def report(
    detector: ScoringDetector | str | os.PathLike[str],
    data: Any,
    by: str | Sequence[str] | None = None,
    time: str | None = None,
    alpha: float | None = None,
    top: int = 50,
    name: str | None = None,
) -> Report:
    """A page about new data: scores, p-values, the most anomalous, causes, what is guaranteed.

    Files of rows are read in batches, as `upland score` reads them.

    Args:
        detector: fitted, or the path of a model file.
        data: new data like those of the fit: an array, a frame, or the path of a file or folder.
        by: the column that names the group of each row, or several; None tests no groups.
        time: the column that says when each row was; None shows nothing over time.
        alpha: the false-alarm rate of the flags; None is the detector's `alpha_`.
        top: how many of the most anomalous are shown.
        name: what the page calls the data; None goes by the name of the file.

    Raises:
        TypeError: it is no detector.
        ValueError: an argument is out of its range; the data are of another modality, have no rows or lack
            columns.
        OSError: a file cannot be read.
        ImportError: Altair or vl-convert is not installed; the message says what to install.

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0).fit(rng.normal(size=(200, 3)))
        >>> found = upland.report(detector, np.concatenate([rng.normal(size=(50, 3)), [[0.0, 40.0, 0.0]]]))
        >>> found.count, found.html.startswith("<!doctype html>")
        (51, True)
    """
    file, content = None, b""
    if isinstance(detector, str | os.PathLike):
        file = Path(detector)
        content = read_bytes(file)
        detector = load_bytes(content, file)
    check_detector(detector, "report")
    detector.check_fitted()
    alpha = detector.alpha_ if alpha is None else alpha
    columns = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    return report_of(
        detector, data, Settings(alpha, columns, time, top, name or _name_of(data)), file, content
    )


def report_of(
    detector: ScoringDetector,
    data: Any,
    settings: Settings,
    file: Path | None = None,
    content: bytes = b"",
) -> Report:
    """The same of a detector that may come from a file.

    Args:
        detector: Fitted.
        data: New data.
        settings: What is asked for.
        file: The model file; None for none.
        content: Its bytes.

    Raises:
        TypeError, ValueError, OSError: As `report`.
    """
    check_rate(settings.alpha, "false_alarm")
    top = settings.top
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"top is how many are shown, 1 or more, not {top!r}")
    digest = None if file is None else hashlib.sha256(content).hexdigest()
    found: Found = load(FINDERS[detector.modality])(detector, data, settings)
    sections = [*found.sections, guarantee_section(detector, settings), card_section(detector, file, digest)]
    page = Page(_title(settings), found.summary, sections, _footer(detector, settings, file, digest))
    facts = {"count": found.count, "flagged": found.flagged, "alpha": settings.alpha, **found.facts}
    return Report(page, found.count, found.flagged, facts)


def _name_of(data: Any) -> str:
    """What data are called: the name of their file."""
    return Path(data).name if isinstance(data, str | os.PathLike) else "the data"


def _title(settings: Settings) -> str:
    return (
        "Anomalies in the data" if settings.data_name == "the data" else f"Anomalies in {settings.data_name}"
    )


def _footer(
    detector: ScoringDetector, settings: Settings, file: Path | None, digest: str | None
) -> list[str]:
    called = type(detector).__name__ if file is None else f"{file.name}, {type(detector).__name__}"
    what = f"Data: {settings.data_name}. Model: {called}"
    lines = [f"{what} for {MODALITIES[detector.modality]}."]
    lines += [] if digest is None else [f"SHA-256 of the model file: {digest}."]
    return [*lines, f"Made by upland {version('upland')}. The page asks no other host for anything."]
