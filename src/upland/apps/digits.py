"""The demonstration's images and short sequences: handwritten zeros, and what is none.

The data are scikit-learn's digits (Alpaydin, Kaynak 1998): 1,797 handwritten digits of 8 x 8 pixels. Zeros
are normal. Judged are zeros held out, other digits, and zeros with a stroke added, of which the place is
known: the heat should lie there. The same digits are then read row by row, as sequences of eight steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.csv as csv
from numpy.typing import NDArray

from upland.apps.gallery import Maps, open_images, score_images
from upland.apps.series import open_series, score_sequences
from upland.apps.showing import ALPHA, Found, compared, found_table
from upland.apps.verdicts import Asked, Bools
from upland.apps.views import findings_table

if TYPE_CHECKING:
    from rich.console import Console

NORMAL, HELD_OUT, OTHERS, STRUCK = 0, 40, 15, 10
"""The normal digit; how many of it are held out; how many of each other are judged; how many get a stroke."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STROKES = ((3, 1), (1, 3), (2, 2))
"""Height and width of the strokes, in turn."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """Digits to fit on and to judge.

    Args:
        normal: `(N, 8, 8)` zeros to fit on.
        new: `(M, 8, 8)` digits to judge.
        names: Of each what it is: `zero-03`, `seven-11`, `struck-zero-02`.
        strokes: `(M, 8, 8)` which pixels were added.
    """

    normal: Pixels
    new: Pixels
    names: list[str]
    strokes: Bools

    @property
    def struck(self) -> Bools:
        """`(M,)` which digits have a stroke."""
        return self.strokes.any(axis=(1, 2))

    @property
    def odd(self) -> Bools:
        """`(M,)` which are other digits or have a stroke."""
        return np.array([not name.startswith("zero") for name in self.names])


@dataclass(frozen=True)
class Files:
    """What this part writes into its folder; images are PNG files where Pillow is there, else an array."""

    folder: Path
    pictures: bool

    @property
    def normal(self) -> Path:
        """Zeros to fit on."""
        return self.folder / ("zeros" if self.pictures else "zeros.npy")

    @property
    def new(self) -> Path:
        """Digits to judge."""
        return self.folder / ("digits" if self.pictures else "digits.npy")

    @property
    def model(self) -> Path:
        """The detector of images."""
        return self.folder / "zeros.safetensors"

    @property
    def scored(self) -> Path:
        """The digits with verdicts and reasons."""
        return self.folder / "digits.csv"

    @property
    def maps(self) -> Path:
        """Heat maps."""
        return self.folder / "heat"

    @property
    def normal_rows(self) -> Path:
        """Zeros as sequences of rows."""
        return self.folder / "zero-rows.npy"

    @property
    def new_rows(self) -> Path:
        """Digits as sequences of rows."""
        return self.folder / "digit-rows.npy"

    @property
    def rows_model(self) -> Path:
        """The detector of sequences."""
        return self.folder / "zero-rows.safetensors"

    @property
    def rows_scored(self) -> Path:
        """The sequences with verdicts and reasons."""
        return self.folder / "digit-rows.csv"

    def told(self) -> dict[str, str]:
        """What is in them."""
        slash = "/" if self.pictures else ""
        told = {
            f"{self.normal.name}{slash}, {self.new.name}{slash}": "images to fit on and to score",
            f"{self.model.name}, {self.scored.name}": "their detector; which digit is strange, and where",
        }
        if self.pictures:
            told[f"{self.maps.name}/"] = "heat maps of the flagged images, strangest first"
        return told | {
            f"{self.normal_rows.name}, {self.new_rows.name}": "the same as sequences of eight rows",
            f"{self.rows_model.name}, {self.rows_scored.name}": "their detector; which digit, and at which row",
        }


def digits(generator: np.random.Generator) -> Digits:
    """Deal scikit-learn's digits out, and add the strokes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * 255 / 16).astype(np.uint8)
    zeros = generator.permutation(np.flatnonzero(data.target == NORMAL))
    held_out, kept = zeros[:HELD_OUT], zeros[HELD_OUT:]
    others = [
        generator.permutation(np.flatnonzero(data.target == digit))[:OTHERS]
        for digit in range(10)
        if digit != NORMAL
    ]
    struck, strokes = _struck(images[held_out[:STRUCK]], images[kept].mean(axis=0), generator)
    rest = np.concatenate([held_out, *others])
    words = [WORDS[digit] for digit in data.target[rest]] + ["struck-zero"] * STRUCK
    numbers = [words[:place].count(word) for place, word in enumerate(words)]
    return Digits(
        images[kept],
        np.concatenate([images[rest], struck]),
        [f"{word}-{number:02d}" for word, number in zip(words, numbers, strict=True)],
        np.concatenate([np.zeros((len(rest), 8, 8), dtype=bool), strokes]),
    )


def _struck(zeros: Pixels, usual: NDArray[np.float64], generator: np.random.Generator) -> tuple[Pixels, Bools]:
    """Zeros with a white stroke each, at a random place where zeros are dark."""
    images, strokes = zeros.copy(), np.zeros(zeros.shape, dtype=bool)
    for number, image in enumerate(images):
        height, width = STROKES[number % len(STROKES)]
        places = [
            (y, x)
            for y in range(9 - height)
            for x in range(9 - width)
            if max(image[y : y + height, x : x + width].max(), usual[y : y + height, x : x + width].max()) < 64
        ]
        y, x = places[int(generator.integers(len(places)))]
        strokes[number, y : y + height, x : x + width] = True
    images[strokes] = 255
    return images, strokes
