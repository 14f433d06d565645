"""What a fit resolved: every argument of an estimator as it holds from then on.

`fit` reads the constructor's arguments once and makes a `FitPlan` out of them and of the normal data: what
"auto" came to, sizes, noise, window, stride. It is frozen, kept on the estimator and in its file. Afterwards
nothing is rebuilt from the arguments; `LIVE` names the few that hold as `set_params` leaves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_type_hints

import numpy as np

from upland.catalogue import Unit
from upland.data.image.reader import ImageReader
from upland.data.reader import Reader
from upland.data.sequence.reader import SequenceReader
from upland.data.table.reader import TableReader
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import ARCHITECTURES
from upland.io.cells import USUAL, CellOptions
from upland.io.records import check_types, checked, shown
from upland.training.loop import Settings
from upland.training.objectives import OBJECTIVES, Objective
from upland.training.schedule import RATES, START_ROWS, STEPS

LIVE = ("criterion", "contamination", "device", "progress")
"""Arguments that may change after a fit; the others hold as the fit found them."""

CLOSED_FORM = "closed form"
"""The objective of a model that is fitted without training."""

CHECKS = 20
"""How many times the held-out loss is computed in a training."""

READERS: dict[str, type[Reader]] = {"table": TableReader, "sequence": SequenceReader, "image": ImageReader}

STREAMS = {"folds": 0, "weights": 1, "training": 2, "refining": 3}
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


LATER = frozenset({"context", "calendar", "ignored", "mask", "features", "source", "maps"})
"""Fields of readers that older files lack; they are left out where they are as by default, and masks of
images always: the encoders hold them. What makes features is in no file.
"""


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast a member is trained.

    Args:
        objective: a name of `upland.training.objectives.OBJECTIVES`.
        steps: of the optimiser where no epochs are given: a number, or a name of
            `upland.training.schedule.STEPS`.
        batch_size: rows, images or windows of a step at most.
        learning_rate: of Adam at its highest: a number, or a name of `upland.training.schedule.RATES`.
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
    learning_rate: float | str
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
        rate = RATES[plan.learning_rate](width) if isinstance(plan.learning_rate, str) else plan.learning_rate
        seed = int(self.stream("training").integers(2**31))
        return Settings(steps, CHECKS, plan.patience, rate, batch, seed)

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
        hints = get_type_hints(cls)
        plain = check_types(hints, {name: record[name] for name in cls.plain}, "the plan")
        if plain["keep_rows"] < 0 or plain["seed"] < 0 or not _whole(plain["smoothing"]):
            raise ValueError("the plan: keep_rows and seed must not be negative, and smoothing positive")
        criteria = check_types(hints, {"criteria": [*record["criteria"].items()]}, "the plan")
        return cls(
            reader=_reader(record["modality"], record["reader"]),
            architecture=architecture_of(record["architecture"], module),
            training=_training(record["training"]),
            **criteria,
            **plain,
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
        raise ValueError(f"no architecture is called {shown(name)}")
    architecture = ARCHITECTURES[name]
    arguments = {key: value for key, value in record.items() if key != "name"}
    if architecture.own and not arguments:
        arguments["module"] = module
        return architecture(**arguments)
    sizes = checked(architecture, arguments, f"the architecture {name!r}")
    counts = [part for value in sizes.values() for part in (value if isinstance(value, tuple) else [value])]
    if not all(part > 0 for part in counts if isinstance(part, int | float)):
        raise ValueError(f"the architecture {name!r}: sizes must be positive")
    if sizes.get("hidden") == ():
        raise ValueError(f"the architecture {name!r}: there must be a hidden layer")
    return architecture(**sizes)


def _reader_to_json(reader: Reader) -> dict[str, Any]:
    made: Any = reader
    record: dict[str, Any] = {field.name: getattr(reader, field.name) for field in fields(made)}
    cells = record.pop("cells", USUAL)
    said = {} if cells == USUAL else {"cells": cells.to_json()}
    for name in ("mask", "source"):
        record.pop(name, None)
    usual = {name for name in LATER if name in record and record[name] == getattr(type(reader), name)}
    return _plain({name: value for name, value in record.items() if name not in usual}) | said


def _reader(modality: str, record: Mapping[str, Any]) -> Reader:
    """How data are read; raises ValueError for a record that is not that of a reader."""
    made, plain = READERS[modality], dict(record)
    cells = {"cells": CellOptions.from_json(plain.pop("cells"))} if "cells" in plain else {}
    arguments = checked(made, plain, "the reader", later=LATER | {"cells"})
    if any(not _whole(arguments.get(name)) for name in ("window", "stride")):
        raise ValueError("the reader: window and stride must be positive")
    return made(**arguments, **cells)


def _whole(size: int | str | None) -> bool:
    """Whether a size that may be None is positive, and what a fit resolves is resolved."""
    return size is None or (isinstance(size, int) and size > 0)


def _training(record: Mapping[str, Any]) -> TrainingPlan:
    """How a member was trained; raises ValueError for a record that is not that of a training."""
    plan = TrainingPlan(**checked(TrainingPlan, record, "the training"))
    words = (
        *((plan.objective, {*OBJECTIVES, CLOSED_FORM}), (plan.start_rows, START_ROWS)),
        *((plan.steps, STEPS), (plan.learning_rate, RATES)),
    )
    for word, known in words:
        if isinstance(word, str) and word not in known:
            raise ValueError(f"the training: there is no {shown(word)}")
    numbers = (plan.steps, plan.batch_size, plan.learning_rate, plan.patience, plan.noise)
    sizes = (*numbers, plan.noise_factor, plan.least_noise, plan.epochs)
    if not all(size > 0 for size in sizes if isinstance(size, int | float)):
        raise ValueError("the training: numbers must be positive")
    return plan


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists, numbers of NumPy's as Python's."""
    return {name: _plain_value(value) for name, value in record.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return [_plain_value(part) for part in value] if isinstance(value, list | tuple | np.ndarray) else value
