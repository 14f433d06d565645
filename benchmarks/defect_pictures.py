"""Pictures for the benchmark of planted local defects: three kinds of real ones, and generated textures.

* **textures**, of scikit-image's photographs of bricks, grass and gravel (512 x 512, grey): crops of 256 x
  256. Training crops are of the left half, test crops of the right one, or the other way round, by the seed
  (what is near lies below and what is far above: halves from top to bottom would differ in scale). Crops are
  mirrored, those of grass and gravel also turned. On these two, which hide more, defects are 1.6 times as
  strong as elsewhere.
* **objects**, aligned: the classes bag and sneaker of Fashion-MNIST, 28 x 28 brought to 128 x 128. Other
  pictures train than test. The change of a defect is blurred as much as the enlarged picture is, and 1.6
  times as strong as elsewhere, since one bag differs from the next.
* **scenes**: a part of one photograph (`china.jpg` and `flower.jpg` of scikit-learn, `coffee` of
  scikit-image) as a camera would take it that stands not quite still: shifts of up to 6 pixels, turns of up
  to 1.5 degrees, 2 % of scale. There is one scene: train and test differ by the draws of view, light and
  noise.
* **generated** textures: a weave and a grain of wood, made anew for each picture.

On every picture the light then differs (a factor, and a slope across the picture), and last comes the noise
of a camera, on the defect as on all else. Half of the test pictures are normal; on the others each defect of
`benchmarks.defect_kinds` is planted as often. On grass and gravel no part is swapped: one place there is like
another, and a person does not see it.

**Halves.** The names of the kinds are sorted; those at even places ("even": bag, china, flower, gravel,
weave) are those on which choices may be made, the others ("odd": brick, coffee, grass, sneaker, wood) confirm
them. No choice looks at the odd half.

`load(kind, seed)` returns the pictures; the same seed gives the same ones.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.defect_kinds import DEFECTS, Mask, Picture, planted

Images = NDArray[np.uint8]
Views = Callable[[int, str], list[Picture]]  # how many, "train" or "test" -> pictures before light and noise

SIDE, OBJECT_SIDE = 256, 128
LIGHT, SLOPE, NOISE = 0.1, 0.05, 2.0
"""Largest deviation of the light's factor from 1, and its slope; standard deviation of the noise, of 255."""
SHIFT, TURN, SCALE = 6.0, 1.5, 0.02
"""Of a scene's views: pixels, degrees, share."""
TRAIN, TEST = 60, 80
"""Pictures; half of those of the test have a defect."""
OBJECTS_TRAIN, OBJECTS_TEST = 200, 80
CLASSES = {"sneaker": 7, "bag": 8}
SCENES = {  # row and column of the middle of the part that is taken
    "china": (255, 190),
    "flower": (215, 375),
    "coffee": (200, 250),
}
UNALIGNED = ("grass", "gravel")
"""Textures in which one place is like another: crops are turned, and no part is swapped."""


class Split(NamedTuple):
    """Training pictures, all normal; test pictures with labels (1 = defect), masks and names of defects."""

    train: Images
    test: Images
    labels: NDArray[np.int64]
    masks: Mask
    defects: list[str]


@dataclass(frozen=True)
class Source:
    """Where the pictures of a kind come from.

    Attributes:
        views: makes pictures.
        sizes: how many train, how many test.
        blur: of the pictures themselves, in pixels.
        strength: factor of the defects' contrast.
        defects: what is planted.
        is_object: whether pictures show an object before a dark ground: defects lie on it.
    """

    views: Callable[[str, int, int, str, Path | None], list[Picture]]
    sizes: tuple[int, int] = (TRAIN, TEST)
    blur: float = 0.6
    strength: float = 1.0
    defects: tuple[str, ...] = tuple(DEFECTS)
    is_object: bool = False


