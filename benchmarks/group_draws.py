"""Groups drawn from rows, and how well a statistic separates outlying ones from normal ones.

**Draws.** A group has distinct rows, and groups share none until every row has had its turn; then the rows
are mixed anew. A mixture of share s has round(s n) outlying rows, at least one, and normal ones that no
normal group is drawn from. Five draws; ± is the standard deviation over them.

**Measures.** AUROC of the statistic between normal and outlying groups of the same size. Power: the share of
outlying groups with p <= 0.05 by the detector's own null (`upland.groups.null`); alarms: that of normal
groups. Where p-values come of permutations only some groups of each draw are tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.null import ROUNDING, Null

Groups = NDArray[np.int64]

ALPHA = 0.05
DRAWS = 5
COUNT = 100  # groups of each draw
TESTED = 10  # of these, where a p-value takes permutations


class Case(NamedTuple):
    """Outlying groups: features of rows, and which of them make up each group, `(G, n)` for every draw."""

    features: Tensor
    groups: Sequence[Groups]


def generator(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))


def drawn(rows: int, size: int, count: int, source: np.random.Generator) -> Groups:
    """`(count, size)` numbers of rows, disjoint until all have been drawn."""
    if size > rows:
        raise ValueError(f"groups of {size} take more than {rows} rows")
    if not size:
        return np.zeros((count, 0), dtype=np.int64)
    whole = rows // size
    passes = [
        source.permutation(rows)[: whole * size].reshape(whole, size) for _ in range(-(-count // whole))
    ]
    return np.concatenate(passes)[:count]


def single(rows: int) -> Groups:
    """Each row a group."""
    return np.arange(rows, dtype=np.int64)[:, None]


def outlying_rows(share: float, size: int) -> int:
    """How many rows of a mixed group are outlying."""
    return max(1, math.floor(share * size + 0.5))


def mixed(
    outlying: int, normal: int, share: float, size: int, count: int, source: np.random.Generator
) -> Groups:
    """Groups of both; normal rows are numbered behind the outlying ones."""
    own = outlying_rows(share, size)
    theirs = drawn(normal, size - own, count, source) if own < size else np.zeros((count, 0), dtype=np.int64)
    return np.concatenate([drawn(outlying, own, count, source), outlying + theirs], axis=1)


def means(features: Tensor, groups: Groups) -> Tensor:
    """Of each group's features: `(N, F)`, `(G, n)` -> `(G, F)`."""
    return torch.nn.functional.embedding_bag(torch.from_numpy(groups), features, mode="mean")


def values(statistic: Statistic, features: Tensor, groups: Groups) -> NDArray[np.float64]:
    """The statistic of each group."""
    sizes = torch.full((len(groups),), float(groups.shape[1]), dtype=torch.float64)
    return statistic.value(means(features, groups), sizes).numpy()


def p_values(null: Null, features: Tensor, groups: Groups, most: int = TESTED) -> NDArray[np.float64]:
    """Those of `Null.p_value`; all at once where they are by disjoint groups, else of the first `most`."""
    n = groups.shape[1]
    if null.method(n) != "disjoint groups":
        return np.array([null.p_value(features[torch.from_numpy(group)]).p for group in groups[:most]])
    reference = null._partition(n).sort().values
    statistic = null._value(means(features, groups), n)
    below = torch.searchsorted(reference, statistic - ROUNDING * statistic.abs()).numpy()
    return (1 + len(reference) - below) / (len(reference) + 1)


@dataclass
class Contest:
    """One statistic with its null, and normal groups that outlying ones are compared with.

    Args:
        statistic: fitted.
        held_out: features of the normal rows that the null is made of.
        normal: features of other normal rows, that groups are drawn from.
        count: groups of each draw.
        draws: how many.
    """

    statistic: Statistic
    held_out: Tensor
    normal: Tensor
    count: int = COUNT
    draws: int = DRAWS
    _measured: dict[int, tuple[list[NDArray[np.float64]], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.null = Null(self.held_out, self.statistic.value, ALPHA)

    def normal_groups(self, size: int) -> tuple[list[NDArray[np.float64]], float]:
        """Of the normal groups: the statistics of each draw, and the share of p <= 0.05."""
        if size not in self._measured:
            groups = [
                drawn(len(self.normal), size, self.count, generator(draw, size, 0))
                for draw in range(self.draws)
            ]
            groups = groups if size > 1 else [single(len(self.normal))]
            found = [values(self.statistic, self.normal, part) for part in groups]
            p = [p_values(self.null, self.normal, part) for part in groups] if size > 1 else []
            self._measured[size] = found, _rejected(p)
        return self._measured[size]

    def measured(self, size: int, case: Case) -> dict[str, Any]:
        """AUROC, power, alarms at one size; of single rows the AUROC alone."""
        ordinary, alarms = self.normal_groups(size)
        outlying = [values(self.statistic, case.features, groups) for groups in case.groups]
        areas = [auroc(a, b) for a, b in zip(ordinary, outlying, strict=True)]
        row: dict[str, Any] = {
            "size": size,
            "auroc": float(np.mean(areas)),
            "auroc_sd": float(np.std(areas, ddof=1)) if len(areas) > 1 else 0.0,
        }
        if size > 1:
            p = [p_values(self.null, case.features, groups) for groups in case.groups]
            row |= {"power": _rejected(p), "alarms": alarms, "tested": sum(map(len, p))}
            row |= {"method": self.null.method(size), "smallest_p": self.null.smallest(size)}
        return row


def auroc(normal: NDArray[np.float64], outlying: NDArray[np.float64]) -> float:
    labels = np.repeat([0, 1], [len(normal), len(outlying)])
    return float(roc_auc_score(labels, np.concatenate([normal, outlying])))


def _rejected(p: Sequence[NDArray[np.float64]]) -> float:
    return float(np.mean(np.concatenate(p) <= ALPHA)) if p else math.nan


def false_alarms(
    statistic: Statistic,
    pool: Tensor,
    compared: int,
    size: int,
    redraws: int,
    most: int = 20,
    permuted: int = 3,
) -> dict[str, Any]:
    """The share of normal groups with p <= 0.05, over redraws of which rows groups are compared with.

    Args:
        statistic: fitted on none of these rows.
        pool: features of normal rows.
        compared: how many of them groups are compared with in each redraw.
        size: rows of a group.
        redraws: how many.
        most: groups of a redraw.
        permuted: the same where a p-value takes permutations.
    """
    shares, method, tested = [], "", 0
    for redraw in range(redraws):
        order = generator(redraw, size, 1).permutation(len(pool))
        null = Null(pool[torch.from_numpy(order[:compared])], statistic.value, ALPHA)
        method = null.method(size)
        count = min((len(pool) - compared) // size, most if method == "disjoint groups" else permuted)
        if not count:
            return {}
        groups = order[compared : compared + count * size].reshape(count, size)
        p = p_values(null, pool, groups)
        tested += len(p)
        shares.append(float(np.mean(p <= ALPHA)))
    error = float(np.std(shares, ddof=1) / math.sqrt(len(shares))) if redraws > 1 else math.nan
    found = {"size": size, "alarms": float(np.mean(shares)), "error": error, "tested": tested}
    return found | {"redraws": redraws, "method": method, "held_out": compared}
