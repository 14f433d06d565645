"""Plain data of a file back as records, every field checked by its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Entry = TypeVar("Entry")


class UnknownNameError(ValueError):
    """A name or a field that this version does not have: a newer one wrote it."""


def entry_of(table: Mapping[str, Entry], name: Any, what: str) -> Entry:
    """The entry of a name.

    Args:
        table: entries by name.
        name: what a file says.
        what: the name is of, for messages.

    Raises:
        UnknownNameError: there is no such entry.
        ValueError: this is no name.
    """
    if not isinstance(name, str):
        raise ValueError(f"the {what} must be a name, got {name!r}")
    if name not in table:
        raise UnknownNameError(f"no {what} is called {name!r}")
    return table[name]


def object_in(record: Any, what: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        record: what a file says.
        what: it is, for messages.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"the {what} must be an object, got {record!r}")
    return dict(record)


def read_record(made: type[Entry], record: Any, what: str, **given: Any) -> Entry:
    """A dataclass from plain data; lists become tuples where the fields are.

    Args:
        made: the dataclass.
        record: its fields as plain data.
        what: it is, for messages.
        **given: fields that are not read.

    Raises:
        UnknownNameError: a field is unknown.
        ValueError: a field is lacking, or of another type.
    """
    record = object_in(record, what)
    expected = {field.name for field in fields(made)} - given.keys()  # type: ignore[arg-type]
    if unknown := sorted(record.keys() - expected):
        raise UnknownNameError(f"the {what} has unknown fields: {', '.join(unknown)}")
    if lacking := sorted(expected - record.keys()):
        raise ValueError(f"the {what} lacks fields: {', '.join(lacking)}")
    return made(**typed(record, get_type_hints(made), what), **given)


def typed(record: Mapping[str, Any], hints: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Values in the types of their annotations.

    Args:
        record: plain values by name.
        hints: the annotation of each name.
        what: they are of, for messages.

    Raises:
        ValueError: one is of another type; it is named.
    """
    found = {}
    for name, value in record.items():
        forms = [tuple(value), value] if isinstance(value, list) else [value]
        fitting = [form for form in forms if conforms(form, hints[name])]
        if not fitting:
            raise ValueError(f"{name} of the {what} cannot be {value!r}")
        found[name] = fitting[0]
    return found


def conforms(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; a whole number is a float, and a boolean is no number.

    Args:
        value: plain data.
        hint: `Any`, a class, a `Literal`, a union, a tuple, a list or a sequence of these.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin in (Union, UnionType):
        return any(conforms(value, part) for part in parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        fits = isinstance(value, tuple) and len(value) == len(parts)
        return fits and all(conforms(one, part) for one, part in zip(value, parts, strict=True))
    if origin in (tuple, list, Sequence):
        return isinstance(value, origin) and all(conforms(one, parts[0]) for one in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, NoneType if hint is None else origin or hint)
