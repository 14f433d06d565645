"""A history of `upland watch` as data: the rows of its normal batches."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upland.cli.console import Reporter

NAMED = 5
"""Batches without rows that are named one by one."""


@contextmanager
def normal_rows(reporter: Reporter, data: Path) -> Iterator[Path]:
    """The place of normal data: as it was given; of a history a folder with the rows of its normal batches,
    which is removed at the end.

    Args:
        reporter: Is given what is left out.
        data: As the user named it.

    Raises:
        HistoryError, ValueError: It is a history that cannot be used, or no batch of it.
    """
    from upland.watch.normal import is_history, normal_batches

    if not is_history(data):
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix=f"upland-{data.stem}-"))
    try:
        found = normal_batches(data, folder)
        off = f"; {found.off} off, left out" if found.off else ""
        reporter.note(f"{data}: the rows of {found.used} normal batch{'' if found.used == 1 else 'es'}{off}")
        for text in found.lost[:NAMED]:
            reporter.warn(f"{data}: {text}; it is left out")
        if (more := len(found.lost) - NAMED) > 0:
            reporter.warn(f"{data}: so are {more} more batches")
        yield found.place
    finally:
        shutil.rmtree(folder, ignore_errors=True)
