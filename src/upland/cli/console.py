"""What the program prints: results on standard output, everything else on standard error.

A person gets one red paragraph for an error and one yellow line for a warning. A program (`--json`) gets
exactly one JSON document on standard output, warnings inside it, or one JSON document with the error on
standard error. Nobody gets a traceback, unless `UPLAND_DEBUG=1` asks for it.

| exit code | meaning |
|---|---|
| 0 | done, also where the reader of standard output left early |
| 1 | the data or the model file cannot be used as given, or read; not enough memory |
| 2 | the command line is not understood |
| 3 | the output exists already, is being written, or cannot be written; so standard output |
| 10 | done, and rows or groups were flagged (with `--fail-on-anomaly` only) |
| 70 | an error inside upland |
| 129 | ended by SIGHUP; nothing was written |
| 130 | interrupted (SIGINT); nothing was written |
| 143 | ended by SIGTERM; nothing was written |
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from upland.cli.process import STANDARD_OUTPUT, Ended, delivering, signals_held
from upland.cli.standard_input import named
from upland.io.advice import Advice, Argument, Estimator, Infinity, Wording, text_of
from upland.scoring.escapes import escaped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from upland.io.replace import Claim

BAD_INPUT, USAGE, OUTPUT, ANOMALY, INTERNAL, INTERRUPTED = 1, 2, 3, 10, 70, 130
_KINDS = {
    BAD_INPUT: "input",
    USAGE: "usage",
    OUTPUT: "output",
    INTERNAL: "internal",
}
ENDS = {INTERRUPTED: "interrupted", 129: "ended by SIGHUP", 143: "ended by SIGTERM"}
"""What a signal did, by its exit code."""
_KINDS |= dict.fromkeys(ENDS, "interrupted")
NO_MEMORY = "there is not enough memory for this; try fewer rows or columns, or a Parquet file"


PAUSE = 0.2
"""Seconds between two checks of an output that another run writes."""

OPTIONS = {"n_nets": "nets", "groups": "by"}
"""Options that are not called like the argument."""


class OutputError(Exception):
    """An output that exists already or cannot be written."""


class Reporter:
    """Prints what one command has to say.

    Args:
        as_json: Whether the result is one JSON document.
        quiet: Whether notes are left out.
        data: What messages call the data.

    Attributes:
        beside: Whether standard output is taken by rows, so that the result goes to standard error.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False, data: Path | None = None) -> None:
        self.as_json, self.quiet, self.data = as_json, quiet, data
        self.warnings: list[str] = []
        self.beside = False

    def note(self, text: str) -> None:
        """Say in passing what happened; not with `--json` or `--quiet`."""
        if not (self.as_json or self.quiet):
            say(text, "dim")

    def warn(self, text: str) -> None:
        """Say once what deserves attention: a yellow line, or an entry of the JSON document."""
        text = shown(text, self.data)
        if text in self.warnings:
            return
        self.warnings.append(text)
        if not self.as_json:
            say(f"warning: {text}", "yellow")

    def result(self, document: Callable[[], Mapping[str, Any]], show: Callable[[Console], None]) -> None:
        """Print the result: as JSON, or by `show` on a console."""
        if self.beside:
            if not self.quiet:
                show(console(sys.stderr))
            return
        with to_standard_output():
            if self.as_json:
                text = json.dumps({**document(), "warnings": self.warnings}, indent=2, allow_nan=False)
                sys.stdout.write(text + "\n")
            elif not self.quiet:
                show(console(sys.stdout))


@contextmanager
def to_standard_output() -> Iterator[None]:
    """Write to standard output, whose reader may leave early; raises OutputError."""
    try:
        with delivering():
            yield
    except OSError as error:
        raise OutputError(f"cannot write standard output: {error.strerror or error}") from error


