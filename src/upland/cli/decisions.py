"""How decisions of a watch are printed: a line for a batch, a sentence for an alarm; or lines of JSON."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

from upland.cli.console import Reporter, say, shown, to_standard_output
from upland.scoring.escapes import escaped

if TYPE_CHECKING:
    from upland.watch.decision import Alarm, Decision

REMEMBERED = 1_000
"""Warnings that are remembered, so that each is said once."""


class Lines(Reporter):
    """Prints what a watch has to say, as long as it runs.

    Args:
        as_json: Whether each line is a JSON document.
        quiet: Whether only alarms and warnings are printed.
        data: What messages call the data.
    """

    def warn(self, text: str) -> None:
        """Say once what deserves attention: a yellow line on standard error, or a JSON document."""
        text = shown(text, self.data)
        if text in self.warnings:
            return
        self.warnings = [*self.warnings[-REMEMBERED:], text]
        if self.as_json:
            self.line({"status": "warning", "reason": text})
        else:
            say(f"warning: {text}", "yellow")

    def line(self, content: dict[str, Any] | str) -> None:
        """Print one line on standard output, at once."""
        text = content if isinstance(content, str) else json.dumps(content, allow_nan=False)
        with to_standard_output():
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def decision(self, found: Decision) -> None:
        """Print what was decided of a batch that was taken."""
        if self.as_json:
            self.line(found.to_json())
            return
        if not self.quiet:
            self.line(batch_line(found))
        for alarm in found.alarms:
            self.line(alarm_line(alarm))

    def other(self, kind: str, name: str, reason: str, found: Decision | None) -> None:
        """Print what became of a file that was not taken.

        Args:
            kind: `known`, `refused` or `later`.
            name: Of the file.
            reason: Why, in a sentence.
            found: What was decided, if anything.
        """
        if self.as_json:
            plain = {"status": kind, "name": name, "reason": reason}
            self.line(plain if found is None else found.to_json() | plain)
        elif kind == "refused":
            say(f"warning: {name} is refused: {reason}", "yellow")
        else:
            self.note(f"{name} is not taken{' now' if kind == 'later' else ''}: {reason}")


def batch_line(found: Decision) -> str:
    """Number, name, rows, flagged rows, evidence and advice of a batch, in one line."""
    parts = [f"{found.batch or '-':>5}", escaped(found.name or "-", lines=False)]
    parts += [f"{found.rows} row{'' if found.rows == 1 else 's'}", f"{found.flagged} flagged"]
    if found.evidence is not None:
        parts.append(f"evidence {as_number(found.evidence.log_martingale)}")
    if off := [verdict.group for verdict in found.groups if verdict.flag]:
        parts.append(f"off: {escaped(', '.join(off[:3]), lines=False)}{', ...' if off[3:] else ''}")
    if found.late:
        parts.append(f"{found.late} too late for any test")
    return "  ".join([*parts, found.action])


def alarm_line(alarm: Alarm) -> str:
    """An alarm as a sentence."""
    return f"ALARM {alarm.alarm} ({alarm.kind}): {escaped(alarm.text, lines=False)}"


def as_number(log_value: float) -> str:
    """A number of which the natural logarithm is given, however large.

    Examples:
        >>> as_number(0.0), as_number(2000.0)
        ('1', '3.88e+868')
    """
    if math.isinf(log_value):
        return "0" if log_value < 0 else "inf"
    tens = log_value / math.log(10)
    return (
        f"{math.exp(log_value):.3g}" if abs(tens) < 300 else f"{10 ** (tens % 1):.3g}e{math.floor(tens):+d}"
    )
