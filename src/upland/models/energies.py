r"""Deep structured energies (DSEBM): Zhai, Cheng, Lu, Zhang, ICML 2016, arXiv 1605.07717.

The energy is a quadratic term minus the outputs of the units of a deterministic net's last layer:

    E(x) = 1/2 |x - b'|^2 - sum_k h_{L,k}(x),   h_0 = x,   h_l = softplus(W_l' h_{l-1} + b_l).

With L = 1 this is the free energy of a Gaussian restricted Boltzmann machine. Since softplus' = sigmoid, the
gradient is a tied-weight decoder with the encoder's own weights and sigmoid gates, and x - grad E(x) is an
auto-encoder:

    u_L = sigmoid(a_L),   u_{l-1} = sigmoid(a_{l-1}) * (W_l u_l),   f(x) = x - grad E(x) = b' + W_1 u_1,

where a_l = W_l' h_{l-1} + b_l. So the gradient costs one more set of matrix products, and training one
backward pass: no double differentiation, no sampling, no partition function.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import EnergyModel
from upland.models.nets import LEAST_COLUMNS, affine


class DenseEnergy(EnergyModel):
    """The fully connected energy for tables, with softplus at every layer.

    Args:
        width: number of inputs, D.
        hidden: units of each layer; its length is the depth L.
        generator: source of the initial weights; None draws from torch's own.

    Examples:
        >>> import torch
        >>> model = DenseEnergy(3, (16, 16), generator=torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self, width: int, hidden: Sequence[int] = (256, 256), generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        sizes = [width, *hidden]
        self.prior = nn.Parameter(torch.zeros(width, dtype=torch.float32))
        self.weights = nn.ParameterList(torch.empty(o, i, dtype=torch.float32) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for o in sizes[1:])
        for w in self.weights:
            nn.init.uniform_(w, -1 / math.sqrt(w.shape[1]), 1 / math.sqrt(w.shape[1]), generator=generator)

    def energy(self, x: Tensor) -> Tensor:
        """E(x) in units of sigma^2 nats when trained by denoising: `(N, D) -> (N,)`, summed in float64."""
        h = x
        for w, b in zip(self.weights, self.biases, strict=True):
            h = functional.softplus(self._affine(h, w.T, b))
        return 0.5 * (x - self.prior).square().sum(-1, dtype=torch.float64) - h.sum(-1, dtype=torch.float64)

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x) = x - grad E(x) through the tied weights: `(N, D) -> (N, D)`."""
        h, gates = x, []
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = self._affine(h, w.T, b)
            gates.append(torch.sigmoid(a))
            if i + 1 < len(self.weights):
                h = functional.softplus(a)
        u = gates.pop()
        for w in reversed(list(self.weights)[1:]):
            u = gates.pop() * self._product(u, w)
        return self._affine(u, self.weights[0], self.prior)

    def _affine(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        """`x @ w + b`; in evaluation a row's result does not depend on its position in the batch."""
        return affine(x, w, b, steady=not self.training)

    def _product(self, x: Tensor, w: Tensor) -> Tensor:
        """`x @ w`, likewise."""
        lacking = LEAST_COLUMNS - w.shape[1]
        if self.training or lacking <= 0:
            return x @ w
        return (x @ functional.pad(w, (0, lacking)))[:, :-lacking]
