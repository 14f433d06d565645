"""What the body of a request holds: rows of a table, images or an array, of whichever format."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.serve.errors import Refusal

if TYPE_CHECKING:
    from upland.io.schema import Schema

EXACT = 1 << 53
"""Whole numbers from which a floating one no longer holds them all."""

NUMBER, WHOLE, FRACTION, TEXT, FLAG, NOTHING = range(6)
"""What the cells of a column are; of a numeric column whole numbers, others and missing ones are NUMBER."""

SHAPES = (
    'a list of records [{"COLUMN": VALUE, ...}], one record, columns {"COLUMN": [VALUE, ...]}, '
    'or {"columns": [NAME, ...], "data": [[VALUE, ...], ...]}'
)


@dataclass(frozen=True)
class Body:
    """Data of one request, or of several together.

    Args:
        count: rows or images, or sequences of an array.
        data: a table, a list of images as bytes, or an array.
        key: bodies with an equal key may be scored together; None is for one that stays alone.
    """

    count: int
    data: Any
    key: Hashable = None


class Cells:
    """Columns of plain values as JSON gives them, read for one model.

    Args:
        schema: of the model's table; None where it has none.
    """

    def __init__(self, schema: Schema | None) -> None:
        columns = () if schema is None else schema.columns
        self._numeric = {column.name for column in columns if column.kind == "numeric"}
        self._of_type = {float: FRACTION, int: WHOLE, str: TEXT, bool: FLAG, type(None): NOTHING}

    def body(self, columns: Mapping[str, list[Any]], count: int) -> Body:
        """Columns as a body; it is made a table when it is scored, together with those of the same key.

        Args:
            columns: of plain values, by name, all of the same length.
            count: rows.

        Raises:
            Refusal: a value is neither a number, text, true, false nor null; a number is infinite.
        """
        found = tuple(self._form(name, values) for name, values in columns.items())
        return Body(count, columns, (tuple(columns), found) if count else None)

    def _form(self, name: str, values: list[Any]) -> int:
        """What the cells of a column are."""
        numeric = name in self._numeric
        forms = set()
        for row, value in enumerate(values):
            form = self._of_type.get(type(value))
            if form is None:
                raise Refusal(422, _nested(name, row, value))
            if form == WHOLE and abs(value) >= EXACT:
                forms.add(WHOLE)
            elif numeric and form in (WHOLE, FRACTION, NOTHING):
                if form == FRACTION and value in (float("inf"), float("-inf")):
                    raise Refusal(422, f"column {name!r}, row {row + 1} holds a number that is too large")
                forms.add(NUMBER)
            else:
                forms.add(form)
        return _one(forms, name)


def _one(forms: set[int], name: str) -> int:
    """The form of a column of cells of several."""
    if len(forms) > 1:
        forms -= {NOTHING}
    if forms <= {NUMBER, WHOLE, FRACTION} and len(forms) > 1:
        return FRACTION
    if len(forms) > 1:
        raise Refusal(422, f"column {name!r} holds numbers, texts or truth values beside each other")
    return forms.pop() if forms else NOTHING


def _nested(name: str, row: int, value: Any) -> str:
    what = {dict: "an object", list: "a list"}.get(type(value), type(value).__name__)
    return f"column {name!r}, row {row + 1} holds {what}: a cell is a number, text, true, false or null"


def joined(bodies: Sequence[Body]) -> Any:
    """The data of bodies with one key, in their order, as a detector takes them.

    Args:
        bodies: one or more.
    """
    first = bodies[0].data
    if isinstance(first, Mapping):
        columns = (
            {name: [v for body in bodies for v in body.data[name]] for name in first}
            if len(bodies) > 1
            else first
        )
        forms: Any = bodies[0].key or (None, (NOTHING,) * len(first))
        return pa.table(
            {
                name: _array(values, form)
                for (name, values), form in zip(columns.items(), forms[1], strict=True)
            }
        )
    if isinstance(first, pa.Table):
        return first if len(bodies) == 1 else pa.concat_tables([body.data for body in bodies])
    if isinstance(first, list):
        return [image for body in bodies for image in body.data]
    return first if len(bodies) == 1 else np.concatenate([body.data for body in bodies])


def _array(values: list[Any], form: int) -> pa.Array:
    try:
        return pa.array(values, pa.float64() if form in (NUMBER, FRACTION) else None)
    except (pa.ArrowException, OverflowError) as error:
        raise Refusal(422, f"a number is too large: {str(error).splitlines()[0]}") from None


# -- JSON -----------------------------------------------------------------------------------------------------


def parsed(data: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Refusal: 400 where it is no JSON; NaN and Infinity are none.
    """
    if not data.strip():
        raise Refusal(400, f"the body is empty: send {SHAPES}")
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise Refusal(400, "the body is no JSON that can be read: it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refusal(400, f"the body is no JSON: {error.msg} at {where}") from None
    except ValueError:  # a number of thousands of digits
        raise Refusal(400, "the body is no JSON that can be read: a number has too many digits") from None


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
            return cells.body(value, _length(value))
        value = [value]
    if not isinstance(value, list):
        raise Refusal(422, f"the body holds no rows: send {SHAPES}")
    if value and all(isinstance(row, list) for row in value):
        return array_body(value)
    return cells.body(*_transposed(value))


def _transposed(records: list[Any]) -> tuple[dict[str, list[Any]], int]:
    """Records as columns, and how many there are."""
    if not records:
        raise Refusal(422, f"the body holds no rows: send {SHAPES}")
    first = records[0]
    if not isinstance(first, dict):
        raise Refusal(422, f"row 1 is no record: send {SHAPES}")
    if not first:
        raise Refusal(422, "row 1 is a record without columns")
    if len(records) == 1:
        return {name: [value] for name, value in first.items()}, 1
    names = first.keys()
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise Refusal(422, f"row {number + 1} is no record: send {SHAPES}")
        if record.keys() != names:
            other = ", ".join(map(repr, sorted(record.keys() ^ names)[:5]))
            raise Refusal(
                422,
                f"row {number + 1} has other columns than row 1, they differ in {other}: every record has the "
                "same columns, and a missing value is null",
            )
    return {name: [record[name] for record in records] for name in names}, len(records)


def _split(names: list[Any], rows: Any) -> tuple[dict[str, list[Any]], int]:
    """Names, and rows as lists of values, as columns."""
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Refusal(422, '"columns" holds the names of the columns, each once')
    if not isinstance(rows, list) or not rows:
        raise Refusal(422, '"data" holds a list of values for each row, and there is none')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise Refusal(422, f'row {number + 1} of "data" is no list of {len(names)} values')
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}, len(rows)


def _length(columns: Mapping[str, list[Any]]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        few, many = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise Refusal(
            422, f"columns differ in length: {few!r} has {lengths[few]} values, {many!r} has {lengths[many]}"
        )
    if not (count := next(iter(lengths.values()))):
        raise Refusal(422, "the columns hold no rows")
    return count


def array_body(rows: Sequence[Any]) -> Body:
    """Lists of numbers as an array: `(N, D)` rows, `(N, T, D)` sequences, `(N, H, W)` images.

    Raises:
        Refusal: they are no array of numbers.
    """
    try:
        values = np.asarray(rows)
    except ValueError:
        raise Refusal(422, "the lists of the body differ in length") from None
    return Body(len(values), checked_array(values), ("array", values.shape[1:], values.dtype.str))


def checked_array(values: NDArray[Any]) -> NDArray[Any]:
    """An array that can be scored; null among numbers is a missing value.

    Raises:
        Refusal: it holds something else than numbers.
    """
    if values.dtype == object:
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError):
            raise Refusal(422, "an array holds numbers alone; name the columns where some are texts") from None
    if values.dtype.kind not in "biuf" or values.ndim < 2:
        raise Refusal(422, f"an array holds numbers alone, not {values.dtype.name}")
    return values
