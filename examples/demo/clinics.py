"""The demonstration's groups: patients of eight clinics, two of which have gone off.

The data are the 442 patients of scikit-learn's diabetes set (Efron, Hastie, Johnstone, Tibshirani 2004):
age, sex, body mass index, blood pressure and six blood values. The detector learns from a part of them; the
others are dealt into clinics. Then one clinic's HDL results are handed to the wrong patients of that clinic,
so that each value is a real one and none belongs to its row; and another's blood pressure reads too high.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from demo.findings import ALPHA
from numpy.typing import NDArray

from upland.cli.group_rendering import groups_line, groups_note, groups_table
from upland.cli.groups import GroupsAsked, judge_path, write_groups

if TYPE_CHECKING:
    from rich.console import Console

    from upland.detectors.base import Detector
    from upland.groups.verdicts import GroupVerdicts

CLINIC = "clinic"
CLINICS, PATIENTS = 8, 20
NAMES = [
    *("age", "sex", "bmi", "blood_pressure", "cholesterol", "ldl", "hdl", "cholesterol_ratio"),
    *("triglycerides", "glucose"),
]
MIXED_UP, MISREAD = "clinic-3", "clinic-7"
"""Whose HDL results went to the wrong patients; whose blood pressure reads too high."""

TOO_HIGH = 12.0
"""Millimetres of mercury; a standard deviation is 14."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Files:
    """What this part writes into its folder."""

    folder: Path

    @property
    def normal(self) -> Path:
        """Patients to fit on."""
        return self.folder / "patients.csv"

    @property
    def new(self) -> Path:
        """Patients of the clinics to judge."""
        return self.folder / "clinics.csv"

    @property
    def model(self) -> Path:
        """The detector."""
        return self.folder / "clinics.safetensors"

    @property
    def judged(self) -> Path:
        """A row for each clinic, with its verdict."""
        return self.folder / "clinics-judged.csv"

    def told(self) -> dict[str, str]:
        """What is in them."""
        return {
            f"{self.normal.name}, {self.new.name}": "a row a patient: to fit on, to judge by clinic",
            f"{self.model.name}, {self.judged.name}": "the detector; a row a clinic",
        }


@dataclass(frozen=True)
class Judged:
    """What came of the clinics.

    Args:
        verdicts: One for each.
        rows: `(G,)` how many of the patients of each are flagged one by one.
    """

    verdicts: GroupVerdicts
    rows: NDArray[np.int64]

    def rows_of(self, clinic: str) -> int:
        """How many patients of a clinic are flagged one by one."""
        return int(self.rows[self.verdicts.group == clinic][0])


def run(folder: Path, screen: Console, seed: int) -> Judged:
    """Fit, judge, show.

    Args:
        folder: Where to write.
        screen: Where to print.
        seed: Seed of the deal and of the fit.
    """
    from upland.detectors.energy import EnergyDetector
    from upland.persistence import save

    files = Files(folder)
    patients = _write_data(files, np.random.default_rng(seed))
    start = time.perf_counter()
    detector = EnergyDetector(calibration="split", random_state=seed).fit(files.normal)
    seconds = time.perf_counter() - start
    save(detector, files.model)
    found = judge_path(detector, files.new, GroupsAsked(CLINIC, ALPHA))
    write_groups(found, files.judged, overwrite=True)
    judged = Judged(found.verdicts, _flagged_rows(detector, files))
    screen.print(f"Groups: {CLINICS} clinics of {PATIENTS} patients, ten measurements each", style="bold")
    screen.print(f"fitted on {patients} other patients in {seconds:.1f} s")
    screen.print(f"{MIXED_UP}: its HDL results went to the wrong patients; each is a real one")
    screen.print(f"{MISREAD}: its blood pressures read {TOO_HIGH:.0f} mmHg too high")
    screen.print(groups_table(found))
    screen.print(groups_note(found), style="dim")
    screen.print(groups_line(found))
    two = f"{judged.rows_of(MIXED_UP)} and {judged.rows_of(MISREAD)} of their {PATIENTS}"
    others = f"{_others(judged)} of the other {(CLINICS - 2) * PATIENTS}"
    screen.print(f"one by one, {two} patients are flagged, and {others}\n")
    return judged


def _others(judged: Judged) -> int:
    return int(judged.rows.sum()) - judged.rows_of(MIXED_UP) - judged.rows_of(MISREAD)


def _flagged_rows(detector: Detector, files: Files) -> NDArray[np.int64]:
    flags = detector.flag(files.new, ALPHA)
    counts: NDArray[np.int64] = flags.reshape(CLINICS, PATIENTS).sum(axis=1)
    return counts


def _write_data(files: Files, generator: np.random.Generator) -> int:
    """Deal out the patients; how many there are to fit on."""
    from sklearn.datasets import load_diabetes

    values = load_diabetes(scaled=False).data
    order = generator.permutation(len(values))
    new, normal = order[: CLINICS * PATIENTS], np.sort(order[CLINICS * PATIENTS :])
    clinics = [f"clinic-{number}" for number in range(1, CLINICS + 1)]
    labels = np.repeat(clinics, PATIENTS)
    csv.write_csv(_table(values[normal]), files.normal)
    spoilt = _spoilt(values[new], labels, generator)
    csv.write_csv(_table(spoilt).add_column(0, CLINIC, [labels.tolist()]), files.new)
    return len(normal)


def _spoilt(values: Values, labels: NDArray[np.str_], generator: np.random.Generator) -> Values:
    """The same with two clinics gone off."""
    spoilt, hdl, pressure = values.copy(), NAMES.index("hdl"), NAMES.index("blood_pressure")
    mixed_up = labels == MIXED_UP
    spoilt[mixed_up, hdl] = generator.permutation(spoilt[mixed_up, hdl])
    spoilt[labels == MISREAD, pressure] += TOO_HIGH
    return spoilt


def _table(values: Values) -> pa.Table:
    return pa.table({name: values[:, place] for place, name in enumerate(NAMES)})
