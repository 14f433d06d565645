"""What the members of a detector encode of the same data, with what they have in common made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder


class Encodings:
    """What members encode of one piece of data: features that are the same for two of them are made once.

    Args:
        encode: `(encoder) -> codes` of the piece.
    """

    def __init__(self, encode: Callable[[Any], Any]) -> None:
        self._encode = encode
        self._found: list[tuple[FeatureEncoder, Any]] = []

    def of(self, encoder: Encoder) -> Any:
        """The codes of the piece.

        Args:
            encoder: of a member, fitted.
        """
        if not isinstance(encoder, FeatureEncoder) or not encoder.source.is_fixed:
            return self._encode(encoder)
        for known, codes in self._found:
            if known.gives_the_same(encoder):
                return codes
        codes = self._encode(encoder)
        self._found.append((encoder, codes))
        return codes
