"""Which detector a word on the command line means, and what does not go with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from upland.detection import Detector

Family = Literal["energy", "flow", "vae"]

CALLED: dict[Family, str] = {"energy": "an energy", "flow": "a flow", "vae": "a VAE"}
CRITERIA: dict[Family, dict[str, tuple[str, ...]]] = {
    "energy": {
        "table": ("reconstruction", "energy"),
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
    from upland.detectors import EnergyDetector
    from upland.latentdetectors import FlowDetector, VAEDetector

    detectors: dict[str, type[Detector]] = {
        "energy": EnergyDetector,
        "flow": FlowDetector,
        "vae": VAEDetector,
    }
    return detectors[name]


def check_family(name: Family, given: Mapping[str, Any]) -> None:
    """Refuse what does not go with a model.

    Args:
        name: What learns.
        given: The options by their names, the kind of data among them.

    Raises:
        typer.BadParameter: A kind of data, or a criterion, that the model does not know.
    """
    kind = given["kind"]
    if kind not in CRITERIA[name]:
        raise typer.BadParameter(
            f"--model {name} is for tables and images, but these are {kind}s: leave it out, "
            "an energy reads them"
        )
    known = CRITERIA[name][kind]
    if given.get("criterion") not in (None, *known):
        raise typer.BadParameter(
            f"--criterion {given['criterion']} does not go with {CALLED[name]} of {kind}s: "
            f"{', '.join(known)} do"
        )
