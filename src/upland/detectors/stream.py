"""Scoring series as they come, in constant time and memory: one step, or several of many series at once.

The state of each member is carried from step to step; the numbers are those of a single pass over each whole
series from its start. A state is one of n series: everything in it has a row for each of them, so that steps
of many series go through the model together.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set, Sized
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from upland.calibration.conformal import Calibration, Floats
from upland.criteria.reading import Indices, precise
from upland.criteria.sequence import SequenceCriterion
from upland.data.sequence.container import Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.longframes import check_id
from upland.data.sequence.next_steps import TIME, continued, next_step
from upland.detectors.ensemble import Member
from upland.detectors.past import TOGETHER, Past, Reader
from upland.io.advice import type_text
from upland.models.blocks import FEW, fitting_threads
from upland.models.sequential import SequenceModel

MOST = float(1 << 53)
"""Steps of a series at most."""

NO_NUMBER = "the model gives no number (NaN) for this step"


@dataclass(frozen=True, repr=False)
class Stream:
    """The state of series: what `score_next` and `score_steps` return and take again; never changed in place.

    Args:
        readers: of each member.
        pasts: what each of them knows of the past.
        counts: `(n,)` how many steps there were of each series.
        identity: of the fit and the criterion that it is a state of.
        ids: of the series; None is that of a series without one.
        values: of the last step, what is compared with the calibration of each fold; no part of the state.
    """

    readers: tuple[Reader, ...]
    pasts: tuple[Past, ...]
    counts: Indices
    identity: tuple[Any, ...]
    ids: tuple[Hashable, ...] = (None,)
    values: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"Stream({len(self.ids)} series, {self.steps} steps)"

    @property
    def steps(self) -> int:
        """How many steps there were, of all series."""
        return int(self.counts.sum())

    @cached_property
    def rows(self) -> dict[Hashable, int]:
        """The row of each series by its id."""
        return {name: row for row, name in enumerate(self.ids)}

    def of(self, ids: Sequence[Hashable]) -> Stream:
        """The state of some of the series, in this order; others are forgotten.

        Args:
            ids: of the series, each once.

        Raises:
            TypeError: they are one text, or values that are no ids.
            ValueError: an id is there twice.
            KeyError: there is no such series.
        """
        _check_ids(ids)
        rows = np.array([self.rows[name] for name in ids], dtype=np.int64)
        pasts = tuple(past.of(rows) for past in self.pasts)
        return replace(self, pasts=pasts, counts=self.counts[rows], ids=tuple(ids), values=())

    def with_series(self, ids: Sequence[Hashable]) -> Stream:
        """With series that begin, behind those that there are.

        Args:
            ids: of the new series.
        """
        if not ids:
            return self
        pairs = zip(self.pasts, self.readers, strict=True)
        pasts = tuple(past.beside(reader.start(len(ids))) for past, reader in pairs)
        counts = np.concatenate([self.counts, np.zeros(len(ids), dtype=np.int64)])
        return replace(self, pasts=pasts, counts=counts, ids=(*self.ids, *ids), values=())

    def to_arrays(self) -> dict[str, Floats]:
        """The state as float64 arrays by name, without `ids`, to be kept in a file; `with_arrays` is the
        exact way back.
        """
        arrays = {"steps": self.counts.astype(np.float64)}
        for member, past in enumerate(self.pasts):
            arrays |= {f"{member}/{name}": value for name, value in past.to_arrays().items()}
        return arrays

    def with_arrays(self, arrays: Mapping[str, Floats], ids: Sequence[Hashable] = (None,)) -> Stream:
        """The state that `to_arrays` gave, of the same fit and criterion as this one.

        They do not say of which fit they are: those of another one pass where its arrays are of the same
        names and shapes, and then the scores that follow are wrong.

        Args:
            arrays: by name.
            ids: of the series, each once.

        Raises:
            TypeError: arrays are no mapping; ids are one text, or values that are no ids.
            ValueError: arrays are of other names or shapes, as those of another criterion are, or of another
                number of series; or they hold what no state does, such as numbers beyond 1e12, or numbers
                of steps that differ; an id is there twice.
        """
        _check_ids(ids)
        names = (f"{n}/{name}" for n, past in enumerate(self.pasts) for name in past.to_arrays())
        _check_arrays(arrays, {"steps", *names})
        try:
            counts = arrays["steps"].astype(np.int64)
            if counts.shape != (len(ids),):
                raise ValueError(f"the state is of {counts.size} series, and there are {len(ids)} ids")
            pasts = []
            for member, reader in enumerate(self.readers):
                begins = f"{member}/"
                own = {name.removeprefix(begins): arrays[name] for name in arrays if name.startswith(begins)}
                pasts.append(reader.start(len(ids)).with_arrays(own))
                pasts[-1].check(counts)
        except KeyError as error:
            raise ValueError(f"the state of the series is not whole: {error} is lacking") from None
        return replace(self, pasts=tuple(pasts), counts=counts, ids=tuple(ids), values=())


def _check_ids(ids: Sequence[Hashable]) -> None:
    """Refuse what cannot be the ids of series, as `Stream.ids` has them; raises TypeError or ValueError."""
    if isinstance(ids, str | bytes) or not (isinstance(ids, Iterable) and isinstance(ids, Sized)):
        got = repr(ids) if isinstance(ids, str | bytes | int | float) else type_text(ids)
        raise TypeError(f"ids must be a list, one id for each series, got {got}")
    for place, name in enumerate(ids):
        check_id(name, place, "a series needs an id")
    if len(set(ids)) != len(ids):
        raise ValueError("each series has an id of its own")


def _check_arrays(arrays: Mapping[str, Any], names: Set[str]) -> None:
    """Refuse what `Stream.to_arrays` never gives; raises TypeError or ValueError.

    Args:
        arrays: by name.
        names: of those of a state of the same fit.
    """
    if not isinstance(arrays, Mapping):
        raise TypeError(f"the state of the series is arrays by name, got {type(arrays).__name__}")
    if unknown := sorted(map(str, arrays.keys() - names)):
        raise ValueError(f"the state is of another fit or criterion: it has no array {unknown[0]}")
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray) or value.dtype != np.float64:
            raise ValueError(f"the state of the series holds float64 arrays, and {name} is none")
        if not np.isfinite(value).all() and not name.endswith(TIME):
            raise ValueError(f"the state of the series must be finite, and {name} is not")
        if value.ndim == 1 and ((value < 0) | (value > MOST) | (value != np.floor(value))).any():
            raise ValueError(f"numbers of steps must be whole numbers, and {name} are not")


class NextScore(NamedTuple):
    """The anomaly score and p-value of one step, and the state to score the next with."""

    anomaly_score: float
    p_value: float
    state: Stream


class NextScores(NamedTuple):
    """The anomaly scores and p-values of steps, `(N,)` each, and the state to score the next with."""

    anomaly_scores: Floats
    p_values: Floats
    state: Stream


class Advanced(NamedTuple):
    """What steps of series come to, series after series.

    Args:
        anomaly_scores: `(S,)`.
        p_values: `(S,)`.
        compared: `(S, K)` what is compared with the calibration of each fold.
        state: with the steps.
    """

    anomaly_scores: Floats
    p_values: Floats
    compared: Floats
    state: Stream


def identity_of(members: Sequence[Member], criterion: str) -> tuple[Any, ...]:
    """What tells the states of one fit and criterion from those of others, in every process.

    Args:
        members: of the detector.
        criterion: what steps are scored by.
    """
    fits = [(m.sigma, m.history.best_step, m.history.seconds, *m.history.validation) for m in members]
    return (criterion, *fits)


def begin(
    members: Sequence[Member],
    criteria: Sequence[SequenceCriterion],
    criterion: str,
    ids: Sequence[Hashable] = (None,),
) -> Stream:
    """The state before the first step of series.

    Args:
        members: of the detector.
        criteria: of each member, fitted.
        criterion: their name.
        ids: of the series.
    """
    readers = []
    for member, fitted in zip(members, criteria, strict=True):
        assert isinstance(member.model, SequenceModel)
        assert isinstance(member.encoder, SequenceEncoder)
        readers.append(Reader(precise(member.model), fitted, bool(member.encoder.clock.width)))
    pasts = tuple(reader.start(len(ids)) for reader in readers)
    counts = np.zeros(len(ids), dtype=np.int64)
    return Stream(tuple(readers), pasts, counts, identity_of(members, criterion), tuple(ids))


def advance(stream: Stream, members: Sequence[Member], calibration: Calibration, row: Any) -> NextScore:
    """Score one more step of one series.

    Args:
        stream: the state of the series.
        members: of the detector.
        calibration: of steps.
        row: a table of one row.

    Raises:
        FloatingPointError: the model gives NaN.
    """
    found, pasts = [], []
    for member, reader, past in zip(members, stream.readers, stream.pasts, strict=True):
        assert isinstance(member.encoder, SequenceEncoder)
        codes, times = next_step(row, member.encoder, past.memory.get(TIME))
        with torch.no_grad():
            values, past = reader.advance(past, reader.tensor(codes)[None])
        found.append(float(values[0, 0]))
        pasts.append(past.at(times) if times else past)
    mean = float(np.mean(found)) if len(found) > 1 else found[0]
    if math.isnan(mean):
        raise FloatingPointError(NO_NUMBER)
    compared = tuple(found) if calibration.method == "cross" else (mean,)
    p = calibration.p_values(np.array([compared]))
    counts = stream.counts + 1
    after = Stream(stream.readers, tuple(pasts), counts, stream.identity, stream.ids, compared)
    return NextScore(mean, float(p[0]), after)


def advance_each(
    stream: Stream,
    members: Sequence[Member],
    calibration: Calibration,
    sequences: Sequences,
) -> Advanced:
    """Score the steps that follow in some series; those that are not in the state begin.

    Args:
        stream: the state of the series.
        members: of the detector.
        calibration: of steps.
        sequences: their next steps, with ids.

    Raises:
        FloatingPointError: the model gives NaN.
    """
    ids = sequences.ids or (None,)
    stream = stream.with_series([name for name in ids if name not in stream.rows])
    rows = np.array([stream.rows[name] for name in ids], dtype=np.int64)
    everything = np.array_equal(rows, np.arange(len(stream.ids)))
    found, pasts = [], []
    for member, reader, past in zip(members, stream.readers, stream.pasts, strict=True):
        assert isinstance(member.encoder, SequenceEncoder)
        own = past if everything else past.of(rows)
        timed, times = continued(sequences, member.encoder, own.memory.get(TIME))
        codes = reader.tensor(member.encoder.encoded(timed.table, timed.distances, timed.stamps))
        few = sequences.n_steps <= FEW
        with torch.no_grad(), nullcontext() if few else fitting_threads(reader.model, TOGETHER):
            values, own = reader.advance_each(own, codes, sequences.lengths)
        own = own.at(times)
        found.append(values)
        pasts.append(own if everything else past.put(rows, own))
    means, compared = _compared(found, calibration)
    counts = stream.counts.copy()
    counts[rows] += sequences.lengths
    after = replace(stream, pasts=tuple(pasts), counts=counts, values=())
    return Advanced(means, calibration.p_values(compared), compared, after)


def _compared(found: Sequence[Floats], calibration: Calibration) -> tuple[Floats, Floats]:
    """The mean over the members, `(S,)`, and what is compared with the calibration of each fold, `(S, K)`.

    Raises:
        FloatingPointError: there is NaN.
    """
    each = np.stack(found, axis=1)
    if np.isnan(each).any():
        raise FloatingPointError(NO_NUMBER)
    means: Floats = each.mean(axis=1)
    return means, each if calibration.method == "cross" else means[:, None]


def check_order(state: Any, steps: Any, name: str) -> None:
    """Refuse a state in the place of the steps; raises TypeError.

    Args:
        state: what was given as the state.
        steps: what was given as one step or as several.
        name: of the method.
    """
    if isinstance(steps, Stream | NextScore | NextScores) and not isinstance(state, Stream):
        step = "x_t" if name == "score_next" else "X"
        raise TypeError(f"{name} takes the state first and the steps second: {name}(state, {step})")


def check_state(state: Any, identity: tuple[Any, ...]) -> None:
    """Refuse what is no state of this fit and criterion.

    Args:
        state: what was given as such.
        identity: as `identity_of` makes it.

    Raises:
        TypeError: it is no state.
        ValueError: it is that of another fit or criterion.
    """
    if isinstance(state, NextScore | NextScores):
        name = "score_next" if isinstance(state, NextScore) else "score_steps"
        raise TypeError(f"this is all that {name} returned: give its .state")
    if not isinstance(state, Stream):
        text = "the state is the .state of what the last call returned, or None before the first step, got "
        raise TypeError(text + type(state).__name__)
    if state.identity != identity:
        raise ValueError("the state is of another fit or criterion: begin again with state=None")


def check_single(state: Stream) -> None:
    """Refuse a state that is not of one series; raises ValueError.

    Args:
        state: of series.
    """
    if len(state.ids) != 1:
        raise ValueError(
            f"the state is of {len(state.ids)} series, and score_next takes a step of one: give score_steps "
            "the ids of the steps, or score_next the state of one series, state.of([id])"
        )
