"""What a file may ask of memory, and whether the buffers of an Arrow table are as they must be.

A compressed file of b bytes may become `EXPANSION` * b bytes, or `ALLOWED` bytes if that is more: data seldom
shrink to less than a hundredth, a decompression bomb to a thousandth. Wide tables are read in pieces of fewer
rows, so that a piece holds at most `CELLS` cells.
"""

from __future__ import annotations

import pyarrow as pa

EXPANSION = 200
"""Bytes that one byte of a compressed file may become."""

ALLOWED = 1 << 28
"""Bytes that any compressed file may become, however small it is."""

CELLS = 1 << 25
"""Cells of a table that are held at a time."""


class TooLarge(ValueError):
    """A file becomes more than it may."""


def limit_of(stored: int) -> int:
    """Bytes that a compressed file may become.

    Args:
        stored: Its size in bytes.

    Examples:
        >>> limit_of(10), limit_of(10**7)
        (268435456, 2000000000)
    """
    return max(ALLOWED, EXPANSION * stored)


def check_expansion(path: object, size: int, stored: int, way: str) -> None:
    """Refuse a file that becomes more than `limit_of` allows.

    Args:
        path: The file, for the message.
        size: Bytes that it becomes.
        stored: Its size in bytes.
        way: What to do about a file that is to be trusted.

    Raises:
        TooLarge: With both sizes, and what to do.
    """
    if size > limit_of(stored):
        raise TooLarge(
            f"{path} holds {stored:,} bytes that become more than {limit_of(stored):,}, as those of a "
            f"decompression bomb do: if you trust it, {way}"
        )


def piece_of(size: int, n_columns: int) -> int:
    """Rows that are read at a time: `size`, fewer of a table of very many columns.

    Examples:
        >>> piece_of(65_536, 10), piece_of(65_536, 100_000)
        (65536, 335)
    """
    return max(1, min(size, CELLS // max(n_columns, 1)))


def checked(table: pa.Table, where: object) -> pa.Table:
    """The same table, all its buffers checked: offsets, lengths, indices, counts of nulls, UTF-8.

    Args:
        table: From a file or from the user's program.
        where: What the message calls it.

    Raises:
        ValueError: A column is damaged; it is named.
    """
    try:
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        if found := _damage(table):
            raise ValueError(f"{where}: {found}") from error
    return table


def _damage(table: pa.Table) -> str | None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            for chunk in column.chunks:
                # a moment that is no whole day is odd in date64, and harmless
                (chunk.view(pa.int64()) if pa.types.is_date64(chunk.type) else chunk).validate(full=True)
        except (pa.ArrowException, OSError) as error:
            return f"column {name!r} is damaged: {str(error).splitlines()[0]}"
    return None
