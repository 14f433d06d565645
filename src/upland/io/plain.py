"""Columns of every Arrow type as those of a few plain ones, which all of upland's own steps can handle.

Views of text and of bytes, run ends, extension types and small decimals stand for values that plain types
hold as well, but few of Arrow's functions take them. What is no column of single values (a list, a struct, a
map, a union) becomes an `Unread`, which can be sliced, taken and put together, and knows what it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

Column = Any
"""`pa.Array` or `pa.ChunkedArray`."""

_IS = pa.types
_STAYS = (
    _IS.is_null,
    _IS.is_boolean,
    _IS.is_integer,
    _IS.is_floating,
    _IS.is_decimal128,
    _IS.is_decimal256,
    _IS.is_string,
    _IS.is_large_string,
    _IS.is_binary,
    _IS.is_large_binary,
    _IS.is_fixed_size_binary,
    _IS.is_date,
    _IS.is_time,
    _IS.is_timestamp,
    _IS.is_duration,
)


class Unread(pa.ExtensionType):
    """The type of a column that is not read: no values, but the words for the type that it had.

    Args:
        words: Arrow's words for the type.
    """

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(pa.null(), "upland.unread")

    def __arrow_ext_serialize__(self) -> bytes:
        return self.words.encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Self:
        return cls(serialized.decode())

    def __str__(self) -> str:
        return self.words


def is_plain(type_: pa.DataType) -> bool:
    """Whether columns of a type stay as they are."""
    if isinstance(type_, Unread):
        return True
    if _IS.is_dictionary(type_):
        return type_.index_type == pa.int32() and is_plain(type_.value_type)
    return any(test(type_) for test in _STAYS)


def plain_table(table: pa.Table) -> pa.Table:
    """A table with the same values in plain types; the table itself where all are plain."""
    if all(is_plain(type_) for type_ in table.schema.types):
        return table
    columns = [plain_column(column) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def plain_types(types: Sequence[pa.DataType]) -> list[pa.DataType]:
    """The plain type of columns of each type."""
    return [plain_column(pa.nulls(0, type_)).type for type_ in types]


def plain_column(column: Column) -> Column:
    """The same values in a plain type, in as many chunks."""
    if is_plain(column.type):
        return column
    if not isinstance(column, pa.ChunkedArray):
        return _plain(column)
    chunks = [_plain(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks or [_plain(pa.nulls(0, column.type))])


def one_chunk(column: Column) -> pa.Array:
    """A column as one array of a plain type."""
    column = plain_column(column)
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _plain(array: pa.Array) -> pa.Array:
    type_ = array.type
    if is_plain(type_):
        return array
    if _IS.is_string_view(type_):
        return array.cast(pa.large_string())
    if _IS.is_binary_view(type_):
        return array.cast(pa.large_binary())
    if _IS.is_decimal(type_):
        return array.cast(pa.decimal128(type_.precision, type_.scale))
    if _IS.is_dictionary(type_):
        return _dictionary(array)
    if _IS.is_run_end_encoded(type_):
        return _without_runs(array)
    if isinstance(type_, pa.BaseExtensionType):
        return _stored(array)
    return _unread(array)


def _dictionary(array: pa.DictionaryArray) -> pa.Array:
    """Indices of 32 bits, so that dictionaries can be put together, and values of a plain type."""
    values = _plain(array.dictionary)
    if isinstance(values.type, Unread):
        return _unread(array)
    if _IS.is_dictionary(values.type):
        return values.take(array.indices)
    return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), values)


def _without_runs(array: pa.RunEndEncodedArray) -> pa.Array:
    values = _plain(array.values)
    numbers = pa.RunEndEncodedArray.from_arrays(array.run_ends, pa.array(range(len(values)), pa.int64()))
    return values.take(pc.run_end_decode(numbers.slice(array.offset, len(array))))


def _stored(array: pa.ExtensionArray) -> pa.Array:
    """The storage of an extension type that is a mere number or text; a UUID as text."""
    if array.type.extension_name == "arrow.bool8":
        return pc.not_equal(array.storage, pa.scalar(0, pa.int8()))
    if array.type.extension_name == "arrow.uuid":
        encoded = array.storage.dictionary_encode()
        words = [str(uuid.UUID(bytes=value)) for value in encoded.dictionary.to_pylist()]
        return pa.array(words, pa.string()).take(encoded.indices)
    stored = _plain(array.storage)
    return _unread(array) if isinstance(stored.type, Unread) else stored


def _unread(array: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(Unread(str(array.type)), pa.nulls(len(array)))
