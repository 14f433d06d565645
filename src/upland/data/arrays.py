"""Arrays of numbers from whatever holds them: torch tensors, masked arrays, lists, arrays of objects."""

from __future__ import annotations

import sys
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.io.advice import Advice

RAGGED = "the rows have different lengths, or are nested too deeply"


def as_array(X: object, ragged: str = RAGGED) -> NDArray[Any]:
    """Anything that NumPy or torch reads as an array; a masked array stays one.

    Args:
        X: An array, tensor, list, number, or object with the array protocol.
        ragged: What to say of lists whose parts have different lengths.

    Raises:
        ValueError: For ragged lists.
    """
    X = from_tensor(X)
    try:
        return np.asanyarray(X) if isinstance(X, np.ma.MaskedArray) else np.asarray(X)
    except ValueError as error:
        raise ValueError(f"{ragged}: {error}") from None


def as_cells(X: object) -> NDArray[Any]:
    """A table without names as an array, numbers beside text as numbers; raises as `as_array`."""
    array = as_array(X)
    return np.asarray(X, dtype=object) if array.dtype.kind in "US" else array


def filled(X: NDArray[Any]) -> NDArray[Any]:
    """An array with NaN where a masked one is masked."""
    return np.ma.filled(X.astype(np.float64), np.nan) if isinstance(X, np.ma.MaskedArray) else X


def is_tensor(X: object) -> bool:
    """Whether this is a torch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def from_tensor(X: object) -> object:
    """A torch tensor, of any device, as an array, anything else unchanged."""
    if not is_tensor(X):
        return X
    tensor: Any = X
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    return tensor.float().numpy() if str(tensor.dtype) == "torch.bfloat16" else tensor.numpy()


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
        raise ValueError(Advice("Complex data not supported: ", where, f" has the dtype {X.dtype}"))
    if X.dtype.kind != "O":
        raise TypeError(
            Advice(
                where,
                f" has the dtype {X.dtype}, which is no number: ",
                "text, dates and categories come in frames, one step a row",
            )
        )
    for position, value in np.ndenumerate(X):
        real = isinstance(value, Number | np.bool_) and not isinstance(value, complex)
        if not (real or value is None):
            raise TypeError(
                f"{where}{list(position)} holds {value!r}, which is no number: "
                "text, dates and categories come in frames, one step a row"
            )
    return X.astype(np.float64)
