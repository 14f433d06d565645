"""A progress bar on standard error: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Show = Callable[[int, int, int, float], None]


@contextmanager
def progress_bar(wanted: bool | Literal["auto"], trainings: int) -> Iterator[Show]:
    """A function `(training, step, steps, held-out loss)` that updates the bar, or does nothing.

    Args:
        wanted: whether to show it, or "auto": where standard error is a terminal.
        trainings: how many there will be.
    """
    if not (sys.stderr.isatty() if wanted == "auto" else wanted):
        yield lambda number, step, steps, loss: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=float(trainings))

        def show(number: int, step: int, steps: int, loss: float) -> None:
            label = f"training {number + 1} of {trainings}" if trainings > 1 else "training"
            bar.update(
                task, completed=number + step / steps, description=f"{label}, held-out loss {loss:.4g}"
            )

        yield show
