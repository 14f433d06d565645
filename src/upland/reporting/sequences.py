"""Sections on sequences: which steps, or which whole sequences, are anomalous, where, and by which channels.

All are scored before. Those that are listed first, and the steps around the worst, are explained here, one
sequence after the other, so that memory holds the shares of one at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from upland.data.sequence.container import Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.reporting.alarms import AlarmsSeen
from upland.reporting.assessed import (
    CHANNELS,
    CLOSE,
    FEWEST,
    LEAST,
    Assessed,
    Explained,
    Said,
    cause_texts,
    parts_of,
)
from upland.reporting.base import Found, Settings, check_no_rows
from upland.reporting.page import Column, Part, Prose, Section, Table
from upland.reporting.phrases import clipped, flagged_text, most_of, percent
from upland.reporting.scores import ScoreCounter
from upland.reporting.steps import step_sections
from upland.reporting.strangest import columns_section
from upland.reporting.traces import Floats, Indices, Line, Positions, line_chart
from upland.scoring.episodes import worst_first

if TYPE_CHECKING:
    from upland.detectors.scoring import ScoringDetector

HALF = 0.5
"""The steps are shaded that have so much of the score together, the largest shares first."""


def found_in_sequences(detector: ScoringDetector, data: Any, settings: Settings) -> Found:
    """What a page says of sequences.

    Args:
        detector: Fitted on sequences.
        data: Sequences in any form, or the path of a file.
        settings: What is asked for.

    Raises:
        ValueError, OSError: The sequences cannot be read; groups are asked for.
    """
    encoder, reader = detector.encoder_, detector.plan_.reader
    assert isinstance(encoder, SequenceEncoder)
    check_no_rows(settings, "sequence", encoder.time)
    sequences = next(iter(reader.pieces(data, encoder)))
    assert isinstance(sequences, Sequences)
    (scores, p_values), values, segments, unit = detector.assess_members(sequences)
    blocks, block_p_values = detector.blocks_, None
    if unit == "step":
        rows = sequences.row_numbers
        block_p_values = None if blocks is None else blocks.p_values(values)
        scores, p_values = scores.reshape(-1)[rows], p_values.reshape(-1)[rows]
    counter = ScoreCounter(detector, settings, unit)
    counter.see(scores, p_values, values, segments)
    found = Assessed(
        detector,
        sequences,
        scores,
        p_values,
        settings.alpha,
        counter.threshold,
        settings.top,
        block_p_values,
    )
    summary, sections = step_sections(found) if unit == "step" else _whole_sections(found)
    sections = [*sections, counter.section(dependent=unit == "step")]
    alarms = AlarmsSeen(detector, unit, unit == "step")
    alarms.see(p_values, *((sequences.stamps, found.owners) if unit == "step" else ()))
    return alarms.beside(Found(unit, scores.size, int(found.flags.sum()), summary, sections))


def _whole_sections(found: Assessed) -> Said:
    flagged = int(found.flags.sum())
    listed = worst_first(found.scores, min(max(flagged, FEWEST), found.top)).tolist()
    explained = {number: _whole(found, number) for number in listed}
    first = [number for number in explained if found.flags[number]] or listed[:1]
    sections = [_listed(found, listed, explained, flagged), _closely(found, first[:CLOSE], explained)]
    if flagged:
        worst = most_of(len(first), "sequence")
        parts = [parts_of(np.maximum(explained[number].shares, 0).sum(axis=0)) for number in first]
        sections.append(columns_section(found.channels, np.mean(parts, axis=0), worst))
        sections += _along(found, first, explained)
    return _summary(found, flagged, listed[0], explained), sections


def _whole(found: Assessed, number: int) -> Explained:
    return found.explain(number, np.arange(int(found.sequences.lengths[number])))


def _summary(found: Assessed, flagged: int, worst: int, explained: dict[int, Explained]) -> list[str]:
    total = found.scores.size
    sentences = [flagged_text(flagged, total, "sequence", found.cut)]
    if not flagged:
        return sentences
    for step, channel, part in _largest(explained[worst], 1):
        cause = explained[worst].cause(step, channel, part)
        sentences.append(
            f"The worst: {found.title(worst)}, where {clipped(cause.channel)} at {found.word(worst, step)} "
            f"contributes most ({percent(part)}): {cause.sentence}."
        )
    return sentences


def _largest(explained: Explained, count: int) -> list[tuple[int, int, float]]:
    """Steps and channels with the largest parts of a sequence's score: step, channel, part."""
    parts = parts_of(explained.shares)
    order = np.argsort(-parts, axis=None, kind="stable")[:count]
    places = zip(*(part.tolist() for part in np.unravel_index(order, parts.shape)), strict=True)
    found = [(step, channel, float(parts[step, channel])) for step, channel in places]
    return [one for rank, one in enumerate(found) if one[2] >= (LEAST if rank else np.finfo(float).tiny)]


