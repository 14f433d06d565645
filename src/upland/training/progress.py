"""A progress bar on standard error: shown on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Show = Callable[[int, int, int, float], None]


@contextmanager
def progress_bar(wanted: bool | Literal["auto"], members: int) -> Iterator[Show]:
    """A function `(member, step, steps, held-out loss)` that draws, or does nothing.

    Args:
        wanted: yes, no, or "auto": where standard error is a terminal.
        members: how many trainings there will be.
    """
    if not (sys.stderr.isatty() if wanted == "auto" else wanted):
        yield lambda member, step, steps, loss: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("training", total=float(members))

        def show(member: int, step: int, steps: int, loss: float) -> None:
            label = f"training {member + 1} of {members}" if members > 1 else "training"
            bar.update(
                task, completed=member + step / steps, description=f"{label}, held-out loss {loss:.4g}"
            )

        yield show