def load(kind: str, seed: int, data: Path | str | None = None) -> Split:
    """Training and test pictures of a kind, uint8 `(N, H, W)` where grey, `(N, H, W, 3)` where coloured.

    Args:
        kind: one of `KINDS`.
        seed: of the views, the light, the noise and the defects.
        data: folder of the data sets, for `bag` and `sneaker`; None for the environment's UPLAND_DATA.

    Raises:
        FileNotFoundError: scikit-image or the folder of data is needed and not there.
    """
    source = KINDS[kind]
    folder = Path(data) if data else None
    count, tested = source.sizes
    train = [
        taken(picture, *light(kind, seed, f"train {number}", picture.shape))
        for number, picture in enumerate(source.views(kind, seed, count, "train", folder))
    ]
    test, masks, names = [], [], []
    for number, picture in enumerate(source.views(kind, seed, tested, "test", folder)):
        shade, noise = light(kind, seed, f"test {number}", picture.shape)
        name, mask = "", np.zeros(picture.shape[:2], dtype=np.bool_)
        if number % 2:
            name = source.defects[number // 2 % len(source.defects)]
            rng = generator(kind, seed, f"defect {number}")
            places = allowed(picture, source)
            picture, mask = planted(picture, DEFECTS[name], places, source.blur, source.strength, rng)
        test.append(taken(picture, shade, noise))
        masks.append(mask)
        names.append(name)
    labels = np.array([int(mask.any()) for mask in masks], dtype=np.int64)
    return Split(np.stack(train), np.stack(test), labels, np.stack(masks), names)


def half(kind: str) -> str:
    """ "even" where choices may look at the kind, "odd" where it confirms."""
    return ("even", "odd")[sorted(KINDS).index(kind) % 2]


def generator(kind: str, seed: int, stream: str) -> np.random.Generator:
    """The generator of one named stream."""
    return np.random.default_rng([seed, *f"{kind} {stream}".encode()])


def light(kind: str, seed: int, stream: str, shape: tuple[int, ...]) -> tuple[Picture, Picture]:
    """The factor of each pixel, and the noise."""
    rng = generator(kind, seed, f"light {stream}")
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    down, across = rng.uniform(-SLOPE, SLOPE, size=2)
    shade = 1 + rng.uniform(-LIGHT, LIGHT) + down * rows + across * columns
    noise = NOISE * rng.standard_normal(shape)
    return shade[..., None].astype(np.float32), noise.astype(np.float32)


def taken(picture: Picture, shade: Picture, noise: Picture) -> Images:
    """What the camera stores: grey without its channel."""
    pixels = np.clip(np.rint(picture * shade + noise), 0, 255).astype(np.uint8)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def allowed(picture: Picture, source: Source) -> Mask:
    """Where the middle of a defect may lie: not at the margin; of an object on the object itself."""
    side = len(picture)
    margin = side // 10
    inside = np.zeros(picture.shape[:2], dtype=np.bool_)
    inside[margin:-margin, margin:-margin] = True
    if source.is_object:
        bright = ndimage.gaussian_filter(picture.max(axis=2), side / 64) > 50
        inside &= ndimage.binary_erosion(bright, iterations=side // 20)
    return inside


# -- textures ------------------------------------------------------------------------------------------------


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """A photograph that scikit-learn or scikit-image brings along, `(H, W, C)`."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"))
    from PIL import Image

    found = importlib.util.find_spec("skimage")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "data" / f"{name}.png"
        if path.exists():
            pixels = np.asarray(Image.open(path))
            return pixels if pixels.ndim == 3 else pixels[..., None]
    raise FileNotFoundError(f"the photograph {name} comes with scikit-image: pip install scikit-image")


def texture(kind: str, seed: int, count: int, part: str, data: Path | None) -> list[Picture]:
    """Crops of one half of the photograph."""
    picture = photograph(kind).astype(np.float32)
    is_left = (part == "train") == (seed % 2 == 0)
    area = np.split(picture, 2, axis=1)[0 if is_left else 1]
    rng = generator(kind, seed, f"crops {part}")
    crops = []
    for _ in range(count):
        row, column = (int(rng.integers(size - SIDE + 1)) for size in area.shape[:2])
        crop = area[row : row + SIDE, column : column + SIDE]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if kind in UNALIGNED:
            crop = np.rot90(crop, int(rng.integers(4)))
        crops.append(np.ascontiguousarray(crop))
    return crops


# -- objects -------------------------------------------------------------------------------------------------


def objects(kind: str, seed: int, count: int, part: str, data: Path | None) -> list[Picture]:
    """Pictures of one class of Fashion-MNIST, enlarged."""
    folder = data or Path(os.environ.get("UPLAND_DATA", "."))
    path = folder / "images" / "fashion_mnist.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: name the folder of data (--data, UPLAND_DATA)")
    with np.load(path) as stored:
        pictures = stored[f"x_{part}"][stored[f"y_{part}"] == CLASSES[kind]]
    rows = generator(kind, seed, f"rows {part}").permutation(len(pictures))[:count]
    zoom = OBJECT_SIDE / pictures.shape[1]
    large = [
        ndimage.zoom(pictures[row].astype(np.float32), zoom, order=3, grid_mode=True, mode="nearest")
        for row in rows
    ]
    return [np.clip(picture, 0, 255)[..., None] for picture in large]


# -- scenes --------------------------------------------------------------------------------------------------


def scene(kind: str, seed: int, count: int, part: str, data: Path | None) -> list[Picture]:
    """Views of one part of a photograph, a little shifted, turned and scaled."""
    reach = SIDE // 2 + 16
    row, column = SCENES[kind]
    window = photograph(kind)[row - reach : row + reach, column - reach : column + reach].astype(np.float32)
    channels = [ndimage.spline_filter(window[..., channel]) for channel in range(3)]
    rng = generator(kind, seed, f"views {part}")
    views = []
    for _ in range(count):
        angle, scale = np.deg2rad(rng.uniform(-TURN, TURN)), 1 + rng.uniform(-SCALE, SCALE)
        turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = reach - 0.5 + rng.uniform(-SHIFT, SHIFT, size=2)
        offset = middle - turned @ np.full(2, SIDE / 2 - 0.5)
        planes = [
            ndimage.affine_transform(plane, turned, offset, (SIDE, SIDE), prefilter=False, mode="nearest")
            for plane in channels
        ]
        views.append(np.clip(np.stack(planes, axis=2), 0, 255).astype(np.float32))
    return views


# -- generated -----------------------------------------------------------------------------------------------


def weave(kind: str, seed: int, count: int, part: str, data: Path | None) -> list[Picture]:
    """Threads over and under one another, grey; each thread has its own tone and position."""
    rng = generator(kind, seed, f"threads {part}")
    return [woven(rng) for _ in range(count)]


def woven(rng: np.random.Generator) -> Picture:
    """One picture of the weave."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    period, angle = 16.0, np.deg2rad(rng.uniform(-2, 2))
    wave = [ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 24) for _ in range(2)]
    down = np.cos(angle) * rows - np.sin(angle) * columns + rng.uniform(0, 2 * period) + 40 * wave[0]
    across = np.sin(angle) * rows + np.cos(angle) * columns + rng.uniform(0, 2 * period) + 40 * wave[1]
    weft, warp = (np.floor(at / period).astype(np.intp) % 64 for at in (down, across))
    tones = rng.normal(0, 6, size=(2, 64))
    body = [np.sqrt(np.clip(1 - (2 * (at / period % 1) - 1) ** 2, 0, 1)) for at in (down, across)]
    is_weft = (weft + warp) % 2 == 0
    along = [np.sin(np.pi * (at / period % 1)) for at in (across, down)]
    threads = [
        70 + 70 * body[0] * (0.6 + 0.4 * along[0]) + tones[0][weft],
        50 + 60 * body[1] * (0.6 + 0.4 * along[1]) + tones[1][warp],
    ]
    fibres = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 1.0) * 12
    picture = ndimage.gaussian_filter(np.where(is_weft, *threads) + fibres, 0.8)
    return np.clip(picture, 0, 255).astype(np.float32)[..., None]


