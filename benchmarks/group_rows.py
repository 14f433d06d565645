"""Rows of tables for groups: a split, the column that the others predict best, and outlying groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor

from benchmarks import protocols
from benchmarks.group_draws import Groups, drawn, generator, mixed

Array = NDArray[np.float64]

LEAST_NORMAL, MOST_NORMAL, MOST_ANOMALIES = 1_000, 20_000, 4_000
SHARES = {"10 % anomalies": 0.1, "20 % anomalies": 0.2, "50 % anomalies": 0.5, "all anomalies": 1.0}
PERMUTED = "permuted"
CANDIDATES, PREDICTING = 64, 2_000  # columns that may be permuted; rows that decide which
FOREST = {"n_estimators": 30, "min_samples_leaf": 3, "max_features": 0.5}


# -- data ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupSplit:
    """Training rows, normal rows for normal groups, others for mixtures and permutations, anomalies."""

    train: Array
    normal: Array
    spare: Array
    anomalies: Array


def names(data: Path) -> list[str]:
    """The sets with enough normal rows, small ones first."""
    return [
        name
        for name in protocols.adbench_names(data)
        if (protocols.load_adbench(data, name)[1] == 0).sum() >= LEAST_NORMAL
    ]


def split(X: Array, y: NDArray[np.int64], seed: int) -> GroupSplit:
    """Half of the normal rows train, of the others half make normal groups and half the outlying ones."""
    normal = generator(seed, 3).permutation(np.flatnonzero(y == 0))[:MOST_NORMAL]
    anomalies = generator(seed, 4).permutation(np.flatnonzero(y == 1))[:MOST_ANOMALIES]
    half, quarter = len(normal) // 2, len(normal) // 4
    rows = np.asarray(X, dtype=np.float64)
    parts = (normal[:half], normal[half : half + quarter], normal[half + quarter :], anomalies)
    return GroupSplit(*(rows[part] for part in parts))


def best_predicted(train: Array, seed: int) -> tuple[int, float]:
    """The column that the others predict best, and its R^2; of many columns those most correlated compete."""
    rows = generator(seed, 5).permutation(train)[:PREDICTING]
    half = len(rows) // 2
    best = (-1, -np.inf)
    for column in candidates(rows):
        others = np.delete(rows, column, axis=1)
        forest = RandomForestRegressor(**FOREST, random_state=seed)
        forest.fit(others[:half], rows[:half, column])
        share = forest.score(others[half:], rows[half:, column])
        if share > best[1]:
            best = (int(column), float(share))
    return best


def candidates(rows: Array) -> NDArray[np.int64]:
    """Columns that vary; of more than `CANDIDATES` those with the greatest correlation to another."""
    spread = rows.std(axis=0)
    varying = np.flatnonzero(spread > 1e-9 * (1 + np.abs(rows).max(axis=0)))
    if len(varying) <= CANDIDATES:
        return varying
    related = np.abs(np.corrcoef(rows[:, varying].T))
    np.fill_diagonal(related, 0)
    return np.sort(varying[np.argsort(-related.max(axis=0), kind="stable")[:CANDIDATES]])


def permuted(rows: Array, groups: Groups, column: int, source: np.random.Generator) -> Array:
    """The rows of each group, the column permuted within it: `(G, n)` -> `(G n, D)`."""
    found = rows[groups.ravel()].reshape(*groups.shape, -1)
    found[:, :, column] = source.permuted(found[:, :, column], axis=1)
    return found.reshape(groups.size, -1)


# -- outlying groups -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlying:
    """The outlying groups of a split at one size: rows, and which make up each group of every draw."""

    rows: Array
    groups: list[Groups]


def outlying(part: GroupSplit, case: str, size: int, column: int, count: int, draws: int) -> Outlying | None:
    """None where there are too few rows."""
    sources = [generator(draw, size, 6) for draw in range(draws)]
    if case == PERMUTED:
        chosen = [drawn(len(part.spare), size, count, source) for source in sources]
        rows = [permuted(part.spare, g, column, s) for g, s in zip(chosen, sources, strict=True)]
        numbers = np.arange(draws * count * size).reshape(draws, count, size)
        return Outlying(np.concatenate(rows), list(numbers))
    share = SHARES[case]
    if share * size > len(part.anomalies):
        return None
    own, others = len(part.anomalies), len(part.spare)
    groups = [
        drawn(own, size, count, source) if share == 1 else mixed(own, others, share, size, count, source)
        for source in sources
    ]
    return Outlying(np.concatenate([part.anomalies, part.spare]), groups)
