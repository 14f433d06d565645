"""How long and how fast a kind of data is trained on."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Plan(NamedTuple):
    """How long and how fast a kind of data is trained on where the user does not say.

    Args:
        steps: of the optimiser; 0 goes by the number of rows.
        batch_size: rows, images or windows of a step.
        learning_rate: of Adam at its highest.
        noise: sigma, or "auto" by the spacing of neighbours.
    """

    steps: int
    batch_size: int
    learning_rate: float
    noise: float | Literal["auto"] = "auto"


def fixed_length(steps: int, rows: int, width: int, a_pass: int) -> int:
    """So many steps, whatever the rows."""
    return steps
