"""What a command is asked for and what it comes to, whatever is scored; and how it is written to a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.cli.console import to_standard_output, writing
from upland.cli.process import STANDARD_OUTPUT, signals_held
from upland.io.casting import columns_of
from upland.io.dialect import PLAIN, Dialect
from upland.io.threads import written_behind
from upland.scoring.columns import ADDED, COUNTERFACTUAL
from upland.scoring.episodes import worst_first as worst_first

if TYPE_CHECKING:
    from upland.calibration.false_discovery import Control
    from upland.catalogue import Modality, Unit
    from upland.explanation import Reason
    from upland.io.schema import Schema
    from upland.io.source import Source

REASONS = 3
"""How many reasons are given."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
Reasons = Sequence[Sequence["Reason"]]
Write = Callable[[pa.Table], None]


@dataclass(frozen=True)
class Request:
    """What the user wants of a scoring or of a test of groups.

    Args:
        target: The file to write, by its suffix; None writes nothing.
        alpha: The false-alarm rate or the false discovery rate.
        control: `false_alarm` or `fdr`.
        why: Whether what is written has a column of reasons.
        counterfactual: Columns that may change in flagged rows so that they become normal; None seeks no such
            change.
        top: How many of the most anomalous to show.
        shown: Whether anybody sees the most anomalous; where nobody does, they are not explained.
        overwrite: Whether files may be replaced.
        replace_columns: Whether columns named like the added ones may be replaced.
    """

    target: Path | None = None
    alpha: float = 0.05
    control: Control = "false_alarm"
    why: bool = False
    counterfactual: int | None = None
    top: int = 10
    shown: bool = True
    overwrite: bool = False
    replace_columns: bool = False

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that are added to what is written."""
        changes = () if self.counterfactual is None else (COUNTERFACTUAL,)
        return (*ADDED[: 4 if self.why else 3], *changes)


@dataclass(frozen=True)
class Finding:
    """A row, an image, a sequence, an episode of steps or a group.

    Args:
        name: What the user calls it: the number of a row from 1, the name of a file, a label; None where
            there is one series alone.
        score: The anomaly score, of an episode that of its worst step; of a group the statistic.
        p_value: Likewise.
        is_anomaly: Whether it is flagged.
        reasons: The contributing columns or regions, those with the largest share first.
        details: What else the JSON document says; of an episode its start, end, peak and number of steps,
            of a group its size and what stands out in it; of a flagged row its counterfactual.
    """

    name: Any
    score: float
    p_value: float
    is_anomaly: bool
    reasons: Sequence[Reason] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What scoring data or testing groups came to.

    Args:
        modality: Of the data.
        unit: What a score or a p-value is of.
        called: What the user calls the names of the findings: `row`, `pump`, `clinic`.
        count: How many rows, images, sequences, steps or groups there are.
        flagged: How many of them are flagged.
        request: What was wanted.
        findings: The most anomalous, worst first; all groups in order of first appearance.
        details: What else the JSON document says.
    """

    modality: Modality
    unit: Unit | Literal["group"]
    called: str
    count: int
    flagged: int
    request: Request
    findings: Sequence[Finding]
    details: Mapping[str, Any]

    @property
    def carried(self) -> Sequence[str]:
        """Columns that the model does not use and that come back in the output: where a file of rows is
        written again.
        """
        found: Sequence[str] = self.details.get("extra_columns", ())
        return found if self.unit in ("row", "step") else ()

    def shown(self) -> Sequence[Finding]:
        """As many findings as are shown; of too many groups the most anomalous, worst first."""
        if len(self.findings) <= self.request.top:
            return self.findings
        return sorted(self.findings, key=lambda found: (found.p_value, -found.score))[: self.request.top]


