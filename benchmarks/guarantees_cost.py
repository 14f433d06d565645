"""CPU milliseconds of the change monitor for 1,000 rows, beside scoring them."""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.guarantees_streams import write
from benchmarks.records import Records
from benchmarks.synthetic import Surface
from benchmarks.timing import interleaved


def cost(records: Records, options: argparse.Namespace) -> None:
    """The default detector of ten columns, split and cross calibrated."""
    import upland
    from upland.detectors.monitoring import monitor_of

    for method, rows in (("split", 3_000), ("cross", 500)):
        case = f"{method}, fit on {rows} rows"
        if records.find(part="cost", case=case, method="monitor") is not None:
            continue
        surface, rng = Surface.make(10, np.random.default_rng(0), latent=4), np.random.default_rng(1)
        made = upland.EnergyDetector(calibration=method, random_state=0, progress=False)
        detector, new = made.fit(surface.draw(rows, rng)), surface.draw(1_000, rng)
        monitor, found = monitor_of(detector, 0), detector.assess_members(new)
        tasks = {
            "monitor": lambda monitor=monitor, found=found: monitor.update(found.values),
            "scoring": lambda detector=detector, new=new: detector.assess(new),
        }
        seconds = interleaved(tasks, 20)
        size = sum(array.nbytes for array in monitor.to_arrays().values())
        share = seconds["monitor"] / seconds["scoring"]
        values = {"milliseconds": 1e3 * seconds["monitor"], "of_scoring": share, "state_bytes": size}
        write(records, "cost", case, "monitor", values)
