"""What the command line asks of a detector beside its public methods, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upland.catalogue import CRITERIA, STATISTICS, Modality, Unit

if TYPE_CHECKING:
    from upland.calibration.conformal import Calibration
    from upland.data.image.encoder import ImageEncoder
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.data.table.encoder import TableEncoder
    from upland.detectors.base import Detector
    from upland.groups.verdicts import GroupVerdicts

# What differs until the estimators of the catalogue are there; elsewhere only the catalogue's names occur.
_ARGUMENTS = {"modality": "kind", "n_nets": "members"}
_CRITERIA = {"multiscale": "combined", "divergence_complexity": "combined", "max_channel": "worst_channel"}
_STATISTICS = {"mmd": "kernel"}
SEQUENCE_CRITERIA = ("reconstruction", "energy", "score_test", "max_channel")
GROUP_STATISTICS = ("divergence", "geometric", "typicality", "likelihood", "projections", "mmd", "stein")


def criteria_of(family: str, modality: Modality) -> list[str]:
    """The criteria that a family of models offers for a modality; none where there is no such estimator."""
    if (family, modality) == ("energy", "sequence"):
        return list(SEQUENCE_CRITERIA)
    return [name for name, criterion in CRITERIA.items() if (family, modality) in criterion.models]


def criterion_names() -> list[str]:
    """All criteria."""
    return list(dict.fromkeys([*CRITERIA, *SEQUENCE_CRITERIA]))


def statistic_names() -> list[str]:
    """All statistics of groups."""
    return ["auto", *(STATISTICS or GROUP_STATISTICS)]


def new_detector(family: str, data: Any, arguments: Mapping[str, Any]) -> Detector:
    """An unfitted detector.

    Args:
        family: What learns.
        data: What it will be fitted on.
        arguments: Of its constructor, and the modality.
    """
    from upland.detectors.energy import EnergyDetector
    from upland.detectors.latent import FlowDetector, VAEDetector

    classes: dict[str, type[Detector]] = {"energy": EnergyDetector, "flow": FlowDetector, "vae": VAEDetector}
    given = {_ARGUMENTS.get(name, name): value for name, value in arguments.items()}
    if "criterion" in given:
        given["criterion"] = _CRITERIA.get(given["criterion"], given["criterion"])
    return classes[family](**given)


def modality_of(detector: Detector) -> Modality:
    """What a detector was fitted on."""
    return detector.kind_


def unit_of(detector: Detector, sequences: Any) -> Unit:
    """What a detector gives one score of for such sequences: each of them, or each step."""
    return detector.data_kind().unit(sequences)


def table_encoder(detector: Detector) -> TableEncoder:
    """The encoder of a detector of tables."""
    from upland.data.table.encoder import TableEncoder

    assert isinstance(detector.encoder_, TableEncoder)
    return detector.encoder_


def sequence_encoder(detector: Detector) -> SequenceEncoder:
    """The encoder of a detector of sequences."""
    from upland.data.sequence.encoder import SequenceEncoder

    assert isinstance(detector.encoder_, SequenceEncoder)
    return detector.encoder_


def image_encoder(detector: Detector) -> ImageEncoder:
    """The encoder of a detector of images."""
    from upland.data.image.encoder import ImageEncoder

    assert isinstance(detector.encoder_, ImageEncoder)
    return detector.encoder_


def kept_rows(detector: Detector) -> int | None:
    """How many normal rows groups are compared with; None where scores are compared."""
    reserve = detector.members_[0].reserve
    return None if reserve is None else len(reserve)


def tested_groups(
    detector: Detector, data: Any, groups: Any, alpha: float, control: Any, statistic: str, reasons: bool
) -> GroupVerdicts:
    """A verdict on each group, as `Detector.score_groups`; reasons only where someone reads them."""
    name = _STATISTICS.get(statistic, statistic)
    return detector.score_groups(data, groups, alpha, control, name, reasons=reasons)


def reasons_of(verdicts: GroupVerdicts) -> list[str]:
    """`marginals`, `dependence` or nothing for each group."""
    return [str(reason) for reason in verdicts.kind]


def info_of(detector: Detector) -> dict[str, Any]:
    """A detector's `info()`; of sequences with the steps that are scored together."""
    from upland.models.recurrent import RecurrentEnergy

    found, model = detector.info(), detector.models_[0]
    info = {"modality" if name == "kind" else name: value for name, value in found.items()}
    if info["modality"] == "sequence":  # groups of them are compared by their scores
        del info["kept_rows"]
    if isinstance(model, RecurrentEnergy):
        info["frame"] = model.frame
    settings = {name: value for name, value in info["settings"].items() if name != "kind"}
    return info | {"settings": settings}


def method_of(calibration: Calibration) -> str:
    """How a calibration came about: `split` or `cross`."""
    return calibration.kind
