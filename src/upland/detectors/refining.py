"""A detector refined by a few labelled rows: `EnergyDetector.refine`.

Each member is refined by itself (`upland.detectors.refinement`): by the labelled rows as it encodes them, and
by a few of the rows that the fit held out and kept, taken as normal. The p-values are renewed by the other
held-out rows that are kept, scored anew: neither the fit nor the refinement has seen these, so that what the
calibration guaranteed it guarantees still.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.conformal import Calibration, calibration_of_folds
from upland.criteria.base import finite
from upland.criteria.experts import Experts
from upland.data.table.frames import held, view_table
from upland.detectors.ensemble import Member
from upland.detectors.refinement import ENOUGH, Cases, Refinement, chosen
from upland.groups.labels import labels_by, listed
from upland.io.advice import Advice, Argument, Wording
from upland.io.cells import as_number
from upland.models.blocks import blocks_of
from upland.models.experts import PARTS, ProductOfExperts
from upland.models.tilt import tilt_features

if TYPE_CHECKING:
    from upland.detectors.base import Detector

Labels = NDArray[np.bool_]

SPARED, SPARED_SHARE = 50, 4
"""Held-out rows that are taken as normal, and one of how many, at most."""
STAYING = (99, 19)
"""Calibration rows that stay where there are as many: for alpha = 0.01, for alpha = 0.05."""
CRITERION = "experts"
TRUTH = {"true": 1.0, "false": 0.0}
"""Labels of files that keep true and false as text."""


def refined(detector: Detector, X: Any, y: Any) -> tuple[list[Member], Calibration]:
    """The members as labelled rows refine them, and the calibration on held-out rows that they have not seen.

    Args:
        detector: fitted, with a product of experts.
        X: labelled rows.
        y: `(N,)` 1 for anomalies, 0 for normal rows; or the name of a column of X that is no feature.

    Raises:
        ValueError: the model has no parts to weigh, is scored by something else, or keeps too few rows; or a
            label is not as it must be.
    """
    detector.check_fitted()
    check_model(detector)
    codes, labels = _labelled(detector, held(X), y)
    parted = _parted(detector)
    if (normals := int((~labels).sum())) + min(len(spared) for spared, _ in parted) < 2:
        few = "no row is labelled" if normals == 0 else "only one row is labelled"
        raise ValueError(f"{few} normal, and too few are held out in its place: label {ENOUGH} rows with 0")
    members = [
        _refined(member, x, labels, spared, kept)
        for member, x, (spared, kept) in zip(detector.members_, codes, parted, strict=True)
    ]
    return members, _calibrated(detector, members)


def check_model(detector: Detector) -> None:
    """Refuse a detector that labels change nothing of; raises ValueError.

    Args:
        detector: fitted.
    """
    name = detector.plan_.architecture.name
    if not all(isinstance(member.model, ProductOfExperts) for member in detector.members_):
        right = Wording("EnergyDetector(energy='experts')", "a table with --model energy")
        raise ValueError(
            Advice(f"refining weighs the parts of experts, and the model is a {name}: fit ", right)
        )
    if (asked := detector.criterion_of(detector.unit_)) != CRITERION:
        raise ValueError(
            Advice(f"refining changes nothing of criterion {asked!r}: use ", Argument("criterion", CRITERION))
        )
    if any(member.held_out is None for member in detector.members_):
        raise ValueError(
            Advice(
                "refining calibrates on normal rows that the fit has held out, and none are kept: fit with ",
                Argument("keep_rows", 2000),
            )
        )


# -- labelled rows -------------------------------------------------------------------------------------------


def _labelled(detector: Detector, X: Any, y: Any) -> tuple[list[Tensor], Labels]:
    """The rows as each member encodes them, and which of them are anomalies."""
    pieces = list(detector.plan_.reader.pieces(X, detector.encoder_))
    if isinstance(y, str):
        features = {used["name"] for used in detector.encoder_.describe()}
        y = [label for piece in pieces for label in _labels_in(piece, y, features)]
    codes = [
        torch.cat([detector.encode(member.encoder, piece) for piece in pieces])
        for member in detector.members_
    ]
    return codes, anomalies_among(y, len(codes[0]))


def _labels_in(piece: Any, column: str, features: Collection[str]) -> list[Any]:
    """The labels in a column that the detector does not use."""
    if column in features:
        ignored = Argument("ignore", [column])
        raise ValueError(Advice(f"column {column!r} is a feature of this detector: fit with ", ignored))
    rows = view_table(piece)
    if rows.naming == "none" or column not in rows.names:
        there = ", ".join(map(repr, rows.names[:8])) if rows.naming != "none" else "no names"
        raise ValueError(f"there is no column {column!r} of labels; the table has {there}")
    return labels_by(piece, (column,), features)


def anomalies_among(y: Any, rows: int) -> Labels:
    """Which rows are labelled 1: `(N,)`.

    Args:
        y: `(N,)` labels, 1 or 0, in any container.
        rows: N.

    Raises:
        ValueError: they are not one for each row, one is neither, or there is no anomaly.
    """
    try:
        labels = [label.item() if isinstance(label, np.generic) else label for label in listed(y)]
    except (TypeError, ValueError):
        raise ValueError("y must be one label for each row, (N,), or the name of a column") from None
    if len(labels) != rows:
        raise ValueError(f"there are {rows} labelled rows, but y has {len(labels)} labels")
    numbers = [_number(label) if isinstance(label, str) else label for label in labels]
    for row, (number, label) in enumerate(zip(numbers, labels, strict=True)):
        if not isinstance(number, int | float) or number not in (0, 1):
            place = Wording(f"row {row}", f"row {row + 1}")
            must = "labels must be 1 for anomalies and 0 for normal rows; "
            raise ValueError(Advice(must, place, f" has {label!r}"))
    found: Labels = np.array(numbers, dtype=np.float64) == 1
    if not found.any():
        raise ValueError("no row is labelled an anomaly: label one with 1 at least")
    return found


def _number(word: str) -> float | None:
    """The number that a label is as text, also that of true and false; or None."""
    return TRUTH.get(word.strip().lower(), as_number(word))


# -- held-out rows -------------------------------------------------------------------------------------------


def _parted(detector: Detector) -> list[tuple[Tensor, Tensor]]:
    """For each member the held-out rows that are taken as normal, and those that calibrate.

    Rows that a refinement took before are taken again.
    """
    generator = detector.plan_.stream("refining")
    members = detector.members_
    cross = detector.calibration_.method == "cross"
    sizes = [len(member.held_out) for member in members if member.held_out is not None]
    share = spared_rows(sum(sizes)) // len(members) if cross else spared_rows(sizes[0])
    order = generator.permutation(max(sizes))
    parted = []
    for member in members:
        assert member.held_out is not None
        if member.refining is not None:
            parted.append((member.refining, member.held_out))
            continue
        count = min(share, len(member.held_out) - 1)
        own = order[order < len(member.held_out)]
        spared, kept = (torch.from_numpy(np.sort(rows)) for rows in (own[:count], own[count:]))
        parted.append((member.held_out[spared], member.held_out[kept]))
    return parted


def spared_rows(held_out: int) -> int:
    """How many of the held-out rows are taken as normal ones beside the labelled.

    Args:
        held_out: rows that calibrate so far.
    """
    stay = next((enough for enough in STAYING if held_out >= enough), held_out)
    return min(SPARED, held_out // SPARED_SHARE, held_out - stay)


# -- members -------------------------------------------------------------------------------------------------


def _refined(member: Member, x: Tensor, labels: Labels, spared: Tensor, kept: Tensor) -> Member:
    """One member with the weights and log odds of the labelled rows, in place of any earlier ones."""
    model = copy.deepcopy(member.model)
    assert isinstance(model, ProductOfExperts)
    usual = torch.tensor([PARTS[name] for name in model.parts], dtype=torch.float64).numpy()
    which = torch.from_numpy(labels)
    normals = [rows for rows in (x[~which], spared) if len(rows)]
    weights = np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in normals])
    anomalies = _cases(model, x[which], np.ones(int(which.sum())))
    others = _cases(model, torch.cat(normals), weights)
    choice = chosen(anomalies, others, usual, careful=int((~labels).sum()) < ENOUGH)
    changes = choice.changes
    if choice.shrinkage is None:
        model.refine(None, None)
    else:
        tilt = np.append(changes.coefficients, changes.constant)
        model.refine(torch.from_numpy(changes.weights), torch.from_numpy(tilt))
    rates = (choice.before.auroc, choice.after.auroc)
    said = (int((~labels).sum()), len(spared), choice.shrinkage, *rates)
    return replace(
        member,
        model=model,
        held_out=kept,
        refining=spared if len(spared) else None,
        refinement=Refinement(int(labels.sum()), *said),
        criteria={},
    )


def _cases(model: ProductOfExperts, x: Tensor, weights: NDArray[np.float64]) -> Cases:
    """Encoded rows as the refinement takes them."""
    cubes, features = blocks_of(_inputs, model, x, 1.0)
    return Cases(cubes.numpy(), features.numpy(), weights)


def _inputs(model: Any, x: Tensor, sigma: float) -> list[Tensor]:
    """What each part says of rows, and what log odds are linear in."""
    return [model.cubes(x).T, tilt_features(x)]


def _calibrated(detector: Detector, members: Sequence[Member]) -> Calibration:
    """The calibration on the held-out rows of the members."""
    scores = [
        finite(Experts().fit(member.reference).score(member.held_out))
        for member in members
        if member.held_out is not None
    ]
    if detector.calibration_.method == "cross":
        return calibration_of_folds(scores, cross=True)
    return Calibration(np.stack(scores, axis=1).mean(axis=1))
