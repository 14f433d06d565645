"""Arrays of numbers in any dress: torch tensors, masked arrays, lists, objects that are numbers."""

from __future__ import annotations

import sys
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(X: object) -> NDArray[Any]:
    """Anything that NumPy or torch reads as an array; what is masked becomes NaN.

    Raises:
        ValueError: For ragged lists.
    """
    X = from_tensor(X)
    if isinstance(X, np.ma.MaskedArray):
        return np.ma.filled(X.astype(np.float64), np.nan)
    return np.asarray(X)


def from_tensor(X: object) -> object:
    """A torch tensor as an array, anything else as it is; torch is not imported for it."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(X, torch.Tensor):
        return X
    tensor: Any = X.detach().cpu()
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def numbers(X: NDArray[Any], where: str) -> NDArray[Any]:
    """The array itself, one of objects that are all numbers as float64 with NaN for None.

    Args:
        X: An array of any shape.
        where: What to call it in messages.

    Raises:
        TypeError: For text, dates and other objects; the first is named.
        ValueError: For complex numbers.
    """
    if X.dtype.kind in "biuf":
        return X
    if X.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {where} has the dtype {X.dtype}")
    if X.dtype.kind != "O":
        raise TypeError(
            f"{where} has the dtype {X.dtype}, which is no number: "
            "text, dates and categories come in frames, one step a row"
        )
    for place, value in np.ndenumerate(X):
        real = isinstance(value, Number | np.bool_) and not isinstance(value, complex)
        if not (real or value is None):
            raise TypeError(
                f"{where}{list(place)} holds {value!r}, which is no number: "
                "text, dates and categories come in frames, one step a row"
            )
    return X.astype(np.float64)
