"""What alarms look like: tables and sentences for a person, one document for a program."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upland.calibration.conformal import size_for
from upland.cli.console import grid
from upland.cli.words import counted, json_value, span_text
from upland.scoring.alarm_history import Alarms
from upland.scoring.alarms import CONFIDENCE, Level
from upland.scoring.budget import Budget
from upland.scoring.words import label_text

if TYPE_CHECKING:
    from rich.console import Console

LINES = 14
"""Levels of the table; a file has all."""


def show(
    screen: Console,
    found: Alarms,
    level: Level,
    budget: Budget | None,
    top: int,
    places: Mapping[str, str | None],
) -> None:
    """Print the levels, the alarms of one and what was chosen."""
    screen.print(_levels_table(found, level))
    screen.print(_note(found), style="dim")
    episodes, whole = found.episodes(level)
    if episodes:
        screen.print(_episodes_table(found, episodes[:top]))
        shown = min(top, len(episodes))
        alpha = shown_level(level.alpha)
        text = f"the {shown:,} of {level.alarms:,} alarms at alpha {alpha} with the smallest p-values"
        screen.print(
            text if whole else f"{text}, of the {found.strongest.p_values.size:,} strongest rows", style="dim"
        )
    for line in sentences(found, level, budget):
        screen.print(line, soft_wrap=True)
    if places["output"] is not None:
        screen.print(f"wrote {places['output']}", soft_wrap=True)
    if places["model"] is not None:
        screen.print(f"wrote {places['model']}: its alpha is {shown_level(level.alpha)}", soft_wrap=True)


def _levels_table(found: Alarms, level: Level) -> Any:
    unit, lines = found.unit, []
    for one in sorted({*found.levels(most=LINES), level}):
        by_fdr = found.at(one.alpha, "fdr")
        mark = "*" if one.alpha == level.alpha else " "
        interval = f"{_number(one.low, 2)}-{_number(one.high, 2)}"
        rates = [_number(one.rate), interval, f"{one.flagged:,}", _number(one.alpha * found.rows)]
        of_fdr = [_number(by_fdr.rate), f"{by_fdr.flagged:,}"]
        lines.append([f"{shown_level(one.alpha, 3)}{mark}", *rates, *of_fdr])
    rate = f"alarms\na {found.per}" if found.rates.seconds else f"alarms per\n{found.per}"
    headings = ["alpha", rate, f"{CONFIDENCE:.0%}", f"{unit}s\nflagged", f"false\n{found.bound}"]
    headings += ["by FDR:\nalarms", f"{unit}s\nflagged "]
    return grid(headings, lines, right=headings)


def shown_level(alpha: float, digits: int = 4) -> str:
    """A level to so many digits, rounded up: each is a p-value itself, and flags it only from there on.

    Args:
        alpha: The level.
        digits: How many.

    Examples:
        >>> shown_level(0.00826446), shown_level(0.05), shown_level(0.107438, 3)
        ('0.008265', '0.05', '0.108')
    """
    with decimal.localcontext(prec=digits, rounding=decimal.ROUND_CEILING):
        return f"{float(+decimal.Decimal(repr(alpha))):.{digits}g}"


def _number(value: float, digits: int = 3) -> str:
    """A number to so many digits, but whole ones with all of theirs."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def _note(found: Alarms) -> str:
    time = f" in {found.rates.seconds / 86_400:.4g} days" if found.rates.seconds else ""
    return (
        f"{counted(found.rows, found.unit)}{time}; {found.rule}; false {found.bound}: flagged {found.unit}s, "
        "on average if all are normal; by FDR: alpha is the expected share of flags that are false"
    )


def _episodes_table(found: Alarms, episodes: Any) -> Any:
    named = any(one.series is not None for one in episodes)
    when = found.kind != "order"
    headings = [
        *(["series"] if named else []),
        *(["when"] if when else []),
        "first",
        found.unit + "s",
        "p-value",
    ]
    lines = []
    for one in episodes:
        cells = [label_text(one.series)] if named else []
        cells += [span_text(one.start, one.end)] if when else []
        lines.append([*cells, f"{one.first + 1:,}", f"{one.rows:,}", f"{one.p_value:.3g}"])
    return grid(headings, lines, right=headings[-3:])


