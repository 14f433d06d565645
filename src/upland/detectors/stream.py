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

from upland.calibration.conformal import Calibration
from upland.criteria.reading import precise
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.frames import as_rows
from upland.detectors.fitting import Member
from upland.detectors.sequencing import Reader, Series
from upland.models.recurrent import RecurrentEnergy, RecurrentState


@dataclass(frozen=True)
class Stream:
    """Where a series stands: what `score_next` returns and takes again; it is never changed in place.

    Args:
        models: the members' models in float64.
        states: what each member knows of the steps so far.
        readers: what each member's criterion keeps of them.
        steps: how many there were.
    """

    models: tuple[RecurrentEnergy, ...]
    states: tuple[RecurrentState, ...]
    readers: tuple[Reader, ...]
    steps: int


class NextScore(NamedTuple):
    """The anomaly score and p-value of one step, and the state to score the next with."""

    anomaly_score: float
    p_value: float
    state: Stream


def begin(members: Sequence[Member], kind: Series, criterion: str) -> Stream:
    """Before the first step of a series.

    Args:
        members: of the detector.
        kind: how the sequences are read.
        criterion: what a step is judged by.
    """
    models = tuple(precise(kind.model_of(member)) for member in members)
    readers = [kind.reader(criterion, member, model) for member, model in zip(members, models, strict=True)]
    return Stream(models, tuple(model.start(1) for model in models), tuple(readers), 0)


def advance(stream: Stream, members: Sequence[Member], known: Calibration, row: Any) -> NextScore:
    """Judge one more step.

    Args:
        stream: where the series stands.
        members: of the detector.
        known: the calibration of steps.
        row: a table of one row.
    """
    scores, states, readers = [], [], []
    together = zip(members, stream.models, stream.states, stream.readers, strict=True)
    for member, model, state, before in together:
        assert isinstance(member.encoder, SequenceEncoder)
        device = next(model.parameters()).device
        x = torch.from_numpy(member.encoder.table.transform(row)).double()[None].to(device)
        reader = copy.copy(before)
        with torch.no_grad():
            points, context, after = model.advance(state, x)
            value = reader(points, context)
        if bool(torch.isnan(value).any()):
            raise FloatingPointError("the model gives no number (NaN) for this step")
        scores.append(float(value))
        states.append(after)
        readers.append(reader)
    mean = float(np.mean(scores))
    p = known.p_values(np.array([scores if known.kind == "cross" else [mean]]))
    after_all = Stream(stream.models, tuple(states), tuple(readers), stream.steps + 1)
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
    rows = table.shape[0] if plain else as_rows(table).n_rows
    if rows != 1:
        raise ValueError(f"score_next takes one step at a time, got {rows}")
    return table
