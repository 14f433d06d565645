"""A schema laid out as arrays, so that tables are encoded and decoded in a few passes over blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.table import encodings as en
from upland.data.table.dateparts import DateParts
from upland.data.table.encodings import Floats
from upland.data.table.values import Values, floats, levels
from upland.io.casting import NULLS, canonical_level
from upland.io.schema import Column, ColumnKind

Codes = NDArray[np.float32]

BLOCK = 1 << 16
"""Cells that are encoded at a time."""


@dataclass(frozen=True)
class Plain:
    """All columns of one number, side by side: M of them."""

    columns: tuple[int, ...]
    slots: NDArray[np.intp]
    center: Floats
    scale: Floats
    constants: tuple[tuple[int, float, float | None], ...]
    origins: tuple[tuple[int, int], ...]
    marked: NDArray[np.intp]
    present: Codes
    absent: Codes
    unmarked: NDArray[np.bool_]


@dataclass(frozen=True)
class OneHot:
    """A categorical column: its position, and the code of each of its slots."""

    column: int
    start: int
    hit: Codes
    miss: Codes
    shares: Floats
    index: dict[str, int]
    missing: int
    dtype: str

    def slot(self, level: str) -> int:
        """The slot of a level, whichever way it is written; that of unseen levels if it is none."""
        found = self.index.get(level)
        if found is None and level in NULLS:
            return self.missing
        if found is None:
            found = self.index.get(canonical_level(level, self.dtype))
        return len(self.hit) - 1 if found is None else found


def plan_plain(columns: Sequence[Column], starts: NDArray[np.intp]) -> Plain:
    """Lay out the columns of one number; `starts` is the first slot of each column of the schema."""
    positions = tuple(
        position
        for position, column in enumerate(columns)
        if column.kind != "categorical" and column.parts is None
    )
    plain = [columns[position] for position in positions]
    marked = np.flatnonzero([column.missing > 0 for column in plain])
    shares = np.array([plain[number].missing for number in marked])
    deviations = np.array([en.deviation_of_flag(share) for share in shares])
    return Plain(
        columns=positions,
        slots=starts[list(positions)].astype(np.intp),
        center=np.array([column.center for column in plain]),
        scale=np.array([column.scale or 1.0 for column in plain]),
        constants=tuple(
            (number, column.center, column.tolerance if column.kind == "numeric" else 0.0)
            for number, column in enumerate(plain)
            if column.scale == 0.0
        ),
        origins=tuple((number, column.origin) for number, column in enumerate(plain) if column.origin),
        marked=marked,
        present=en.encode_numeric(np.zeros(len(marked)), shares, deviations).astype(np.float32),
        absent=en.encode_numeric(np.ones(len(marked)), shares, deviations).astype(np.float32),
        unmarked=np.array([column.missing == 0 for column in plain], dtype=bool),
    )


def plan_one_hot(columns: Sequence[Column], starts: NDArray[np.intp]) -> tuple[OneHot, ...]:
    """Lay out the categorical columns; `starts` is the first slot of each column of the schema."""
    plans = []
    for position, column in enumerate(columns):
        if column.kind == "categorical":
            tail = [column.rare_share] * bool(column.rare) + [column.missing] * (column.missing > 0)
            shares = np.array([*column.shares, *tail])
            hit, miss = en.encode_levels(shares)
            index = {level: number for number, level in enumerate(column.levels)}
            index |= dict.fromkeys(column.rare, len(column.levels))
            for level in (*column.levels, *column.rare):  # 00501 as text and 501 as a number are one code
                index.setdefault(canonical_level(level, column.dtype), index[level])
            missing = len(shares) - 1 if column.missing else len(shares)
            start = int(starts[position])
            plans.append(
                OneHot(
                    position,
                    start,
                    hit.astype(np.float32),
                    miss.astype(np.float32),
                    shares,
                    index,
                    missing,
                    column.dtype,
                )
            )
    return tuple(plans)


def plan_parts(columns: Sequence[Column], starts: NDArray[np.intp]) -> tuple[DateParts, ...]:
    """Lay out the dates that are encoded by parts; `starts` is as in `plan_plain`."""
    return tuple(
        DateParts(position, int(starts[position]), column)
        for position, column in enumerate(columns)
        if column.parts is not None
    )


def decode_plain(z: Floats, column: Column) -> NDArray[Any]:
    """Codes `(N,)` of a column of one number to its values, in its own type."""
    if column.scale == 0.0:
        return _typed(en.decode_constant(z, column.center) + column.origin, column.kind)
    return _typed(en.decode_numeric(z, column.center, column.scale) + column.origin, column.kind)


def _typed(x: Floats, kind: ColumnKind) -> NDArray[Any]:
    if kind == "boolean":
        return x > 0.5
    if kind == "numeric":
        return x
    micro = np.where(np.isnan(x), np.iinfo(np.int64).min, np.clip(np.round(x * 1e6), -9.2e18, 9.2e18))
    return micro.astype(np.int64).astype("M8[us]" if kind == "date" else "m8[us]")


def decode_one_hot(z: Floats, column: Column, plan: OneHot) -> NDArray[Any]:
    """Codes `(N, K + 1)` of a categorical column to its most probable levels, as text."""
    words: list[str | None] = [
        *column.levels,
        *["(rare)"] * bool(column.rare),
        *[None] * (column.missing > 0),
    ]
    table = np.array(words, dtype=object)
    return table[en.decode_levels(z, plan.shares)]


def shown(column: Column, values: Values) -> NDArray[Any]:
    """The values of a user's column in the types of `decode_plain` and `decode_one_hot`."""
    if column.kind == "categorical":
        keys, found = levels(values)
        return np.array([*keys, None], dtype=object)[found]
    x = floats(values)
    if column.kind == "boolean" and np.isnan(x).any():
        return np.array([None if value != value else bool(value) for value in x], dtype=object)
    return _typed(x, column.kind)
