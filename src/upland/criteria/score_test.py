"""The score test as a criterion: how large is the gradient in the model's biases over a sequence, or over the
last steps of one?

Two-sided: what is calmer than normal data counts as what is wilder (`upland.criteria.score_vectors` has the
formulas, `upland.criteria.score_test_shares` how a score is shared out).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from upland.criteria.base import Floats, Shares
from upland.criteria.score_test_shares import shares_of_sequences, shares_of_steps
from upland.criteria.score_vectors import (
    SAMPLES,
    WINDOWS,
    Running,
    VectorReference,
    reference_of,
    running_vectors,
    sequence_vectors,
    step_tests,
    summed,
)
from upland.criteria.sequence import (
    EncodedSequences,
    Memory,
    Of,
    SequenceCriterion,
    SequenceReference,
    State,
    frame_parts,
    settled_steps,
    windows_of,
)
from upland.models.recurrent import RecurrentEnergy
from upland.models.sequential import SequenceModel

WHOLE = 0
"""In place of the steps of a window: whole sequences."""


class ScoreTest(SequenceCriterion):
    """Rao's statistic of whole sequences, or of running means over the last 16, 32 and 64 steps.

    Args:
        unit: what one score is of.
    """

    learns_by_unit: ClassVar[bool] = True

    def __init__(self, unit: Of) -> None:
        super().__init__(unit)
        self.references: dict[int, VectorReference] = {}

    def fit(self, reference: SequenceReference) -> Self:
        """Learn mean and covariance of the vectors of normal sequences, or of their running means.

        Args:
            reference: a trained model and normal sequences.
        """
        super().fit(reference)
        if self.unit == "sequence":
            vectors = sequence_vectors(self.model, reference.windows.codes, reference.windows.lengths)
            self.references = {WHOLE: reference_of(vectors, relative=False)}
            return self
        windows, steps = windows_of(reference), settled_steps(reference)
        some = np.unique(steps[np.linspace(0, steps.size - 1, min(steps.size, SAMPLES)).astype(int)])
        whole = reference.whole
        running = running_vectors(self.model, whole.codes, whole.lengths, windows, some)
        self.references = {
            window: reference_of(vectors, relative=True)
            for window, vectors in zip(windows, running, strict=True)
        }
        return self

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: not used.
            state: centre, whitening and unit of each window, by name.
        """
        super().restore(model, sigma, smoothing, state)
        windows = sorted({int(name.split("/")[0]) for name in state})
        self.references = {
            window: VectorReference(
                state[f"{window}/center"], state[f"{window}/whitening"], float(state[f"{window}/unit"])
            )
            for window in windows
        }
        return self

    def state(self) -> State:
        """Centre `(K,)`, whitening `(K, K)` and unit of each window."""
        return {
            f"{window}/{name}": torch.as_tensor(value, dtype=torch.float64)
            for window, reference in self.references.items()
            for name, value in reference._asdict().items()
        }

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what is no reference of each window; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        assert isinstance(model, RecurrentEnergy)
        known = (WHOLE,) if self.unit == "sequence" else WINDOWS
        windows = [window for window in known if f"{window}/unit" in state]
        size = sum(w.shape[0] for w in model.weights) + 2 * model.width
        shapes = {"center": (size,), "whitening": (size, size), "unit": ()}
        wanted = {f"{window}/{name}": shape for window in windows for name, shape in shapes.items()}
        if not windows or wanted != {name: tuple(value.shape) for name, value in state.items()}:
            raise ValueError("a ScoreTest keeps center, whitening and unit of each window")
        finite = all(bool(value.isfinite().all()) for value in state.values())
        if not finite or any(value.dtype != torch.float64 for value in state.values()):
            raise ValueError("what a ScoreTest keeps must be finite")
        for window in windows:
            unit, center = float(state[f"{window}/unit"]), state[f"{window}/center"]
            if unit <= 0:
                raise ValueError("the unit of a ScoreTest must be positive")
            near = torch.stack([torch.zeros_like(center), center + 1])
            if not bool(
                VectorReference(center, state[f"{window}/whitening"], unit).test(near).isfinite().all()
            ):
                raise ValueError("a ScoreTest must give finite numbers")

    def score(self, x: EncodedSequences) -> Floats:
        """Rao's statistic of each step `(S,)` or of each whole sequence `(N,)`."""
        if self.unit == "step":
            return self.step_scores(x)
        vectors = sequence_vectors(self.model, x.codes, x.lengths)
        return self.references[WHOLE].test(vectors).numpy()

    def step_scores(self, x: EncodedSequences) -> Floats:
        """The sum over the windows, in units of a normal step: `(S,)`, float64."""
        return step_tests(self.model, x.codes, x.lengths, self.references).numpy()

    def shares(self, x: EncodedSequences) -> Shares:
        """Shares of channels `(S, D)`, which sum to the score of the step or the sequence; and what was
        expected.
        """
        folded = self.unit == "sequence"
        _, expected = frame_parts(self.model, x, self.sigma, folded)
        if folded:
            shares = shares_of_sequences(self.model, x.codes, x.lengths, self.references[WHOLE])
        else:
            shares = shares_of_steps(self.model, x.codes, x.lengths, self.references)
        return Shares(shares, expected)

    def start(self, model: SequenceModel, n: int) -> Memory:
        """The last vectors `(n, W - 1, K)` for the longest window W, and how many steps there were `(n,)`."""
        width = len(next(iter(self.references.values())).center)
        return {"seen": np.zeros(n), "tail": np.zeros((n, max(self.references) - 1, width))}

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The statistics of the next steps, and the vectors to go on with; see
        `SequenceCriterion.score_next`.
        """
        running = Running(model, self.references, len(points))
        running.seen = torch.from_numpy(memory["seen"]).to(points.device)
        running.tail = torch.from_numpy(memory["tail"]).to(points.device)
        scores = summed(running.advance(points, context), self.references)
        return scores, {"seen": running.seen.cpu().numpy(), "tail": running.tail.cpu().numpy()}
