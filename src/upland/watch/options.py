"""The options of a watch, checked; they hold for the whole of a history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from upland.calibration.false_discovery import check_rate
from upland.catalogue import STATISTICS
from upland.io.advice import Advice, Argument
from upland.watch.batches import width_of


@dataclass(frozen=True)
class WatchOptions:
    """Options that a history is begun with and keeps, since its guarantees are of them.

    Args:
        by: the column of the groups.
        time: the column of the times.
        every: the width of buckets.
        delta: the probability of a false alarm ever.
        run_length: the average run length of the e-detector.
        fdr: the false discovery rate.
        block: rows of which one counts.
        statistic: of groups.
        seed: of random draws.

    Raises:
        TypeError, ValueError: one is out of its range, or two do not go together.
    """

    by: str | None = None
    time: str | None = None
    every: str | None = None
    delta: float = 0.01
    run_length: float = 1000
    fdr: float = 0.05
    block: int = 1
    statistic: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("by", "time"):
            if not isinstance(value := getattr(self, name), str | None):
                raise TypeError(f"{name} must be the name of a column, got {value!r}")
        for name in ("delta", "fdr"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
        number = isinstance(self.run_length, int | float) and not isinstance(self.run_length, bool)
        if not number or not 1 < self.run_length < np.inf:
            raise ValueError(f"run_length is a number of batches above 1, not {self.run_length!r}")
        for name, least in (("block", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {self.statistic!r}")
        if self.every is not None:
            width_of(self.every)
            if self.time is None:
                text = " needs the column of the times: give "
                raise ValueError(Advice(Argument("every"), text, Argument("time")))
            if self.by is not None:
                text = " exclude each other: leave one of them out"
                raise ValueError(Advice(Argument("by"), " and ", Argument("every"), text))

    @property
    def width(self) -> float | None:
        """The seconds of a bucket; None without buckets."""
        return None if self.every is None else width_of(self.every)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def check_same(self, begun: dict[str, Any]) -> None:
        """Refuse to go on with other options.

        Args:
            begun: those that the history was begun with.

        Raises:
            ValueError: one differs; it is named.
        """
        for name, value in self.to_json().items():
            if name in begun and begun[name] != value:
                same = Advice("give ", Argument(name, begun[name]))
                if begun[name] is None:
                    same = Advice("leave ", Argument(name), " out")
                raise ValueError(
                    Advice(
                        *("the history was begun ", "without " if begun[name] is None else "with "),
                        *(Argument(name, begun[name]), ", and its guarantees are of that: "),
                        *(same, ", or begin another history"),
                    )
                )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def check_alpha(alpha: float) -> float:
    """The level of single rows; raises ValueError for what is none."""
    check_rate(alpha, "false_alarm")
    return float(alpha)
