"""Which detector a word on the command line means, and what does not go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import typer

from upland.cli.inputs import PLURAL

if TYPE_CHECKING:
    from pathlib import Path

    from upland.catalogue import Modality as Kind
    from upland.detectors.base import Detector

Family = Literal["energy", "flow", "vae"]

CRITERIA: dict[Family, dict[Kind, tuple[str, ...]]] = {
    "energy": {
        "table": ("combined", "reconstruction", "energy"),
        "image": ("reconstruction", "energy"),
        "sequence": ("reconstruction", "energy", "score_test", "worst_channel"),
    },
    "flow": {
        "table": ("likelihood", "typicality", "divergence"),
        "image": ("combined", "divergence", "likelihood", "typicality", "complexity"),
    },
    "vae": {
        "table": ("reconstruction", "likelihood", "typicality", "divergence"),
        "image": ("reconstruction", "combined", "divergence", "likelihood", "typicality", "complexity"),
    },
}


def family(name: Family) -> type[Detector]:
    """The detector of this name."""
    from upland.detectors.energy import EnergyDetector
    from upland.detectors.latent import FlowDetector, VAEDetector

    detectors: dict[str, type[Detector]] = {
        "energy": EnergyDetector,
        "flow": FlowDetector,
        "vae": VAEDetector,
    }
    return detectors[name]


def check_family(name: Family, path: Path, given: Mapping[str, Any]) -> None:
    """Refuse what does not go with a model.

    Args:
        name: What learns.
        path: DATA.
        given: The options by their names, the kind of data among them.

    Raises:
        typer.BadParameter: A kind of data, or a criterion, that the model does not know.
    """
    kind: Kind = given["kind"]
    known = CRITERIA[name]
    if kind not in known:
        raise typer.BadParameter(
            f"--model {name} reads tables and images, but {path} is taken for {PLURAL[kind]}: "
            "leave --model out, an energy reads them"
        )
    if others := sorted({"prior", "members"} & given.keys()) if name != "energy" else []:
        raise typer.BadParameter(f"--{others[0]} is of an energy, not of --model {name}: leave it out")
    criterion = given.get("criterion")
    if criterion not in (None, *known[kind]):
        able = [other for other in CRITERIA if criterion in CRITERIA[other].get(kind, ())]
        instead = f", or take --model {' or '.join(able)}" if able else ""
        raise typer.BadParameter(
            f"--criterion {criterion} does not go with --model {name} on {PLURAL[kind]}: "
            f"choose from {', '.join(known[kind])}{instead}"
        )
