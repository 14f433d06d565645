"""Folders of one category in the layout of MVTec AD, and the truth about each pixel of their test images.

    category/train/good/*.png
    category/test/<kind>/*.png                     the kind "good", or "ok", is normal
    category/ground_truth/<kind>/<name>_mask.png   or <name>.png; white where the defect is

Other data sets have the same layout: VisA in its split for one class, BTAD. Masks may have another suffix
than images.

Reference: Bergmann et al., MVTec AD, CVPR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upland.data.image.ignored import Mask, not_black
from upland.io.images import image_files_in, read_header

NORMAL = ("good", "ok")
"""Folders of normal images."""


@dataclass(frozen=True, eq=False)
class MVTec:
    """The images of one category; `load_mvtec` makes it.

    Args:
        path: folder of the category.
        train: normal images to fit on.
        test: images to score, N of them, by kind and name.
        labels: `(N,)` int64, 1 = anomalous.
        kinds: of each test image the folder that it lies in, such as "good" or "scratch".
        truths: of each test image the file of its mask; None for normal ones, and where no file has a mask.

    Examples:
        >>> data = MVTec(Path("cap"), [], [Path("a.png")], np.zeros(1, dtype=np.int64), ["good"], [None])
        >>> len(data.test)
        1
    """

    path: Path
    train: list[Path]
    test: list[Path]
    labels: NDArray[np.int64]
    kinds: list[str]
    truths: list[Path | None]

    def mask(self, number: int, size: tuple[int, int] | None = None) -> Mask:
        """Which pixels of a test image are anomalous, `(H, W)`; none of a normal one.

        Args:
            number: of the image in `test`.
            size: (height, width) that the mask is brought to, each pixel from the one that it lies in; None
                leaves the size of the image.

        Raises:
            FileNotFoundError: there are no masks; the image or the mask is gone.
            ValueError: the mask is of another size than the image, or a file is damaged.
        """
        truth, image = self.truths[number], self.test[number]
        if truth is None and self.labels[number]:
            raise FileNotFoundError(f"{self.path / 'ground_truth'}: there is no such folder, nor any mask")
        header = read_header(image, str(image))
        sides = header.height, header.width
        mask = np.zeros(sides, dtype=np.bool_) if truth is None else not_black(truth)
        if mask.shape != sides:
            (height, width), (rows, columns) = mask.shape, sides
            raise ValueError(f"{truth} is of {height} x {width} pixels, but {image} of {rows} x {columns}")
        return mask if size is None else _nearest(mask, size)


def load_mvtec(path: str | PathLike[str]) -> MVTec:
    """The images of one category in the layout of MVTec AD; of files nothing but their names is read.

    Args:
        path: folder of the category, which holds `train/good` and `test`.

    Returns:
        A record with `train` and `test` (lists of files), `labels` (1 = anomalous), `kinds`, and
        `mask(number)`, which reads the truth about each pixel of a test image.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder of the layout, its images, or the mask of an anomalous image is lacking; it is
            named.

    Examples:
        >>> import pathlib, tempfile, upland
        >>> from PIL import Image
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("train/good/0", "test/good/0", "test/crack/0", "ground_truth/crack/0_mask"):
        ...     (folder / name).parent.mkdir(parents=True)
        ...     Image.new("L", (8, 6), 255).save(folder / f"{name}.png")
        >>> data = upland.load_mvtec(folder)
        >>> data.kinds, data.labels.tolist(), data.mask(0).shape, data.mask(0).any().item()
        (['crack', 'good'], [1, 0], (6, 8), True)
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    normal = [folder / "train" / name for name in NORMAL if (folder / "train" / name).is_dir()]
    if not normal:
        raise ValueError(_lacking(folder, "train/good"))
    if not (kinds := _folders(folder / "test")):
        raise ValueError(_lacking(folder, "test, with a folder of images for each kind"))
    files = {kind: image_files_in(folder / "test" / kind) for kind in kinds}
    pairs = [(kind, file) for kind in kinds for file in files[kind]]
    return MVTec(
        folder,
        image_files_in(normal[0]),
        [file for _, file in pairs],
        np.array([kind not in NORMAL for kind, _ in pairs], dtype=np.int64),
        [kind for kind, _ in pairs],
        _truths(folder, files),
    )


def _truths(folder: Path, files: dict[str, list[Path]]) -> list[Path | None]:
    """The mask of each image, kind by kind; raises ValueError where some have one and others have none."""
    there = folder / "ground_truth"
    found: list[Path | None] = []
    for kind, images in files.items():
        if kind in NORMAL or not there.is_dir():
            found += [None] * len(images)
            continue
        by_name = (
            {file.stem: file for file in image_files_in(there / kind)} if (there / kind).is_dir() else {}
        )
        for image in images:
            mask = by_name.get(f"{image.stem}_mask") or by_name.get(image.stem)
            if mask is None:
                wanted = f"{there / kind / image.stem}_mask.png"
                raise ValueError(f"{image} has no mask: there is no {wanted}, nor {image.stem}.png beside it")
            found.append(mask)
    return found


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")


def _lacking(folder: Path, what: str) -> str:
    inside = [name for name in _folders(folder) if (folder / name / "train").is_dir()]
    text = f"{folder} is no category in the layout of MVTec AD: it lacks {what}"
    if inside:
        text += f"; {inside[0]} in it is one" if len(inside) == 1 else f"; {', '.join(inside)} in it are"
    return text


def _nearest(mask: Mask, size: tuple[int, int]) -> Mask:
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
