"""Packages that upland does without until a user asks for what needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, what: str, extra: str) -> Any:
    """An optional module.

    Args:
        module: Its name.
        what: What needs it, as the beginning of a sentence: `Excel files need python-calamine`.
        extra: The extra of upland that installs it.

    Raises:
        ImportError: It is not installed; the message says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # a package that it needs itself, or a fault of its own
        raise ImportError(f"{what}: pip install 'upland[{extra}]'") from None
