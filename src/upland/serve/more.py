"""What can be asked beside scores: verdicts on groups, reasons, and the next step of a series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from upland.catalogue import MODALITIES, STATISTICS
from upland.data.sequence.encoder import SequenceEncoder
from upland.detectors.sequence import SequenceDetector
from upland.detectors.stream import Stream
from upland.explanation import ImageExplanation, Reason, explain
from upland.scoring.columns import of_groups
from upland.scoring.regions import regions
from upland.serve.answers import plain
from upland.serve.bodies import Body, joined
from upland.serve.errors import Refusal
from upland.serve.models import Served
from upland.serve.numbers import whole
from upland.serve.series import States

REASONS = 3
"""Reasons of a row unless a request says how many."""

LONGEST_ID = 200
"""Letters of the id of a series."""


def verdicts(served: Served, body: Body, by: list[str], alpha: float, statistic: str) -> dict[str, Any]:
    """A verdict on each group of rows: the columns of `upland groups`, by name.

    Args:
        served: a model of a table.
        body: the rows, with the columns that name the group of each.
        by: the names of these columns.
        alpha: the false discovery rate.
        statistic: a name of `upland.catalogue.STATISTICS`, or "auto".

    Raises:
        Refusal: the model is of another modality; there is no such statistic.
        ValueError: a column is a feature or is missing.
    """
    if served.detector.modality != "table":
        what = MODALITIES[served.detector.modality]
        raise Refusal(422, f"the model is of {what}: this address tests groups of rows of a table")
    if not by:
        raise Refusal(422, "by names the column with the group of each row: /groups?by=COLUMN")
    if statistic not in STATISTICS:
        raise Refusal(422, f"statistic must be one of {', '.join(STATISTICS)}")
    groups = by[0] if len(by) == 1 else tuple(by)
    found = of_groups(served.detector.score_groups(joined([body]), groups, alpha, statistic=statistic))
    return {name: found.column(name) for name in found.column_names}


def reasons(served: Served, data: Any, count: int) -> list[list[Reason]]:
    """The contributing columns, steps or regions of each row, most first.

    Args:
        served: the model.
        data: as its detector takes them.
        count: how many of each row.
    """
    explained = explain(served.detector, data)
    return regions(explained, count) if isinstance(explained, ImageExplanation) else explained.top(count)


def reason_record(reason: Reason) -> dict[str, Any]:
    """A reason as plain values by name."""
    return {name: plain(value) for name, value in reason._asdict().items()}


def next_steps(served: Served, states: States, series: str, body: Body, after: int | None) -> dict[str, Any]:
    """The scores of the steps that follow in a series: columns by name.

    Args:
        served: a model of sequences.
        states: of all series.
        series: the id of the series.
        body: the steps, in their order.
        after: how many steps there were before these, as the client counts them; None does not say.

    Raises:
        Refusal: 409 where another number of steps was seen; 422 for a model that has no steps.
        ValueError: columns are missing or of another kind.
    """
    detector, start = served.detector, served.start
    if start is None:
        what = MODALITIES[detector.modality]
        raise Refusal(422, f"the model is of {what}: only a model of sequences scores a next step")
    assert isinstance(detector, SequenceDetector)
    data = _in_their_order(joined([body]), detector)

    def step(state: Stream) -> tuple[dict[str, Any], Stream]:
        if after is not None and after != state.steps:
            raise Refusal(409, f"{state.steps} steps of this series were seen, not {after}")
        scores, p_values, after_all = detector.score_steps(state, data)
        numbers = np.arange(state.steps + 1, after_all.steps + 1)
        columns = {"step": numbers, "anomaly_score": scores, "p_value": p_values}
        return {name: pa.array(values) for name, values in columns.items()}, after_all

    return states.advance((served.name, series), served.version, start, step)


def _in_their_order(data: Any, detector: SequenceDetector) -> Any:
    """Steps without the columns of their ids and times: they are of one series, and come as they stand."""
    encoder = detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    if not isinstance(data, pa.Table):
        return data
    time = None if encoder.clock.width else encoder.time  # where the model is conditioned on it, it stays
    own = {str(name) for name in (encoder.id, time) if name is not None}
    return data.drop_columns([name for name in data.column_names if name in own])


def series_of(query: Mapping[str, str]) -> tuple[str, int | None]:
    """The id of a series, and how many steps came before, from a query.

    Args:
        query: by name.

    Raises:
        Refusal: there is no id, or it is too long; a number of steps is none.
    """
    name, after = query.get("series", ""), query.get("after")
    if not name or len(name) > LONGEST_ID:
        raise Refusal(422, f"series is the id of a series, of 1 to {LONGEST_ID} letters: /next?series=ID")
    steps = whole(after)
    if after is not None and steps is None:
        raise Refusal(422, f"after is how many steps came before, not {after[:40]!r}")
    return name, steps
