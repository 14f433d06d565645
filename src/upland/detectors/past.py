"""What members know of the past of series, and how they read on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.conformal import Floats
from upland.criteria.reading import Indices
from upland.criteria.sequence import Memory, SequenceCriterion
from upland.data.sequence.next_steps import TIME
from upland.models.sequential import SequenceModel

STRETCH = 1_024
"""Steps of a series that are read at once."""

TOGETHER = 2_048
"""Steps of all series that are read at once: what is computed of them stays in the processor's cache."""

LARGEST = 1e12
"""No number of a state is as large, but times and numbers of steps: codes of values are far smaller."""

NEVER_NEGATIVE = ("levels",)
"""What criteria remember as means of squares."""


class Past(NamedTuple):
    """What one member knows of the past of n series; never changed in place.

    Args:
        state: of its model: tensors `(n, ...)`.
        memory: of its criterion: arrays `(n, ...)` by name; also the times of the last steps.
    """

    state: Any
    memory: Memory

    def at(self, times: Memory) -> Past:
        """The same at other times."""
        return Past(self.state, {**self.memory, **times})

    def of(self, rows: Indices) -> Past:
        """The past of some of the series."""
        state = type(self.state)(*(part[rows] for part in self.state))
        return Past(state, {name: value[rows] for name, value in self.memory.items()})

    def put(self, rows: Indices, past: Past) -> Past:
        """With another past of some of the series."""
        state = type(self.state)(
            *(
                part.index_copy(0, torch.from_numpy(rows).to(part.device), new)
                for part, new in zip(self.state, past.state, strict=True)
            )
        )
        memory = {name: value.copy() for name, value in self.memory.items()}
        for name, value in memory.items():
            value[rows] = past.memory[name]
        return Past(state, memory)

    def beside(self, past: Past) -> Past:
        """The past of these series, then of others."""
        pairs = zip(self.state, past.state, strict=True)
        state = type(self.state)(*(torch.cat(pair) for pair in pairs))
        memory = {name: np.concatenate([value, past.memory[name]]) for name, value in self.memory.items()}
        return Past(state, memory)

    def to_arrays(self) -> dict[str, Floats]:
        """As float64 arrays by name, which are copies."""
        arrays = {f"state/{name}": value.cpu().numpy().copy() for name, value in self.state._asdict().items()}
        return arrays | {f"memory/{name}": value.copy() for name, value in self.memory.items()}

    def with_arrays(self, arrays: Mapping[str, Floats]) -> Past:
        """What `to_arrays` gave of as many series, copied; raises ValueError for arrays of another shape."""
        for name, value in self.to_arrays().items():
            if arrays[name].shape != value.shape:
                raise ValueError("the state is of another fit")
        parts = (
            torch.from_numpy(arrays[f"state/{name}"].copy()).to(part.device)
            for name, part in self.state._asdict().items()
        )
        return Past(type(self.state)(*parts), {name: arrays[f"memory/{name}"].copy() for name in self.memory})

    def check(self, counts: Indices) -> None:
        """Refuse what is not known of series with so many steps.

        Args:
            counts: `(n,)`.

        Raises:
            ValueError: with the name of the array.
        """
        for name, value in self.to_arrays().items():
            of_memory, own = name.startswith("memory/"), name.removeprefix("memory/")
            timed, text = of_memory and own == TIME, None
            if timed and (np.isfinite(value) != (counts > 0)[:, None]).any():
                text = "must be finite where there were steps"
            elif timed and np.isinf(value).any():
                text = "must be NaN where there were no steps"
            elif of_memory and value.ndim == 1 and (value != counts).any():
                text = "must be the number of steps"
            elif not timed and value.ndim > 1 and (np.abs(value) > LARGEST).any():
                text = f"must not be beyond {LARGEST:.0e}"
            elif of_memory and own in NEVER_NEGATIVE and (value < 0).any():
                text = "must not be negative"
            if text is not None:
                raise ValueError(f"this is no state of series: {name} {text}")


@dataclass(frozen=True)
class Reader:
    """A member's model in float64 and its criterion, which read series from where they are.

    Args:
        model: in float64.
        criterion: fitted.
        timed: whether the model is conditioned on time.
    """

    model: SequenceModel
    criterion: SequenceCriterion
    timed: bool

    def tensor(self, codes: NDArray[np.float32]) -> Tensor:
        """Codes as the model takes them, in float64."""
        return torch.from_numpy(codes).double().to(next(self.model.parameters()).device)

    def start(self, n: int) -> Past:
        """The past of n series before their first step."""
        memory = self.criterion.start(self.model, n)
        times = {TIME: np.full((n, 2), np.nan)} if self.timed else {}
        return Past(self.model.start(n), {**memory, **times})

    def advance(self, past: Past, x: Tensor) -> tuple[Floats, Past]:
        """Read on.

        Args:
            past: of n series.
            x: `(n, L, D)` the encoded steps that follow.

        Returns:
            The scores of the steps, `(n, L)`, and the past with them.
        """
        points, context, state = self.model.advance(past.state, x)
        values, memory = self.criterion.score_next(self.model, past.memory, points, context)
        kept = {TIME: past.memory[TIME]} if self.timed else {}
        return values.cpu().numpy(), Past(state, {**memory, **kept})

    def advance_each(self, past: Past, codes: Tensor, lengths: Indices) -> tuple[Floats, Past]:
        """Read on in series that have different numbers of steps.

        Args:
            past: of n series.
            codes: `(S, D)` the encoded steps that follow, series after series.
            lengths: `(n,)` steps of each, one at least.

        Returns:
            The scores of the steps, `(S,)`, and the past with them.
        """
        starts, values = np.cumsum(lengths) - lengths, np.empty(len(codes))
        done = 0
        for length in np.unique(lengths).tolist():
            going = np.flatnonzero(lengths >= length)
            for rows in np.array_split(going, -(-going.size // TOGETHER)):
                whole = rows.size == lengths.size
                part, size = past if whole else past.of(rows), min(max(TOGETHER // rows.size, 1), STRETCH)
                for begin in range(done, length, size):
                    places = starts[rows, None] + np.arange(begin, min(begin + size, length))
                    values[places], part = self.advance(part, codes[torch.from_numpy(places)])
                past = part if whole else past.put(rows, part)
            done = length
        return values, past
