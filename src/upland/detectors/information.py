"""What a fitted detector tells about itself, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from upland import __version__
from upland.calibration.conformal import GUARANTEES, OF_STEPS, Calibration
from upland.detectors.arguments import plain_argument
from upland.detectors.fitting import Member
from upland.detectors.kinds import Unit
from upland.models.base import NoiseConditional
from upland.models.multiscale import MultiscaleEnergy


def _noise(member: Member) -> float | list[float]:
    """Sigma, or all the scales that score."""
    model = member.model
    return list(model.scales) if isinstance(model, NoiseConditional) else member.sigma


def _prior(members: Sequence[Member], rows: int) -> dict[str, Any]:
    """What a multi-scale energy stands on, and how many training rows the members keep at most."""
    kernels = [m.model.prior for m in members if isinstance(m.model, MultiscaleEnergy)]
    sizes = [len(kernel.centres) for kernel in kernels if kernel is not None]
    if kernels and kernels[0] is not None:
        if kernels[0].clusters:
            return {"kind": "mixture", "training_rows": 0, "clusters": sizes}
        return {"kind": "kernel", "training_rows": min(sum(sizes), rows)}
    return {"kind": "centre", "training_rows": 0}


def told(
    arguments: Mapping[str, Any],
    members: Sequence[Member],
    history: Sequence[Mapping[str, Any]],
    known: Calibration,
    unit: Unit,
    rows: int,
) -> dict[str, Any]:
    """Data, settings, noise, calibration, training and versions.

    Args:
        arguments: of the constructor.
        members: as fitted.
        history: of their trainings.
        known: the calibration.
        unit: what one score is of.
        rows: how many normal rows, images or windows there were.
    """
    encoder = members[0].encoder
    return {
        "rows": rows,
        "columns": encoder.describe(),
        "encoded_width": encoder.width,
        "settings": {
            name: plain_argument(value)
            for name, value in arguments.items()
            if name not in ("model", "device", "progress")
        },
        "noise": [_noise(member) for member in members],
        "prior": _prior(members, rows),
        "kept_rows": {
            "to_learn_from": 0 if members[0].standard is None else len(members[0].standard),
            "to_compare_with": 0 if members[0].reserve is None else len(members[0].reserve),
        },
        "calibration": {
            "method": known.method,
            "rows": known.size,
            "smallest_p": known.smallest_p,
            "of": unit,
            "guarantee": OF_STEPS if unit == "step" else GUARANTEES[known.method],
        },
        "training": [
            {k: h[k] for k in ("stopped", "best_step", "seconds")}
            | {
                "held_out_loss": min(h["validation"], default=None),
                "steps": h["steps"][-1] if h["steps"] else 0,
            }
            for h in history
        ],
        "versions": {"upland": __version__}
        | {name: version(name) for name in ("torch", "numpy", "scikit-learn")},
    }
