"""The options that benchmarks share: `--data`, `--output`, `--quick`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import bundled

HERE = Path(__file__).parent
QUICK = HERE / "quick"
"""Where quick runs write, unless `--output` says otherwise; git ignores it."""


def command(text: str | None) -> argparse.ArgumentParser:
    """A parser that shows the module's page as it stands, with `--output` and `--quick`."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, help="JSON file of results; if it exists, missing rows are added"
    )
    parser.add_argument("--quick", action="store_true", help="a small part of the benchmark, in minutes")
    return parser


def data_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--data DIR`, by default the environment's UPLAND_DATA."""
    home = os.environ.get("UPLAND_DATA")
    parser.add_argument("--data", type=Path, default=home and Path(home), help="folder of the data sets")


def sets_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--sets` and `--most-sets`, of sets that are found in the folder of data."""
    parser.add_argument("--sets", nargs="+", help="names of sets; all in the folder of data if left out")
    parser.add_argument("--most-sets", type=int, help="at most so many sets, small ones first")


def parsed(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    name: str,
    quick: Mapping[str, Any],
    is_bundled: bool = False,
) -> argparse.Namespace:
    """The options of one call.

    Args:
        parser: from `command`.
        argv: the arguments; None for those of the process.
        name: of the benchmark: a quick run without `--output` writes `quick/NAME.json` beside this file.
        quick: the defaults of a quick run, where they differ.
        is_bundled: whether a quick run without a folder of data reads tables that scikit-learn bundles.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if "--quick" in given:
        parser.set_defaults(**{"output": QUICK / f"{name}.json", **quick})
    options = parser.parse_args(given)
    if "data" in options and options.data is None:
        if not (options.quick and is_bundled):
            parser.error("--data is needed: the folder of the sets that benchmarks/README.md lists")
        options.data = bundled.write(QUICK / "data")
    if options.output is None:
        parser.error("--output is needed, unless --quick")
    return options
