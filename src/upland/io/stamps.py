"""Dates and times of day written as text, one at a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Literal, NamedTuple

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?: ?(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_LAYOUTS: dict[str, str] = {
    "iso": r"(?P<y>\d{4})(?P<by>[-/.])(?P<m>\d{1,2})(?P=by)(?P<d>\d{1,2})",
    "numbers": r"(?P<a>\d{1,2})(?P<by>[./-])(?P<b>\d{1,2})(?P=by)(?P<y>\d{4})",
    "day month": rf"(?P<d>\d{{1,2}})[ -]{_MONTH}[ ,-] ?(?P<y>\d{{4}})",
    "month day": rf"{_MONTH} (?P<d>\d{{1,2}}),? (?P<y>\d{{4}})",
}
_PATTERNS = {name: re.compile(rf"{date}(?:(?:[T ]|, ){_CLOCK}{_ZONE})?") for name, date in _LAYOUTS.items()}
_TIME = re.compile(_CLOCK)

Layout = Literal["iso", "numbers", "day month", "month day", "time"]


class Stamp(NamedTuple):
    """A date or time of day as it is written.

    Args:
        layout: Which parts stand in which order; `numbers` has day and month in either.
        year: The year.
        first: The month, or of `numbers` what stands first.
        second: The day, or of `numbers` what stands second.
        clock: The time of day.
        zone: Where that holds; None where nothing is said.
        dotted: Whether points part day, month and year.
    """

    layout: Layout
    year: int
    first: int
    second: int
    clock: time
    zone: timezone | None
    dotted: bool = False

    def moment(self, dayfirst: bool | None = None) -> datetime:
        """The moment itself, without a zone in the local time that is written, else in UTC.

        Args:
            dayfirst: Whether the first of two numbers is the day.

        Raises:
            ValueError: There is no such day.
        """
        month, day = (self.second, self.first) if dayfirst else (self.first, self.second)
        moment = datetime.combine(datetime(self.year, month, day).date(), self.clock)
        return moment if self.zone is None else moment.replace(tzinfo=self.zone).astimezone(UTC)


def stamp_of(text: str) -> Stamp | None:
    """A date or time of day that a text is, or None; a day that is in no calendar is one all the same."""
    if not text[:1].isalnum() or not 4 <= len(text) <= 48:
        return None
    if found := _TIME.fullmatch(text):
        clock = _clock(found)
        return None if clock is None else Stamp("time", 1970, 1, 1, clock, None)
    for layout, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(text):
            return _stamp(layout, found)  # type: ignore[arg-type]
    return None


def _stamp(layout: Layout, found: re.Match[str]) -> Stamp | None:
    clock = _clock(found) if found["hour"] else time()
    if clock is None:
        return None
    year, zone = int(found["y"]), _zone(found["zone"])
    if layout == "numbers":
        return Stamp(layout, year, int(found["a"]), int(found["b"]), clock, zone, found["by"] == ".")
    if layout == "iso":
        return Stamp(layout, year, int(found["m"]), int(found["d"]), clock, zone)
    name = found["month"][:3].casefold()
    if name not in _MONTHS:
        return None
    return Stamp(layout, year, _MONTHS.index(name) + 1, int(found["d"]), clock, zone)


def _clock(found: re.Match[str]) -> time | None:
    hour, half = int(found["hour"]), (found["half"] or "").casefold()
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    micro = int((found["part"] or "0").ljust(6, "0")[:6])
    try:
        return time(hour, int(found["minute"]), int(found["second"] or 0), micro)
    except ValueError:
        return None


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text.casefold() in ("z", "utc", "gmt"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
