"""Glow beside antsnormflows' Glow of the same shape and beside its own convolutions; one thread, one run.

    grey      1 x 28 x 28, 2 levels
    colour    3 x 32 x 32, 3 levels

Both have as many levels, steps a level and filters. *training*: the loss of a batch with even noise, its
derivatives and a step of Adam, each library's model with PyTorch's or upland's own. *scoring*: log-densities
of a batch. Of antsnormflows as it comes, whose couplings' nets have an actnorm after each convolution, and
without (`net_actnorm=False`), where both nets are the same. *convolutions alone*: those of the couplings and
the 1x1 ones between them, forwards, and backwards in training, in the faster memory format: no Glow of this
shape that calls PyTorch's convolutions can be faster. `over_upland` is the CPU time over that of upland.

Times are CPU seconds of this process, so that a busy machine changes them little: medians of interleaved
turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import Part, interleaved, n_weights, note, run_parts
from upland.models.glow import Glow
from upland.training.adam import Adam

SHAPES = {"grey": ((1, 28, 28), 2), "colour": ((3, 32, 32), 3)}
BIN = 1 / 256


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--depth", type=int, default=8, help="steps of a level")
    parser.add_argument("--hidden", type=int, default=32, help="filters of the couplings' layers")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=8, help="turns that the medians are of")
    return run_parts(parser, argv, "speed_glow", PARTS, {"depth": 2, "repeats": 2})


def compare(part: str, records: Records, options: argparse.Namespace) -> None:
    """Time training and scoring of one shape, unless the rows exist."""
    shape, levels = SHAPES[part]
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(options.batch, *shape, generator=generator) - 0.5
    models = {
        "upland": Glow(shape, levels, options.depth, options.hidden, generator=generator),
        "antsnormflows": peer(shape, levels, options.depth, options.hidden, net_actnorm=True),
        "antsnormflows, plain nets": peer(shape, levels, options.depth, options.hidden, net_actnorm=False),
    }
    models["upland"].init_from_data(x)
    for model in models.values():
        model.log_prob(x)
    alone = Convolutions(models["upland"], options.batch)
    for work, tasks in {
        "training": {name: training(model, x) for name, model in models.items()}
        | {"convolutions alone": alone.both},
        "scoring": {name: scoring(model, x) for name, model in models.items()}
        | {"convolutions alone": alone.forwards},
    }.items():
        if records.find(part=part, method=f"upland ({work})"):
            continue
        seconds = interleaved(tasks, options.repeats)
        for name, value in seconds.items():
            note(records, part, f"{name} ({work})", {
                "weights": n_weights(models[name]) if name in models else 0,
                "milliseconds": 1000 * value,
                "images_per_second": options.batch / value,
                "over_upland": value / seconds["upland"],
            })  # fmt: skip


def training(model: Any, x: Tensor) -> Callable[[], object]:
    """One step of maximum likelihood on a fixed batch."""
    optimizer = Adam(model.parameters()) if isinstance(model, Glow) else torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        optimizer.clear() if isinstance(optimizer, Adam) else optimizer.zero_grad()
        noise = torch.rand(x.shape, generator=generator) - 0.5
        (-model.log_prob(x + BIN * noise).mean() / x[0].numel()).backward()
        optimizer.step(1e-4) if isinstance(optimizer, Adam) else optimizer.step()

    return step


def scoring(model: Any, x: Tensor) -> Callable[[], object]:
    def score() -> None:
        model.eval()
        with torch.no_grad():
            model.log_prob(x)
        model.train()

    return score


# -- the peer ------------------------------------------------------------------------------------------------


def peer(shape: tuple[int, int, int], levels: int, depth: int, hidden: int, net_actnorm: bool) -> nn.Module:
    """A Glow as antsnormflows' own example builds it, with fixed normal bases."""
    import antsnormflows as nf

    channels, height, width = shape
    bases, flows, merges = [], [], []
    for level in range(levels):
        inside = channels * 2 ** (levels + 1 - level)
        blocks = [
            nf.flows.GlowBlock2d(inside, hidden, split_mode="channel", leaky=0.0, net_actnorm=net_actnorm)
            for _ in range(depth)
        ]
        flows.append([*blocks, nf.flows.Squeeze2d()])
        side = 2 ** (levels - level)
        kept = inside if level == 0 else inside // 2
        bases.append(nf.distributions.DiagGaussian((kept, height // side, width // side), trainable=False))
        if level:
            merges.append(nf.flows.Merge())
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False, grad_checkpoint=False)


# -- the bound -----------------------------------------------------------------------------------------------


class Convolutions:
    """The convolutions of a Glow on inputs of their own, nothing between them.

    Args:
        model: whose convolutions.
        batch: rows of their inputs.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        channels, height, width = model.shape
        for level in model.levels:
            channels, height, width = 4 * channels, height // 2, width // 2
            for affine, coupling in zip(level.channels.maps(), level.couplings, strict=True):
                nets = [*coupling.conditioner.conv_weights, coupling.conditioner.last]
                for kernel in [affine.matrix[:, :, None, None], *nets]:
                    x = torch.randn(batch, kernel.shape[1], height, width)
                    x = x.to(memory_format=torch.channels_last).requires_grad_()
                    self.pairs.append((x, kernel.detach().clone().requires_grad_()))
            channels = channels // 2
        self.outward = [torch.randn_like(out) for out in self.forwards()]

    def forwards(self) -> list[Tensor]:
        with torch.no_grad():
            return [functional.conv2d(x, w, padding=w.shape[-1] // 2) for x, w in self.pairs]

    def both(self) -> None:
        for (x, w), outward in zip(self.pairs, self.outward, strict=True):
            torch.autograd.grad(functional.conv2d(x, w, padding=w.shape[-1] // 2), (x, w), outward)


PARTS: dict[str, Part] = {part: partial(compare, part) for part in SHAPES}

if __name__ == "__main__":
    sys.exit(main())
