"""The scores of nets in a graph, as PyTorch traces them, and which criteria have none."""

from __future__ import annotations

import copy
from dataclasses import replace

from upland.criteria.base import Criterion, PointCriterion
from upland.export.graph import Value
from upland.export.tracing import traced


def traced_score(criterion: PointCriterion, x: Value) -> Value:
    """The scores of encoded points by a fitted criterion: `(N, ...) -> (N,)`, float64.

    Args:
        criterion: fitted.
        x: encoded rows or images.
    """
    own = copy.copy(criterion)
    own.reference = replace(criterion.reference, model=copy.deepcopy(criterion.reference.model).cpu().eval())
    return traced(own.of_block, own.reference.model, x, own.reference.shape)


def lacking(criterion: type[Criterion]) -> str:  # type: ignore[type-arg]
    """What the scores of a criterion need that a graph does not have; empty if it has all.

    Args:
        criterion: its class.
    """
    if criterion.needs_beside_tensors:
        return criterion.needs_beside_tensors
    if issubclass(criterion, PointCriterion):
        known = criterion.of_block is not PointCriterion.of_block
    else:
        from upland.export.sequences import WRITERS

        known = criterion in WRITERS
    return "" if known else "a form of tensor operations alone, which it does not have"
