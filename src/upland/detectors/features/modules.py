"""Modules and functions of the user's own that make features of images: what they are, and copies of them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from upland.data.image.features import FeaturesError
from upland.detectors.features.network import weights_digest

Own = nn.Module | Callable[[Any], Any]
"""From images `(N, 3, H, W)` to maps `(N, C, h, w)` or vectors `(N, C)`, or several of them."""

RIGHT = "maps (N, C, h, w) or vectors (N, C)"


def check_own(module: Any, names: Sequence[str] = ()) -> None:
    """Refuse what cannot give features of images.

    Args:
        module: given by the user.
        names: that would do as well, which the message says.

    Raises:
        FeaturesError: it is no module and no function.
    """
    if isinstance(module, type):
        text = f"got the class {module.__qualname__}: give one of its objects"
    elif isinstance(module, str) or not callable(module):
        text = f"got {module!r}"
    elif isinstance(module, nn.Module) and any(is_lazy(w) or w.is_meta for w in _weights(module)):
        raise FeaturesError(f"features: {label_of(module)} has weights without values: call it once first")
    else:
        return
    named = f"one of {', '.join(map(repr, names))}, or " if names else ""
    own = f"a module or function from images (N, 3, H, W) to {RIGHT}"
    raise FeaturesError(f"features must be {named}{own}, {text}")


def label_of(module: Own) -> str:
    """The qualified name of the class of a module, or of a function, within the function that it is written
    in.

    Args:
        module: any.
    """
    named = type(module) if isinstance(module, nn.Module) else module
    name = str(getattr(named, "__qualname__", type(module).__qualname__))
    return name.rpartition("<locals>.")[2]


def digest_of(module: Own) -> str:
    """SHA-256 of the weights of a module, of a function of nothing.

    Args:
        module: any.
    """
    return weights_digest(module) if isinstance(module, nn.Module) else hashlib.sha256().hexdigest()


def described(module: Own) -> str:
    """What a module is, in words that tell it from another: its name and digest.

    Args:
        module: any.
    """
    return f"{label_of(module)}, SHA-256 {digest_of(module)}"


def copied(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, with weights of float32 and without gradients.

    Args:
        module: any.

    Raises:
        FeaturesError: it cannot be copied.
    """
    try:
        made = copy.deepcopy(module)
    except Exception as error:  # code of the user's
        raise FeaturesError(
            f"features: {label_of(module)} cannot be copied ({type(error).__name__}: {error}): give a "
            "function that calls it, with the module in evaluation mode"
        ) from error
    if any(weight.is_floating_point() and weight.dtype != torch.float32 for weight in _weights(made)):
        made.float()  # images are float32
    made.eval()
    return made if isinstance(made, torch.jit.ScriptModule) else made.requires_grad_(False)


def device_of(module: Own) -> torch.device:
    """Where the weights of a module are; the CPU for a function.

    Args:
        module: any.
    """
    weights = _weights(module) if isinstance(module, nn.Module) else []
    return weights[0].device if weights else torch.device("cpu")


def _weights(module: nn.Module) -> list[torch.Tensor]:
    """The weights, and what is stored beside them."""
    return [*module.parameters(), *module.buffers()]
