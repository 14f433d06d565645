"""The demonstration's table: biopsies, with the diagnoses kept aside to check the results.

The data are the 569 biopsies of scikit-learn's breast cancer set (Street, Wolberg, Mangasarian 1993): 30
measurements each, benign or malignant. Benign is normal: the detector is fitted on part of the benign rows
and never sees a label; the benign rows held out and all malignant ones are then scored as `upland fit` and
`upland score` would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray
from upland_demo.findings import ALPHA, Found, compared, fitted, found_table, scored

from upland.cli.rendering import findings_table

if TYPE_CHECKING:
    from rich.console import Console

HELD_OUT = 100


@dataclass(frozen=True)
class Files:
    """What this part writes into its folder."""

    folder: Path

    @property
    def normal(self) -> Path:
        """Benign rows to fit on, without a label."""
        return self.folder / "normal.csv"

    @property
    def new(self) -> Path:
        """Rows to score; their diagnosis is carried through, not used."""
        return self.folder / "new.csv"

    @property
    def model(self) -> Path:
        """The fitted detector."""
        return self.folder / "model.safetensors"

    @property
    def scored(self) -> Path:
        """The rows to score, with scores, flags and reasons."""
        return self.folder / "scored.csv"

    def contents(self) -> dict[str, str]:
        """What is in them."""
        return {
            self.normal.name: "benign rows to fit on",
            self.new.name: "rows to score, with their diagnosis",
            self.model.name: "the detector",
            self.scored.name: "the scored rows: anomaly_score, p_value, is_anomaly, reason",
        }


def run(folder: Path, screen: Console, seed: int) -> Found:
    """Fit, score, show.

    Args:
        folder: Where to write.
        screen: Where to print.
        seed: Seed of the split and of the fit.
    """
    files = Files(folder)
    _write_data(files, np.random.default_rng(seed))
    detector, seconds = fitted(files.normal, files.model, random_state=seed)
    result = scored(detector, files.new, files.scored)
    found = compare(files.scored)
    calibration = detector.info()["calibration"]
    rows = csv.read_csv(files.normal).num_rows
    screen.print("A table: breast cancer biopsies, 30 measurements each; benign is normal", style="bold")
    screen.print(f"fitted on {rows} benign rows in {seconds:.1f} s, no labels used")
    screen.print(f"p-values from {calibration['rows']} held-out rows; a row is flagged where p <= {ALPHA:g}")
    screen.print(f"guarantee ({calibration['method']}): {calibration['guarantee']}", style="dim")
    screen.print(found_table("rows scored", [("benign, held out", False, found), ("malignant", True, found)]))
    screen.print(f"AUROC {found.auroc:.3f} (malignant against held-out benign)\n")
    screen.print("The three most anomalous rows, and why", style="bold")
    screen.print(findings_table(result))
    return found


def compare(scored: Path) -> Found:
    """Compare the flags of a scored file with its diagnoses.

    Args:
        scored: The CSV file that the demonstration wrote.
    """
    return compared(scored, np.array(csv.read_csv(scored)["diagnosis"].to_pylist()) == "malignant")


def _write_data(files: Files, generator: np.random.Generator) -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    benign = generator.permutation(np.flatnonzero(data.target == 1))
    kept, held_out = np.sort(benign[HELD_OUT:]), benign[:HELD_OUT]
    new = generator.permutation(np.concatenate([held_out, np.flatnonzero(data.target == 0)]))
    diagnosis = np.where(data.target[new] == 1, "benign", "malignant")
    csv.write_csv(_table(data.data[kept], names), files.normal)
    csv.write_csv(_table(data.data[new], names).append_column("diagnosis", [diagnosis.tolist()]), files.new)


def _table(values: NDArray[np.float64], names: list[str]) -> pa.Table:
    return pa.table({name: values[:, place] for place, name in enumerate(names)})
