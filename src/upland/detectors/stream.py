"""Scoring a sequence as it comes, step by step, in constant time and memory.

The state of each member is carried from step to step; the numbers are those of a single pass over the whole
series from its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from upland.calibration.conformal import Calibration
from upland.criteria.reading import precise
from upland.criteria.sequence import SequenceCriterion
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.frames import view_table
from upland.detectors.ensemble import Member
from upland.models.recurrent import RecurrentEnergy, RecurrentState


@dataclass(frozen=True)
class Stream:
    """The state of a series: what `score_next` returns and takes again; it is never changed in place.

    Args:
        models: the members' models in float64.
        criteria: of each member, fitted.
        states: what each model has read so far.
        memories: what each criterion remembers of it; None before the first step.
        steps: how many there were.
        identity: of the fit and the criterion that it is a state of.
    """

    models: tuple[RecurrentEnergy, ...]
    criteria: tuple[SequenceCriterion, ...]
    states: tuple[RecurrentState, ...]
    memories: tuple[Any, ...]
    steps: int
    identity: tuple[Any, ...]


class NextScore(NamedTuple):
    """The anomaly score and p-value of one step, and the state to score the next with."""

    anomaly_score: float
    p_value: float
    state: Stream


def identity_of(members: Sequence[Member], criterion: str) -> tuple[Any, ...]:
    """What tells the states of one fit and criterion from those of others, in every process.

    Args:
        members: of the detector.
        criterion: what steps are scored by.
    """
    fits = [(m.sigma, m.history.best_step, m.history.seconds, *m.history.validation) for m in members]
    return (criterion, *fits)


def begin(members: Sequence[Member], criteria: Sequence[SequenceCriterion], criterion: str) -> Stream:
    """The state before the first step of a series.

    Args:
        members: of the detector.
        criteria: of each member, fitted.
        criterion: their name.
    """
    models = []
    for member in members:
        assert isinstance(member.model, RecurrentEnergy)
        models.append(precise(member.model))
    states = tuple(model.start(1) for model in models)
    identity = identity_of(members, criterion)
    return Stream(tuple(models), tuple(criteria), states, (None,) * len(models), 0, identity)


def advance(stream: Stream, members: Sequence[Member], calibration: Calibration, row: Any) -> NextScore:
    """Score one more step.

    Args:
        stream: the state of the series.
        members: of the detector.
        calibration: of steps.
        row: a table of one row.

    Raises:
        FloatingPointError: the model gives NaN.
    """
    scores, states, memories = [], [], []
    together = zip(members, stream.models, stream.criteria, stream.states, stream.memories, strict=True)
    for member, model, criterion, state, memory in together:
        assert isinstance(member.encoder, SequenceEncoder)
        device = next(model.parameters()).device
        x = torch.from_numpy(member.encoder.table.transform(row)).double()[None].to(device)
        with torch.no_grad():
            points, context, after = model.advance(state, x)
            value, memory = criterion.score_next(model, memory, points, context)
        if bool(torch.isnan(value).any()):
            raise FloatingPointError("the model gives no number (NaN) for this step")
        scores.append(float(value))
        states.append(after)
        memories.append(memory)
    mean = float(np.mean(scores))
    p = calibration.p_values(np.array([scores if calibration.method == "cross" else [mean]]))
    after_all = replace(stream, states=tuple(states), memories=tuple(memories), steps=stream.steps + 1)
    return NextScore(mean, float(p[0]), after_all)


def one_row(x: Any) -> Any:
    """The values of one step as a table of one row.

    Args:
        x: `(D,)`, `(1, D)`, a mapping from column to value, or a frame of one row.

    Raises:
        ValueError: there is not exactly one step.
    """
    if isinstance(x, Mapping):
        return pa.table({str(name): pa.array([value], from_pandas=True) for name, value in x.items()})
    plain = isinstance(x, np.ndarray | list | tuple | float | int)
    table = np.atleast_2d(np.asarray(x)) if plain else x
    rows = table.shape[0] if plain else view_table(table).n_rows
    if rows != 1:
        raise ValueError(f"score_next takes one step at a time, got {rows}")
    return table
