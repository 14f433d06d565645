"""What a fit resolved: every argument of an estimator as it holds from then on.

`fit` reads the constructor's arguments once and makes a `FitPlan` out of them and of the normal data: what
"auto" came to, sizes, noise, window, stride. It is frozen, kept on the estimator and in its file. Afterwards
nothing is rebuilt from the arguments; `LIVE` names the few that hold as `set_params` leaves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from upland.catalogue import Unit
from upland.data.image.reader import ImageReader
from upland.data.reader import Reader
from upland.data.sequence.reader import SequenceReader
from upland.data.table.reader import TableReader
from upland.detectors.architectures import ARCHITECTURES, Architecture
from upland.io.cells import USUAL, CellOptions
from upland.training.loop import Settings
from upland.training.objectives import OBJECTIVES, Objective
from upland.training.schedule import START_ROWS, STEPS

LIVE = ("criterion", "contamination", "device", "progress")
"""Arguments that may change after a fit; the others hold as the fit found them."""

CHECKS = 20
"""How many times the held-out loss is computed in a training."""

READERS: dict[str, type[Reader]] = {"table": TableReader, "sequence": SequenceReader, "image": ImageReader}

STREAMS = {"folds": 0, "weights": 1, "training": 2}
"""Streams of randomness that all members share, by number."""

MEMBER_STREAMS = {
    "validation": 0,
    "batches": 3,
    "file": 4,
    "distances": 5,
    "start": 6,
    "held out": 7,
    "reference": 8,
    "training": 9,
}
"""Streams of randomness of each member, by number."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast a member is trained.

    Args:
        objective: a name of `upland.training.objectives.OBJECTIVES`.
        steps: of the optimiser where no epochs are given: a number, or a name of
            `upland.training.schedule.STEPS`.
        batch_size: rows, images or windows of a step at most.
        learning_rate: of Adam at its highest.
        patience: checks of the held-out loss without improvement before the training ends.
        noise: sigma; "auto" by the distance of neighbours, "bin" for one step of the pixels.
        noise_factor: the noise in units of that distance.
        least_noise: the least noise that is chosen so.
        epochs: passes over the training rows; None for `steps`.
        start_rows: training rows that a model may start from, a name of
            `upland.training.schedule.START_ROWS`.
    """

    objective: str
    steps: int | str
    batch_size: int
    learning_rate: float
    patience: int = 5
    noise: float | Literal["auto", "bin"] = "auto"
    noise_factor: float = 1.5
    least_noise: float = 0.1
    epochs: int | None = None
    start_rows: str = "few"

    def count_to_start(self, width: int) -> int:
        """Training rows that a model may start from.

        Args:
            width: encoded dimensions.
        """
        return START_ROWS[self.start_rows](width)


@dataclass(frozen=True)
class FitPlan:
    """Every argument of a fit, resolved.

    Args:
        reader: how data are read.
        unit: what one score of the normal data is of.
        calibration: "split" or "cross".
        architecture: of the model.
        training: objective, noise, length and rate.
        keep_rows: reference rows of each of three sorts that are kept with each member at most.
        smoothing: steps that the score of a step is smoothed over; None where there are no steps.
        seed: of everything random.
        criteria: unit and name of what scores are by where the user names no criterion.
    """

    reader: Reader
    unit: Unit
    calibration: Literal["split", "cross"]
    architecture: Architecture
    training: TrainingPlan
    keep_rows: int
    smoothing: int | None
    seed: int
    criteria: tuple[tuple[Unit, str], ...] = ()

    plain: ClassVar[tuple[str, ...]] = ("unit", "calibration", "keep_rows", "smoothing", "seed")

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return OBJECTIVES[self.training.objective]

    def stream(self, name: str, member: int | None = None) -> np.random.Generator:
        """A source of randomness of its own for each purpose.

        Args:
            name: the purpose, one of `STREAMS` or, of a member, of `MEMBER_STREAMS`.
            member: the number of the member; None for what all share.
        """
        key = [STREAMS[name]] if member is None else [member, MEMBER_STREAMS[name]]
        return np.random.default_rng([self.seed, *key])

    def settings(self, rows: int, width: int, batch: int) -> Settings:
        """How a member is trained: `epochs` passes over its rows, or as many steps as its schedule says.

        Args:
            rows: training rows.
            width: encoded dimensions.
            batch: rows of a step.
        """
        plan, a_pass = self.training, max(1, rows // batch)
        if plan.epochs:
            steps = a_pass * plan.epochs
        else:
            steps = plan.steps if isinstance(plan.steps, int) else STEPS[plan.steps](rows, width, a_pass)
        seed = int(self.stream("training").integers(2**31))
        return Settings(steps, CHECKS, plan.patience, plan.learning_rate, batch, seed)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the way back."""
        return {
            **{name: getattr(self, name) for name in self.plain},
            "modality": self.reader.modality,
            "reader": _reader_to_json(self.reader),
            "architecture": self.architecture.to_json(),
            "training": asdict(self.training),
            "criteria": dict(self.criteria),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any], module: Any = None) -> FitPlan:
        """Rebuild a plan.

        Args:
            record: what `to_json` gave.
            module: the user's own model, where the fit had one.

        Raises:
            ValueError: fields are unknown or lacking.
        """
        expected = {*cls.plain, "modality", "reader", "architecture", "training", "criteria"}
        if set(record) != expected:
            raise ValueError(f"not a plan: fields {sorted(set(record) ^ expected)} are unknown or lacking")
        reader = READERS[record["modality"]](**_reader_arguments(record["reader"]))
        return cls(
            reader=reader,
            architecture=architecture_of(record["architecture"], module),
            training=TrainingPlan(**record["training"]),
            criteria=tuple(record["criteria"].items()),
            **{name: record[name] for name in cls.plain},
        )


def architecture_of(record: Mapping[str, Any], module: Any = None) -> Architecture:
    """Rebuild an architecture.

    Args:
        record: what `Architecture.to_json` gave.
        module: the user's own model, where the fit had one.

    Raises:
        ValueError: there is no architecture of its name, or its fields are unknown or lacking.
    """
    name = record.get("name")
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture is called {name!r}")
    architecture = ARCHITECTURES[name]
    arguments = _tuples({key: value for key, value in record.items() if key != "name"})
    if architecture.own:
        arguments["module"] = module
    expected = {field.name for field in fields(architecture)}
    if set(arguments) != expected:
        raise ValueError(
            f"not the architecture {name!r}: unknown or lacking {sorted(set(arguments) ^ expected)}"
        )
    return architecture(**arguments)


def _reader_to_json(reader: Reader) -> dict[str, Any]:
    record: dict[str, Any] = asdict(reader)  # type: ignore[call-overload]
    cells = record.pop("cells", None)
    said = {} if cells is None or CellOptions(**cells) == USUAL else {"cells": CellOptions(**cells).to_json()}
    return _plain(record) | said


def _reader_arguments(record: Mapping[str, Any]) -> dict[str, Any]:
    arguments = _tuples(record)
    if "cells" in arguments:
        arguments["cells"] = CellOptions.from_json(arguments["cells"])
    return arguments


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, numbers of NumPy's as Python's."""
    return {name: _plain_value(value) for name, value in record.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return [_plain_value(part) for part in value] if isinstance(value, list | tuple | np.ndarray) else value


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
