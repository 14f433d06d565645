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


def _multiply(triples: Sequence[Triple]) -> Products:
    def products() -> None:
        for left, right, out in triples:
            torch.mm(left, right, out=out)

    return products
