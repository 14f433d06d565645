"""Scoring a sequence as it comes, step by step, in constant time and memory.

The state of each member is carried from step to step; the numbers are those of a single pass over the whole
series from its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import narwhals as nw
import numpy as np
import pyarrow as pa
import torch

from upland.calibration.conformal import Calibration, Floats
from upland.criteria.reading import precise
from upland.criteria.sequence import SequenceCriterion
from upland.data.sequence.clock import Past
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
        pasts: what each encoder needs of the step before.
        values: of the last step, what is compared with the calibration of each fold; no part of the state.
    """

    models: tuple[RecurrentEnergy, ...]
    criteria: tuple[SequenceCriterion, ...]
    states: tuple[RecurrentState, ...]
    memories: tuple[Any, ...]
    steps: int
    identity: tuple[Any, ...]
    pasts: tuple[Past, ...] = ()
    values: tuple[float, ...] = ()

    def to_arrays(self) -> dict[str, Floats]:
        """The state as float64 arrays by name, to be kept in a file; `with_arrays` is the exact way back."""
        arrays: dict[str, Floats] = {"steps": np.array([float(self.steps)])}
        together = zip(self.criteria, self.states, self.memories, strict=True)
        for member, (criterion, state, memory) in enumerate(together):
            for name, value in state._asdict().items():
                arrays[f"{member}/state/{name}"] = value.cpu().numpy()
            for name, value in self.pasts[member].items():
                arrays[f"{member}/past/{name}"] = value
            for name, value in criterion.remembered(memory).items() if self.steps else ():
                arrays[f"{member}/memory/{name}"] = value
        return arrays

    def with_arrays(self, arrays: Mapping[str, Floats]) -> Stream:
        """The state that `to_arrays` gave, of the same fit and criterion as this one.

        Args:
            arrays: by name.

        Raises:
            ValueError: they are of another fit or criterion.
        """
        try:
            steps = int(arrays["steps"][0])
            states, memories = [], []
            pasts: list[Past] = []
            for member, (model, criterion) in enumerate(zip(self.models, self.criteria, strict=True)):
                start = self.states[member]
                found = {name: arrays[f"{member}/state/{name}"] for name in start._fields}
                if any(found[name].shape != value.shape for name, value in start._asdict().items()):
                    raise ValueError("the state is of another fit")
                device = next(model.parameters()).device
                states.append(RecurrentState(*(torch.from_numpy(part).to(device) for part in found.values())))
                memory = _under(f"{member}/memory/", arrays)
                memories.append(criterion.recalled(model, memory) if steps else None)
                pasts.append(_under(f"{member}/past/", arrays))
        except (KeyError, IndexError) as error:
            raise ValueError(f"the state of the series is not whole: {error} is lacking") from None
        carried: dict[str, Any] = {"states": tuple(states), "memories": tuple(memories)}
        return replace(self, **carried, pasts=tuple(pasts), steps=steps, values=())


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
    nothing: tuple[Any, ...] = (None,) * len(models)
    return Stream(tuple(models), tuple(criteria), states, nothing, 0, identity, ({},) * len(models))


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
    scores, states, memories, pasts = [], [], [], []
    carried = (stream.states, stream.memories, stream.pasts)
    together = zip(members, stream.models, stream.criteria, *carried, strict=True)
    for member, model, criterion, state, memory, past in together:
        assert isinstance(member.encoder, SequenceEncoder)
        device = next(model.parameters()).device
        codes, past = member.encoder.next_step(row, past)
        x = torch.from_numpy(codes).double()[None].to(device)
        with torch.no_grad():
            points, context, state = model.advance(state, x)
            value, memory = criterion.score_next(model, memory, points, context)
        if bool(torch.isnan(value).any()):
            raise FloatingPointError("the model gives no number (NaN) for this step")
        scores.append(float(value))
        states.append(state)
        memories.append(memory)
        pasts.append(past)
    mean = float(np.mean(scores))
    compared = tuple(scores) if calibration.method == "cross" else (mean,)
    p = calibration.p_values(np.array([compared]))
    after: dict[str, Any] = {"states": tuple(states), "memories": tuple(memories), "pasts": tuple(pasts)}
    after_all = replace(stream, **after, steps=stream.steps + 1, values=compared)
    return NextScore(mean, float(p[0]), after_all)


def _under(begins: str, arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name.removeprefix(begins): arrays[name] for name in arrays if name.startswith(begins)}


def check_state(state: Any, step: Any, identity: tuple[Any, ...]) -> None:
    """Refuse what is no state of this fit and criterion.

    Args:
        state: what was given as such.
        step: what was given as the values of a step.
        identity: as `identity_of` makes it.

    Raises:
        TypeError: it is no state.
        ValueError: it is that of another fit or criterion.
    """
    if isinstance(state, NextScore):
        raise TypeError("this is all that score_next returned: give its .state")
    if not isinstance(state, Stream) and isinstance(step, Stream | NextScore):
        raise TypeError("score_next takes the state first and the step second: score_next(state, x_t)")
    if not isinstance(state, Stream):
        text = "the state is the .state of what score_next returned, or None before the first step, got "
        raise TypeError(text + type(state).__name__)
    if state.identity != identity:
        raise ValueError("the state is of another fit or criterion: begin again with state=None")


def one_row(x: Any) -> Any:
    """The values of one step as a table of one row.

    Args:
        x: `(D,)`, `(1, D)`, a mapping from column to value, a row of a frame, or a frame of one row.

    Raises:
        TypeError: it is nothing of these.
        ValueError: there is not exactly one step.
    """
    table = _as_table(x)
    rows = view_table(table).n_rows
    if rows != 1:
        raise ValueError(f"score_next takes one step at a time, got {rows}")
    return table


def _as_table(x: Any) -> Any:
    """A table of the values of a step, whatever holds them."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu().numpy()
    if isinstance(x, Mapping):
        columns = {str(name): _cells(value) for name, value in x.items()}
        return pa.table({name: pa.array(cells, from_pandas=True) for name, cells in columns.items()})
    if nw.dependencies.is_pandas_series(x) and all(isinstance(name, str) for name in x.index):
        return _as_table(dict(x))
    if isinstance(x, pa.Array | pa.ChunkedArray):
        return [x.to_pylist()]
    if nw.dependencies.is_into_series(x):
        return [nw.from_native(x, series_only=True).to_list()]
    if isinstance(x, np.ndarray | int | float | np.number):
        if np.ndim(x) > 2:
            raise ValueError(f"score_next takes one step, (D,) or (1, D), and this is {np.shape(x)}")
        return np.atleast_2d(x)
    if isinstance(x, tuple) and type(x) is not tuple:  # a named one, as `itertuples` gives
        return _as_table(dict(zip(cast(Any, x)._fields, x, strict=True)))
    if isinstance(x, list | tuple):
        if len(x) == 1 and isinstance(x[0], Mapping):
            return _as_table(x[0])
        return x if x and isinstance(x[0], list | tuple | np.ndarray) else [x]
    if x is None or isinstance(x, str | bytes | Set | Iterator):
        text = "score_next takes the values of one step, a mapping from column to value or a frame of one row"
        raise TypeError(f"{text}, got {type(x).__name__}")
    return x


def _cells(value: Any) -> Any:
    """The cells of a column: one value, or what a list of them holds."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return value if isinstance(value, list | tuple | np.ndarray) else [value]
