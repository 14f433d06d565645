"""`upland demo`: data from end to end, with labels kept aside to check the results.

A table (biopsies), groups of rows (patients of clinics), images (handwritten digits), sequences (the same,
row by row) and long series (pumps); of each the detector sees normal ones alone, and scores others as
`upland fit`, `upland score` and `upland groups` do.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from upland_demo import biopsies, clinics, digits, pumps, reports
from upland_demo.findings import Found

from upland.cli.console import OutputError, pairs

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Findings:
    """How the flags compare with the labels.

    Args:
        table: Malignant biopsies against benign ones.
        groups: Clinics, two of which are anomalous.
        images: Other digits, and digits with a stroke, against zeros.
        sequences: Other digits against zeros, row by row.
        series: The fault of a pump.
    """

    table: Found
    groups: clinics.Tested
    images: digits.Pictured
    sequences: Found
    series: pumps.Watched


def run(folder: Path, screen: Console, seed: int = 0) -> Findings:
    """Fit, score, show; the files land in `folder`, those of an earlier run are replaced.

    Args:
        folder: Where to write; made if it is missing.
        screen: Where to print.
        seed: Seed of the splits and of the fits.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    pictures = digits.Files(folder, has_pillow())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        dealt = digits.digits(np.random.default_rng(seed))
        found = Findings(
            biopsies.run(folder, screen, seed),
            clinics.run(folder, screen, seed),
            digits.show_images(pictures, dealt, screen, seed),
            digits.show_rows(pictures, dealt, screen, seed),
            pumps.run(folder, screen, seed),
        )
        lacking = reports.missing()
        page = None if lacking else reports.write(folder, pictures)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from error
    screen.print(f"Written to {folder}/", style="bold", soft_wrap=True)
    tables = biopsies.Files(folder).contents() | clinics.Files(folder).contents()
    pages = {} if page is None else reports.contents()
    screen.print(pairs(tables | pictures.contents() | pumps.Files(folder).contents() | pages))
    screen.print("\nTry next", style="bold")
    for command in next_commands(folder, pictures):
        screen.print(f"  {command}", soft_wrap=True)
    if page is None:
        screen.print(f"\nNo report: it needs {' and '.join(lacking)}, pip install 'upland[report,images]'")
    else:
        screen.print(f"\nSee it in a browser: {page}", style="bold", soft_wrap=True)
    return found


def next_commands(folder: Path, pictures: digits.Files) -> list[str]:
    """Commands that run on what the demonstration wrote.

    Args:
        folder: Where it wrote.
        pictures: The files of its images.
    """
    called = Path(sys.argv[0])  # not on the search path where the environment is not activated
    program = called if called.name == "upland" and not shutil.which("upland") else "upland"
    table, patients, series = biopsies.Files(folder), clinics.Files(folder), pumps.Files(folder)
    more = folder / "more"
    maps = f" --maps {more}-heat" if pictures.pictures else ""
    return [
        f"{program} info {table.model}",
        f"{program} score {table.model} {table.new} --top 5",
        f"{program} score {table.model} {table.new} --control fdr --why -o {more}.parquet",
        f"{program} fit {table.normal} --criterion energy -o {more}.safetensors",
        f"{program} groups {patients.model} {patients.new} --by {clinics.CLINIC}",
        f"{program} fit {patients.normal} --model flow -o {more}-flow.safetensors",
        f"{program} score {pictures.model} {pictures.new} --top 5{maps}",
        f"{program} score {series.model} {series.new} --top 5",
        f"{program} fit {series.normal} --time time --id pump --window 60 -o {more}-pumps.safetensors",
    ]


def has_pillow() -> bool:
    """Whether images can be written."""
    from upland.io.images import pillow

    try:
        pillow()
    except ImportError:
        return False
    return True
