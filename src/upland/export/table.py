"""Rows of a table as their codes in a graph: what `upland.data.table.encoder` computes, by the same steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.data.table import encodings as en
from upland.data.table.dateparts import DAY, DateParts
from upland.data.table.encoder import TableEncoder
from upland.data.table.layout import OneHot, Plain, plan_one_hot, plan_parts, plan_plain
from upland.detectors.base import Detector
from upland.export.columns import LEAST_WHOLE, Input, inputs_of, opened
from upland.export.encoded import Encoded
from upland.export.functions import any_of, below, copysign, elements, log1p, number_of
from upland.export.graph import Graph, Value
from upland.io.casting import NULLS
from upland.io.cells import CellOptions, as_number
from upland.io.schema import Column

_EPOCH_TO_MARCH = 719_468
"""Days from the first of March of the year 0 to the first of January 1970."""


def encoded(graph: Graph, detector: Detector) -> Encoded:
    """The rows of a table as every member encodes them.

    Args:
        graph: that inputs and codes are added to.
        detector: fitted.
    """
    return encoded_rows(
        graph, [member.encoder for member in detector.members_ if isinstance(member.encoder, TableEncoder)]
    )


def encoded_rows(graph: Graph, encoders: Sequence[TableEncoder]) -> Encoded:
    """The rows of a table by several encoders.

    Args:
        graph: that inputs and codes are added to.
        encoders: fitted on rows of the same table.
    """
    inputs = inputs_of(graph.names, [encoder.schema_.columns for encoder in encoders])
    given = opened(graph, inputs)
    refused: list[Value] = []
    codes = [_codes(graph, encoder, inputs, given, refused) for encoder in encoders]
    return Encoded(codes, refused, [column.to_json() for column in inputs])


def _codes(
    graph: Graph, encoder: TableEncoder, inputs: Sequence[Input], given: Sequence[Value], refused: list[Value]
) -> Value:
    """The codes of rows by one encoder: `(N, D)`; to `refused` is added which it would not take."""
    columns, cells = encoder.schema_.columns, encoder.cells
    starts = np.cumsum([0, *(column.width for column in columns[:-1])])
    pieces: list[tuple[list[int], Value]] = []
    plain = plan_plain(columns, starts)
    if plain.columns:
        numbers = [_number(given[at], columns[at], cells) for at in plain.columns]
        x = graph.concat([number.columns() for number in numbers], 1)
        refused.append(_any(graph.op("IsInf", x, dtype=bool)))
        pieces += _plain(plain, x)
        if encoder.missing == "error":
            refused.append(_any(_is_nan(x) & graph.constant(plain.unmarked, bool)))
    for levels in plan_one_hot(columns, starts):
        code = _levels(levels, inputs[levels.column], given[levels.column], cells)
        pieces.append((list(range(levels.start, levels.start + len(levels.hit))), code))
    for date in plan_parts(columns, starts):
        seconds = _number(given[date.position], columns[date.position], cells)
        refused.append(graph.op("IsInf", seconds, dtype=bool))
        if date.column.width:
            pieces.append((list(range(date.start, date.start + date.column.width)), _parts(date, seconds)))
    slots = [slot for there, _ in pieces for slot in there]
    rows = graph.concat([code for _, code in pieces], 1)
    return rows if slots == sorted(slots) else rows.take(np.argsort(slots), 1)


def _any(conditions: Value) -> Value:
    """Where one of each row holds: `(N, M) -> (N,)`."""
    return conditions.to(np.int32).sum(1) > 0


def _is_nan(x: Value) -> Value:
    return x.graph.op("IsNaN", x, dtype=bool)


def _number(given: Value, column: Column, cells: CellOptions) -> Value:
    """A column as float64 less its origin, NaN where missing: `(N,)`."""
    x, absent = given, []
    if given.dtype == np.dtype(np.int64):
        x = (given - column.origin).to(np.float64)
        absent.append(given.equals(LEAST_WHOLE))
    if column.kind == "numeric":
        absent += [given.equals(blank) for blank in blanks_of(given, cells)]
    return x.graph.where(any_of(absent), np.nan, x) if absent else x


def blanks_of(given: Value, cells: CellOptions) -> list[float]:
    """The numbers that stand for a missing cell, as a column of this type may hold them."""
    numbers = cells.missing_numbers
    if given.dtype == np.dtype(np.int64):
        return [int(number) for number in numbers if number.is_integer()]
    with np.errstate(over="ignore"):
        narrow = [float(np.float32(number)) for number in numbers]
    return sorted({*numbers, *filter(np.isfinite, narrow)})


def _squashed(z: Value) -> Value:
    """`upland.data.table.encodings.squash`."""
    size = z.abs().at_most(en._HUGE)
    far = copysign(log1p((size - en.KNEE).at_least(0.0)) + en.KNEE, z)
    return z.graph.where(size > en.KNEE, far, z)


def _plain(plan: Plain, x: Value) -> list[tuple[list[int], Value]]:
    """The codes of columns of one number, and of their marks of missing cells: `x (N, M)`."""
    constant = {number: tolerance for number, _, tolerance in plan.constants}
    varied = [number for number in range(len(plan.columns)) if number not in constant]
    codes = []
    for numbers, encode in ((varied, _varied), (list(constant), _constant)):
        if numbers:
            some = x if len(numbers) == len(plan.columns) else x.take(numbers, 1)
            far = np.where(plan.unmarked[numbers], en.FAR, 0.0)
            code = x.graph.where(_is_nan(some), far, encode(plan, numbers, some))
            codes.append(([int(slot) for slot in plan.slots[numbers]], code.to(np.float32)))
    if len(plan.marked):
        gone = _is_nan(x.take(plan.marked, 1))
        marks = x.graph.where(gone, x.graph.constant(plan.absent, np.float32), plan.present)
        codes.append(([int(slot) + 1 for slot in plan.slots[plan.marked]], marks))
    return codes


def _varied(plan: Plain, numbers: list[int], x: Value) -> Value:
    """`upland.data.table.encodings.encode_numeric`."""
    return _squashed((x - plan.center[numbers]) / plan.scale[numbers])


def _constant(plan: Plain, numbers: list[int], x: Value) -> Value:
    """`upland.data.table.encodings.encode_constant`."""
    center = plan.center[numbers]
    given = [tolerance for _, _, tolerance in plan.constants]
    usual = en.TOLERANCE * np.abs(center)
    tolerance = np.array([own if one is None else one for one, own in zip(given, usual, strict=True)])
    deviation = x - center
    size = deviation.abs().at_most(en._HUGE)
    code = copysign(log1p(size / np.maximum(np.abs(center), 1.0)) + en.FAR, deviation)
    return x.graph.where(size <= tolerance, 0.0, code)


def _levels(plan: OneHot, column: Input, given: Value, cells: CellOptions) -> Value:
    """The code of a categorical column: `(N,) -> (N, K)`."""
    slots = np.full((len(plan.hit), len(plan.hit)), plan.miss, dtype=np.float32)
    np.fill_diagonal(slots, plan.hit)
    found = (
        _texts(plan, given, cells, column.missing) if column.type == "string" else _whole(plan, given, cells)
    )
    return given.graph.constant(slots, np.float32).take(found, 0)


def _texts(plan: OneHot, given: Value, cells: CellOptions, missing: str) -> Value:
    """The slot of each text."""
    index = dict.fromkeys((*NULLS, missing), plan.missing) | plan.index
    index |= dict.fromkeys(cells.missing_texts, plan.missing)
    return number_of(given, index, len(plan.hit) - 1)


def _whole(plan: OneHot, given: Value, cells: CellOptions) -> Value:
    """The slot of each number."""
    graph, exact = given.graph, given.dtype == np.dtype(np.int64)
    index: dict[float, int] = {}
    for level, slot in plan.index.items():
        number = {"True": 1.0, "False": 0.0}.get(level) if plan.dtype == "boolean" else as_number(level)
        if number is not None:
            index.setdefault(int(level) if exact else number, slot)
    blanks = [] if plan.dtype == "boolean" else blanks_of(given, cells)
    absent = [given.equals(blank) for blank in blanks]
    absent.append(given.equals(LEAST_WHOLE) if exact else _is_nan(given))
    keys = sorted(index)
    table = np.array([keys], dtype=given.dtype)
    at = below(table, given.reshape(1, -1)).at_most(len(keys) - 1)
    same = elements(graph.constant(table, given.dtype), at).equals(given.reshape(1, -1))
    slots = graph.constant([index[key] for key in keys], np.int64).take(at, 0)
    slots = graph.where(same, slots, len(plan.hit) - 1).reshape(-1)
    return graph.where(any_of(absent), graph.constant(plan.missing, np.int64), slots)


def _parts(plan: DateParts, seconds: Value) -> Value:
    """The code of a date by its parts: `(N,)` seconds since 1970 to `(N, W)`."""
    graph, column = seconds.graph, plan.column
    absent = _is_nan(seconds).reshape(-1, 1)
    scaling = np.reshape(column.part_scaling, (-1, 3))
    codes = []
    for part, (sine, cosine, scale) in zip(column.parts or (), scaling, strict=True):
        angle = (_fraction(seconds, part) * (2 * np.pi)).columns()
        waves = graph.concat([graph.op("Sin", angle), graph.op("Cos", angle)], 1)
        z = _squashed((waves - np.array([sine, cosine])) / scale)
        codes.append(graph.where(absent, 0.0 if column.missing else en.FAR, z).to(np.float32))
    if column.missing:
        share, deviation = column.missing, en.deviation_of_flag(column.missing)
        marks = en.encode_numeric(np.array([0.0, 1.0]), share, deviation).astype(np.float32)
        codes.append(graph.where(absent, graph.constant(marks[1], np.float32), marks[0]))
    return graph.concat(codes, 1)


def _fraction(seconds: Value, part: str) -> Value:
    """`upland.data.table.dateparts.fractions`."""
    whole = seconds / DAY
    days = _floor(whole)
    if part == "hour":
        return whole - days
    if part == "weekday":
        return _modulo(days + 3.0, 7.0) / 7.0
    # days of a year that begins with March: Hinnant, "chrono-compatible low-level date algorithms", 2013
    day = _modulo(days + _EPOCH_TO_MARCH, 146_097.0)
    year = _floor((day - _floor(day / 1460.0) + _floor(day / 36_524.0) - _floor(day / 146_096.0)) / 365.0)
    of_year = day - (year * 365.0 + _floor(year / 4.0) - _floor(year / 100.0))
    month = _floor((of_year * 5.0 + 2.0) / 153.0)
    return _modulo(month + 2.0, 12.0) / 12.0


def _floor(x: Value) -> Value:
    return x.graph.op("Floor", x)


def _modulo(x: Value, divisor: float) -> Value:
    return x - _floor(x / divisor) * divisor
