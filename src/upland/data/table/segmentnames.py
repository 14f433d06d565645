"""The segment of each row: a column of text, whole numbers or booleans, as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upland.data.table.frames import TableView
from upland.data.table.matching import listed
from upland.data.table.values import is_text
from upland.io.advice import Advice, Wording

_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*|,0{1,2})?([eE][+-]?[0-9]{1,2})?")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}")


def canonical_name(name: str) -> str:
    """The name as a column of whole numbers or of booleans has it, without blanks around it: 1 of 1.0, +1 and
    0x1, true of True; 007 is no number.

    Args:
        name: as it is written.
    """
    word = name.strip()
    if word.casefold() in ("true", "false"):
        return word.casefold()
    if _HEXADECIMAL.fullmatch(word):
        return str(int(word, 16))
    if _NUMBER.fullmatch(word):
        number = Decimal(word.replace(",", "."))
        if number == number.to_integral_value() and abs(number) < 1 << 64:
            return str(int(number))
    return word


def numbers_of(segments: Sequence[str]) -> dict[str, int]:
    """The number of each segment by its name, and by its canonical name where no other segment has that.

    Args:
        segments: their names.
    """
    found: dict[str, int] = {}
    twice = set()
    for number, name in enumerate(segments):
        if found.setdefault(canonical_name(name), number) != number:
            twice.add(canonical_name(name))
    alone = {name: number for name, number in found.items() if name not in twice}
    return alone | {name: number for number, name in enumerate(segments)}


def segment_names(
    rows: TableView, column: str, inputs: Sequence[str], blanks: Collection[str] = ()
) -> tuple[list[str], NDArray[np.int64]]:
    """The names of the segments, in order of first appearance, and the number of each row's: `(N,)`.

    A whole number is named by its digits, however it is stored, so that a column of numbers and one of text
    name the same segments.

    Args:
        rows: a table.
        column: the name of the column in the table of the fit.
        inputs: the columns of that table; a table without names has it in the same place.
        blanks: text that stands for a missing cell.

    Raises:
        TypeError: the column holds neither text nor whole numbers nor booleans.
        ValueError: there is no such column, or a row has no segment.
    """
    names = inputs if rows.naming == "none" and len(inputs) == len(rows.names) else rows.names
    if column not in names:
        table = Wording("the table", "{data}")
        raise ValueError(
            Advice(f"missing column {column!r}, which names segments; ", table, f" has {listed(rows.names)}")
        )
    texts = _texts(rows.read(list(names).index(column)), column)
    if blanks:
        texts = pc.if_else(pc.is_in(texts, value_set=pa.array(sorted(blanks))), None, texts)
    if texts.null_count:
        first = int(np.argmax(texts.is_null().to_numpy(zero_copy_only=False)))
        where = Wording(f"row {first}", f"row {first + 1}")
        text = f"{texts.null_count} of {rows.n_rows} rows have no {column!r}, which names their segment, "
        raise ValueError(Advice(text, "the first ", where, ": name it, or leave such rows out"))
    found = texts.dictionary_encode()
    return found.dictionary.to_pylist(), found.indices.to_numpy().astype(np.int64)


def _texts(values: Any, column: str) -> pa.Array:
    """Names as text, null where missing."""
    array = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        with suppress(pa.ArrowInvalid):  # a fraction or infinity
            array = array.cast(pa.int64())
    type_ = array.type
    if is_text(type_) or pa.types.is_null(type_):
        return array.cast(pa.string())
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return array.cast(pa.string())
    raise TypeError(
        f"column {column!r} holds {type_}, which names no segments: make it text, whole numbers or booleans"
    )
