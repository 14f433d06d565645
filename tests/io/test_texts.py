"""What a column of text is read as: one form, none, or a refusal that names column, cell and option."""

import pytest

from upland.io.advice import Advice
from upland.io.cells import CellOptions
from upland.io.schema import TextForm
from upland.io.texts import find_form


def form(texts, name="v", **options):
    counts, rows = {}, {}
    for row, text in enumerate(texts):
        counts[text] = counts.get(text, 0) + 1
        rows.setdefault(text, row)
    found = find_form(name, counts, rows, CellOptions(**options))
    return None if found is None else found.form


def number(decimal=".", thousands="", prefix="", suffix=""):
    return TextForm("number", decimal, thousands, prefix, suffix)


ONE_READING = {
    "percent": (["30%", "30.5%", "95 %"], number(suffix="%")),
    "per mille": (["3\u2030", "4\u2030"], number(suffix="\u2030")),
    "currency in front": (["$30", "-$4", "+$3.50", "$-2"], number(prefix="$")),
    "currency behind": (["1.000,50 \u20ac", "2,00 \u20ac"], number(",", ".", suffix="\u20ac")),
    "currency code": (["CHF 3", "CHF 40.5"], number(prefix="CHF")),
    "unit": (["30 kW", "7.5 kW"], number(suffix="kW")),
    "unit without a space": (["30kW", "7.5kW"], number(suffix="kW")),
    "unit of another kind": (["3 stars", "4 stars"], number(suffix="stars")),
    "degrees": (["21\u00b0C", "-3.5\u00b0C"], number(suffix="\u00b0C")),
    "decimal comma": (["15,5", "3,25", "7"], number(",")),
    "decimal comma below one": (["0,250", "0,125"], number(",")),
    "thousands and decimals": (["1,250.5", "999.25"], number(".", ",")),
    "thousands twice": (["1,250,000", "2,500"], number(".", ",")),
    "thousands by points": (["1.250.000", "2.500"], number(",", ".")),
    "thousands by apostrophes": (["1'250", "12'500.5"], number(".", "'")),
    "thousands by spaces": (["1 250", "12 500", "3"], number(".", " ")),
    "thousands by no-break spaces": (["1\u202f250", "12\u00a0500"], number(".", " ")),
    "no-break space": (["\u00a030", "\u00a031"], number()),
    "minus sign of Unicode": (["\u22123", "4"], number()),
    "a marker beside": (["#N/A", "3", "4"], number()),
    "negatives in brackets": (["8.5%", "(9.5%)"], number(suffix="%")),
    "minus behind": (["$30", "$4-"], number(prefix="$")),
    "thousands, and small ones without": (["1,250.5", "1500.25", "3"], number(".", ",")),
    "thousands by typographic apostrophes": (["1\u2019250.50", "3.25"], number(".", "'")),
    "true and false": (["True", "false", "TRUE"], TextForm("flag")),
    "months": (["2026-03", "2026-10"], TextForm("date")),
    "weeks": (["2026-W12", "2026-W13"], TextForm("date")),
    "named months of a year": (["Mar 2026", "October 2026"], TextForm("date")),
    "years of two digits": (["3/14/26", "4/1/26"], TextForm("date", dayfirst=False)),
    "points and two digits": (["03.03.26", "15.04.26"], TextForm("date", dayfirst=True)),
    "hours": (["9am", "10 PM"], TextForm("time")),
    "dates with points": (["15.03.2026", "01.04.2026"], TextForm("date", dayfirst=True)),
    "day first by one cell": (["15/03/2026", "01/04/2026"], TextForm("date", dayfirst=True)),
    "month first by one cell": (["3/15/2026", "4/1/2026"], TextForm("date", dayfirst=False)),
    "ISO beside NaT": (["2026-03-15", "NaT", "2026-03-16T10:00:00Z"], TextForm("date")),
    "ISO with slashes": (["2026/03/15", "2026/3/16 10:30"], TextForm("date")),
    "named months": (["15 Mar 2026", "1 April 2026"], TextForm("date")),
    "named months in front": (["Mar 15, 2026", "April 1, 2026"], TextForm("date")),
    "times of day": (["12:30", "03:15:20"], TextForm("time")),
    "times with halves": (["12:30 PM", "3:15 am"], TextForm("time")),
}


@pytest.mark.parametrize("name", ONE_READING)
def test_text_with_one_reading_is_read_so(name):
    texts, expected = ONE_READING[name]
    assert form(texts) == expected
    assert form([*texts[::-1], *texts, "", "NA"]) == expected


