"""Planted local defects: which pictures have one, and where it is.

The pictures and the defects are those of `benchmarks.defect_pictures` and `benchmarks.defect_kinds`: ten
kinds of pictures, eight of them of real photographs, with scratches, stains, missing parts, swapped parts
and dents. A method is fitted on normal pictures and gives a score of each test picture and a heat map.
Measures: AUROC of the pictures, also defect by defect against all normal ones; AUROC of the pixels and
AUPRO to 30 % false positives (`benchmarks.localization`).

Kinds are parted into two halves, by their sorted names: choices look at "even", "odd" confirms them.

Methods: upland on the features of the bundled network and, `upland pixels`, on its own; the heat map is that
of `upland.explain`, also smoothed as the peers' are. The peers are those of `benchmarks.defect_peers`; those
on patches see two maps of the same network. Where its weights are not installed the row says so in `note`,
and a later call replaces it.

`--sheets DIR` writes a PNG of each kind, seed and method that is run: a test picture of each defect, its mask
and its heat map.

Rows are written as they come; a second call with the same output does what is missing. A seed draws the
crops, the views and the defects.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import defect_peers as peers
from benchmarks import localization
from benchmarks.crop_energy import crop_energy
from benchmarks.defect_peers import Find, FindPatches, Floats, Found, Maps, Patches
from benchmarks.defect_pictures import KINDS, REAL, Images, Split, half, load, outlined
from benchmarks.options import command, data_argument, parsed
from benchmarks.records import Records

KEYS = ("kind", "seed", "method")
NOTE = "needs upland[backbone]"
BACKBONE = "efficientnet-lite0"
MAPS = (2, 4)  # stages of the network at strides of 8 and 16 pixels
SMOOTHED = ", smoothed"
FEW = 10
GROUPS = {kind: group for group, kinds in REAL.items() for kind in kinds}
"""The sort of real pictures that a kind is of."""


def upland(train: Images, seed: int, **arguments: Any) -> Find:
    """The default detector on features of the bundled network, unless arguments say otherwise."""
    from upland import ImageEnergyDetector, explain

    arguments = arguments or {"features": BACKBONE}
    detector = ImageEnergyDetector(random_state=seed, progress=False, **arguments).fit(train)

    def find(test: Images) -> Found:
        scores = np.asarray(detector.anomaly_score(test), dtype=np.float64)
        parts = [explain(detector, test[start : start + 16]).heat() for start in range(0, len(test), 16)]
        heat = np.concatenate(parts).astype(np.float32)
        return Found(scores, heat)

    return find


def crops(train: Images, seed: int) -> Find:
    """The deep energy of squares out of pictures: an experiment."""
    find = crop_energy(train, seed)
    return lambda test: Found(*find(test))


def few(train: Images, seed: int) -> Find:
    """The default detector on the first ten pictures."""
    return upland(train[:FEW], seed)


ON_PICTURES: dict[str, Callable[[Images, int], Find]] = {
    "kNN": peers.neighbours,
    "PCA": peers.pca,
    "OCSVM": peers.ocsvm,
    "upland": upland,
    "upland pixels": partial(upland, features="pixels"),
    "upland, 10 pictures": few,
    "dsebm crops": crops,
}
EXPERIMENTS = ("dsebm crops",)
"""Run where they are asked for."""
ON_PATCHES: dict[str, Callable[[Patches, int], FindPatches]] = {
    "patch kNN": peers.patch_neighbours,
    "patch Gaussian": peers.patch_gaussian,
}
METHODS = (*ON_PICTURES, *ON_PATCHES)
USUAL = [method for method in METHODS if method not in EXPERIMENTS]
NEEDS_NETWORK = ("upland", "upland, 10 pictures", *ON_PATCHES)


def main(argv: Sequence[str] | None = None, maps: Maps | None = None) -> int:
    """Run what is missing.

    Args:
        argv: the command's arguments; None for those of the process.
        maps: pictures -> the backbone's maps; None for those of the bundled network.
    """
    maps = maps or bundled_maps()
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for seed in options.seeds:
        for kind in options.kinds:
            run_kind(records, kind, seed, options, maps)
    return 0


def bundled_maps() -> Maps | None:
    """The maps of the bundled network; None where its weights are not installed."""
    from upland.data.image.weights import is_installed
    from upland.detectors.features.bundled import efficientnet_lite0

    if not is_installed():
        return None
    network = efficientnet_lite0().backbone.network

    def maps(pictures: Images) -> list[Floats]:
        found = []
        for picture in pictures:
            pixels = torch.from_numpy(np.atleast_3d(picture).astype(np.float32)).movedim(2, 0)[None]
            with torch.no_grad():
                stages = network(pixels.expand(-1, 3, -1, -1))
            found.append([stages[number][0].numpy() for number in MAPS])
        return [np.stack(parts) for parts in zip(*found, strict=True)]

    return maps


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL, metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--sheets", type=Path, help="folder for pictures of the heat maps")
    quick = {"methods": ["kNN", "PCA", "OCSVM", *ON_PATCHES], "seeds": [0], "kinds": ["china", "weave"]}
    return parsed(parser, None if argv is None else list(argv), "defects", quick)


def run_kind(records: Records, kind: str, seed: int, options: argparse.Namespace, maps: Maps | None) -> None:
    """Every method that has no row yet, on one kind and seed."""
    missing = [name for name in options.methods if is_missing(records, kind, seed, name, maps is not None)]
    if not missing:
        return
    split = load(kind, seed, options.data)
    both: tuple[Patches, Patches, list[float]] | None = None
    for name in missing:
        if name in NEEDS_NETWORK and maps is None:
            rows: Mapping[str, dict[str, Any]] = {name: {"note": NOTE}}
        elif name in ON_PATCHES:
            both = both or described(split, maps)
            train, test, seconds = both
            found, times = run(ON_PATCHES[name], train, test, seed, seconds)
            rows = measured(name, found, split, times)
        else:
            found, times = run(ON_PICTURES[name], split.train, split.test, seed, [0.0, 0.0])
            rows = measured(name, found, split, times)
        if options.sheets and "note" not in rows[name] and found.heat is not None:
            save_sheet(split, found.heat, options.sheets / f"{kind} {seed} {name}.png")
        for method, row in rows.items():
            key = {"kind": kind, "seed": seed, "method": method}
            stored = records.find(**key)
            if stored is not None:
                records.rows.remove(stored)
            about = {"half": half(kind), "group": GROUPS.get(kind, "generated"), **sizes(split)}
            records.add({"benchmark": "defects", **key, **about, **row})
            show(records.rows[-1])


def is_missing(records: Records, kind: str, seed: int, method: str, has_maps: bool) -> bool:
    """Whether there is no row, or only a note for want of a backbone that is here now."""
    row = records.find(kind=kind, seed=seed, method=method)
    return row is None or (has_maps and "note" in row)


def sizes(split: Split) -> dict[str, Any]:
    shape = "x".join(map(str, split.train.shape[1:]))
    area = float(split.masks[split.labels == 1].mean())
    return {"n_train": len(split.train), "n_test": len(split.test), "shape": shape, "defect_area": area}


def described(split: Split, maps: Maps | None) -> tuple[Patches, Patches, list[float]]:
    """Patches of both parts, and the CPU seconds of each."""
    if maps is None:
        raise ValueError(NOTE)
    start = time.process_time()
    train = peers.patches(split.train, maps)
    middle = time.process_time()
    test = peers.patches(split.test, maps)
    return train, test, [middle - start, time.process_time() - middle]


def run(
    fit: Any, train: Any, test: Any, seed: int, before: Sequence[float]
) -> tuple[Found, dict[str, float]]:
    """What a method finds, and its CPU seconds.

    Args:
        fit: `(train, seed) -> find`, `find(test) -> Found`.
        train: what the method is fitted on: pictures or patches.
        test: what it is asked about.
        seed: of the method.
        before: CPU seconds that `train` and `test` have taken already.
    """
    start = time.process_time()
    find = fit(train, seed)
    fitted = time.process_time()
    found = find(test)
    scored = time.process_time()
    return found, {"fit_seconds": fitted - start + before[0], "score_seconds": scored - fitted + before[1]}


def measured(name: str, found: Found, split: Split, times: dict[str, float]) -> dict[str, dict[str, Any]]:
    """The row of a method, and for upland a second one with the heat map smoothed."""
    rows = {name: {**measures(split, found), **times}}
    if name.startswith("upland") and found.heat is not None:
        again = Found(found.scores, peers.smoothed(found.heat))
        rows[name + SMOOTHED] = {**measures(split, again), **times}
    return rows


def save_sheet(split: Split, heat: Floats, path: Path) -> None:
    """A PNG: a test picture of each defect and a normal one, masks outlined in red, and the heat maps below.

    Heat is white at the largest value of all test pictures, black at their median.
    """
    from PIL import Image

    names = np.array(split.defects)
    shown = [int(np.flatnonzero(names == name)[0]) for name in dict.fromkeys(split.defects)]
    low, high = float(np.median(heat)), float(heat.max())
    top, bottom = [], []
    for row in shown:
        top.append(outlined(split.test[row], split.masks[row]))
        grey = np.clip((heat[row] - low) / max(high - low, 1e-12), 0, 1) ** 0.5
        bottom.append(np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=2))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([np.concatenate(top, axis=1), np.concatenate(bottom, axis=1)])).save(path)


def measures(split: Split, found: Found) -> dict[str, Any]:
    """AUROC of pictures, in all and by defect, and the measures of the heat map."""
    row: dict[str, Any] = {
        "auroc": float(roc_auc_score(split.labels, found.scores)),
        "by_defect": dict(by_defect(split, found)),
    }
    return row | (localization.measures(found.heat, split.masks) if found.heat is not None else {})


def by_defect(split: Split, found: Found) -> Iterator[tuple[str, float]]:
    """Name of a defect, and the AUROC of its pictures against all normal ones."""
    names = np.array(split.defects)
    for name in dict.fromkeys(name for name in split.defects if name):
        rows = (names == name) | (names == "")
        yield name, float(roc_auc_score(split.labels[rows], found.scores[rows]))


def show(row: Mapping[str, Any]) -> None:
    figures = "  ".join(
        f"{name} {row[key]:.4f}"
        for name, key in (("AUROC", "auroc"), ("pixels", "pixel_auroc"), ("AUPRO", "aupro"))
        if key in row
    )
    seconds = f"fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.1f} s" if "auroc" in row else ""
    text = f"{row['kind']:8} seed {row['seed']}  {row['method']:20} {figures or row['note']}  {seconds}"
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
