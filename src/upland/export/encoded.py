"""What a modality's function of `upland.export.detectors.ENCODINGS` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upland.export.graph import Value


@dataclass(frozen=True)
class Encoded:
    """Encoded points of every member of a detector.

    Args:
        points: of each member, values `(N, ...)` as its model takes them; of sequences their `Steps`.
        refused: each `(N,)` bool, which of them upland would refuse for one reason or another.
        inputs: what the graph takes, as plain data for the metadata.
    """

    points: Sequence[Any]
    refused: Sequence[Value]
    inputs: Sequence[dict[str, Any]]
