"""The demonstration's images and short sequences: handwritten zeros, and what is none.

The data are scikit-learn's digits (Alpaydin, Kaynak 1998): 1,797 handwritten digits of 8 x 8 pixels. Zeros
are normal. Zeros held out, other digits, and zeros with a stroke added are scored; the heat of the last
should lie in the stroke. The same digits are then read row by row, as sequences of eight steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.csv as csv
from numpy.typing import NDArray
from upland_demo.findings import Bools, Found, compared, fitted, found_table, scored

import upland
from upland.cli.rendering import findings_table

if TYPE_CHECKING:
    from rich.console import Console

NORMAL, HELD_OUT, OTHERS, STRUCK = 0, 40, 15, 10
"""The normal digit; how many of it are held out; how many of each other are scored; how many get a stroke."""

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
STROKES = ((3, 1), (2, 2))
"""Height and width of the strokes, in turn."""

DARK = 64

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Digits:
    """Digits to fit on and to score.

    Args:
        normal: `(N, 8, 8)` zeros to fit on.
        new: `(M, 8, 8)` digits to score.
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
        struck: Bools = np.any(self.strokes, axis=(1, 2))
        return struck

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
        """Digits to score."""
        return self.folder / ("digits" if self.pictures else "digits.npy")

    @property
    def model(self) -> Path:
        """The detector of images."""
        return self.folder / "zeros.safetensors"

    @property
    def scored(self) -> Path:
        """The digits with scores, flags and reasons."""
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
        """The sequences with scores, flags and reasons."""
        return self.folder / "digit-rows.csv"

    def contents(self) -> dict[str, str]:
        """What is in them."""
        slash = "/" if self.pictures else ""
        contents = {
            f"{self.normal.name}{slash}, {self.new.name}{slash}": "images to fit on and to score",
            f"{self.model.name}, {self.scored.name}": "their detector; which digit is anomalous, and where",
        }
        if self.pictures:
            contents[f"{self.maps.name}/"] = "heat maps of the flagged images, most anomalous first"
        return contents | {
            f"{self.normal_rows.name}, {self.new_rows.name}": "the same as sequences of eight rows",
            f"{self.rows_model.name}, {self.rows_scored.name}": "their detector; which, at which row",
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
    struck, strokes = _struck(images[held_out[:STRUCK]], generator)
    rest = np.concatenate([held_out, *others])
    words = [WORDS[digit] for digit in data.target[rest]] + ["struck-zero"] * STRUCK
    numbers = [words[:place].count(word) for place, word in enumerate(words)]
    return Digits(
        images[kept],
        np.concatenate([images[rest], struck]),
        [f"{word}-{number:02d}" for word, number in zip(words, numbers, strict=True)],
        np.concatenate([np.zeros((len(rest), 8, 8), dtype=bool), strokes]),
    )


def _struck(zeros: Pixels, generator: np.random.Generator) -> tuple[Pixels, Bools]:
    """Zeros with a white stroke each, at a random place where they are dark."""
    images, strokes = zeros.copy(), np.zeros(zeros.shape, dtype=bool)
    for number, image in enumerate(images):
        height, width = STROKES[number % len(STROKES)]
        places = [
            (y, x)
            for y in range(9 - height)
            for x in range(9 - width)
            if image[y : y + height, x : x + width].max() < DARK
        ]
        y, x = places[int(generator.integers(len(places)))]
        strokes[number, y : y + height, x : x + width] = True
    images[strokes] = 255
    return images, strokes


# -- images --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictured:
    """What was found in the images.

    Args:
        others: Other digits against zeros held out.
        struck: Zeros with a stroke against zeros held out.
        located: In how many of the struck zeros the pixel with the largest share is in the stroke or beside
            it.
        maps: Heat maps written.
    """

    others: Found
    struck: Found
    located: int
    maps: int


def show_images(files: Files, dealt: Digits, screen: Console, seed: int) -> Pictured:
    """Fit on the zeros, score the digits, show; write heat maps where Pillow is there.

    Args:
        files: Where to write.
        dealt: The digits.
        screen: Where to print.
        seed: Seed of the fit.
    """
    _store(files.normal, dealt.normal, [f"zero-{number:03d}" for number in range(len(dealt.normal))])
    _store(files.new, dealt.new, dealt.names)
    detector, seconds = fitted(files.normal, files.model, "image", calibration="split", random_state=seed)
    _clear(files.maps)
    result = scored(detector, files.new, files.scored, files.maps if files.pictures else None)
    others, struck = _findings(files, dealt)
    found = Pictured(others, struck, _located(detector, dealt), result.details["maps"])
    screen.print("Images: handwritten digits of 8 x 8 pixels; zeros are normal", style="bold")
    held_out = detector.calibration_.size
    zeros = len(dealt.normal)
    screen.print(f"fitted on {zeros} zeros in {seconds:.1f} s, {held_out} of them held out (split)")
    lines = [
        ("other zeros", False, others),
        ("other digits", True, others),
        ("zeros with a stroke added", True, struck),
    ]
    screen.print(found_table("images scored", lines))
    screen.print(f"AUROC {others.auroc:.3f} (other digits), {struck.auroc:.3f} (strokes)")
    screen.print(
        f"the pixel with the largest share is in the stroke or beside it in {found.located} of {STRUCK}\n"
    )
    screen.print("The three most anomalous images, and where in them", style="bold")
    screen.print(findings_table(result))
    if not files.pictures:
        screen.print("no heat maps: they need Pillow, pip install 'upland[images]'\n")
    return found


def _findings(files: Files, dealt: Digits) -> tuple[Found, Found]:
    """Other digits, and struck zeros, against the zeros held out."""
    table = csv.read_csv(files.scored)
    if files.pictures:  # a folder is read in the order of its names
        order = [dealt.names.index(Path(name).stem) for name in table["image"].to_pylist()]
    else:
        order = list(range(len(dealt.names)))
    struck, odd = dealt.struck[order], dealt.odd[order]
    return compared(files.scored, odd, ~struck), compared(files.scored, odd, ~odd | struck)


def _located(detector: Any, dealt: Digits) -> int:
    explained = upland.explain(detector, dealt.new[dealt.struck])
    assert isinstance(explained, upland.ImageExplanation)
    hits = 0
    for heat, stroke in zip(explained.heat(), dealt.strokes[dealt.struck], strict=True):
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        hits += bool(stroke[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].any())
    return hits


def _store(place: Path, images: Pixels, names: list[str]) -> None:
    """PNG files in a folder, or an array, by what the place is called."""
    if place.suffix == ".npy":
        np.save(place, images)
        return
    from upland.io.images import pillow

    place.mkdir(exist_ok=True)
    for image, name in zip(images, names, strict=True):
        pillow().fromarray(image).save(place / f"{name}.png")


def _clear(folder: Path) -> None:
    """Leave no heat map of an earlier demonstration behind."""
    for path in folder.glob("[0-9][0-9][0-9][0-9]_*.png"):
        path.unlink()


# -- the same as sequences -----------------------------------------------------------------------------------


def show_rows(files: Files, dealt: Digits, screen: Console, seed: int) -> Found:
    """The digits as sequences of their rows: fit, score, show; those with a stroke are left out.

    Args:
        files: Where to write.
        dealt: The digits.
        screen: Where to print.
        seed: Seed of the fit.
    """
    whole = ~dealt.struck
    np.save(files.normal_rows, dealt.normal.astype(np.float32))
    np.save(files.new_rows, dealt.new[whole].astype(np.float32))
    rows = np.load(files.normal_rows)
    detector, seconds = fitted(rows, files.rows_model, random_state=seed)
    scored(detector, files.new_rows, files.rows_scored)
    found = compared(files.rows_scored, dealt.odd[whole])
    screen.print("Sequences: the same digits, read row by row in eight steps", style="bold")
    screen.print(f"fitted on {len(dealt.normal)} zeros in {seconds:.1f} s")
    lines = [("other zeros", False, found), ("other digits", True, found)]
    screen.print(found_table("sequences scored", lines))
    screen.print(f"AUROC {found.auroc:.3f}\n")
    return found
