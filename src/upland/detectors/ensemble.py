"""Members: an encoder, a model and what scores are compared with, fitted together without some held-out rows.

A split calibration has one member and one set of held-out rows; a cross calibration has a member for each
fold. A member keeps some encoded normal rows, its *reference rows*: of the rows that it may see (for criteria
and for statistics of groups), and of those held out from it (which groups are compared with).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.block_calibration import Stretches, memory_of
from upland.catalogue import DETECTORS, Modality, Unit, criteria_of, home_for_unit, load
from upland.criteria.base import Criterion, Floats, finite
from upland.criteria.sequence import EncodedSequences, SequenceCriterion, SequenceReference, expected_steps
from upland.criteria.step_latents import latent_steps
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder, kept_numbers
from upland.data.rows import NormalRows
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows
from upland.data.table.encoder import TableEncoder
from upland.detectors.architecture import Architecture
from upland.detectors.reference_rows import to_be_kept
from upland.detectors.refinement import Refinement
from upland.groups.outputs import Reference
from upland.groups.stretches import numbered
from upland.models.base import EnergyModel, OfFeatures
from upland.models.process import BLAS_THREADS
from upland.models.recurrent_flow import RecurrentFlow
from upland.models.sequential import SequenceModel
from upland.training.loop import History

Indices = NDArray[np.int64]

BAND = (0.05, 0.95)
"""Of the residuals of a channel, between which the band of what is expected lies."""


class Offered(NamedTuple):
    """The criteria that a fitted model can be scored by.

    Args:
        homes: where each is loaded from, by name.
        defaults: the name for each unit of score, where the user names none.
    """

    homes: dict[str, str]
    defaults: dict[Unit, str]

    def chosen(self, criterion: str | None) -> dict[Unit, str]:
        """The name for each unit, as the user says.

        Args:
            criterion: a name; None and "auto" for the defaults.

        Raises:
            ValueError: there is no such criterion of this model.
        """
        named = isinstance(criterion, str)
        if criterion is None or (named and criterion == "auto"):
            return self.defaults
        if not named or criterion not in self.homes:
            names = ", ".join(map(repr, self.homes))
            raise ValueError(f"criterion must be 'auto' or one of {names}, got {criterion!r}")
        return dict.fromkeys(self.defaults, criterion)


def offered_criteria(family: str, modality: Modality, model_type: type) -> Offered:
    """The criteria of the catalogue that a model can be scored by.

    Args:
        family: of the model.
        modality: of the data.
        model_type: of the model.
    """
    homes = {
        name: home
        for name, home in criteria_of(family, modality).items()
        if issubclass(model_type, load(home).requires)
        and not (load(home).needs_pixels and issubclass(model_type, OfFeatures))
    }
    entry = DETECTORS[family, modality]
    defaults = {
        unit: next(one for one in (name, *entry.otherwise) if one in homes)
        for unit, name in entry.defaults.items()
    }
    return Offered(homes, defaults)


@dataclass(frozen=True, eq=False)
class Member:
    """An encoder and the model trained on what it encodes, blind to the member's held-out rows.

    Args:
        encoder: fitted.
        model: trained.
        sigma: scale of the noise.
        history: of the training.
        architecture: of the model, with all sizes.
        standard: `(S, ...)` encoded rows that criteria and statistics are fitted on; where there are enough,
            the model has not been trained on them. None where none are kept.
        training_rows: `(L, ...)` encoded rows that the model was trained on, for reference moments.
        held_out: `(R, ...)` encoded rows that groups are compared with: neither the training nor `standard`
            has them.
        refining: `(H, ...)` encoded rows held out from it that a refinement has taken as normal; `held_out`
            has none of them. None where there are none.
        refinement: what labelled rows have changed; None where there were none.
        labels: of the rows kept under a name, `(S,)` numbers of classes; empty where they have none.
        criteria: fitted, by name and unit; filled when one is first asked for.
    """

    encoder: Encoder
    model: EnergyModel
    sigma: float
    history: History
    architecture: Architecture
    standard: Tensor | None = None
    training_rows: Tensor | None = None
    held_out: Tensor | None = None
    refining: Tensor | None = None
    refinement: Refinement | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    criteria: dict[tuple[str, Unit], Criterion[Any, Any]] = field(default_factory=dict)

    @property
    def reference(self) -> Reference:
        """The model and its reference rows, as criteria and statistics of groups are fitted on them."""
        encoder = self.encoder
        return Reference(
            model=self.model,
            sigma=self.sigma,
            rows=self.standard,
            training_rows=self.training_rows,
            held_out=self.held_out,
            columns=encoder.slots if isinstance(encoder, TableEncoder | FeatureEncoder) else None,
            column_names=encoder.column_names if isinstance(encoder, TableEncoder | FeatureEncoder) else (),
            bin=encoder.bin if isinstance(encoder, ImageEncoder) and encoder.scaling == "levels" else None,
            shape=kept_numbers(encoder),
        )

    def criterion(self, name: str, unit: Unit, home: str) -> Criterion[Any, Any]:
        """A fitted criterion; one of rows or images is fitted when it is first asked for.

        Args:
            name: of the criterion.
            unit: what one score is of.
            home: where it is loaded from, `module:class`.

        Raises:
            ValueError: the member keeps too few reference rows for it; or it is of sequences, of which no
                rows are kept, and newer than the fit.
        """
        if (name, unit) not in self.criteria:
            if isinstance(self.encoder, SequenceEncoder):
                raise ValueError(f"criterion {name!r} was not there when this detector was fitted: fit again")
            self.criteria[name, unit] = load(home)().fit(self.reference)
        return self.criteria[name, unit]


AT_ONCE = 1 << 24  # encoded numbers of held-out rows that are scored at a time


class EncodedRows(ABC):
    """The normal rows as one member encodes them, each once: abstract."""

    @abstractmethod
    def take(self, rows: Indices) -> Tensor:
        """The codes of these rows, as the model is trained on them: `(n, ...)`.

        Args:
            rows: their numbers, sorted.
        """

    @abstractmethod
    def kept(self, rows: Indices) -> Tensor | None:
        """The same to be kept with the model; None where a member keeps none.

        Args:
            rows: their numbers, sorted.
        """

    @abstractmethod
    def held_out_scores(self, criterion: Criterion[Any, Any], rows: Indices, unit: Unit) -> Floats:
        """The scores of the units in held-out rows.

        Args:
            criterion: fitted on others.
            rows: numbers of the held-out rows, sorted.
            unit: what one score is of.
        """


class EncodedPoints(EncodedRows):
    """Rows of a table, or images.

    Args:
        encoder: fitted.
        source: all normal rows.
        codes: `(N, ...)` of all of them, where they are in memory; None where rows are encoded when they are
        needed.
    """

    def __init__(self, encoder: Encoder, source: NormalRows, codes: Tensor | None) -> None:
        self.encoder, self.source, self.codes = encoder, source, codes

    def take(self, rows: Indices) -> Tensor:
        """`(n, ...)` codes.

        Args:
            rows: their numbers, sorted.
        """
        if self.codes is not None:
            return self.codes[torch.from_numpy(rows)]
        return torch.from_numpy(self.encoder.transform(self.source.take(rows)))

    def kept(self, rows: Indices) -> Tensor | None:
        """The same; of features the vectors alone.

        Args:
            rows: their numbers, sorted.
        """
        return to_be_kept(self.encoder, self.take(rows))

    def held_out_scores(self, criterion: Criterion[Any, Any], rows: Indices, unit: Unit) -> Floats:
        """A score for each row.

        Args:
            criterion: fitted on others.
            rows: numbers of the held-out rows, sorted.
            unit: a row or an image.
        """
        step = max(1, AT_ONCE // max(self.encoder.width, 1))
        parts = [rows[start : start + step] for start in range(0, len(rows), step)]
        return np.concatenate([criterion.score(self.take(part)) for part in parts])


class EncodedWindows(EncodedRows):
    """Windows of sequences; each step is encoded once.

    Args:
        encoder: fitted.
        source: all normal sequences and their windows.
    """

    def __init__(self, encoder: SequenceEncoder, source: SequenceRows) -> None:
        self.source = source
        self.codes = encoder.steps(source.sequences)
        self.whole = encoded(self.codes, source.sequences.lengths)

    def take(self, rows: Indices) -> Tensor:
        """`(n, T, D)` codes of windows, NaN behind the end of a shorter one.

        Args:
            rows: their numbers, sorted.
        """
        return torch.from_numpy(self.source.windows_of_codes(self.codes, rows))

    def kept(self, rows: Indices) -> None:
        """None: what is kept of sequences is what a model says of their steps, `kept_steps`.

        Args:
            rows: not used.
        """
        return

    def kept_steps(self, model: EnergyModel, rows: Indices, most: int) -> Tensor | None:
        """What a model with latents says of the steps of windows, in a pass over the whole sequences:
        `(S, D + 2)`; None where none are kept.

        Args:
            model: trained on others.
            rows: numbers of the windows, sorted.
            most: steps at most.
        """
        if not (isinstance(model, RecurrentFlow) and most and rows.size):
            return None
        of_steps = latent_steps(model, self.whole)
        steps = self.source.steps_of(rows)
        gaps = np.cumsum(np.diff(steps, prepend=steps[0]) > 1)
        runs = numbered(gaps, self.whole.owners[steps], most=self.source.window_)
        found = replace(of_steps.take(torch.from_numpy(steps)), runs=torch.from_numpy(runs))
        return found.kept(most).to_tensor()

    def windows(self, rows: Indices) -> EncodedSequences:
        """Windows as sequences of their own.

        Args:
            rows: their numbers, sorted.
        """
        steps, lengths = self.source.steps_in(rows)
        return encoded(self.codes[steps], lengths)

    def held_out_scores(self, criterion: Criterion[Any, Any], rows: Indices, unit: Unit) -> Floats:
        """A score for each held-out window; or for each of their steps, as it comes in a pass over the whole
        sequences.

        Args:
            criterion: fitted on others.
            rows: numbers of the held-out windows, sorted.
            unit: a sequence or a step.
        """
        if unit == "sequence":
            with BLAS_THREADS.at(1):
                return criterion.score(self.windows(rows))
        return self.held_out_steps(criterion, rows).scores

    def held_out_steps(self, criterion: Criterion[Any, Any], rows: Indices) -> Stretches:
        """The scores of the steps of held-out windows, and how they follow each other.

        Args:
            criterion: of steps, fitted on others.
            rows: numbers of the held-out windows, sorted.
        """
        with BLAS_THREADS.at(1):
            scores, steps = finite(criterion.score(self.whole)), self.source.steps_of(rows)
        return Stretches(scores[steps], self.source.stretches(steps), memory_of(scores, self.whole.lengths))

    def band(self, model: EnergyModel, sigma: float, held_out: Indices) -> NDArray[np.float32]:
        """Between which residuals of each encoded channel the middle 90 % of held-out steps lie: `(2, D)`.

        Args:
            model: trained on others.
            sigma: scale of the noise.
            held_out: numbers of the held-out windows, sorted.
        """
        assert isinstance(model, SequenceModel)
        steps = self.source.steps_of(held_out)
        expected = expected_steps(model, self.whole, sigma)
        away = self.codes[steps, : model.width] - expected[steps]
        return np.quantile(away, BAND, axis=0).astype(np.float32)

    def reference(self, model: EnergyModel, sigma: float, smoothing: int, seen: Indices) -> SequenceReference:
        """What criteria of sequences are fitted on.

        Args:
            model: trained on some of the windows that may be seen.
            sigma: scale of the noise.
            smoothing: steps that the score of a step is smoothed over.
            seen: the numbers of the windows that may be seen.
        """
        assert isinstance(model, SequenceModel)
        steps = self.source.steps_of(seen)
        positions = self.source.positions(steps)
        return SequenceReference(model, sigma, smoothing, self.windows(seen), self.whole, steps, positions)


def encoded(codes: NDArray[np.float32], lengths: Indices) -> EncodedSequences:
    """Codes in memory as encoded sequences.

    Args:
        codes: `(S, D)`, sequence after sequence.
        lengths: `(N,)` steps of each sequence.
    """
    return EncodedSequences(lambda start, stop: torch.from_numpy(codes[start:stop]), lengths)


def fitted_sequence_criteria(
    homes: dict[str, str], reference: SequenceReference
) -> dict[tuple[str, Unit], Criterion[Any, Any]]:
    """Every criterion of sequences, for steps and for whole sequences, fitted on the same normal ones.

    Args:
        homes: where each is loaded from, by name.
        reference: a trained model and normal sequences.
    """
    with BLAS_THREADS.at(1):
        return _fitted_criteria(homes, reference)


def _fitted_criteria(
    homes: dict[str, str], reference: SequenceReference
) -> dict[tuple[str, Unit], Criterion[Any, Any]]:
    found: dict[tuple[str, Unit], Criterion[Any, Any]] = {}
    for name, home in homes.items():
        made: type[SequenceCriterion] = load(home)
        whole: type[SequenceCriterion] = load(home_for_unit(name, homes, "sequence"))
        of_steps, of_wholes = made("step").fit(reference), whole("sequence")
        found[name, "step"] = of_steps
        if whole.learns_by_unit:
            found[name, "sequence"] = of_wholes.fit(reference)
        else:
            found[name, "sequence"] = of_wholes.restore(
                reference.model, reference.sigma, reference.smoothing, of_steps.state()
            )
    return found
