"""What scoring data gives: the scores of each member, and those of all with their p-values."""

from typing import Any, NamedTuple

from upland.calibration.conformal import Floats
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
