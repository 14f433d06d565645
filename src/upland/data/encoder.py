"""The interface of every encoder, whatever the modality of its data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import Modality


class Encoder(Protocol):
    """From a user's data to the numbers that a model takes, learned from normal data; a structural type.

    A *point* is what has one energy: a row of a table, a time step of a sequence, an image.
    """

    @property
    def modality(self) -> Modality:
        """Table, sequence or image."""

    @property
    def width(self) -> int:
        """Encoded numbers of one point."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one point as the model takes it."""

    @property
    def context_width(self) -> int:
        """Encoded numbers beside them that a model is conditioned on, of sequences alone."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns or channels that the user's data must have."""

    @property
    def named(self) -> bool:
        """Whether these names are the user's own."""

    def read_as(self, other: Any) -> Self:
        """Read cells as another encoder does, which was fitted on these data and more; returns itself."""

    def fit_batches(self, batches: Iterable[Any]) -> Self:
        """Learn from a stream of normal data."""

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Encode: `(N, ...)`, finite but for the NaN behind the end of a sequence."""

    def describe(self) -> list[dict[str, str]]:
        """Name and kind of each column or channel in use."""

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors."""

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """The exact way back."""
