"""What the record batches of an Arrow file become in memory, from their metadata alone.

pyarrow allocates what a compressed buffer says that it becomes before it decompresses it. So the sizes are
read here first: a message is a flatbuffer (Apache Arrow's `format/Message.fbs`, `format/File.fbs`), and each
compressed buffer begins with its decompressed size as a little-endian int64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"ARROW1"
_CONTINUED = b"\xff\xff\xff\xff"
_BEFORE = b"ARROW:experimental_compression"  # where version 0.17 says that buffers are compressed
_DICTIONARY, _BATCH = 2, 3
_BLOCK = struct.Struct("<qi4xq")
_BUFFER = struct.Struct("<qq")


@dataclass(frozen=True)
class Message:
    """A record batch or a dictionary.

    Args:
        is_batch: Whether it is a record batch.
        rows: What it says that it has.
        size: Bytes that its buffers become.
        compressed: Whether they are compressed.
    """

    is_batch: bool
    rows: int
    size: int
    compressed: bool


def messages_of(data: memoryview) -> Iterator[Message]:
    """The record batches and dictionaries of an IPC file or of a stream.

    Args:
        data: All its bytes.

    Raises:
        ValueError: An offset or a length that points outside the file.
    """
    try:
        for start, body in _in_file(data) if bytes(data[-6:]) == _MAGIC else _in_stream(data):
            found = _message(data, start, body)
            if found is not None:
                yield found
    except (struct.error, IndexError):
        raise ValueError("its metadata point outside the file") from None


def _in_file(data: memoryview) -> Iterator[tuple[int, int]]:
    """Where the flatbuffer of each message of a file begins, and where its body does."""
    (length,) = struct.unpack_from("<i", data, len(data) - 10)
    footer = _Table.root(data, _inside(data, len(data) - 10 - length))
    for field in (2, 3):
        for at in footer.vector(field, _BLOCK.size):
            offset, metadata, _ = _BLOCK.unpack_from(data, at)
            prefix = 8 if bytes(data[_inside(data, offset) : offset + 4]) == _CONTINUED else 4
            yield offset + prefix, offset + metadata


def _in_stream(data: memoryview) -> Iterator[tuple[int, int]]:
    at = 0
    while at + 8 <= len(data):
        at += 4 if bytes(data[at : at + 4]) == _CONTINUED else 0
        (length,) = struct.unpack_from("<i", data, at)
        if length <= 0:
            return
        start, body = at + 4, at + 4 + length
        yield start, body
        at = _inside(data, body + _Table.root(data, start).integer(3, "<q"))


def _message(data: memoryview, start: int, body: int) -> Message | None:
    message = _Table.root(data, _inside(data, start))
    kind = message.integer(1, "<B")
    if kind not in (_DICTIONARY, _BATCH):
        return None
    batch = message.table(2)
    if batch is not None and kind == _DICTIONARY:
        batch = batch.table(1)
    if batch is None:
        return None
    compressed, size = batch.table(3) is not None or _BEFORE in bytes(data[start:body]), 0
    for at in batch.vector(2, _BUFFER.size):
        offset, length = _BUFFER.unpack_from(data, at)
        becomes = length
        if compressed and length:
            (becomes,) = struct.unpack_from("<q", data, _inside(data, body + offset))
        size += length if becomes == -1 else becomes if becomes >= 0 else 1 << 63
    return Message(kind == _BATCH, batch.integer(0, "<q"), size, compressed)


def _inside(data: memoryview, at: int) -> int:
    if not 0 <= at < len(data):
        raise IndexError(at)
    return at


class _Table:
    """A table of a flatbuffer; its fields by number."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data, self._at = data, _inside(data, at)
        (back,) = struct.unpack_from("<i", data, at)
        self._fields = _inside(data, at - back)

    @classmethod
    def root(cls, data: memoryview, at: int) -> _Table:
        """The table that a flatbuffer begins with."""
        return cls(data, at + struct.unpack_from("<I", data, at)[0])

    def integer(self, field: int, form: str) -> int:
        """A number; 0 where it is left out."""
        at = self._where(field)
        return 0 if at is None else int(struct.unpack_from(form, self._data, _inside(self._data, at))[0])

    def table(self, field: int) -> _Table | None:
        """A table within this one; None where it is left out."""
        at = self._where(field)
        return None if at is None else _Table.root(self._data, _inside(self._data, at))

    def vector(self, field: int, width: int) -> range:
        """Where each element of a vector of structs begins."""
        at = self._where(field)
        if at is None:
            return range(0)
        at += struct.unpack_from("<I", self._data, _inside(self._data, at))[0]
        (count,) = struct.unpack_from("<I", self._data, _inside(self._data, at))
        if count * width > len(self._data):
            raise IndexError(count)
        return range(at + 4, at + 4 + count * width, width)

    def _where(self, field: int) -> int | None:
        (size,) = struct.unpack_from("<H", self._data, self._fields)
        if 4 + 2 * field + 2 > size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * field)
        return self._at + offset if offset else None
