"""The section of the guarantees of the watch: false alarms, run length, discoveries, delays, dependence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.markdown import Row, grouped, table

TEXT = {
    "alarms": """### False alarms ever

Shares of streams of normal rows on which an alarm at level delta ever comes, with their standard errors.
""",
    "bets": """### Bets

Independent p-values: median of the rows from a change to an alarm at delta = 0.01, after so many normal rows,
of the martingale and of the mixture of powers and jumpers that bets all its wealth from the start.
""",
    "run_length": """### Run length of the e-detector

Shares of streams without a change with an alarm at A within t batches; the bound is t / A. The mean length
counts streams without an alarm by their end.
""",
    "discoveries": """### Online false discovery rate

200 batches of a stream, alpha = 0.1. Each cell: false discovery rate ± standard error / share of the shifted
batches that are found. Own calibrations: batches of 50 rows, each compared with 500 calibration rows of its
own, one batch in ten is shifted. One calibration: all are compared with the same 500 rows; or batches of 200
rows with the same 50.
""",
    "delays": """### Delays

Rows from a change to the alarm, median / 90 % quantile over the streams without an earlier alarm, and the
share without an alarm in 4,000 rows where there is any. Thresholds, also those of river's detectors, are
chosen on other streams without a change, so that one in twenty alarms in 5,000 rows; *as promised* has the
threshold of the theorem. The first line has the share of streams without a change that alarm. A batch is 50
rows.
""",
    "dependence": """### Dependence in time

Shares of streams of AR(1) scores without a change on which the martingale ever reaches 1 / delta, delta =
0.05 (0.01), by the correlation of neighbours and by the block of which one row counts.
""",
    "series": """### Real series

Shares of the channels of spacecraft telemetry, training data without anomalies, on which the martingale
ever reaches 1 / 0.05: a third fits a Gaussian of eight steps of the first variable, rows of the next third
drawn at random calibrate, the last third is watched. Series may truly change.
""",
    "cost": """### Cost

CPU milliseconds of the change monitor for 1,000 rows, over those of scoring them, and the bytes of its state.
""",
}


def guarantees(rows: Sequence[Row]) -> str:
    """Tables of the parts that have rows."""
    parts = ["## The guarantees of the watch\n\n`benchmarks/guarantees.py` has the simulations.\n"]
    for part, text in TEXT.items():
        there = [row for row in rows if row["part"] == part]
        if there:
            parts.append(f"{text}\n{PARTS[part](there)}")
    return "\n".join(parts)


def crossed(cell: Callable[[Row], str]) -> Callable[[Sequence[Row]], str]:
    """A table of cases by methods.

    Args:
        cell: the text of a row.
    """

    def made(rows: Sequence[Row]) -> str:
        names = list(dict.fromkeys(row["method"] for row in rows))
        body = []
        for (case,), group in grouped(rows, "case").items():
            found = {row["method"]: cell(row) for row in group}
            body.append([case, *(found.get(name, "") for name in names)])
        return table(["", *names], body)

    return made


def alarms(rows: Sequence[Row]) -> str:
    body = [
        [
            row["case"],
            row["method"],
            *(f"{row[f'ever_{d}']:.4f} ± {row[f'error_{d}']:.4f}" for d in (0.01, 0.05)),
        ]
        for row in rows
    ]
    return table(["calibration", "alarm", "delta = 0.01", "delta = 0.05"], body)


def run_length(rows: Sequence[Row]) -> str:
    shares = ("0.1", "0.5", "1")
    body = [
        [
            row["case"],
            f"{row['mean_length_at_least']:.0f}",
            *(f"{row[f'within_{t}_A']:.4f} ± {row[f'error_{t}_A']:.4f}" for t in shares),
        ]
        for row in rows
    ]
    return table(["", "mean length at least", *(f"t = {t} A" for t in shares)], body)


def of_delays(row: Row) -> str:
    if "ever" in row:
        return f"{row['ever']:.3f} ± {row['error']:.3f}"
    missed = f", {row['missed']:.0%} missed" if row["missed"] else ""
    return f"{row['median']:.0f} / {row['quantile_90']:.0f}{missed}"


def cost(rows: Sequence[Row]) -> str:
    body = [
        [row["case"], f"{row['milliseconds']:.2f}", f"{row['of_scoring']:.3f}", f"{row['state_bytes']:,}"]
        for row in rows
    ]
    return table(["", "milliseconds", "of scoring", "bytes"], body)


PARTS: dict[str, Callable[[Sequence[Row]], str]] = {
    "alarms": alarms,
    "bets": crossed(lambda row: f"{row['median']:.0f}" if row["missed"] < 0.5 else "missed"),
    "run_length": run_length,
    "discoveries": crossed(lambda row: f"{row['fdr']:.3f} ± {row['error']:.3f} / {row['power']:.2f}"),
    "delays": crossed(of_delays),
    "dependence": crossed(lambda row: f"{row['ever_0.05']:.3f} ({row['ever_0.01']:.3f})"),
    "series": crossed(lambda row: f"{row['ever_0.05']:.2f} of {row['streams']}, {row['counted']:.0f} rows"),
    "cost": cost,
}
