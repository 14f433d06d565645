"""Detectors of images on each device: time, memory, and how far scores are from those of the CPU.

    features of a network    256 pixels a side, colour: kernels, Gaussians and patches, closed form
    flow of features         256 pixels a side, colour: a Gaussian of vectors
    features of pixels       64 pixels a side, grey
    energy                   28 pixels a side, grey: the deep energy
    Glow                     32 pixels a side, colour
    VAE                      32 pixels a side, colour

Squares out of the two photographs of scikit-learn, the same on each device. Times are seconds on the clock,
on all cores of the CPU or one GPU, after a fit of few images that compiles and reserves what there is to;
scores are of images in one call. `difference` is the largest relative one between scores and those of the
same model stored, loaded and scored on the CPU. `fit_speedup` and `score_speedup` are over the CPU in the
same run. On a machine without CUDA there is the row of the CPU alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

import upland
from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import Part, note, run_parts

PICTURES = ("china.jpg", "flower.jpg")


class Case(NamedTuple):
    """A detector and the images it is given."""

    make: Callable[..., Any]
    arguments: dict[str, Any]
    side: int
    grey: bool
    normal: int
    new: int


IMAGES, FLOW, VAE = upland.ImageEnergyDetector, upland.ImageFlowDetector, upland.ImageVAEDetector
LITE0 = {"features": "efficientnet-lite0"}
CASES = {
    "features of a network": Case(IMAGES, LITE0, 256, False, 120, 120),
    "flow of features": Case(FLOW, LITE0, 256, False, 120, 120),
    "features of pixels": Case(IMAGES, {"features": "pixels"}, 64, True, 600, 600),
    "energy": Case(IMAGES, {"energy": "dsebm", "epochs": 10}, 28, True, 2_000, 4_000),
    "Glow": Case(FLOW, {"epochs": 2}, 32, False, 2_000, 2_000),
    "VAE": Case(VAE, {"epochs": 4}, 32, False, 2_000, 4_000),
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the images")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--devices", nargs="+", default=["cpu", *["cuda"] * torch.cuda.is_available()])
    return run_parts(parser, argv, "devices", PARTS, {"share": 0.05})


def measure(part: str, records: Records, options: argparse.Namespace) -> None:
    """Fit and score on each device, unless the rows exist."""
    case = CASES[part]
    torch.set_num_threads(options.threads)
    normal, new = (squares(case, max(30, int(options.share * n)), n) for n in (case.normal, case.new))
    for device in options.devices:
        if records.find(part=part, method=device):
            continue
        on_a_gpu = torch.device(device).type == "cuda"
        make = partial(
            case.make, calibration="split", device=device, random_state=0, progress=False, **case.arguments
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of so few images
            make().fit(normal[:30]).anomaly_score(new[:2])
        if on_a_gpu:
            torch.cuda.reset_peak_memory_stats()
        detector, fit_seconds = timed(lambda make=make: make().fit(normal))
        scores, score_seconds = timed(lambda detector=detector: detector.anomaly_score(new))
        found = {
            "n_train": len(normal),
            "threads": torch.get_num_threads(),
            "fit_seconds": fit_seconds,
            "score_images_per_second": len(new) / score_seconds,
            "difference": difference(detector, scores, new),
        }
        if on_a_gpu:
            found["peak_megabytes"] = torch.cuda.max_memory_allocated() / 2**20
        cpu = records.find(part=part, method="cpu")
        if cpu is not None:
            found["fit_speedup"] = cpu["fit_seconds"] / fit_seconds
            found["score_speedup"] = found["score_images_per_second"] / cpu["score_images_per_second"]
        note(records, part, device, found)


def squares(case: Case, count: int, seed: int) -> NDArray[np.uint8]:
    """Squares out of two photographs, at random places: `(count, side, side[, 3])`."""
    pictures, rng = [load_sample_image(name) for name in PICTURES], np.random.default_rng(seed)
    found = np.empty((count, case.side, case.side, 3), dtype=np.uint8)
    for number in range(count):
        picture = pictures[rng.integers(len(pictures))]
        y, x = (rng.integers(0, most - case.side) for most in picture.shape[:2])
        found[number] = picture[y : y + case.side, x : x + case.side]
    return found[..., 1] if case.grey else found


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    """What a task gives, and its seconds on the clock; results are on the CPU, so a GPU has ended as well."""
    start = time.perf_counter()
    return task(), time.perf_counter() - start


def difference(detector: Any, scores: NDArray[np.float64], new: NDArray[np.uint8]) -> float:
    """The largest relative difference from the scores of the stored model on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        upland.save(detector, Path(folder) / "model.safetensors")
        again = upland.load(Path(folder) / "model.safetensors").anomaly_score(new)
    return float(np.abs(scores - again).max() / np.abs(again).max())


PARTS: dict[str, Part] = {part: partial(measure, part) for part in CASES}

if __name__ == "__main__":
    sys.exit(main())
