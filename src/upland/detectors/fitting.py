"""From normal rows to fitted members: who sees which row, and the training of each.

Encoder, scaling and early stopping of a member never see its held-out rows: that is what its p-values rest
on. Members start from the same weights and see the same noise: the more alike the folds' scores are, the
closer the cross-conformal p-values come to uniform. Rows in memory are read once, and each member encodes
each of them once.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.block_calibration import Stretches
from upland.catalogue import Unit
from upland.criteria.base import Floats, finite
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.rows import NormalRows, SampledRows
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows
from upland.detectors.classes import Classes, with_classes
from upland.detectors.encoding import Encodings
from upland.detectors.ensemble import (
    EncodedPoints,
    EncodedRows,
    EncodedWindows,
    Member,
    fitted_sequence_criteria,
)
from upland.detectors.plan import CLOSED_FORM, FitPlan
from upland.detectors.reference_rows import some_of
from upland.detectors.trained import Shown, normalized, warn_if_unmoved
from upland.io.locks import warnings_apart
from upland.models.base import EnergyModel
from upland.models.process import THREADS
from upland.training.checkpoint import Checkpoint
from upland.training.loop import History, Training, shuffled_batches
from upland.training.objectives import neighbour_distance
from upland.training.progress import Show

Indices = NDArray[np.int64]

SPLIT_FROM = 500  # rows from which a split leaves enough for training and for calibration
CALIBRATION_SHARE, CALIBRATION_MOST = 0.2, 10_000
VALIDATION_SHARE, VALIDATION_MOST, VALIDATION_FROM = 0.1, 5_000, 20
FOLDS = 5
DISTANCE_ROWS = 2_000  # rows whose nearest neighbours set the noise
NOISE_MOST = 1.0
NUMBERS_IN_MEMORY = 1 << 29  # features of all images, above which they are made when they are needed
PIECE = 65_536  # rows of a piece of a streamed file
NORMALIZATION_LEAST, NORMALIZATION_MOST = 16, 4_096  # held-out rows, below which training rows serve
STANDARD_LEAST = 32  # rows without training, below which statistics are fitted on rows with it


class Fitted(NamedTuple):
    """A member and the scores of what it has not seen, by unit; of steps also how they follow each other."""

    member: Member
    held_out_scores: dict[Unit, Floats]
    stretches: Stretches | None = None


def calibration_method(n: int, asked: Literal["auto", "split", "cross"]) -> Literal["split", "cross"]:
    """A split from 500 units of score on, unless the user says.

    Args:
        n: units of score.
        asked: what the user says.
    """
    if asked == "auto":
        return "split" if n >= SPLIT_FROM else "cross"
    return asked


def held_out_rows(
    n: int, method: Literal["split", "cross"], generator: np.random.Generator, blocks: Indices | None = None
) -> list[Indices]:
    """The rows that calibrate, for each member: sorted indices; one set (split) or five folds (cross).

    Args:
        n: number of rows, at least 2.
        method: split or cross.
        generator: decides who is held out.
        blocks: `(n,)` numbers, from 0, of blocks that are held out whole; None where each row is one.
    """
    if blocks is not None and blocks[-1] + 1 < n:
        whole = held_out_rows(int(blocks[-1]) + 1, method, generator)
        return [np.flatnonzero(np.isin(blocks, part)) for part in whole]
    order = generator.permutation(n)
    if method == "split":
        size = min(max(1, round(CALIBRATION_SHARE * n)), CALIBRATION_MOST)
        return [np.sort(order[:size])]
    return [np.sort(fold) for fold in np.array_split(order, min(FOLDS, n))]


class MemberFitter:
    """Fits members of one plan on one source of normal rows.

    Args:
        source: all normal rows.
        plan: the resolved arguments.
        device: where models live.
        homes: where each criterion that the model can be scored by is loaded from, by name.
        criteria: the name of the criterion of each unit of score.
        classes: of the rows; None where they have none.
    """

    def __init__(
        self,
        source: NormalRows,
        plan: FitPlan,
        device: torch.device,
        homes: dict[str, str],
        criteria: dict[Unit, str],
        classes: Classes | None = None,
    ) -> None:
        self.source, self.plan, self.device = source, plan, device
        self.homes, self.criteria, self.classes = homes, criteria, classes
        self.everything = source.whole() if source.in_memory else None
        self.checked: Encoder | None = None
        self.codes = Encodings(lambda encoder: torch.from_numpy(encoder.transform(self.everything)))

    def check_columns(self) -> None:
        """Refuse or warn of columns by all the rows in memory, before any is held out, so that messages count
        the user's rows; a streamed file is checked as it is read.
        """
        if self.everything is not None:
            self.checked = self.plan.reader.encoder().fit_batches([self.everything])

    def fit_all(self, folds: Sequence[Indices], saved: Checkpoint | None, show: Show) -> list[Fitted]:
        """A member for each set of held-out rows; where the user interrupts, those that are done.

        Args:
            folds: what each member must not see.
            saved: where they are kept while training.
            show: draws the progress.
        """
        found: list[Fitted] = []
        for number, held_out in enumerate(folds):
            try:
                fitted = self.fit(
                    held_out,
                    number,
                    resume=partial(saved.resume, number) if saved else None,
                    after_check=partial(saved.save, number) if saved else None,
                    progress=partial(show, number),
                )
            except KeyboardInterrupt:
                if not found:
                    raise
                warnings.warn(f"interrupted: {number} of {len(folds)} members are kept", stacklevel=5)
                break
            found.append(fitted)
            if fitted.member.history.stopped == "interrupted":
                break
        return found

    def fit(
        self,
        held_out: Indices,
        number: int,
        *,
        resume: Callable[[Training], None] | None = None,
        after_check: Callable[[Training], None] | None = None,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Fitted:
        """Fit one member on the rows that it may see, and score those that it may not.

        Args:
            held_out: sorted indices of the rows that it must not see.
            number: which member it is.
            resume: given the training before it starts.
            after_check: see `Training.run`.
            progress: see `Training.run`.
        """
        plan = self.plan
        seen = np.setdiff1d(np.arange(self.source.n_rows), held_out, assume_unique=True)
        if plan.architecture.in_closed_form:
            return self._fit_at_once(seen, held_out, number)
        validation = self._validation_rows(seen, number)
        training_rows = np.setdiff1d(seen, validation, assume_unique=True)
        weights = torch.Generator().manual_seed(int(plan.stream("weights").integers(2**31)))
        encoder, rows = self._encoded(seen, held_out, number)
        batch = min(plan.training.batch_size, training_rows.size)
        batches = self._batches(rows, encoder, training_rows, seen, batch, weights, number)
        architecture = plan.architecture.resolved(encoder)
        model = architecture.build(encoder, weights).to(self.device)
        first = seen if seen.size < VALIDATION_FROM else training_rows
        start_from = rows.take(self._some(first, encoder, number))
        model.init_from_data(start_from.to(self.device), weights)
        sigma = self._sigma(rows, encoder, model, training_rows, number)
        start = {name: value.detach().clone() for name, value in model.named_parameters()}
        settings, objective = plan.settings(training_rows.size, encoder.width, batch), plan.objective
        training = Training(model, lambda energy, x, noise: objective(energy, x, sigma, noise), settings)
        if resume is not None:
            resume(training)
        checked = rows.take(validation if validation.size else training_rows)
        run = partial(training.run, batches, checked, after_check=after_check, progress=progress)
        if isinstance(self.source, SampledRows) and (train := self.source.train):
            run = partial(train, training, rows.take(training_rows), weights, checked, progress)
        history = run()
        warn_if_unmoved(model, start, history)
        enough = validation.size >= NORMALIZATION_LEAST
        normal = (checked if enough else start_from)[:NORMALIZATION_MOST]
        architecture, model = normalized(
            architecture, model, training, Shown(start_from.to(self.device), checked, normal, enough), sigma
        )
        fresh = validation if validation.size >= STANDARD_LEAST else seen
        member = Member(
            encoder=encoder,
            model=model,
            sigma=sigma,
            history=history,
            architecture=architecture,
            standard=self._kept(rows, encoder, fresh, plan.stream("reference", number)),
            training_rows=self._kept(rows, encoder, training_rows, plan.stream("training", number)),
            held_out=self._kept(rows, encoder, held_out, plan.stream("held out", number)),
        )
        if isinstance(rows, EncodedWindows):
            member = self._of_sequences(member, rows, seen, fresh, held_out)
        elif self.classes is not None:
            kept = {"standard": fresh, "training_rows": training_rows, "held_out": held_out}
            member = with_classes(member, self.classes, plan, rows.take(training_rows), kept, number)
        return self._fitted(member, rows, held_out)

    def _validation_rows(self, seen: Indices, number: int) -> Indices:
        """Rows for early stopping, a tenth; none where there are too few, and the training rows serve with
        noise of their own.

        A window is many observations and not one, and the likelihood of a step has hardly any noise of its
        own: of few windows too a tenth is left out, of two at least (docs/decisions/0027). A model starts
        from them all the same: few steps are worth more to a closed form than to early stopping.
        """
        many = isinstance(self.source, SequenceRows) and self.plan.training.objective == "likelihood"
        if seen.size < (2 if many else VALIDATION_FROM):
            return seen[:0]
        size = min(math.ceil(VALIDATION_SHARE * seen.size), VALIDATION_MOST)
        generator = self.plan.stream("validation", number)
        return np.sort(generator.choice(seen, size, replace=False))

    def _of_sequences(
        self, member: Member, rows: EncodedWindows, seen: Indices, fresh: Indices, held_out: Indices
    ) -> Member:
        """The member with what is kept of the steps of windows, and with the criteria of sequences."""
        plan, model = self.plan, member.model
        standard, kept = (rows.kept_steps(model, some, plan.keep_rows) for some in (fresh, held_out))
        reference = rows.reference(model, member.sigma, plan.smoothing or 1, seen)
        criteria = fitted_sequence_criteria(self.homes, reference)
        return replace(member, standard=standard, held_out=kept, criteria=member.criteria | criteria)

    def _fit_at_once(self, seen: Indices, held_out: Indices, number: int) -> Fitted:
        """The same for a model without training, which takes all rows that it may see, or some thousands."""
        plan, started = self.plan, time.perf_counter()
        weights = torch.Generator().manual_seed(int(plan.stream("weights").integers(2**31)))
        encoder, rows = self._encoded(seen, held_out, number)
        architecture = plan.architecture.resolved(encoder)
        model = architecture.build(encoder, weights).to(self.device)
        fresh = self._validation_rows(seen, number) if architecture.leaves_out else seen[:0]
        training_rows = np.setdiff1d(seen, fresh, assume_unique=True)
        with torch.no_grad(), THREADS.at(1):
            start_from = rows.take(self._some(training_rows, encoder, number))
            model.init_from_data(start_from.to(self.device), weights)
        kept = self._kept(rows, encoder, training_rows, plan.stream("reference", number))
        enough = fresh.size >= STANDARD_LEAST
        member = Member(
            encoder=encoder,
            model=model.eval(),
            sigma=1.0,
            history=History(stopped=CLOSED_FORM, seconds=time.perf_counter() - started),
            architecture=architecture,
            standard=self._kept(rows, encoder, fresh, plan.stream("training", number)) if enough else kept,
            training_rows=kept,
            held_out=self._kept(rows, encoder, held_out, plan.stream("held out", number)),
        )
        return self._fitted(member, rows, held_out)

    def _encoded(self, seen: Indices, held_out: Indices, number: int) -> tuple[Encoder, EncodedRows]:
        """An encoder that has learned from the rows that are seen, and all rows as it encodes them.

        Of columns the user has heard already (`check_columns`), so that nothing is said twice.
        """
        encoder, source = self.plan.reader.encoder(), self.source
        if self.checked is not None:
            encoder.read_as(self.checked)
        if self.everything is None:
            encoder.fit_batches(source.shuffled(self.plan.stream("file", number), held_out, PIECE))
            return encoder, EncodedPoints(encoder, source, None)
        with warnings_apart():
            warnings.simplefilter("ignore")
            if isinstance(source, SampledRows):
                source.learn(encoder, held_out)
                return encoder, EncodedPoints(encoder, source, self.codes.of(encoder))
            encoder.fit_batches([source.take(seen)] * max(1, 2 // seen.size))  # of two rows one is held out
            if isinstance(source, SequenceRows):
                assert isinstance(encoder, SequenceEncoder)
                return encoder, EncodedWindows(encoder, source)
            many = isinstance(encoder, FeatureEncoder) and source.n_rows * encoder.width > NUMBERS_IN_MEMORY
            return encoder, EncodedPoints(encoder, source, None if many else self.codes.of(encoder))

    def _batches(
        self,
        rows: EncodedRows,
        encoder: Encoder,
        training_rows: Indices,
        seen: Indices,
        batch: int,
        weights: torch.Generator,
        number: int,
    ) -> Iterator[Tensor]:
        """Endless batches, from memory or straight from a file, each pass in a new order."""
        if self.everything is not None:
            return shuffled_batches(rows.take(training_rows), batch, weights)
        skip = np.setdiff1d(np.arange(self.source.n_rows), training_rows, assume_unique=True)
        return _streamed(self.source, encoder, skip, batch, self.plan.stream("batches", number))

    def _some(self, training_rows: Indices, encoder: Encoder, number: int) -> Indices:
        """The training rows that a model starts from."""
        most = self.plan.training.count_to_start(encoder.width)
        generator = self.plan.stream("start", number)
        return np.sort(generator.choice(training_rows, min(training_rows.size, most), replace=False))

    def _kept(
        self, rows: EncodedRows, encoder: Encoder, of: Indices, generator: np.random.Generator
    ) -> Tensor | None:
        """Some rows, encoded, to be kept with a model; None where none are."""
        some = some_of(of, self.plan.keep_rows, encoder.width, generator)
        return rows.kept(some) if some.size else None

    def _sigma(
        self, rows: EncodedRows, encoder: Encoder, model: EnergyModel, of: Indices, number: int
    ) -> float:
        """The noise of the plan, or so many times the distance of neighbours among the points of some
        rows.
        """
        plan = self.plan.training
        if not isinstance(plan.noise, str):
            return plan.noise
        if isinstance(encoder, ImageEncoder) and plan.noise == "bin":
            return encoder.bin
        generator = self.plan.stream("distances", number)
        some = generator.choice(of, min(of.size, DISTANCE_ROWS), replace=False)
        near = rows.take(np.sort(some))
        with torch.no_grad():
            points = model.factors(near.to(self.device))[0].cpu().flatten(1)
        if points.shape[0] > DISTANCE_ROWS:
            points = points[generator.choice(points.shape[0], DISTANCE_ROWS, replace=False)]
        unit = plan.noise_factor
        return unit * neighbour_distance(points, plan.least_noise / unit, NOISE_MOST / unit)

    def _fitted(self, member: Member, rows: EncodedRows, held_out: Indices) -> Fitted:
        """The member with the scores of the held-out rows, for each unit that a score can be of."""
        if isinstance(rows, EncodedWindows) and isinstance(member.encoder, SequenceEncoder):
            member.encoder.band = rows.band(member.model, member.sigma, held_out)
        found: dict[Unit, Floats] = {}
        stretches = None
        for unit, name in self.criteria.items():
            criterion = member.criterion(name, unit, self.homes[name])
            if unit == "step" and isinstance(rows, EncodedWindows):
                stretches = rows.held_out_steps(criterion, held_out)
                found[unit] = stretches.scores
            else:
                found[unit] = finite(rows.held_out_scores(criterion, held_out, unit))
        return Fitted(member, found, stretches)


def _streamed(
    source: NormalRows, encoder: Encoder, skip: Indices, batch: int, generator: np.random.Generator
) -> Iterator[Tensor]:
    """Endless batches straight from a file, each pass in a new order."""
    while True:
        for table in source.shuffled(generator, skip, 64 * batch):
            rows = torch.from_numpy(encoder.transform(table))
            yield from (part for part in rows.split(batch) if part.shape[0] == batch or rows.shape[0] < batch)
