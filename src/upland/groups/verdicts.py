r"""Verdicts on whole groups of rows, such as a batch, a shift, a lot or a site.

The statistic of a group is a function of its own rows and the fitted model alone; its p-value compares it
with groups of the same size made of normal rows that neither training nor the statistic has seen
(`upland.groups.null`), and flags keep the rate of false discoveries among the groups tested together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from upland.groups.outputs import ModelOutputs
from upland.groups.reasons import NO_REASON, Reason, Reasons

MOST_ROWS = 4_096
"""Rows by which a larger group is tested, drawn from it with a fixed seed."""

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


class _Finding(NamedTuple):
    """What is found of one group."""

    value: float
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
    resolution = alpha / len(names) if control == "fdr" else alpha
    null = Null(comparison.features(comparison.held_out), comparison.statistic.value, resolution)
    found: dict[int, _Finding] = {}
    for batch in _batches(numbers, sizes, _canonical(x)):
        rows = np.concatenate(list(batch.values()))
        parts = comparison.features(x[rows]).split([len(own) for own in batch.values()])
        for (number, own), features in zip(batch.items(), parts, strict=True):
            reason = NO_REASON if reasons is None else reasons.of(x[own])
            found[number] = _Finding(_value(comparison.statistic, features), null.p_value(features), reason)
    in_order = [found[number] for number in range(len(names))]
    p = np.array([finding.p.p for finding in in_order])
    smallest = np.array([finding.p.smallest for finding in in_order])
    _warn_of_resolution(smallest, sizes, alpha, control, len(comparison.held_out))
    return GroupVerdicts(
        group=names,
        size=sizes,
        statistic=np.array([finding.value for finding in in_order]),
        p_value=p,
        flag=benjamini_hochberg(p, alpha) if control == "fdr" else p <= alpha,
        reason=np.array([finding.reason.name for finding in in_order]),
        columns=[finding.reason.columns for finding in in_order],
        smallest_p=smallest,
        method=np.array([finding.p.method for finding in in_order]),
    )


def _value(statistic: Statistic, features: Tensor) -> float:
    """The statistic of one group from the features `(n, F)` of its rows."""
    size = torch.tensor([float(len(features))], dtype=torch.float64)
    return float(statistic.value(features.mean(0, keepdim=True), size)[0])


def _canonical(x: Tensor) -> NDArray[np.int64]:
    """An order of rows by their values alone, so that a verdict depends on a group's set of rows."""
    codes = x.flatten(1).numpy()
    codes = np.ascontiguousarray(codes.astype(codes.dtype.newbyteorder(">")))
    whole = codes.view(np.dtype((np.void, codes.dtype.itemsize * codes.shape[1])))
    return whole.ravel().argsort(kind="stable")


def _batches(
    numbers: NDArray[np.int64], sizes: NDArray[np.int64], order: NDArray[np.int64]
) -> Iterator[dict[int, NDArray[np.int64]]]:
    """The rows of whole groups by the group's number, each in the given order, some thousand rows at a time.

    Groups come by size, because those of one size share their draws; of a very large group some rows.
    """
    rows_of = np.split(order[np.argsort(numbers[order], kind="stable")], np.cumsum(sizes)[:-1])
    batch: dict[int, NDArray[np.int64]] = {}
    waiting = 0
    for number in np.argsort(sizes, kind="stable").tolist():
        rows, size = rows_of[number], int(sizes[number])
        if size > MOST_ROWS:
            rows = rows[np.sort(np.random.default_rng(size).choice(size, MOST_ROWS, replace=False))]
        batch[number] = rows
        waiting += len(rows)
        if waiting >= AT_ONCE:
            yield batch
            batch, waiting = {}, 0
    if batch:
        yield batch


def _warn_of_resolution(
    smallest: Floats, sizes: NDArray[np.int64], alpha: float, control: Control, held_out: int
) -> None:
    """Warn where p-values are too coarse for a flag."""
    coarse = smallest > alpha
    if coarse.any():
        warnings.warn(
            f"{int(coarse.sum())} of {len(sizes)} groups cannot be flagged at alpha = {alpha:g}: with "
            f"{held_out} normal rows kept to compare with, a group of {int(sizes[coarse][0])} has no p-value "
            f"below {smallest[coarse][0]:.3g}; fit or calibrate on more rows",
            stacklevel=5,
        )
    elif control == "fdr" and smallest.min() * len(sizes) > alpha:
        least = int(np.ceil(smallest.min() * len(sizes) / alpha))
        warnings.warn(
            f"among {len(sizes)} groups at least {least} must be anomalous before any can be flagged at a "
            f"false discovery rate of {alpha:g}: the smallest p-value is {smallest.min():.3g}",
            stacklevel=5,
        )
