"""The command line."""

import sys


def main() -> None:
    """Run the command line; an interruption while it is imported ends it too with 130 and no traceback."""
    try:
        from upland.cli.commands import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(130)
