"""Sequences of rows, and what is returned of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.scoring.columns import Verdicts, no_verdicts
from upland.scoring.containers import Container, container
from upland.scoring.inputs import check_columns

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.detectors.base import Detector


def array_in(rows: Container) -> Any:
    """The array of sequences `(N, T, D)` in a dict of arrays; None where there is none.

    Raises:
        ValueError: There are several.
    """
    if not isinstance(rows.data, dict):
        return None
    found = [name for name, values in rows.data.items() if _dimensions(values) == 3]
    if len(found) > 1:
        raise ValueError(f"several arrays of the dict hold sequences (N, T, D), and one is scored: {found}")
    return rows.data[found[0]] if found else None


def _dimensions(values: Any) -> int:
    return 1 if isinstance(values, list | tuple) and not values else np.ndim(values)


def read_sequences(detector: Detector, rows: Container) -> Sequences:
    """The sequences of some rows, at least one; raises as `upland.data.sequence.container.as_sequences`."""
    array = array_in(rows)
    pieces = detector.plan_.reader.pieces(rows.data if array is None else array, encoder_of(detector))
    sequences: Sequences = next(iter(pieces))
    return sequences


def with_verdicts_of(detector: Detector, rows: Container, sequences: Sequences, verdicts: Verdicts) -> Any:
    """The rows of steps with the verdicts behind; where these are of whole sequences, a row for each."""
    if detector.plan_.reader.unit(sequences) == "step" or sequences.layout == "array":
        return rows.with_columns(verdicts)
    if sequences.ids is None:
        numbered = rows.made_of(pa.table({"sequence": np.arange(sequences.n_sequences)}))
        return container(numbered).with_columns(verdicts)
    first = sequences.row_numbers[sequences.starts]
    return container(rows.cells(encoder_of(detector).id, first)).with_columns(verdicts)


def without_rows(detector: Detector, rows: Container, explained: bool) -> Any:
    """What is returned of no rows; raises ValueError where columns are missing."""
    from upland.data.sequence.reader import SequenceReader

    encoder, reader = encoder_of(detector), detector.plan_.reader
    assert isinstance(reader, SequenceReader)
    verdicts, array = no_verdicts(explained), array_in(rows)
    if array is not None:
        shape = (0, np.shape(array)[1]) if reader.per == "step" else (0,)
        arrays = {name: np.asarray(values).reshape(shape) for name, values in verdicts.items()}
        return rows.with_columns(arrays)
    check_columns(detector, rows)
    if reader.per != "sequence":
        return rows.with_columns(verdicts)
    none = np.empty(0, dtype=np.int64)
    whole = rows.made_of(pa.table({"sequence": none})) if encoder.id is None else rows.cells(encoder.id, none)
    return container(whole).with_columns(verdicts)


def encoder_of(detector: Detector) -> SequenceEncoder:
    """The encoder of a detector of sequences."""
    from upland.data.sequence.encoder import SequenceEncoder

    assert isinstance(detector.encoder_, SequenceEncoder)
    return detector.encoder_
