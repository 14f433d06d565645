"""How the user says that cells of text are written, and what dates are used as."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from upland.io.records import checked

Dates = Literal["number", "parts", "drop"]
SIGNS = (".", ",")
GROUPS = (".", ",", " ", "'", "_")
LARGEST = 2**63
"""Whole numbers that stand for a missing cell are smaller than this."""


@dataclass(frozen=True)
class CellOptions:
    """How cells are written, where they can be read in two ways, and what dates are used as.

    Args:
        decimal: The decimal sign of numbers written as text; None where the cells decide.
        thousands: What parts their thousands; None where the cells decide.
        missing: Values that stand for a missing cell, text and numbers, besides the usual ones.
        dayfirst: Whether 3/4/2026 is the third of April; None where the cells decide.
        dates: What a date is used as: a number, cyclic parts (hour, weekday, month), or nothing.

    Raises:
        ValueError: An option is not as it must be.
        TypeError: `missing` is no list.
    """

    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str | float, ...] = ()
    dayfirst: bool | None = None
    dates: Dates = "number"

    def __post_init__(self) -> None:
        if not _is_one_of(self.decimal, (None, *SIGNS)):
            raise ValueError(f"decimal must be None, '.' or ',', got {self.decimal!r}")
        if not _is_one_of(self.thousands, (None, *GROUPS)):
            choices = ", ".join(map(repr, GROUPS))
            raise ValueError(f"thousands must be None or one of {choices}, got {self.thousands!r}")
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands cannot both be {self.decimal!r}")
        if not isinstance(self.dayfirst, bool | None):
            raise ValueError(f"dayfirst must be None, True or False, got {self.dayfirst!r}")
        if not _is_one_of(self.dates, get_args(Dates)):
            raise ValueError(f"dates must be 'number', 'parts' or 'drop', got {self.dates!r}")
        for value in self.missing:
            whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
            if not (isinstance(value, str) or whole or (isinstance(value, float) and math.isfinite(value))):
                raise ValueError(f"missing must hold texts and numbers, got {value!r}")

    @property
    def missing_texts(self) -> tuple[str, ...]:
        """Texts that stand for a missing cell; a number stands for itself as it is written."""
        return tuple(value if isinstance(value, str) else _written(value) for value in self.missing)

    @property
    def missing_numbers(self) -> tuple[float, ...]:
        """Numbers that stand for a missing cell."""
        return tuple(float(value) for value in self.missing if not isinstance(value, str))

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the way back."""
        return {**asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CellOptions:
        """Rebuild the options; raises ValueError or TypeError for what `to_json` did not give."""
        return cls(**checked(cls, record, "options of cells"))


def _written(value: float) -> str:
    """A number as it is mostly written: -999 and not -999.0."""
    return str(int(value)) if float(value).is_integer() else repr(value)


def _is_one_of(value: object, choices: tuple[object, ...]) -> bool:
    """Whether a value is one of some words, whatever its type compares like."""
    return isinstance(value, str | None) and value in choices


def as_number(word: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


USUAL = CellOptions()
"""Nothing is said: the cells decide."""
