"""Time and memory of the detectors of sequences and of images; one thread, one run.

    windows   64 windows of 128 steps, 8 and 25 channels
    images    128 images of 1 x 28 x 28 and of 3 x 32 x 32
    memory    peak memory of scoring one series of 1 and of 10 million steps from a mapped file

*gradient*: the loss of the reconstruction and its derivatives by the weights, with upland's explicit gradient
of the energy and by autograd, which has to differentiate twice; of a recurrent net the states are given, and
the steps are all of the windows' or as many as a training step draws. *training step*: noise, recurrent net,
loss, backward pass and optimiser, by either gradient, beside a step of a plain auto-encoder in PyTorch with
as many weights: GRU to GRU for windows, convolutions for images. The recurrent energy reads all steps and
takes its loss from those that it draws, the auto-encoder's loss is of all. *scoring*: raw arrays to anomaly
scores by a detector of one member, beside the auto-encoder's squared error of encoded ones. Sequences are
scored in double precision. `over_upland` is the CPU time over that of upland.

Times are CPU seconds of this process, so that a busy machine changes them little: medians of interleaved
turns.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import Part, interleaved, measured_command, n_weights, note, run_parts
from upland.catalogue import DETECTORS, Modality, load
from upland.models.base import EnergyModel
from upland.models.convolutional import ConvolutionalEnergy
from upland.models.recurrent import POINTS_PER_BATCH, RecurrentEnergy
from upland.training.loop import Settings, Training
from upland.training.objectives import denoising

if TYPE_CHECKING:
    from upland.detectors.base import Detector

SIGMA = 0.5
WINDOWS, STEPS, CHANNELS = 64, 128, (8, 25)
BATCH, SHAPES = 128, ((1, 28, 28), (3, 32, 32))
SCORED_WINDOWS, SCORED_IMAGES = 256, 1024
SEQUENCES: dict[str, dict[str, Any]] = {  # settings of the detectors that are measured
    "default": {},
    "paper": {"frame": 1, "criterion": "reconstruction"},
}
IMAGES: dict[str, dict[str, Any]] = {"default": {}, "convolutions": {"model": lambda shape: plain(shape)}}
SERIES_CHANNELS = 4
CHILD = """
import sys, numpy as np, upland
detector = upland.load(sys.argv[1])
if len(sys.argv) > 2:
    scores = detector.anomaly_score(np.load(sys.argv[2], mmap_mode="r"))
    assert np.isfinite(scores).all()
"""


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="turns that the medians are of")
    parser.add_argument("--series-steps", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--scratch", type=Path, help="folder for the series; a temporary one if left out")
    return run_parts(parser, argv, "speed_deep", PARTS, {"repeats": 2, "series_steps": [20_000]})


def compare(
    records: Records,
    repeats: int,
    unit: str,
    model: nn.Module,
    peer: nn.Module,
    part: str,
    count: int,
    tasks: dict[str, Callable[[], object]],
) -> None:
    """Time the tasks of one part in turns, unless they stand there."""
    if all(records.find(part=part, method=name) for name in tasks):
        return
    seconds = interleaved(tasks, repeats)
    for name, value in seconds.items():
        if records.find(part=part, method=name) is None:
            note(records, part, name, {
                "weights": n_weights(peer if name == "auto-encoder" else model),
                "milliseconds": 1000 * value,
                f"{unit}_per_second": count / value,
                "over_upland": value / seconds["upland"],
            })  # fmt: skip


# -- steps of a training -------------------------------------------------------------------------------------


class ByAutograd(EnergyModel):
    """The same energy, reconstructed by the default of every energy: automatic differentiation."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model

    def energy(self, x: Tensor) -> Tensor:
        """The model's."""
        return self.model.energy(x)

    def factors(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, EnergyModel]:
        """The model's points, and their energy by autograd."""
        points, energy = self.model.factors(x, generator)
        return points, self if energy is self.model else ByAutograd(energy).train(self.training)


def energy_step(model: EnergyModel, batch: Tensor) -> Callable[[], object]:
    """One step of upland's own training loop on a fixed batch."""
    settings = Settings(steps=100_000, checks=1, patience=1, learning_rate=1e-3, batch=len(batch), seed=0)
    training = Training(model.train(), lambda energy, x, noise: denoising(energy, x, SIGMA, noise), settings)
    generator = torch.Generator().manual_seed(0)
    return lambda: training._update(batch, generator)


