"""Scoring a sequence as it comes, step by step, in constant time and memory.

The state of each member is carried from step to step; the numbers are those of a single pass over the whole
series from its start.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from upland.calibration import Calibration
from upland.criteria.evidence import Running, summed
from upland.criteria.steps import precise
from upland.data.frames import as_rows
from upland.data.steps import SequenceEncoder
from upland.fitting import Member
from upland.kinds import OF_STEPS, Series, windows_in
from upland.models.recurrent import RecurrentEnergy, State


@dataclass(frozen=True)
class Stream:
    """Where a series stands: what `score_next` returns and takes again; it is never changed in place.

    Args:
        models: the members' models in float64.
        states: what each member knows of the steps so far.
        running: each member's running vectors.
        steps: how many there were.
    """

    models: tuple[RecurrentEnergy, ...]
    states: tuple[State, ...]
    running: tuple[Running, ...]
    steps: int


class NextScore(NamedTuple):
    """The anomaly score and p-value of one step, and the state to score the next with."""

    anomaly_score: float
    p_value: float
    state: Stream


def begin(members: Sequence[Member]) -> Stream:
    """Before the first step of a series."""
    models = [precise(Series.model_of(member)) for member in members]
    running = [
        Running(model, windows_in(member), 1) for model, member in zip(models, members, strict=True)
    ]
    return Stream(tuple(models), tuple(model.start(1) for model in models), tuple(running), 0)


def advance(
    stream: Stream, members: Sequence[Member], criterion: str, known: Calibration, row: Any
) -> NextScore:
    """Judge one more step.

    Args:
        stream: where the series stands.
        members: of the detector.
        criterion: what a step is judged by.
        known: the calibration of steps.
        row: a table of one row.
    """
    scores, states, tails = [], [], []
    for member, model, state, before in zip(
        members, stream.models, stream.states, stream.running, strict=True
    ):
        assert isinstance(member.encoder, SequenceEncoder)
        device = next(model.parameters()).device
        x = torch.from_numpy(member.encoder.table.transform(row)).double()[None].to(device)
        running = copy.copy(before)
        with torch.no_grad():
            points, context, after = model.advance(state, x)
            if criterion == "score_test":
                value = summed(running.advance(points, context), windows_in(member))
            else:
                value = OF_STEPS[criterion](model.given(context[0]), points[0], member.sigma)
        if bool(torch.isnan(value).any()):
            raise FloatingPointError("the model gives no number (NaN) for this step")
        scores.append(float(value))
        states.append(after)
        tails.append(running)
    mean = float(np.mean(scores))
    p = known.p_values(np.array([scores if known.kind == "cross" else [mean]]))
    after_all = Stream(stream.models, tuple(states), tuple(tails), stream.steps + 1)
    return NextScore(mean, float(p[0]), after_all)


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
