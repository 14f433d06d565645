"""Anomaly detection with energy models: normal data lie low, anomalies stand on high ground.

The public names below are loaded on first use, so that `import upland` costs neither torch nor scikit-learn.

Examples:
    >>> import upland
    >>> upland.__version__
    '0.1.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upland.calibration import benjamini_hochberg, conformal_p_values
    from upland.data.images import ImageEncoder
    from upland.data.steps import SequenceEncoder
    from upland.data.tables import TableEncoder
    from upland.detectors import EnergyDetector
    from upland.explanation import Explanation, ImageExplanation, SequenceExplanation, explain
    from upland.groupcontract import GroupVerdicts
    from upland.latentdetectors import FlowDetector, VAEDetector
    from upland.persistence import load, save
    from upland.pyod import as_pyod

__version__ = "0.1.0"

__all__ = [
    "EnergyDetector",
    "Explanation",
    "FlowDetector",
    "GroupVerdicts",
    "ImageEncoder",
    "ImageExplanation",
    "SequenceEncoder",
    "SequenceExplanation",
    "TableEncoder",
    "VAEDetector",
    "__version__",
    "as_pyod",
    "benjamini_hochberg",
    "conformal_p_values",
    "explain",
    "load",
    "save",
]

_HOMES = {
    "EnergyDetector": "upland.detectors",
    "Explanation": "upland.explanation",
    "FlowDetector": "upland.latentdetectors",
    "GroupVerdicts": "upland.groupcontract",
    "ImageEncoder": "upland.data.images",
    "ImageExplanation": "upland.explanation",
    "SequenceEncoder": "upland.data.steps",
    "SequenceExplanation": "upland.explanation",
    "TableEncoder": "upland.data.tables",
    "VAEDetector": "upland.latentdetectors",
    "as_pyod": "upland.pyod",
    "benjamini_hochberg": "upland.calibration",
    "conformal_p_values": "upland.calibration",
    "explain": "upland.explanation",
    "load": "upland.persistence",
    "save": "upland.persistence",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'upland' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