def findings(
    names: Sequence[Any], scores: Floats, p_values: Floats, cut: float, reasons: Reasons
) -> list[Finding]:
    """One finding for each name.

    Args:
        names: What the user calls them.
        scores: Their anomaly scores.
        p_values: Their p-values.
        cut: The largest p-value that is flagged.
        reasons: Of each; or of none, where nobody sees them.
    """
    parts = zip(names, scores.tolist(), p_values.tolist(), reasons or [()] * len(names), strict=True)
    return [Finding(name, score, p, p <= cut, why) for name, score, p, why in parts]


def check_clash(path: Path, names: Sequence[str], request: Request) -> None:
    """Refuse a file whose columns are called like those that would be added to it; raises ValueError."""
    clash = [name for name in names if name in request.added]
    if clash and request.target is not None and not request.replace_columns:
        raise ValueError(
            f"{path} has columns with the names that scoring adds: {', '.join(clash)}; "
            "rename them, or say --replace-columns"
        )


def dialect_for(target: Path | None, source: Source, schema: Schema) -> Dialect:
    """How the text of what is written of a file is laid out: as the file itself, its decimal sign included.

    Args:
        target: The file to write, if any.
        source: The file that is read.
        schema: The columns of the model.
    """
    dialect = source.dialect
    if source.typed or _converted(target, source):
        return dialect._replace(decimal=".")
    forms = [column.form for column in columns_of(schema, source.names).values() if column.form is not None]
    commas = any(form.reads == "number" and form.decimal == "," for form in forms)
    return dialect._replace(decimal=",") if commas else dialect


def rows_for(target: Path | None, source: Source, schema: Schema) -> Callable[[pa.Table, pa.Table], pa.Table]:
    """A function from a batch as it stands in a file, and as the model reads it, to what is written of it: as
    it stands, or with types where the target needs them and the file has none.

    Args:
        target: The file to write, if any.
        source: The file that is read.
        schema: The columns of the model.
    """
    if not _converted(target, source):
        return lambda raw, typed: raw
    from upland.io.inference import TypedRows

    return TypedRows(source, schema).table


def _converted(target: Path | None, source: Source) -> bool:
    """Whether cells of text are written as values: into a file that has types; into a TSV, whose decimal sign
    is a point, from another file where it is a comma.
    """
    from upland.io.formats import holds_types, suffix_of

    if source.typed or target is None or target == STANDARD_OUTPUT:
        return False
    to_tabs = suffix_of(target).startswith(".tsv") and source.dialect.delimiter is not None
    return holds_types(target) or (to_tabs and source.dialect.decimal == ",")


@contextmanager
def writer(target: Path | None, overwrite: bool, dialect: Dialect = PLAIN) -> Iterator[Write | None]:
    """A function that writes into the target, which appears whole at the end; None without a target.

    Args:
        target: The file; `-` for standard output.
        overwrite: Whether it may be replaced.
        dialect: How text is laid out.
    """
    if target is None:
        yield None
    elif target == STANDARD_OUTPUT:
        yield _standard_output(dialect)
    else:
        from upland.io.formats import TableWriter

        with ExitStack() as stack:
            with writing(target), signals_held():
                made = stack.enter_context(TableWriter(target, overwrite=overwrite, dialect=dialect))

            def write(table: pa.Table) -> None:
                with writing(target):
                    made.write(table)

            if target.exists() and not target.is_file():  # a pipe may keep who writes into it waiting
                yield write
            else:
                with written_behind(write) as behind:
                    yield behind
            with writing(target):
                stack.close()


def _standard_output(dialect: Dialect) -> Write:
    """A function that writes rows to standard output, as a CSV file has them."""
    from upland.io.csv_writer import CsvSink

    sinks: list[CsvSink] = []

    def write(table: pa.Table) -> None:
        with to_standard_output():
            if not sinks:
                sinks.append(CsvSink(sys.stdout.buffer, Path("-.csv"), table.schema, dialect))
            sinks[0].write(table)
            sys.stdout.buffer.flush()

    return write
