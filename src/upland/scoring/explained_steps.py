"""The shares of channels in the scores of some steps of series, at the price of the series up to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.detectors.scoring import ScoringDetector
    from upland.explanation import Explanation

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

AT_ONCE = 65_536
"""Steps that are explained at a time, or one sequence."""


class AssessedSteps(NamedTuple):
    """Steps of sequences, `(S,)` each, sequence after sequence in the order of time.

    Args:
        scores: anomaly scores.
        p_values: of steps.
        block_p_values: as `upland.calibration.block_calibration` has them; None of a model without blocks.
    """

    scores: Floats
    p_values: Floats
    block_p_values: Floats | None

    def strong(self, alpha: float) -> NDArray[np.bool_] | None:
        """`(S,)` which steps have a block p-value of at most alpha; None where they have none.

        Args:
            alpha: false episodes a block.
        """
        return None if self.block_p_values is None else self.block_p_values <= alpha


def assessed_steps(detector: ScoringDetector, sequences: Sequences) -> AssessedSteps:
    """Scores and p-values of all steps.

    Args:
        detector: fitted on sequences, whose steps are scored.
        sequences: all of them.
    """
    (scores, p_values), values, _, _ = detector.assess_members(sequences)
    rows, blocks = sequences.row_numbers, detector.blocks_
    block_p_values = None if blocks is None else blocks.p_values(values)
    return AssessedSteps(scores.reshape(-1)[rows], p_values.reshape(-1)[rows], block_p_values)


def explained_steps(
    detector: ScoringDetector, sequences: Sequences, rows: Indices, most: int = AT_ONCE
) -> Explanation:
    """Some steps with the shares of their channels; each sequence is read up to the last of its own.

    Args:
        detector: fitted on sequences, whose steps are scored.
        sequences: all of them.
        rows: `(K,)` numbers of steps among those of all sequences, each once.
        most: steps that are explained at a time, or one sequence.
    """
    from upland.explanation import joined

    owners = np.searchsorted(sequences.starts, rows, side="right") - 1
    hit = np.unique(owners)
    starts = sequences.starts[hit]
    ends = np.array([int(rows[owners == n].max()) + 1 for n in hit.tolist()], dtype=np.int64)
    places, parts = [], []
    for part in portions(np.arange(hit.size), ends - starts, most):
        piece = sequences.cut(hit[part], starts[part], ends[part] - starts[part])
        inside = np.flatnonzero(np.isin(owners, hit[part]))
        at = np.searchsorted(np.sort(piece.row_numbers), sequences.row_numbers[rows[inside]])
        whole = explanation_of(detector, piece)
        places.append(inside)
        parts.append(whole.take(at))
    order = np.argsort(np.concatenate(places), kind="stable")
    return joined(parts).take(order)


def explanation_of(detector: ScoringDetector, piece: Sequences) -> Explanation:
    """One row a step, in the order of the user's rows.

    Args:
        detector: fitted on sequences.
        piece: some of them.
    """
    from upland.explanation import Explanation, explain

    found: Any = explain(detector, replace(piece, layout="ragged") if piece.layout == "array" else piece)
    assert isinstance(found, Explanation)
    return found


def portions(rows: Indices, lengths: Indices, most: int) -> Iterator[Indices]:
    """Sequences in portions of so many steps, at least one sequence each.

    Args:
        rows: numbers of sequences.
        lengths: steps of each.
        most: steps of a portion.
    """
    start, held = 0, 0
    for place, length in enumerate(lengths.tolist()):
        if held and held + length > most:
            yield rows[start:place]
            start, held = place, 0
        held += length
    if rows.size:
        yield rows[start:]
