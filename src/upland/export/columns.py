"""What a graph takes: one input for each column of the user's table, and how a missing cell is written.

    column                              input                                        missing
    numbers, flags, durations           float64 (true is 1, durations are seconds)    NaN
    dates                               float64, seconds since 1970 in UTC            NaN
    whole numbers beyond 2^50           int64                                         the least int64
    categories of text                  string                                        the empty string
    categories of numbers or flags      float64                                       NaN

Where the empty string is itself a category, another word stands for a missing cell; the metadata name it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from upland.export.graph import STRING, Graph, Names, Value
from upland.io.casting import NULLS
from upland.io.schema import Column, ColumnKind, TextForm

NUMBERS = ("integer", "floating", "decimal", "boolean")
"""Types of data whose categories are numbers."""

BLANKS = (*NULLS, "\x00", "\x00\x00")
"""Words that may stand for a missing cell."""

LEAST_WHOLE = -(2**63)
EXACT = 2.0**53
"""Whole numbers from here on are not all doubles."""


@dataclass(frozen=True)
class Input:
    """One input of a graph.

    Args:
        column: the user's name of the column.
        name: of the input: the same, unless that is empty or an output's.
        type: of its elements.
        kind: what the column is.
        missing: what stands for a missing cell.
        unit: of numbers that stand for moments or durations.
        text: how text was read as these numbers, moments or flags in the fit; None where cells were typed.
    """

    column: str
    name: str
    type: Literal["float64", "int64", "string"]
    kind: ColumnKind
    missing: str
    unit: str | None = None
    text: TextForm | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """As NumPy has it."""
        return STRING if self.type == "string" else np.dtype(self.type)

    def to_json(self) -> dict[str, Any]:
        """Plain data, without what says nothing."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def inputs_of(names: Names, schemas: Sequence[Sequence[Column]]) -> list[Input]:
    """The inputs of a graph, in the order of the fit.

    Args:
        names: of the graph.
        schemas: the columns of each member, which have the same names and kinds.
    """
    return [_input(names.reserve(columns[0].name), columns) for columns in zip(*schemas, strict=True)]


def _input(name: str, columns: Sequence[Column]) -> Input:
    first = columns[0]
    if first.kind == "categorical" and first.dtype not in NUMBERS:
        return Input(first.name, name, "string", first.kind, _blank(columns))
    if any(column.origin for column in columns) or any(map(_large, columns)):
        return Input(first.name, name, "int64", first.kind, str(LEAST_WHOLE), text=first.form)
    units: dict[ColumnKind, str] = {"date": "seconds since 1970-01-01T00:00:00Z", "duration": "seconds"}
    return Input(first.name, name, "float64", first.kind, "NaN", units.get(first.kind), first.form)


def _large(column: Column) -> bool:
    """Whether categories are whole numbers that are not all doubles."""
    if column.kind != "categorical" or column.dtype != "integer":
        return False
    return any(abs(float(level)) >= EXACT for level in (*column.levels, *column.rare))


def _blank(columns: Sequence[Column]) -> str:
    """The first of the usual words for a missing cell that is no category."""
    levels: Collection[str] = {level for column in columns for level in (*column.levels, *column.rare)}
    return next(word for word in BLANKS if word not in levels)


def opened(graph: Graph, inputs: Sequence[Input]) -> list[Value]:
    """The inputs as values, each `(N,)`."""
    return [graph.input(column.name, column.dtype, ["N"]) for column in inputs]
