"""Dates and times of day written as text, against Python's own calendar."""

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.io.stamps import stamp_of

MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)).map(
    lambda moment: moment.replace(microsecond=0)
)
WRITTEN = {
    "%Y-%m-%d %H:%M:%S": None,
    "%Y-%m-%dT%H:%M:%S": None,
    "%Y/%m/%d %H:%M:%S": None,
    "%d.%m.%Y %H:%M:%S": True,
    "%d/%m/%Y, %H:%M:%S": True,
    "%m-%d-%Y %H:%M:%S": False,
    "%d %b %Y %H:%M:%S": None,
    "%d-%b-%Y %H:%M:%S": None,
    "%B %d, %Y %I:%M:%S %p": None,
}


@given(MOMENTS, st.sampled_from(sorted(WRITTEN)))
def test_a_moment_that_is_written_is_read_again(moment, layout):
    stamp = stamp_of(moment.strftime(layout))
    assert stamp.moment(WRITTEN[layout]) == moment


@pytest.mark.parametrize(
    ("zone", "offset"), [("Z", 0), (" UTC", 0), ("+02:00", 2), ("-0530", -5.5), ("+05", 5), (" +0100", 1)]
)
def test_zones_count_from_utc(zone, offset):
    moment = stamp_of(f"2026-03-15 12:00:00{zone}").moment()
    there = timezone(timedelta(hours=offset))
    assert moment == datetime(2026, 3, 15, 12, tzinfo=there)
    assert moment.tzinfo is UTC


def test_parts_of_seconds_are_kept_to_the_millionth():
    assert stamp_of("2026-03-15 12:00:00.123456789").clock == time(12, 0, 0, 123456)
    assert stamp_of("12:00:00,5").clock == time(12, 0, 0, 500000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "12", "2026", "20260315", "1.3.26", "15-03-26", "25:00", "12:60", "13:00 PM"),
        *("2026-03-15 10:00 x", "15 Foo 2026", "1.2.3", "x" * 100, "2026-03/15"),
    ],
)
def test_other_text_is_no_date(text):
    assert stamp_of(text) is None


def test_a_day_of_no_calendar_is_refused_when_it_is_read():
    assert stamp_of("2026-02-28").moment().date() == date(2026, 2, 28)
    with pytest.raises(ValueError, match="day"):
        stamp_of("2026-02-30").moment()
