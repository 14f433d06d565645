"""A watch over a detector: each batch is taken once, and what follows from all of them is decided."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from upland.data.table.frames import held
from upland.detectors.base import Detector
from upland.io.advice import Advice, Argument
from upland.io.places import is_place
from upland.watch.batches import BatchReader
from upland.watch.decision import Decision
from upland.watch.digest import digest_of
from upland.watch.history import History
from upland.watch.ledger import Ledger
from upland.watch.models import WatchedModel, stamp_of
from upland.watch.monitors import Memory
from upland.watch.options import WatchOptions, check_alpha
from upland.watch.scored import Scored, score_batch
from upland.watch.states import Arrays
from upland.watch.steps import score_step, sequence_detector, stream_of
from upland.watch.taking import Named, Taking

REFUSED = (ValueError, TypeError, FloatingPointError, pa.ArrowException)
"""What data that are not like those of the fit raise."""
ATTEMPTS = 2
"""Times that reading a file may end the process before the file is refused."""


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
        wording: from an error to the sentence that says why a batch is refused.

    Raises:
        TypeError, ValueError: an option is out of its range, or is not that which the history was begun with.
        HistoryError: the history cannot be used; the message says why.

    Examples:
        >>> import numpy as np, pathlib, tempfile, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0).fit(rng.normal(size=(500, 3)))
        >>> history = pathlib.Path(tempfile.mkdtemp()) / "watch.db"
        >>> with upland.Watch(detector, history) as watch:
        ...     first = watch.update(rng.normal(size=(200, 3)))
        ...     second = watch.update(rng.normal(size=(200, 3)) + 2)
        >>> first.action, second.action, [alarm.kind for alarm in second.alarms]
        ('nothing', 'retrain', ['changed', 'batch'])
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
        wording: Callable[[Exception], str] = str,
    ) -> None:
        self.options = WatchOptions(by, time, every, delta, run_length, fdr, block, statistic, seed)
        self.channels, self._wording = tuple(channels), wording
        self._watched = WatchedModel(detector)
        self._alpha = None if alpha is None else check_alpha(alpha)
        self._watched.detector.check_alpha(self.alpha)
        if keep_rows and self._watched.detector.modality != "table":
            raise ValueError(Advice("only rows of tables are kept: leave ", Argument("keep_rows"), " out"))
        self._reader = BatchReader(by, time if every is not None else None, keep_rows)
        self._memory = Memory()
        self._owned = not isinstance(history, History)
        self.history = history if isinstance(history, History) else History(history)
        try:
            with self.history.write() as connection:
                ledger = Ledger(connection)
                if begun := ledger.settings():
                    self.options.check_same(begun)
                else:
                    ledger.set_settings(self.options.to_json())
        except BaseException:
            self.close()
            raise

    @property
    def alpha(self) -> float:
        """The false-alarm rate of single rows: the one given, or that of the model as it is now."""
        return self._watched.detector.alpha_ if self._alpha is None else self._alpha

    @property
    def detector(self) -> Detector:
        """The detector of the last batch; a model file that was replaced is read with the next one."""
        return self._watched.detector

    def model_digest(self) -> str:
        """The SHA-256 of the model that the next batch is taken by."""
        self._watched.refresh()
        return self._watched.digest

    def update(
        self,
        X: Any,
        *,
        time: Any = None,
        name: str | None = None,
        digest: str | None = None,
        path: str | os.PathLike[str] | None = None,
        groups: Any = None,
    ) -> Decision:
        """Take a batch, unless its content was taken before.

        Args:
            X: data like those of the fit; or the path of a file.
            time: of the batch, recorded as it is given.
            name: of the batch; left out, that of its file.
            digest: of its content; computed where it is left out.
            path: where it lies, recorded; left out, X where that is a path.
            groups: `(N,)` the group of each, where the data have no column of them.

        Returns:
            What follows: "taken"; "known" where the content was taken before; "refused" with the reason where
            the data are not like those of the fit.

        Raises:
            OSError: the file cannot be read, or has changed while it was read.
            HistoryError: the history cannot be written; nothing of the batch is in it.
        """
        self._watched.refresh()
        file = Path(X) if isinstance(X, str | os.PathLike) and "://" not in str(X) else None
        stamp = None if file is None else stamp_of(file)
        if file is not None and stamp is None:
            raise FileNotFoundError(f"{file}: there is no such file or folder")
        X = X if is_place(X) else held(X)
        named = self._named(X, time, name, digest, path)
        if (known := self._known(named.digest)) is not None:
            return known
        try:
            scored = self._scored(X, groups)
        except REFUSED as error:
            _check_same(file, stamp)  # of half a file nothing is said
            return self.refuse(named.digest, self._wording(error), named.name, named.path)
        _check_same(file, stamp)
        return self._take(named, scored)

    def _named(
        self, X: Any, time: Any, name: str | None, digest: str | None, path: str | os.PathLike[str] | None
    ) -> Named:
        where = path if path is not None else X if isinstance(X, str | os.PathLike) else None
        text = None if where is None else os.fspath(where)
        called = name if name is not None else None if text is None else Path(text).name
        when = None if time is None else str(time)
        if digest is None:
            digest = (
                digest_of(X)
                if where is not None or (name is None and time is None)
                else digest_of([X, name, when])
            )
        return Named(digest, called, text, when)

    def _scored(self, X: Any, groups: Any) -> Scored | None:
        detector, options = self.detector, self.options
        batch = self._reader.read(detector, X, groups)
        if batch is None:
            return None
        return score_batch(detector, batch, self._watched.columns, self.alpha, options)

    def _take(self, named: Named, scored: Scored | None) -> Decision:
        with self.history.write() as connection:
            found = self._taking(Ledger(connection), named).take(scored)
        return self._done(found)

    def _done(self, found: Decision) -> Decision:
        """The transaction is durable: what it left is remembered."""
        if found.status == "taken" and found.batch is not None:
            self._memory.done(found.batch)
        return found

    def _taking(self, ledger: Ledger, named: Named) -> Taking:
        given = (self.options, self.alpha, self.channels, self._watched, named, self._memory)
        return Taking(ledger, *given)

    def update_next(
        self, step: Any, series: str = "", *, time: Any = None, digest: str | None = None
    ) -> Decision:
        """Take the next step of a series: a batch of one row, scored by the state of the series so far, which
        the history keeps.

        Args:
            step: the values of one step, as `score_next` takes them.
            series: the name of the series.
            time: of the step, recorded as it is given.
            digest: what tells the step from all others, where one may come twice; left out, each is new.

        Returns:
            What follows; "refused" with the reason where the step is not like those of the fit.

        Raises:
            TypeError: the detector is not of sequences.
            HistoryError: the history cannot be written; nothing of the step is in it.
        """
        self._watched.refresh()
        detector = sequence_detector(self.detector)
        if digest is not None and (known := self._known(digest)) is not None:
            return known
        while True:
            with self.history.read() as connection:
                before = stream_of(detector, self._series(Ledger(connection), series))
            called = digest or digest_of([self._watched.digest, series, before.steps])
            named = Named(called, series or None, None, None if time is None else str(time))
            try:
                scored, after = score_step(detector, before, step)
            except REFUSED as error:
                return Decision("refused", None, named.name, named.time, called, reason=str(error))
            with self.history.write() as connection:
                ledger = Ledger(connection)
                arrays = self._series(ledger, series)
                if (0 if arrays is None else int(arrays["steps"][0])) != before.steps:
                    continue  # another process has taken a step of the series
                found = self._taking(ledger, named).take(scored)
                if found.status == "taken":
                    model = ledger.model(self._watched.digest)
                    ledger.set_state(model or 0, "series", series, after.to_arrays())
            return self._done(found)

    def _series(self, ledger: Ledger, series: str) -> Arrays | None:
        model = ledger.model(self._watched.digest)
        return None if model is None else ledger.state(model, "series", series)

    def _known(self, digest: str) -> Decision | None:
        with self.history.read() as connection:
            return Ledger(connection).known(digest, self._watched.digest)

    def begin_attempt(
        self, digest: str, name: str | None = None, path: str | os.PathLike[str] | None = None
    ) -> Decision | None:
        """Note that a file is about to be read, so that one whose reading ends the process is refused.

        Args:
            digest: of its content.
            name: of the file.
            path: where it lies.

        Returns:
            None where it is to be read; a Decision where it is not: it is known, or was refused, or its
            reading has ended the process before.
        """
        where = None if path is None else os.fspath(path)
        with self.history.write(durable=False) as connection:
            ledger = Ledger(connection)
            if (known := ledger.known(digest, self._watched.digest)) is not None:
                return known
            if ledger.attempt(digest, name, where) < ATTEMPTS:
                return None
            reason = f"its reading has ended the process {ATTEMPTS} times"
            ledger.refuse(digest, self._watched.digest, name, where, reason)
        return Decision("refused", None, name, None, digest, reason=reason)

    def refuse(
        self,
        digest: str,
        reason: str,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Decision:
        """Record that a file cannot be used; it is not read again under this model.

        Args:
            digest: of its content.
            reason: as a sentence.
            name: of the file.
            path: where it lies.
        """
        with self.history.write() as connection:
            ledger = Ledger(connection)
            if (known := ledger.known(digest, self._watched.digest)) is not None:
                return known
            ledger.refuse(
                digest, self._watched.digest, name, None if path is None else os.fspath(path), reason
            )
        return Decision("refused", None, name, None, digest, reason=reason)

    def close(self) -> None:
        """Close the history, unless it was given open."""
        if self._owned:
            self.history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()


def _check_same(file: Path | None, stamp: object) -> None:
    """Refuse to go on with a file that is no longer as it was; raises OSError."""
    if file is not None and stamp_of(file) != stamp:
        raise OSError(f"{file} has changed while it was read: wait until it is whole")
