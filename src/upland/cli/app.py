"""The program itself: the application that commands are added to, and how it is run.

Everything heavy is imported inside the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from upland.cli.console import OUTPUT, OutputError, fail, to_standard_output, usage_text
from upland.cli.process import open_streams, signals_raised, silence

EXIT_CODES = """\
Exit codes: 0 done; 1 the data or the model file cannot be used; 2 the command line is not understood;
3 the output exists or cannot be written; 10 rows or groups were flagged (with --fail-on-anomaly);
70 an error inside upland; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM, and nothing was written.
Options are also read from the environment, --alpha of score from UPLAND_SCORE_ALPHA. UPLAND_DEBUG=1 shows
where an error arose.
""".replace("\n", " ")

app = typer.Typer(
    name="upland",
    help="Find the rows, time steps or images that do not look like normal ones, and say why.",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main() -> None:
    """Run the command line; a usage error is one paragraph, or JSON when `--json` was asked for."""
    as_json = "--json" in sys.argv[1:] or _by_variable("--json")
    open_streams()
    code: Any = 0
    try:
        with signals_raised(), to_standard_output():
            code = program()(args=sys.argv[1:] or ["--help"], prog_name="upland", standalone_mode=False)
    except typer.TyperException as error:
        text = usage_text(error)
        text += f"{_origin(text)} Try: upland --help"
        code = fail(text, error.exit_code, as_json).exit_code
    except OutputError as error:
        code = fail(str(error), OUTPUT, as_json).exit_code
    except SystemExit as stopped:  # the parser's own, of help that nobody reads to its end
        if not isinstance(stopped.__context__, BrokenPipeError):
            raise
        silence(sys.stdout)
    sys.exit(code if isinstance(code, int) else 0)


def program() -> Any:
    """The application as the parser sees it; each option is also read from a variable of the environment."""
    found: Any = typer.main.get_command(app)
    for name, of_command in found.commands.items():
        for parameter in of_command.params:
            if parameter.param_type_name == "option":
                parameter.envvar = variable(name, max(parameter.opts, key=len))
                parameter.show_envvar = False  # a page of help would be twice as long
    return found


def variable(name: str, option: str) -> str:
    """The variable of the environment that an option is read from: `UPLAND_SCORE_ALPHA`.

    Args:
        name: Of the command.
        option: As it is written, `--alpha`.
    """
    return f"UPLAND_{name}_{option.removeprefix('--')}".replace("-", "_").upper()


def _by_variable(option: str) -> bool:
    """Whether the command that is run has a flag set by a variable of the environment."""
    names = [variable(it, option) for it in sys.argv[1:] if it.isidentifier()]
    return any(os.environ.get(name, "").casefold() in ("1", "true", "t", "yes", "y", "on") for name in names)


def _origin(text: str) -> str:
    """The variables of the environment that the options of a usage error came from, as a sentence."""
    arguments, known = sys.argv[1:], program().commands
    name = next((it for it in arguments if it in known), None)
    named = {option.rstrip("-") for option in re.findall(r"--[a-z-]+", text)}
    found = [
        parameter.envvar
        for parameter in (known[name].params if name else ())
        if named.intersection(parameter.opts)
        and parameter.envvar in os.environ
        and not any(it.split("=")[0] in parameter.opts for it in arguments)
    ]
    return f" What is wrong comes from the environment: {', '.join(found)}." if found else ""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose help is its docstring, each paragraph on one line for the terminal to wrap."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return app.command(help=text, epilog=EXIT_CODES)(function)


def _version(asked: bool) -> None:
    if asked:
        from upland import __version__

        typer.echo(f"upland {__version__}")
        raise typer.Exit


@app.callback()
def upland(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Find the rows, time steps or images that do not look like normal ones, and say why."""
