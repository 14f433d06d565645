"""From a source of normal rows to fitted members: who sees which row, and the training of each.

A member is an encoder and a model that were fitted together without some held-out rows. A split calibration
has one member and one set of held-out rows; a cross calibration has a member for each fold. Encoder, scaling
and early stopping of a member never see its held-out rows: that is what its p-values rest on. Members start
from the same weights and see the same noise: the more alike the folds' scores are, the closer the
cross-conformal p-values come to uniform.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from upland.criteria.score_test import Reference
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.rows import NormalRows
from upland.models.base import EnergyModel
from upland.training.checkpoint import Checkpoint
from upland.training.loop import History, Settings, Training, shuffled_batches
from upland.training.objectives import Objective, neighbour_spacing
from upland.training.progress import Show

Indices = NDArray[np.int64]

SPLIT_FROM = 500  # rows from which a split leaves enough for training and for calibration
CALIBRATION_SHARE, CALIBRATION_MOST = 0.2, 10_000
VALIDATION_SHARE, VALIDATION_MOST, VALIDATION_FROM = 0.1, 5_000, 20
FOLDS = 5
# The length of training where the user names no epochs: see `length`.
PASSES, STEPS_USUAL = 60, 1_500
PASSES_OF_MANY, STEPS_MOST = 7, 10_000
STEPS_LEAST, STEPS_LEAST_PER_RATIO = 300, 40
LOOKS = 20
SPACING_ROWS = 2_000  # rows whose nearest neighbours set the noise
NOISE_MOST = 1.0
PIECE = 65_536  # rows of a piece of a streamed file
SETTLE_LEAST, SETTLE_MOST = 16, 4_096  # held-out rows, below which training rows tell what is usual
STANDARD_LEAST = 32  # rows that training has not had, below which statistics learn from those it has
KEPT_NUMBERS, KEPT_LEAST = 1 << 22, 256  # encoded numbers that are kept with a model; rows, however wide


References = dict[str, Reference]


@dataclass(frozen=True, eq=False)
class Member:
    """An encoder and the model trained on what it encodes, blind to the member's held-out rows.

    Args:
        encoder: fitted.
        model: trained.
        sigma: scale of the noise.
        history: of the training.
        references: what a criterion compares with, by name.
        standard: `(S, ...)` encoded rows that statistics of groups learn from; where there are enough, the
            model has not been trained on them. None where none are kept.
        seen: `(L, ...)` encoded rows that the model was trained on, for reference moments.
        reserve: `(R, ...)` encoded rows that groups are compared with: neither training nor `standard` has
            seen them.
    """

    encoder: Encoder
    model: EnergyModel
    sigma: float
    history: History
    references: References = field(default_factory=dict)
    standard: Tensor | None = None
    seen: Tensor | None = None
    reserve: Tensor | None = None


@dataclass(frozen=True)
class Recipe:
    """What every member is made with.

    Args:
        build: `(fitted encoder, generator) -> model`.
        objective: `(model, batch, sigma, generator) -> scalar`.
        noise: sigma, "auto" by the spacing of neighbours among the member's training rows, or "bin" for one
            step of the images' pixels.
        spacings: the noise in units of that spacing.
        noise_least: the least noise that is chosen so.
        encoder: an encoder that has seen nothing yet; each member fits a copy.
        refer: `(member, rows, numbers of those seen) -> references`.
        length: `(training rows, encoded dimensions, steps of a pass) -> steps` where no epochs are told.
        keeps: rows of each sort, at most, that a member keeps for groups and for its criterion.
        places: training rows that a model may start from, by its encoded dimensions.
        epochs: passes over the training rows; None chooses by their number.
        batch_size: rows of a step at most.
        learning_rate: of Adam.
        patience: looks at the held-out loss without improvement.
        device: where models live.
        seed: of everything random.
    """

    build: Callable[[Encoder, torch.Generator], EnergyModel]
    objective: Objective
    noise: float | Literal["auto", "bin"]
    spacings: float
    noise_least: float
    encoder: Encoder
    refer: Callable[[Member, Any, Indices], References]
    length: Callable[[int, int, int], int]
    keeps: int
    places: Callable[[int], int]
    epochs: int | None
    batch_size: int
    learning_rate: float
    patience: int
    device: torch.device
    seed: int

    def generator(self, *key: int) -> np.random.Generator:
        """A source of randomness of its own for each purpose."""
        return np.random.default_rng([self.seed, *key])

    def settings(self, rows: int, width: int, batch: int) -> Settings:
        """How a member is trained: `epochs` passes over its rows, or as many steps as `length` says."""
        a_pass = max(1, rows // batch)
        steps = a_pass * self.epochs if self.epochs else self.length(rows, width, a_pass)
        seed = int(self.generator(2).integers(2**31))
        return Settings(steps, LOOKS, self.patience, self.learning_rate, batch, seed)


def length(rows: int, width: int, a_pass: int) -> int:
    """Steps of a training whose length is not told: 60 passes within 1,500 steps.

    A table of many rows gets more steps than that, for 7 passes within 10,000 steps, and in any case one
    pass. A small one gets at least 300 where its rows outnumber the encoded dimensions; where they do not,
    more steps would only fit the rows.

    Args:
        rows: training rows.
        width: encoded dimensions.
        a_pass: steps of a pass.
    """
    least = min(STEPS_LEAST, STEPS_LEAST_PER_RATIO * rows // width)
    usual = min(max(PASSES * a_pass, least), STEPS_USUAL)
    return max(a_pass, usual, min(PASSES_OF_MANY * a_pass, STEPS_MOST))


def held_out_rows(
    n: int,
    kind: Literal["auto", "split", "cross"],
    generator: np.random.Generator,
    blocks: Indices | None = None,
    units: int | None = None,
) -> list[Indices]:
    """The rows that calibrate, for each member: sorted indices.

    Args:
        n: number of rows, at least 2.
        kind: one set (split), five folds (cross), or by the number of rows (auto).
        generator: decides who is held out.
        blocks: `(n,)` numbers, from 0, of blocks that are held out whole; None where each row stands alone.
        units: how many scores the rows have, where a row is a window of steps; n if left out.
    """
    if blocks is not None and blocks[-1] + 1 < n:
        whole = held_out_rows(int(blocks[-1]) + 1, kind, generator, units=units)
        return [np.flatnonzero(np.isin(blocks, part)) for part in whole]
    order = generator.permutation(n)
    if kind == "split" or (kind == "auto" and (units or n) >= SPLIT_FROM):
        size = min(max(1, round(CALIBRATION_SHARE * n)), CALIBRATION_MOST)
        return [np.sort(order[:size])]
    return [np.sort(fold) for fold in np.array_split(order, min(FOLDS, n))]


def check_columns(source: NormalRows, recipe: Recipe) -> None:
    """Refuse or warn of columns by all the rows in memory, before any is held out; a streamed file is
    checked as it is read.
    """
    if source.in_memory:
        copy.deepcopy(recipe.encoder).fit_batches([source.take(np.arange(source.n_rows))])


def fit_members(
    source: NormalRows,
    folds: Sequence[Indices],
    recipe: Recipe,
    saved: Checkpoint | None,
    show: Show,
) -> list[Member]:
    """A member for each set of held-out rows; where the user interrupts, those that are done.

    Args:
        source: all normal rows.
        folds: what each member must not see.
        recipe: what they are made with.
        saved: where they are kept while training.
        show: draws the progress.
    """
    members: list[Member] = []
    for number, held_out in enumerate(folds):
        try:
            member = fit_member(
                source,
                held_out,
                recipe,
                number,
                resume=partial(saved.resume, number) if saved else None,
                after_look=partial(saved.save, number) if saved else None,
                progress=partial(show, number),
            )
        except KeyboardInterrupt:
            if not members:
                raise
            warnings.warn(f"interrupted: {number} of {len(folds)} members are kept", stacklevel=4)
            break
        members.append(member)
        if member.history.stopped == "interrupted":
            break
    return members


def with_reserves(
    members: Sequence[Member], source: NormalRows, folds: Sequence[Indices], recipe: Recipe
) -> list[Member]:
    """The members with some of their held-out rows kept, to compare groups with.

    Args:
        members: as fitted.
        source: all normal rows.
        folds: what each member has not seen; an interrupted fit has fewer members.
        recipe: what they are made with.
    """
    return [
        replace(m, reserve=kept_rows(m.encoder, source, held, recipe.keeps, recipe.generator(number, 7)))
        for number, (m, held) in enumerate(zip(members, folds, strict=False))
    ]


def fit_member(
    source: NormalRows,
    held_out: Indices,
    recipe: Recipe,
    number: int,
    *,
    resume: Callable[[Training], None] | None = None,
    after_look: Callable[[Training], None] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Member:
    """Fit one member on the rows that it may see.

    Args:
        source: all normal rows.
        held_out: sorted indices of the rows that it must not see.
        recipe: what it is made with.
        number: which member it is.
        resume: given the training before it starts.
        after_look: see `Training.run`.
        progress: see `Training.run`.
    """
    seen = np.setdiff1d(np.arange(source.n_rows), held_out, assume_unique=True)
    validation = _validation_rows(seen, recipe.generator(number, 0))
    encoder = copy.deepcopy(recipe.encoder)
    weights = torch.Generator().manual_seed(int(recipe.generator(1).integers(2**31)))
    training_rows = np.setdiff1d(seen, validation, assume_unique=True)
    batch = min(recipe.batch_size, training_rows.size)
    if source.in_memory:
        encoder.fit_batches([source.take(seen)] * max(1, 2 // seen.size))  # of two rows one is held out
        rows = torch.from_numpy(encoder.transform(source.take(training_rows)))
        batches = shuffled_batches(rows, batch, weights)
    else:
        encoder.fit_batches(source.shuffled(recipe.generator(number, 4), held_out, PIECE))
        skip = np.union1d(held_out, validation)
        batches = _streamed(source, encoder, skip, batch, recipe.generator(number, 3))
    checking = validation if validation.size else training_rows
    model = recipe.build(encoder, weights).to(recipe.device)
    most = recipe.places(encoder.width)
    start_from = _some(source, encoder, training_rows, most, recipe.generator(number, 6))
    model.place(start_from.to(recipe.device), weights)
    sigma = _sigma(source, encoder, model, training_rows, recipe, number)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    training = Training(
        model,
        lambda energy, batch, noise: recipe.objective(energy, batch, sigma, noise),
        recipe.settings(training_rows.size, encoder.width, batch),
    )
    if resume is not None:
        resume(training)
    held = torch.from_numpy(encoder.transform(source.take(checking)))
    history = training.run(batches, held, after_look=after_look, progress=progress)
    _warn_if_unmoved(model, start, history)
    enough = validation.size >= SETTLE_LEAST
    model.settle((held if enough else start_from)[:SETTLE_MOST].to(recipe.device), fresh=enough)
    fresh = validation if validation.size >= STANDARD_LEAST else seen
    standard = kept_rows(encoder, source, fresh, recipe.keeps, recipe.generator(number, 8))
    known = kept_rows(encoder, source, training_rows, recipe.keeps, recipe.generator(number, 9))
    member = Member(encoder, model, sigma, history, {}, standard, known)
    return replace(member, references=recipe.refer(member, source, seen))


def _validation_rows(seen: Indices, generator: np.random.Generator) -> Indices:
    """Rows for early stopping; none where there are too few, and the training rows serve with noise of their
    own.
    """
    size = (
        min(math.ceil(VALIDATION_SHARE * seen.size), VALIDATION_MOST) if seen.size >= VALIDATION_FROM else 0
    )
    return np.sort(generator.choice(seen, size, replace=False))


def _some(
    source: NormalRows, encoder: Encoder, rows: Indices, most: int, generator: np.random.Generator
) -> Tensor:
    """Some training rows, encoded."""
    some = generator.choice(rows, min(rows.size, most), replace=False)
    return torch.from_numpy(encoder.transform(source.take(np.sort(some))))


def kept_rows(
    encoder: Encoder, source: NormalRows, rows: Indices, most: int, generator: np.random.Generator
) -> Tensor | None:
    """Some rows, encoded, to be kept with a model; None where none are.

    Args:
        encoder: fitted.
        source: normal rows.
        rows: the numbers of those that may be kept, sorted.
        most: how many at most; of wide rows fewer.
        generator: chooses.
    """
    count = min(most, rows.size, max(KEPT_LEAST, KEPT_NUMBERS // encoder.width))
    if encoder.modality == "sequence" or not count:
        return None
    some = np.sort(generator.choice(rows, count, replace=False))
    return torch.from_numpy(encoder.transform(source.take(some)))


def _sigma(
    source: NormalRows,
    encoder: Encoder,
    model: EnergyModel,
    rows: Indices,
    recipe: Recipe,
    number: int,
) -> float:
    """The noise that is told, or so many times the spacing of neighbours among the points of some rows."""
    if not isinstance(recipe.noise, str):
        return recipe.noise
    if isinstance(encoder, ImageEncoder) and recipe.noise == "bin":
        return encoder.bin
    generator = recipe.generator(number, 5)
    some = generator.choice(rows, min(rows.size, SPACING_ROWS), replace=False)
    near = torch.from_numpy(encoder.transform(source.take(np.sort(some))))
    with torch.no_grad():
        points = model.factors(near.to(recipe.device))[0].cpu().flatten(1)
    if points.shape[0] > SPACING_ROWS:
        points = points[generator.choice(points.shape[0], SPACING_ROWS, replace=False)]
    unit = recipe.spacings
    return unit * neighbour_spacing(points, recipe.noise_least / unit, NOISE_MOST / unit)


def _streamed(
    source: NormalRows, encoder: Encoder, skip: Indices, batch: int, generator: np.random.Generator
) -> Iterator[Tensor]:
    """Endless batches straight from a file, each pass in a new order."""
    while True:
        for table in source.shuffled(generator, skip, 64 * batch):
            rows = torch.from_numpy(encoder.transform(table))
            yield from (part for part in rows.split(batch) if part.shape[0] == batch or rows.shape[0] < batch)


def _warn_if_unmoved(model: nn.Module, start: dict[str, Tensor], history: History) -> None:
    """A single number may be the energy's additive constant, which no gradient in x can see: it need not
    move.
    """
    if history.best_step == 0:
        return
    trained = [
        (name, value) for name, value in model.named_parameters() if value.requires_grad and value.numel() > 1
    ]
    alike = ("shares",)  # of centres that lie on one point it does not matter
    unmoved = [name for name, value in trained if name not in alike and torch.equal(value, start[name])]
    if unmoved:
        warnings.warn(f"training did not move these weights: {', '.join(unmoved)}", stacklevel=2)


def as_energy(module: nn.Module | Callable[[Any], nn.Module], size: Any) -> nn.Module:
    """The user's module, or what the user's function makes for a width or shape; a copy, so that members
    share nothing.
    """
    return copy.deepcopy(module) if isinstance(module, nn.Module) else module(size)
