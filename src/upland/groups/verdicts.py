r"""Verdicts on whole groups of rows, such as a batch, a shift, a lot or a site.

The statistic of a group is a function of its own rows and the fitted model alone; its p-value compares it
with groups of the same size made of normal rows that neither training nor the statistic has seen
(`upland.groups.null`), and flags keep the rate of false discoveries among the groups tested together.

A verdict depends on the set of a group's rows, not on their order: rows are sorted by their encoded values
before anything is computed, and groups by their size and rows (`upland.groups.ordering`). Draws are seeded by
the normal rows that groups are compared with.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.conformal import Floats
from upland.calibration.false_discovery import Control, benjamini_hochberg
from upland.groups.base import Statistic
from upland.groups.labels import grouped
from upland.groups.null import GroupPValue, Null
from upland.groups.ordering import Group, sorted_groups
from upland.groups.outputs import ModelOutputs
from upland.groups.reasons import NO_REASON, Reason, Reasons

NEAR = 2  # p-values up to so many times alpha are more accurate than larger ones
AT_ONCE = 16_384  # rows whose features are in memory at once
NUMBERS_AT_ONCE = 1 << 22  # encoded numbers that a model is given at once


class GroupVerdicts(NamedTuple):
    """The verdict on each of G groups, in order of first appearance.

    Args:
        group: `(G,)` the groups' names.
        size: `(G,)` rows of each.
        statistic: `(G,)` higher = more anomalous, too good as well as too bad.
        p_value: `(G,)` of the group at its own size.
        flag: `(G,)` bool.
        reason: `(G,)` "marginals" where the distribution of single columns differs from normal, "dependence"
            where the correlation between columns does; "" where it was not asked for.
        columns: for each group the contributing columns or regions, the one that differs most first.
        smallest_p: `(G,)` the least p-value that a group of this size could have had.
        method: `(G,)` "disjoint groups" or "permutation", see `upland.groups.null`.
        p_value_error: `(G,)` the standard error of the p-value over other random draws from the same normal
            rows; 0 for groups of one row, which take no draws.

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rng.normal(size=(600, 3)))
        >>> lots = np.repeat(["a", "b"], 30)
        >>> found = detector.score_groups(rng.normal(size=(60, 3)) + 2 * (lots == "b")[:, None], lots)
        >>> found.flag.tolist()
        [False, True]
    """

    group: NDArray[Any]
    size: NDArray[np.int64]
    statistic: Floats
    p_value: Floats
    flag: NDArray[np.bool_]
    reason: NDArray[np.str_]
    columns: list[tuple[str, ...]]
    smallest_p: Floats
    method: NDArray[np.str_]
    p_value_error: Floats

    def to_arrow(self) -> pa.Table:
        """A table of one row a group."""
        return pa.table({name: pa.array(list(values)) for name, values in self._by_name().items()})

    def to_frame(self) -> Any:
        """A pandas frame of one row a group.

        Raises:
            ImportError: pandas is not installed; the message says what to install.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install 'upland[pandas]'") from None
        return pd.DataFrame(self._by_name())

    def _by_name(self) -> dict[str, Any]:
        return self._asdict() | {"columns": [", ".join(names) for names in self.columns]}


