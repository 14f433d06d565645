"""A training by several processes: each has the model and a part of every batch, and gradients are averaged.

The processes are actors of Ray, and a process group of torch with the backend gloo averages their gradients
(synchronous data parallelism, as `torch.nn.parallel.DistributedDataParallel` has it), so that the weights are
the same in all. After each validation check the first one sends its state; where a process dies, all start
again from there.

Reference: S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", PVLDB 13
(2020).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from upland.models.base import EnergyModel
from upland.training.loop import History, Loss, Settings, Training, shuffled_batches

TRIES = 4
"""How often a training is started in all, from its last state."""

LEAST_PART = 16
"""Rows of a batch that each process has, at least."""

SECONDS = 120
"""How long processes wait for each other."""

LOOPBACK = "127.0.0.1"

Progress = Callable[[int, int, float], None] | None


@dataclass(frozen=True)
class Job:
    """What every process of a training is given.

    Args:
        model: As it starts.
        loss: Of the model.
        settings: Length, rate, seed.
        rows: `(N, D)` encoded training rows.
        order: State of the generator that decides their order.
        validation: Held-out rows.
    """

    model: EnergyModel
    loss: Loss
    settings: Settings
    rows: Tensor
    order: Tensor
    validation: Tensor


class Group:
    """The part of one process in a group of torch's.

    Args:
        rank: Of the process.
        size: How many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.share = rank, size, 1 / size

    def part(self, batch: Tensor) -> Tensor:
        """Every `size`-th row."""
        found = batch[self.rank :: self.size]
        self.share = len(found) / len(batch)
        return found

    def noise(self, generator: torch.Generator) -> torch.Generator:
        """A generator of another seed for each process."""
        seed = (generator.initial_seed() + self.rank) % 2**63
        return torch.Generator(generator.device).manual_seed(seed)

    def average(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their means over all rows of the batch."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * self.share
        torch.distributed.all_reduce(flat)
        for gradient, mean in zip(gradients, flat.split([part.numel() for part in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def agreed(self, loss: float) -> float:
        """The loss of the first process."""
        found = torch.tensor([loss], dtype=torch.float64)
        torch.distributed.broadcast(found, 0)
        return float(found)


class _Process:
    """One process of a training: an actor."""

    def place(self, alone: bool) -> str:
        """Where the first process can be reached: HOST:PORT.

        Args:
            alone: Whether all processes are on one machine.
        """
        import ray

        host = LOOPBACK if alone else str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        with socket.socket() as free:
            free.bind((host, 0))
            return f"{host}:{free.getsockname()[1]}"

    def run(self, job: Job, rank: int, size: int, place: str, saved: Any) -> Iterator[Any]:
        """Train; the first process gives its state after each check.

        Args:
            job: What is trained.
            rank: Of this process.
            size: How many there are.
            place: Of the first.
            saved: A state to go on from; None to begin.
        """
        if place.startswith(LOOPBACK) and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(1)
        limit = timedelta(seconds=SECONDS)
        torch.distributed.init_process_group(
            "gloo", init_method=f"tcp://{place}", rank=rank, world_size=size, timeout=limit
        )
        try:
            yield from self._states(job, Group(rank, size), saved)
        finally:
            torch.distributed.destroy_process_group()

    def _states(self, job: Job, group: Group, saved: Any) -> Iterator[Any]:
        training = Training(job.model, job.loss, job.settings, group)
        if saved is not None:
            training.restore(*saved)
        generator = torch.Generator()
        generator.set_state(job.order)
        batches = shuffled_batches(job.rows, job.settings.batch, generator)
        try:
            for _ in training.intervals(batches, job.validation):
                yield training.to_state() if group.rank == 0 else None
        except FloatingPointError as error:
            yield str(error)


class Crew:
    """Trains on processes of a cluster.

    Args:
        ray: The module, connected.
        workers: How many processes; None takes one for each CPU.
    """

    def __init__(self, ray: Any, workers: int | None) -> None:
        self.ray = ray
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))

    def train(
        self, training: Training, rows: Tensor, generator: torch.Generator, validation: Tensor, show: Progress
    ) -> History:
        """Train to the end and leave the best weights in the model.

        Args:
            training: That has not begun.
            rows: `(N, D)` encoded training rows.
            generator: Decides their order.
            validation: Held-out rows.
            show: Called as `Training.run` calls it.

        Raises:
            FloatingPointError: The loss is not finite.
            ValueError: Processes died again and again.
        """
        size = min(self.workers, max(1, training.settings.batch // LEAST_PART))
        state = generator.get_state()
        job = Job(training.model, training.loss, training.settings, rows, state, validation)
        sent = self.ray.put(job)
        saved: Any = None
        for number in range(TRIES):
            try:
                for found in self._states(sent, size, saved):
                    if isinstance(found, str):
                        raise FloatingPointError(found)
                    saved = found
                    history = History(**found[1]["history"])
                    if show is not None:
                        show(found[1]["step"], training.settings.steps, history.validation[-1])
                break
            except self.ray.exceptions.RayError as error:
                if number == TRIES - 1:
                    first = (str(error).splitlines() or [""])[-1]
                    raise ValueError(f"the processes of a training died {TRIES} times: {first}") from error
        training.restore(*saved)
        training.model.load_state_dict(training.best)
        training.model.eval()
        return training.history

    def _states(self, sent: Any, size: int, saved: Any) -> Iterator[Any]:
        """The states of a training by fresh processes."""
        actor = self.ray.remote(num_cpus=1)(_Process)
        crew = [actor.remote() for _ in range(size)]
        try:
            alone = len([node for node in self.ray.nodes() if node["Alive"]]) == 1
            place = self.ray.get(crew[0].place.remote(alone))
            runs = [
                one.run.options(num_returns="streaming").remote(sent, rank, size, place, saved)
                for rank, one in enumerate(crew)
            ]
            for reference in runs[0]:
                yield self.ray.get(reference)
        finally:
            for one in crew:
                self.ray.kill(one)
