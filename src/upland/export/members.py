"""The score of one member of a detector as a graph of its own, and how far it is from upland's.

The same sums in another order are rounded otherwise. How far that moves a score is measured on the normal
rows that the member keeps: p-values count scores as equal that are no further apart
(`upland.export.calibration`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from upland.criteria.base import Criterion
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.export.calibration import spread
from upland.export.graph import Graph, Value
from upland.io.extras import needed

Writer = Callable[[Criterion[Any, Any], Value], Value]

UNMEASURED, LEAST, MOST = 1e-6, 1e-7, 1e-4
"""Rounding where no rows are kept to measure it on, and its bounds; relative to a score and their spread."""

ROWS = 1_000
"""Rows of each sort that it is measured on, at most."""


class MemberScore:
    """The score of encoded points by a member.

    Args:
        detector: fitted.
        member: of it.
        write: what adds the score of a block of points to a graph.

    Attributes:
        tie: how far two scores may be apart that are one but for rounding, relative to their size and the
            spread of the calibration.
    """

    def __init__(self, detector: Detector, member: Member, write: Writer) -> None:
        self.criterion = detector.fitted_criterion(member, detector.unit_)
        self.shape = member.encoder.shape
        graph = Graph(("codes", "score"))
        codes = graph.input("codes", np.float32, ["N", *self.shape])
        most = member.model.block_rows
        score = graph.in_blocks(lambda block: write(self.criterion, block), codes, self.shape, most)
        graph.output(score, "score", ["N"])
        self.model = graph.model("score", "upland", "", {})
        self.tie = self._measured(member, spread(detector.calibration_))

    def added_to(self, graph: Graph, points: Value) -> Value:
        """The scores of points of a graph: `(N, ...) -> (N,)`, float64."""
        return graph.call(self.model, points, dtype=np.float64)

    def _measured(self, member: Member, usual: float) -> float:
        """Twice the largest difference from upland's scores on the rows that the member keeps."""
        kept = [
            rows[:ROWS]
            for rows in (member.standard, member.training_rows, member.held_out)
            if rows is not None
        ]
        if not kept:
            return UNMEASURED
        runtime = needed("onnxruntime", "The ONNX export is checked with onnxruntime", "onnx")
        rows = torch.cat(kept)
        session = runtime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"codes": rows.numpy()})
        expected = self.criterion.score(rows)
        away = np.abs(found - expected) / (np.abs(expected) + usual + 1e-300)
        return float(np.clip(2 * away.max(initial=0.0), LEAST, MOST))