def sentences(found: Alarms, level: Level, budget: Budget | None) -> list[str]:
    """What a level comes to, in words; with a budget how it was chosen."""
    unit, per = found.unit, found.per
    a = f"a {per}" if found.rates.seconds else f"per {per}"
    false = level.alpha * found.rows_per
    ends = f"between {_number(level.low)} and {_number(level.high)}"
    lines = [
        f"at alpha {shown_level(level.alpha)}: {counted(level.alarms, 'alarm')} "
        f"({_number(level.rate)} {a}, {ends}), {level.flagged:,} of {counted(found.rows, unit)} flagged"
    ]
    falsely = "falsely flagged steps" if unit == "step" else "false alarms"
    lines.append(
        f"{falsely}: {found.bound} {_number(false)} {a} on average "
        f"(alpha times {found.rows_per:,.4g} {unit}s); p-values are {found.guarantee}"
    )
    by_blocks = found.false_alarms(level.alpha)
    if by_blocks is not None and found.blocks is not None:
        size = f"{found.blocks.count:,} held-out blocks of {found.blocks.length:,} {unit}s"
        text = f"false alarms by {size}: about {_number(by_blocks)} {a} on average, where those at most a "
        lines.append(f"{text}block apart count once")
        lines += found.blocks.doubts(found.blocks.rate(level.alpha, found.steps) if found.steps else 1.0)
    if budget is None:
        return lines
    allowed, takes = budget.on(found.rates) / found.rates.exposure, size_for(level.alpha)
    keeps = "within" if false <= allowed else "more than"
    lines += [
        f"the budget {budget.said!r} allows {allowed:,.4g} {a}: the history keeps it, and the "
        f"{falsely} by alpha are {keeps} that",
        f"alpha {shown_level(level.alpha)} takes {counted(takes, f'calibration {unit}')}; the model has "
        f"{found.calibration:,}",
    ]
    lines.append("chosen on this history, it is an estimate: " + _held_out(found, budget, a))
    return lines


def _held_out(found: Alarms, budget: Budget, a: str) -> str:
    pair = found.held_out(budget)
    if pair is None:
        return "no level of the earlier half could be tried on the later half"
    chosen, later = pair
    return (
        f"the earlier half alone would choose alpha {shown_level(chosen.alpha)} ({chosen.rate:.3g} {a}), "
        f"which gives {later.rate:.3g} {a} on the later half (between {later.low:.3g} and {later.high:.3g})"
    )


def document(found: Alarms, level: Level, budget: Budget | None, top: int) -> dict[str, Any]:
    """The same as plain data."""
    episodes, whole = found.episodes(level)
    made: dict[str, Any] = {
        "unit": found.unit,
        f"{found.unit}s": found.rows,
        "days": found.rates.seconds / 86_400 if found.rates.seconds else None,
        "per": found.per,
        "rule": found.rule,
        "guarantee": found.guarantee,
        "calibration": found.calibration,
        "untimed": found.untimed,
        "late": found.late,
        "alpha": level.alpha,
        "takes": size_for(level.alpha),
        "chosen": level._asdict(),
        "guaranteed_false": level.alpha * found.rows_per,
        "false_alarms_by_blocks": found.false_alarms(level.alpha),
        "levels": [one._asdict() for one in [*found.levels(), *found.levels("fdr")]],
        "alarms": [
            {name: json_value(value) for name, value in one._asdict().items()}
            | {"first": one.first + 1, "peak": one.peak + 1}
            for one in episodes[:top]
        ],
        "complete": whole,
    }
    if budget is not None:
        pair = found.held_out(budget)
        made["budget"] = {
            "said": budget.said,
            "allowed": budget.on(found.rates) / found.rates.exposure,
            "held_out": None if pair is None else [one._asdict() for one in pair],
        }
    return made
