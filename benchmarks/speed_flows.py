"""upland's flow for tables against zuko's coupling flows: time, and what equal training gives; one thread.

    flow-step      one training step (forward, backward, Adam) on a batch of 128 and of 1,024 rows
    flow-scoring   rows scored per second, in blocks of 4,096
    flow-nats      nats on held-out rows after equal training: steps, batches and learning rate are the same

Both have as many couplings, hidden layers, units and bins, and their own ways beside: zuko alternates masks,
upland mixes the columns by matrices and normalises them. zuko has no recipe of spline couplings; one is made
of its parts, as its `RealNVP` is made.

Times are CPU seconds of this process, the two taken in turns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import protocols
from benchmarks.options import command, data_argument
from benchmarks.records import Records
from benchmarks.timing import Part, interleaved, note, run_parts
from upland.models.base import EnergyModel

DEPTH, HIDDEN, BINS = 4, (128, 128), 8
WIDTHS, BATCHES = (10, 30), (128, 1024)
ROWS, BLOCK = 16_384, 4_096
SETS, STEPS, BATCH, RATE = ("magic.gamma", "annthyroid"), 1_000, 128, 1e-3
COUPLINGS = ("affine", "spline")


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--repeats", type=int, default=20, help="turns that the medians are of")
    quick = {"parts": ["flow-step", "flow-scoring"], "repeats": 2}
    return run_parts(parser, argv, "speed_flows", PARTS, quick)


# -- the two -------------------------------------------------------------------------------------------------


def upland_flow(width: int, coupling: str) -> torch.nn.Module:
    from upland.models.flow import table_flow

    return table_flow(width, DEPTH, HIDDEN, coupling, generator=torch.Generator().manual_seed(0))


def zuko_flow(width: int, coupling: str) -> torch.nn.Module:
    """zuko's `RealNVP`, or the same with splines; its weights come from torch's own generator."""
    import zuko
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import MonotonicRQSTransform

    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = zuko.flows.RealNVP(width, transforms=DEPTH, hidden_features=HIDDEN)
        if coupling == "affine":
            return flow
        splines = [
            GeneralCouplingTransform(
                width,
                mask=torch.arange(width) % 2 == number % 2,
                univariate=MonotonicRQSTransform,
                shapes=[(BINS,), (BINS,), (BINS - 1,)],
                hidden_features=HIDDEN,
            )
            for number in range(DEPTH)
        ]
        return zuko.flows.Flow(splines, flow.base)


def log_prob(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Log-densities by either library's flow."""
    found: Tensor = (model if isinstance(model, EnergyModel) else model()).log_prob(x)
    return found


def both(width: int, coupling: str) -> dict[str, torch.nn.Module]:
    return {"upland": upland_flow(width, coupling), "zuko": zuko_flow(width, coupling)}


def training_step(model: torch.nn.Module, batch: Tensor) -> Callable[[], None]:
    """With one optimiser for both."""
    from upland.training.adam import Adam

    optimizer = Adam(model.parameters())

    def step() -> None:
        optimizer.clear()
        (-log_prob(model, batch).mean()).backward()
        optimizer.step(1e-4)

    return step


def scoring(model: torch.nn.Module, x: Tensor) -> Callable[[], Tensor]:
    @torch.no_grad()
    def score() -> Tensor:
        return torch.cat([log_prob(model, block) for block in x.split(BLOCK)])

    return score


# -- parts ---------------------------------------------------------------------------------------------------


def missing(records: Records, part: str, case: str) -> bool:
    return any(records.find(part=part, method=f"{name} ({case})") is None for name in ("upland", "zuko"))


def train(records: Records, options: argparse.Namespace) -> None:
    for coupling in COUPLINGS:
        for width in WIDTHS:
            for size in BATCHES:
                case = f"{coupling}, {width} columns, {size} rows"
                if missing(records, "flow-step", case):
                    batch = torch.randn(size, width, generator=torch.Generator().manual_seed(1))
                    models = both(width, coupling)
                    seconds = interleaved(
                        {name: training_step(m, batch) for name, m in models.items()}, options.repeats
                    )
                    for name, value in seconds.items():
                        values = {"milliseconds": 1000 * value, "over_upland": value / seconds["upland"]}
                        note(records, "flow-step", f"{name} ({case})", values)


def score(records: Records, options: argparse.Namespace) -> None:
    for coupling in COUPLINGS:
        for width in WIDTHS:
            case = f"{coupling}, {width} columns"
            if missing(records, "flow-scoring", case):
                x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(1))
                models = {name: model.eval() for name, model in both(width, coupling).items()}
                seconds = interleaved(
                    {name: scoring(m, x) for name, m in models.items()}, min(5, options.repeats)
                )
                for name, value in seconds.items():
                    values = {"rows_per_second": ROWS / value, "over_upland": value / seconds["upland"]}
                    note(records, "flow-scoring", f"{name} ({case})", values)


def fit(records: Records, options: argparse.Namespace) -> None:
    """Normal rows alone: the protocol's training rows, a tenth of them held out; noise 0.1 on both sides."""
    for name in SETS:
        split = protocols.adbench_split(*protocols.load_adbench(options.data, name), seed=0)
        order = np.random.default_rng(0).permutation(len(split.train))
        rows = torch.from_numpy(split.train[order].astype(np.float32))
        held, rows = rows[: len(rows) // 10], rows[len(rows) // 10 :]
        for coupling in COUPLINGS:
            if missing(records, "flow-nats", f"{coupling}, {name}"):
                for method, model in both(rows.shape[1], coupling).items():
                    note(records, "flow-nats", f"{method} ({coupling}, {name})", fitted(model, rows, held))


def fitted(model: Any, rows: Tensor, held: Tensor) -> dict[str, float]:
    """Nats of the held-out rows after so many steps of a falling rate."""
    from upland.training.loop import Settings, Training, shuffled_batches
    from upland.training.objectives import likelihood

    source = torch.Generator().manual_seed(2)
    wrapped = model if isinstance(model, EnergyModel) else Wrapped(model)
    wrapped.init_from_data(rows[:2000], source)
    training = Training(
        wrapped,
        lambda energy, x, noise: likelihood(energy, x, 0.1, noise),
        Settings(STEPS, checks=20, patience=20, learning_rate=RATE, batch=BATCH, seed=0),
    )
    history = training.run(shuffled_batches(rows, BATCH, source), held)
    nats = min(history.validation)
    return {"nats": nats, "bits_per_dim": nats / rows.shape[1] / float(np.log(2)), "seconds": history.seconds}


class Wrapped(EnergyModel):
    """zuko's flow as an energy, -log p(x) in nats."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.flow = flow

    def energy(self, x: Tensor) -> Tensor:
        found: Tensor = -self.flow().log_prob(x)
        return found


PARTS: dict[str, Part] = {
    "flow-step": train,
    "flow-scoring": score,
    "flow-nats": fit,
}

if __name__ == "__main__":
    sys.exit(main())
