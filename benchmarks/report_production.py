"""The sections of models elsewhere: equality, the overhead of a Scorer, ONNX graphs, plans of clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.markdown import Row, grouped, table

EQUALITY = """## The same numbers everywhere

`benchmarks/equality.py` has the data and the ways. Each cell: the largest difference of a score from that of
`detector.assess` in memory, relative to the score or to the mean score where that is larger; then the largest
difference of a p-value, and how many flags differ, where any does. 0 is equal to the last bit.
"""


def equality(rows: Sequence[Row]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    body = []
    for (way,), group in grouped(rows, "way").items():
        by_set = {row["set"]: cell(row) for row in group}
        body.append([way, *(by_set.get(name, "") for name in sets)])
    counts = {row["set"]: row["rows"] for row in rows}
    return EQUALITY + "\n" + table(["way", *(f"{name} ({counts[name]})" for name in sets)], body)


def cell(row: Row) -> str:
    if "refused" in row:
        return "refused"
    text = f"{row['score_difference']:.1g}" if row["score_difference"] else "0"
    if row["p_value_difference"] or row["flags_changed"]:
        text += f"; p {row['p_value_difference']:.1g}, {row['flags_changed']} flags"
    return text


def listed(text: str, columns: Sequence[str]) -> Callable[[Sequence[Row]], str]:
    """A section with a line for each row of a file.

    Args:
        text: what stands above it.
        columns: of the file, in this order; those that no row has are left out.
    """

    def section(rows: Sequence[Row]) -> str:
        there = [name for name in columns if any(name in row for row in rows)]
        body = [[plain(row.get(name, "")) for name in there] for row in rows]
        return text + "\n" + table([name.replace("_", " ") for name in there], body)

    return section


def plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


scorer = listed(
    """## A Scorer beside the detector

`benchmarks/scorer.py`: microseconds of the CPU of one call, 30 columns, one thread, in turns with `assess` of
the same rows.
""",
    ("container", "rows", "scorer_us", "assess_us", "ratio"),
)
onnx = listed(
    """## ONNX graphs beside upland

`benchmarks/onnx.py` and `benchmarks/onnx_modalities.py`: all rows of a set by onnxruntime and by
upland, one thread. A difference is relative to the score, or to the distance of the calibration's quartiles
where that is larger.
""",
    (
        *("method", "set", "unit", "rows", "units", "largest_difference", "equal_p_values", "equal_flags"),
        *(
            "onnx_rows_per_second",
            "torch_rows_per_second",
            "onnx_per_second",
            "torch_per_second",
            "megabytes",
        ),
    ),
)
stragglers = listed(
    """## Time over the ideal on a cluster, simulated

`benchmarks/stragglers.py`: 128 CPUs, means over 20 seeds.
""",
    ("times", "per_worker", "backups", "failures", "over_ideal", "over_ideal_most", "waste"),
)
ray_plan = listed(
    """## Partitions for each CPU, simulated

`benchmarks/ray_plan.py`: 64 CPUs, means over 20 draws.
""",
    ("case", "partitions_per_cpu", "spread", "slow_share", "deaths", "ratio", "worst"),
)
streams = listed(
    """## Series as they come

`benchmarks/streams.py`: steps a second of one core at 10 channels, beside the pass over the whole series in
the same turns; and `upland score` of files of 10 series with 2 channels: CPU time and peak memory of the
whole command.
""",
    (
        *("part", "method", "steps_per_second", "pass_steps_per_second", "over_pass"),
        *("peak_megabytes", "cpu_seconds", "steps_per_cpu_second", "largest_difference", "flags_changed"),
    ),
)
watching = listed(
    """## What watching costs beside scoring

`benchmarks/watching.py`: CPU milliseconds a file of 1,000 rows and 10 columns, in turns: `detector.assess`,
what `upland score` does (read, scored, written), and `Watch.update`. Below, the steps of SQLite for one batch
in a short history and in a long one.
""",
    (
        *(
            "calibration",
            "format",
            "files",
            "assess_milliseconds",
            "score_milliseconds",
            "watch_milliseconds",
        ),
        *("watch_over_score", "watch_over_assess", "sql_steps"),
    ),
)
watching_faults = listed(
    """## A watch after faults

`benchmarks/watching_faults.py`: watchers that are killed (SIGKILL) at random moments, two at once, a disk
that is full; histories that are broken, or that differ in any bit from that of an undisturbed watcher.
""",
    (
        *("fault", "watched", "files", "kills", "histories", "killed_within", "broken_after_kill"),
        *("different_at_end", "failed", "lost", "taken_twice", "full", "broken", "other_errors", "different"),
    ),
)
