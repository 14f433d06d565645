"""Sections on the steps of long series: episodes of flagged steps, the worst closely, and whole series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from upland.calibration.block_calibration import BlockCalibration
from upland.reporting.assessed import (
    CHANNELS,
    CLOSE,
    FEWEST,
    Assessed,
    Explained,
    Said,
    cause_texts,
)
from upland.reporting.page import Chart, Column, Part, Prose, Section, Table
from upland.reporting.phrases import clipped, counted, flagged_text, most_of, percent
from upland.reporting.strangest import columns_section
from upland.reporting.traces import Floats, Indices, Line, line_chart, missing_share
from upland.scoring.episode_list import block_p_values_of, channels_of, found_in, kind_at
from upland.scoring.episodes import NEAR, Episodes, most_anomalous
from upland.scoring.words import cell_text

AROUND = 60
"""Steps before and behind an episode that are drawn with it, or its length where that is more."""

DRAWN = 4
"""Series that are drawn whole."""


COMPARED = 200
"""Series in the table that compares them."""


class Episode(NamedTuple):
    """An episode in its series.

    Args:
        series: The number of the series.
        first: Its first step in the series.
        last: Its last.
        peak: The step with the highest score.
        step: The same among the steps of all series.
        flagged: Whether its steps are flagged.
        p_value: Of the episode; None where the model has no calibration of blocks.
    """

    series: int
    first: int
    last: int
    peak: int
    step: int
    flagged: bool
    p_value: float | None


@dataclass(frozen=True, eq=False)
class Steps:
    """The episodes of some series.

    Args:
        found: The series.
        all: All episodes of flagged steps, in the order of the steps.
        worst: Those that are listed, worst first.
        explained: By series, the steps that were explained.
    """

    found: Assessed
    all: Episodes
    worst: list[Episode]
    explained: dict[int, Explained]

    def first(self, count: int) -> list[Episode]:
        """The first of those listed, of flagged steps where there are any."""
        flagged = [episode for episode in self.worst[:count] if episode.flagged]
        return flagged or self.worst[:1]

    def span(self, episode: Episode) -> str:
        """From when to when an episode is."""
        first, last = (self.found.word(episode.series, step) for step in (episode.first, episode.last))
        return first if episode.first == episode.last else f"{first} to {last}"

    def ranked(self, series: int | None = None) -> Floats:
        """`(C,)` the mean part of each channel at the worst steps of the explained episodes."""
        kept = [one for one in self.first(self.found.top) if series is None or one.series == series]
        parts = [self.explained[one.series].parts(one.peak) for one in kept]
        return np.mean(parts, axis=0) if parts else np.zeros(len(self.found.channels))


def step_sections(found: Assessed) -> Said:
    """What a page says of series whose steps are scored.

    Args:
        found: The series.
    """
    steps = _read(found)
    sections = [_episodes(steps), _closely(steps)]
    if steps.all.peaks.size:
        worst = most_of(len(steps.first(found.top)), "episode")
        sections.append(columns_section(found.channels, steps.ranked(), worst))
    if found.sequences.n_sequences > 1:
        sections.append(_compared(steps))
    sections += [_series(steps, number) for number in _drawn(steps)]
    return _summary(steps), sections


def _read(found: Assessed) -> Steps:
    episodes = found_in(found.steps, found.owners, found.cut, found.detector.blocks_, found.cut)
    count = min(max(episodes.peaks.size, FEWEST), found.top)
    listed = most_anomalous(episodes, found.owners, found.scores, count)
    worst = []
    p_values = block_p_values_of(listed, found.steps)
    for first, last, peak, p_value in zip(*(part.tolist() for part in listed), p_values, strict=True):
        series = int(found.owners[first])
        began = int(found.sequences.starts[series])
        flagged = bool(found.flags[peak])
        worst.append(Episode(series, first - began, last - began, peak - began, peak, flagged, p_value))
    wanted: dict[int, list[Indices]] = {}
    for rank, episode in enumerate(worst):
        wanted.setdefault(episode.series, []).append(np.arange(episode.first, episode.last + 1))
        if rank < CLOSE:
            wanted[episode.series].append(_window(found, episode))
    explained = {
        series: found.explain(series, np.unique(np.concatenate(parts))) for series, parts in wanted.items()
    }
    return Steps(found, episodes, worst, explained)


def _window(found: Assessed, episode: Episode) -> Indices:
    """The steps around an episode that are drawn with it."""
    around = max(AROUND, episode.last - episode.first + 1)
    length = int(found.sequences.lengths[episode.series])
    return np.arange(max(episode.first - around, 0), min(episode.last + around + 1, length))


def _summary(steps: Steps) -> list[str]:
    found = steps.found
    flagged, total = int(found.flags.sum()), found.flags.size
    if not flagged:
        return [flagged_text(flagged, total, "step", found.cut)]
    series, hit = found.sequences.n_sequences, np.unique(found.owners[steps.all.peaks]).size
    within = f" in {hit:,} of {series:,} series" if hit < series else f", in all {series:,} series"
    behind = f", in {counted(steps.all.peaks.size, 'episode')}{within if series > 1 else ''}"
    sentences = [flagged_text(flagged, total, "step", found.cut, behind)]
    worst = steps.worst[0]
    causes = steps.explained[worst.series].causes(worst.peak, 1)
    why = "".join(
        f": {clipped(cause.channel)} contributes most ({percent(cause.part)}), {cause.sentence}"
        for cause in causes
    )
    at = "" if worst.first == worst.last else f", worst at {found.word(worst.series, worst.peak)}"
    sentences.append(f"The worst: {found.prefix(worst.series)}{steps.span(worst)}{at}{why}.")
    return sentences


def _episodes(steps: Steps) -> Section:
    found = steps.found
    unflagged = any(not episode.flagged for episode in steps.worst)
    columns = [] if found.alone else [Column(found.called)]
    columns += [Column("start"), Column("end"), Column("contributes most at the worst step")]
    kinds = [_kind(steps, episode) for episode in steps.worst]
    columns += [Column("kind")] if any(kinds) else []
    columns += [Column("steps", "number"), Column("score", "number")]
    blocks = found.detector.blocks_
    columns += [Column("p-value", "p_value"), *([Column("of the episode", "p_value")] if blocks else [])]
    columns += [Column("flagged")] if unflagged else []
    rows = []
    for episode, kind in zip(steps.worst, kinds, strict=True):
        row: list[object] = [] if found.alone else [found.name(episode.series)]
        row += [found.word(episode.series, step) for step in (episode.first, episode.last)]
        row.append(cause_texts(steps.explained[episode.series].causes(episode.peak)))
        row += [kind] if any(kinds) else []
        row += [episode.last - episode.first + 1]
        row += [float(found.scores[episode.step]), float(found.p_values[episode.step])]
        row += [episode.p_value] if blocks else []
        rows.append([*row, "yes" if episode.flagged else "no"] if unflagged else row)
    count = steps.all.peaks.size
    words = [
        f"Flagged steps of one series that are at most {NEAR} steps apart are one episode. Its score and its "
        "p-value are those of its worst step, and so are the channels that contribute most to it."
    ]
    if any(explained.band for explained in steps.explained.values()):
        words.append("What was expected is from one value to another: nine of ten normal steps lie between.")
    if any(kinds):
        words.append("The kind is of the channel that contributes most to all steps of the episode together.")
    words += [_of_blocks(blocks, found)] if blocks else []
    if not count:
        words[0] = "No step is flagged. These have the highest scores."
    elif unflagged:
        words.append("Behind the flagged ones stand the steps with the highest scores that are not flagged.")
    note = f"The {len(rows)} worst of {count:,} episodes." if count > len(rows) else ""
    return Section("Episodes", [Prose(words), Table(columns, rows, note)])


def _kind(steps: Steps, episode: Episode) -> str:
    """What the first channel of an episode of flagged steps does, where a kind is clear; else nothing."""
    if not episode.flagged:
        return ""
    found, explained, began = steps.found, steps.explained[episode.series], episode.step - episode.peak
    at = np.searchsorted(explained.steps, np.arange(episode.first, episode.last + 1))
    column = channels_of(explained.channels, explained.shares[at])[0].column
    span = (began + episode.first, began + episode.last, episode.step)
    kind = kind_at(found.detector, found.sequences, span, column)
    return "" if kind is None else f"{clipped(column)}: {kind}"


def _of_blocks(blocks: BlockCalibration, found: Assessed) -> str:
    """What the p-values of episodes say."""
    doubts = "".join(f" Note: {text}." for text in blocks.doubts(found.cut))
    return (
        f"The p-value of an episode is by the peaks of {counted(blocks.count, 'held-out block')} of "
        f"{counted(blocks.length, 'step')}: of normal series on average at most alpha episodes a block have "
        "one of at most alpha, where two that have one and are at most a block apart are one. "
        f"These data make {counted(blocks.blocks_in(found.sequences.lengths), 'block')}.{doubts}"
    )


def _closely(steps: Steps) -> Section:
    """The worst episodes with what was expected."""
    parts: list[Part] = [
        Prose(["Solid is what was observed, dashed what the model expected; flagged steps are shaded."])
    ]
    for episode in steps.first(CLOSE):
        explained = steps.explained[episode.series]
        window = _window(steps.found, episode)
        at = np.searchsorted(explained.steps, window)
        where = steps.found.where(episode.series, window)
        marked = _marked(steps, episode.series, int(window[0]), int(window[-1]))
        worst = steps.found.word(episode.series, episode.peak)
        for cause in explained.causes(episode.peak, CHANNELS - 1):
            lines = [
                Line(explained.values[cause.channel][at]),
                Line(explained.expected[cause.channel][at], dashed=True),
            ]
            title = f"{steps.found.prefix(episode.series)}{steps.span(episode)}: {clipped(cause.channel)}"
            words = (
                f"{clipped(cause.channel)} contributes {percent(cause.part)} to the score of the worst step, "
                f"{worst}: {cause.sentence}."
            )
            parts.append(line_chart(title, words, where, lines, marked))
    return Section("The worst episodes in detail", parts)


def _compared(steps: Steps) -> Section:
    """One row for each series."""
    found = steps.found
    total = found.sequences.n_sequences
    flagged = np.bincount(found.owners[found.flags], minlength=total)
    episodes = np.bincount(found.owners[steps.all.peaks], minlength=total)
    highest = np.maximum.reduceat(found.scores, found.sequences.starts)
    order = np.lexsort((-highest, -flagged))[:COMPARED].tolist()
    columns = [Column(found.called), Column("steps", "number"), Column("flagged steps", "number")]
    columns += [Column("flagged share, %", "number"), Column("episodes", "number")]
    columns.append(Column("highest score", "number"))
    rows = []
    for number in order:
        length = int(found.sequences.lengths[number])
        share = 100 * float(flagged[number]) / length
        row: list[object] = [found.name(number), length, int(flagged[number]), share, int(episodes[number])]
        rows.append([*row, float(highest[number])])
    note = f"The {COMPARED} with most flagged steps of {total:,}." if total > COMPARED else ""
    return Section("Series compared", [Table(columns, rows, note)])


def _drawn(steps: Steps) -> list[int]:
    """The series that are drawn whole: those of the worst episodes, then those with the highest scores."""
    highest = np.maximum.reduceat(steps.found.scores, steps.found.sequences.starts)
    order = [episode.series for episode in steps.worst if episode.flagged]
    order += np.argsort(-highest, kind="stable")[:DRAWN].tolist()
    return list(dict.fromkeys(order))[:DRAWN]


def _series(steps: Steps, number: int) -> Section:
    """The scores and the channels of a series from its beginning to its end."""
    found = steps.found
    first, length = int(found.sequences.starts[number]), int(found.sequences.lengths[number])
    scores = found.scores[first : first + length]
    where, marked = found.where(number), _marked(steps, number, 0, length - 1)
    count = marked[0].size
    shaded = "No step of it is flagged." if not count else f"{count:,} flagged episodes are shaded."
    if count == 1:
        shaded = "The flagged episode is shaded."
    top = int(scores.argmax())
    said = f"The highest score is {cell_text(float(scores[top]))}, at {where.word(top)}. {shaded}"
    charts: list[Chart] = [
        line_chart("Anomaly score", said, where, [Line(scores)], marked, limit=found.threshold)
    ]
    parts = steps.ranked(number)
    ranking = parts if parts.any() else steps.ranked()
    values = found.encoder.values(found.piece(number))
    for channel in np.argsort(-ranking, kind="stable")[:CHANNELS].tolist():
        name = found.channels[channel]
        missing = missing_share(values[name])
        lacking = "" if not missing else f" {percent(missing)} of the values are missing."
        words = f"The values of {clipped(name)}.{lacking} {shaded}"
        charts.append(line_chart(clipped(name), words, where, [Line(values[name])], marked))
    total = len(found.channels)
    some = (
        f" Of {total:,} channels the {CHANNELS} that contribute most are drawn." if total > CHANNELS else ""
    )
    threshold = (
        " The dashed line is the least score that is not flagged." if found.threshold is not None else ""
    )
    said = f"{counted(length, 'step')}.{threshold}{some}"
    return Section(found.title(number), [Prose([said]), *charts])


def _marked(steps: Steps, series: int, low: int, high: int) -> tuple[Indices, Indices]:
    """First and last step of each flagged episode of a series, in a stretch of it and counted from there."""
    began = int(steps.found.sequences.starts[series])
    here = steps.found.owners[steps.all.firsts] == series if steps.all.firsts.size else np.zeros(0, bool)
    firsts, lasts = steps.all.firsts[here] - began, steps.all.lasts[here] - began
    inside = (lasts >= low) & (firsts <= high)
    return np.maximum(firsts[inside], low) - low, np.minimum(lasts[inside], high) - low
