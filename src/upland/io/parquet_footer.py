"""Where the dictionaries of a Parquet file begin, read from its footer.

PyArrow gives the same numbers, but ends the process where the footer of a column lacks a part. The footer is
a Thrift struct in the compact protocol: https://github.com/apache/parquet-format/blob/master/README.md and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = b"PAR1"
DEEPEST = 16
"""Structs inside each other; those of Parquet have fewer."""

ROW_GROUPS, COLUMNS, META, DICTIONARY = 4, 1, 3, 11
"""Numbers of the fields on the way to the place of a dictionary."""

_BOOLS = (1, 2)
_BYTE, _DOUBLE, _BINARY, _MAP, _STRUCT = 3, 7, 8, 11, 12
_INTEGERS = (4, 5, 6)
_LISTS = (9, 10)


def dictionary_offsets(path: Path) -> list[list[int | None]]:
    """For each row group and column the place of the dictionary in the file, None without one.

    Args:
        path: Of a Parquet file.

    Raises:
        ValueError: The footer is no such struct, or a column lacks its description.
    """
    groups = _structs(_Footer(_footer(path)).struct(0)[0].get(ROW_GROUPS, []))
    return [[_offset(path, column) for column in _structs(group.get(COLUMNS, []))] for group in groups]


def _structs(value: Any) -> list[dict[int, Any]]:
    return value if isinstance(value, list) else []  # of another kind in a forged file


def _offset(path: Path, column: Mapping[int, Any]) -> int | None:
    found = column.get(META)
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: its footer does not describe a column of a row group")
    offset = found.get(DICTIONARY)
    return offset if isinstance(offset, int) and 0 <= offset < 1 << 63 else None


def _footer(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != MARK or length > size - 8:
            raise ValueError(f"{path} has no footer of a Parquet file that is not encrypted")
        file.seek(-8 - length, os.SEEK_END)
        return file.read(length)


class _Footer:
    """A reader of Thrift's compact protocol; only what leads to dictionaries is kept.

    Each method takes a position and returns a value and the position behind it.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data

    def struct(self, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
        """The fields by their numbers; those of other numbers are passed over."""
        if depth > DEEPEST:
            raise ValueError("a footer of a Parquet file has structs inside each other without end")
        found: dict[int, Any] = {}
        number = 0
        while True:
            head, at = self.byte(at)
            if not head:
                return found, at
            kind, step = head & 15, head >> 4
            if step:
                number += step
            else:
                number, at = self.integer(at)
            value, at = (None, at) if kind in _BOOLS else self.value(kind, at, depth)
            if number in (ROW_GROUPS, COLUMNS, META, DICTIONARY) and kind not in _BOOLS:
                found[number] = value

    def value(self, kind: int, at: int, depth: int) -> tuple[Any, int]:
        """A value of a kind."""
        if kind in _INTEGERS:
            return self.integer(at)
        if kind == _STRUCT:
            return self.struct(at, depth + 1)
        if kind in _LISTS:
            return self.items(at, depth)
        if kind == _MAP:
            return self.pairs(at, depth)
        if kind == _BINARY:
            length, at = self.varint(at)
            return None, self.passed(at, length)
        widths: Mapping[int, int] = {**dict.fromkeys(_BOOLS, 1), _BYTE: 1, _DOUBLE: 8}
        if kind not in widths:
            raise ValueError(f"a footer of a Parquet file holds a value of the unknown kind {kind}")
        return None, self.passed(at, widths[kind])

    def items(self, at: int, depth: int) -> tuple[list[Any], int]:
        """The structs of a list; other items are passed over."""
        head, at = self.byte(at)
        kind, count = head & 15, head >> 4
        if count == 15:
            count, at = self.varint(at)
        self.passed(at, count)  # each takes a byte or more
        found = []
        for _ in range(count):
            value, at = self.value(kind, at, depth)
            if kind == _STRUCT:
                found.append(value)
        return found, at

    def pairs(self, at: int, depth: int) -> tuple[None, int]:
        """Nothing: a map is passed over."""
        count, at = self.varint(at)
        if count:
            kinds, at = self.byte(at)
            self.passed(at, count)
            for _ in range(count):
                for kind in (kinds >> 4, kinds & 15):
                    _, at = self.value(kind, at, depth + 1)
        return None, at

    def integer(self, at: int) -> tuple[int, int]:
        """A number with a sign."""
        value, at = self.varint(at)
        return (value >> 1) ^ -(value & 1), at

    def varint(self, at: int) -> tuple[int, int]:
        """A number without a sign."""
        value = shift = 0
        while shift < 70:
            part, at = self.byte(at)
            value |= (part & 127) << shift
            if part < 128:
                return value, at
            shift += 7
        raise ValueError("a footer of a Parquet file holds a number of more than 64 bits")

    def byte(self, at: int) -> tuple[int, int]:
        """A single byte."""
        self.passed(at, 1)
        return self.data[at], at + 1

    def passed(self, at: int, count: int) -> int:
        """The position behind so many bytes; raises ValueError where there are fewer."""
        if count > len(self.data) - at:
            raise ValueError("a footer of a Parquet file ends too early")
        return at + count
