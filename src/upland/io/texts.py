"""Text that is numbers, dates or times of day: how a column of it is read, found from all its distinct cells.

A column has one `TextForm` or none. Where its cells allow two (`1,250` is 1250 or 1.25; `3/4/2026` is in
March or in April) the user decides; nothing is guessed. Text without a form is categories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from upland.io.advice import Advice, Argument, Wording
from upland.io.cells import GROUPS, SIGNS, CellOptions, as_number
from upland.io.schema import TextForm
from upland.io.stamps import Stamp, stamp_of

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Spellings of a missing cell."""

MARKERS = (
    *("n/a", "#N/A", "#NA", "#N/A N/A", "na", "NaT", "nat", "<NA>", "<na>", "none", "Null", "-nan", "-NaN"),
    *("#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"),
)
"""Text that can only be a missing cell where all else is numbers or dates."""

DOUBTFUL = (
    *("-", "--", "---", "\u2013", "\u2014", "?", "??", ".", "..", "*", "x", "X"),
    *("unknown", "Unknown", "missing", "Missing"),
)
"""Text that may stand for a missing cell among numbers or dates, or for something else."""

STRAY_SHARE = 0.05
"""Text among numbers or dates that is rarer than this is a mistake, not a category."""

READ_SHARE = 0.3
"""Dates, or numbers with units, that are more than this are meant as such."""

FLAGS = ("true", "false")

_SPACES = re.compile("[\u00a0\u2007\u2009\u202f]")
_MINUS = re.compile("[\u2212\u2012\u2013]")
NEGATIVE = r"\(([^()+-]*[0-9][^()]*)\)|([^()+-]*[0-9])-"
"""A number in brackets or before its minus, as accounts are written."""
_NEGATIVE = re.compile(NEGATIVE)
_CURRENCY = (
    r"(?:[$\u00a2-\u00a5\u20a0-\u20bf]|USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CAD|AUD|US\$|Rs\.?|kr\.?)"
)
_UNIT = r"[A-Za-z\u00b5\u03bc\u03a9\u00b0%\u2030\u00b2\u00b3\"'/\u00b7^]{1,12}\d?"
_DIGITS = r"[0-9](?:[0-9.,'_ ]*[0-9.,])?|[.,][0-9]+"
_NUMBER = re.compile(
    rf"(?P<before>[+-]?)(?P<prefix>{_CURRENCY})? ?(?P<sign>[+-]?)(?P<body>{_DIGITS})"
    rf"(?P<power>[eE][+-]?[0-9]+)?(?P<gap> ?)(?P<suffix>%|\u2030|{_CURRENCY}|{_UNIT})?"
)
_SYMBOLS = """
% \u2030 \u00b0 \u00b0C \u00b0F C F K W kW MW GW Wh kWh MWh GWh V mV kV A mA kA Ah mAh Hz kHz MHz GHz J kJ MJ
N kN Nm Pa kPa MPa hPa bar mbar psi m mm cm km um \u00b5m \u03bcm nm in ft yd mi s ms us ns min h d
g mg kg t lb oz l L ml mL dl m2 m3 m\u00b2 m\u00b3 cm2 cm3 mm2 mm3 m/s km/h mph rpm kg/m3 l/min L/min
ppm ppb dB dBm lx lm mol B kB KB MB GB TB KiB MiB GiB bit px \u03a9 k\u03a9 M\u03a9 Ohm ohm
"""
_JOINED_UNITS = frozenset(_SYMBOLS.split())
"""Units that may follow a number without a space."""


@dataclass(frozen=True)
class Found:
    """How a column of text is read.

    Args:
        form: As numbers, dates or times.
        example: A cell of it, for the message.
    """

    form: TextForm
    example: str


class _Parts(NamedTuple):
    prefix: str
    suffix: str
    body: str
    plain: bool


def find_form(
    name: str, counts: Mapping[str, int], rows: Mapping[str, int], cells: CellOptions, plain: bool = False
) -> Found | None:
    """The form of a column of text; None for categories.

    Args:
        name: Of the column, for messages.
        counts: How many rows hold each text.
        rows: The first row of each, counted from 0.
        cells: What the user says of cells.
        plain: Whether no cell may be missing and the column cannot be a category, as one of time stamps.

    Raises:
        ValueError: For cells that can be read in two ways, and for a few cells of text among numbers or
            dates; the column, the cell and what decides are named.
    """
    blank = {*NULLS, *cells.missing_texts}
    texts = [text for text in counts if clean(text) not in blank]
    present = [text for text in texts if clean(text) not in MARKERS]
    if not present or not _may_have_form(present):
        return None
    if all(clean(text).casefold() in FLAGS for text in present):
        return Found(TextForm("flag"), min(present, key=lambda text: rows[text]))
    dated = {text: stamp for text in present if (stamp := stamp_of(clean(text))) is not None and stamp.exists}
    numbers = {text: parts for text in present if text not in dated and (parts := _parts(text)) is not None}
    read: Mapping[str, object] = dated if len(dated) >= len(numbers) else numbers
    strays = [text for text in present if text not in read]
    said = cells.decimal is not None or cells.thousands is not None or bool(cells.missing)
    if strays and not _refuse_strays(name, counts, rows, strays, read, said, plain):
        return None
    first = min(read, key=lambda text: rows[text])
    if read is dated:
        return Found(_date_form(name, dated, rows, cells, plain), first)
    marked = len(present) < len(counts) and (bool(cells.missing) or len(present) < len(texts))
    form = _number_form(name, numbers, rows, cells, marked)
    return None if form is None else Found(form, first)


