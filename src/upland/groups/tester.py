"""Tests of whole groups with one fitted model: its statistics, and verdicts by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from upland.calibration.conformal import Floats
from upland.calibration.false_discovery import Control
from upland.catalogue import STATISTICS, load
from upland.groups.base import Statistic
from upland.groups.joint import LARGEST, JointStatistic
from upland.groups.labels import largest_group
from upland.groups.outputs import LEAST_REFERENCE, ModelOutputs, Reference
from upland.groups.reasons import Reasons, regions
from upland.groups.verdicts import Comparison, GroupVerdicts, verdicts_on
from upland.io.advice import Advice, Argument, Estimator
from upland.models.base import EnergyModel, Latent


def needs_score(name: str, model: EnergyModel) -> bool:
    """Whether a statistic of this model's outputs goes by the gradient of log p.

    Args:
        name: one of `upland.catalogue.STATISTICS`.
        model: whose outputs it is of.
    """
    needs = STATISTICS[name].needs
    return needs == "score" or (needs == "latents or score" and not isinstance(model, Latent))


def check_statistic(name: str, model: EnergyModel) -> None:
    """Refuse a statistic that there is not, or not of such a model.

    Args:
        name: as a user gave it.
        model: whose outputs it is of.

    Raises:
        ValueError: there is no such statistic.
        TypeError: it is of latents, and the model has none.
    """
    if name not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(map(repr, STATISTICS))}, got {name!r}")
    if STATISTICS[name].needs == "latents" and not isinstance(model, Latent):
        others = ", ".join(repr(other) for other, entry in STATISTICS.items() if entry.needs != "latents")
        raise TypeError(
            Advice(
                f"{name!r} is of latents, and the model has none: fit with ",
                Estimator("flow"),
                " or ",
                Estimator("vae"),
                f", or use one of the statistics {others}",
            )
        )


def check_of_scores(name: str) -> None:
    """Refuse a statistic that needs more than anomaly scores.

    Args:
        name: as a user gave it.

    Raises:
        TypeError: it is none of those of scores.
    """
    possible = [other for other, entry in STATISTICS.items() if entry.of_scores]
    if name not in possible:
        raise TypeError(
            Advice(
                "groups of sequences are tested by their anomaly scores: ",
                Argument("statistic"),
                f" is one of {', '.join(map(repr, possible))}",
            )
        )


def fit_statistic(
    name: str, reference: Reference, outputs: ModelOutputs | None = None, largest: int = LARGEST
) -> Statistic:
    """A statistic, fitted on a model's normal rows.

    Args:
        name: one of `upland.catalogue.STATISTICS`.
        reference: the model and its normal rows.
        outputs: of the model for the reference rows, where they are there already.
        largest: rows of the groups that will be asked about, at most.

    Raises:
        ValueError: too few rows are kept, or there is no such statistic.
        TypeError: it is of latents, and the model has none.
    """
    check_statistic(name, reference.model)
    score = needs_score(name, reference.model)
    outputs = outputs or reference.outputs(reference.reference_rows(), score)
    statistic: Statistic = load(STATISTICS[name].home)(outputs)
    training = reference.training_rows
    if not isinstance(statistic, JointStatistic):
        return statistic.fit(outputs)
    if training is None or len(training) < len(outputs.energy):
        return statistic.fit(outputs, largest=largest)
    return statistic.fit(outputs, reference.outputs(training, score), largest)


class GroupTester:
    """Tests groups of encoded rows against the normal rows kept with one model.

    Statistics and the reference of reasons are fitted on first use and kept as long as this object lives; it
    holds no other state, so that the order of calls changes nothing.

    Args:
        reference: the model and its normal rows.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._statistics: dict[str, Statistic] = {}
        self._reasons: Reasons | None = None

    def statistic(self, name: str, largest: int = LARGEST) -> Statistic:
        """The fitted statistic of this name.

        Args:
            name: one of `upland.catalogue.STATISTICS`.
            largest: rows of the groups that will be asked about, at most.

        Raises:
            ValueError: too few rows are kept, or there is no such statistic.
            TypeError: it is of latents, and the model has none.
        """
        known = self._statistics.get(name)
        if known is None or not known.reaches(largest):  # a second time for groups of any size
            most = largest if known is None else LARGEST
            self._statistics[name] = fit_statistic(name, self.reference, largest=most)
        return self._statistics[name]

    def held_out(self) -> Tensor:
        """The normal rows `(R, ...)` that groups are compared with; raises ValueError where none are kept."""
        rows = self.reference.held_out
        if rows is None or not len(rows):
            text = "no normal rows are kept to compare groups with: fit with "
            raise ValueError(Advice(text, Argument("keep_rows"), " above 0"))
        return rows

    def check(self, statistic: str, largest: int = LARGEST) -> None:
        """Refuse what `test` would refuse, whatever the rows.

        Args:
            statistic: a name.
            largest: rows of the groups that will be asked about, at most.

        Raises:
            ValueError: too few rows are kept, or there is no such statistic.
            TypeError: it is of latents, and the model has none.
        """
        self.statistic(statistic, largest)
        self.held_out()

    def test(
        self, x: Tensor, labels: Any, alpha: float, control: Control, statistic: str, reasons: bool = True
    ) -> GroupVerdicts:
        """A verdict on every group of encoded rows, in order of first appearance.

        Args:
            x: `(N, ...)` the rows.
            labels: `(N,)` the group of each.
            alpha: the rate to keep, in (0, 1).
            control: "fdr" keeps the false discovery rate at alpha, "false_alarm" the false-alarm rate.
            statistic: one of `upland.catalogue.STATISTICS`.
            reasons: whether verdicts say which columns or regions contribute; it takes about as long as the
                rest.

        Raises:
            ValueError: too few normal rows are kept, there is no such statistic, labels and rows differ in
                number, or a row has no group.
            TypeError: the statistic is of latents, and the model has none.
        """
        why = self.reasons() if reasons else None
        comparison = self.comparison(statistic, largest_group(labels))
        return verdicts_on(x, labels, comparison, alpha, control, why)

    def comparison(self, statistic: str, largest: int = LARGEST) -> Comparison:
        """What groups are compared by, and with.

        Args:
            statistic: one of `upland.catalogue.STATISTICS`.
            largest: rows of the groups that will be asked about, at most.

        Raises:
            ValueError: too few normal rows are kept, or there is no such statistic.
            TypeError: the statistic is of latents, and the model has none.
        """
        fitted, held_out = self.statistic(statistic, largest), self.held_out()
        score = needs_score(statistic, self.reference.model)

        def outputs(rows: Tensor) -> ModelOutputs:
            return self.reference.outputs(rows, score)

        return Comparison(fitted, outputs, held_out)

    def reasons(self) -> Reasons:
        """What finds the contributing columns or regions of a group."""
        if self._reasons is None:
            of = self.reference
            if of.columns is None:
                names, columns = regions(of.shape)
            else:
                names, columns = of.column_names, torch.from_numpy(of.columns)
            self._reasons = Reasons(of.reference_rows(), names, columns)
        return self._reasons