def autoencoder_step(model: nn.Module, batch: Tensor) -> Callable[[], object]:
    """One step of Adam on the squared error."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(batch), batch).backward()
        optimizer.step()

    return step


def gradient_tasks(
    model: EnergyModel, x: Tensor, at_most: int | None = None
) -> dict[str, Callable[[], object]]:
    """The loss and its derivatives by the weights, of points and histories that are given."""
    model.train()
    if isinstance(model, RecurrentEnergy):
        with torch.no_grad():
            points, context, _ = model.advance(model.start(len(x)), x)
        points, context = (part.flatten(0, 1)[:at_most] for part in (points, context))
        given: Callable[[], EnergyModel] = partial(model.given, context)
    else:
        points, given = x, lambda: model
    noisy = points + SIGMA * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))

    def explicit() -> None:
        (points - given().reconstruct(noisy)).square().sum().backward()

    def automatic() -> None:
        (points - ByAutograd(given()).reconstruct(noisy)).square().sum().backward()

    return {"upland": explicit, "autograd": automatic}


def training_tasks(model: EnergyModel, peer: nn.Module, batch: Tensor) -> dict[str, Callable[[], object]]:
    """The step by either gradient, and the auto-encoder's."""
    return {
        "upland": energy_step(copy.deepcopy(model), batch),
        "autograd": energy_step(ByAutograd(copy.deepcopy(model)), batch),
        "auto-encoder": autoencoder_step(copy.deepcopy(peer), batch),
    }


def scoring_tasks(
    detector: Detector,
    raw: Any,
    peer: nn.Module,
    encoded: Tensor,
    size: int,
) -> dict[str, Callable[[], object]]:
    """Raw data to anomaly scores, and the auto-encoder on encoded data, `size` at a time."""
    peer.eval()
    return {
        "upland": lambda: detector.anomaly_score(raw),
        "auto-encoder": lambda: squared_error(peer, encoded, size),
    }


