"""Steps of series as they come: each is a batch of one row, scored by the state of its series so far."""

from __future__ import annotations

from typing import Any

import numpy as np

from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.next_steps import next_step
from upland.detectors.base import Detector
from upland.detectors.one_row import one_row
from upland.detectors.sequence import SequenceDetector
from upland.detectors.stream import Stream, begin
from upland.watch.columns import Totals
from upland.watch.scored import Scored
from upland.watch.states import Arrays


def sequence_detector(detector: Detector) -> SequenceDetector:
    """The same detector; raises TypeError where it is not of sequences."""
    if not isinstance(detector, SequenceDetector):
        raise TypeError("update_next takes steps of sequences, and the detector reads none: use update")
    return detector


def stream_of(detector: SequenceDetector, arrays: Arrays | None) -> Stream:
    """The state of a series.

    Args:
        detector: fitted.
        arrays: of the history; None before the first step.

    Raises:
        ValueError: they are those of another criterion, or of no state; as `Stream.with_arrays`.
    """
    name = detector.criterion_of("step")
    criteria: list[Any] = [detector.fitted_criterion(member, "step") for member in detector.members_]
    start = begin(detector.members_, criteria, name)
    return start if arrays is None else start.with_arrays(arrays)


def score_step(detector: SequenceDetector, stream: Stream, step: Any) -> tuple[Scored, Stream]:
    """What a detector says of one more step, and the state after it.

    Args:
        detector: fitted.
        stream: the state before it.
        step: its values, as `score_next` takes them.

    Raises:
        ValueError, TypeError, FloatingPointError: it is not like those of the fit.
    """
    score, p, after = detector.score_next(stream, step)
    encoder = detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    totals = Totals.of(next_step(one_row(step), encoder)[0][:, : encoder.width])
    found = Scored(
        unit="step",
        rows=np.array([stream.steps]),
        scores=np.array([score]),
        p=np.array([p]),
        values=np.array([after.values]),
        segments=None,
        totals=totals,
    )
    return found, after
