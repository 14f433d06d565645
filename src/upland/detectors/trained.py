"""What follows the training of a model: its normalisation, and a word where nothing was learned."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from upland.detectors.architecture import Architecture
from upland.detectors.architectures import FlowOrGaussian
from upland.detectors.baselines import likelier
from upland.models.base import EnergyModel
from upland.training.loop import History, Training

NAMED = 3
"""Weights that a warning names."""


class Shown(NamedTuple):
    """Rows that a trained model is shown.

    Args:
        start: that it began with.
        checked: that early stopping was by.
        normal: that its energies are normalised by.
        fresh: whether it was not trained on the last.
    """

    start: Tensor
    checked: Tensor
    normal: Tensor
    fresh: bool


def normalized(
    architecture: Architecture, model: EnergyModel, training: Training, shown: Shown, sigma: float
) -> tuple[Architecture, EnergyModel]:
    """The model that is kept, normalised, and its architecture.

    Args:
        architecture: that was trained.
        model: trained.
        training: of it.
        shown: rows.
        sigma: scale of the noise.
    """
    if isinstance(architecture, FlowOrGaussian):
        trained, model = model, likelier(training, shown.start, shown.checked, sigma)
        architecture = replace(architecture, density="flow" if model is trained else "gaussian")
    model.fit_normalization(shown.normal.to(shown.start.device), fresh=shown.fresh)
    return architecture, model


def warn_if_unmoved(model: EnergyModel, start: dict[str, Tensor], history: History) -> None:
    """A single number may be the energy's additive constant, which no gradient in x can see: it need not
    move.
    """
    if history.best_step == 0:
        return
    trained = [
        (name, value) for name, value in model.named_parameters() if value.requires_grad and value.numel() > 1
    ]
    unmoved = [
        name
        for name, value in trained
        if name not in model.may_stay_unchanged and torch.equal(value, start[name])
    ]
    if unmoved:
        rest = len(unmoved) - NAMED
        more = f" and {rest} other{'s' * (rest > 1)}" if rest > 0 else ""
        named = ", ".join(unmoved[:NAMED]) + more
        warnings.warn(f"training did not move these weights: {named}", stacklevel=3)
