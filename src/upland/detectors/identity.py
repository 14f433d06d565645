"""What tells one module or function of the user's from another, in every process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

_DEEPEST = 6
"""How far values within values are followed."""


def identity_of_code(value: Any) -> str:
    """A name and a digest of what a module or function computes with; of no address in memory.

    Of a function these are its code, its defaults, and the plain values that it closes over or reads from
    its file; of a module its form, the code of its class, its weights and its plain attributes.

    Args:
        value: a module, a function, a class, or an object that can be called.
    """
    digest = hashlib.sha256()
    for part in _parts(value, _DEEPEST):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    name = value if isinstance(value, nn.Module) else _name(value)
    return f"{name} {digest.hexdigest()[:16]}"


def _name(value: Any) -> str:
    name: str = getattr(value, "__qualname__", type(value).__qualname__)
    return name


def _parts(value: Any, depth: int) -> Iterator[str]:
    """What a value is, piece by piece."""
    yield type(value).__qualname__
    if depth < 0:
        return
    if value is None or isinstance(value, str | bytes | int | float | complex):
        yield repr(value)
    elif isinstance(value, Tensor):
        yield from _of_numbers(value.detach().cpu().numpy())
    elif isinstance(value, np.ndarray | np.generic):
        yield from _of_numbers(np.asarray(value))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part, depth - 1)
    elif isinstance(value, set | frozenset):
        yield from sorted(" ".join(_parts(part, depth - 1)) for part in value)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(key, depth - 1)
            yield from _parts(part, depth - 1)
    else:
        yield from _of_code(value, depth - 1)


def _of_numbers(array: NDArray[Any]) -> Iterator[str]:
    plain = array.dtype != object
    yield f"{array.dtype} {array.shape}"
    yield hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() if plain else ""


def _of_code(value: Any, depth: int) -> Iterator[str]:
    """What something that can be called is made of."""
    if isinstance(value, CodeType):
        yield f"{value.co_code.hex()} {value.co_names} {value.co_varnames}"
        yield from _parts(value.co_consts, depth)
    elif isinstance(value, FunctionType):
        yield value.__qualname__
        yield from _parts(value.__code__, depth)
        yield from _parts((value.__defaults__, value.__kwdefaults__), depth)
        yield from _parts(_read_by(value), depth)
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}"
        yield from _parts([part for part in vars(value).values() if isinstance(part, FunctionType)], depth)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), depth)
    elif isinstance(value, MethodType):
        yield from _parts((value.__func__, getattr(value.__self__, "__dict__", {})), depth)
    elif isinstance(value, nn.Module):
        yield repr(value)
        yield from _parts(dict(value.state_dict()), depth)
        for name, part in value.named_modules():
            plain = {key: held for key, held in vars(part).items() if not key.startswith("_")}
            yield from _parts((name, type(part), plain), depth)
    elif callable(value):
        yield _name(value)
        yield from _parts((type(value), getattr(value, "__dict__", {})), depth)


def _read_by(function: FunctionType) -> list[Any]:
    """What a function closes over, and the plain values that it reads from its file."""
    found: list[Any] = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # not filled yet
            found.append("empty")
    globals_read = {name: function.__globals__.get(name) for name in _names(function.__code__)}
    plain = (str, int, float, tuple)
    return [*found, {name: value for name, value in globals_read.items() if isinstance(value, plain)}]


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function reads, those of the functions in it among them."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _names(part)
