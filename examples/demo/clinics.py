"""The demonstration's groups: patients of eight clinics, two of which are anomalous.

The data are the 442 patients of scikit-learn's diabetes set (Efron, Hastie, Johnstone, Tibshirani 2004):
age, sex, body mass index, blood pressure and six blood values. The detector learns from a part of them; the
others are dealt into clinics. Then one clinic's HDL results are handed to the wrong patients of that clinic,
so that each value is a real one and none belongs to its row; and another's blood pressure reads too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray
from upland_demo.findings import ALPHA, fitted

from upland.cli.groups import score_groups
from upland.cli.rendering import findings_table, line, note
from upland.cli.results import Finding, Request

if TYPE_CHECKING:
    from rich.console import Console

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
        """Patients of the clinics to test."""
        return self.folder / "clinics.csv"

    @property
    def model(self) -> Path:
        """The detector."""
        return self.folder / "clinics.safetensors"

    @property
    def tested(self) -> Path:
        """A row for each clinic, with its p-value."""
        return self.folder / "clinics-tested.csv"

    def contents(self) -> dict[str, str]:
        """What is in them."""
        return {
            f"{self.normal.name}, {self.new.name}": "a row a patient: to fit on, to test by clinic",
            f"{self.model.name}, {self.tested.name}": "the detector; a row a clinic",
        }


@dataclass(frozen=True)
class Tested:
    """What was found in the clinics.

    Args:
        clinics: Each with its p-value and what stands out.
        rows: How many patients of each are flagged one by one.
    """

    clinics: dict[str, Finding]
    rows: dict[str, int]

    @property
    def flagged(self) -> list[str]:
        """The clinics that are flagged."""
        return [name for name, found in self.clinics.items() if found.is_anomaly]


def run(folder: Path, screen: Console, seed: int) -> Tested:
    """Fit, test, show.

    Args:
        folder: Where to write.
        screen: Where to print.
        seed: Seed of the deal and of the fit.
    """
    files = Files(folder)
    patients = _write_data(files, np.random.default_rng(seed))
    detector, seconds = fitted(files.normal, files.model, calibration="split", random_state=seed)
    request = Request(files.tested, ALPHA, "fdr", top=CLINICS, overwrite=True)
    result = score_groups(detector, files.new, CLINIC, request)
    flags = detector.flag(files.new, ALPHA).reshape(CLINICS, PATIENTS).sum(axis=1).tolist()
    clinics = {found.name: found for found in result.findings}
    tested = Tested(clinics, dict(zip(clinics, flags, strict=True)))
    screen.print(f"Groups: {CLINICS} clinics of {PATIENTS} patients, ten measurements each", style="bold")
    screen.print(f"fitted on {patients} other patients in {seconds:.1f} s")
    screen.print(f"{MIXED_UP}: its HDL results went to the wrong patients; each is a real one")
    screen.print(f"{MISREAD}: its blood pressures read {TOO_HIGH:.0f} mmHg too high")
    screen.print(findings_table(result))
    screen.print(note(result), style="dim")
    screen.print(line(result))
    mixed_up, misread = tested.rows[MIXED_UP], tested.rows[MISREAD]
    others = f"{sum(flags) - mixed_up - misread} of the other {(CLINICS - 2) * PATIENTS}"
    two = f"{mixed_up} and {misread} of their {PATIENTS}"
    screen.print(f"one by one, {two} patients are flagged, and {others}\n")
    return tested


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
    """The same with two clinics made anomalous."""
    spoilt, hdl, pressure = values.copy(), NAMES.index("hdl"), NAMES.index("blood_pressure")
    mixed_up = labels == MIXED_UP
    spoilt[mixed_up, hdl] = generator.permutation(spoilt[mixed_up, hdl])
    spoilt[labels == MISREAD, pressure] += TOO_HIGH
    return spoilt


def _table(values: Values) -> pa.Table:
    return pa.table({name: values[:, place] for place, name in enumerate(NAMES)})
