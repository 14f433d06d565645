"""The score of one member of a detector as a graph of its own, and how far it is from upland's.

The same sums in another order are rounded otherwise, so that a row that equals a calibration row may have a
score a little above or below. How far apart two scores may be that count as equal is measured on the normal
rows that a member keeps, some of the training and some of the calibration: of a few differences that one is
taken by which most rows compare with the calibration's scores as they do in upland.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from upland.calibration.conformal import Calibration, Floats
from upland.criteria.base import Criterion
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.export.calibration import spread, tables_of
from upland.export.graph import Graph, Value
from upland.io.extras import needed

Writer = Callable[[Criterion[Any, Any], Value], Value]

TIES = (1e-7, 3e-7, 3e-8, 1e-6, 1e-8, 3e-6, 1e-5, 3e-5, 1e-4)
"""Differences that are tried, relative to size and spread of scores; the first of the best is taken."""

UNMEASURED = 1e-6
"""The difference where no rows are kept to measure it on."""

ROWS = 2_000
"""Rows of each sort that it is measured on, at most."""


class MemberScore:
    """The score of encoded points by a member.

    Args:
        detector: fitted.
        member: of it.
        write: what adds the score of a block of points to a graph.

    Attributes:
        unmeasured: the difference where no rows are kept to measure it on.
    """

    unmeasured = UNMEASURED

    def __init__(self, detector: Detector, member: Member, write: Writer) -> None:
        self._criterion = detector.fitted_criterion(member, detector.unit_)
        kept = (member.held_out, member.refining, member.standard, member.training_rows)
        self._kept = [rows[:ROWS] for rows in kept if rows is not None and len(rows)]
        shape = member.encoder.shape
        graph = Graph(("codes", "score"))
        codes = graph.input("codes", np.float32, ["N", *shape])
        most = member.model.block_rows
        score = graph.in_blocks(lambda block: write(self._criterion, block), codes, shape, most)
        graph.output(score, "score", ["N"])
        self._model = graph.model("score", "upland", "", {})

    def added_to(self, graph: Graph, points: Value) -> Value:
        """The scores of points of a graph: `(N, ...) -> (N,)`, float64."""
        return graph.call(self._model, points, dtype=np.float64)

    def of_kept(self) -> tuple[Floats, Floats] | None:
        """The scores of the rows that the member keeps, by the graph and by upland; None where it keeps
        none.
        """
        if not self._kept:
            return None
        runtime = needed("onnxruntime", "The ONNX export is checked with onnxruntime", "onnx")
        rows = torch.cat(self._kept)
        session = runtime.InferenceSession(
            self._model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (found,) = session.run(None, {"codes": rows.numpy()})
        return found, self._criterion.score(rows)


def tie_of(members: Sequence[MemberScore], calibration: Calibration) -> float:
    """The difference up to which scores are equal, in units of their size and the spread of the calibration.

    Args:
        members: of a detector.
        calibration: of it.
    """
    usual, folds = spread(calibration.scores), len(members) if calibration.method == "cross" else 1
    scores = [pair for member in members[:folds] if (pair := member.of_kept()) is not None]
    if len(scores) < folds:
        return members[0].unmeasured
    pairs = list(zip(tables_of(calibration, folds), scores, strict=True))
    return max(TIES, key=lambda tie: sum(_equal(table, *pair, tie, usual) for table, pair in pairs))


def _equal(table: Floats, found: Floats, expected: Floats, tie: float, usual: float) -> int:
    """Rows that compare with the calibration's scores as they do in upland."""
    low = found - (np.abs(found) + usual) * tie
    same = np.searchsorted(table, low, side="left") == np.searchsorted(table, expected, side="left")
    return int(same.sum())
