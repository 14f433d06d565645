"""How well heat maps find the pixels of defects: AUROC of pixels, and AUPRO.

**AUPRO** (Bergmann et al., *The MVTec Anomaly Detection Dataset*, IJCV 2021, section 5): the per-region
overlap of a threshold is the mean, over the connected regions of the ground truth of all pictures, of the
share of the region that lies at or above the threshold. It is integrated over the share of normal pixels at
or above the threshold (false positives), from 0 to 30 %, and divided by .3. Regions are connected by sides
and corners.

With pixels of a region of size n weighted by 1 / n, the overlap is the true positive rate of scikit-learn's
`roc_curve`, so that every threshold is used, and none is approximated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import auc, roc_auc_score, roc_curve

Heat = NDArray[np.floating]
Mask = NDArray[np.bool_]

LIMIT = 0.3
"""False positives up to which AUPRO is integrated."""


def measures(heat: Heat, masks: Mask) -> dict[str, float]:
    """AUROC of the pixels and AUPRO of heat maps `(N, H, W)` against masks of the same shape."""
    return {"pixel_auroc": pixel_auroc(heat, masks), "aupro": aupro(heat, masks)}


def pixel_auroc(heat: Heat, masks: Mask) -> float:
    """AUROC of all pixels of all pictures together."""
    check(heat, masks)
    return float(roc_auc_score(masks.ravel(), heat.ravel()))


def aupro(heat: Heat, masks: Mask, limit: float = LIMIT) -> float:
    """Area under the per-region overlap up to a share of false positives, divided by this share."""
    check(heat, masks)
    if not 0 < limit <= 1:
        raise ValueError(f"limit is a share of false positives, above 0 and up to 1, got {limit}")
    weights = np.concatenate([region_weights(mask).ravel() for mask in masks])
    false, overlap, _ = roc_curve(masks.ravel(), heat.ravel(), sample_weight=weights)
    inside = false <= limit
    at_limit = np.interp(limit, false, overlap)
    false, overlap = np.append(false[inside], limit), np.append(overlap[inside], at_limit)
    return float(auc(false, overlap) / limit)


def region_weights(mask: Mask) -> NDArray[np.float64]:
    """Of each pixel: 1 outside regions, one over the size of its region within."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel()).astype(np.float64)
    sizes[0] = 1.0
    return np.asarray(1 / sizes[labels], dtype=np.float64)


def check(heat: Heat, masks: Mask) -> None:
    """Refuse what has no measure: other shapes, heat that is not finite, no defect or nothing else."""
    if heat.shape != masks.shape or heat.ndim != 3:
        raise ValueError(f"heat and masks must be (N, H, W) alike, got {heat.shape} and {masks.shape}")
    if not np.isfinite(heat).all():
        raise ValueError("heat must be finite, got NaN or inf")
    if masks.all() or not masks.any():
        raise ValueError("masks must have pixels of defects and others")
