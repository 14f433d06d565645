r"""Which columns lift a row: the parts of |grad E|^2, column by column.

The reconstruction f(x) = x - grad E(x) is where the energy's slope points, the normal row that the model
would have expected in x's place. Column j's share of the anomaly is the sum over its encoded inputs i of
(x_i - f_i(x))^2, so that the shares of a row sum to its reconstruction score exactly; a categorical column
is one share. They explain the energy criterion too, as its gradient.
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

from upland.criteria.points import in_blocks, residual
from upland.data.sources import open_source
from upland.detection import Detector
from upland.fitting import Member


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
        shares: `(N, C)` each column's part of |grad E|^2; rows sum to the reconstruction score.
        values: `(N, C)` objects: what the rows hold.
        expected: `(N, C)` objects: what the (first member's) model would have put there.

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

    def top(self, k: int = 3) -> list[list[Reason]]:
        """For each row its k largest shares, largest first."""
        order = np.argsort(-self.shares, axis=1, kind="stable")[:, :k]
        totals = np.maximum(self.shares.sum(axis=1), np.finfo(float).tiny)
        return [
            [self._reason(row, int(c), totals[row]) for c in columns] for row, columns in enumerate(order)
        ]

    def _reason(self, row: int, column: int, total: float) -> Reason:
        share = float(self.shares[row, column])
        where = (row, column)
        return Reason(
            self.columns[column], share, share / float(total), self.values[where], self.expected[where]
        )

    def to_frame(self) -> Any:
        """The shares as a pandas frame with the columns' names.

        Raises:
            ImportError: pandas is not installed; the message says what to install.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install 'upland[pandas]'") from None
        return pd.DataFrame(self.shares, columns=list(self.columns))


def explain(detector: Detector, X: Any) -> Explanation:
    """Say which columns make rows anomalous, and what was expected in their place.

    Args:
        detector: fitted.
        X: `(N, M)` rows with the columns of the fit: an array, a frame, or the path of a file, which is
            read whole.

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
    if isinstance(X, str | Path):
        X = pa.concat_tables(open_source(X).batches(detector.encoder_.schema_))
    parts = [_of_member(member, X) for member in detector.members_]
    shares = np.mean([part[0] for part in parts], axis=0)
    encoder = detector.encoder_
    values = encoder.values(X)
    expected = encoder.decode(parts[0][1])
    names = encoder.column_names
    return Explanation(names, shares, _objects(values, names), _objects(expected, names))


def _of_member(member: Member, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of the columns `(N, C)` and the reconstruction `(N, D)`."""
    rows = torch.from_numpy(member.encoder.transform(X))
    away = in_blocks(residual, member.model, rows, member.sigma).numpy()
    shares = np.zeros((len(away), member.encoder.n_columns))
    np.add.at(shares.T, member.encoder.slots, (away**2).T)
    return shares, rows.numpy() - away


def _objects(values: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[np.object_]:
    table = np.empty((len(values[names[0]]), len(names)), dtype=object)
    for position, name in enumerate(names):
        column = values[name]
        table[:, position] = column if column.dtype.kind in "Mm" else column.tolist()
    return table
