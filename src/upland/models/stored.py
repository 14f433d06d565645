"""Stored weights: which values no training gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class StoredModule(nn.Module, ABC):
    """A module that knows which stored values it cannot have: abstract, `check_values` to write.

    Attributes:
        unbounded: names of its tensors that may hold infinities.
    """

    unbounded: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def check_values(self) -> None:
        """Refuse values that no training gives; raises ValueError."""


def check_values(model: nn.Module) -> None:
    """Refuse weights that no training gives; raises ValueError.

    Args:
        model: one of upland's own, with stored weights.
    """
    for place, module in model.named_modules():
        unbounded = module.unbounded if isinstance(module, StoredModule) else ()
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if value.is_floating_point() and name not in unbounded and not bool(value.isfinite().all()):
                raise ValueError(f"weights {place}.{name} are not all finite".replace(" .", " "))
        if isinstance(module, StoredModule):
            module.check_values()


def require(condition: bool | Tensor, what: str) -> None:
    """Refuse stored values that do not meet a condition; raises ValueError.

    Args:
        condition: to be met; every element of a tensor.
        what: the values and what they must be.
    """
    if not bool(condition.all() if isinstance(condition, Tensor) else condition):
        raise ValueError(what)
