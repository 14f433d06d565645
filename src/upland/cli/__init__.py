"""The command line."""

import sys

from upland.cli.process import Ended, open_streams, signals_raised


def main() -> None:
    """Run the command line; a signal while it is imported ends it too with an exit code and no traceback."""
    open_streams()
    try:
        with signals_raised():
            from upland.cli.program import main as run

            run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written\n")
        sys.exit(130)
    except Ended as ended:
        sys.exit(ended.code)
