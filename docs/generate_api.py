"""Write docs/api.md: the public names, their signatures and docstrings, as the source has them.

    python docs/generate_api.py

`tests/test_docs.py` fails where the page is not what this script would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import upland

PAGE = Path(__file__).with_name("api.md")
HEAD = """\
# Public names

Written by `docs/generate_api.py` from the docstrings. `(N, M)` is N rows of M of the user's columns,
`(N, D)` N rows of D encoded numbers. Everything is reached as `upland.<name>`;
what is not listed here may change.
"""
SECTIONS = "Args|Attributes|Returns|Raises|Example|Examples"


def page() -> str:
    """The whole page as Markdown."""
    names = [name for name in upland.__all__ if name != "__version__"]
    contents = "\n".join(f"- [`{name}`](#{name.lower()})" for name in names)
    return (
        "\n\n".join([HEAD.strip(), contents, *(entry(name, getattr(upland, name)) for name in names)]) + "\n"
    )


def entry(name: str, value: object) -> str:
    """One public name: a function, or a class with its methods."""
    parts = [f"## {name}", fenced(signature(value, name)), prose(inspect.getdoc(value) or "")]
    if inspect.isclass(value):
        parts += [method(owner, member) for owner, member in public_members(value)]
    return "\n\n".join(parts)


def method(name: str, member: object) -> str:
    """A method or property of a class."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    heading = f"### {name}" + (" (property)" if isinstance(member, property) else "")
    shown = [] if isinstance(member, property) else [fenced(signature(function, name))]
    return "\n\n".join([heading, *shown, prose(inspect.getdoc(function) or "")])


def public_members(cls: type) -> list[tuple[str, object]]:
    """Methods and properties that upland itself defines, those of the base classes after the class's own."""
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("upland."):
            for name, member in vars(base).items():
                told = isinstance(member, property | classmethod) or inspect.isfunction(member)
                if told and not name.startswith("_"):
                    found.setdefault(name, member)
    return list(found.items())


def signature(value: object, name: str) -> str:
    """The call as the source writes it: `name(arguments) -> result`, without self."""
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    if isinstance(node, ast.FunctionDef):
        return call(name, node)
    assert isinstance(node, ast.ClassDef)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return call(name, statement)
    fields = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    return f"{name}({', '.join(fields)})"


def call(name: str, node: ast.FunctionDef) -> str:
    """A function's head: on one line, or one argument a line where it is long."""
    arguments = node.args
    arguments.args = [argument for argument in arguments.args if argument.arg not in ("self", "cls")]
    result = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    parts = split_arguments(ast.unparse(arguments))
    line = f"{name}({', '.join(parts)}){result}"
    return (
        line
        if len(line) <= 100
        else "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){result}"])
    )


def split_arguments(text: str) -> list[str]:
    """Arguments one by one: cut at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [re.sub(r"^(\w+: [^=]*[^ =])=", r"\1 = ", part.strip()) for part in parts]


def fenced(text: str) -> str:
    """A block of Python that is shown, not run."""
    return f"```py\n{text}\n```"


def prose(docstring: str) -> str:
    """A Google-style docstring as Markdown: sections in bold, arguments as a list, examples as a session."""
    parts = re.split(rf"^({SECTIONS}):\n", docstring, flags=re.MULTILINE)
    shown = [verbatim(parts[0].strip())]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        text = textwrap.dedent(body).strip()
        shown.append(f"**{title}**")
        shown.append(f"```pycon\n{text}\n```" if title.startswith("Example") else listed(text))
    return "\n\n".join(part for part in shown if part)


def verbatim(text: str) -> str:
    """Paragraphs as they are; indented ones, formulas and tables, as blocks."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n\n".join(
        f"```text\n{textwrap.dedent(part)}\n```" if part.startswith("    ") else part for part in paragraphs
    )


def listed(text: str) -> str:
    """`name: words`, one list entry each; plain words stay plain."""
    entries: list[str] = []
    for line in text.splitlines():
        if line[:1].isspace() and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    named = re.compile(r"^([\w.*]+(?:, [\w.]+)*): (.*)")
    if not all(named.match(part) for part in entries):
        return "\n".join(entries)
    return "\n".join(named.sub(r"- `\1`: \2", part) for part in entries)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