@dataclass(frozen=True)
class Comparison:
    """What groups are compared by, and with.

    Args:
        statistic: fitted.
        outputs: what the model says of encoded rows.
        held_out: `(R, ...)` encoded normal rows that neither training nor the statistic has seen.
    """

    statistic: Statistic
    outputs: Callable[[Tensor], ModelOutputs]
    held_out: Tensor

    def features(self, x: Tensor) -> Tensor:
        """The features of encoded rows: `(N, F)`.

        The model is given a power of two of rows at a time, few enough that large images fit into memory.

        Args:
            x: `(N, ...)`.
        """
        rows = 1 << max(8, (NUMBERS_AT_ONCE // x[0].numel()).bit_length() - 1)
        return torch.cat([self.statistic.features(self.outputs(part)) for part in x.split(rows)])

    def null(self, groups: int, alpha: float, control: Control) -> Null:
        """The p-values of so many groups that are tested together.

        Args:
            groups: how many.
            alpha: the rate to keep, in (0, 1).
            control: "fdr" or "false_alarm".
        """
        return Null(
            self.features(self.held_out),
            self.statistic.value,
            alpha / groups if control == "fdr" else alpha,
            seed=zlib.crc32(self.held_out.numpy().tobytes()),
            coarse=min(NEAR * alpha, 1.0),
        )


class Finding(NamedTuple):
    """What is found of one group.

    Args:
        p: its p-value.
        reason: why it differs.
    """

    p: GroupPValue
    reason: Reason


def verdicts_on(
    x: Tensor, labels: Any, comparison: Comparison, alpha: float, control: Control, reasons: Reasons | None
) -> GroupVerdicts:
    """A verdict on every group of encoded rows, in order of first appearance.

    Args:
        x: `(N, ...)` the rows.
        labels: `(N,)` the group of each.
        comparison: what groups are compared by, and with.
        alpha: the rate to keep, in (0, 1).
        control: "fdr" keeps the false discovery rate at alpha, "false_alarm" the false-alarm rate.
        reasons: finds the contributing columns; None leaves them out.

    Raises:
        ValueError: labels and rows differ in number, or a row has no group.
    """
    names, numbers = grouped(labels, len(x))
    sizes = np.bincount(numbers, minlength=len(names))
    found = findings_on(x, numbers, sizes, comparison, comparison.null(len(names), alpha, control), reasons)
    return verdicts_of(names, sizes, found, alpha, control, len(comparison.held_out))


def findings_on(
    x: Tensor,
    numbers: NDArray[np.int64],
    sizes: NDArray[np.int64],
    comparison: Comparison,
    null: Null,
    reasons: Reasons | None,
) -> list[Finding]:
    """What is found of each group of encoded rows, which does not depend on the others.

    Args:
        x: `(N, ...)` the rows.
        numbers: `(N,)` the number of each one's group.
        sizes: `(G,)` rows of each group.
        comparison: what groups are compared by, and with.
        null: of it.
        reasons: finds the contributing columns; None leaves them out.
    """
    found: dict[bytes, Finding] = {}
    groups = sorted_groups(x, numbers, sizes)
    for batch in _batches(groups):
        found |= _findings(x, batch, comparison, null, reasons)
    of = {group.number: found[group.key] for group in groups}
    return [of[number] for number in range(len(sizes))]


def verdicts_of(
    names: NDArray[Any],
    sizes: NDArray[np.int64],
    in_order: list[Finding],
    alpha: float,
    control: Control,
    held_out: int,
    rows: str = "rows",
) -> GroupVerdicts:
    """Flags of groups that are tested together, beside what is found of each.

    Args:
        names: `(G,)` of the groups, in order of first appearance.
        sizes: `(G,)` rows of each.
        in_order: what is found of each.
        alpha: the rate to keep, in (0, 1).
        control: "fdr" or "false_alarm".
        held_out: normal rows that they are compared with.
        rows: what these are called.
    """
    p = np.array([finding.p.p for finding in in_order])
    smallest = np.array([finding.p.smallest for finding in in_order])
    _warn_of_resolution(smallest, sizes, alpha, control, held_out, rows)
    return GroupVerdicts(
        group=names,
        size=sizes,
        statistic=np.array([finding.p.value for finding in in_order]),
        p_value=p,
        flag=benjamini_hochberg(p, alpha) if control == "fdr" else p <= alpha,
        reason=np.array([finding.reason.name for finding in in_order]),
        columns=[finding.reason.columns for finding in in_order],
        smallest_p=smallest,
        method=np.array([finding.p.method for finding in in_order]),
        p_value_error=np.array([finding.p.error for finding in in_order]),
    )


def _findings(
    x: Tensor, batch: list[Group], comparison: Comparison, null: Null, reasons: Reasons | None
) -> dict[bytes, Finding]:
    """What is found of each group of a batch, by its key."""
    parts = comparison.features(x[np.concatenate([group.rows for group in batch])]).split(
        [len(group.rows) for group in batch]
    )
    p_values: list[GroupPValue] = []
    for _, of_one_size in groupby(parts, key=len):
        p_values += null.p_values(list(of_one_size))
    why = [NO_REASON if reasons is None else reasons.of(x[group.rows]) for group in batch]
    return {group.key: Finding(p, reason) for group, p, reason in zip(batch, p_values, why, strict=True)}


def _batches(groups: list[Group]) -> Iterator[list[Group]]:
    """Groups in their order, some thousand rows at a time, and of those with the same rows one."""
    batch: dict[bytes, Group] = {}
    waiting = 0
    last = b""
    for group in groups:
        if group.key == last:
            continue
        last = group.key
        batch[last] = group
        waiting += len(group.rows)
        if waiting >= AT_ONCE:
            yield list(batch.values())
            batch, waiting = {}, 0
    if batch:
        yield list(batch.values())


def _warn_of_resolution(
    smallest: Floats, sizes: NDArray[np.int64], alpha: float, control: Control, held_out: int, rows: str
) -> None:
    """Warn where p-values are too coarse for a flag."""
    coarse = smallest > alpha
    if coarse.any():
        least, size = max(zip(smallest[coarse].tolist(), sizes[coarse].tolist(), strict=True))
        warnings.warn(
            f"{int(coarse.sum())} of {len(sizes)} groups cannot be flagged at alpha = {alpha:g}: with "
            f"{held_out} normal {rows} kept to compare with, a group of {size} has no p-value "
            f"below {least:.3g}; fit or calibrate on more {rows}",
            stacklevel=6,
        )
    elif control == "fdr" and smallest.min() * len(sizes) > alpha:
        together = int(np.ceil(smallest.min() * len(sizes) / alpha))
        warnings.warn(
            f"among {len(sizes)} groups at least {together} must be anomalous before any can be flagged at a "
            f"false discovery rate of {alpha:g}: the smallest p-value is {smallest.min():.3g}",
            stacklevel=6,
        )
