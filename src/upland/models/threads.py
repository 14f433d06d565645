"""One thread where more would only get in each other's way.

The matrix products of a small net take microseconds; sharing them out costs more than it saves, and on a
busy machine the threads wait for each other a hundred times longer than they work. It also makes results
equal on any number of cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

PRODUCTS = 4e8
"""Multiplications in a batch from which the threads that PyTorch was given are used."""


@contextmanager
def fitting_threads(model: nn.Module, rows: int) -> Iterator[None]:
    """Run with one thread if a batch of `rows` is little work for the model, and put the number back."""
    before = torch.get_num_threads()
    if rows * sum(p.numel() for p in model.parameters()) < PRODUCTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
