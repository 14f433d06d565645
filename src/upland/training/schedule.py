"""How long and how fast a kind of data is trained on."""

from __future__ import annotations

from collections.abc import Callable

INIT_ROWS = 2_000
KERNEL_ROWS_LEAST, KERNEL_ROWS, KERNEL_ROWS_MOST = 256, 4_096, 20_000
KERNEL_SQUARES, KERNEL_NUMBERS_MOST = 2_000_000, 1 << 22
KERNEL_DRAWS = 8


def init_rows(width: int) -> int:
    """Training rows that a model may start from."""
    return INIT_ROWS


def support_points(width: int) -> int:
    """Training rows that a kernel prior may stand on: 2,000,000 / D^2 within 4,096 to 20,000, and of very
    wide rows fewer. The distance to the nearest of N rows falls as N^(-1/D): where there are few columns more
    rows tell more, where there are many they hardly do.

    Args:
        width: encoded dimensions.
    """
    most = max(KERNEL_ROWS, min(KERNEL_SQUARES // width**2, KERNEL_ROWS_MOST))
    return max(KERNEL_ROWS_LEAST, min(most, KERNEL_NUMBERS_MOST // width))


def support_candidates(width: int) -> int:
    """Training rows among which a kernel prior finds its distinct ones: eight times their number, as far as
    the memory allows.

    Args:
        width: encoded dimensions.
    """
    places = support_points(width)
    return max(places, min(KERNEL_DRAWS * places, 2 * KERNEL_NUMBERS_MOST // width))


def multiscale_steps(rows: int, width: int, a_pass: int) -> int:
    """Steps of the training of a multi-scale energy: three a row, within 300 to 2,000; for many rows seven
    passes within 10,000, and in any case one pass.

    Args:
        rows: training rows.
        width: encoded dimensions.
        a_pass: steps of a pass.
    """
    usual = min(max(3 * rows, 300), 2_000)
    return max(a_pass, usual, min(7 * a_pass, 10_000))


def likelihood_steps(rows: int, width: int, a_pass: int) -> int:
    """Steps of the training of a likelihood of a table: 240 passes within 1,200 to 2,000, at least one pass.

    Args:
        rows: training rows.
        width: encoded dimensions.
        a_pass: steps of a pass.
    """
    return max(a_pass, min(max(240 * a_pass, 1_200), 2_000))


def dense_steps(rows: int, width: int, a_pass: int) -> int:
    """Steps of the training of an energy of one scale: 60 passes within 1,500 steps.

    A table of many rows gets more steps than that, for 7 passes within 10,000 steps, and in any case one
    pass. A small one gets at least 300 where its rows outnumber the encoded dimensions; where they do not,
    more steps would only fit the rows.

    Args:
        rows: training rows.
        width: encoded dimensions.
        a_pass: steps of a pass.
    """
    least = min(300, 40 * rows // width)
    usual = min(max(60 * a_pass, least), 1_500)
    return max(a_pass, usual, min(7 * a_pass, 10_000))


STEPS: dict[str, Callable[[int, int, int], int]] = {
    "dense": dense_steps,
    "multiscale": multiscale_steps,
    "likelihood": likelihood_steps,
}
"""How many steps a training has by its rows, encoded dimensions and the steps of a pass."""

START_ROWS: dict[str, Callable[[int], int]] = {"few": init_rows, "kernel": support_candidates}
"""How many training rows a model may start from, by its encoded dimensions."""
