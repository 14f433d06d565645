r"""Exponential tilting: log odds of an anomaly that labelled rows add to an energy, linear in the inputs.

A density p of normal rows that is tilted by log odds g, p(x) exp(-g(x)), has the energy E(x) + g(x). Here

    g(x) = sum_j (a_j c_j + b_j |c_j|) + d,   c_j = sign(x_j) (min(|x_j|, 3) + log1p(max(|x_j| - 3, 0))),

so that labelled rows may say that high values of a column are bad and low ones are not (a_j), or that
deviations of a column matter more or less than they would (b_j). The coefficients are fitted in
`upland.detectors.refinement`.
"""

from __future__ import annotations

import torch
from torch import Tensor

BEND = 3.0
LARGEST = 30.0
"""Log odds beyond which they count no more."""


def tilt_features(x: Tensor) -> Tensor:
    """What log odds are linear in: `(N, D) -> (N, 2 D)`, float64.

    Args:
        x: encoded rows.
    """
    x = x.double()
    size = x.abs()
    bent = torch.sign(x) * (size.clamp(max=BEND) + torch.log1p((size - BEND).clamp(min=0)))
    return torch.cat([bent, bent.abs()], 1)


def log_odds(x: Tensor, coefficients: Tensor) -> Tensor:
    """The log odds of an anomaly: `(N, D) -> (N,)`, float64, within 30 of 0.

    Args:
        x: encoded rows.
        coefficients: `(2 D + 1,)`, the last of them the constant.
    """
    known = coefficients.double()
    return (tilt_features(x) @ known[:-1] + known[-1]).clamp(-LARGEST, LARGEST)