CATEGORIES = {
    "words": ["a", "b", "c"],
    "grades with a word": ["1", "2", "3", "other"] * 10,
    "intervals": ["18-25", "25-34"],
    "ordinals": ["1st", "2nd", "3rd"],
    "models": ["320i", "520i"],
    "sizes": ["3XL", "5XL"],
    "versions": ["1.2.3", "1.2.10"],
    "addresses": ["10.0.0.1", "10.0.0.12"],
    "codes with leading zeros": ["00501", "00502"],
    "phones": ["+49 170 1234567", "+49 171 7654321"],
    "dates among many words": ["2026-03-15", "soon", "later", "never", "or not"],
    "digits of other scripts": ["\u0661\u0662", "\u0663"],
    "nothing": ["", "NA", "NaN"],
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_text_that_is_no_numbers_has_no_form(name):
    assert form(CATEGORIES[name]) is None


DOUBTS = {
    "thousands or decimals": (["1,250", "2,500"], r"'v', row 1: '1,250' can be read as 1250 and as 1.250"),
    "day or month first": (
        ["3/4/2026", "5/6/2026"],
        r"'v', row 1: '3/4/2026' can be read with the day first",
    ),
    "plain numbers as text": (["30", "31.5"], r"'v' is text, and every text in it is a number, such as '30'"),
    "a dash": ([*"12345678", "-"], r"'v' holds numbers, but row 9 holds '-'"),
    "a question mark": ([*"12", "?", "3"], r"'v' holds numbers, but row 3 holds '\?'"),
    "a dash beside dates": (["2026-03-15", "-", "2026-03-16"], r"'v' holds dates, but row 2 holds '-'"),
    "a word, once": ([*map(str, range(60)), "error"], r"'v' holds numbers, but row 61 holds 'error'"),
    "its own name": ([*"123456789", "v"], "'v' holds numbers, but row 10 holds 'v', its own name"),
    "dates and a frequent word": (["2026-03-15", "2026-03-16", "never"] * 9, "row 3 holds 'never'"),
    "percents and a frequent word": (["17%", "unknown"] * 9, "row 2 holds 'unknown'"),
    "no day of any calendar": (["2026-03-15", "2026-02-30"], "row 2 holds '2026-02-30'"),
    "two units": (["5 kW", "500 W"], "'v' holds numbers in several units, '5 kW' and '500 W'"),
    "a unit, sometimes": (["5 kW", "500"], "'v' holds numbers in several units"),
    "points and commas": (["1.250,5", "1,250.5"], "'v' holds numbers written in several ways"),
    "two orders": (["15/03/2026", "03/15/2026"], "'v', row 2 holds '03/15/2026', where another cell"),
    "two layouts": (["2026-03-15", "15.03.2026"], "'v' holds dates written in several ways"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_text_with_two_readings_is_refused_by_column_and_cell(name):
    texts, message = DOUBTS[name]
    with pytest.raises(ValueError, match=message) as caught:
        form(texts)
    assert isinstance(caught.value.args[0], str)


DECIDED = [
    (["1,250", "2,500"], {"decimal": "."}, number(".", ",")),
    (["1,250", "2,500"], {"decimal": ","}, number(",")),
    (["1,250", "2,500"], {"thousands": ","}, number(".", ",")),
    (["1.250", "2.500"], {"decimal": ","}, number(",", ".")),
    (["3/4/2026"], {"dayfirst": True}, TextForm("date", dayfirst=True)),
    (["3/4/2026"], {"dayfirst": False}, TextForm("date", dayfirst=False)),
    (["30", "31.5"], {"decimal": "."}, number()),
    ([*"12345678", "-"], {"missing": ("-",)}, number()),
    (["2026-03-15", "?"], {"missing": ("?",)}, TextForm("date")),
    (["30%", "-999%", "-999"], {"missing": (-999,)}, number(suffix="%")),
]


@pytest.mark.parametrize(("texts", "options", "expected"), DECIDED)
def test_the_option_that_a_refusal_names_decides(texts, options, expected):
    assert form(texts, **options) == expected


def test_a_frequent_word_among_numbers_is_refused_where_the_user_says_that_they_are_numbers():
    texts = ["1", "2", "3", ">5"] * 10
    assert form(texts) is None
    with pytest.raises(ValueError, match="row 4 holds '>5'"):
        form(texts, decimal=".")


def test_an_option_that_does_not_fit_the_cells_is_refused():
    with pytest.raises(ValueError, match="written in several ways"):
        form(["1.5", "2.25"], decimal=",")
    with pytest.raises(ValueError, match="the other order"):
        form(["15/3/2026"], dayfirst=False)


@pytest.mark.parametrize("name", [name for name in DOUBTS if name != "its own name"])
def test_a_refusal_says_what_can_be_done(name):
    with pytest.raises(ValueError) as caught:
        form(DOUBTS[name][0])
    message = caught.value.args[0]
    assert isinstance(message, Advice)
    assert "categorical=['v']" in message
