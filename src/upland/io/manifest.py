"""Plain data out of JSON that nobody vouches for: no more of it, and nothing else, than upland writes.

Python makes some twenty bytes of a list of one letter. So the number of lists and records is bounded by the
length of the text before it is parsed, their depth afterwards, and what JSON does not have is refused: names
that come twice, NaN and infinities; and numbers of very many digits.
"""

from __future__ import annotations

import json
import math
from typing import Any

PARTS, LETTERS_A_PART = 1 << 14, 24
"""Lists and records of a text, and letters for each one beyond them."""
DEPTH = 24
"""How deep they lie in each other."""
_DIGITS = 100


def parsed(text: str) -> Any:
    """The plain data that a text holds.

    Args:
        text: JSON.

    Raises:
        ValueError: it is no JSON, or none that upland writes; the message says why.
    """
    if text.count("[") + text.count("{") > PARTS + len(text) // LETTERS_A_PART:
        raise ValueError("it has more lists and records than such a file needs")
    try:
        value = json.loads(
            text, object_pairs_hook=_record, parse_int=_whole, parse_float=_real, parse_constant=_constant
        )
    except RecursionError:
        raise ValueError("it is too deep") from None
    _check_depth(value)
    return value


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a record names a field twice")
    return record


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError("a whole number is too large")
    return int(text)


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH):
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [child for part in inner for child in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return
    raise ValueError("it is too deep")
