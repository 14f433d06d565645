"""Ids and time stamps of a long frame: which rows are one sequence, and in which order.

A long frame holds one time step a row. Rows that share an id are one sequence; within it they are put in the
order of their time stamps. One that occurs twice in a sequence is refused, since no order is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.frames import TableView
from upland.data.table.matching import listed
from upland.data.table.texts import read_dates
from upland.data.table.values import Values, dtype_of, floats, is_text
from upland.io.advice import Advice, Argument, Wording, type_text
from upland.io.cells import USUAL, CellOptions
from upland.io.stamps import stamp_of
from upland.io.texts import clean

_NUMBER = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?")


COMPARED = 100
"""Pairs of rows with one time stamp that are compared at most: of copies nothing is said of local time."""


class Steps(NamedTuple):
    """The rows of a long frame as steps of sequences.

    Args:
        order: `(S,)` the row of each step, sequence after sequence; None for rows in this order.
        lengths: `(N,)` steps of each sequence.
        stamps: `(S,)` the time stamp of each step, in that order; None without a time column.
    """

    order: NDArray[np.int64] | None
    lengths: NDArray[np.int64]
    stamps: NDArray[Any] | None


def column_name(name: Any, what: str) -> str | int | None:
    """A column's name as text or a whole number, None for none; raises TypeError for anything else."""
    if isinstance(name, bool | np.bool_) or not isinstance(name, str | int | np.integer | None):
        raise TypeError(f"{what} must be the name of one column, got {name!r}")
    return int(name) if isinstance(name, np.integer) else name


def find_column(frame: Any, rows: TableView, name: str | int | None, what: str) -> int | None:
    """The position of the column that the user named, None for no name.

    Args:
        frame: The user's frame.
        rows: The same as a view.
        name: The column's name.
        what: Which argument names it.

    Raises:
        ValueError: There is no such column; all are listed.
    """
    if name is None:
        return None
    if str(name) in rows.names:
        return rows.names.index(str(name))
    index = list(frame.index.names) if nw.dependencies.is_pandas_dataframe(frame) else []
    hint = "; it is the frame's index: use X.reset_index()" if name in index else ""
    raise ValueError(
        Advice(
            Argument(what, name),
            f" names a column that is not in the table; it has {listed(rows.names)}{hint}",
        )
    )


def check_id(name: Any, place: int, what: str) -> None:
    """Refuse what cannot identify a series.

    Args:
        name: the id, or what is in its place.
        place: its number among all.
        what: needs the id, for messages.

    Raises:
        TypeError: it is a list, bytes or the like.
        ValueError: it is missing.
    """
    if isinstance(name, bytes) or not isinstance(name, Hashable):
        raise TypeError(f"ids[{place}] is {type_text(name)}: an id is a text or a number")
    same = name == name
    if not (isinstance(same, bool | np.bool_) and same):  # pandas' NA is equal to nothing, nor unequal
        raise ValueError(f"ids[{place}] is missing: {what}")


def read_ids(rows: TableView, position: int) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """The number of each row's sequence `(S,)`, and the ids in the order in which they first appear.

    Args:
        rows: A frame.
        position: Its column of ids.

    Raises:
        TypeError: For values that are no ids (lists, bytes).
        ValueError: For missing ids, and for numbers beside text.
    """
    name = rows.names[position]
    values, _ = _typed(rows, position, "id", "turn it into text or whole numbers")
    if isinstance(values, np.ndarray):
        values = pa.array(values, from_pandas=True)
    if is_text(values.type):
        values = values.cast(pa.large_string())
    if pa.types.is_floating(values.type):
        values = pa.array(values.to_numpy(zero_copy_only=False), from_pandas=True)
    if values.null_count:
        raise _missing(
            name, ~values.is_valid().to_numpy(zero_copy_only=False), "a row needs the id of its sequence"
        )
    encoded = values.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, tuple(encoded.dictionary.to_pylist())


