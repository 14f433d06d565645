"""A dense net that couplings share, and matrix products that do not depend on a row's position."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_COLUMNS = 16
"""Matrix products with fewer columns sum in an order that depends on the row's position in the batch."""

FAINT = 0.01
"""What the last layer's first weights are multiplied by, so that a coupling starts near the identity."""


def affine(x: Tensor, w: Tensor, b: Tensor, steady: bool, times: float = 1.0) -> Tensor:
    """`times * (x @ w + b)`.

    Args:
        x: `(N, I)`.
        w: `(I, O)`.
        b: `(O,)`.
        steady: whether a row's result must not depend on its position in the batch.
        times: a factor of it all.
    """
    lacking = LEAST_COLUMNS - w.shape[1]
    if not steady or lacking <= 0:
        return torch.addmm(b, x, w, beta=times, alpha=times)
    b, w = functional.pad(b, (0, lacking)), functional.pad(w, (0, lacking))
    return torch.addmm(b, x, w, beta=times, alpha=times)[:, :-lacking]


class TanhNet(nn.Module):
    """Dense layers with tanh between them, with an output near zero at first.

    Its hidden units are bounded, so its output is: a coupling's effect on one half of a row stays bounded
    however far out the other half lies.

    Args:
        width: inputs; with none the output is the same for all rows.
        hidden: units of each hidden layer.
        outputs: number of outputs.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(
        self, width: int, hidden: Sequence[int], outputs: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        sizes = [width, *hidden, outputs]
        self.weights = nn.ParameterList(torch.empty(i, o, dtype=torch.float32) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for o in sizes[1:])
        for w in self.weights:
            bound = 1 / math.sqrt(max(1, w.shape[0]))
            nn.init.uniform_(w, -bound, bound, generator=generator)
        with torch.no_grad():
            self.weights[-1].mul_(FAINT)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, width) -> (N, outputs)`."""
        h = x
        *inner, last = zip(self.weights, self.biases, strict=True)
        for w, b in inner:
            gate = torch.sigmoid(affine(h, w, b, not self.training, times=2.0))
            h = torch.add(-torch.ones_like(b), gate, alpha=2)  # tanh, three times as fast
        return affine(h, *last, not self.training)
