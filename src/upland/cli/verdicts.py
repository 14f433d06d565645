"""What scoring comes to, whatever was scored, and how it is written: the words that all kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.cli.console import writing
from upland.cli.words import reasons_text

if TYPE_CHECKING:
    from upland.calibration.false_discovery import Control
    from upland.detectors.kinds import Unit
    from upland.explanation import Reason
    from upland.io.source import Source

ADDED = ("anomaly_score", "p_value", "is_anomaly", "why")
"""The columns that scoring adds."""

REASONS = 3
"""How many reasons are given."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Seen = Callable[[int], None]


@dataclass(frozen=True)
class Asked:
    """What the user wants of a scoring.

    Args:
        target: The file to write, by its suffix; None writes nothing.
        alpha: The false-alarm or false-discovery rate.
        control: `false_alarm` or `fdr`.
        why: Whether what is written says what is to blame.
        top: How many of the strangest to tell of.
        overwrite: Whether files may be replaced.
        replace_columns: Whether columns named like the added ones may be replaced.
    """

    target: Path | None = None
    alpha: float = 0.05
    control: Control = "false_alarm"
    why: bool = False
    top: int = 10
    overwrite: bool = False
    replace_columns: bool = False


class Verdicts(NamedTuple):
    """Scores, p-values and flags of the same things in the same order, `(N,)` each."""

    scores: Floats
    p_values: Floats
    flags: Bools

    def select(self, rows: Any) -> Verdicts:
        """Those of some, by number or as a slice."""
        return Verdicts(self.scores[rows], self.p_values[rows], self.flags[rows])


@dataclass(frozen=True)
class Finding:
    """An image, a sequence or an episode that stands out.

    Args:
        name: What the user calls the image or the sequence; None where there is one series alone.
        anomaly_score: Higher is worse; of an episode that of its worst step.
        p_value: Likewise.
        is_anomaly: Whether it is flagged.
        reasons: What is to blame, worst first; of an episode at its worst step.
        start: Where an episode begins: a time stamp, or a number from 0.
        end: Its last step.
        peak: Its worst step.
        steps: How many steps it has.
    """

    name: Any
    anomaly_score: float
    p_value: float
    is_anomaly: bool
    reasons: list[Reason]
    start: Any = None
    end: Any = None
    peak: Any = None
    steps: int = 1


@dataclass(frozen=True)
class Judgement:
    """What scoring sequences or images came to.

    Args:
        unit: What the scores are of: image, sequence or step.
        count: How many there are.
        flagged: How many of them are flagged.
        strangest: Those that stand out, worst first.
        called: What the user calls the names: `pump`, `sequence`, `image`.
        extra: Columns that the detector does not use, carried through.
        sequences: In how many sequences the steps are.
        episodes: How many episodes the flagged steps make; None where scores are not of steps.
        hit: In how many sequences these are.
        maps: How many heat maps were written.
    """

    unit: Unit
    count: int
    flagged: int
    strangest: list[Finding]
    called: str
    extra: list[str] = field(default_factory=list)
    sequences: int = 0
    episodes: int | None = None
    hit: int = 0
    maps: int = 0


def verdicts_of(scores: Floats, p_values: Floats, asked: Asked) -> Verdicts:
    """With the flags at the rate asked for, all of them judged together."""
    from upland.calibration.false_discovery import benjamini_hochberg

    fdr = asked.control == "fdr"
    return Verdicts(
        scores, p_values, benjamini_hochberg(p_values, asked.alpha) if fdr else p_values <= asked.alpha
    )


def worst_first(scores: Floats, count: int) -> NDArray[np.int64]:
    """The numbers of the highest scores; of equals, the earlier one."""
    order: NDArray[np.int64] = np.argsort(-scores, kind="stable")[:count]
    return order


def with_verdicts(table: pa.Table, verdicts: Verdicts, why: Sequence[str] | None) -> pa.Table:
    """Rows with the added columns behind; columns of the same names give way."""
    added = ADDED if why is not None else ADDED[:3]
    table = table.select([name for name in table.column_names if name not in added])
    for name, values in zip(ADDED, verdicts, strict=False):
        table = table.append_column(name, pa.array(values))
    return table if why is None else table.append_column("why", pa.array(why, type=pa.string()))


def said(reasons: Sequence[Sequence[Reason]]) -> list[str]:
    """A cell of reasons for each row."""
    return [reasons_text(row) for row in reasons]


def check_clash(source: Source, asked: Asked) -> None:
    """Refuse a file whose columns are called like those that would be added to it; raises ValueError."""
    if asked.target is None or asked.replace_columns:
        return
    added = ADDED if asked.why else ADDED[:3]
    if clash := [name for name in source.names if name in added]:
        raise ValueError(
            f"{source.path} has columns with the names that scoring adds: {', '.join(clash)}; "
            "rename them, or say --replace-columns"
        )


@contextmanager
def writer(target: Path | None, overwrite: bool) -> Iterator[Callable[[pa.Table], None] | None]:
    """A function that writes into the target, which appears whole at the end; None without a target."""
    if target is None:
        yield None
        return
    from upland.io.formats import TableWriter

    with ExitStack() as stack:
        with writing(target):
            made = stack.enter_context(TableWriter(target, overwrite=overwrite))

        def write(table: pa.Table) -> None:
            with writing(target):
                made.write(table)

        yield write
        with writing(target):
            stack.close()
