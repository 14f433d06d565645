"""Scoring sequences: each time step of long series in the rows' own order, or each whole sequence.

A step's score rests on the whole past of its sequence, so a file is held in memory while it is judged; its
rows are then written as they stand, batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.cli.episodes import Indices, episodes_of, strangest
from upland.cli.inputs import array_in, check_new
from upland.cli.verdicts import (
    ADDED,
    REASONS,
    Asked,
    Finding,
    Judgement,
    Seen,
    Verdicts,
    check_clash,
    said,
    verdicts_of,
    with_verdicts,
    worst_first,
    writer,
)

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.detectors.base import Detector
    from upland.explanation import Explanation, Reason, SequenceExplanation
    from upland.io.source import Source

AT_ONCE = 65_536
"""Steps that are explained at a time, or one sequence; rows that are written at a time."""


@dataclass(frozen=True)
class Series:
    """Sequences and where they come from.

    Args:
        sequences: All of them.
        source: The file of rows; None for an array.
        extra: Its columns that the detector does not use.
    """

    sequences: Sequences
    source: Source | None
    extra: list[str]


def open_series(detector: Detector, path: Path) -> Series:
    """Read the sequences of a file for a detector of sequences.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Data of another kind, missing columns, stamps that stand twice; as `as_sequences`.
    """
    from upland.data.sequence.container import as_sequences

    encoder = _encoder(detector)
    if check_new(path, "sequence") == "array":
        return Series(as_sequences(array_in(path), id=encoder.id, time=encoder.time), None, [])
    from upland.io.formats import open_source

    source = open_source(path)
    table = _typed(source, encoder)
    own = {str(name) for name in (encoder.id, encoder.time) if name is not None}
    extra = [name for name in encoder.table.extra_columns(table) if name not in own and name not in ADDED]
    return Series(as_sequences(table, id=encoder.id, time=encoder.time), source, extra)


def score_sequences(
    detector: Detector, series: Series, asked: Asked, seen: Seen = lambda steps: None
) -> Judgement:
    """Score sequences or their steps, and write them with their verdicts if there is a target.

    Args:
        detector: Fitted on sequences.
        series: As `open_series` reads them.
        asked: What is wanted.
        seen: Told the number of steps after each part of the work; all steps come by once, or twice where
            they are explained.

    Raises:
        ValueError: Columns named like the added ones; others as the detector says.
        OutputError: The target exists or cannot be written.
    """
    detector.check_alpha(asked.alpha, asked.control)
    per_step = detector.data_kind().unit(series.sequences) == "step"
    if per_step and series.source is not None:
        check_clash(series.source, asked)
    return (
        _score_steps(detector, series, asked, seen)
        if per_step
        else _score_wholes(detector, series, asked, seen)
    )


def _encoder(detector: Detector) -> SequenceEncoder:
    from upland.data.sequence.encoder import SequenceEncoder

    assert isinstance(detector.encoder_, SequenceEncoder)
    return detector.encoder_


def _typed(source: Source, encoder: SequenceEncoder) -> pa.Table:
    """The rows of a file: values as in the fit, ids and stamps as the file tells them."""
    table = pa.concat_tables(source.batches(encoder.table.schema_))
    if not source.typed:
        for name in (encoder.id, encoder.time):
            if str(name) in source.names:
                place = source.names.index(str(name))
                table = table.set_column(place, str(name), source.read().column(place))
    return table


# -- whole sequences -----------------------------------------------------------------------------------------


def _score_wholes(detector: Detector, series: Series, asked: Asked, seen: Seen) -> Judgement:
    sequences = series.sequences
    scores, p_values = detector.assess(sequences)
    seen(sequences.n_steps)
    verdicts = verdicts_of(scores, p_values, asked)
    worst = worst_first(scores, asked.top)
    everyone = asked.target is not None and asked.why
    wanted = np.arange(sequences.n_sequences) if everyone else np.sort(worst)
    reasons: dict[int, list[Reason]] = {}
    for rows in _portions(wanted, sequences.lengths[wanted]):
        piece = sequences.take(rows)
        reasons |= zip(rows.tolist(), _explained_wholes(detector, piece).top(REASONS), strict=True)
        seen(piece.n_steps)
    names = list(range(sequences.n_sequences)) if sequences.ids is None else list(sequences.ids)
    with writer(asked.target, asked.overwrite) as write:
        if write is not None:
            why = said([reasons[n] for n in range(len(names))]) if everyone else None
            write(with_verdicts(pa.table({"sequence": names}), verdicts, why))
    found = [
        Finding(names[n], float(scores[n]), float(p_values[n]), bool(verdicts.flags[n]), reasons[n])
        for n in worst.tolist()
    ]
    return Judgement(
        "sequence", len(names), int(verdicts.flags.sum()), found, _called(detector, sequences), series.extra
    )


def _explained_wholes(detector: Detector, piece: Sequences) -> SequenceExplanation:
    from upland.explanation import SequenceExplanation, explain

    found = explain(detector, piece)
    assert isinstance(found, SequenceExplanation)
    return found


# -- time steps ----------------------------------------------------------------------------------------------


def _score_steps(detector: Detector, series: Series, asked: Asked, seen: Seen) -> Judgement:
    sequences = series.sequences
    assessed = detector.assess(sequences)
    seen(sequences.n_steps)
    scores, p_values = (part.reshape(-1)[sequences.row_numbers] for part in assessed)
    verdicts = verdicts_of(scores, p_values, asked)
    owners = np.repeat(np.arange(sequences.n_sequences), sequences.lengths)
    all_of_them = episodes_of(verdicts.flags, owners, scores)
    worst = strangest(all_of_them, owners, scores, asked.top)
    if asked.target is not None:
        why = _why_of_all(detector, sequences, seen) if asked.why else None
        _write_steps(series, asked, verdicts, why, _encoder(detector))
    reasons = _why_of_peaks(detector, sequences, worst.peaks, owners)
    found = [
        _told(sequences, owners, step, verdicts, reasons[step[2]])
        for step in zip(*(part.tolist() for part in worst), strict=True)
    ]
    return Judgement(
        "step",
        sequences.n_steps,
        int(verdicts.flags.sum()),
        found,
        _called(detector, sequences),
        series.extra,
        sequences=sequences.n_sequences,
        episodes=int(all_of_them.peaks.size),
        hit=int(np.unique(owners[all_of_them.peaks]).size),
    )


def _told(
    sequences: Sequences,
    owners: Indices,
    episode: tuple[int, int, int],
    verdicts: Verdicts,
    reasons: list[Reason],
) -> Finding:
    first, last, peak = episode
    sequence = int(owners[peak])
    began = int(sequences.starts[sequence])
    start, end, worst = (sequences.label(sequence, step - began)[1] for step in episode)
    alone = sequences.ids is None and sequences.n_sequences == 1
    scores, p_values, flags = verdicts
    return Finding(
        None if alone else sequences.label(sequence, 0)[0],
        float(scores[peak]),
        float(p_values[peak]),
        bool(flags[peak]),
        reasons,
        start,
        end,
        worst,
        steps=last - first + 1,
    )


def _why_of_peaks(
    detector: Detector, sequences: Sequences, peaks: Indices, owners: Indices
) -> dict[int, list[Reason]]:
    """Reasons of single steps; each sequence is read up to the last of its steps."""
    reasons: dict[int, list[Reason]] = {}
    hit = np.unique(owners[peaks])
    starts = sequences.starts[hit]
    ends = np.array([int(peaks[owners[peaks] == n].max()) + 1 for n in hit.tolist()])
    for part in _portions(np.arange(hit.size), ends - starts):
        piece = sequences.cut(hit[part], starts[part], ends[part] - starts[part])
        inside = peaks[np.isin(owners[peaks], hit[part])]
        rows = np.searchsorted(np.sort(piece.row_numbers), sequences.row_numbers[inside])
        explained = _explained_steps(detector, piece)
        some = replace(
            explained,
            shares=explained.shares[rows],
            values=explained.values[rows],
            expected=explained.expected[rows],
        )
        reasons |= zip(inside.tolist(), some.top(REASONS), strict=True)
    return reasons


def _why_of_all(detector: Detector, sequences: Sequences, seen: Seen) -> dict[int, str]:
    """What to say of each step, by its place among the user's rows."""
    texts: dict[int, str] = {}
    for rows in _portions(np.arange(sequences.n_sequences), sequences.lengths):
        piece = sequences.take(rows)
        explained = said(_explained_steps(detector, piece).top(REASONS))
        texts |= zip(np.sort(piece.row_numbers).tolist(), explained, strict=True)
        seen(piece.n_steps)
    return texts


