"""One thread for small models.

The matrix products of a small net take microseconds; dividing them among threads costs more than it saves,
and on a busy machine the threads wait for each other. One thread also makes results equal on any number of
cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

PRODUCTS = 4e8
"""Multiplications of a batch from which all of PyTorch's threads are used."""


@contextmanager
def fitting_threads(model: nn.Module, rows: int) -> Iterator[None]:
    """Run with one thread if a batch of `rows` is little work for the model; the number is restored after."""
    before = torch.get_num_threads()
    if rows * sum(p.numel() for p in model.parameters()) < PRODUCTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
