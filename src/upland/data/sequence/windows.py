"""Windows of sequences as rows that a fit can hold out.

A sequence longer than the window is cut into pieces; a shorter one stays whole. What is held out to calibrate
must share no step with what is trained on, so a sequence whose windows overlap is first cut into blocks, and
no window crosses from one into the next:

    block    = window where windows do not overlap, else about a fifth of all steps, at most ten windows
    windows  at 0, stride, 2 stride, ... within each block, the last one aligned to the block's end

so that every step is in some window, and windows of different blocks have none in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.rows import digest_of
from upland.data.sequence.container import Indices, Sequences, as_sequences
from upland.data.sequence.longframes import column_name
from upland.data.sequence.padding import padded
from upland.data.table.frames import view_table
from upland.io.advice import Advice, Argument
from upland.io.cells import USUAL, CellOptions

WHOLE, TYPICAL, LEAST = 512, 128, 8
"""Steps up to which sequences stay whole, and the bounds of the windows of longer ones."""

ENOUGH = 5
"""Sequences that are enough to fit on without cutting them; as many windows and blocks as there should be."""

FRAME = 16
"""Steps of a long series that one score of a step is taken from."""

BLOCK = 10
"""A block of overlapping windows is at most so many windows long."""


class _Pieces(NamedTuple):
    owners: Indices
    starts: Indices
    lengths: Indices


class SequenceRows:
    """Sequences, or windows of them, as `NormalRows`: one row a window.

    Args:
        X: Anything that `as_sequences` reads.
        id: The column of a long frame that identifies sequences.
        time: The column of a long frame that orders the steps.
        window: Steps of a window; None cuts nothing; "auto" cuts long sequences, and few.
        stride: Steps from one window to the next; None is the window itself.
        owner: Who asks, for messages.
        cells: How cells of text are written.

    Attributes:
        sequences: All of them, uncut.
        window_: The window in steps, or None where nothing is cut.
        blocks: `(n_rows,)` the block that each row belongs to; rows of different blocks share no step.
        n_rows: Number of windows and of sequences that stay whole.
        names: Names of the channels.

    Raises:
        TypeError: X is no sequences.
        ValueError: An argument makes no sense; there are fewer than two rows; as `as_sequences`.

    Examples:
        >>> import numpy as np
        >>> from upland.data.sequence.windows import SequenceRows
        >>> rows = SequenceRows(np.arange(10.0), window=4)
        >>> rows.n_rows, rows.blocks.tolist(), rows.take(np.array([2])).table[:, 0].tolist()
        (3, [0, 1, 1], [6.0, 7.0, 8.0, 9.0])
    """

    in_memory = True

    def __init__(
        self,
        X: object,
        id: str | int | None = None,
        time: str | int | None = None,
        window: int | Literal["auto"] | None = "auto",
        stride: int | None = None,
        owner: str = "SequenceRows",
        cells: CellOptions = USUAL,
    ) -> None:
        id, time = column_name(id, "id"), column_name(time, "time")
        _check_arguments(window, stride)
        self.sequences = as_sequences(X, id=id, time=time, owner=owner, cells=cells)
        if not isinstance(X, Sequences):
            _check_named(self.sequences, id, time)
        self.names = list(view_table(self.sequences.table).names)
        self.window_ = _resolved(window, stride, self.sequences)
        self._pieces, self.blocks = _windows(self.sequences, self.window_, stride)
        self.n_rows = int(self.blocks.size)
        if self.n_rows < 2 or self.blocks[-1] < 1:
            raise ValueError(_too_few(self.sequences, self.window_))

    def whole(self) -> Sequences:
        """All sequences, uncut."""
        return self.sequences

    def take(self, rows: NDArray[np.int64]) -> Sequences:
        """The windows of these numbers, as sequences."""
        return self.sequences.cut(*(part[rows] for part in self._pieces))

    def windows_of_codes(self, codes: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Windows `(n, T, D)` of steps that are encoded already; NaN behind the end of a shorter window.

        This equals `encoder.transform(self.take(rows))` to the bit, since a step's code depends on it alone.

        Args:
            codes: `(S, D)` the codes of all steps, `encoder.steps(self.sequences)`.
            rows: `(n,)` the numbers of the windows.
        """
        starts, lengths = self._pieces.starts[rows], self._pieces.lengths[rows]
        return padded(codes[np.repeat(starts, lengths) + _within(lengths)], lengths)

    def steps_of(self, rows: NDArray[np.int64]) -> Indices:
        """The steps of windows, among those of all sequences: sorted, each once."""
        starts, lengths = self._pieces.starts[rows], self._pieces.lengths[rows]
        return np.unique(np.repeat(starts, lengths) + _within(lengths))

    def stretches(self, steps: Indices) -> Indices:
        """How many of some steps follow each other, stretch after stretch, none over two sequences.

        Args:
            steps: among those of all sequences, sorted.
        """
        starts = self.sequences.starts
        of = np.searchsorted(starts, steps, side="right")
        cuts = np.flatnonzero((np.diff(steps) != 1) | (np.diff(of) != 0)) + 1
        lengths: Indices = np.diff(np.r_[0, cuts, steps.size])
        return lengths

    def steps_in(self, rows: NDArray[np.int64]) -> tuple[Indices, Indices]:
        """The steps of windows, window after window, and how many each has: `(S,)`, `(n,)`."""
        starts, lengths = self._pieces.starts[rows], self._pieces.lengths[rows]
        return np.repeat(starts, lengths) + _within(lengths), lengths

    def frame(self) -> int:
        """Steps that the score of a step is usefully taken from: a quarter of a whole sequence; of long
        series 16, or a quarter of a window where that is less.
        """
        if self.window_ is None:
            return max(1, -(-int(np.median(self.sequences.lengths)) // 4))
        return max(1, min(FRAME, -(-self.window_ // 4)))

    def positions(self, steps: Indices) -> Indices:
        """How many steps come before each in its own sequence."""
        starts = self.sequences.starts
        return steps - starts[np.searchsorted(starts, steps, side="right") - 1]

    def shuffled(
        self, generator: np.random.Generator, skip: NDArray[np.int64], size: int
    ) -> Iterator[Sequences]:
        """Every window but the skipped ones once, in a new order, `size` at a time."""
        order = generator.permutation(np.setdiff1d(np.arange(self.n_rows), skip))
        for start in range(0, order.size, size):
            yield self.take(order[start : start + size])

    def digest(self) -> str:
        """SHA-256 of every value, of the lengths, ids and time stamps, and of the windows."""
        sequences = self.sequences
        digest = hashlib.sha256(digest_of(sequences.table).encode())
        for part in (sequences.lengths, *self._pieces):
            digest.update(part.tobytes())
        digest.update(repr(sequences.ids).encode())
        if sequences.stamps is not None:
            digest.update(str(sequences.stamps.dtype).encode() + sequences.stamps.tobytes())
        return digest.hexdigest()


def _check_arguments(window: Any, stride: Any) -> None:
    given = window is not None and not (isinstance(window, str) and window == "auto")
    if given and (isinstance(window, bool) or not isinstance(window, Integral) or window < 2):
        raise ValueError(f"window must be 'auto', None or a whole number of at least 2, got {window!r}")
    if stride is None:
        return
    if isinstance(stride, bool) or not isinstance(stride, Integral) or stride < 1:
        raise ValueError(f"stride must be None or a whole number of at least 1, got {stride!r}")
    if window is None:
        raise ValueError(Advice(Argument("stride", stride), " needs a window: window=None cuts nothing"))
    if given and stride > window:
        raise ValueError(
            Advice(
                Argument("stride", stride),
                " must not exceed ",
                Argument("window", window),
                ": the steps between windows would be lost",
            )
        )


def _check_named(sequences: Sequences, id: str | int | None, time: str | int | None) -> None:
    for what, name, found in (("id", id, sequences.ids), ("time", time, sequences.stamps)):
        if name is not None and found is None:
            form = "a list" if sequences.layout == "ragged" else "an array"
            raise ValueError(
                Advice(Argument(what, name), f" names a column of a frame, but X is {form}: leave {what} out")
            )


def _resolved(window: int | Literal["auto"] | None, stride: int | None, sequences: Sequences) -> int | None:
    longest = int(sequences.lengths.max())
    if window == "auto":
        enough = 2 if sequences.per == "sequence" else ENOUGH
        if longest <= WHOLE and sequences.n_sequences >= enough:
            if stride is not None:
                raise ValueError(
                    Advice(
                        Argument("stride", stride),
                        f" needs a window, and by itself none is cut of {longest} steps: name one",
                    )
                )
            return None
        chosen = min(TYPICAL, max(longest // 10, LEAST))
        if sequences.n_sequences == 1 and longest < 2 * chosen:
            chosen = max(longest // 2, 2)
        if stride is not None and stride > chosen:
            raise ValueError(
                Advice(
                    Argument("stride", stride),
                    f" exceeds the window of {chosen} steps that was chosen: name a window",
                )
            )
        return chosen
    if window is not None and window > longest:
        text = f" is longer than the longest sequence, which has {longest} step(s)"
        raise ValueError(Advice(Argument("window", window), text))
    return None if window is None else int(window)


def _windows(sequences: Sequences, window: int | None, stride: int | None) -> tuple[_Pieces, Indices]:
    """The windows of all sequences, and the block of each."""
    owners = np.arange(sequences.n_sequences)
    if window is None:
        return _Pieces(owners, sequences.starts, sequences.lengths), owners
    stride = window if stride is None else stride
    block = window
    if stride < window:
        block = max(window, min(sequences.n_steps // ENOUGH, BLOCK * window))
    counts = np.maximum(sequences.lengths // block, 1)
    number = _within(counts)
    owners = np.repeat(owners, counts)
    starts = sequences.starts[owners] + number * block
    last = number == counts[owners] - 1
    lengths = np.where(last, sequences.lengths[owners] - number * block, block)
    rest = np.maximum(lengths - window, 0)
    many = -(-rest // stride) + 1
    blocks = np.repeat(np.arange(owners.size), many)
    offsets = np.minimum(_within(many) * stride, rest[blocks])
    pieces = _Pieces(owners[blocks], starts[blocks] + offsets, np.minimum(lengths, window)[blocks])
    return pieces, blocks


def windows_of(sequences: Sequences, window: int | None, stride: int | None) -> Sequences:
    """All windows as sequences, cut as `SequenceRows` cuts them, however few.

    Args:
        sequences: to cut.
        window: steps of a window; None cuts nothing.
        stride: steps from one window to the next; None is the window itself.
    """
    return sequences.cut(*_windows(sequences, window, stride)[0])


def _within(counts: Indices) -> Indices:
    """0, 1, ... for each count, one after the other."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)


def _too_few(sequences: Sequences, window: int | None) -> str:
    longest = int(sequences.lengths.max())
    text = f"{sequences.n_sequences} sequence(s) of {longest} step(s)"
    cut = (" with ", Argument("window", window)) if window is not None else ()
    if longest < 4:
        return f"{text} are too few to fit on: a fit takes two sequences, or four steps in a row"
    most = max(longest // ENOUGH, 2)
    return Advice(f"{text} make fewer than two windows", *cut, ": ", Argument("window", most), " would do")
