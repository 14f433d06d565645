"""What the program around has set of PyTorch and NumPy, put aside while upland computes.

A program may have set another default device, gradients off, automatic mixed precision, a lower precision
of products and convolutions or floating-point errors that raise. Scores do not depend on these: each public
function that computes runs under PyTorch's and NumPy's own defaults and leaves the program's settings as
they were. The default dtype holds for all threads and is not put aside: every tensor is made with a dtype
that is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from upland.models.process import EXACT, PRECISION, SHORTENED

_CPU = torch.device("cpu")


_USUAL: dict[str, Any] = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def are_usual() -> bool:
    """Whether this thread has PyTorch's and NumPy's default settings, as far as they change what is computed
    in float64.
    """
    return (
        np.geterr() == _USUAL
        and torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
        and torch.empty(0, dtype=torch.float64).device == _CPU
    )


@contextmanager
def usual_settings() -> Iterator[None]:
    """PyTorch's and NumPy's default settings in this thread, and the program's own again afterwards."""
    with ExitStack() as stack:
        stack.enter_context(np.errstate(**_USUAL))
        stack.enter_context(PRECISION.at(EXACT))
        stack.enter_context(SHORTENED.at(False))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device() != _CPU:
            stack.enter_context(_CPU)
        yield
