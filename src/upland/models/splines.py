r"""Monotonic rational-quadratic splines (Gregory and Delbourgo 1982; Durkan et al., NeurIPS 2019, arXiv
1906.04032, eq. 4 to 8).

Between two knots (x_k, y_k) and (x_k+1, y_k+1) with slopes d_k, d_k+1 > 0 there, at t = (x - x_k) / w with
w = x_k+1 - x_k, h = y_k+1 - y_k and s = h / w,

    y = y_k + h (s t^2 + d_k t (1 - t)) / q,        q = s + (d_k+1 + d_k - 2 s) t (1 - t),
    dy/dx = s^2 (d_k+1 t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / q^2.

Outside of [-B, B] the map is the identity, and the slopes at both ends are 1.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LEAST = 1e-3
"""Least width and height of a bin as a share of the whole, and least slope."""

_UNIT_SLOPE = math.log(math.expm1(1 - LEAST))  # of which the softplus is a slope of 1


class Piece(NamedTuple):
    """The bin that each number lies in: corner, width, height, and the slopes at both ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor


class Spline:
    """A spline for each number of `(N, D)`.

    Args:
        raw: `(N, D, 3 K - 1)`, free numbers: widths and heights of K bins, slopes at the inner knots; all
            zero is the identity.
        bound: B.
    """

    def __init__(self, raw: Tensor, bound: float) -> None:
        self.bins, self.bound = (raw.shape[-1] + 1) // 3, bound
        widths, heights, slopes = raw.split([self.bins, self.bins, self.bins - 1], -1)
        self.x, self.y = self._knots(widths), self._knots(heights)
        slopes = functional.softplus(slopes + _UNIT_SLOPE) + LEAST
        self.slopes = functional.pad(slopes, (1, 1), value=1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> y and log dy/dx, both `(N, D)`."""
        near = x.clamp(-self.bound, self.bound)
        piece = self._piece(near, self.x)
        t = (near - piece.x) / piece.width
        s, rest = piece.height / piece.width, t * (1 - t)
        q = s + (piece.right + piece.left - 2 * s) * rest
        y = piece.y + piece.height * (s * t * t + piece.left * rest) / q
        slope = (s / q).square() * (piece.right * t * t + 2 * s * rest + piece.left * (1 - t).square())
        inside = x.abs() < self.bound
        return torch.where(inside, y, x), torch.where(inside, slope.log(), 0.0)

    def inverse(self, y: Tensor) -> Tensor:
        """`y (N, D)` -> `x (N, D)`: the root of eq. 6 to 8 in the form that does not cancel."""
        near = y.clamp(-self.bound, self.bound)
        piece = self._piece(near, self.y)
        s, up = piece.height / piece.width, near - piece.y
        bend = up * (piece.right + piece.left - 2 * s)
        a, b, c = piece.height * (s - piece.left) + bend, piece.height * piece.left - bend, -s * up
        t = 2 * c / (-b - (b * b - 4 * a * c).clamp_min(0).sqrt())
        return torch.where(y.abs() < self.bound, piece.x + t * piece.width, y)

    def _knots(self, raw: Tensor) -> Tensor:
        """K + 1 increasing numbers from -B to B."""
        shares = LEAST + (1 - LEAST * self.bins) * raw.softmax(-1)
        inner = 2 * self.bound * shares[..., :-1].cumsum(-1) - self.bound
        left = functional.pad(inner, (1, 0), value=-self.bound)
        return functional.pad(left, (0, 1), value=self.bound)

    def _piece(self, value: Tensor, knots: Tensor) -> Piece:
        """The bins of values, found among the knots of their own axis."""
        k = (value[..., None] >= knots[..., 1:-1]).sum(-1, keepdim=True)
        both = torch.cat([k, k + 1], -1)
        ends = [table.gather(-1, both).unbind(-1) for table in (self.x, self.y, self.slopes)]
        (x, x_next), (y, y_next), (left, right) = ends
        return Piece(x, y, x_next - x, y_next - y, left, right)
