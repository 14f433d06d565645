"""The estimator for a user's data, for whoever does not want to choose the class."""

from __future__ import annotations

from typing import Any

from upland.catalogue import DETECTORS, FAMILIES, MODALITIES, Modality, load
from upland.data.modality import modality_of
from upland.detectors.base import Detector


def detector_for(
    X: Any, model: str = "energy", *, modality: Modality | None = None, **params: Any
) -> Detector:
    """An estimator that is not fitted yet, of the class that reads such data.

    Three dimensions of floats, a list of arrays, or `time` or `id` among the parameters are sequences; three
    dimensions of uint8, four dimensions, or a folder of image files are images; all else is a table. A file
    of NumPy's is what its array is.

    Args:
        X: normal data, or the path of a file or folder.
        model: the family of the model: "energy", "flow" or "vae". It names no module: one of your own is
            given to the class itself, as in `EnergyDetector(model=module)`.
        modality: "table", "sequence" or "image" where the data could be several; None goes by the data.
        **params: arguments of the class's constructor.

    Raises:
        FileNotFoundError: X is a path, and nothing is there.
        TypeError: the class has no such argument.
        ValueError: there is no such family or modality, or no estimator for both.

    Examples:
        >>> import numpy as np, upland
        >>> type(upland.detector_for(np.zeros((10, 8, 8), dtype=np.uint8), model="flow")).__name__
        'ImageFlowDetector'
    """
    if not isinstance(model, str) or model not in FAMILIES:
        raise ValueError(f"model must be one of {', '.join(map(repr, FAMILIES))}, got {model!r}")
    if modality is not None and not (isinstance(modality, str) and modality in MODALITIES):
        raise ValueError(f"modality must be one of {', '.join(map(repr, MODALITIES))}, got {modality!r}")
    found = modality or modality_of(X, params.get("time"), params.get("id"))
    if (model, found) not in DETECTORS:
        able = ", ".join(repr(family) for family, of in DETECTORS if of == found)
        raise ValueError(
            f"there is no estimator of {MODALITIES[found]} with model={model!r}: use model={able}"
        )
    made: Detector = load(DETECTORS[model, found].home)(**params)
    return made
