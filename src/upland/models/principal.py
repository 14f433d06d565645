"""Principal axes of rows, out of the smaller of two matrices: columns by columns, or rows by rows."""

import torch
from torch import Tensor

LEAST_SQUARE = 1e-300


def principal_axes(centred: Tensor, count: int, least: float | Tensor) -> tuple[Tensor, Tensor]:
    """Variances along the axes of the largest, ascending, and these axes: `(K,)`, `(D, K)`, K at most N.

    Of no more rows than columns, what rows have along an axis without variance is rounding: such an axis is
    0, and its variance too.

    Args:
        centred: `(N, D)` rows with mean zero, float64.
        count: of axes, 1 to D.
        least: variance that is rounding.
    """
    n, width = centred.shape
    if n > width:
        squares, axes = torch.linalg.eigh(centred.T @ centred / n)
        return squares[-count:].clamp(min=0), axes[:, -count:]
    squares, rows = torch.linalg.eigh(centred @ centred.T / n)
    squares, rows = squares[-count:], rows[:, -count:]
    known = squares > least
    scales = (squares * n).clamp(min=LEAST_SQUARE).sqrt()
    return squares.clamp(min=0) * known, centred.T @ rows / scales * known
