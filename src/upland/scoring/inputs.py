"""Which columns of the user's rows a detector reads, and whether they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upland.scoring.containers import Container

if TYPE_CHECKING:
    from upland.detectors.base import Detector


def keys_of(detector: Detector) -> tuple[str, ...]:
    """The columns beside the features that a detector reads: of segments, of ids and of time stamps."""
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.detectors.segmented import SegmentedDetector

    if isinstance(detector, SegmentedDetector):
        return (detector.by_,)
    encoder = detector.encoder_
    if not isinstance(encoder, SequenceEncoder):
        return ()
    return tuple(str(name) for name in (encoder.id, encoder.time) if name is not None)


def check_columns(detector: Detector, rows: Container) -> None:
    """Refuse rows of a table, or of steps, that lack columns of the fit, whether there are rows or not.

    Raises:
        ValueError: Columns are missing; the message names them.
    """
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.data.table.frames import view_table
    from upland.data.table.matching import find_positions

    keys, encoder = keys_of(detector), detector.encoder_
    own = [name for name in rows.names if str(name) in keys]
    if lacking := [key for key in keys if key not in map(str, own)]:
        raise ValueError(f"missing column(s): {', '.join(map(repr, lacking))}")
    table: Any = encoder.table if isinstance(encoder, SequenceEncoder) else encoder
    view = view_table(rows.without(own) if isinstance(encoder, SequenceEncoder) else rows.data)
    find_positions(view, table.schema_, table.schema_.names, table.owner)
