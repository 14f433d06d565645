"""How long and how fast a kind of data is trained on."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Plan(NamedTuple):
    """How long and how fast a kind of data is trained on where the user does not say.

    Args:
        steps: of the optimiser; 0 goes by the number of rows.
        batch_size: rows, images or windows of a step.
        learning_rate: of Adam at its highest.
        noise: sigma, "auto" by the spacing of neighbours, or "bin" for one step of the pixels.
        spacings: the noise in units of that spacing.
        noise_least: the least noise that is chosen so.
    """

    steps: int
    batch_size: int
    learning_rate: float
    noise: float | Literal["auto", "bin"] = "auto"
    spacings: float = 1.5
    noise_least: float = 0.1


def fixed_length(steps: int, rows: int, width: int, a_pass: int) -> int:
    """So many steps, whatever the rows."""
    return steps


def likelihood_length(rows: int, width: int, a_pass: int) -> int:
    """Steps of the training of a likelihood of a table: 240 passes within 1,200 to 2,000, at least one pass.

    Args:
        rows: training rows.
        width: encoded dimensions.
        a_pass: steps of a pass.
    """
    return max(a_pass, min(max(240 * a_pass, 1_200), 2_000))
