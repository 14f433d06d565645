"""Text from files, made harmless for a terminal."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but for the end of a line, separators of lines, signs that turn the direction of
writing, and halves of characters."""


def escaped(text: str, lines: bool = True) -> str:
    r"""A text whose control characters are written as in Python: `\x1b` for the one that begins a command to
    the terminal.

    Args:
        text: From a file, such as the name of a column.
        lines: Whether ends of lines stay.

    Examples:
        >>> print(escaped("\x1b[31mred"))
        \x1b[31mred
    """
    text = text if lines else text.replace("\n", r"\n")
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