def clean(text: str) -> str:
    """A cell without spaces around it, with usual spaces and minus signs inside."""
    if text.isascii():
        return text.strip()
    return _MINUS.sub("-", _SPACES.sub(" ", text).strip()).replace("\u2019", "'")


def signed(text: str) -> str:
    """A number with its minus in front: `(30)` and `30-` are -30."""
    found = _NEGATIVE.fullmatch(text)
    return text if found is None else f"-{found[1] or found[2]}"


def _may_have_form(texts: Sequence[str], most: int = 200) -> bool:
    """Whether at least half of some texts are numbers or dates; long lists are not read for nothing."""
    some = texts[:: max(1, len(texts) // most)]
    read = sum(
        clean(text).casefold() in FLAGS or stamp_of(clean(text)) is not None or _parts(text) is not None
        for text in some
    )
    return read >= READ_SHARE * len(some)


def _refuse_strays(
    name: str,
    counts: Mapping[str, int],
    rows: Mapping[str, int],
    strays: Sequence[str],
    read: Mapping[str, object],
    said: bool,
    plain: bool,
) -> bool:
    """Raise for text among numbers or dates that is a mistake or a doubtful marker; False for categories."""
    n_read, n_strays = sum(counts[text] for text in read), sum(counts[text] for text in strays)
    first = min(strays, key=lambda text: rows[text])
    what = "numbers" if isinstance(next(iter(read.values())), _Parts) else "dates"
    total = n_read + n_strays
    if what == "dates" or not all(isinstance(parts, _Parts) and parts.plain for parts in read.values()):
        meant = n_read >= READ_SHARE * total  # no category is called 30% or 2026-03-15
    else:
        doubtful = all(clean(text) in DOUBTFUL for text in strays) or name in strays or said
        meant = n_read > n_strays and (doubtful or n_strays < STRAY_SHARE * total or len(read) > 10)
    if not meant:
        return False
    held = f"column {name!r} holds {what}, but row {rows[first] + 1} holds {first!r}"
    if first == name:
        raise ValueError(f"{held}, its own name: a line of names stands among the rows, take it out")
    if plain:
        raise ValueError(Advice(f"{held}: correct that cell, or take out its row"))
    raise ValueError(
        Advice(
            f"{held}: correct that cell or leave it empty; ",
            Argument("missing", [first]),
            " reads it as a missing cell; if the column is a category, make all of it text and name it, ",
            Argument("categorical", [name]),
        )
    )


# -- numbers -------------------------------------------------------------------------------------------------


def _parts(text: str) -> _Parts | None:
    """What stands before and behind a number, and its digits; None for other text."""
    trimmed = signed(clean(text))
    found = _NUMBER.fullmatch(trimmed)
    if found is None or (found["before"] and found["sign"]):
        return None
    suffix = found["suffix"] or ""
    if suffix and not found["gap"] and suffix not in _JOINED_UNITS and not re.fullmatch(_CURRENCY, suffix):
        return None
    body = found["body"]
    if not any(number_pattern(sign, group).fullmatch(body) for sign, group in _readings()):
        return None
    plain = (
        trimmed == text.strip(" \t") and not (found["prefix"] or suffix) and as_number(trimmed) is not None
    )
    return _Parts(found["prefix"] or "", suffix, body, plain and "_" not in text)


def _readings(cells: CellOptions | None = None) -> list[tuple[str, str]]:
    """Decimal signs with what parts thousands, the usual ones first."""
    pairs = [(sign, group) for sign in SIGNS for group in ("", *GROUPS) if sign != group]
    if cells is None:
        return pairs
    return [
        (sign, group)
        for sign, group in pairs
        if cells.decimal in (None, sign)
        and sign != cells.thousands
        and (cells.thousands is None or group in ("", cells.thousands))
    ]


def number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    """Digits of a number in which these signs part decimals and thousands."""
    sign, whole = re.escape(decimal), "[0-9]+"
    if thousands:
        whole = rf"(?:[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+)"
    return re.compile(rf"(?:{whole}(?:{sign}[0-9]*)?|{sign}[0-9]+)")


def _number_form(
    name: str,
    numbers: Mapping[str, _Parts],
    rows: Mapping[str, int],
    cells: CellOptions,
    marked: bool,
) -> TextForm | None:
    """The form of numbers; None for codes with leading zeros."""
    first = min(numbers, key=lambda text: rows[text])
    around = {(parts.prefix, parts.suffix) for parts in numbers.values()}
    if len(around) > 1:
        other = next(t for t in numbers if numbers[t][:2] != numbers[first][:2])
        raise ValueError(
            _or_category(
                name,
                f"column {name!r} holds numbers in several units, {first!r} and {other!r}: bring them to one",
            )
        )
    if all(parts.plain for parts in numbers.values()):
        if any(re.match(r"[+-]?0\d", clean(text)) for text in numbers):
            return None
        if cells.decimal is None and not marked:
            raise ValueError(_plain_numbers(name, first, rows[first]))
    prefix, suffix = around.pop()
    bodies = {parts.body for parts in numbers.values()}
    decimal, thousands = _signs(name, first, bodies, numbers, rows, cells)
    return TextForm("number", decimal, thousands, prefix, suffix)


def _signs(
    name: str,
    first: str,
    bodies: Iterable[str],
    numbers: Mapping[str, _Parts],
    rows: Mapping[str, int],
    cells: CellOptions,
) -> tuple[str, str]:
    """The decimal sign and what parts thousands; raises ValueError where no pair or two pairs fit."""
    used = {sign for body in bodies for sign in body if not sign.isdigit()}
    fitting = []
    for decimal, thousands in _readings(cells):
        pattern = number_pattern(decimal, thousands)
        needed = not thousands or thousands in used
        if needed and used <= {decimal, thousands} and all(pattern.fullmatch(body) for body in bodies):
            fitting.append((decimal, thousands))
    if not fitting:
        raise ValueError(
            _or_category(
                name,
                Advice(
                    f"column {name!r} holds numbers written in several ways, such as {first!r}, or not as ",
                    Argument("decimal"),
                    " and ",
                    Argument("thousands"),
                    " say: write them alike",
                ),
            )
        )
    usual = [pair for pair in fitting if pair in ((".", ""), *[(".", group) for group in " '_"])]
    if usual or len(fitting) == 1:
        return (usual or fitting)[0]
    if {decimal for decimal, _ in fitting} == {","}:
        return fitting[0]
    cell = next(text for text in sorted(numbers, key=lambda text: rows[text]) if "," in numbers[text].body)
    digits = numbers[cell].body
    raise ValueError(
        Advice(
            f"column {name!r}, row {rows[cell] + 1}: {cell!r} can be read as {digits.replace(',', '')} "
            f"and as {digits.replace(',', '.')}: say which, ",
            Argument("decimal", "."),
            " or ",
            Argument("decimal", ","),
            "; or ",
            Argument("categorical", [name]),
            " if these are categories",
        )
    )


def _plain_numbers(name: str, cell: str, row: int) -> Advice:
    convert = Wording(f"convert it (pandas.to_numeric(X[{name!r}])), or say ", "say ")
    return Advice(
        f"column {name!r} is text, and every text in it is a number, such as {cell!r} in row {row + 1}: ",
        convert,
        Argument("decimal", "."),
        " to read numbers; or ",
        Argument("categorical", [name]),
        " if these are categories",
    )


def _or_category(name: str, text: str, plain: bool = False) -> Advice:
    return Advice(
        text, *(() if plain else ("; or ", Argument("categorical", [name]), " uses them as categories"))
    )


# -- dates ---------------------------------------------------------------------------------------------------


def _date_form(
    name: str, dated: Mapping[str, Stamp], rows: Mapping[str, int], cells: CellOptions, plain: bool
) -> TextForm:
    """The form of dates or of times of day."""
    first = min(dated, key=lambda text: rows[text])
    stamps = dated.values()
    if len({stamp.layout for stamp in stamps}) > 1:
        other = next(text for text in dated if dated[text].layout != dated[first].layout)
        raise ValueError(
            _or_category(
                name,
                f"column {name!r} holds dates written in several ways, {first!r} and {other!r}: "
                "write them alike",
                plain,
            )
        )
    layout = next(iter(stamps)).layout
    if layout == "time":
        return TextForm("time")
    if layout != "numbers":
        return TextForm("date")
    days = any(stamp.first > 12 for stamp in stamps)
    months = any(stamp.second > 12 for stamp in stamps)
    dotted = all(stamp.dotted for stamp in stamps)
    if (days and months) or (cells.dayfirst is True and months) or (cells.dayfirst is False and days):
        days_first = cells.dayfirst is False and days
        cell = next(t for t in dated if (dated[t].first if days_first else dated[t].second) > 12)
        raise ValueError(
            _or_category(
                name,
                f"column {name!r}, row {rows[cell] + 1} holds {cell!r}, where another cell or "
                "dayfirst says that day and month stand in the other order: write dates alike",
                plain,
            )
        )
    if days or months or cells.dayfirst is not None or dotted:
        return TextForm("date", dayfirst=days or (not months and (cells.dayfirst is not False)))
    raise ValueError(
        Advice(
            f"column {name!r}, row {rows[first] + 1}: {first!r} can be read with the day first "
            "or with the month first: say which, ",
            Wording("dayfirst=True", "--dayfirst"),
            " or ",
            Wording("dayfirst=False", "--monthfirst"),
            *(() if plain else ("; or ", Argument("categorical", [name]), " if these are categories")),
        )
    )
