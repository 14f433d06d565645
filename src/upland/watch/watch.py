"""A watch over a detector: each batch is taken once, and what follows from all of them is decided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

from upland.detectors.base import Detector
from upland.watch.decision import Decision
from upland.watch.history import History


class Watch:
    """A watch over a fitted detector, which goes on where an earlier one with the same history ended.

    Args:
        detector: fitted, or the path of its model file; a file that is replaced under way is read again.
        history: the path of the history, made where there is none; or an open one.
        by: the column that names the group of each row, such as a lot or a site.
        time: the column of the times of rows, for `every`.
        every: the width of the buckets of time that are tested as wholes: "15min", "1h", "1d".
        alpha: the false-alarm rate of single rows; None for the model's own.
        delta: P(a change is ever alarmed where nothing has changed) <= delta.
        run_length: least average number of batches between false alarms of the e-detector.
        fdr: the false discovery rate of verdicts on batches, buckets and groups.
        block: of every so many consecutive rows one counts for changes.
        statistic: what is measured of a group.
        keep_rows: whether rows are kept in the history.
        seed: of the random draws that break ties.
        channels: names of the ways that alarms are delivered by; each alarm waits for each in the table
            `delivery`.
    """

    def __init__(
        self,
        detector: Detector | str | os.PathLike[str],
        history: History | str | os.PathLike[str],
        *,
        by: str | None = None,
        time: str | None = None,
        every: str | None = None,
        alpha: float | None = None,
        delta: float = 0.01,
        run_length: float = 1000,
        fdr: float = 0.05,
        block: int = 1,
        statistic: str = "auto",
        keep_rows: bool = False,
        seed: int = 0,
        channels: Sequence[str] = (),
    ) -> None:
        raise NotImplementedError

    history: History

    def update(
        self,
        X: Any,
        *,
        time: Any = None,
        name: str | None = None,
        digest: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Decision:
        """Take a batch, unless its content was taken before.

        Args:
            X: data like those of the fit; or the path of a file.
            time: of the batch, recorded as it is given.
            name: of the batch; of a file the file's name.
            digest: of its content; computed where it is left out.
            path: where it lies, recorded; of a file the path itself.
        """
        raise NotImplementedError

    def update_next(self, step: Any, series: str = "", *, time: Any = None) -> Decision:
        """Take the next step of a series."""
        raise NotImplementedError

    def begin_attempt(
        self, digest: str, name: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> Decision | None:
        """Note that a file is about to be read; None where it is to be read, a Decision where it is not."""
        raise NotImplementedError

    def refuse(
        self,
        digest: str,
        reason: str,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Decision:
        """Record that a file cannot be used."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the history."""
        self.history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()
