"""A detector's constructor arguments: checked, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

WHOLE = (
    "patience",
    "smoothing",
    "batch_size",
    "epochs",
    "frame",
    "layers",
    "levels",
    "depth",
    "latent",
    "members",
)
"""Arguments that count something, where they are told."""


def one_of(table: Mapping[str, Any], name: str, argument: str) -> Any:
    """The entry of this name; raises ValueError with the names there are."""
    if name not in table:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, table))}, got {name!r}")
    return table[name]


def device_of(name: str) -> torch.device:
    """The device of this name, "auto" for CUDA where there is one; raises ValueError where it is no use."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used: {error}") from None
    return device


def check_numbers(arguments: Mapping[str, Any]) -> None:
    """Refuse sizes, rates and counts that make no sense.

    Args:
        arguments: of the constructor, by name.

    Raises:
        ValueError: one is not as it must be; it is named.
    """
    _check_hidden(arguments["hidden"])
    model = arguments["model"]
    if not (model is None or isinstance(model, nn.Module) or callable(model)):
        raise ValueError(
            f"model must be a torch module, or a function that makes one for a width, got {model!r}"
        )
    whole = {
        name: arguments[name] for name in WHOLE if name in arguments and arguments[name] not in (None, "auto")
    }
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if arguments.get("members", "auto") is None:
        raise ValueError("members must be 'auto' or a whole number of at least 1, got None")
    kept: Any = arguments["keep_rows"]
    if not isinstance(kept, Integral) or kept < 0:
        raise ValueError(f"keep_rows must be a whole number of at least 0, got {kept!r}")
    positive: dict[str, Any] = {"learning_rate": arguments["learning_rate"], "noise": arguments["noise"]}
    for name, number in positive.items():
        if (name, number) in (("noise", "auto"), ("learning_rate", None)):
            continue
        if not isinstance(number, Real) or not 0 < float(number) < np.inf:
            raise ValueError(f"{name} must be a positive number, got {number!r}")


def _check_hidden(hidden: Any) -> None:
    if isinstance(hidden, str) and hidden == "auto":
        return
    if isinstance(hidden, str) or not isinstance(hidden, Sequence | np.ndarray):
        raise ValueError(
            f"hidden must be 'auto' or a sequence of layer widths, as in hidden=(64, 64, 64), got {hidden!r}"
        )
    if not len(hidden):
        raise ValueError("hidden must name at least one layer, as in hidden=(64, 64, 64)")
    for i, units in enumerate(hidden):
        if not isinstance(units, Integral) or units < 1:
            raise ValueError(f"hidden[{i}] must be a whole number of at least 1, got {units!r}")


def plain_argument(value: Any) -> Any:
    """A constructor's argument as plain data, equal in every process: numbers of NumPy's as Python's, an
    object as its type's name.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_argument(part) for part in value]
    return str(value) if isinstance(value, nn.Module | torch.device) else type(value).__qualname__


def check_rate(alpha: Any, control: str) -> None:
    """Refuse what is no rate to flag at; raises ValueError."""
    if not isinstance(alpha, Real) or not 0 < float(alpha) < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    if control not in ("false_alarm", "fdr"):
        raise ValueError(f"control must be 'false_alarm' or 'fdr', got {control!r}")
