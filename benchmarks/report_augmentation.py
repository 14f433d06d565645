"""The section of images that are moved and lit differently, with and without copies of these in the fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.markdown import Row, grouped, table

HEAD = "set and features", "fitted on", "classes", "AUROC", "alarms", "moved: AUROC", "moved: alarms"
TEXT = """## Images that are moved and lit differently

One class is normal; mean over classes. *alarms*: the share of new normal images with p <= 0.05, in percent.
*moved*: the same test images moved by up to 2 pixels, with a light within 20 % (which features of pixels do
not see). *calibrated on moved*: fitted on the images alone, calibrated on one moved copy of each of 200
others. *augmented*: fitted on two copies of each training image beside it, calibrated in that way.
Classes of even number
were looked at first; those of odd number confirm.
"""
MEASURES = ("auroc", "alarms", "moved_auroc", "moved_alarms")


def augmentation(rows: Sequence[Row]) -> str:
    """A line for each set and method, of all classes, and of those of odd number."""
    body = []
    for (name, features), group in grouped(rows, "set", "features").items():
        classes = list(dict.fromkeys(row["class"] for row in group))
        for which, some in (("all", classes), ("odd", classes[1::2])):
            for (method,), own in grouped(group, "method").items():
                chosen = [row for row in own if row["class"] in some]
                if chosen:
                    cells = [f"{100 * np.mean([row[key] for row in chosen]):.1f}" for key in MEASURES]
                    body.append([f"{name}, {features}", method, f"{which} {len(some)}", *cells])
    return f"{TEXT}\n{table(HEAD, body)}"