def read_stamps(rows: TableView, position: int, cells: CellOptions = USUAL) -> NDArray[Any]:
    """Time stamps as NumPy numbers, datetime64 (in UTC) or timedelta64, `(S,)`.

    Args:
        rows: A frame.
        position: Its column of time stamps.
        cells: How dates are written as text, where they can be read in two ways.

    Raises:
        TypeError: For values that are no time stamps (lists, bytes).
        ValueError: For text that is no date, booleans, infinities, missing time stamps.
    """
    name = rows.names[position]
    values, dtype = _typed(rows, position, "time", "turn it into dates or numbers")
    if dtype == "string":
        values, dtype = read_dates(values, name, cells)
    if dtype in ("string", "category") and values.null_count < len(values):
        row, example = _worst_stamp(values)
        raise ValueError(
            Advice(
                f"the time column {name!r} holds text, for example {example!r} in row {row + 1}: ",
                Wording(
                    "turn it into dates or numbers, as pandas.to_datetime or "
                    "polars.Series.str.to_datetime does",
                    "write numbers, or dates as in ISO 8601, such as 2026-03-02 10:12:00",
                ),
            )
        )
    if dtype == "boolean":
        raise ValueError(f"the time column {name!r} holds true and false, which are no time stamps")
    absent = _absent(values)
    if absent.any():
        raise _missing(name, absent, "every step needs its time stamp")
    stamps = _plain_stamps(values)
    if stamps.dtype.kind == "f" and not np.isfinite(stamps).all():
        row = int(np.flatnonzero(~np.isfinite(stamps))[0])
        raise ValueError(f"the time column {name!r} holds infinity, first in row {row + 1}")
    return stamps


def in_time(
    codes: NDArray[np.int64] | None,
    stamps: NDArray[Any] | None,
    n_rows: int,
    called: Callable[[int], str],
    rows: TableView | None = None,
) -> Steps:
    """Rows as steps: sequence after sequence, in time order within each, else in the order of the rows.

    Args:
        codes: `(S,)` number of each row's sequence; None where all are one.
        stamps: `(S,)` each row's time stamp; None where the rows are in order already.
        n_rows: S.
        called: What to call a sequence of a number in messages.
        rows: What the rows hold, for messages.

    Raises:
        ValueError: For a time stamp that occurs twice in a sequence.
    """
    codes = np.zeros(n_rows, dtype=np.int64) if codes is None else codes
    lengths = np.bincount(codes).astype(np.int64)
    order = _order(codes, stamps)
    if stamps is None:
        return Steps(order, lengths, None)
    if order is not None:
        codes, stamps = codes[order], stamps[order]
    _check_distinct(codes, stamps, order, called, rows)
    return Steps(order, lengths, stamps)


def name_of(id: str | None, ids: tuple[Any, ...] | None, layout: str, sequence: int) -> str:
    """What a sequence is called in messages.

    Args:
        id: What the user calls the ids.
        ids: Of all sequences; None where there are none.
        layout: Of the user's data.
        sequence: Its number.
    """
    if ids is not None:
        return f"{id} {ids[sequence]!r}"
    return f"X[{sequence}]" if layout == "ragged" else "the series"


def _typed(rows: TableView, position: int, what: str, advice: str) -> tuple[Values, str | None]:
    """A column's values without a dictionary, and the name of their type in the data."""
    name = rows.names[position]
    try:
        values = rows.read(position)
        if not isinstance(values, np.ndarray) and pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        return values, dtype_of(values, name)
    except (TypeError, ValueError) as error:
        reason = re.split(": (?:leave|correct)", str(error))[0]
        refused = TypeError if isinstance(error, TypeError) else ValueError
        raise refused(f"the {what} column {name!r} cannot be used: {reason}; {advice}") from None


def _worst_stamp(values: Any) -> tuple[int, str]:
    """The first text that is neither a number nor a date, or the first of all; its row, counted from 0."""
    texts = [(row, text) for row, text in enumerate(values.to_pylist()) if text is not None]
    return next((found for found in texts if not _is_stamp(found[1])), texts[0])


