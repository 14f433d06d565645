"""`upland demo`: real data from end to end, with the labels kept aside to check what was promised.

The data are the 569 biopsies of scikit-learn's breast cancer set (Street, Wolberg, Mangasarian 1993): 30
measurements each, benign or malignant. Benign is normal: the detector is fitted on part of the benign rows
and never sees a label; the benign rows held out and all malignant ones are then scored as `upland fit` and
`upland score` would.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from upland.apps.console import OutputError, grid, pairs
from upland.apps.streaming import Outcome, score_file
from upland.apps.views import strangest_table
from upland.calibration import GUARANTEES

if TYPE_CHECKING:
    from rich.console import Console

    from upland.detectors import EnergyDetector

ALPHA = 0.05
HELD_OUT = 100


@dataclass(frozen=True)
class Files:
    """What the demonstration writes into its folder."""

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
        """The rows to score, with verdicts and reasons."""
        return self.folder / "scored.csv"


@dataclass(frozen=True)
class Findings:
    """How the verdicts compare with the diagnoses.

    Args:
        benign: Held-out benign rows.
        alarms: How many of them were flagged.
        malignant: Malignant rows.
        found: How many of them were flagged.
        auroc: Probability that a malignant row scores above a benign one.
    """

    benign: int
    alarms: int
    malignant: int
    found: int
    auroc: float


def run(folder: Path, screen: Console, seed: int = 0) -> Findings:
    """Fit, score, show; the files land in `folder`, those of an earlier run are replaced.

    Args:
        folder: Where to write; made if it is missing.
        screen: Where to print.
        seed: Seed of the split and of the fit.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    files = Files(folder)
    _write_data(files, np.random.default_rng(seed))
    start = time.perf_counter()
    detector = _fit(files, seed)
    seconds = time.perf_counter() - start
    outcome = _score(files, detector)
    findings = compare(files.scored)
    _show(screen, files, detector, outcome, findings, seconds)
    return findings


def compare(scored: Path) -> Findings:
    """Hold the verdicts of a scored file against its diagnoses.

    Args:
        scored: The CSV file that the demonstration wrote.
    """
    from sklearn.metrics import roc_auc_score

    table = csv.read_csv(scored)
    malignant = np.array(table["diagnosis"].to_pylist()) == "malignant"
    flagged = np.array(table["is_anomaly"].to_pylist(), dtype=bool)
    scores = table["anomaly_score"].to_numpy()
    return Findings(
        benign=int((~malignant).sum()),
        alarms=int((flagged & ~malignant).sum()),
        malignant=int(malignant.sum()),
        found=int((flagged & malignant).sum()),
        auroc=float(roc_auc_score(malignant, scores)),
    )


def _write_data(files: Files, generator: np.random.Generator) -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    benign = generator.permutation(np.flatnonzero(data.target == 1))
    kept, held_out = np.sort(benign[HELD_OUT:]), benign[:HELD_OUT]
    new = generator.permutation(np.concatenate([held_out, np.flatnonzero(data.target == 0)]))
    diagnosis = np.where(data.target[new] == 1, "benign", "malignant")
    try:
        files.folder.mkdir(parents=True, exist_ok=True)
        csv.write_csv(_table(data.data[kept], names), files.normal)
        csv.write_csv(
            _table(data.data[new], names).append_column("diagnosis", [diagnosis.tolist()]), files.new
        )
    except OSError as error:
        raise OutputError(f"cannot write into {files.folder}: {error.strerror or error}") from error


def _table(values: NDArray[np.float64], names: list[str]) -> pa.Table:
    return pa.table({name: values[:, place] for place, name in enumerate(names)})


def _fit(files: Files, seed: int) -> EnergyDetector:
    from upland.detectors import EnergyDetector
    from upland.persistence import save

    detector = EnergyDetector(random_state=seed).fit(files.normal)
    save(detector, files.model)
    return detector


def _score(files: Files, detector: EnergyDetector) -> Outcome:
    from upland.data.sources import open_source

    source = open_source(files.new)
    return score_file(detector, source, files.scored, alpha=ALPHA, why=True, overwrite=True, top=3)


def _show(
    screen: Console,
    files: Files,
    detector: EnergyDetector,
    outcome: Outcome,
    findings: Findings,
    seconds: float,
) -> None:
    calibration = detector.calibration_
    rows = csv.read_csv(files.normal).num_rows
    screen.print("Breast cancer biopsies, 30 measurements each; benign is normal", style="bold")
    screen.print(f"fitted on {rows} benign rows in {seconds:.1f} s, no labels used")
    screen.print(f"p-values from {calibration.size} held-out rows; a row is flagged where p <= {ALPHA:g}")
    screen.print(f"guarantee ({calibration.kind}): {GUARANTEES[calibration.kind]}", style="dim")
    screen.print(_findings_table(findings))
    screen.print(f"AUROC {findings.auroc:.3f} (malignant against held-out benign)\n")
    screen.print("The three strangest rows, and why", style="bold")
    screen.print(strangest_table(outcome.strangest))
    screen.print(f"Written to {files.folder}/", style="bold", soft_wrap=True)
    screen.print(
        pairs(
            {
                files.normal.name: "benign rows to fit on",
                files.new.name: f"{outcome.rows} rows to score, with their diagnosis",
                files.model.name: "the detector",
                files.scored.name: "the scored rows: anomaly_score, p_value, is_anomaly, why",
            }
        )
    )
    screen.print("\nTry next", style="bold")
    for command in _next_commands(files):
        screen.print(f"  {command}", soft_wrap=True)


def _findings_table(found: Findings) -> object:
    lines = [
        [
            "benign, held out",
            str(found.benign),
            str(found.alarms),
            f"{found.alarms / found.benign:.1%} false alarms",
        ],
        [
            "malignant",
            str(found.malignant),
            str(found.found),
            f"{found.found / found.malignant:.1%} detected",
        ],
    ]
    return grid(["rows scored", "number", "flagged", ""], lines, right=["number", "flagged"])


def _next_commands(files: Files) -> list[str]:
    called = Path(sys.argv[0])  # not on the search path where the environment is not activated
    program = called if called.name == "upland" and not shutil.which("upland") else "upland"
    return [
        f"{program} info {files.model}",
        f"{program} score {files.model} {files.new} --top 5",
        f"{program} score {files.model} {files.new} --control fdr --why -o {files.folder / 'fdr.parquet'}",
        f"{program} fit {files.normal} --criterion energy -o {files.folder / 'energy.safetensors'}",
    ]
