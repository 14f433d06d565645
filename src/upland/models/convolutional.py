r"""Convolutional structured energies: the spatial model of DSEBM (Zhai, Cheng, Lu, Zhang, ICML 2016,
arXiv 1605.07717).

The energy of an image has the form of the dense one, with convolutions and poolings below:

    E(x) = 1/2 |x - b'|^2 - sum_k h_{L,k}(x),   h_0 = x,
    h_l = P(softplus(W_l * h_{l-1} + b_l))   for a convolution, W_l shared by all positions,
    h_l = softplus(W_l' h_{l-1} + b_l)       for a dense layer above them.

A convolution's adjoint is the transposed convolution with the same weights. A pooling is linear once the
inputs that it takes are known: the adjoint of an average gives an equal part to each of its inputs, that of a
maximum gives all to the one taken. So the gradient is again a tied-weight decoder,

    u_L = 1,   u_{l-1} = W_l^T (sigmoid(a_l) P_l^T u_l),   f(x) = x - grad E(x) = b' + u_0,

and training needs one backward pass.

A single centre b' assumes that normal images are scattered around one image. With K of them the first term
becomes that of a mixture of Gaussians as wide as the noise,

    -s^2 log sum_k w_k exp(-|x - c_k|^2 / (2 s^2)),   with the gradient x - sum_k r_k(x) c_k,

where r_k is the posterior probability of centre k given x: a hidden unit of K states, of which softplus is
the case of two. K = 1 is the plain term. Where the centres are all training images and there is no other
layer it is, before any training, the optimum of denoising on them: the kernel density of that width.
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
"""Factor of the first layer's initial weights where the centres are training images."""


