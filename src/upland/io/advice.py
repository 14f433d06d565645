"""Messages that name arguments: one text for Python, another for the command line.

A message of an error or a warning is a `str` that remembers its parts. Python shows `ignore=['label']`; the
command line shows the same part as the option `--ignore label`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self


class Argument(NamedTuple):
    """An argument of the library; `ignore=['label']`, or the name alone where there is no value.

    Args:
        name: The argument.
        value: What to give; None gives nothing, and a `Symbol` is shown without quotes.
    """

    name: str
    value: Any = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


class Estimator(NamedTuple):
    """An estimator of a family of models; `a FlowDetector`.

    Args:
        family: The family, as in `upland.catalogue.FAMILIES`.
    """

    family: str

    def __str__(self) -> str:
        return {"energy": "an EnergyDetector", "flow": "a FlowDetector", "vae": "a VAEDetector"}[self.family]


class Wording(NamedTuple):
    """What Python and the command line say in different words.

    Args:
        python: The words of the library.
        shell: Those of the command line; `{data}` stands for the path of the data.
    """

    python: str
    shell: str

    def __str__(self) -> str:
        return self.python


class Infinity(NamedTuple):
    """A column that holds infinity; the command line adds the file, the number of rows and the first one.

    Args:
        column: Its name.
        python: The words of the library.
    """

    column: str
    python: str

    def __str__(self) -> str:
        return self.python


class Symbol(str):
    """A value that stands for what the user has to fill in: `H` in `size=(H, W)`."""

    def __repr__(self) -> str:
        return str(self)


Part = str | Argument | Estimator | Wording | Infinity


class Advice(str):
    """The text of a message, and the parts that it is made of.

    Examples:
        >>> text = Advice("it looks like a label: ", Argument("ignore", ["label"]), " leaves it out")
        >>> str(text)
        "it looks like a label: ignore=['label'] leaves it out"
        >>> text.shown(lambda part: f"--{part.name} {part.value[0]}")
        'it looks like a label: --ignore label leaves it out'
    """

    parts: tuple[Part, ...]

    def __new__(cls, *parts: Part) -> Self:
        """Join the parts, and the parts of those that are `Advice` themselves."""
        flat = [piece for part in parts for piece in (part.parts if isinstance(part, Advice) else (part,))]
        made = super().__new__(cls, "".join(map(str, flat)))
        made.parts = tuple(flat)
        return made

    def shown(self, form: Callable[[Any], str]) -> str:
        """The text with the parts that are no text in another form.

        Args:
            form: Shows a part that is no text.
        """
        return "".join(part if isinstance(part, str) else form(part) for part in self.parts)


def type_text(thing: object) -> str:
    """The type of a thing with its article.

    Args:
        thing: That a message is of.

    Examples:
        >>> type_text([]), type_text(3)
        ('a list', 'an int')
    """
    name = type(thing).__name__
    return f"a{'n' if name[0].casefold() in 'aeiou' else ''} {name}"


def text_of(message: BaseException) -> str:
    """The text of an error or of a warning, as an `Advice` where it is one."""
    first = message.args[0] if len(message.args) == 1 else None
    return first if isinstance(first, Advice) else str(message)
