"""What a flow of tables is compared with: a Gaussian of the same rows, and independent columns.

Both are fitted in closed form on training rows, and their losses are of the same held-out rows, with the same
noise, as those of the training: nats a row. Where the Gaussian's is the lower, it replaces the flow.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from upland.io.advice import Advice, Estimator
from upland.models.base import EnergyModel
from upland.models.flow import fitted_gaussian
from upland.training.loop import History, Training

WIDEST = 2_048
"""Columns up to which a flow is compared with a Gaussian, whose fit takes D^3 operations."""
BLOCKS = 20
"""Blocks of held-out rows over which two models are compared."""
STANDARD_ERRORS = 2.0
"""Standard errors of the difference of two losses from which it is beyond chance."""


def likelier(training: Training, rows: Tensor, held_out: Tensor, sigma: float) -> EnergyModel:
    """The trained model, or a Gaussian where held-out rows are likelier under that; both losses are added to
    the history.

    Args:
        training: of a flow, at its end.
        rows: `(N, D)` training rows that a Gaussian is fitted on.
        held_out: `(R, D)` rows of the held-out loss.
        sigma: standard deviation of the noise that is added to rows.
    """
    if rows.shape[1] > WIDEST:
        return training.model
    gaussian, history = fitted_gaussian(rows, sigma), training.history
    independent = fitted_gaussian(rows, sigma, independent=True)
    history.gaussian = training.held_out_loss(gaussian, held_out)
    history.independent = training.held_out_loss(independent, held_out)
    history.gaussian_z = _paired_z(training, training.model, gaussian, held_out)
    return training.model if min(history.validation) < history.gaussian else gaussian


def _paired_z(training: Training, one: EnergyModel, other: EnergyModel, held_out: Tensor) -> float:
    """The mean over blocks of rows of what one model loses more than another, in standard errors; 0 of a
    single block or equal differences.
    """
    blocks = held_out.tensor_split(min(BLOCKS, len(held_out)))
    more = torch.tensor(
        [training.held_out_loss(one, block) - training.held_out_loss(other, block) for block in blocks],
        dtype=torch.float64,
    )
    error = float(more.std()) / len(more) ** 0.5 if len(more) > 1 else 0.0
    return float(more.mean()) / error if error > 0 else 0.0


def held_out_losses(history: Mapping[str, Any]) -> dict[str, float | None]:
    """The held-out loss of the model that is kept and, where they were computed, of what it is compared with.

    Args:
        history: of a training, as plain data.
    """
    trained = min(history["validation"], default=None)
    if "gaussian" not in history or trained is None:
        return {"held_out_loss": trained}
    return {
        "held_out_loss": min(trained, history["gaussian"]),
        "held_out_loss_of_flow": trained,
        "held_out_loss_of_gaussian": history["gaussian"],
        "held_out_loss_of_independent_columns": history["independent"],
    }


def warn_of_gaussians(histories: Sequence[History]) -> None:
    """Warn the caller's caller where Gaussians have replaced all flows, and these were worse beyond chance.

    Args:
        histories: of the trainings of the members.
    """
    gaussians = [h.gaussian for h in histories if h.gaussian is not None and h.gaussian <= min(h.validation)]
    if not gaussians or len(gaussians) < len(histories):
        return
    if _mean([h.gaussian_z or 0.0 for h in histories]) < STANDARD_ERRORS:
        return
    warnings.warn(
        Advice(
            "a Gaussian replaces the flow, which does no better on rows held out from its training "
            f"({_mean([min(h.validation) for h in histories]):.4g} nats a row against "
            f"{_mean(gaussians):.4g}); use ",
            Estimator("energy"),
            " if normal rows are not one Gaussian cluster",
        ),
        UserWarning,
        stacklevel=3,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
