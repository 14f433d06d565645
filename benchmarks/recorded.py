"""What bounds a computation in torch, found by recording it: its matrix products, its transcendental
functions, its selections, and the bytes that it moves.

The operations that reach a kernel are recorded with their inputs while the computation runs once. Those of
one kind are then run again alone: no program that needs them is faster, however it is written around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

KINDS = {
    "products": {"mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot"},
    "transcendental": {
        *("exp", "expm1", "log", "log1p", "cos", "sin", "tanh", "sqrt", "rsqrt", "pow", "erf"),
        *("softplus", "sigmoid", "logaddexp", "logsumexp", "special_ndtri", "erfinv", "_softmax"),
    },
    "selection": {"topk", "kthvalue", "sort", "min", "amin", "argmin", "median", "searchsorted", "bucketize"},
}
VIEWS = {"view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze", "detach"}


class Operation(NamedTuple):
    """One call of a kernel, with its inputs; of one that changes its first input, with a copy of that."""

    kind: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    options: dict[str, Any]


class Recorded(TorchDispatchMode):
    """Operations and moved bytes of what runs within.

    Examples:
        >>> with Recorded() as found:
        ...     _ = torch.exp(torch.ones(4, 2) @ torch.ones(2, 3))
        >>> [operation.kind for operation in found.operations]
        ['products', 'transcendental']
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.moved = 0
        """Bytes that the kernels read and write, if none of it stays in a cache."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is not torch.ops.prim.device.default:
            with self:  # what is composed of others is recorded as these
                parts = func.decompose(*args, **options)
                if parts is not NotImplemented:
                    return parts
        written = str(func.overloadpacket.__name__)
        name = written.removesuffix("_")
        kind = next((kind for kind, names in KINDS.items() if name in names), None)
        if kind:
            changed = written.endswith("_")
            inputs = (args[0].clone(), *args[1:]) if changed else args
            self.operations.append(Operation(kind, func, inputs, options))
        out = func(*args, **options)
        if name not in VIEWS:
            self.moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors((args, out)))
        return out

    def again(self, *kinds: str) -> Callable[[], None]:
        """The operations of these kinds alone, to be timed."""
        chosen = [operation for operation in self.operations if operation.kind in kinds]

        def run() -> None:
            for _, function, inputs, options in chosen:
                function(*inputs, **options)

        return run


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among nested values."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors(part)
