"""The bound: the matrix products that a dense energy cannot do without, timed alone into ready buffers.

For layers W_l of shape (out, in) and a batch of N rows, scoring by reconstruction needs x W' and u W of every
layer. A training step needs besides: through the decoder one input gradient and one weight gradient of every
layer, through the encoder one weight gradient of every layer and the input gradient of all but the first
(nobody asks for the gradient of the data).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from upland.models.kernel_prior import CENTRES_AT_ONCE
from upland.models.multiscale import MultiscaleEnergy

Products = Callable[[], None]
Triple = tuple[Tensor, Tensor, Tensor]  # left, right, out


def scoring_products(rows: int, sizes: Sequence[int], decode: bool = True) -> Products:
    """Forward products of a net with these layer sizes, and the transposed way back where `decode`."""
    triples = []
    for inner, outer in pairwise(sizes):
        x, w, u = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(rows, outer)
        triples.append((x, w.t(), torch.empty(rows, outer)))
        if decode:
            triples.append((u, w, torch.empty(rows, inner)))
    return _multiply(triples)


def training_products(rows: int, sizes: Sequence[int]) -> Products:
    """All products of one step of denoising score matching with the explicit reconstruction."""
    triples: list[Triple] = []
    for layer, (inner, outer) in enumerate(pairwise(sizes)):
        x, w, u = torch.randn(rows, inner), torch.randn(outer, inner), torch.randn(rows, outer)
        to_inner, to_outer = torch.empty(rows, inner), torch.empty(rows, outer)
        to_weight = torch.empty(outer, inner)
        triples += [(x, w.t(), to_outer), (u, w, to_inner)]  # encode, decode
        triples += [(x, w.t(), to_outer), (u.t(), x, to_weight)]  # back through the decoder: input, weight
        triples += [(u.t(), x, to_weight)]  # back through the encoder: weight
        if layer > 0:
            triples += [(u, w, to_inner)]  # and input
    return _multiply(triples)


def batched_products(rows: int, sizes: Sequence[int], n_nets: int) -> Products:
    """The same of a training step of several nets at once, each on rows of its own."""
    triples: list[Triple] = []
    for layer, (inner, outer) in enumerate(pairwise(sizes)):
        x, w, u = (torch.randn(n_nets, *shape) for shape in ((rows, inner), (inner, outer), (rows, outer)))
        to_inner, to_outer, to_weight = torch.empty_like(x), torch.empty_like(u), torch.empty_like(w)
        there, back, weight = (x, w, to_outer), (u, w.mT, to_inner), (x.mT, u, to_weight)
        triples += [there, back, there, weight, weight, *([back] if layer > 0 else [])]
    return _multiply(triples)


def multiscale_products(rows: int, model: MultiscaleEnergy) -> Products:
    """What scoring a block of rows by a multi-scale energy needs: every net's layers there and back at every
    scale, but the first layer there, which serves every scale, once; and the distances to the prior's centres
    in every view.
    """
    triples: list[Triple] = []
    for layer, w in enumerate(model.weights):
        n_nets, inner, outer = w.shape
        x, u = torch.randn(n_nets, rows, inner), torch.randn(n_nets, rows, outer)
        there, back = (x, w.detach(), torch.empty_like(u)), (u, w.detach().mT, torch.empty_like(x))
        triples += [there] * (len(model.scales) if layer else 1) + [back] * len(model.scales)
    if model.prior is not None:
        x = torch.randn(rows, model.prior.centres.shape[1])
        for seen in model.prior.viewed[:, :, :-1].contiguous():
            triples += [(part, x.T, torch.empty(len(part), rows)) for part in seen.split(CENTRES_AT_ONCE)]
    return _multiply(triples)


def _multiply(triples: Sequence[Triple]) -> Products:
    def products() -> None:
        for left, right, out in triples:
            torch.matmul(left, right, out=out)

    return products
