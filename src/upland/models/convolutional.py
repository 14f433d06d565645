r"""Convolutional structured energies: the spatial model of DSEBM (Zhai, Cheng, Lu, Zhang, ICML 2016,
arXiv 1605.07717).

The energy of a picture has the form of the dense one, with convolutions and poolings below:

    E(x) = 1/2 |x - b'|^2 - sum_k h_{L,k}(x),   h_0 = x,
    h_l = P(softplus(W_l * h_{l-1} + b_l))   for a convolution, W_l shared by all places,
    h_l = softplus(W_l' h_{l-1} + b_l)       for a dense layer above them.

A convolution's adjoint is the transposed convolution with the same weights, and a pooling is linear once it
is known which input it takes: an average gives each of its inputs an equal part back, a maximum gives all to
the one that was chosen. So the gradient is again a tied-weight decoder,

    u_L = 1,   u_{l-1} = W_l^T (sigmoid(a_l) P_l^T u_l),   f(x) = x - grad E(x) = b' + u_0,

and training needs one backward pass.

One centre b' says that normal pictures are scattered around a single one. With K of them the first term
becomes that of a mixture of Gaussians as wide as the noise,

    -s^2 log sum_k w_k exp(-|x - c_k|^2 / (2 s^2)),   with the gradient x - sum_k r_k(x) c_k,

where r_k is the share of centre k in x: a hidden unit of K states, of which softplus is the case of two. It
is the plain term where K = 1; where the centres are all the training pictures and there is no other layer it
is, before any training, what denoising tends to without limits: the kernel density of that width.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import EnergyModel
from upland.models.nets import LEAST_COLUMNS

Pool = Literal["average", "max", "none"]
POOLS = ("average", "max", "none")
CORRECTION = 0.1
"""What the first layer's weights are multiplied by where the centres lie on training pictures."""


