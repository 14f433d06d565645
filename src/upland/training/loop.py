"""The loop: one for every model and every objective.

Batches come from an endless iterator, so that rows in memory and files larger than memory are treated alike.
The number of steps is fixed beforehand, and the learning rate falls along a half cosine to zero. The held-out
loss is computed at `checks` validation checks, always with the same noise: the best weights are kept, and
`patience` checks without a better loss end the training. The noise of each interval between two checks has a
random stream of its own, seeded from `seed` and the interval's number, so that a resumed training goes on
exactly as if it had not stopped.
"""

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upland.models.base import EnergyModel
from upland.models.blocks import fitting_threads
from upland.training.adam import Adam
from upland.training.sharing import Sharing

Loss = Callable[[EnergyModel, Tensor, torch.Generator], Tensor]
Arrays = dict[str, np.ndarray[Any, Any]]

WARMUP_STEPS = 20
VALIDATION_ROWS = 4_096  # held-out rows that go through the model together

LATER = frozenset({"gaussian", "independent", "gaussian_z"})
"""Fields of a `History` that older files lack."""

HELD_OUT_STREAM, FIRST_TRAINING_STREAM = 0, 1
"""Random streams of a training: one for the noise of the held-out loss, then one for each interval."""


@dataclass
class History:
    """The course of a training: the losses at each validation check, in the objective's own unit.

    `stopped` says why it ended: "finished", "early" (no better held-out loss) or "interrupted" (Ctrl-C).
    `gaussian` and `independent` are the held-out losses of a Gaussian in closed form and of one of
    independent columns, where a model is compared with them; `gaussian_z` is the paired z statistic of the
    trained model against the Gaussian, over blocks of held-out rows: positive where it loses more.
    """

    steps: list[int] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_step: int = 0
    stopped: str = ""
    seconds: float = 0.0
    gaussian: float | None = None
    independent: float | None = None
    gaussian_z: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain data, without those of `LATER` that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in LATER}


@dataclass(frozen=True)
class Settings:
    """Length, speed and seed of a training.

    Args:
        steps: optimiser steps in all.
        checks: number of validation checks, at which the held-out loss is computed.
        patience: checks without improvement before the training ends.
        learning_rate: of Adam, at its highest.
        batch: rows of a step.
        seed: of the noise.
    """

    steps: int
    checks: int
    patience: int
    learning_rate: float
    batch: int
    seed: int

    @property
    def interval(self) -> int:
        """Steps between two validation checks."""
        return max(1, self.steps // self.checks)

    def rate(self, step: int) -> float:
        """The learning rate at a step: a short linear rise, then a half cosine down to zero."""
        rise = min(1.0, (step + 1) / min(WARMUP_STEPS, self.steps))
        return self.learning_rate * rise * 0.5 * (1 + float(np.cos(np.pi * step / self.steps)))

    def training_noise(self, interval: int, device: torch.device) -> torch.Generator:
        """The source of the noise of an interval between two checks, by its number from 0."""
        return self._generator(FIRST_TRAINING_STREAM + interval, device)

    def held_out_noise(self, device: torch.device) -> torch.Generator:
        """The source of the noise of the held-out loss, the same at every check."""
        return self._generator(HELD_OUT_STREAM, device)

    def _generator(self, stream: int, device: torch.device) -> torch.Generator:
        """A generator that depends on the seed and on the number of the stream alone."""
        mixed = np.random.SeedSequence([self.seed, stream]).generate_state(1, np.uint64)[0]
        return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))


