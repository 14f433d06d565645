"""Time and memory of the recurrent and the convolutional energy; one thread, one run.

    windows   training on 64 windows of 128 steps, 8 and 25 channels, and scoring windows
    images    training on 128 images of 1 x 28 x 28 and of 3 x 32 x 32, and scoring images
    memory    peak memory of scoring one series of 1 and of 10 million steps from a mapped file

*gradient*: the loss of the reconstruction and its derivatives by the weights, with upland's explicit gradient
of the energy and by autograd, which has to differentiate twice; the states of the recurrent net are given. A
*training step* is noise, recurrent net, loss, backward pass and optimiser; beside both gradients stands a
step of a plain auto-encoder in PyTorch with as many weights: GRU to GRU for windows, convolutions for images.
*Scoring* takes encoded data to scores; windows are scored in double precision, the auto-encoder in single.
`over_upland` is the CPU time in units of ours.

Times are CPU seconds of this process, so that a busy machine changes them little: medians of interleaved
turns.
"""

from __future__ import annotations

import argparse
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

from benchmarks.records import Records, command
from benchmarks.speed import KEYS, interleaved, measured_command, note
from upland.criteria.points import in_blocks, reconstruction
from upland.criteria.steps import step_values
from upland.models.base import EnergyModel
from upland.models.convolutional import ConvolutionalEnergy
from upland.models.recurrent import RecurrentEnergy
from upland.objectives import denoising
from upland.training import Settings, Training

if TYPE_CHECKING:
    from upland import EnergyDetector

SIGMA = 0.5
WINDOWS, STEPS, CHANNELS = 64, 128, (8, 25)
BATCH, SHAPES = 128, ((1, 28, 28), (3, 32, 32))
SCORED_WINDOWS, SCORED_IMAGES = 256, 1024
SERIES_CHANNELS = 4
CHILD = """
import sys, numpy as np, upland
detector = upland.load(sys.argv[1])
if len(sys.argv) > 2:
    scores = detector.anomaly_score(np.load(sys.argv[2], mmap_mode="r"))
    assert np.isfinite(scores).all()
"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeats", type=int, default=20, help="turns that the medians are of")
    parser.add_argument("--series-steps", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--scratch", type=Path, help="folder for the series; a temporary one if left out")
    parser.add_argument("--output", type=Path, required=True, help="JSON file, taken up if it exists")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    records = Records.open(options.output, KEYS)
    for part in options.parts:
        PARTS[part](records, options)
    return 0


def compare(
    records: Records,
    part: str,
    unit: str,
    count: int,
    models: dict[str, nn.Module],
    tasks: dict[str, Callable[[], object]],
    repeats: int,
) -> None:
    """Time the tasks of one part in turns, unless they stand there; the first is ours."""
    if all(records.find(part=part, method=name) for name in tasks):
        return
    seconds = interleaved(tasks, repeats)
    ours = seconds[next(iter(tasks))]
    for name, value in seconds.items():
        if records.find(part=part, method=name) is None:
            note(records, part, name, {
                "weights": weights(models[name]),
                "milliseconds": 1000 * value,
                f"{unit}_per_second": count / value,
                "over_upland": value / ours,
            })  # fmt: skip


def weights(model: nn.Module) -> int:
    return sum(w.numel() for w in model.parameters())


# -- steps of a training -------------------------------------------------------------------------------------


class ByAutograd(EnergyModel):
    """The same energy, reconstructed by the default of every energy: automatic differentiation."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model

    def energy(self, x: Tensor) -> Tensor:
        """The model's."""
        return self.model.energy(x)

    def factors(self, x: Tensor) -> tuple[Tensor, EnergyModel]:
        """The model's points, and their energy by autograd."""
        points, energy = self.model.factors(x)
        return points, self if energy is self.model else ByAutograd(energy).train(self.training)


def energy_step(model: EnergyModel, batch: Tensor) -> Callable[[], object]:
    """One step of upland's own training loop on a fixed batch."""
    settings = Settings(steps=100_000, looks=1, patience=1, learning_rate=1e-3, batch=len(batch), seed=0)
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


def gradient_tasks(names: Sequence[str], model: EnergyModel, x: Tensor) -> dict[str, Callable[[], object]]:
    """The loss and its derivatives by the weights, of points and histories that are given."""
    model.train()
    if isinstance(model, RecurrentEnergy):
        with torch.no_grad():
            points, context, _ = model.advance(model.start(len(x)), x)
        points, context = points.flatten(0, 1), context.flatten(0, 1)
        given: Callable[[], EnergyModel] = partial(model.given, context)
    else:
        points, given = x, lambda: model
    noisy = points + SIGMA * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))

    def explicit() -> None:
        (points - given().reconstruct(noisy)).square().sum().backward()

    def automatic() -> None:
        (points - ByAutograd(given()).reconstruct(noisy)).square().sum().backward()

    return dict(zip(names, (explicit, automatic), strict=False))


