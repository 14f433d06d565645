"""What a detector gives back, and what it is computed from."""

from __future__ import annotations

from typing import Any, NamedTuple

from upland.calibration.conformal import Calibration, Floats
from upland.catalogue import Unit
from upland.data.reader import Reader


class Assessment(NamedTuple):
    """Anomaly scores and p-values of the same data, in the same arrangement, `(N,)` by custom."""

    anomaly_score: Floats
    p_value: Floats


class Scores(NamedTuple):
    """The scores of K members.

    Args:
        values: `(N, K)`.
        unit: what each is of.
        reader: how the data were read.
        piece: the sequences that they are of; of rows and images the last piece, which does not matter.
    """

    values: Floats
    unit: Unit
    reader: Reader
    piece: Any

    @property
    def mean(self) -> Floats:
        """The anomaly scores `(N,)`: the mean over the members."""
        values: Floats = self.values.mean(axis=1)
        return values

    def p_values(self, calibration: Calibration) -> Floats:
        """`(N,)` by a calibration of such units.

        Args:
            calibration: of the members.
        """
        return calibration.p_values(self.values if calibration.method == "cross" else self.mean[:, None])

    def arranged(self, numbers: Floats) -> Floats:
        """One number a unit in the user's own arrangement.

        Args:
            numbers: `(N,)`.
        """
        return self.reader.arrange(numbers, self.piece, self.unit)