def _is_stamp(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None or stamp_of(clean(text)) is not None


def _absent(values: Values) -> NDArray[np.bool_]:
    if not isinstance(values, np.ndarray):
        floating = pa.types.is_floating(values.type)
        values = (values if floating else values.is_null()).to_numpy(zero_copy_only=False)
    absent: NDArray[np.bool_] = values if values.dtype == bool else np.isnan(values)
    return absent


def _missing(name: str, absent: NDArray[np.bool_], why: str) -> ValueError:
    rows = np.flatnonzero(absent)
    return ValueError(
        f"column {name!r} has no value in {rows.size} row(s), first in row {int(rows[0]) + 1}: {why}"
    )


def _plain_stamps(values: Values) -> NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    type_, is_a = values.type, pa.types
    if is_a.is_decimal(type_):
        return floats(values)
    if not is_a.is_temporal(type_):
        numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return numbers
    narrow = is_a.is_date32(type_) or is_a.is_time32(type_)
    whole = values.cast(pa.int32() if narrow else pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64)
    if is_a.is_date(type_):
        word = "M8[D]" if narrow else "M8[ms]"
    else:
        word = f"{'M8' if is_a.is_timestamp(type_) else 'm8'}[{type_.unit}]"
    stamps: NDArray[Any] = whole.view(word)
    return stamps


def _order(codes: NDArray[np.int64], stamps: NDArray[Any] | None) -> NDArray[np.int64] | None:
    before, after = codes[:-1], codes[1:]
    late = after < before
    if stamps is not None:
        late |= (after == before) & (stamps[1:] < stamps[:-1])
    if not late.any():
        return None
    order = np.argsort(codes, kind="stable") if stamps is None else np.lexsort((stamps, codes))
    return order.astype(np.int64, copy=False)


def _check_distinct(
    codes: NDArray[np.int64],
    stamps: NDArray[Any],
    order: NDArray[np.int64] | None,
    called: Callable[[int], str],
    rows: TableView | None,
) -> None:
    twice = np.flatnonzero((codes[1:] == codes[:-1]) & (stamps[1:] == stamps[:-1]))
    if not twice.size:
        return
    first = int(twice[0])
    count = int(np.sum((codes == codes[first]) & (stamps == stamps[first])))
    alike = (codes[twice[1:]] == codes[twice[:-1]]) & (stamps[twice[1:]] == stamps[twice[:-1]])
    others = int(twice.size - alike.sum()) - 1
    more = f", and {others} more time stamp(s) occur more than once" if others else ""
    pairs = np.stack([twice, twice + 1], axis=1)
    pairs = pairs if order is None else order[pairs]
    copies = [rows is not None and _hold_the_same(rows, some) for some in pairs[:COMPARED]]
    what = ", which hold the same in every column" if copies[0] else ""
    numbers = " and ".join(str(row + 1) for row in sorted(pairs[0].tolist()))
    repeated = ""
    if not all(copies) and _is_within_an_hour(codes[twice], stamps[twice]):
        repeated = (
            ". They lie within one hour: local time repeats an hour where daylight saving ends, and then the "
            "time stamps must be in UTC or have a time zone"
        )
    raise ValueError(
        Advice(
            f"{called(int(codes[first]))}: {count} rows have the time stamp {stamps[first]}{more} (rows "
            f"{numbers}{what}); a sequence has one row for each time stamp: name the column that identifies "
            "sequences (",
            Argument("id"),
            f"), or drop or average such rows{repeated}",
        )
    )


def _hold_the_same(rows: TableView, pair: NDArray[np.int64]) -> bool:
    """Whether two rows are equal in every column."""
    taken = rows.take(pair)
    return all(str(one) == str(two) for one, two in map(taken.read, range(len(taken.names))))


def _is_within_an_hour(codes: NDArray[np.int64], stamps: NDArray[Any]) -> bool:
    """Whether dates that occur twice are those of one hour, as where daylight saving ends."""
    if stamps.dtype.kind != "M" or np.bincount(codes).max() < 2:
        return False
    return bool(stamps.max() - stamps.min() < np.timedelta64(1, "h"))


def check_context(context: Sequence[str | int], time: str | int | None, id: str | int | None) -> None:
    """Refuse context columns that are the time column or the id; raises ValueError."""
    for what, name in (("time", time), ("id", id)):
        if name is not None and str(name) in map(str, context):
            text = f" names {str(name)!r}, which is the {what} column: leave it out of "
            raise ValueError(Advice(Argument("context"), text, Argument("context")))


def check_context_there(
    rows: TableView, wanted: Sequence[str], context: Sequence[str | int], own: Sequence[str]
) -> None:
    """Refuse named columns that lack some context of a fit.

    Args:
        rows: The columns but for the id and the time.
        wanted: Columns of the fit.
        context: Those of them that are context.
        own: The id and the time, where they are there.

    Raises:
        ValueError: Context is missing; all missing columns and all that there are are named.
    """
    lacking = [name for name in wanted if name not in rows.names]
    absent = [name for name in lacking if name in context]
    if absent and rows.naming == "names":
        text = f"missing column(s): {listed(lacking)} (context of the fit: {listed(absent)}); "
        has = f" has {listed([*own, *rows.names])}"
        raise ValueError(Advice(text, Wording("the table", "{data}"), has))
