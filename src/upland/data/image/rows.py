"""Images as rows that a fit can hold out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.image.arrays import Channels
from upland.data.image.container import Images, as_images, digest
from upland.data.image.pixels import Mode
from upland.data.rows import FILE_ROWS
from upland.io.advice import Advice, Wording

BYTES_IN_MEMORY = 800_000_000
"""Files whose codes take more bytes than this are left on the disk and read when they are needed."""

BYTES_OF_BATCH = 256_000_000
"""Codes of a batch of a training pass take at most this many bytes."""


class ImageRows:
    """Images as `NormalRows`: each is a row; parts of them are `Images`.

    Args:
        X: whatever `as_images` reads, at least two.
        size: (height, width) to bring them to.
        mode: "grey" or "rgb" to bring them to.
        channels: which axis of an array the channels are, if it can be read either way.
        owner: who asks, for messages.

    Attributes:
        n_rows: how many there are.
        names: the channels.
        in_memory: whether all are held; files are, up to 800 MB of codes.
        images: all of them.

    Raises:
        ValueError: as `as_images`; fewer than two images.

    Examples:
        >>> import numpy as np
        >>> rows = ImageRows(np.zeros((5, 8, 8), dtype=np.uint8))
        >>> rows.n_rows, rows.names, len(rows.take(np.array([1, 3])))
        (5, ['grey'], 2)
    """

    def __init__(
        self,
        X: Any,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode | None = None,
        channels: Channels | None = None,
        owner: str = "ImageRows",
    ) -> None:
        images = as_images(X, size=size, mode=mode, channels=channels)
        check_count(len(images), owner)
        self._bytes = 4 * math.prod(images.shape)
        fits = len(images) * self._bytes <= BYTES_IN_MEMORY
        self.images = images.loaded() if fits else images
        self.in_memory = self.images.in_memory
        self.n_rows = len(images)
        self.names = list(channel_names(images.shape[2]))

    def whole(self) -> Images:
        """All images; of files the pixels are read when they are asked for."""
        return self.images

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of these numbers; files are read when the pixels are asked for."""
        return self.images.select(rows)

    def shuffled(
        self, generator: np.random.Generator, skip: NDArray[np.int64], size: int
    ) -> Iterator[Images]:
        """Every image but the skipped ones once, in a new order, `size` at a time; half as many, or a quarter
        and so on, where these would take much memory.
        """
        while size > 1 and size * self._bytes > BYTES_OF_BATCH:
            size = (size + 1) // 2
        order = generator.permutation(np.setdiff1d(np.arange(self.n_rows), skip))
        for start in range(0, order.size, size):
            yield self.take(order[start : start + size])

    def digest(self) -> str:
        """SHA-256 of every pixel, or of some thousands of images where they are beyond memory."""
        least = self.n_rows if self.in_memory else min(self.n_rows, FILE_ROWS)
        some = np.linspace(0, self.n_rows - 1, num=least).astype(np.int64)
        return digest(self.take(np.unique(some)))


def channel_names(channels: int) -> tuple[str, ...]:
    """What channels are called: grey; red, green, blue; and alpha."""
    return ("grey",) if channels == 1 else ("red", "green", "blue", "alpha")[:channels]


def check_count(count: int, owner: str) -> None:
    """Refuse fewer than two images; raises ValueError."""
    if count < 2:
        text = f"there is only {count} image, while {owner} needs at least 2 to learn from"
        raise ValueError(Advice(Wording(text, f"{{data}} holds {count} image; at least 2 are needed")))
