"""Dates and times of day written as text, one at a time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Literal, NamedTuple

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?: ?(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>[A-Za-z]{3,9})\.?"
_LAYOUTS: dict[str, str] = {
    "month": r"(?P<y>(?:19|20|21)\d{2})-(?P<m>\d{2})",
    "week": r"(?P<y>(?:19|20|21)\d{2})-?W(?P<w>\d{2})(?:-(?P<wd>[1-7]))?",
    "month year": rf"{_MONTH}[ -](?P<y>\d{{4}})",
    "short": r"(?P<a>\d{1,2})(?P<by>/)(?P<b>\d{1,2})/(?P<y>\d{2})",
    "short dotted": r"(?P<a>\d{2})(?P<by>\.)(?P<b>\d{2})\.(?P<y>\d{2})",
    "iso": r"(?P<y>\d{4})(?P<by>[-/.])(?P<m>\d{1,2})(?P=by)(?P<d>\d{1,2})",
    "numbers": r"(?P<a>\d{1,2})(?P<by>[./-])(?P<b>\d{1,2})(?P=by)(?P<y>\d{4})",
    "day month": rf"(?P<d>\d{{1,2}})[ -]{_MONTH}[ ,-] ?(?P<y>\d{{4}})",
    "month day": rf"{_MONTH} (?P<d>\d{{1,2}}),? (?P<y>\d{{4}})",
}
_PATTERNS = {name: re.compile(rf"{date}(?:(?:[T ]|, ){_CLOCK}{_ZONE})?") for name, date in _LAYOUTS.items()}
_TIME = re.compile(_CLOCK)
_HOUR = re.compile(r"(?P<hour>\d{1,2}) ?(?P<half>[AaPp])\.?[Mm]\.?")

Layout = Literal["iso", "numbers", "day month", "month day", "month year", "week", "time"]


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

    @property
    def exists(self) -> bool:
        """Whether some calendar has such a day."""
        try:
            self.moment(dayfirst=self.layout == "numbers" and self.first > 12)
        except ValueError:
            return False
        return True

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
    if not text[:1].isalnum() or not 3 <= len(text) <= 48:
        return None
    if found := _TIME.fullmatch(text) or _HOUR.fullmatch(text):
        clock = _clock(found)
        return None if clock is None else Stamp("time", 1970, 1, 1, clock, None)
    for layout, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(text):
            return _stamp(layout, found)
    return None


def _stamp(layout: str, found: re.Match[str]) -> Stamp | None:
    clock = _clock(found) if found["hour"] else time()
    if clock is None:
        return None
    year, zone = int(found["y"]), _zone(found["zone"])
    if layout.startswith("short"):
        year += 2000 if year < 69 else 1900
    if layout in ("numbers", "short", "short dotted"):
        return Stamp("numbers", year, int(found["a"]), int(found["b"]), clock, zone, found["by"] == ".")
    if layout in ("iso", "month"):
        day = int(found["d"]) if layout == "iso" else 1
        return Stamp("iso", year, int(found["m"]), day, clock, zone)
    if layout == "week":
        return _of_week(year, int(found["w"]), int(found["wd"] or 1), clock, zone)
    name = found["month"][:3].casefold()
    if name not in _MONTHS:
        return None
    day = 1 if layout == "month year" else int(found["d"])
    return Stamp(layout, year, _MONTHS.index(name) + 1, day, clock, zone)  # type: ignore[arg-type]


def _of_week(year: int, week: int, weekday: int, clock: time, zone: timezone | None) -> Stamp | None:
    try:
        day = date.fromisocalendar(year, week, weekday)
    except ValueError:
        return None
    return Stamp("week", day.year, day.month, day.day, clock, zone)


def _clock(found: re.Match[str]) -> time | None:
    parts = found.groupdict()
    hour, half = int(found["hour"]), (found["half"] or "").casefold()
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    micro = int((parts.get("part") or "0").ljust(6, "0")[:6])
    try:
        return time(hour, int(parts.get("minute") or 0), int(parts.get("second") or 0), micro)
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
