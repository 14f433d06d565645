r"""Which columns, time steps or pixels a score comes from.

Each criterion says what every encoded input adds to its score, and what was expected in the input's place
(`upland.criteria`); here these are summed by the user's columns, averaged over the members, and turned back
into the user's values. A categorical column is one share. Of a sequence's score each time step and channel
has a share, of an image's each pixel.

Shares sum to `anomaly_score` but for the energy, a height, whose shares are those of its slope and sum to the
reconstruction error, and for the criteria of likelihoods (`upland.criteria.likelihood`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.catalogue import MODALITIES
from upland.counterfactuals.result import Counterfactual, counterfactual
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder, pixel_encoder
from upland.data.modality import check_modality
from upland.data.sequence.container import Sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.foreign import check_detector
from upland.detectors.host import usual_settings
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector
from upland.detectors.shares import member_shares

WIDEST = 3
"""Columns that a counterfactual changes at most, unless said."""


class Reason(NamedTuple):
    """One column's part in one row's anomaly.

    `share` is in the criterion's unit, `part` its fraction of the row's positive shares, `value` what the row
    holds, `expected` what the model would have put there. Of time steps, `low` and `high` are the band around
    it that held nine of ten held-out normal steps, or None. `has_expected`: whether the model expects any.
    """

    column: str
    share: float
    part: float
    value: Any
    expected: Any
    low: Any = None
    high: Any = None
    has_expected: bool = True


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
        low: `(N, C)` objects: the lower end of the band around it that held nine of ten held-out normal
            steps; None of categories. None for rows of a table.
        high: `(N, C)` objects: the upper end; likewise.

    Examples:
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
    low: NDArray[np.object_] | None = None
    high: NDArray[np.object_] | None = None

    def take(self, rows: Any) -> Explanation:
        """The explanation of some of the rows.

        Args:
            rows: their numbers, or a mask.
        """
        parts = (self.shares, self.values, self.expected, self.low, self.high)
        return Explanation(self.columns, *(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]

    def top(self, k: int = 3) -> list[list[Any]]:
        """For each row its k largest shares as `Reason`, largest first; of steps in an array `(N, T)` a list
        of such lists for each sequence, empty ones behind its end.
        """
        if self.shares.ndim > 2:
            return [self.take(row).top(k) for row in range(len(self.shares))]
        order = np.argsort(-self.shares, axis=1, kind="stable")[:, :k]
        totals = np.maximum(np.maximum(self.shares, 0).sum(axis=1), np.finfo(float).tiny)
        return [
            [self._reason(row, int(c), totals[row]) for c in columns if not np.isnan(totals[row])]
            for row, columns in enumerate(order)
        ]

    def _reason(self, row: int, column: int, total: float) -> Reason:
        share = float(self.shares[row, column])
        where = (row, column)
        low, high = (None if end is None else end[where] for end in (self.low, self.high))
        part, value, expected = max(share, 0) / float(total), self.values[where], self.expected[where]
        return Reason(self.columns[column], share, part, value, expected, low, high)

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


def joined(parts: Sequence[Explanation]) -> Explanation:
    """The rows of several explanations, one after the other.

    Args:
        parts: of the same detector, one at least.
    """
    each = zip(
        *((part.shares, part.values, part.expected, part.low, part.high) for part in parts), strict=True
    )
    whole: list[Any] = [None if some[0] is None else np.concatenate(some) for some in each]
    return Explanation(parts[0].columns, *whole)


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

    Examples:
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
        total = max(float(np.maximum(share, 0).sum()), np.finfo(float).tiny)
        order = np.argsort(-share, axis=None, kind="stable")[:k]
        found = []
        for step, channel in zip(*np.unravel_index(order, share.shape), strict=True):
            size = float(share[step, channel])
            name = f"{self.columns[channel]} at {self.labels[row][step]}"
            where = (step, channel)
            part = max(size, 0) / total
            found.append(Reason(name, size, part, self.values[row][where], self.expected[row][where]))
        return found


@dataclass(frozen=True)
class ImageExplanation:
    """Where in images their anomaly lies.

    Args:
        shares: `(N, H, W, C)` each pixel's part of |grad E|^2; an image's sum to its anomaly score, of the
            energy criterion to its reconstruction score. Ignored pixels have 0: what they add is left out.
        values: `(N, H, W, C)` the pixels.
        expected: `(N, H, W, C)` what the (first member's) model would have put there, or the ignored
            pixel; None where features have no way back to pixels.

    Examples:
        >>> import numpy as np
        >>> shares = np.zeros((1, 4, 4, 1))
        >>> shares[0, 2, 3] = 1.5
        >>> ImageExplanation(shares, shares, shares).top(1)[0][0].column
        'row 2, column 3'
    """

    shares: NDArray[np.float64]
    values: NDArray[Any]
    expected: NDArray[Any] | None

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
        for pixel in np.argsort(-heat, axis=None, kind="stable")[:k]:
            y, x = divmod(int(pixel), heat.shape[1])
            share = float(heat[y, x])
            expected = None if self.expected is None else _pixel(self.expected[image, y, x])
            seen = _pixel(self.values[image, y, x])
            rest = (expected, None, None, self.expected is not None)
            found.append(Reason(f"row {y}, column {x}", share, share / total, seen, *rest))
        return found


@overload
def explain(
    detector: ScoringDetector, X: Any, how: Literal["shares"] = ...
) -> Explanation | SequenceExplanation | ImageExplanation: ...


@overload
def explain(
    detector: ScoringDetector,
    X: Any,
    how: Literal["counterfactual"],
    k: int = ...,
    alpha: float | None = ...,
    fixed: Sequence[str | int] = ...,
) -> Counterfactual: ...


def explain(
    detector: ScoringDetector,
    X: Any,
    how: str = "shares",
    k: int = WIDEST,
    alpha: float | None = None,
    fixed: Sequence[str | int] = (),
) -> Explanation | SequenceExplanation | ImageExplanation | Counterfactual:
    """The share of each column, time step or pixel in the anomaly scores, and what was expected in its place;
    or for rows of a table the smallest change that makes each normal.

    Args:
        detector: fitted.
        X: data like those of the fit: an array, a frame, or the path of a file or folder, which is read
            whole.
        how: "shares", or "counterfactual", of tables only (the search: `upland.counterfactuals.search`).
        k: columns that a counterfactual changes at most.
        alpha: a row is normal where its p-value is above this; None is the detector's `alpha_`.
        fixed: columns that a counterfactual does not change, such as a date or a site.

    Returns:
        An `Explanation` of rows, or of the steps of a long series; a `SequenceExplanation` where a score is
        of a whole sequence; an `ImageExplanation`; a `Counterfactual`.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        TypeError: it is no detector.
        ValueError: columns are missing or of another kind; an argument is out of its range, or of a
            counterfactual and given with shares; a counterfactual is asked for of sequences, of images or in
            segments.

    Examples:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> odd = np.array([[0.0, 40.0, 0.0]])
        >>> upland.explain(detector, odd).top(1)[0][0].column
        'x1'
        >>> [change.column for change in upland.explain(detector, odd, "counterfactual").changes[0]]
        ['x1']
    """
    check_detector(detector, "explain")
    detector.check_fitted()
    if how not in ("shares", "counterfactual"):
        raise ValueError(f"how must be 'shares' or 'counterfactual', got {how!r}")
    if how == "shares" and (k != WIDEST or alpha is not None or (fixed is not None and len(fixed))):
        raise ValueError("k, alpha and fixed are of how='counterfactual': leave them out with how='shares'")
    if how == "counterfactual" and detector.modality != "table":
        raise ValueError(
            f"a counterfactual is of rows of a table, but the model is of {MODALITIES[detector.modality]}: "
            "use how='shares', which says what contributes"
        )
    if how == "counterfactual" and isinstance(detector, SegmentedDetector):
        raise ValueError(
            "a counterfactual is not searched for in segments: use how='shares', which says what contributes"
        )
    try:
        with usual_settings():
            if how == "counterfactual":
                level = detector.alpha_ if alpha is None else alpha
                return counterfactual(detector, _table(detector, X), k, level, fixed)
            return _explained(detector, X)
    except (TypeError, ValueError):
        check_modality(X, detector.modality, detector.family)
        raise


def _explained(detector: ScoringDetector, X: Any) -> Explanation | SequenceExplanation | ImageExplanation:
    encoder = detector.encoder_
    if isinstance(encoder, ImageEncoder | FeatureEncoder):
        return _of_images(detector, encoder, X)
    if isinstance(encoder, SequenceEncoder):
        return _of_sequences(detector, encoder, next(iter(detector.plan_.reader.pieces(X, encoder))))
    assert isinstance(encoder, TableEncoder)
    return _of_rows(detector, encoder, _table(detector, X))


def _table(detector: ScoringDetector, X: Any) -> Any:
    """A table whole, of however many pieces a file is read."""
    parts = list(detector.plan_.reader.pieces(X, detector.encoder_))
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts, promote_options="permissive")


def _of_rows(detector: ScoringDetector, encoder: TableEncoder, table: Any) -> Explanation:
    shares, (expected, *_) = member_shares(detector, table, "row")
    names = encoder.column_names
    return Explanation(
        names, shares, _objects(encoder.values(table), names), _objects(encoder.decode(expected), names)
    )


def _of_images(detector: ScoringDetector, encoder: ImageEncoder | FeatureEncoder, X: Any) -> ImageExplanation:
    pixels = pixel_encoder(encoder)
    images = pixels.images(X)
    shares, (expected, *_) = member_shares(detector, images, "image")
    return ImageExplanation(
        np.moveaxis(shares, 1, 3), pixels.values(images), encoder.decode(expected, images)
    )


def _of_sequences(
    detector: ScoringDetector, encoder: SequenceEncoder, piece: Sequences
) -> Explanation | SequenceExplanation:
    unit = detector.plan_.reader.unit(piece)
    shares, (reached, *_) = member_shares(detector, piece, unit)
    names = encoder.column_names
    values = _objects(encoder.values(piece), names)
    expected = _objects(encoder.decode(reached), names)
    if unit == "step":
        nothing = dict.fromkeys(names, np.full(len(reached), None, dtype=object))
        bounds = [_objects(nothing | side, names) for side in encoder.bounds(reached)]
        return Explanation(names, *(_arranged(piece, part) for part in (shares, values, expected, *bounds)))
    cuts = np.cumsum(piece.lengths)[:-1]
    labels = [
        [piece.label(n, t)[1] for t in range(length)] for n, length in enumerate(piece.lengths.tolist())
    ]
    return SequenceExplanation(
        names, np.split(shares, cuts), np.split(values, cuts), np.split(expected, cuts), labels
    )


def _arranged(piece: Sequences, steps: NDArray[Any]) -> NDArray[Any]:
    """One row a step, `(S, C)`, arranged as the scores are; behind the end of a sequence NaN or None."""
    positions = piece.arrange(np.arange(piece.n_steps, dtype=np.float64))
    there = np.isfinite(positions)
    nothing = None if steps.dtype == object else np.nan
    found = np.full((*positions.shape, steps.shape[1]), nothing, dtype=steps.dtype)
    found[there] = steps[positions[there].astype(np.int64)]
    return found


def _pixel(values: NDArray[Any]) -> Any:
    return values.item() if values.size == 1 else tuple(values.tolist())


def _objects(values: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[np.object_]:
    table = np.empty((len(values[names[0]]), len(names)), dtype=object)
    for position, name in enumerate(names):
        column = values[name]
        table[:, position] = column if column.dtype.kind in "Mm" else column.tolist()
    return table
