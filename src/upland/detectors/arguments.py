"""Constructor arguments: checked, and as plain data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import nn

from upland.catalogue import FEATURES
from upland.data.image.photographs import AUTO
from upland.detectors.features.modules import check_own
from upland.io.advice import Advice, Argument
from upland.io.cells import CellOptions

WHOLE = (
    *("patience", "batch_size", "epochs", "layers", "depth", "levels", "latent", "n_nets", "n_centres"),
    *("frame", "lags", "smoothing", "kernel_size"),
)
"""Arguments that count something, where an estimator has them; a default of None or "auto" leaves the number
open.
"""

CHOICES: dict[str, tuple[Any, ...]] = {
    "calibration": ("auto", "split", "cross"),
    "energy": ("auto", "experts", "multiscale", "dsebm"),
    "speed": ("auto", "fast"),
    "prior": ("auto", "kernel", "mixture", "centre"),
    "objective": ("denoising", "sliced"),
    "coupling": ("affine", "spline"),
    "fallback": ("gaussian", "none"),
    "pool": ("average", "max", "none"),
    "per": ("auto", "sequence", "step"),
}
"""Arguments that are one of some words, where an estimator has them."""


def device_of(name: str | torch.device) -> torch.device:
    """The device of this name, "auto" for CUDA where there is one; raises ValueError where it is no use."""
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device, dtype=torch.float32)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(Advice(Argument("device", name), f" cannot be used: {error}")) from None
    return device


def check_arguments(arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse words, sizes, rates and counts that make no sense, whichever of them an estimator has.

    Args:
        arguments: of the constructor, by name.
        defaults: of the same.

    Raises:
        ValueError: one is not as it must be; it is named.
    """
    for name, value in arguments.items():
        if name in CHOICES and not (isinstance(value, str) and value in CHOICES[name]):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, CHOICES[name]))}, got {value!r}")
        if name in WHOLE or (name == "filters" and isinstance(defaults[name], int)):
            _check_whole(name, value, defaults[name])
        elif name in ("hidden", "filters"):
            _check_sizes(name, value)
        if name in ("learning_rate", "noise"):
            _check_positive(name, value, defaults[name])
    if arguments.get("kernel_size", 1) % 2 == 0:
        raise ValueError(f"kernel_size must be an odd number, got {arguments['kernel_size']!r}")
    _check_kept(arguments.get("keep_rows", 0))
    _check_model(arguments["model"])
    if "features" in arguments:
        _check_features(arguments["features"], defaults["features"])
    check_live(arguments)