class ConvolutionalEnergy(EnergyModel):
    """The convolutional energy for pictures `(N, C, H, W)`, with softplus at every layer.

    Each convolution keeps the size (zeros around the picture) and its pooling halves it, rounded up: what a
    window of two by two lacks beyond an odd edge counts as zero.

    Args:
        shape: of one picture, (C, H, W).
        filters: of each convolution; its length is their number.
        kernel_size: side of a filter, an odd number.
        pool: "average", "max", or "none" for convolutions that move two places at a time instead.
        hidden: units of each dense layer above the convolutions; may be empty.
        n_centres: number of centres of the first term, K; the paper's model has one. Several are set to
            training images by `init_from_data`.
        spread: width s of the Gaussian around each of several centres: the scale of the training noise.
        generator: source of the initial weights; None draws from torch's own.

    Raises:
        ValueError: `kernel_size` is even, `pool` is none of these, or there is no centre.

    Example:
        >>> import torch
        >>> model = ConvolutionalEnergy((1, 28, 28), generator=torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5])
    """

    may_stay_unchanged = ("mixture_logits",)
    """Between centres at one point no gradient can shift the weights."""

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int] = (16, 32),
        kernel_size: int = 5,
        pool: Pool = "average",
        hidden: Sequence[int] = (128,),
        n_centres: int = 1,
        spread: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size must be an odd number, got {kernel_size}")
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
        if n_centres < 1 or spread <= 0:
            raise ValueError(f"n_centres and spread must be positive, got {n_centres} and {spread}")
        self.shape, self.pool, self.spread = tuple(shape), pool, spread
        self.stride = 2 if pool == "none" else 1
        channels, height, width = self.shape
        self.centres = nn.Parameter(torch.zeros(n_centres, channels * height * width))
        self.mixture_logits = nn.Parameter(torch.zeros(n_centres)) if n_centres > 1 else None
        self.kernels = nn.ParameterList(
            torch.empty(o, i, kernel_size, kernel_size) for i, o in pairwise([channels, *filters])
        )
        for _ in filters:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.top = ([channels, *filters][-1], height, width)
        sizes = [math.prod(self.top), *hidden]
        self.weights = nn.ParameterList(torch.empty(o, i) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(n) for n in [*filters, *hidden])
        for w in [*self.kernels, *self.weights]:
            bound = 1 / math.sqrt(w[0].numel())
            nn.init.uniform_(w, -bound, bound, generator=generator)
        if n_centres > 1:
            nn.init.normal_(self.centres, generator=generator)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Lay several centres on training pictures, drawn without repetition as far as there are enough, and
        let the other layers begin as a small correction; a single centre stays.

        Args:
            x: `(N, C, H, W)`, at least one.
            generator: source of the choice; None draws from torch's own.
        """
        if self.mixture_logits is None:
            return
        order = torch.randperm(x.shape[0], generator=generator).to(x.device)
        chosen = order.repeat(-(-len(self.mixture_logits) // len(order)))[: len(self.mixture_logits)]
        self.centres.copy_(x[chosen].flatten(1))
        for w in list(self.kernels)[:1] or list(self.weights)[:1]:
            w.mul_(CORRECTION)

    def energy(self, x: Tensor) -> Tensor:
        """E(x) in units of sigma^2 nats when trained by denoising: `(N, C, H, W) -> (N,)`, in float64."""
        h, steps = self._upward(x)
        first = self._prior(x.flatten(1))
        return first - h.sum(1, dtype=torch.float64) if steps else first

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x) = x - grad E(x) through the tied weights: `(N, C, H, W) -> (N, C, H, W)`."""
        h, steps = self._upward(x)
        centre = self._centre(x.flatten(1)).reshape(-1, *self.shape)
        if not steps:
            return centre.expand(x.shape)
        u = torch.ones_like(h)
        for w in reversed(list(self.weights)):
            u = self._affine(steps.pop().slope * u, w, None)
        u = u.reshape(-1, *self.top)
        for w in reversed(list(self.kernels)):
            step = steps.pop()
            u = step.slope * _unpooled(u, step, self.pool)
            u = self._back_to(step.below, u, w)
        return centre + u.reshape(x.shape)

    # -- the first term ----------------------------------------------------------------------------

    def _prior(self, x: Tensor) -> Tensor:
        """The first term of the energy: `(N, D) -> (N,)`, in float64."""
        if self.mixture_logits is None:
            return 0.5 * (x - self.centres).square().sum(1, dtype=torch.float64)
        most = self.spread**2 * torch.logsumexp(self._closeness(x), 1).double()
        return 0.5 * x.square().sum(1, dtype=torch.float64) - most

    def _centre(self, x: Tensor) -> Tensor:
        """The mean of the centres by their shares in x, or the only one: `(N, D) -> (N or 1, D)`."""
        if self.mixture_logits is None:
            return self.centres
        return self._affine(torch.softmax(self._closeness(x), 1), self.centres, None)

    def _closeness(self, x: Tensor) -> Tensor:
        """How near each centre is, log (w_k exp((|x|^2 - |x - c_k|^2) / 2 s^2)): `(N, D) -> (N, K)`."""
        assert self.mixture_logits is not None
        scaled = self.centres / self.spread**2
        offset = torch.log_softmax(self.mixture_logits, 0) - 0.5 * (scaled * self.centres).sum(1)
        return self._affine(x, scaled.T, offset)

    # -- layers and their adjoints -----------------------------------------------------------------

    def _upward(self, x: Tensor) -> tuple[Tensor, list["_Step"]]:
        """The last layer, `(N, K)`, and what the way back needs of each layer."""
        h, steps, biases = x, [], list(self.biases)
        for w, b in zip(self.kernels, biases, strict=False):
            a = functional.conv2d(h, w, b, self.stride, w.shape[-1] // 2)
            below = h.shape[2:]
            h, chosen = _pooled(functional.softplus(a), self.pool)
            steps.append(_Step(torch.sigmoid(a), below, chosen))
        h = h.flatten(1)
        for w, b in zip(self.weights, biases[len(self.kernels) :], strict=True):
            a = self._affine(h, w.T, b)
            h = functional.softplus(a)
            steps.append(_Step(torch.sigmoid(a)))
        return h, steps

    def _back_to(self, size: torch.Size, u: Tensor, w: Tensor) -> Tensor:
        """The adjoint of the convolution of inputs of this size."""
        pad = w.shape[-1] // 2
        lacking = [n - self.stride * (m - 1) - 1 for n, m in zip(size, u.shape[2:], strict=True)]
        return functional.conv_transpose2d(u, w, None, self.stride, pad, lacking)

    def _affine(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """`x @ w + b`; in evaluation a row's result does not depend on its place in the batch."""
        columns = w.shape[1]
        if not self.training and columns < LEAST_COLUMNS:
            w = functional.pad(w, (0, LEAST_COLUMNS - columns))
        product = (x @ w)[:, :columns]
        return product if b is None else product + b


class _Step(NamedTuple):
    """What the way back needs of a layer.

    Args:
        slope: of its softplus.
        below: height and width of a convolution's input.
        chosen: which input each maximum took.
    """

    slope: Tensor
    below: torch.Size = torch.Size()
    chosen: Tensor | None = None


def _pooled(h: Tensor, pool: Pool) -> tuple[Tensor, Tensor | None]:
    """Windows of two by two, cut off at the edge; of a maximum also which it took."""
    if pool == "average":
        return functional.avg_pool2d(h, 2, ceil_mode=True, divisor_override=4), None
    if pool == "max":
        h, chosen = functional.max_pool2d(h, 2, ceil_mode=True, return_indices=True)
        return h, chosen
    return h, None


def _unpooled(u: Tensor, step: _Step, pool: Pool) -> Tensor:
    """The adjoint: what each input of the windows gets."""
    height, width = step.slope.shape[2:]
    if pool == "average":
        return functional.interpolate(u / 4, scale_factor=2, mode="nearest")[..., :height, :width]
    if step.chosen is not None:
        return functional.max_unpool2d(u, step.chosen, [2, 2], output_size=[height, width])
    return u
