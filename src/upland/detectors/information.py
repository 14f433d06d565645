"""What a fitted detector is, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from upland import __version__
from upland.calibration.block_calibration import BlockCalibration
from upland.calibration.conformal import GUARANTEES, OF_CUT_SEQUENCES, OF_STEPS, Calibration
from upland.data.image.features import VectorsAlone
from upland.data.image.reader import ImageReader
from upland.data.sequence.reader import SequenceReader
from upland.detectors.arguments import plain_argument
from upland.detectors.baselines import held_out_losses
from upland.detectors.ensemble import Member
from upland.detectors.features.own import OwnFeatures
from upland.detectors.plan import FitPlan
from upland.models.base import NoiseConditional
from upland.models.experts import ProductOfExperts
from upland.models.multiscale import MultiscaleEnergy


def description(
    arguments: Mapping[str, Any],
    plan: FitPlan,
    members: Sequence[Member],
    history: Sequence[Mapping[str, Any]],
    calibration: Calibration,
    rows: int,
    blocks: BlockCalibration | None = None,
) -> dict[str, Any]:
    """Data, settings, noise, calibration, training and versions.

    Args:
        arguments: of the constructor.
        plan: of the fit.
        members: as fitted.
        history: of their trainings.
        calibration: of the unit of the fit.
        rows: how many normal rows, images or windows there were.
        blocks: the calibration of episodes of steps; None where there is none.
    """
    encoder, unit = members[0].encoder, plan.unit
    return {
        "rows": rows,
        "columns": encoder.describe(),
        "encoded_width": encoder.width,
        "settings": {
            name: plain_argument(value)
            for name, value in arguments.items()
            if name not in ("model", "device", "progress")
        }
        | _features(plan),
        "architecture": members[0].architecture.to_json(),
        "noise": [_noise(member) for member in members],
        "prior": _prior(members, rows),
        "kept_rows": {
            "reference": 0 if members[0].standard is None else len(members[0].standard),
            "held_out": 0 if members[0].held_out is None else len(members[0].held_out),
        },
        "calibration": {
            "method": calibration.method,
            "rows": calibration.size,
            "smallest_p": calibration.smallest_p,
            "of": unit,
            "guarantee": _guarantee(plan, calibration),
            **({} if blocks is None or unit != "step" else {"blocks": blocks.to_json()}),
        },
        "training": [
            {k: h[k] for k in ("stopped", "best_step", "seconds")}
            | held_out_losses(h)
            | {"steps": h["steps"][-1] if h["steps"] else 0}
            for h in history
        ],
        **_refinement(members),
        "versions": {"upland": __version__}
        | {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
    }


def _features(plan: FitPlan) -> dict[str, str]:
    """The features of images that the fit resolved, or what those of the user's own are."""
    if not isinstance(plan.reader, ImageReader) or plan.reader.features is None:
        return {}
    source = plan.reader.source
    source = source.source if isinstance(source, VectorsAlone) else source
    if isinstance(source, OwnFeatures):
        return {"features": f"{source.label}, SHA-256 {source.digest}"}
    return {"features": plan.reader.features}


def _refinement(members: Sequence[Member]) -> dict[str, Any]:
    """What labelled rows have changed of each member, and its weights of parts; nothing where none have."""
    found = []
    for member in members:
        if member.refinement is not None and isinstance(member.model, ProductOfExperts):
            shares = zip(member.model.parts, member.model.shares_of_parts.tolist(), strict=True)
            found.append({**asdict(member.refinement), "weights": {name: round(w, 4) for name, w in shares}})
    return {"refinement": found} if found else {}


def _guarantee(plan: FitPlan, calibration: Calibration) -> str:
    """What the p-values of the fit's unit guarantee."""
    if plan.unit == "step":
        return OF_STEPS
    cut = isinstance(plan.reader, SequenceReader) and plan.reader.window is not None
    return OF_CUT_SEQUENCES if cut else GUARANTEES[calibration.method]


def _noise(member: Member) -> float | list[float] | None:
    """Sigma, or all the scales that score; None for a model without noise."""
    model = member.model
    if member.architecture.in_closed_form:
        return None
    return list(model.scales) if isinstance(model, NoiseConditional) else member.sigma


def _kept_by_model(members: Sequence[Member], rows: int) -> int:
    """How many training rows the models of the members stand on, at most."""
    models = [member.model for member in members]
    kept = sum(
        len(model.rows) for model in models if isinstance(model, ProductOfExperts) and model.keeps_rows
    )
    return min(kept, rows)


def _prior(members: Sequence[Member], rows: int) -> dict[str, Any]:
    """What a multi-scale energy is added to, and how many training rows the members keep for it at most."""
    if isinstance(members[0].model, ProductOfExperts):
        kept = _kept_by_model(members, rows)
        return {"name": "kernel" if kept else "centre", "training_rows": kept}
    priors = [m.model.prior for m in members if isinstance(m.model, MultiscaleEnergy)]
    sizes = [len(prior.centres) for prior in priors if prior is not None]
    if priors and priors[0] is not None:
        if priors[0].clusters:
            return {"name": "mixture", "training_rows": 0, "clusters": sizes}
        return {"name": "kernel", "training_rows": min(sum(sizes), rows)}
    return {"name": "centre", "training_rows": 0}
