"""Verdicts on groups each of which is to be of one class of the normal data.

A group is compared with the normal rows of its class alone, by statistics that are fitted to the latents of
that class. So its p-value is that of a test whose null is "these are rows of class c"; flags keep their rate
over the groups of all classes together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.false_discovery import Control
from upland.groups.labels import grouped
from upland.groups.tester import GroupTester
from upland.groups.verdicts import Finding, GroupVerdicts, findings_on, verdicts_of


def class_of_groups(numbers: NDArray[np.int64], names: NDArray[Any], classes: Sequence[str]) -> list[str]:
    """The class of each group.

    Args:
        numbers: `(N,)` the number of each row's group.
        names: `(G,)` of the groups.
        classes: `(N,)` the class of each row.

    Raises:
        ValueError: the rows of a group are of several classes.
    """
    found: dict[int, str] = {}
    for number, name in zip(numbers.tolist(), classes, strict=True):
        if found.setdefault(number, name) != name:
            text = f"group {names[number]!r} has rows of the classes {found[number]!r} and {name!r}"
            raise ValueError(f"{text}: a group is tested against one class")
    return [found[number] for number in range(len(names))]


def verdicts_by_class(
    x: Tensor,
    labels: Any,
    classes: Sequence[str],
    tester_of: Callable[[str], GroupTester],
    alpha: float,
    control: Control,
    statistic: str,
    reasons: bool,
) -> GroupVerdicts:
    """A verdict on every group of encoded rows, each compared with one class.

    Args:
        x: `(N, ...)` the rows.
        labels: `(N,)` the group of each.
        classes: `(N,)` the class that each is to be of, the same in a group.
        tester_of: the tester of a class.
        alpha: the rate to keep, in (0, 1).
        control: "fdr" keeps the false discovery rate at alpha, "false_alarm" the false-alarm rate.
        statistic: one of `upland.catalogue.STATISTICS`.
        reasons: whether verdicts say which regions contribute.

    Raises:
        ValueError: labels, classes and rows differ in number, a group has several classes, too few normal
            rows of a class are kept, or there is no such statistic.
    """
    names, numbers = grouped(labels, len(x))
    of_groups = np.array(class_of_groups(numbers, names, classes), dtype=object)
    sizes = np.bincount(numbers, minlength=len(names))
    found: dict[int, Finding] = {}
    kept = []
    for name in sorted(set(of_groups.tolist())):
        tester, own = tester_of(name), np.flatnonzero(of_groups == name)
        comparison = tester.comparison(statistic, int(sizes.max()))
        rows = np.flatnonzero(np.isin(numbers, own))
        inside = np.searchsorted(own, numbers[rows])
        null = comparison.null(len(names), alpha, control)
        why = tester.reasons() if reasons else None
        findings = findings_on(x[rows], inside, sizes[own], comparison, null, why)
        found |= dict(zip(own.tolist(), findings, strict=True))
        kept.append(len(comparison.held_out))
    in_order = [found[number] for number in range(len(names))]
    return verdicts_of(names, sizes, in_order, alpha, control, min(kept))