class Training:
    """The training of one model, with everything needed to resume it.

    Args:
        model: any energy; trained in place.
        loss: `(model, batch, generator) -> scalar`.
        settings: length, rate, seed.
        sharing: with other processes; None trains in this one alone.
    """

    def __init__(
        self, model: EnergyModel, loss: Loss, settings: Settings, sharing: Sharing | None = None
    ) -> None:
        self.model, self.loss, self.settings, self.sharing = model, loss, settings, sharing
        self.optimizer = Adam(model.parameters())
        self.history = History()
        self.step = 0
        self.best = _weights(model)
        self.device = next(model.parameters()).device

    def run(
        self,
        batches: Iterator[Tensor],
        validation: Tensor,
        *,
        after_check: Callable[["Training"], None] | None = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> History:
        """Train to the end and leave the best weights in the model.

        Args:
            batches: endless; a resumed training skips those that it has used.
            validation: held-out rows `(N, ...)`.
            after_check: called after each validation check, to write a checkpoint.
            progress: called as `(step, steps, held-out loss)`.

        Returns:
            The losses, and why it stopped.

        Raises:
            FloatingPointError: the loss is not finite; the message says what to try.
            KeyboardInterrupt: interrupted before the first validation check.
        """
        started = time.perf_counter()
        try:
            for _ in self.intervals(batches, validation):
                if progress is not None:
                    progress(self.step, self.settings.steps, self.history.validation[-1])
                if after_check is not None:
                    after_check(self)
        except KeyboardInterrupt:
            if not self.history.validation:
                raise
            self.history.stopped = "interrupted"
            warnings.warn(
                f"training interrupted at step {self.step} of {self.settings.steps}: "
                f"the best weights so far (step {self.history.best_step}) are kept",
                stacklevel=2,
            )
        self.history.seconds += time.perf_counter() - started
        self.model.load_state_dict(self.best)
        self.model.eval()
        return self.history

    def intervals(self, batches: Iterator[Tensor], validation: Tensor) -> Iterator[None]:
        """Train to the end, with a pause after each validation check; the last weights are in the model.

        Args:
            batches: endless; a resumed training skips those that it has used.
            validation: held-out rows `(N, ...)`.
        """
        stream = itertools.islice(batches, self.step, None)
        while not self.history.stopped:
            with fitting_threads(self.model, self.settings.batch):
                self._interval(stream, validation)
            yield

    def _interval(self, stream: Iterator[Tensor], validation: Tensor) -> None:
        generator = self.settings.training_noise(self.step // self.settings.interval, self.device)
        if self.sharing is not None:
            generator = self.sharing.noise(generator)
        end = min(self.step + self.settings.interval, self.settings.steps)
        self.model.train()
        losses = []
        while self.step < end:
            losses.append(self._update(next(stream).to(self.device, non_blocking=True), generator))
        held_out = self.held_out_loss(self.model, validation)
        if self.sharing is not None:
            held_out = self.sharing.agreed(held_out)
        self._check(float(torch.stack(losses).mean()), held_out)

    def _update(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        self.optimizer.clear()
        loss = self.loss(self.model, batch if self.sharing is None else self.sharing.part(batch), generator)
        loss.backward()
        if self.sharing is not None:
            self.sharing.average(self.model.parameters())
        self.optimizer.step(self.settings.rate(self.step))
        self.step += 1
        return loss.detach()

    def held_out_loss(self, model: EnergyModel, validation: Tensor) -> float:
        """The mean loss of held-out rows, always with the same noise.

        Args:
            model: any energy of such rows; left in evaluation mode.
            validation: `(N, ...)`.
        """
        generator = self.settings.held_out_noise(self.device)
        model.eval()
        with torch.no_grad():
            parts = [
                self.loss(model, part.to(self.device), generator) * part.shape[0]
                for part in validation.split(VALIDATION_ROWS)
            ]
        return float(torch.stack(parts).sum() / validation.shape[0])

    def _check(self, training: float, held_out: float) -> None:
        if not (np.isfinite(training) and np.isfinite(held_out)):
            raise FloatingPointError(
                f"the loss is not finite at step {self.step} (training {training}, held-out {held_out}): "
                f"try a smaller learning_rate than {self.settings.learning_rate:g}, or a larger noise; "
                "with a model of your own, look for a division or logarithm that can fail"
            )
        past = self.history
        better = not past.validation or held_out < min(past.validation)
        past.steps.append(self.step)
        past.training.append(training)
        past.validation.append(held_out)
        if better:
            self.best, past.best_step = _weights(self.model), self.step
        checks_since = sum(step > past.best_step for step in past.steps)
        if self.step >= self.settings.steps:
            past.stopped = "finished"
        elif checks_since >= self.settings.patience:
            past.stopped = "early"

    def to_state(self) -> tuple[Arrays, dict[str, Any]]:
        """Everything needed to resume: arrays by name, and JSON-able data."""
        arrays = {f"weights/{k}": v.cpu().numpy() for k, v in self.model.state_dict().items()}
        arrays |= {f"best/{k}": v.cpu().numpy() for k, v in self.best.items()}
        arrays |= {f"optimizer/{k}": v.cpu().numpy() for k, v in self.optimizer.state().items()}
        return arrays, {
            "step": self.step,
            "history": self.history.to_json(),
            "settings": asdict(self.settings),
        }

    def restore(self, arrays: Arrays, plain: dict[str, Any]) -> None:
        """Resume from the state that `to_state` returned.

        Raises:
            ValueError: it belongs to a training with other settings.
        """
        if plain["settings"] != asdict(self.settings):
            raise ValueError(
                f"the checkpoint is of a training with {plain['settings']}, not {asdict(self.settings)}"
            )
        self.step, self.history = plain["step"], History(**plain["history"])
        self.model.load_state_dict(_part(arrays, "weights"))
        self.best = _part(arrays, "best")
        self.optimizer.restore(_part(arrays, "optimizer"))
        if self.history.stopped == "interrupted":
            self.history.stopped = ""


def shuffled_batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless passes over rows in memory, each in a new order: batches `(size, ...)`, or all rows where
    there are fewer.

    Args:
        rows: `(N, ...)`.
        size: rows of a batch; a pass ends with the last whole batch.
        generator: decides the order.
    """
    size = min(size, rows.shape[0])
    while True:
        order = torch.randperm(rows.shape[0], generator=generator)
        for start in range(0, rows.shape[0] - size + 1, size):
            yield rows[order[start : start + size]]


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _part(arrays: Arrays, name: str) -> dict[str, Tensor]:
    prefix = name + "/"
    return {
        k.removeprefix(prefix): torch.from_numpy(v.copy()) for k, v in arrays.items() if k.startswith(prefix)
    }