def check_live(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that make no sense among those that may change after a fit, the names of criteria
    aside.

    Args:
        arguments: of the constructor, by name.

    Raises:
        ValueError: one is not as it must be; it is named.
    """
    share, progress = arguments["contamination"], arguments["progress"]
    if not _same(share, "auto") and not (isinstance(share, Real) and 0 < float(share) <= 0.5):
        raise ValueError(f"contamination must be 'auto' or in (0, 0.5], got {share!r}")
    if not (isinstance(progress, bool | np.bool_) or _same(progress, "auto")):
        raise ValueError(f"progress must be True, False or 'auto', got {progress!r}")
    if not isinstance(arguments["device"], str | torch.device):
        raise ValueError(f"device must be 'auto' or the name of a device, got {arguments['device']!r}")
    if not isinstance(arguments["criterion"], str | None):
        raise ValueError(f"criterion must be 'auto' or a name, got {arguments['criterion']!r}")


def seed_of(random_state: Any) -> int:
    """The seed of a fit.

    Args:
        random_state: of the constructor.

    Raises:
        ValueError: it is neither a seed nor a RandomState.
    """
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError as error:
        raise ValueError(f"random_state: {error}") from None


def _same(value: Any, default: Any) -> bool:
    """Whether a value is a default of None or "auto"."""
    return value is None if default is None else isinstance(value, str) and value == default == "auto"


def _check_whole(name: str, value: Any, default: Any) -> None:
    if _same(value, default):
        return
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be {_open(default)}a whole number of at least 1, got {value!r}")


def _check_positive(name: str, value: Any, default: Any) -> None:
    if _same(value, default):
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be {_open(default)}a positive number, got {value!r}")


def _open(default: Any) -> str:
    return "'auto' or " if default == "auto" else ""


def _check_model(model: Any) -> None:
    if not (model is None or isinstance(model, nn.Module) or callable(model)):
        raise ValueError(
            f"model must be a torch module, or a function that makes one for a width, got {model!r}"
        )


def _check_features(features: Any, default: str) -> None:
    known = (AUTO, *FEATURES) if default == AUTO else tuple(FEATURES)
    if not isinstance(features, str) or features not in known:
        check_own(features, known)


def _check_kept(kept: Any) -> None:
    if isinstance(kept, bool) or not isinstance(kept, Integral) or not 0 <= int(kept) < 2**63:
        raise ValueError(f"keep_rows must be a whole number of at least 0, got {kept!r}")


def _check_sizes(name: str, sizes: Any) -> None:
    """Refuse what is neither "auto" nor the sizes of some layers; filters may be none."""
    if isinstance(sizes, str) and sizes == "auto":
        return
    what = {"hidden": "layer widths, as in hidden=(64, 64, 64)", "filters": "filters, as in filters=(16, 32)"}
    if isinstance(sizes, str | bytes) or not isinstance(sizes, Sequence | np.ndarray):
        raise ValueError(f"{name} must be 'auto' or a sequence of {what[name]}, got {sizes!r}")
    if name == "hidden" and not len(sizes):
        raise ValueError("hidden must name at least one layer, as in hidden=(64, 64, 64)")
    for i, units in enumerate(sizes):
        if isinstance(units, bool) or not isinstance(units, Integral) or units < 1:
            raise ValueError(f"{name}[{i}] must be a whole number of at least 1, got {units!r}")


def sizes_of(given: Any, default: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of layers, or the default ones for "auto".

    Args:
        given: by the user.
        default: for "auto".
    """
    return default if isinstance(given, str) else tuple(int(size) for size in given)


def whole_or_none(given: Any) -> int | None:
    """A whole number; None for None and "auto".

    Args:
        given: by the user.
    """
    return None if given is None or isinstance(given, str) else int(given)


def given_noise(given: Any, default: Any) -> Any:
    """The noise of a training: a number, or what "auto" stands for.

    Args:
        given: by the user.
        default: a number, "auto" for the distance of neighbours, or "bin" for one step of the pixels.
    """
    return default if isinstance(given, str) else float(given)


def frozen(value: Any) -> Any:
    """A list, an array or an index as a tuple, which nobody can change, an array of more dimensions as a copy
    that cannot be written; text and numbers as they are.

    Args:
        value: given by the user.
    """
    if isinstance(value, np.ndarray) and value.ndim > 1:
        own = value.copy()
        own.setflags(write=False)
        return own
    return tuple(value) if isinstance(value, Collection) and not isinstance(value, str | nn.Module) else value


def cell_options(estimator: Any) -> CellOptions:
    """How an estimator's arguments say that cells are written.

    Args:
        estimator: has the arguments of `CellOptions`.

    Raises:
        ValueError, TypeError: one is not as it must be; it is named.
    """
    missing = estimator.missing
    if isinstance(missing, str | bytes | Mapping) or not isinstance(missing, Collection):
        raise TypeError(f"missing must be a list, such as missing=['?', -999], got {missing!r}")
    listed = sorted(missing, key=repr) if isinstance(missing, set | frozenset) else missing
    values = tuple(value.item() if isinstance(value, np.generic) else value for value in listed)
    return CellOptions(estimator.decimal, estimator.thousands, values, estimator.dayfirst, estimator.dates)


def plain_argument(value: Any) -> Any:
    """A constructor's argument as plain data, equal in every process: numbers as Python's, an array of more
    dimensions as its shape and digest, an object as its own name or that of its type.

    Args:
        value: given by the user.
    """
    if isinstance(value, np.ndarray) and value.ndim > 1:
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype} {value.shape}, SHA-256 {content}"
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, nn.Module | torch.device):
        return str(value)
    if isinstance(value, Collection):
        return [plain_argument(part) for part in value]
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def given(estimator: BaseEstimator, names: Sequence[str]) -> list[str]:
    """Those of some arguments of an estimator that are not their default.

    Args:
        estimator: any.
        names: of its arguments.
    """
    values = estimator.get_params(deep=False)
    defaults = {name: item.default for name, item in signature(type(estimator).__init__).parameters.items()}
    return [name for name in names if not _equal(values[name], defaults[name])]


def contradiction(estimator: BaseEstimator, name: str, other: str) -> ValueError:
    """The error of an argument that the model that another one asks for does not have.

    Args:
        estimator: any.
        name: of the argument that has no meaning.
        other: of the argument that asks for the model.
    """
    value = estimator.get_params(deep=False)[other]
    beside = Argument(other, value) if other == "energy" else Argument(other)
    return ValueError(Advice(Argument(name), " has no meaning beside ", beside, ": leave one of them out"))


def _equal(value: Any, default: Any) -> bool:
    """Whether a value is the default, which is a word, a number or None."""
    return type(value) is type(default) and bool(value == default)
