r"""What rows and groups of rows are judged by where a model has latents, or a likelihood.

A member's yardsticks (statistics of groups, `upland.groups.statistic`) are learned from rows that do not
calibrate: reference moments from training rows, what is usual from others, where there are enough (of fewer
than some four hundred rows from training rows too). Of a single row, a group of one, they are criteria:

* likelihood: the energy, -log p(x) or its bound, in nats;
* typicality: |E(x) - mean E|, in nats (Nalisnick et al. 2019);
* divergence: the KL of one latent's many small parts from those of normal rows (KLODS, arXiv 2002.03328), the
  mean over its splits of the squared number of standard deviations of normal rows;
* complexity: the nats of the discrete image less those that a lossless compressor needs (Serrà et al., ICLR
  2020);
* combined: the mean of divergence and of the squared number of standard deviations by which the complexity is
  too high.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.points import blocks_of
from upland.data.image.encoder import ImageEncoder
from upland.detectors.fitting import Member
from upland.detectors.kinds import RECONSTRUCTION, Floats, Judge
from upland.groups.baselines import Kernel, Likelihood, Projections, Stein, Typicality
from upland.groups.joint import Combined, default_statistics
from upland.groups.statistic import INPUT, Divergence, Rows, Sphericity, Statistic
from upland.io.advice import Advice, Argument, Estimator
from upland.models.base import EnergyModel, Latent, Level

LEAST_STANDARD = 8
"""Rows that a yardstick is learned from, at least."""


def readings(member: Member, x: Tensor, score: bool = False) -> Rows:
    """What a member's model says of encoded rows, on the CPU.

    Args:
        member: as fitted.
        x: `(N, ...)`.
        score: whether the gradient of log p is wanted.
    """
    shapes: list[Level] = []

    def read(model: EnergyModel, block: Tensor, sigma: float) -> list[Tensor]:
        levels = model.latents(block) if isinstance(model, Latent) else []
        unit = 1.0 if levels else sigma**2
        found = [model.energy(block).double() / unit]
        if score:
            found.append((model.reconstruct(block) - block).double() / sigma**2)
        shapes[:] = levels
        return found + [part for level in levels for part in level if part is not None]

    parts = blocks_of(read, member.model.of_nets(), x, member.sigma)
    energy, rest = parts[0], parts[1 + score :]
    levels = []
    for level in shapes:
        variance = rest[1] if level.variance is not None else None
        levels.append(Level(rest[0], variance))
        rest = rest[1 if variance is None else 2 :]
    return Rows(x, energy, levels, parts[1] if score else None)


@dataclass
class Complexity(Statistic):
    """The energy less the compressed length, in nats, of groups its mean; images of whole numbers only.

    The length stands in `Rows.points`, one number a row.
    """

    positive = False

    def features(self, rows: Rows) -> Tensor:
        """Energy less length: `(N, 1)`."""
        return (rows.energy - rows.points.double())[:, None]

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


def _auto(rows: Rows) -> Statistic:
    return Combined(default_statistics(rows))


def _divergence(rows: Rows) -> Statistic:
    return Combined(_of_latents(rows))


def _geometric(rows: Rows) -> Statistic:
    return Combined([Sphericity(part.split, part.level) for part in _of_latents(rows)])


def _of_latents(rows: Rows) -> list[Divergence]:
    found = [part for part in default_statistics(rows) if isinstance(part, Divergence)]
    return [part for part in found if part.level != INPUT]


STATISTICS: Mapping[str, Callable[[Rows], Statistic]] = {
    "auto": _auto,
    "divergence": _divergence,
    "geometric": _geometric,
    "typicality": lambda rows: Typicality(),
    "likelihood": lambda rows: Likelihood(),
    "projections": lambda rows: Projections("latents" if rows.levels else "points"),
    "kernel": lambda rows: Kernel("latents" if rows.levels else "points"),
    "stein": lambda rows: Stein(),
}
"""Statistics of groups by the names that users give; "auto" is the combination that fits the model."""
NEED_ROWS = ("typicality", "divergence", "combined")
"""Criteria that compare with rows kept with the model."""

OF_LATENTS = ("divergence", "geometric")
OF_SCORES = ("auto", "typicality", "likelihood", "projections")
"""What needs no more than an anomaly score of each."""

_known: WeakKeyDictionary[Member, dict[str, Statistic]] = WeakKeyDictionary()
_read: WeakKeyDictionary[Member, dict[bool, Rows]] = WeakKeyDictionary()


def yardstick(member: Member, name: str) -> Statistic:
    """A statistic, learned from the rows that a member keeps for that; from then on remembered.

    Args:
        member: as fitted.
        name: one of `STATISTICS`.

    Raises:
        ValueError: the member keeps too few rows, or there is no such statistic.
        TypeError: it is of latents, and the model has none.
    """
    if name not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(map(repr, STATISTICS))}, got {name!r}")
    if name in OF_LATENTS and not isinstance(member.model, Latent):
        raise TypeError(
            Advice(
                f"{name!r} is of latents, and {type(member.model).__name__} has none: use ",
                Estimator("flow"),
                " or ",
                Estimator("vae"),
                ", or ",
                Argument("statistic", "auto"),
                ", 'typicality', 'projections', 'kernel' or 'stein'",
            )
        )
    remembered = _known.setdefault(member, {})
    if name not in remembered:
        score = needs_score(member, name)
        rows = standard_readings(member, score)
        made = STATISTICS[name](rows)
        if isinstance(made, Combined) and member.seen is not None and len(member.seen) >= len(rows.energy):
            remembered[name] = made.fit(rows, readings(member, member.seen, score))
        else:
            remembered[name] = made.fit(rows)
    return remembered[name]


def needs_score(member: Member, name: str) -> bool:
    """Whether a statistic goes by the gradient of log p.

    Args:
        member: as fitted.
        name: one of `STATISTICS`.
    """
    return name == "stein" or (name == "auto" and not isinstance(member.model, Latent))


def standard_readings(member: Member, score: bool = False) -> Rows:
    """What a member's model says of the rows kept to learn from.

    Args:
        member: as fitted.
        score: as in `readings`.

    Raises:
        ValueError: there are too few.
    """
    kept = 0 if member.standard is None else len(member.standard)
    if member.standard is None or kept < LEAST_STANDARD:
        raise ValueError(
            Advice(
                f"{kept} normal rows are kept with the model, and it takes {LEAST_STANDARD}: fit with ",
                Argument("keep_rows"),
                " above that, and on more rows",
            )
        )
    remembered = _read.setdefault(member, {})
    if score not in remembered:
        remembered[score] = readings(member, member.standard, score)
    return remembered[score]


def of_one(name: str) -> Judge:
    """The criterion of points that a statistic of groups is for a group of one.

    Args:
        name: one of `STATISTICS`.
    """

    def judge(member: Member, x: Tensor) -> Floats:
        statistic = yardstick(member, name)
        return _each(statistic, readings(member, x))

    return judge


def likelihood(member: Member, x: Tensor) -> Floats:
    """The energy in nats: `(N, ...)` -> `(N,)`."""
    found: Floats = readings(member, x).energy.numpy()
    return found


def complexity(member: Member, x: Tensor) -> Floats:
    """Nats of the discrete image beyond the compressed length: `(N, C, H, W)` -> `(N,)`."""
    encoder = member.encoder
    assert isinstance(encoder, ImageEncoder)
    return likelihood(member, x) - encoder.width * log(encoder.bin) - lengths(member, x)


def combined(member: Member, x: Tensor) -> Floats:
    """The mean of divergence and squared complexity, in standard deviations of normal rows: `(N, C, H, W)` ->
    `(N,)`.
    """
    remembered = _known.setdefault(member, {})
    if "complexity" not in remembered:
        standard = standard_readings(member)
        nats = torch.from_numpy(lengths(member, standard.points))
        remembered["complexity"] = Combined([Complexity()]).fit(standard._replace(points=nats))
    rows, known = readings(member, x), remembered["complexity"]
    assert isinstance(known, Combined)
    beyond = known.features(rows._replace(points=torch.from_numpy(lengths(member, x))))
    too_high = known.standardised(beyond, torch.ones(len(beyond), dtype=torch.float64))[:, 0].clamp(min=0)
    both: Floats = 0.5 * (_each(yardstick(member, "divergence"), rows) + too_high.square().numpy())
    return both


def lengths(member: Member, x: Tensor) -> Floats:
    """Nats that a lossless compressor (DEFLATE, differences of neighbours) needs: `(N, ...)` -> `(N,)`."""
    return np.array([8 * log(2) * _compressed(image) for image in _levels(member, x)], dtype=np.float64)


def _levels(member: Member, x: Tensor) -> NDArray[np.uint8 | np.uint16]:
    """The whole numbers that codes between -1/2 and 1/2 stand for: `(N, H, W, C)`."""
    encoder = member.encoder
    assert isinstance(encoder, ImageEncoder)
    most = round(1 / encoder.bin) - 1
    levels = np.clip(np.rint((x.numpy() + 0.5) / encoder.bin - 0.5), 0, most)
    return np.moveaxis(levels, 1, 3).astype(np.uint8 if most < 256 else np.uint16)


def _compressed(image: NDArray[np.uint8 | np.uint16]) -> int:
    """Bytes; the shortest of the image and its differences to the left and to the one above."""
    across, down = np.diff(image, axis=1, prepend=0), np.diff(image, axis=0, prepend=0)
    return min(len(zlib.compress(part.astype(image.dtype).tobytes(), 9)) for part in (image, across, down))


def _each(statistic: Statistic, rows: Rows) -> Floats:
    """A statistic of every row by itself."""
    found = [
        statistic.value(part, torch.ones(len(part), dtype=torch.float64))
        for part in statistic.features(rows).split(256)
    ]
    values: Floats = torch.cat(found).numpy()
    return values


FLOW_TABLES: Mapping[str, Judge] = {
    "likelihood": likelihood,
    "typicality": of_one("typicality"),
    "divergence": of_one("divergence"),
}
FLOW_IMAGES: Mapping[str, Judge] = {
    "combined": combined,
    "divergence": of_one("divergence"),
    "likelihood": likelihood,
    "typicality": of_one("typicality"),
    "complexity": complexity,
}
VAE_TABLES: Mapping[str, Judge] = {"reconstruction": RECONSTRUCTION, **FLOW_TABLES}
VAE_IMAGES: Mapping[str, Judge] = {"reconstruction": RECONSTRUCTION, **FLOW_IMAGES}
