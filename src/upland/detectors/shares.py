"""What each column adds to the scores of a detector, and what its members expect in the cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import Unit
from upland.criteria.base import Floats, finite
from upland.data.image.feature_encoder import FeatureEncoder, pixel_encoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector


class MemberShares(NamedTuple):
    """The shares of a detector.

    Args:
        mean: the mean of the members' shares, by the column of each encoded input where there are columns;
            members may encode a column in different numbers of slots. Ignored pixels have none.
        expected: what each member expected, encoded.
    """

    mean: Floats
    expected: list[NDArray[Any]]


def member_shares(detector: ScoringDetector, piece: Any, unit: Unit) -> MemberShares:
    """The shares of such units.

    Args:
        detector: fitted.
        piece: as `plan_.reader.pieces` gives it.
        unit: what one score is of.
    """
    if isinstance(detector, SegmentedDetector):
        inputs, typical = detector.shares(piece, member_shares(detector.pooled_, piece, unit).mean)
        encoder = detector.encoder_
        assert isinstance(encoder, TableEncoder)
        return MemberShares(finite(_by_column(inputs, encoder)), [typical])
    shares, expected = [], []
    encode = detector.encodings(piece)
    for member in detector.members_:
        criterion = detector.fitted_criterion(member, unit)
        found = criterion.shares(encode(member.encoder))
        encoder = member.encoder
        if isinstance(encoder, TableEncoder | SequenceEncoder):
            shares.append(_by_column(found.inputs, encoder))
        else:
            ignored = pixel_encoder(encoder).ignored
            inputs = encoder.to_pixels(found.inputs) if isinstance(encoder, FeatureEncoder) else found.inputs
            shares.append(inputs if ignored is None else _of_counted(inputs, ~ignored))
        expected.append(found.expected)
    return MemberShares(finite(np.mean(shares, axis=0)), expected)


def _of_counted(inputs: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Shares `(N, C, H, W)` of the pixels that count, with the sums as before: what others had is divided in
    proportion to theirs.
    """
    kept = inputs * counted
    size = np.abs(kept)
    total = size.sum(axis=(1, 2, 3), keepdims=True)
    even = np.broadcast_to(counted / (counted.sum() * inputs.shape[1]), inputs.shape)
    parts = np.where(total > 0, size / np.where(total > 0, total, 1.0), even)
    found: Floats = kept + (inputs - kept).sum(axis=(1, 2, 3), keepdims=True) * parts
    return found


def _by_column(inputs: Floats, encoder: TableEncoder | SequenceEncoder) -> Floats:
    """Shares of encoded inputs `(N, D)` summed by the user's columns: `(N, C)`."""
    shares = np.zeros((len(inputs), encoder.n_columns))
    np.add.at(shares.T, encoder.slots, inputs.T)
    return shares