def _listed(found: Assessed, listed: list[int], explained: dict[int, Explained], flagged: int) -> Section:
    columns = [Column(found.called), Column("contributes most"), Column("steps", "number")]
    columns += [Column("score", "number"), Column("p-value", "p_value"), Column("flagged")]
    rows = []
    for number in listed:
        causes = []
        for step, channel, part in _largest(explained[number], CHANNELS):
            cause = explained[number].cause(step, channel, part)
            causes.append(cause._replace(channel=f"{cause.channel} at {found.word(number, step)}"))
        row: list[Any] = [found.name(number), cause_texts(causes), int(found.sequences.lengths[number])]
        row += [float(found.scores[number]), float(found.p_values[number])]
        rows.append([*row, "yes" if found.flags[number] else "no"])
    words = "The sequences with the highest scores, worst first, and where in them most of the score arises."
    total = found.scores.size
    note = f"The {len(rows)} worst of {total:,} sequences." if total > len(rows) else ""
    return Section("Sequences", [Prose([words]), Table(columns, rows, note)])


def _closely(found: Assessed, numbers: list[int], explained: dict[int, Explained]) -> Section:
    """The worst sequences with what was expected."""
    words = (
        "Solid is what was observed, dashed what the model expected. The steps are shaded that together have "
        "half of the sequence's score."
    )
    parts: list[Part] = [Prose([words])]
    for number in numbers:
        one = explained[number]
        marked = _shaded(one.shares.sum(axis=1))
        by_channel = parts_of(np.maximum(one.shares, 0).sum(axis=0))
        for rank, channel in enumerate(np.argsort(-by_channel, kind="stable")[: CHANNELS - 1].tolist()):
            if rank and by_channel[channel] < LEAST:
                break
            name = found.channels[channel]
            lines = [Line(one.values[name]), Line(one.expected[name], dashed=True)]
            said = (
                f"{clipped(name)} contributes {percent(by_channel[channel])} to the score of this sequence."
            )
            title = f"{found.prefix(number)}{clipped(name)}"
            parts.append(line_chart(title, said, found.where(number), lines, marked))
    return Section("The worst in detail", parts)


def _shaded(shares: Floats) -> tuple[Indices, Indices]:
    """First and last step of each stretch of the steps with the largest shares, half of the score in all."""
    parts = parts_of(shares)
    order = np.argsort(-parts, kind="stable")
    needed = int(np.searchsorted(np.cumsum(parts[order]), HALF)) + 1
    steps = np.sort(order[:needed]) if parts.any() else order[:0]
    if not steps.size:
        return steps, steps
    parted = np.flatnonzero(np.diff(steps) > 1)
    return steps[np.r_[0, parted + 1]], steps[np.r_[parted, steps.size - 1]]


def _along(found: Assessed, numbers: list[int], explained: dict[int, Explained]) -> list[Section]:
    """Where along the sequences the score arises, if all have the same number of steps."""
    lengths = {int(found.sequences.lengths[number]) for number in numbers}
    if len(lengths) > 1 or lengths == {1}:
        return []
    parts = np.mean([parts_of(explained[number].shares.sum(axis=1)) for number in numbers], axis=0)
    top = int(parts.argmax())
    title = f"Part of each step in the score of {most_of(len(numbers), 'sequence')}"
    where = Positions("step", np.arange(parts.size, dtype=np.float64), "step")
    none = np.empty(0, dtype=np.int64)
    said = f"Step {top} has the largest part, {percent(parts[top])}."
    return [Section("Steps that contribute", [line_chart(title, said, where, [Line(parts)], (none, none))])]