def by_autograd(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """The criterion `reconstruction` with the gradient by autograd."""
    return reconstruction(ByAutograd(model).eval(), x, sigma)


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
        generator = torch.Generator().manual_seed(0)
        size = f"{STEPS} x {width}"
        for kind, model in recurrent_energies(width, generator).items():
            peer = like(lambda state, d=width: RecurrentAutoencoder(d, state), weights(model))
            names = ("upland", "autograd", "GRU auto-encoder")
            models = dict(zip(names, (model, model, peer), strict=True))
            batch = torch.randn(WINDOWS, STEPS, width, generator=generator)
            part = f"gradient, {WINDOWS} windows {size}, {kind}"
            tasks = gradient_tasks(names, model, batch)
            compare(records, part, "windows", WINDOWS, models, tasks, options.repeats)
            tasks = training_tasks(names, model, peer, batch)
            part = f"training step, {WINDOWS} windows {size}, {kind}"
            compare(records, part, "windows", WINDOWS, models, tasks, options.repeats)
            x = torch.randn(SCORED_WINDOWS, STEPS, width, generator=generator)
            part = f"scoring, windows {size}, {kind}"
            tasks = window_scoring(names, model, peer.eval(), x)
            compare(records, part, "windows", SCORED_WINDOWS, models, tasks, options.repeats)


def recurrent_energies(width: int, generator: torch.Generator) -> dict[str, RecurrentEnergy]:
    """The detector's own choice for so many channels, and one step a factor, as in the paper."""
    from upland.data.steps import SequenceEncoder

    rows = np.random.default_rng(0).normal(size=(4, STEPS, width))
    made = detector("sequence").build_model(SequenceEncoder().fit(rows), generator)
    paper = RecurrentEnergy(width, generator=generator)
    return distinct(made, paper)


def window_scoring(
    names: Sequence[str], model: RecurrentEnergy, peer: nn.Module, x: Tensor
) -> dict[str, Callable[[], object]]:
    """A number for every step by either gradient; the peer's mean squared error of every window."""
    flat, lengths = x.flatten(0, 1), np.full(len(x), x.shape[1])

    def by(criterion: Any) -> Callable[[], object]:
        return lambda: step_values(criterion, model, lambda a, b: flat[a:b], lengths, SIGMA)

    tasks = (by(reconstruction), by(by_autograd), lambda: squared_error(peer, x, WINDOWS))
    return dict(zip(names, tasks, strict=True))


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


def images(records: Records, options: argparse.Namespace) -> None:
    """The default energy of images and the paper's, for each shape."""
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        size = " x ".join(map(str, shape))
        for kind, model in image_energies(shape, generator).items():
            peer = like(lambda code, s=shape: ConvolutionalAutoencoder(s, code), weights(model))
            names = ("upland", "autograd", "convolutional auto-encoder")
            models = dict(zip(names, (model, model, peer), strict=True))
            batch = torch.randn(BATCH, *shape, generator=generator)
            part = f"gradient, {BATCH} images {size}, {kind}"
            tasks = gradient_tasks(names, model, batch)
            compare(records, part, "images", BATCH, models, tasks, options.repeats)
            tasks = training_tasks(names, model, peer, batch)
            part = f"training step, {BATCH} images {size}, {kind}"
            compare(records, part, "images", BATCH, models, tasks, options.repeats)
            x = torch.randn(SCORED_IMAGES, *shape, generator=generator)
            part = f"scoring, images {size}, {kind}"
            tasks = image_scoring(names, model.eval(), peer.eval(), x)
            compare(records, part, "images", SCORED_IMAGES, models, tasks, options.repeats)


def image_energies(shape: Sequence[int], generator: torch.Generator) -> dict[str, EnergyModel]:
    """The detector's own choice for such images, and the paper's plain net."""
    from upland.data.images import ImageEncoder

    channels, height, width = shape
    pixels = np.random.default_rng(0).integers(0, 256, size=(16, height, width, channels), dtype=np.uint8)
    made = detector("image").build_model(ImageEncoder().fit(pixels), generator)
    return distinct(made, ConvolutionalEnergy(shape, generator=generator))


def image_scoring(
    names: Sequence[str], model: EnergyModel, peer: nn.Module, x: Tensor
) -> dict[str, Callable[[], object]]:
    """The criterion of every image by either gradient, and the peer's squared error."""
    tasks = (
        lambda: in_blocks(reconstruction, model, x, SIGMA),
        lambda: in_blocks(by_autograd, model, x, SIGMA),
        lambda: squared_error(peer, x, 256),
    )
    return dict(zip(names, tasks, strict=True))


# -- both ----------------------------------------------------------------------------------------------------


def detector(kind: str, **settings: Any) -> EnergyDetector:
    from upland import EnergyDetector

    return EnergyDetector(kind=kind, random_state=0, progress=False, **settings)


def distinct(default: Any, paper: Any) -> dict[str, Any]:
    """Both, or the one that they are."""
    same = type(default) is type(paper) and [tuple(w.shape) for w in default.parameters()] == [
        tuple(w.shape) for w in paper.parameters()
    ]
    return {"default": default} if same else {"default": default, "paper": paper}


def like(build: Callable[[int], nn.Module], count: int) -> nn.Module:
    """The auto-encoder of that kind whose number of weights is the nearest."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = 1
        while weights(build(size + 1)) < count:
            size += 1
        return min((build(size), build(size + 1)), key=lambda model: abs(weights(model) - count))


def training_tasks(
    names: Sequence[str], model: EnergyModel, peer: nn.Module, batch: Tensor
) -> dict[str, Callable[[], object]]:
    """The step by either gradient and the peer's, in the order of their names."""
    steps = (energy_step(model, batch), energy_step(ByAutograd(model), batch), autoencoder_step(peer, batch))
    return dict(zip(names, steps, strict=True))


def squared_error(peer: nn.Module, x: Tensor, size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([(peer(part) - part).square().flatten(1).sum(1) for part in x.split(size)])


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
    upland.save(detector("sequence", epochs=1).fit(np.load(short)), path)


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


PARTS: dict[str, Callable[[Records, argparse.Namespace], None]] = {
    "windows": windows,
    "images": images,
    "memory": memory,
}

if __name__ == "__main__":
    sys.exit(main())
