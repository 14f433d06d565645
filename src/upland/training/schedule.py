"""How long and how fast a model is trained where the user does not say, and on how many rows it starts.

The functions that give a number of optimiser steps have the signature `(rows, width, steps_per_pass)`: the
number of training rows, the encoded dimensions, and the steps of one pass over the rows.
"""

from __future__ import annotations

from collections.abc import Callable

from upland.models.flow import WIDEST

INIT_ROWS = 2_000
EXPERT_ROWS = 20_000

FLOW_RATE, FLOW_COLUMNS = 3e-3, 20

SUPPORT_LEAST, SUPPORT_USUAL, SUPPORT_MOST = 256, 4_096, 20_000
SUPPORT_SQUARES = 2_000_000  # support points times D^2
SUPPORT_NUMBERS = 1 << 22  # support points times D, at most
CANDIDATES_PER_POINT = 8

PASSES, STEPS_USUAL = 60, 1_500
PASSES_OF_MANY, STEPS_MOST = 7, 10_000
STEPS_LEAST, STEPS_LEAST_PER_RATIO = 300, 40


def denoising_steps(rows: int, width: int, steps_per_pass: int) -> int:
    """Steps of the training of a table's energy at one scale of noise: 60 passes, but at most 1,500 steps.

    A table of many rows gets more: 7 passes within 10,000 steps, and in any case one pass. A small one gets
    at least 300 where its rows outnumber the encoded dimensions; where they do not, more steps would only
    fit the rows.

    Args:
        rows: training rows.
        width: encoded dimensions.
        steps_per_pass: steps of one pass over the rows.
    """
    least = min(STEPS_LEAST, STEPS_LEAST_PER_RATIO * rows // width)
    usual = min(max(PASSES * steps_per_pass, least), STEPS_USUAL)
    return max(steps_per_pass, usual, min(PASSES_OF_MANY * steps_per_pass, STEPS_MOST))


def multiscale_steps(rows: int, width: int, steps_per_pass: int) -> int:
    """Steps of the training of a multi-scale energy: three a row, within 300 to 2,000; for many rows seven
    passes within 10,000 steps, and in any case one pass.

    Args:
        rows: training rows.
        width: encoded dimensions.
        steps_per_pass: steps of one pass over the rows.
    """
    usual = min(max(3 * rows, STEPS_LEAST), 2_000)
    return max(steps_per_pass, usual, min(PASSES_OF_MANY * steps_per_pass, STEPS_MOST))


def likelihood_steps(rows: int, width: int, steps_per_pass: int) -> int:
    """Steps of the training of a table's likelihood: 240 passes within 1,200 to 2,000 steps, at least one
    pass.

    Args:
        rows: training rows.
        width: encoded dimensions.
        steps_per_pass: steps of one pass over the rows.
    """
    return max(steps_per_pass, min(max(240 * steps_per_pass, 1_200), 2_000))


def likelihood_rate(width: int) -> float:
    """The highest learning rate of a table's likelihood: 0.003, and where a full matrix mixes more than 20
    columns sqrt(20 / D) of that.

    Adam moves every entry of a matrix by about the rate, so a product moves by up to D times the rate; with
    too high a rate the first steps make the likelihood worse by orders of magnitude.

    Args:
        width: encoded dimensions D.
    """
    mixed = FLOW_COLUMNS < width <= WIDEST
    return FLOW_RATE * (FLOW_COLUMNS / width) ** 0.5 if mixed else FLOW_RATE


def init_rows(width: int) -> int:
    """Training rows that a model without support points is initialised from.

    Args:
        width: encoded dimensions.
    """
    return INIT_ROWS


def support_points(width: int) -> int:
    """Training rows that a kernel prior keeps at most: 2,000,000 / D^2 within 4,096 to 20,000, and of very
    wide rows fewer.

    The distance to the nearest of N rows falls as N^(-1/D): where there are few columns more rows tell more,
    where there are many they hardly do.

    Args:
        width: encoded dimensions D.
    """
    most = max(SUPPORT_USUAL, min(SUPPORT_SQUARES // width**2, SUPPORT_MOST))
    return max(SUPPORT_LEAST, min(most, SUPPORT_NUMBERS // width))


def support_candidates(width: int) -> int:
    """Training rows among which a kernel prior finds its distinct support points: eight times their number,
    as far as the memory allows.

    Args:
        width: encoded dimensions D.
    """
    points = support_points(width)
    return max(points, min(CANDIDATES_PER_POINT * points, 2 * SUPPORT_NUMBERS // width))


def expert_rows(width: int) -> int:
    """Training rows that a product of experts is fitted on at most: 20,000, and of very wide rows fewer.

    Args:
        width: encoded dimensions D.
    """
    return max(SUPPORT_LEAST, min(EXPERT_ROWS, 4 * SUPPORT_NUMBERS // width))


def image_rows(width: int) -> int:
    """Training images whose features a product of experts is fitted on at most: as many as 256 MB hold.

    Args:
        width: features of an image.
    """
    return max(SUPPORT_LEAST, min(EXPERT_ROWS, 16 * SUPPORT_NUMBERS // width))


STEPS: dict[str, Callable[[int, int, int], int]] = {
    "denoising": denoising_steps,
    "multiscale": multiscale_steps,
    "likelihood": likelihood_steps,
}
"""How many steps a training has, by its rows, the encoded dimensions and the steps of one pass."""

RATES: dict[str, Callable[[int], float]] = {"likelihood": likelihood_rate}
"""The highest learning rate by the encoded dimensions."""

START_ROWS: dict[str, Callable[[int], int]] = {
    "few": init_rows,
    "kernel": support_candidates,
    "experts": expert_rows,
    "images": image_rows,
}
"""How many training rows a model is initialised from, by its encoded dimensions."""