def verdicts_from_scores(
    normal: Floats, scores: Floats, labels: Any, alpha: float, control: Control, statistic: str
) -> GroupVerdicts:
    """A verdict on every group by anomaly scores alone.

    Args:
        normal: `(R,)` scores of held-out normal data; the statistic is fitted on half of them.
        scores: `(N,)`.
        labels: `(N,)` the group of each.
        alpha: the rate to keep, in (0, 1).
        control: "fdr" or "false_alarm".
        statistic: one of `upland.catalogue.STATISTICS` that is `of_scores`.

    Raises:
        TypeError: the statistic needs more than scores.
        ValueError: there are too few normal scores, labels and scores differ in number or shape, one has no
            group, or a score is NaN.
    """
    check_of_scores(statistic)
    if len(normal) < 2 * LEAST_REFERENCE:
        raise ValueError(f"{len(normal)} held-out scores are too few to test groups: fit on more sequences")
    if scores.ndim != 1:
        text = f"groups are of scores (N,), but these are {scores.shape}: fit with "
        raise ValueError(Advice(text, Argument("per", "sequence")))
    if lost := int(np.isnan(scores).sum()):
        raise ValueError(f"{lost} of {len(scores)} have no score, so that no group can be tested")
    mixed = torch.from_numpy(np.random.default_rng(0).permutation(normal))[:, None]
    half = len(mixed) // 2
    outputs = _of_scores(mixed[:half])
    made: Statistic = load(STATISTICS[statistic].home)(outputs)
    comparison = Comparison(made.fit(outputs), _of_scores, mixed[half:])
    return verdicts_on(torch.from_numpy(scores)[:, None], labels, comparison, alpha, control, None)


def _of_scores(scores: Tensor) -> ModelOutputs:
    """Scores `(N, 1)` as outputs of a model: rows of one number, which is their energy."""
    return ModelOutputs(scores, scores[:, 0], [])