class ConvolutionalEnergy(EnergyModel):
    """The convolutional energy for images `(N, C, H, W)`, with softplus at every layer.

    Each convolution keeps the size (zeros around the image) and its pooling halves it, rounded up: what a
    window of two by two lacks beyond an odd edge counts as zero.

    Args:
        shape: of one image, (C, H, W).
        filters: of each convolution; its length is their number.
        kernel_size: side of a filter, an odd number.
        pool: "average", "max", or "none" for convolutions of stride 2 instead.
        hidden: units of each dense layer above the convolutions; may be empty.
        n_centres: number of centres of the first term, K; the paper's model has one. Several are set to
            training images by `init_from_data`.
        spread: width s of the Gaussian around each of several centres: the scale of the training noise.
        generator: source of the initial weights; None draws from torch's own.

    Raises:
        ValueError: `kernel_size` is even, `pool` is none of these, or there is no centre.

    Examples:
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
        self.centres = nn.Parameter(torch.zeros(n_centres, channels * height * width, dtype=torch.float32))
        self.mixture_logits = (
            nn.Parameter(torch.zeros(n_centres, dtype=torch.float32)) if n_centres > 1 else None
        )
        self.conv_weights = nn.ParameterList(
            torch.empty(o, i, kernel_size, kernel_size, dtype=torch.float32)
            for i, o in pairwise([channels, *filters])
        )
        for _ in filters:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.top = ([channels, *filters][-1], height, width)
        sizes = [math.prod(self.top), *hidden]
        self.weights = nn.ParameterList(torch.empty(o, i, dtype=torch.float32) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(n, dtype=torch.float32) for n in [*filters, *hidden])
        for w in [*self.conv_weights, *self.weights]:
            bound = 1 / math.sqrt(w[0].numel())
            nn.init.uniform_(w, -bound, bound, generator=generator)
        if n_centres > 1:
            nn.init.normal_(self.centres, generator=generator)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Set several centres to training images, drawn without repetition as far as there are enough, and
        make the other layers a small correction at first; a single centre is left as it is.

        Args:
            x: `(N, C, H, W)`, at least one.
            generator: source of the choice; None draws from torch's own.
        """
        if self.mixture_logits is None:
            return
        order = torch.randperm(x.shape[0], generator=generator).to(x.device)
        chosen = order.repeat(-(-len(self.mixture_logits) // len(order)))[: len(self.mixture_logits)]
        self.centres.copy_(x[chosen].flatten(1))
        for w in list(self.conv_weights)[:1] or list(self.weights)[:1]:
            w.mul_(CORRECTION)

    def energy(self, x: Tensor) -> Tensor:
        """E(x) in units of sigma^2 nats when trained by denoising: `(N, C, H, W) -> (N,)`, in float64."""
        h, layers = self._upward(x)
        first = self._prior(x.flatten(1))
        return first - h.sum(1, dtype=torch.float64) if layers else first

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x) = x - grad E(x) through the tied weights: `(N, C, H, W) -> (N, C, H, W)`."""
        h, layers = self._upward(x)
        centre = self._centre(x.flatten(1)).reshape(-1, *self.shape)
        if not layers:
            return centre.expand(x.shape)
        u = torch.ones_like(h)
        for w in reversed(list(self.weights)):
            u = self._affine(layers.pop().slope * u, w, None)
        u = u.reshape(-1, *self.top)
        for w in reversed(list(self.conv_weights)):
            layer = layers.pop()
            u = layer.slope * _unpooled(u, layer, self.pool)
            u = self._back_to(layer.below, u, w)
        return centre + u.reshape(x.shape)

    # -- the first term

    def _prior(self, x: Tensor) -> Tensor:
        """The first term of the energy: `(N, D) -> (N,)`, in float64."""
        if self.mixture_logits is None:
            return 0.5 * (x - self.centres).square().sum(1, dtype=torch.float64)
        most = self.spread**2 * torch.logsumexp(self._logits(x), 1).double()
        return 0.5 * x.square().sum(1, dtype=torch.float64) - most

    def _centre(self, x: Tensor) -> Tensor:
        """The mean of the centres by their posterior probabilities: `(N, D) -> (N, D)`, of one `(1, D)`."""
        if self.mixture_logits is None:
            return self.centres
        return self._affine(torch.softmax(self._logits(x), 1), self.centres, None)

    def _logits(self, x: Tensor) -> Tensor:
        """The logits of the centres, log (w_k exp((|x|^2 - |x - c_k|^2) / 2 s^2)): `(N, D) -> (N, K)`."""
        assert self.mixture_logits is not None
        scaled = self.centres / self.spread**2
        offset = torch.log_softmax(self.mixture_logits, 0) - 0.5 * (scaled * self.centres).sum(1)
        return self._affine(x, scaled.T, offset)

    # -- layers and their adjoints

    def _upward(self, x: Tensor) -> tuple[Tensor, list["_Layer"]]:
        """The last layer's units, `(N, K)`, and what the gradient needs of each layer."""
        h, layers, biases = x, [], list(self.biases)
        for w, b in zip(self.conv_weights, biases, strict=False):
            a = functional.conv2d(h, w, b, self.stride, w.shape[-1] // 2)
            below = h.shape[2:]
            h, chosen = _pooled(functional.softplus(a), self.pool)
            layers.append(_Layer(torch.sigmoid(a), below, chosen))
        h = h.flatten(1)
        for w, b in zip(self.weights, biases[len(self.conv_weights) :], strict=True):
            a = self._affine(h, w.T, b)
            h = functional.softplus(a)
            layers.append(_Layer(torch.sigmoid(a)))
        return h, layers

    def _back_to(self, size: torch.Size, u: Tensor, w: Tensor) -> Tensor:
        """The adjoint of the convolution of inputs of this size."""
        pad = w.shape[-1] // 2
        lacking = [n - self.stride * (m - 1) - 1 for n, m in zip(size, u.shape[2:], strict=True)]
        return functional.conv_transpose2d(u, w, None, self.stride, pad, lacking)

    def _affine(self, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        """`x @ w + b`; in evaluation a row's result does not depend on its position in the batch."""
        columns = w.shape[1]
        if not self.training and columns < LEAST_COLUMNS:
            w = functional.pad(w, (0, LEAST_COLUMNS - columns))
        product = (x @ w)[:, :columns]
        return product if b is None else product + b


class _Layer(NamedTuple):
    """What the gradient needs of a layer.

    Args:
        slope: of its softplus.
        below: height and width of a convolution's input.
        chosen: the input that each maximum took.
    """

    slope: Tensor
    below: torch.Size = torch.Size()
    chosen: Tensor | None = None


def _pooled(h: Tensor, pool: Pool) -> tuple[Tensor, Tensor | None]:
    """Windows of two by two, cut off at the edge; of a maximum also the input taken."""
    if pool == "average":
        return functional.avg_pool2d(h, 2, ceil_mode=True, divisor_override=4), None
    if pool == "max":
        h, chosen = functional.max_pool2d(h, 2, ceil_mode=True, return_indices=True)
        return h, chosen
    return h, None


def _unpooled(u: Tensor, layer: _Layer, pool: Pool) -> Tensor:
    """The adjoint: the part that each input of the windows receives."""
    height, width = layer.slope.shape[2:]
    if pool == "average":
        return functional.interpolate(u / 4, scale_factor=2, mode="nearest")[..., :height, :width]
    if layer.chosen is not None:
        return functional.max_unpool2d(u, layer.chosen, [2, 2], output_size=[height, width])
    return u
