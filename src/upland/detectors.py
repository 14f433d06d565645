r"""Detectors under scikit-learn's contract, and upland's own face: anomaly scores, p-values, flags.

`fit` holds rows out, fits one member (split) or one for each fold (cross) on the rest, and keeps the held-out rows' scores.
The anomaly score is the mean over the members of the criterion's value; higher is worse. p-values compare a row with the
held-out ones (see `upland.calibration` for what is guaranteed), and `flag` cuts them at alpha. scikit-learn's users get
`score_samples`, the anomaly score with its sign turned, `decision_function = score_samples - offset_` and `predict`.
"""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from upland.calibration import GUARANTEES, Calibration, Control, Floats, benjamini_hochberg
from upland.checkpoints import Checkpoint
from upland.criteria.points import CRITERIA, Criterion, in_blocks
from upland.data.memory import NormalRows, normal_rows
from upland.data.sources import open_source
from upland.data.tables import TableEncoder
from upland.fitting import Member, Recipe, fit_member, held_out_rows
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.energies import DenseEnergy
from upland.objectives import OBJECTIVES
from upland.training import Loss

ALPHA = 0.05


class Assessment(NamedTuple):
    """Anomaly scores and p-values of the same rows, `(N,)` each."""

    anomaly_score: Floats
    p_value: Floats


class Detector(OutlierMixin, BaseEstimator, ABC):
    """What every detector does once it is known how a member is made and judged: abstract."""

    random_state: Any
    contamination: float | Literal["auto"]
    calibration: Literal["auto", "split", "cross"]

    @abstractmethod
    def _recipe(self, seed: int) -> Recipe:
        """Check the constructor's arguments and say how members are made."""

    @abstractmethod
    def _criterion(self) -> tuple[Criterion, float]:
        """The criterion and the noise scale that it is evaluated with."""
