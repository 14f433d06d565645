"""A budget of alarms, and the largest alpha that keeps it on a history."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from upland.io.advice import Advice, Argument
from upland.scoring.alarms import AlarmRates, Level
from upland.scoring.merging import NAMES, UNITS

_BUDGET = re.compile(
    r"(?P<most>\d+(?:\.\d+)?)\s*(?:per|/|an?)\s*(?P<times>\d[\d,]*(?:\.\d+)?)?\s*(?P<unit>[a-z]+)?"
)

BY_ROWS = (None, *(f"{unit}{end}" for unit in ("row", "step", "image", "sequence") for end in ("", "s")))
"""What budgets by rows may call them."""


@dataclass(frozen=True)
class Budget:
    """How many alarms there may be.

    Args:
        most: alarms.
        seconds: in so much time; None where it is by rows.
        rows: in so many rows; None where it is by time.
        said: as the user said it.
    """

    most: float
    seconds: float | None
    rows: float | None
    said: str

    def on(self, rates: AlarmRates) -> float:
        """How many alarms it allows on some rows.

        Args:
            rates: of the rows.

        Raises:
            ValueError: it is by time, and nothing says how long the history is.
        """
        if self.rows is not None:
            return self.most * rates.tally.rows / self.rows
        if rates.seconds is None or self.seconds is None:
            text = f"the budget {self.said!r} is by time, and nothing says how long the history is: name a "
            raise ValueError(
                Advice(text, "column of dates with ", Argument("time"), ", or say a budget per 1000 rows")
            )
        return self.most * rates.seconds / self.seconds


def budget_of(text: str) -> Budget:
    """The budget that a text says.

    Args:
        text: such as `3 per day`, `1 per week`, `0.5/h`, `2 per 1000` (rows).

    Raises:
        ValueError: it says none.

    Examples:
        >>> budget_of("2 per 1000").rows, budget_of("1 per week").seconds
        (1000.0, 604800.0)
    """
    found = _BUDGET.fullmatch(text.strip().casefold())
    unit = None if found is None else found["unit"]
    times = None if found is None or found["times"] is None else float(found["times"].replace(",", ""))
    by_rows = unit in BY_ROWS and times is not None
    if (
        found is None
        or times == 0
        or not (by_rows or unit in NAMES)
        or not math.isfinite(float(found["most"]))
    ):
        raise ValueError(
            "a budget is a number of alarms per time or per rows, such as '3 per day', '1 per week', '0.5/h' "
            f"or '2 per 1000', not {text!r}"
        )
    most = float(found["most"])
    if by_rows:
        return Budget(most, None, times, text)
    assert unit is not None
    return Budget(most, (times or 1.0) * UNITS[NAMES[unit]], None, text)


def largest(rates: AlarmRates, levels: Sequence[float], budget: Budget) -> Level | None:
    """The largest level up to which every level keeps a budget; None where the least does not.

    More rows are flagged at a larger level, but they may merge into fewer alarms, in the end into one: a
    level above one that breaks the budget is not taken.

    Args:
        rates: of a history.
        levels: sorted.
        budget: of alarms, after merging.

    Raises:
        ValueError: the budget cannot be compared with the history.
    """
    allowed, best = budget.on(rates), None
    for alpha in levels:
        level = rates.at(alpha)
        if level.alarms > allowed:
            break
        best = level
    return best
