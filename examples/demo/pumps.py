"""The demonstration's long series: three pumps, a row a minute, one of which fails for half an hour.

The series are made up: the load of a pump swings, pressure follows it with a delay, the bearing
warms with it slowly. In the rows to score, the valve of one pump sticks for a while: its pressure no longer
follows its load. Each value by itself stays within the usual range.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray
from upland_demo.findings import fitted, scored

from upland.cli.rendering import findings_table, line
from upland.cli.results import Finding

if TYPE_CHECKING:
    from rich.console import Console

PUMPS, MINUTES, BEFORE = 3, 480, 120
SICK, FROM, UNTIL = "pump-3", 252, 280
"""Which pump fails, and its first and last minute; the series begin at 6:00."""

PERIOD = 80
"""Minutes of a swing."""

STUCK = 72.0
"""The load that its pressure is stuck at."""

Values = NDArray[np.float64]
NORMAL_DAY, NEW_DAY = datetime(2026, 3, 2, 6), datetime(2026, 3, 9, 6)


@dataclass(frozen=True)
class Files:
    """What this part writes into its folder."""

    folder: Path

    @property
    def normal(self) -> Path:
        """Rows of a normal day."""
        return self.folder / "pumps-normal.csv"

    @property
    def new(self) -> Path:
        """Rows to score."""
        return self.folder / "pumps.csv"

    @property
    def model(self) -> Path:
        """The detector."""
        return self.folder / "pumps.safetensors"

    @property
    def scored(self) -> Path:
        """The rows to score, with scores, flags and reasons."""
        return self.folder / "pumps-scored.csv"

    def contents(self) -> dict[str, str]:
        """What is in them."""
        return {
            f"{self.normal.name}, {self.new.name}": "a row a pump and minute: to fit on, to score",
            f"{self.model.name}, {self.scored.name}": "the detector; the scored rows",
        }


@dataclass(frozen=True)
class Watched:
    """What was found in the pumps.

    Args:
        worst: The most anomalous episode.
        flagged: Share of the minutes of the fault that are flagged.
        alarms: Share of the other minutes that are flagged.
    """

    worst: Finding
    flagged: float
    alarms: float


def run(folder: Path, screen: Console, seed: int) -> Watched:
    """Fit, score, show.

    Args:
        folder: Where to write.
        screen: Where to print.
        seed: Seed of the series and of the fit.
    """
    files, generator = Files(folder), np.random.default_rng(seed)
    csv.write_csv(day(NORMAL_DAY, generator, sick=False), files.normal)
    csv.write_csv(day(NEW_DAY, generator, sick=True), files.new)
    columns = {"time": "time", "id": "pump"}
    criterion = "reconstruction"  # of the last minutes alone, so that flags begin and end with the fault
    detector, seconds = fitted(files.normal, files.model, **columns, criterion=criterion, random_state=seed)
    result = scored(detector, files.new, files.scored)
    screen.print("Long series: three pumps, a row a minute (made up, with one fault)", style="bold")
    screen.print(f"fitted on {PUMPS * MINUTES:,} normal minutes in {seconds:.1f} s")
    began, ended = (_clock(minute) for minute in (FROM, UNTIL))
    screen.print(f"the fault: the valve of {SICK} sticks from {began} to {ended}")
    frame = detector.info()["architecture"]["frame"]
    screen.print(f"the score of a minute is of the {frame} minutes that end with it: flags end that late")
    screen.print(findings_table(result))
    screen.print(f"{line(result)}\n")
    table = csv.read_csv(files.scored)
    ill = np.array(table["is_faulty"].to_pylist(), dtype=bool)
    flagged = np.array(table["is_anomaly"].to_pylist(), dtype=bool)
    return Watched(result.findings[0], float(flagged[ill].mean()), float(flagged[~ill].mean()))


def _clock(minute: int) -> str:
    return f"{6 + minute // 60}:{minute % 60:02d}"


def day(begin: datetime, generator: np.random.Generator, sick: bool, length: int = MINUTES) -> pa.Table:
    """A day of all pumps, minute after minute.

    Args:
        begin: Its first minute.
        generator: Of the values.
        sick: Whether one pump fails for a while.
        length: Minutes.
    """
    ill = np.zeros((PUMPS, length), dtype=bool)
    columns: dict[str, list[Values]] = {"load": [], "pressure": [], "bearing": []}
    for number in range(PUMPS):
        swing = np.sin(2 * np.pi * np.arange(-BEFORE, length) / PERIOD + number)
        load = 60 + 12 * swing + 2 * generator.normal(0, 1, BEFORE + length)
        followed = load.copy()
        if sick and f"pump-{number + 1}" == SICK:
            ill[number, FROM : UNTIL + 1] = True
            followed[BEFORE + FROM : BEFORE + UNTIL + 1] = STUCK
        for name, values, noise in (
            ("load", load, 0.0),
            ("pressure", 0.08 * _lagged(followed, 0.5), 0.05),
            ("bearing", 20 + 0.5 * _lagged(load, 0.95), 0.5),
        ):
            columns[name].append(values[BEFORE:] + generator.normal(0, 1, length) * noise)
    minutes = np.arange(length).astype("m8[m]")
    table: dict[str, Any] = {
        "pump": np.tile([f"pump-{number + 1}" for number in range(PUMPS)], length),
        "time": np.datetime64(begin, "s") + np.repeat(minutes, PUMPS),
    }
    measured = {name: np.round(np.stack(parts).T.ravel(), 3) for name, parts in columns.items()}
    truth = {"is_faulty": ill.T.ravel()} if sick else {}
    return pa.table({**table, **measured, **truth})


def _lagged(values: Values, memory: float) -> Values:
    """Each value mixed with those before it."""
    mixed, state = np.empty(len(values)), float(values[0])
    for place, value in enumerate(values.tolist()):
        state = memory * state + (1 - memory) * value
        mixed[place] = state
    return mixed
