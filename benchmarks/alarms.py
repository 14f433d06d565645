"""What a level that a budget chooses is worth in the month after the history, and how far the interval holds.

Scores are drawn, not fitted: a calibration of 1,000 rows, a history of 30 days with a row every ten minutes,
the 30 days after it, and 300 days more that tell the true rate. A level is chosen by `1 per day`, alarms are
merged within 3 rows.

    independent   normal rows, each by itself
    dependent     a normal series, AR(1) with coefficient 0.9: rows near each other are alike
    events        independent normal rows, and every five days on average an event of ten rows far off
    daily         independent rows whose scores grow by a standard deviation in the afternoon; so calibrated

`false` is flagged normal rows over alpha times all normal ones, at most 1 on average at a level that is fixed
beforehand; `next` merged alarms a day in the month after it; `kept` how often they are within the budget;
`covered` how often the interval of the rate holds the true one, at the level chosen and at a fixed one.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from benchmarks.options import command, parsed
from benchmarks.records import Records
from upland.calibration.conformal import Calibration
from upland.scoring.alarms import AlarmCounter, AlarmRates, levels_for, rates_of
from upland.scoring.budget import budget_of, largest
from upland.scoring.merging import merging_of

CASES = ("independent", "dependent", "events", "daily")
N, A_DAY, MONTH, LONG = 1_000, 144, 30, 300
COEFFICIENT, EVENT, EVENTS = 0.9, 10, 0.2
FIXED, BUDGET, MERGE = 0.01, "1 per day", 3
KEYS = ("case", "redraw")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--redraws", type=int, default=400)
    return parsed(parser, argv, "alarms", {"redraws": 5})


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for case in options.cases:
        for redraw in range(options.redraws):
            if records.find(case=case, redraw=redraw) is None:
                records.add(redrawn(case, redraw))
        show(case, [row for row in records.rows if row["case"] == case])
    return 0


def drawn(case: str, days: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Scores of so many days, and which rows are anomalies."""
    rows = days * A_DAY
    scores, anomalous = rng.normal(size=rows), np.zeros(rows, dtype=bool)
    if case == "dependent":
        noise = scores * np.sqrt(1 - COEFFICIENT**2)
        noise[0] = scores[0]
        scores = lfilter([1], [1, -COEFFICIENT], noise)
    if case == "daily":
        scores += np.arange(rows) % A_DAY >= A_DAY // 2
    if case == "events":
        for start in rng.integers(0, rows - EVENT, rng.poisson(EVENTS * days)):
            anomalous[start : start + EVENT] = True
        scores = np.where(anomalous, scores + 9, scores)
    return scores, anomalous


def calibration_of(case: str, rng: np.random.Generator) -> Calibration:
    """Held-out scores of normal rows, far from each other."""
    scores = rng.normal(size=N)
    return Calibration(scores + (rng.random(N) < 0.5) if case == "daily" else scores)


def rates(p_values: NDArray[Any]) -> AlarmRates:
    """What every level comes to."""
    seconds = 86_400 / A_DAY
    counter = AlarmCounter(merging_of(MERGE, seconds), seconds)
    counter.see(p_values, np.arange(p_values.size, dtype=np.float64))
    return rates_of(counter.whole, seconds)


def redrawn(case: str, redraw: int) -> dict[str, Any]:
    """One calibration and one history, and what its level does afterwards."""
    rng = np.random.default_rng([redraw, CASES.index(case)])
    calibration, parts = calibration_of(case, rng), {}
    for name, days in (("history", MONTH), ("next", MONTH), ("long", LONG)):
        scores, anomalous = drawn(case, days, rng)
        parts[name] = (calibration.p_values(scores[:, None]), anomalous)
    history, after, truth = (rates(p) for p, _ in parts.values())
    fixed = history.at(FIXED)
    found = {"case": case, "redraw": redraw, "benchmark": "alarms"}
    found["fixed_covered"] = bool(fixed.low <= truth.at(FIXED).rate <= fixed.high)
    level = largest(history, levels_for(N, 400), budget_of(BUDGET))
    if level is None:
        return found | {"chosen": None}
    p, anomalous = parts["next"]
    flagged = float((p[~anomalous] <= level.alpha).sum())
    return found | {
        "chosen": round(level.alpha, 6),
        "false": round(flagged / (level.alpha * float((~anomalous).sum())), 4),
        "history_rate": round(level.rate, 4),
        "next_rate": round(after.at(level.alpha).rate, 4),
        "true_rate": round(truth.at(level.alpha).rate, 4),
        "kept": bool(after.at(level.alpha).rate <= 1),
        "covered": bool(level.low <= truth.at(level.alpha).rate <= level.high),
    }


def show(case: str, rows: list[dict[str, Any]]) -> None:
    """Means and standard errors."""
    done = [row for row in rows if row["chosen"] is not None]
    print(f"{case}: {len(rows)} redraws, a level in {len(done)}")
    for name in ("chosen", "false", "history_rate", "next_rate", "true_rate", "kept", "covered"):
        values = [float(row[name]) for row in done]
        print(f"  {name:13} {np.mean(values):.4f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}")
    print(f"  fixed_covered {np.mean([row['fixed_covered'] for row in rows]):.4f}")


if __name__ == "__main__":
    sys.exit(main())
