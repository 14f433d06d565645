"""How the text of a file of rows is laid out, so that it is written again as it was read."""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """The layout of a file of text.

    Args:
        delimiter: What parts the cells; None for what the file's suffix says.
        decimal: The decimal sign of numbers.
        newline: What ends a line.
        bom: Whether a byte-order mark stands at the start, by which some programs know UTF-8.
    """

    delimiter: str | None = None
    decimal: str = "."
    newline: str = "\n"
    bom: bool = False


PLAIN = Dialect()
"""What is written where nothing is said."""


def dialect_of(sample: bytes, delimiter: str | None, decimal: str) -> Dialect:
    """The dialect of a file.

    Args:
        sample: How the file starts.
        delimiter: What parts its cells; None for what its suffix says.
        decimal: The decimal sign of its numbers.
    """
    newline = "\r\n" if sample.find(b"\n") == sample.find(b"\r\n") + 1 > 0 else "\n"
    return Dialect(delimiter, decimal, newline, sample.startswith(b"\xef\xbb\xbf"))
