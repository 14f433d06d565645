"""The score of a multi-scale energy: the cubic mean, over scales of noise and views of the prior, of how much
further a row is from where it is denoised to, and from training rows, than normal rows are, in their standard
deviations (`upland.models.multiscale`).
"""

from __future__ import annotations

from typing import ClassVar

from upland.criteria.joined import Joined
from upland.models.base import NoiseConditional


class Multiscale(Joined):
    """The anomaly over all scales, in standard deviations of normal rows; shares sum to it."""

    requires: ClassVar[type] = NoiseConditional
