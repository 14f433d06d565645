"""Unsupervised and one-class anomaly detection with deep generative models: tables, sequences, images,
groups.

The public names below are loaded on first use, so that `import upland` costs neither torch nor scikit-learn.

Examples:
    >>> import upland
    >>> upland.__version__
    '0.2.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upland.adapters.pyod import as_pyod
    from upland.calibration.conformal import conformal_p_values
    from upland.calibration.false_discovery import benjamini_hochberg
    from upland.counterfactuals.result import Counterfactual
    from upland.data.image.augmentation import augment_images
    from upland.data.image.encoder import ImageEncoder
    from upland.data.image.mvtec import load_mvtec
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.data.table.encoder import TableEncoder
    from upland.detectors.auto import detector_for
    from upland.detectors.image import ImageEnergyDetector, ImageVAEDetector
    from upland.detectors.image_flow import ImageFlowDetector
    from upland.detectors.segmented import SegmentedDetector
    from upland.detectors.sequence import SequenceEnergyDetector
    from upland.detectors.sequence_flow import SequenceFlowDetector
    from upland.detectors.table import EnergyDetector
    from upland.detectors.table_latent import FlowDetector, VAEDetector
    from upland.explanation import Explanation, ImageExplanation, SequenceExplanation, explain
    from upland.groups.verdicts import GroupVerdicts
    from upland.persistence import load, save
    from upland.reporting.report import Report, report
    from upland.scoring.alarm_history import Alarms, alarms
    from upland.scoring.episode_list import EpisodeList, episodes
    from upland.scoring.scorer import Scorer
    from upland.watch.decision import Decision
    from upland.watch.watch import Watch

__version__ = "0.2.0"

__all__ = [
    "Alarms",
    "Counterfactual",
    "Decision",
    "EnergyDetector",
    "EpisodeList",
    "Explanation",
    "FlowDetector",
    "GroupVerdicts",
    "ImageEncoder",
    "ImageEnergyDetector",
    "ImageExplanation",
    "ImageFlowDetector",
    "ImageVAEDetector",
    "Report",
    "Scorer",
    "SegmentedDetector",
    "SequenceEncoder",
    "SequenceEnergyDetector",
    "SequenceExplanation",
    "SequenceFlowDetector",
    "TableEncoder",
    "VAEDetector",
    "Watch",
    "__version__",
    "alarms",
    "as_pyod",
    "augment_images",
    "benjamini_hochberg",
    "conformal_p_values",
    "detector_for",
    "episodes",
    "explain",
    "load",
    "load_mvtec",
    "report",
    "save",
]

_HOMES = {
    "Alarms": "upland.scoring.alarm_history",
    "Counterfactual": "upland.counterfactuals.result",
    "Decision": "upland.watch.decision",
    "EnergyDetector": "upland.detectors.table",
    "EpisodeList": "upland.scoring.episode_list",
    "Explanation": "upland.explanation",
    "FlowDetector": "upland.detectors.table_latent",
    "GroupVerdicts": "upland.groups.verdicts",
    "ImageEncoder": "upland.data.image.encoder",
    "ImageEnergyDetector": "upland.detectors.image",
    "ImageExplanation": "upland.explanation",
    "ImageFlowDetector": "upland.detectors.image_flow",
    "ImageVAEDetector": "upland.detectors.image",
    "Report": "upland.reporting.report",
    "Scorer": "upland.scoring.scorer",
    "SegmentedDetector": "upland.detectors.segmented",
    "SequenceEncoder": "upland.data.sequence.encoder",
    "SequenceEnergyDetector": "upland.detectors.sequence",
    "SequenceExplanation": "upland.explanation",
    "SequenceFlowDetector": "upland.detectors.sequence_flow",
    "TableEncoder": "upland.data.table.encoder",
    "VAEDetector": "upland.detectors.table_latent",
    "alarms": "upland.scoring.alarm_history",
    "Watch": "upland.watch.watch",
    "as_pyod": "upland.adapters.pyod",
    "augment_images": "upland.data.image.augmentation",
    "benjamini_hochberg": "upland.calibration.false_discovery",
    "conformal_p_values": "upland.calibration.conformal",
    "detector_for": "upland.detectors.auto",
    "episodes": "upland.scoring.episode_list",
    "explain": "upland.explanation",
    "load": "upland.persistence",
    "load_mvtec": "upland.data.image.mvtec",
    "report": "upland.reporting.report",
    "save": "upland.persistence",
}


_PACKAGES = ("mlflow",)
"""Packages that are used by their own name, as in `upland.mlflow.log_model`."""


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return import_module(f"upland.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'upland' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
