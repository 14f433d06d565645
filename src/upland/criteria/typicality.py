"""The distance |E(x) - mean E| of the energy from its mean among normal rows, in nats (Nalisnick et al.
2019).
"""

from __future__ import annotations

from typing import ClassVar

from upland.criteria.of_groups import OfGroupOfOne


class Typicality(OfGroupOfOne):
    """The typicality of each point: too likely counts as too unlikely does."""

    statistic: ClassVar[str] = "typicality"