def wood(kind: str, seed: int, count: int, part: str, data: Path | None) -> list[Picture]:
    """Rings cut lengthwise, brown; each picture is another board."""
    rng = generator(kind, seed, f"boards {part}")
    return [board(rng) for _ in range(count)]


def board(rng: np.random.Generator) -> Picture:
    """One picture of wood."""
    shape = (SIDE, SIDE)
    columns = np.broadcast_to(np.arange(SIDE, dtype=np.float64), shape)
    bent = ndimage.gaussian_filter(rng.standard_normal(shape), (60, 20), mode="wrap")
    bent = bent / bent.std() * rng.uniform(4, 8)
    width = ndimage.gaussian_filter1d(rng.standard_normal(SIDE), 16, mode="wrap")
    rings = np.cumsum(1 + 0.4 * width / width.std())[None] + bent + 0 * columns
    tone = np.sin(2 * np.pi * rings / rng.uniform(14, 20) + rng.uniform(0, 2 * np.pi))
    late = np.clip(tone, -0.2, 1) ** 3
    pores = ndimage.gaussian_filter(rng.standard_normal(shape), (8, 0.7))
    pores = np.clip(pores / pores.std() - 1.2, 0, None)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), (12, 1))
    value = 1 - 0.34 * late - 0.10 * pores + 0.04 * grain / grain.std()
    colour = np.array([186.0, 142.0, 98.0]) * rng.uniform(0.95, 1.05)
    exponent = np.array([1.0, 1.2, 1.4])  # dark wood is redder
    picture = colour * np.clip(value, 0.1, None)[..., None] ** exponent
    return np.clip(picture, 0, 255).astype(np.float32)


