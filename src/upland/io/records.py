"""Plain data from a file as the fields of a record, checked by the types that its annotations name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

Unsigned = NewType("Unsigned", int)
"""A whole number of any array, of 64 bits without a sign too."""


def checked(made: type, record: object, what: str, later: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The fields of a dataclass, from plain data; lists come as tuples where it has tuples.

    Args:
        made: the dataclass.
        record: plain data.
        what: it is, for messages.
        later: fields that files of before there were such fields lack.

    Raises:
        ValueError: it is no record, or a field is unknown, lacking, or of another type; it is named.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"{what} must be a record, got {type(record).__name__}")
    expected = {field.name for field in fields(made)}
    if wrong := sorted(map(str, (expected ^ set(record)) - (later - set(record)))):
        raise ValueError(f"{what}: fields {', '.join(wrong)} are unknown or lacking")
    return check_types(get_type_hints(made), record, what)


def check_types(hints: Mapping[str, Any], record: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The same values, lists as tuples where the type is one.

    Args:
        hints: types, by name.
        record: values, by name.
        what: it is, for messages.

    Raises:
        ValueError: a value is not of its type; it is named.
    """
    for name, value in record.items():
        if not fits(value, hints[name]):
            raise ValueError(f"{what}: {name} cannot be {shown(value)}")
    return {name: _typed(value, hints[name]) for name, value in record.items()}


def fits(value: object, hint: Any) -> bool:
    """Whether a value out of JSON is of a type; a number is finite, and true and false are none.

    Args:
        value: plain data.
        hint: the type: plain ones, literals, unions, tuples, lists and sequences of them.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if hint in (None, NoneType):
        return value is None
    if hint is Unsigned:
        return type(value) is int and abs(value) < 2 * _MOST
    if isinstance(value, int) and abs(value) >= _MOST:
        return False
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    if hint in (int, str, bool):
        return type(value) is hint
    if origin in (tuple, list, Sequence) and isinstance(value, list | tuple):
        if origin is tuple and parts[-1] is not Ellipsis:
            return len(value) == len(parts) and all(map(fits, value, parts))
        return all(fits(part, parts[0]) for part in value)
    return False


def shown(value: object) -> str:
    """A value for a message, without what a terminal would act on, and not longer than a line.

    Args:
        value: anything from a file.
    """
    text = value if isinstance(value, str) and value.isidentifier() and value.isascii() else ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


_MOST = 1 << 63  # beyond all whole numbers
_LONGEST = 80  # letters of a value in a message


def _typed(value: Any, hint: Any) -> Any:
    """A list as a tuple, but where the type is a list."""
    return tuple(value) if isinstance(value, list) and get_origin(hint) is not list else value