def _explained_steps(detector: Detector, piece: Sequences) -> Explanation:
    """One row a step, in the order of the user's rows."""
    from upland.explanation import Explanation, explain

    found = explain(detector, replace(piece, layout="ragged") if piece.layout == "array" else piece)
    assert isinstance(found, Explanation)
    return found


def _write_steps(
    series: Series,
    asked: Asked,
    verdicts: Verdicts,
    why: dict[int, str] | None,
    encoder: SequenceEncoder,
) -> None:
    """The rows of the file as they stand, or the numbers of an array's steps, with their verdicts."""
    with writer(asked.target, asked.overwrite) as write:
        assert write is not None
        places = series.sequences.row_numbers
        order = np.argsort(places, kind="stable")
        first = 0
        for table in _tables(series, encoder):
            steps = order[first : first + table.num_rows]
            texts = None if why is None else [why[place] for place in places[steps].tolist()]
            write(with_verdicts(table, verdicts.select(steps), texts))
            first += table.num_rows


def _tables(series: Series, encoder: SequenceEncoder) -> Iterator[pa.Table]:
    sequences = series.sequences
    if series.source is not None:
        yield from (raw for raw, _ in series.source.pairs(encoder.table.schema_, AT_ONCE) if raw.num_rows)
        return
    owners = np.repeat(np.arange(sequences.n_sequences), sequences.lengths)
    numbered: dict[str, Any] = {"sequence": owners} if sequences.layout == "array" else {}
    yield pa.table(numbered | {"step": np.arange(sequences.n_steps) - sequences.starts[owners]})


# -- what both need ------------------------------------------------------------------------------------------


def _called(detector: Detector, sequences: Sequences) -> str:
    """What the user calls a sequence."""
    return "sequence" if sequences.ids is None else str(_encoder(detector).id)


def _portions(rows: Indices, lengths: Indices) -> Iterator[Indices]:
    """Sequences in portions of `AT_ONCE` steps, at least one sequence each."""
    start, held = 0, 0
    for place, length in enumerate(lengths.tolist()):
        if held and held + length > AT_ONCE:
            yield rows[start:place]
            start, held = place, 0
        held += length
    if rows.size:
        yield rows[start:]
