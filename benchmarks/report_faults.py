"""The section of planted faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from benchmarks.markdown import Row, grouped, methods, spread, table
from benchmarks.planted import KINDS

TEXT = """## Planted faults

Faults of one channel or two in held-out parts of normal series, 20 of a kind on the pumps, 5 on each other
series. *found*: a step is flagged at alpha = .01 within the stated delay; *channel*: of those found, the
largest share at the highest score is right; *false*: the same windows without the fault have a flagged step;
*delay*: median steps until the first flag. In per cent; ± is the standard deviation over seeds of the fit.
sd: the channel's standard deviation in the training part.
"""
GROUPS = {
    "pumps": "The pumps of `upland demo`",
    "one": "Real series of one channel",
    "many": "Recorded movements, 3 to 24 channels",
}
NOTHING = "None"


def faults(rows: Sequence[Row]) -> str:
    """The kinds, then a table for each group of series and, where episodes are named, what is called what."""
    kinds = [[name, kind.text, f"{kind.delay or '2 periods, 64 at least'}"] for name, kind in KINDS.items()]
    parts = [TEXT, table(("kind", "what is planted", "steps to be found in"), kinds)]
    for group, title in GROUPS.items():
        chosen = [row for row in rows if row["group"] == group]
        if chosen:
            names = ", ".join(dict.fromkeys(row["series"] for row in chosen))
            parts.append(f"### {title}\n\n{names}.\n\n{measured(chosen)}")
    called = [row for row in rows if "called" in row]
    return "\n".join([*parts, *([confusion(called)] if called else [])])


def measured(rows: Sequence[Row]) -> str:
    """One line for each kind and method, and one for all kinds."""
    names = methods(rows)
    values = grouped(rows, "kind", "method")
    present = [kind for kind in KINDS if any((kind, name) in values for name in names)]
    body = [line(kind, name, values[kind, name]) for kind in present for name in names]
    body += [line("*all*", name, [row for row in rows if row["method"] == name]) for name in names]
    return table(("kind", "method", "plantings", "found", "channel", "false", "delay"), body)


def line(kind: str, method: str, rows: Sequence[Row]) -> list[str]:
    seeds = list(grouped(rows, "seed").values())
    sums = [
        {key: sum(row[key] for row in seed) for key in ("n", "found", "named", "false")} for seed in seeds
    ]
    found = spread([one["found"] / one["n"] for one in sums], digits=1)
    named = [one["named"] / one["found"] for one in sums if one["found"]]
    false = spread([one["false"] / one["n"] for one in sums], digits=1)
    delays = [row["delay"] for row in rows if row["delay"] is not None]
    cells = [found, spread(named, digits=1) if named else "", false]
    delay = f"{np.median(delays):.0f}" if delays and kind != "*all*" else ""
    return [kind, method, f"{sums[0]['n']} x {len(seeds)}", *cells, delay]


def confusion(rows: Sequence[Row]) -> str:
    """What the highest episode in the window is called, all series and seeds together."""
    counts = {kind: Counter[str]() for kind in KINDS}
    for row in rows:
        counts[row["kind"]].update(row["called"])
    names = [*dict.fromkeys(name for kind in KINDS for name in counts[kind] if name != NOTHING), NOTHING]
    body = [
        [kind, *(f"{100 * one[name] / one.total():.0f}" if one[name] else "" for name in names)]
        for kind, one in counts.items()
        if one
    ]
    head = ("planted", *names[:-1], "no name")
    return f"### What the episodes are called\n\nPer cent of a line.\n\n{table(head, body)}"
