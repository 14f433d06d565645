"""Is the false-alarm rate kept? Training, calibration and test rows are all drawn anew, many times, with the
default detector.

One draw proves nothing: given one set of calibration rows the false-alarm rate is itself random. The mean
over redraws is what exchangeability bounds: share of normal rows flagged <= alpha, and at least floor(alpha
(n + 1)) / (n + 1) for distinct scores; mean false discovery proportion of Benjamini-Hochberg <= alpha, on
batches with anomalies and on all-normal ones (where it is 1 as soon as anything is flagged).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.options import command, parsed
from benchmarks.records import Records
from benchmarks.synthetic import Surface

KEYS = ("case", "redraw", "alpha")
ROWS = {"cross": 400, "split": 1200}
COLUMNS, TEST_ROWS, ANOMALIES = 6, 200, 20


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--cases", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--redraws", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.05)
    return parsed(parser, argv, "calibration", {"redraws": 3})


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    records = Records.open(options.output, KEYS)
    for case in options.cases:
        for redraw in range(options.redraws):
            if records.find(case=case, redraw=redraw, alpha=options.alpha) is None:
                records.add(redrawn(case, redraw, options.alpha))
        show(case, [row for row in records.rows if row["case"] == case and row["alpha"] == options.alpha])
    return 0


def redrawn(case: str, redraw: int, alpha: float) -> dict[str, Any]:
    """One fit on new rows, and what it flags among new normal rows and new anomalies."""
    from upland import EnergyDetector

    surface = Surface.make(COLUMNS, np.random.default_rng(0), latent=2)
    generator = np.random.default_rng([redraw, ROWS[case]])
    train, normal = surface.draw(ROWS[case], generator), surface.draw(TEST_ROWS, generator)
    anomalous = surface.plant(ANOMALIES, generator, touched=3)
    mixed = np.concatenate([normal[: TEST_ROWS - ANOMALIES], anomalous])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = EnergyDetector(random_state=redraw, progress=False).fit(train)
        alarms = detector.flag(normal, alpha=alpha)
        found = detector.flag(normal, alpha=alpha, control="fdr")
        found_mixed = detector.flag(mixed, alpha=alpha, control="fdr")
    false = int(found_mixed[:-ANOMALIES].sum())
    return {
        "case": case,
        "redraw": redraw,
        "alpha": alpha,
        "rows": ROWS[case],
        "method": detector.calibration_.method,
        "n": detector.calibration_.size,
        "false_alarms": float(alarms.mean()),
        "fdp_normal": float(found.any()),
        "fdp_mixed": false / max(int(found_mixed.sum()), 1),
        "power": float(found_mixed[-ANOMALIES:].mean()),
    }


def show(case: str, rows: list[dict[str, Any]]) -> None:
    """Means, standard errors and the two bounds."""
    n, alpha = rows[0]["n"], rows[0]["alpha"]
    print(
        f"{case}: {rows[0]['method']}, n = {n}, bounds [{np.floor(alpha * (n + 1)) / (n + 1):.4f}, {alpha}]"
    )
    for key in ("false_alarms", "fdp_normal", "fdp_mixed", "power"):
        values = [row[key] for row in rows]
        print(f"  {key:13} {np.mean(values):.4f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}")


if __name__ == "__main__":
    sys.exit(main())