def squared_error(peer: nn.Module, x: Tensor, size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([(peer(part) - part).square().flatten(1).sum(1) for part in x.split(size)])


def fitted(rows: Any, modality: Modality, **settings: Any) -> Detector:
    """An energy detector of one member after one pass over some rows."""
    usual = {"calibration": "split", "epochs": 1, "random_state": 0, "progress": False}
    return load(DETECTORS["energy", modality].home)(**usual, **settings).fit(rows)


def like(build: Callable[[int], nn.Module], count: int) -> nn.Module:
    """The auto-encoder whose number of weights is the nearest to `count`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = 1
        while n_weights(build(size + 1)) < count:
            size += 1
        return min((build(size), build(size + 1)), key=lambda model: abs(n_weights(model) - count))


# -- windows -------------------------------------------------------------------------------------------------


class RecurrentAutoencoder(nn.Module):
    """A GRU reads the window; another one writes it from the last state, given at every step."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.encoder = nn.GRU(width, state, batch_first=True)
        self.decoder = nn.GRU(state, state, batch_first=True)
        self.out = nn.Linear(state, width)

    def forward(self, x: Tensor) -> Tensor:
        _, last = self.encoder(x)
        return self.out(self.decoder(last[-1][:, None].expand(-1, x.shape[1], -1))[0])


def windows(records: Records, options: argparse.Namespace) -> None:
    """The default recurrent energy and the paper's, for each number of channels."""
    for width in CHANNELS:
        rows = np.random.default_rng(0).normal(size=(SCORED_WINDOWS, STEPS, width))
        for variant, settings in SEQUENCES.items():
            detector = fitted(rows, "sequence", **settings)
            model = detector.members_[0].model
            peer = like(lambda state, d=width: RecurrentAutoencoder(d, state), n_weights(model))
            encoded = torch.from_numpy(detector.members_[0].encoder.transform(rows))
            batch, name = encoded[:WINDOWS], f"windows {STEPS} x {width}, {variant}"
            measure = partial(compare, records, options.repeats, "windows", model, peer)
            for steps in (WINDOWS * STEPS, POINTS_PER_BATCH):
                tasks = gradient_tasks(copy.deepcopy(model), batch, steps)
                measure(f"gradient, {steps} steps of {name}", WINDOWS, tasks)
            measure(f"training step, {WINDOWS} {name}", WINDOWS, training_tasks(model, peer, batch))
            tasks = scoring_tasks(detector, rows, peer, encoded, WINDOWS)
            measure(f"scoring, {name}", SCORED_WINDOWS, tasks)


# -- images --------------------------------------------------------------------------------------------------


class ConvolutionalAutoencoder(nn.Module):
    """Two convolutions, each with average pooling, a dense code, and the way back with weights of its own."""

    def __init__(self, shape: Sequence[int], code: int, filters: Sequence[int] = (16, 32)) -> None:
        super().__init__()
        channels, height, width = shape
        first, second = filters
        top = (second, math.ceil(height / 4), math.ceil(width / 4))
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True),
            nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True),
            nn.Flatten(), nn.Linear(math.prod(top), code), nn.ReLU(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code, math.prod(top)), nn.ReLU(), nn.Unflatten(1, top),
            nn.Upsample(scale_factor=2), nn.ConvTranspose2d(second, first, 5, padding=2), nn.ReLU(),
            nn.Upsample(size=(height, width)), nn.ConvTranspose2d(first, channels, 5, padding=2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def plain(shape: Sequence[int]) -> ConvolutionalEnergy:
    """The paper's kind of net: two convolutions, each with average pooling, and a dense layer."""
    return ConvolutionalEnergy(shape, generator=torch.Generator().manual_seed(0))


def images(records: Records, options: argparse.Namespace) -> None:
    """The default energy of images, which may be all dense, and a convolutional one, for each shape."""
    for shape in SHAPES:
        channels, height, width = shape
        size = (SCORED_IMAGES, height, width, channels)
        pixels = np.random.default_rng(0).integers(0, 256, size=size, dtype=np.uint8)
        for variant, settings in IMAGES.items():
            detector = fitted(pixels, "image", **settings)
            model = detector.members_[0].model
            peer = like(lambda code, s=shape: ConvolutionalAutoencoder(s, code), n_weights(model))
            encoded = torch.from_numpy(detector.members_[0].encoder.transform(pixels))
            batch, name = encoded[:BATCH], f"images {' x '.join(map(str, shape))}, {variant}"
            measure = partial(compare, records, options.repeats, "images", model, peer)
            measure(f"gradient, {BATCH} {name}", BATCH, gradient_tasks(copy.deepcopy(model), batch))
            measure(f"training step, {BATCH} {name}", BATCH, training_tasks(model, peer, batch))
            tasks = scoring_tasks(detector, pixels, peer, encoded, BATCH)
            measure(f"scoring, {name}", SCORED_IMAGES, tasks)


# -- memory --------------------------------------------------------------------------------------------------


def memory(records: Records, options: argparse.Namespace) -> None:
    """Score series of growing length in a process of their own."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        model, series = Path(folder) / "model.safetensors", Path(folder) / "series.npy"
        save_detector(model)
        part = f"memory of one series, {SERIES_CHANNELS} channels"
        if records.find(part=part, method="detector loaded") is None:
            peak, cpu = measured_command([sys.executable, "-c", CHILD, str(model)])
            note(records, part, "detector loaded", {"peak_megabytes": peak, "cpu_seconds": cpu})
        for steps in options.series_steps:
            if records.find(part=part, method=f"{steps:,} steps") is None:
                write_series(series, steps)
                peak, cpu = measured_command([sys.executable, "-c", CHILD, str(model), str(series)])
                note(records, part, f"{steps:,} steps", {
                    "file_megabytes": series.stat().st_size / 2**20,
                    "peak_megabytes": peak,
                    "cpu_seconds": cpu,
                    "steps_per_second": steps / cpu,
                })  # fmt: skip


def save_detector(path: Path) -> None:
    """The default detector of a short series."""
    import upland

    short = path.with_name("short.npy")
    write_series(short, 20_000)
    upland.save(fitted(np.load(short), "sequence"), path)


def write_series(path: Path, steps: int, piece: int = 100_000) -> None:
    """Waves with noise, `(steps, channels)` in single precision, written piece by piece."""
    stored = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(steps, SERIES_CHANNELS))
    generator = np.random.default_rng(0)
    turns = np.array([0.01, 0.05, 0.11, 0.23])
    for start in range(0, steps, piece):
        time = np.arange(start, min(start + piece, steps))[:, None]
        stored[start : start + piece] = np.sin(turns * time) + generator.normal(
            0, 0.1, (len(time), len(turns))
        )
    stored.flush()


PARTS: dict[str, Part] = {
    "windows": windows,
    "images": images,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())
