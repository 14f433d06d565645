"""Scoring a sequence as it comes, step by step, in constant time and memory.

The state of each member is carried from step to step; the numbers are those of a single pass over the whole
series from its start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from upland.calibration import Calibration
from upland.criteria.points import Criterion
from upland.criteria.steps import precise
from upland.data.frames import as_rows
from upland.data.steps import SequenceEncoder
from upland.fitting import Member
from upland.models.recurrent import RecurrentEnergy, State


@dataclass(frozen=True)
class Stream:
    """Where a series stands: what `score_next` returns and takes again; it is never changed in place.

    Args:
        models: the members' models in float64.
        states: what each member knows of the steps so far.
        steps: how many there were.
    """

    models: tuple[RecurrentEnergy, ...]
    states: tuple[State, ...]
    steps: int


class NextScore(NamedTuple):
    """The anomaly score and p-value of one step, and the state to score the next with."""

    anomaly_score: float
    p_value: float
    state: Stream


def begin(members: Sequence[Member]) -> Stream:
    """Before the first step of a series."""
    models = []
    for member in members:
        assert isinstance(member.model, RecurrentEnergy)
        models.append(precise(member.model))
    return Stream(tuple(models), tuple(model.start(1) for model in models), 0)


def advance(
    stream: Stream, members: Sequence[Member], criterion: Criterion, known: Calibration, row: Any
) -> NextScore:
    """Judge one more step.

    Args:
        stream: where the series stands.
        members: of the detector.
        criterion: what a point is judged by.
        known: the calibration of steps.
        row: a table of one row.
    """
    scores, states = [], []
    for member, model, state in zip(members, stream.models, stream.states, strict=True):
        assert isinstance(member.encoder, SequenceEncoder)
        device = next(model.parameters()).device
        x = torch.from_numpy(member.encoder.table.transform(row)).double()[None].to(device)
        with torch.no_grad():
            points, context, after = model.advance(state, x)
            value = float(criterion(model.given(context.flatten(0, 1)), points.flatten(0, 1), member.sigma))
        if np.isnan(value):
            raise FloatingPointError("the model gives no number (NaN) for this step")
        scores.append(value)
        states.append(after)
    mean = float(np.mean(scores))
    judged = np.array([scores if known.kind == "cross" else [mean]])
    p = float(known.p_values(judged)[0])
    return NextScore(mean, p, Stream(stream.models, tuple(states), stream.steps + 1))


def one_row(x: Any) -> Any:
    """The values of one step as a table of one row.

    Args:
        x: `(D,)`, `(1, D)`, a mapping from column to value, or a frame of one row.

    Raises:
        ValueError: there is not exactly one step.
    """
    if isinstance(x, Mapping):
        return pa.table({str(name): [value] for name, value in x.items()})
    plain = isinstance(x, np.ndarray | list | tuple | float | int)
    table = np.atleast_2d(np.asarray(x)) if plain else x
    rows = table.shape[0] if plain else as_rows(table).n_rows
    if rows != 1:
        raise ValueError(f"score_next takes one step at a time, got {rows}")
    return table
