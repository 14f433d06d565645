"""What the body of a request holds: rows of a table, images or an array, of whichever format."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from upland.serve.errors import Refusal
from upland.serve.numbers import numbers_of

if TYPE_CHECKING:
    from upland.io.schema import Schema

EXACT = 1 << 53
"""Whole numbers from which a floating one no longer holds them all."""

INFINITE = (float("inf"), float("-inf"))
NUMBER, WHOLE, FRACTION, TEXT, FLAG, NOTHING = range(6)
"""What the cells of a column are; of a numeric column whole numbers, others and missing ones are NUMBER."""

FORMS: dict[type, int] = {float: FRACTION, int: WHOLE, str: TEXT, bool: FLAG, type(None): NOTHING}
SHAPES = (
    'a list of records [{"COLUMN": VALUE, ...}], one record, columns {"COLUMN": [VALUE, ...]}, '
    'or {"columns": [NAME, ...], "data": [[VALUE, ...], ...]}'
)


class Plain(NamedTuple):
    """Rows of plain values, as JSON has them.

    Args:
        names: of the columns.
        rows: the values of each, in the order of the names.
        forms: what the cells of each column are.
    """

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    forms: tuple[int, ...]


class Body(NamedTuple):
    """Data of one request, or of several together.

    Args:
        size: rows or images, or sequences of an array.
        data: plain rows, a table, a list of images as bytes, or an array.
        key: bodies with an equal key may be scored together; None is for one that stays alone.
    """

    size: int
    data: Any
    key: Hashable = None


class Cells:
    """Plain values, read for one model.

    Args:
        schema: of the model's table; None where it has none.
    """

    def __init__(self, schema: Schema | None) -> None:
        columns = () if schema is None else schema.columns
        self._numeric = frozenset(column.name for column in columns if column.kind == "numeric")

    def body(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Body:
        """Rows as a body; it is made a table when it is scored, together with others of the same key.

        Args:
            names: of the columns.
            rows: the values of each, in the order of the names.

        Raises:
            Refusal: a value is neither a number, text, true, false nor null; a number is infinite.
        """
        if len(rows) == 1:
            forms = tuple([self._form(name, value, 0) for name, value in zip(names, rows[0], strict=True)])
        else:
            columns = zip(names, zip(*rows, strict=True), strict=True)
            forms = tuple(self._column(name, values) for name, values in columns)
        return Body(len(rows), Plain(names, rows, forms), (names, forms))

    def _form(self, name: str, value: Any, row: int) -> int:
        """What a cell is."""
        form = FORMS.get(type(value))
        if form is None:
            raise Refusal(422, _nested(name, row, value))
        if form == FRACTION:
            if value in INFINITE:
                raise Refusal(422, f"column {name!r}, row {row + 1} holds a number that is too large")
            return NUMBER if name in self._numeric else form
        if name not in self._numeric or form in (TEXT, FLAG):
            return form
        return NUMBER if value is None or -EXACT < value < EXACT else form

    def _column(self, name: str, values: Iterable[Any]) -> int:
        """What the cells of a column are."""
        forms = {self._form(name, value, row) for row, value in enumerate(values)}
        if len(forms) > 1:
            forms -= {NOTHING}
        if len(forms) == 1:
            return forms.pop()
        if forms <= {NUMBER, WHOLE, FRACTION}:
            return FRACTION
        raise Refusal(422, f"column {name!r} holds numbers, texts or truth values beside each other")


def _nested(name: str, row: int, value: Any) -> str:
    what = "an object" if isinstance(value, dict) else "a list"
    return f"column {name!r}, row {row + 1} holds {what}: a cell is a number, text, true, false or null"


def joined(bodies: Sequence[Body]) -> Any:
    """The data of bodies with one key, in their order, as a detector takes them.

    Args:
        bodies: one or more.

    Raises:
        Refusal: a number is too large.
    """
    first = bodies[0].data
    if isinstance(first, Plain):
        rows = first.rows if len(bodies) == 1 else [row for body in bodies for row in body.data.rows]
        return _table(first.names, zip(*rows, strict=True), first.forms)
    if isinstance(first, pa.Table):
        return first if len(bodies) == 1 else pa.concat_tables([body.data for body in bodies])
    if isinstance(first, list):
        return [image for body in bodies for image in body.data]
    return first if len(bodies) == 1 else np.concatenate([body.data for body in bodies])


def _table(names: tuple[str, ...], columns: Iterable[tuple[Any, ...]], forms: tuple[int, ...]) -> pa.Table:
    arrays = []
    for name, values, form in zip(names, columns, forms, strict=True):
        try:
            arrays.append(pa.array(values, pa.float64() if form in (NUMBER, FRACTION) else None))
        except (pa.ArrowException, OverflowError):
            raise Refusal(422, f"column {name!r} holds a number that is too large") from None
    return pa.Table.from_arrays(arrays, names=names)


# -- JSON ----------------------------------------------------------------------------------------------


def parsed(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Refusal: 400 where it is no JSON; NaN and Infinity are none.
    """
    if not data.strip():
        raise Refusal(400, f"the body is empty: send {SHAPES}")
    try:
        text = data.decode(json.detect_encoding(data))
        value = json.loads(text, parse_constant=_no_constant)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise Refusal(400, "the body is no JSON that can be read: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise Refusal(
            400, "the body is no JSON that can be read: a text holds half of a surrogate pair"
        ) from None
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"the body is no JSON: {error.msg} at {where}") from None
    except ValueError:  # a number of thousands of digits
        raise Refusal(400, "the body is no JSON that can be read: a number has too many digits") from None


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""An escaped surrogate, one half of a letter; the other half may lack."""


def _no_constant(name: str) -> None:
    raise Refusal(400, f"the body is no JSON: {name} is no value of JSON; a missing value is null")


def json_body(data: bytes, cells: Cells) -> Body:
    """The rows of a JSON body.

    Args:
        data: the body.
        cells: of the model.

    Raises:
        Refusal: it is no JSON, or of no shape that holds rows.
    """
    value = parsed(data)
    if isinstance(value, dict):
        if set(value) == {"columns", "data"} and isinstance(value["columns"], list):
            return cells.body(*_split(value["columns"], value["data"]))
        if value and all(isinstance(cell, list) for cell in value.values()):
            check_lengths(value)
            return cells.body(tuple(value), list(zip(*value.values(), strict=True)))
        value = [value]
    if not isinstance(value, list):
        raise Refusal(422, f"the body holds no rows: send {SHAPES}")
    if value and all(isinstance(row, list) for row in value):
        return array_body(value)
    return cells.body(*_from_records(value))


def _from_records(records: list[Any]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The names of the columns, and the values of each record."""
    if not records:
        raise Refusal(422, f"the body holds no rows: send {SHAPES}")
    first = records[0]
    if not isinstance(first, dict):
        raise Refusal(422, f"row 1 is no record: send {SHAPES}")
    if not first:
        raise Refusal(422, "row 1 is a record without columns")
    if len(records) == 1:
        return tuple(first), [tuple(first.values())]
    names = first.keys()
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise Refusal(422, f"row {number + 1} is no record: send {SHAPES}")
        if record.keys() != names:
            other = ", ".join(map(repr, sorted(record.keys() ^ names)[:5]))
            raise Refusal(
                422,
                f"row {number + 1} has other columns than row 1, they differ in {other}: every record has "
                "the same columns, and a missing value is null",
            )
    return tuple(names), [tuple([record[name] for name in names]) for record in records]


def _split(names: list[Any], rows: Any) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Names, and rows as lists of values."""
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Refusal(422, '"columns" holds the names of the columns, each once')
    if not isinstance(rows, list) or not rows:
        raise Refusal(422, '"data" holds a list of values for each row, and there is none')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refusal(422, f'row {number + 1} of "data" is no list of {len(names)} values')
    return tuple(names), list(map(tuple, rows))


def check_lengths(columns: Mapping[str, list[Any]]) -> None:
    """Refuse columns of different lengths, and such without rows; raises Refusal.

    Args:
        columns: values by name.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        few, many = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise Refusal(
            422, f"columns differ in length: {few!r} has {lengths[few]} values, {many!r} has {lengths[many]}"
        )
    if not any(lengths.values()):
        raise Refusal(422, "the columns hold no rows")


def array_body(rows: Sequence[Any]) -> Body:
    """Lists of numbers as an array: `(N, D)` rows, `(N, T, D)` sequences, `(N, H, W)` images.

    Raises:
        Refusal: they are no array of numbers.
    """
    values = numbers_of(rows)
    return Body(len(values), values, ("array", values.shape[1:], values.dtype.str))