WITHOUT_SWAP = tuple(name for name in DEFECTS if name != "swap")
KINDS: dict[str, Source] = {
    "bag": Source(objects, (OBJECTS_TRAIN, OBJECTS_TEST), 1.2, 1.6, is_object=True),
    "brick": Source(texture),
    "china": Source(scene),
    "coffee": Source(scene),
    "flower": Source(scene),
    "grass": Source(texture, strength=1.6, defects=WITHOUT_SWAP),
    "gravel": Source(texture, strength=1.6, defects=WITHOUT_SWAP),
    "sneaker": Source(objects, (OBJECTS_TRAIN, OBJECTS_TEST), 1.2, 1.6, is_object=True),
    "weave": Source(weave),
    "wood": Source(wood),
}
REAL = {
    "textures": ("brick", "grass", "gravel"),
    "objects": ("bag", "sneaker"),
    "scenes": ("china", "coffee", "flower"),
}


# -- sheets --------------------------------------------------------------------------------------------------


def sheet(kind: str, seed: int, data: Path | None) -> Images:
    """Two training pictures, then each defect twice, its mask's outline in a second row."""
    split = load(kind, seed, data)
    rows = [np.flatnonzero(np.array(split.defects) == name)[:2] for name in KINDS[kind].defects]
    shown = [*split.train[:2], *split.test[np.concatenate(rows)]]
    masks = [*np.zeros((2, *split.masks.shape[1:]), dtype=np.bool_), *split.masks[np.concatenate(rows)]]
    plain = [outlined(picture, np.zeros_like(mask)) for picture, mask in zip(shown, masks, strict=True)]
    marked = [outlined(picture, mask) for picture, mask in zip(shown, masks, strict=True)]
    return np.concatenate([np.concatenate(plain, axis=1), np.concatenate(marked, axis=1)])


def outlined(picture: Images, mask: Mask) -> Images:
    """The picture in colour, with the outline of the mask in red."""
    colour = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    colour[mask ^ ndimage.binary_erosion(mask)] = (255, 0, 0)
    return colour


def main(argv: Sequence[str] | None = None) -> int:
    """Write a sheet of each kind as a PNG."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sheet", type=Path, required=True, help="folder of the sheets")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.sheet.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        Image.fromarray(sheet(kind, options.seed, options.data)).save(options.sheet / f"{kind}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
