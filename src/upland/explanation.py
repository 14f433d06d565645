r"""Which columns, moments or pixels lift a score.

The reconstruction f(x) = x - grad E(x) is where the energy's slope points, the normal row that the model
would have expected in x's place. Column j's share of the anomaly is the sum over its encoded inputs i of
(x_i - f_i(x))^2, so that the shares of a row sum to its reconstruction score exactly; a categorical column
is one share. The combined score of a table is a cubic mean of lengths, and each part is divided among the
inputs by the squares that it is made of. Of a sequence's score each moment and channel has a share, of an
image's each pixel. The score test of sequences has shares of its own (`upland.criteria.score_test_shares`), and so has
the worst channel: that score, divided among the channels by their levels.

So shares sum to `anomaly_score` under every criterion but one: those of the energy, a height, are of its
slope, and sum to the reconstruction score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from upland.criteria.attribution import parts_of_images, parts_of_rows
from upland.criteria.max_channel import channel_levels
from upland.criteria.points import residual
from upland.criteria.reading import step_values
from upland.criteria.score_test_shares import shares_of_sequences, shares_of_steps
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.container import Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.base import Detector
from upland.detectors.fitting import Member
from upland.detectors.kinds import Pictures, finite
from upland.detectors.sequencing import Series, windows_in
from upland.models.base import EnergyModel


class Reason(NamedTuple):
    """One column's part in one row's anomaly.

    `share` is in the criterion's unit, `part` its fraction of the row's sum, `value` what the row holds,
    `expected` what the model would have put there.
    """

    column: str
    share: float
    part: float
    value: Any
    expected: Any


@dataclass(frozen=True)
class Explanation:
    """Why rows are anomalous.

    Args:
        columns: names of the columns, C of them.
        shares: `(N, C)` each column's part; they sum to the row's anomaly score (of the energy criterion to
            the reconstruction score). Of the steps of an array of sequences `(N, T, C)`, NaN behind the end.
            Under the score test what the hidden units add is divided by how much each channel drives them in
            the frame that ends with the step, though the score is of running means over up to 64 frames.
        values: `(N, C)` objects: what the rows hold; shaped as the shares.
        expected: `(N, C)` objects: what the (first member's) model would have put there; likewise.

    Example:
        >>> import numpy as np
        >>> values = np.array([[7.0, 2.0]], dtype=object)
        >>> expected = np.array([[1.0, 2.5]], dtype=object)
        >>> explanation = Explanation(("flow", "load"), np.array([[3.0, 1.0]]), values, expected)
        >>> explanation.top(1)[0][0].column
        'flow'
    """

    columns: tuple[str, ...]
    shares: NDArray[np.float64]
    values: NDArray[np.object_]
    expected: NDArray[np.object_]

    def top(self, k: int = 3) -> list[list[Any]]:
        """For each row its k largest shares as `Reason`, largest first; of steps in an array `(N, T)` a list
        of such lists for each sequence, empty ones behind its end.
        """
        if self.shares.ndim > 2:
            parts = zip(self.shares, self.values, self.expected, strict=True)
            return [Explanation(self.columns, *part).top(k) for part in parts]
        order = np.argsort(-self.shares, axis=1, kind="stable")[:, :k]
        totals = np.maximum(self.shares.sum(axis=1), np.finfo(float).tiny)
        return [
            [self._reason(row, int(c), totals[row]) for c in columns if not np.isnan(totals[row])]
            for row, columns in enumerate(order)
        ]

    def _reason(self, row: int, column: int, total: float) -> Reason:
        share = float(self.shares[row, column])
        where = (row, column)
        return Reason(
            self.columns[column], share, share / float(total), self.values[where], self.expected[where]
        )

    def to_frame(self) -> Any:
        """The shares as a pandas frame with the columns' names; the steps of an array one after the other.

        Raises:
            ImportError: pandas is not installed; the message says what to install.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install 'upland[pandas]'") from None
        return pd.DataFrame(self.shares.reshape(-1, len(self.columns)), columns=list(self.columns))


@dataclass(frozen=True)
class SequenceExplanation:
    """Where in whole sequences their anomaly lies.

    Args:
        columns: names of the channels, C of them.
        shares: for each sequence `(T_i, C)`: the part of each moment and channel; they sum to the sequence's
            score (of the energy criterion to its reconstruction score).
        values: for each sequence `(T_i, C)` objects: what it holds.
        expected: for each sequence `(T_i, C)` objects: what the (first member's) model would have put there.
        labels: for each sequence its steps' names: the user's time stamps, or numbers from 0.

    Example:
        >>> import numpy as np
        >>> shares = [np.array([[0.0, 0.1], [0.2, 3.0]])]
        >>> cells = [np.zeros((2, 2), dtype=object)]
        >>> SequenceExplanation(("speed", "load"), shares, cells, cells, [[0, 1]]).top(1)[0][0].column
        'load at 1'
    """

    columns: tuple[str, ...]
    shares: list[NDArray[np.float64]]
    values: list[NDArray[np.object_]]
    expected: list[NDArray[np.object_]]
    labels: list[list[Any]]

    def channels(self) -> NDArray[np.float64]:
        """Each channel's part of each sequence's score: `(N, C)`."""
        return np.stack([share.sum(axis=0) for share in self.shares])

    def steps(self) -> list[NDArray[np.float64]]:
        """Each moment's part of the score: for each sequence `(T_i,)`."""
        return [share.sum(axis=1) for share in self.shares]

    def top(self, k: int = 3) -> list[list[Reason]]:
        """For each sequence its k largest shares, largest first; a reason's column is `channel at step`."""
        return [self._worst(row, k) for row in range(len(self.shares))]

    def _worst(self, row: int, k: int) -> list[Reason]:
        share = self.shares[row]
        total = max(float(share.sum()), np.finfo(float).tiny)
        places = np.argsort(-share, axis=None, kind="stable")[:k]
        found = []
        for step, channel in zip(*np.unravel_index(places, share.shape), strict=True):
            part = float(share[step, channel])
            name = f"{self.columns[channel]} at {self.labels[row][step]}"
            where = (step, channel)
            found.append(Reason(name, part, part / total, self.values[row][where], self.expected[row][where]))
        return found


@dataclass(frozen=True)
class ImageExplanation:
    """Where in images their anomaly lies.

    Args:
        shares: `(N, H, W, C)` each pixel's part of |grad E|^2; an image's sum to its anomaly score, of the
            energy criterion to its reconstruction score.
        values: `(N, H, W, C)` the pixels.
        expected: `(N, H, W, C)` what the (first member's) model would have put there, in the same unit.

    Example:
        >>> import numpy as np
        >>> shares = np.zeros((1, 4, 4, 1))
        >>> shares[0, 2, 3] = 1.5
        >>> ImageExplanation(shares, shares, shares).top(1)[0][0].column
        'row 2, column 3'
    """

    shares: NDArray[np.float64]
    values: NDArray[Any]
    expected: NDArray[Any]

    def heat(self) -> NDArray[np.float64]:
        """The shares summed over the channels: `(N, H, W)`."""
        total: NDArray[np.float64] = self.shares.sum(axis=3)
        return total

    def top(self, k: int = 3) -> list[list[Reason]]:
        """For each image its k worst pixels, worst first; a reason's column reads `row y, column x`."""
        return [self._worst(image, k) for image in range(len(self.shares))]

    def _worst(self, image: int, k: int) -> list[Reason]:
        heat = self.shares[image].sum(axis=2)
        total = max(float(heat.sum()), np.finfo(float).tiny)
        found = []
        for place in np.argsort(-heat, axis=None, kind="stable")[:k]:
            y, x = divmod(int(place), heat.shape[1])
            share = float(heat[y, x])
            seen, expected = self.values[image, y, x], self.expected[image, y, x]
            found.append(Reason(f"row {y}, column {x}", share, share / total, _pixel(seen), _pixel(expected)))
        return found


def explain(detector: Detector, X: Any) -> Explanation | SequenceExplanation | ImageExplanation:
    """Say which columns, moments or pixels make data anomalous, and what was expected in their place.

    Args:
        detector: fitted.
        X: data like those of the fit: an array, a frame, or the path of a file or folder, which is read
            whole.

    Returns:
        An `Explanation` of rows, or of the steps of a long series; a `SequenceExplanation` where a score is
        of a whole sequence; an `ImageExplanation`.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        ValueError: columns are missing or of another kind.

    Example:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> upland.explain(detector, np.array([[0.0, 40.0, 0.0]])).top(1)[0][0].column
        'x1'
    """
    check_is_fitted(detector)
    kind = detector.data_kind()
    pieces = kind.pieces(X, detector.encoder_)
    if isinstance(kind, Series):
        return _of_sequences(detector, kind, next(iter(pieces)))
    if isinstance(kind, Pictures):
        return _of_images(detector, X)
    table = pa.concat_tables(pieces) if isinstance(X, str | Path) else X
    return _of_rows(detector, table)


def _of_rows(detector: Detector, X: Any) -> Explanation:
    encoder = detector.encoder_
    assert isinstance(encoder, TableEncoder)
    shares, reached = [], []
    for member in detector.members_:
        rows = torch.from_numpy(member.encoder.transform(X))
        by = detector.judged_by("row")
        mine, there = parts_of_rows(member, rows, encoder.slots, encoder.n_columns, by)
        shares.append(mine)
        reached.append(there)
    names = encoder.column_names
    values = _objects(encoder.values(X), names)
    return Explanation(names, np.mean(shares, axis=0), values, _objects(encoder.decode(reached[0]), names))


def _of_images(detector: Detector, X: Any) -> ImageExplanation:
    encoder = detector.encoder_
    assert isinstance(encoder, ImageEncoder)
    images = encoder.images(X)
    shares, reached = [], []
    for member in detector.members_:
        x = torch.from_numpy(member.encoder.transform(images))
        mine, there = parts_of_images(member, x)
        shares.append(np.moveaxis(mine, 1, 3))
        reached.append(there)
    expected = encoder.decode(reached[0], images)
    return ImageExplanation(np.mean(shares, axis=0), encoder.values(images), expected)


def _of_sequences(detector: Detector, kind: Series, piece: Sequences) -> Explanation | SequenceExplanation:
    encoder = detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    per_step = kind.unit(piece) == "step"
    shares, reached = [], []
    for member in detector.members_:
        by = detector.judged_by(kind.unit(piece))
        spread, there = _of_steps(kind, member, piece, not per_step, by)
        shares.append(spread)
        reached.append(there)
    mean, names = np.mean(shares, axis=0), encoder.column_names
    values = _objects(encoder.values(piece), names)
    wanted = _objects(encoder.decode(reached[0]), names)
    if per_step:
        return Explanation(names, *(_arranged(piece, part) for part in (mean, values, wanted)))
    cuts = np.cumsum(piece.lengths)[:-1]
    labels = [
        [piece.label(n, t)[1] for t in range(length)] for n, length in enumerate(piece.lengths.tolist())
    ]
    return SequenceExplanation(
        names, np.split(mean, cuts), np.split(values, cuts), np.split(wanted, cuts), labels
    )


def _arranged(piece: Sequences, steps: NDArray[Any]) -> NDArray[Any]:
    """One row a step, `(S, C)`, arranged as the scores are; behind the end of a sequence NaN or None."""
    places = piece.arrange(np.arange(piece.n_steps, dtype=np.float64))
    there = np.isfinite(places)
    nothing = None if steps.dtype == object else np.nan
    found = np.full((*places.shape, steps.shape[1]), nothing, dtype=steps.dtype)
    found[there] = steps[places[there].astype(np.int64)]
    return found


def _of_steps(
    kind: Series, member: Member, piece: Sequences, folded: bool, criterion: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the columns `(S, C)` and the reconstruction of each step `(S, D)`.

    A step's score is of the frame of steps that ends with it. Its shares are summed over the frame, or
    folded back to the steps where they arise; what falls before the start counts for the first step.
    """
    encoder, model = member.encoder, kind.model_of(member)
    assert isinstance(encoder, SequenceEncoder)
    frame, width, count = model.frame, encoder.width, encoder.n_columns
    slots = torch.from_numpy(np.asarray(encoder.slots))

    def parts(energy: EnergyModel, x: Tensor, sigma: float) -> Tensor:
        away = residual(energy, x, sigma).reshape(-1, frame, width)
        squares = away.new_zeros(len(away), frame, count).index_add_(2, slots.to(away.device), away**2)
        latest = x.reshape(-1, frame, width)[:, -1] - away[:, -1]
        spread = squares.flatten(1) if folded else squares.sum(1)
        return torch.cat([spread, latest], dim=1)

    codes = kind.codes(member, piece)
    found = finite(step_values(parts, model, codes, piece.lengths, member.sigma).numpy())
    spread, expected = found[:, :-width], found[:, -width:]
    if criterion == "worst_channel":
        usual = member.references["channels"].center
        levels = channel_levels(model, codes, piece.lengths, usual, kind.smoothing).numpy()
        worst = levels.max(axis=1, keepdims=True) / levels.sum(axis=1, keepdims=True)
        by_channel = _by_column(levels * worst, encoder.slots, count)
        if folded:  # a sequence's score is the mean over its steps
            by_channel /= np.repeat(piece.lengths, piece.lengths)[:, None]
        return by_channel, expected
    if criterion == "score_test":
        whole = member.references["sequence"]
        tested = (
            shares_of_sequences(model, codes, piece.lengths, whole)
            if folded
            else shares_of_steps(model, codes, piece.lengths, windows_in(member))
        )
        return _by_column(tested, encoder.slots, count), expected
    if not folded:
        return spread, expected
    shares = np.zeros((len(spread), count))
    firsts = np.repeat(np.cumsum(piece.lengths) - piece.lengths, piece.lengths)
    for lag in range(frame):
        where = np.maximum(np.arange(len(spread)) - lag, firsts)
        place = frame - 1 - lag
        np.add.at(shares, where, spread[:, place * count : (place + 1) * count])
    return shares / np.repeat(piece.lengths, piece.lengths)[:, None], expected


def _by_column(squares: NDArray[np.float64], slots: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Squares of encoded inputs `(N, D)` summed by the user's columns: `(N, C)`."""
    shares = np.zeros((len(squares), count))
    np.add.at(shares.T, slots, squares.T)
    return shares


def _pixel(values: NDArray[Any]) -> Any:
    return values.item() if values.size == 1 else tuple(values.tolist())


def _objects(values: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[np.object_]:
    table = np.empty((len(values[names[0]]), len(names)), dtype=object)
    for position, name in enumerate(names):
        column = values[name]
        table[:, position] = column if column.dtype.kind in "Mm" else column.tolist()
    return table