def console(stream: TextIO) -> Console:
    """A console on a stream, as wide as the terminal, 80 columns in a pipe; what it prints stays as it is,
    but that control characters are shown and not sent.
    """
    from rich.console import Console
    from rich.text import Text

    class Escaping(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(escaped(text), **options)

        def on_broken_pipe(self) -> None:
            raise  # of the error that is being handled; the caller knows which stream it is

    width = None if stream.isatty() or "COLUMNS" in os.environ else 80
    return Escaping(file=stream, highlight=False, width=width, markup=False, emoji=False)


def say(text: str, style: str) -> None:
    """One paragraph on standard error; in a pipe it stays on one line; nothing where that is full."""
    from rich.text import Text

    paragraph = escaped(" ".join(text.split()))
    screen = console(sys.stderr)
    with suppress(OSError):
        screen.print(Text(paragraph, style=style), soft_wrap=not screen.is_terminal)


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> RenderableType:
    """A plain table; the columns named in `right` are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def pairs(entries: Mapping[str, object]) -> RenderableType:
    """Names and values, one line each."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in entries.items():
        table.add_row(name, str(value))
    return table


def check_target(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written in the end, before any work is done.

    Args:
        path: The file to write.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: As `upland.io.replace.check_target`.
    """
    from upland.io import replace

    with writing(path):
        replace.check_target(path, overwrite)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the output into an `OutputError` that names it."""
    try:
        yield
    except FileExistsError as error:
        raise OutputError(shown(text_of(error))) from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def claimed(path: Path, overwrite: bool) -> Iterator[Claim]:
    """Take the right to write a model file before it is made; raises OutputError."""
    from upland.io.replace import Claim

    with ExitStack() as stack:
        with writing(path), signals_held():
            claim = stack.enter_context(Claim(path, overwrite, private=True))
        yield claim


@contextmanager
def alone(path: Path | None, wait: float = 0.0) -> Iterator[None]:
    """Be the only run that writes an output, from before it is looked at until it is written.

    Args:
        path: The output; None and standard output have no lock.
        wait: Seconds to wait while another run has it.

    Raises:
        OutputError: Another run writes it.
    """
    from upland.io.writers import WriterLock

    if path is None or path == STANDARD_OUTPUT:
        yield
        return
    lock, end = WriterLock(path), time.monotonic() + wait
    try:
        while True:
            with signals_held():
                if lock.take():
                    break
            if time.monotonic() >= end:
                advice = "wait for it with --wait SECONDS, or choose another name"
                raise OutputError(f"{path} is being written by another run: {advice}")
            time.sleep(min(PAUSE, wait))
        yield
    finally:
        lock.release()


@contextmanager
def reporting(
    as_json: bool = False, quiet: bool = False, data: Path | None = None, reporter: Reporter | None = None
) -> Iterator[Reporter]:
    """Run a command: warnings become lines, errors one paragraph and an exit code.

    Args:
        as_json: Whether result and errors are JSON.
        quiet: Whether notes and the result's table are left out.
        data: What messages call the data.
        reporter: Prints; left out, an ordinary one does.

    Raises:
        typer.Exit: The command failed; the code says how.
    """
    reporter = reporter or Reporter(as_json, quiet, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = lambda message, *_, **__: reporter.warn(text_of(message))
        try:
            import pyarrow

            pyarrow.enable_signal_handlers(False)  # they lose signals that come while a CSV file is read
            yield reporter
        except (typer.Exit, typer.TyperException):
            raise
        except KeyboardInterrupt:
            raise fail("interrupted; nothing was written", INTERRUPTED, as_json) from None
        except Ended as ended:
            raise fail(f"{ENDS[ended.code]}; nothing was written", ended.code, as_json) from None
        except OutputError as error:
            raise fail(str(error), OUTPUT, as_json) from error
        except OSError as error:
            code = OUTPUT if _is_write_error(error) else BAD_INPUT
            raise fail(shown(sentence(error), data), code, as_json) from error
        except (ValueError, TypeError, FloatingPointError, ImportError, MemoryError) as error:
            raise fail(shown(sentence(error), data), BAD_INPUT, as_json) from error
        except Exception as error:
            if _is_lack_of_memory(error):
                raise fail(NO_MEMORY, BAD_INPUT, as_json) from error
            inside = f"an error inside upland: {type(error).__name__}: {error}. UPLAND_DEBUG=1 shows where."
            raise fail(inside, INTERNAL, as_json) from error


def option(argument: str) -> str:
    """The option for an argument of the library: `--keep-rows` for `keep_rows`."""
    return f"--{OPTIONS.get(argument, argument).replace('_', '-')}"


def in_shell(part: Argument | Estimator | Wording | Infinity, data: Path | None = None) -> str:
    """A part of a message as the command line says it: `--ignore label` for an argument.

    Args:
        part: Of an `Advice`, but no text.
        data: The data.
    """
    if isinstance(part, Estimator):
        return f"--model {part.family}"
    if isinstance(part, Wording):
        return part.shell.replace("{data}", str(data or "the data"))
    if isinstance(part, Infinity):
        from upland.cli.words import infinity_text

        return infinity_text(data, part.column)
    name = option(part.name)
    if part.value is None or part.value is True:  # a flag
        return name
    if part.name == "size":
        return f"{name} {'x'.join(map(str, part.value))}"
    values = part.value if isinstance(part.value, list | tuple) else [part.value]
    return " ".join(f"{name} {shlex.quote(str(value))}" for value in values)


def shown(message: str, data: Path | None = None) -> str:
    """A message as the command line shows it.

    Args:
        message: Of the library.
        data: What it calls the data.
    """
    text = message.shown(lambda part: in_shell(part, data)) if isinstance(message, Advice) else message
    return named(text, data)


def fail(message: str, code: int, as_json: bool) -> typer.Exit:
    """Print an error on standard error and give the exit to raise.

    Args:
        message: The paragraph.
        code: The exit code.
        as_json: Whether to print it as a JSON document.
    """
    if os.environ.get("UPLAND_DEBUG") == "1":
        with suppress(OSError):
            sys.stderr.write(escaped(traceback.format_exc()))
    if as_json:
        error = {"kind": _KINDS.get(code, "input"), "message": message, "exit_code": code}
        with suppress(OSError):
            sys.stderr.write(json.dumps({"error": error}) + "\n")
    else:
        say(f"error: {message}", "bold red")
    return typer.Exit(code)


def usage_text(error: typer.TyperException) -> str:
    """A usage error in one sentence; of what is none of some choices the nearest is suggested.

    Args:
        error: As the command line's parser raised it.
    """
    text = error.format_message().rstrip(".").removeprefix("Invalid value: ").replace("Value error, ", "")
    text = re.sub(r"^Invalid value for '([^']*)': ", r"\1: ", text).replace(": Input should be ", " must be ")
    if found := re.search(r"'([^']*)' is not one of (.*)", text):
        near = get_close_matches(found[1], re.findall(r"'([^']*)'", found[2]), n=1, cutoff=0.4)
        text += "".join(f"; did you mean {name!r}?" for name in near)
    return text if text.endswith("?") else f"{text}."


def sentence(error: BaseException) -> str:
    """What an error says, as a sentence; `shown` puts it into the words of the command line."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    if isinstance(error, OSError) and error.filename is not None:
        start = "cannot write " if _is_write_error(error) else ""
        return f"{start}{error.filename}: {error.strerror}"
    return text_of(error) or type(error).__name__


def _is_write_error(error: OSError) -> bool:
    from upland.io.replace import WriteError

    return isinstance(error, WriteError)


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether torch could not get memory, of the machine or of a device, which it has no type for."""
    return isinstance(error, RuntimeError) and bool(re.search("(allocate|out of) memory", str(error)))
