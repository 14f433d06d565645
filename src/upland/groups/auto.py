"""Divergences where a model has latents, otherwise what needs none, in one statistic."""

from upland.groups.base import Statistic
from upland.groups.divergence import Divergence
from upland.groups.joint import JointStatistic
from upland.groups.likelihood import Likelihood
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.moments import INPUT
from upland.groups.outputs import ModelOutputs
from upland.groups.projections import Projections
from upland.groups.splits import latent_splits, suitable_splits
from upland.groups.stein import Stein


def auto(outputs: ModelOutputs) -> JointStatistic:
    """The default statistic.

    Args:
        outputs: of some rows, for their shapes.
    """
    return JointStatistic(default_components(outputs))


def default_components(outputs: ModelOutputs) -> list[Statistic]:
    """Divergences of every level and of the rows themselves, and the likelihood; without latents
    projections and the Stein discrepancy. Where latents are of some axes of a row only, the
    likelihood, which knows the others, and the mean discrepancy (docs/decisions/0034-flow-of-features.md).

    Args:
        outputs: of some rows, for their shapes.
    """
    points = outputs.points
    if are_reduced(outputs):
        return [Likelihood(), MeanDiscrepancy("points")]
    inputs = [Divergence(split, INPUT) for split in suitable_splits(points)] if points.ndim == 2 else []
    latents = [Divergence(split, level) for split, level in latent_splits(outputs)]
    if latents:
        return [*latents, *inputs, Likelihood()]
    shifts = Projections("points", min(2 * points[0].numel(), 32))
    return [Likelihood(), *inputs, shifts, *([Stein()] if outputs.score is not None else [])]


def are_reduced(outputs: ModelOutputs) -> bool:
    """Whether exact latents are fewer than the numbers of a row, as those of a flow on principal axes are.

    Args:
        outputs: of some rows, for their shapes.
    """
    exact = all(level.variance is None for level in outputs.levels)
    latents = sum(level.mean[:1].numel() for level in outputs.levels)
    return bool(outputs.levels) and exact and latents < outputs.points[:1].numel()
