"""`upland demo`: data from end to end, with what is known of them kept aside to check what was promised.

A table (biopsies), groups of rows (patients of clinics), images (handwritten digits), sequences (the same,
row by row) and long series (pumps); of each the detector sees normal ones alone, and judges others as
`upland fit`, `upland score` and `upland groups` would.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from demo.findings import Found
from upland_demo import biopsies, digits, pumps
from upland_demo import clinics as lots

from upland.cli.console import OutputError, pairs

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Findings:
    """How the verdicts compare with the truth.

    Args:
        table: Malignant biopsies against benign ones.
        groups: Clinics, two of which have gone off.
        images: Other digits, and digits with a stroke, against zeros.
        sequences: Other digits against zeros, row by row.
        series: The fault of a pump.
    """

    table: Found
    groups: lots.Judged
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
            lots.run(folder, screen, seed),
            digits.show_images(pictures, dealt, screen, seed),
            digits.show_rows(pictures, dealt, screen, seed),
            pumps.run(folder, screen, seed),
        )
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror or error}") from error
    screen.print(f"Written to {folder}/", style="bold", soft_wrap=True)
    tables = biopsies.Files(folder).told() | lots.Files(folder).told()
    screen.print(pairs(tables | pictures.told() | pumps.Files(folder).told()))
    screen.print("\nTry next", style="bold")
    for command in next_commands(folder, pictures):
        screen.print(f"  {command}", soft_wrap=True)
    return found


def next_commands(folder: Path, pictures: digits.Files) -> list[str]:
    """Commands that run on what the demonstration wrote.

    Args:
        folder: Where it wrote.
        pictures: The files of its images.
    """
    called = Path(sys.argv[0])  # not on the search path where the environment is not activated
    program = called if called.name == "upland" and not shutil.which("upland") else "upland"
    table, clinics, series = biopsies.Files(folder), lots.Files(folder), pumps.Files(folder)
    more = folder / "more"
    maps = f" --maps {more}-heat" if pictures.pictures else ""
    return [
        f"{program} info {table.model}",
        f"{program} score {table.model} {table.new} --top 5",
        f"{program} score {table.model} {table.new} --control fdr --why -o {more}.parquet",
        f"{program} fit {table.normal} --criterion energy -o {more}.safetensors",
        f"{program} groups {clinics.model} {clinics.new} --by {lots.CLINIC}",
        f"{program} fit {clinics.normal} --model flow -o {more}-flow.safetensors",
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
