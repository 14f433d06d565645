r"""Manipulations that make anomalies look normal, to find how a detector fails.

Each defeats some statistic of groups. With z = f(x) the latents of a row at all levels together, D numbers:

* contrast: x' = m + c (x - m), m the mean of the picture. Likelihoods of flows follow the contrast (Nalisnick
  et al., ICLR 2019), so for each picture there is a c that gives it the likelihood of a normal one, and the
  likelihood and typicality (Nalisnick et al. 2019) see nothing. Dependence between neighbours stays.
* shell: z' = z sqrt(D) / |z|, x' = f^-1(z'). Normal latents lie near the shell of radius sqrt(D); now |z|
  and log p(z) are typical of every row (Zhang et al., arXiv 2002.03328). Correlations of z stay.
* mixture: some rows of the group are normal, or each picture is partly a normal one.
* whitening: z' = S^(-1/2) (z - m), x' = f^-1(z'), with the moments m, S of the group itself; against the
  two-sample form z' = m0 + S0^(1/2) S^(-1/2) (z - m), m0, S0 those of normal latents. This defeats
  every divergence of Gaussians, whole or split, since nothing is left for it in the first two moments; only
  higher ones (`Projections`, `MeanDiscrepancy`) or a second model can detect it. It needs as many rows as to
  estimate S.

What comes back through f^-1 is no picture yet: `pixels` clips and rounds it, as a file would.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

LEAST_EIGENVALUE = 1e-10
FACTORS = 33  # contrasts that are tried


class Coder(Protocol):
    """What goes to latents and back: a `Flow`, a `Glow`."""

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents of each level, and log |det dz/dx| `(N,)`."""

    def decode(self, z: list[Tensor]) -> Tensor:
        """Back to `(N, ...)`."""


def pixels(x: Tensor) -> Tensor:
    """A picture as a file has it, clipped to 0..255 and rounded: any shape -> the same, uint8.

    Args:
        x: in units of 1/255 of white; what is no number becomes black.
    """
    return torch.nan_to_num(x, nan=0.0).clamp(0, 255).round().to(torch.uint8)


def contrast(x: Tensor, factor: Tensor | float) -> Tensor:
    """The picture m + c (x - m), m its mean: `(N, ...)`.

    Args:
        x: pictures.
        factor: c, one for all or `(N,)`.
    """
    c = torch.as_tensor(factor, dtype=x.dtype, device=x.device)
    c = c.reshape(-1, *[1] * (x.ndim - 1))
    m = x.mean(tuple(range(1, x.ndim)), keepdim=True)
    return m + c * (x - m)


def matched_contrast(
    x: Tensor, energy: Callable[[Tensor], Tensor], normal: Tensor, least: float = 0.05, most: float = 3.0
) -> tuple[Tensor, Tensor]:
    """Pictures whose contrast is changed until their energies are distributed as those of normal ones.

    The picture with the k-th highest energy is to have the k-th highest of as many quantiles of the normal
    energies. What one contrast cannot reach stays at the nearest of those tried.

    Args:
        x: `(N, ...)` pictures, in units of 1/255 of white.
        energy: of such pictures, `(N, ...) -> (N,)`.
        normal: `(M,)` energies of normal pictures.
        least: the smallest factor tried.
        most: the largest.

    Returns:
        The pictures, uint8, and the factors `(N,)`.
    """
    before = energy(x).double()
    ranks = before.argsort().argsort().double()
    wanted = torch.quantile(normal.double(), (ranks + 0.5) / len(x))
    factors = torch.logspace(0, 1, FACTORS, base=most / least, dtype=torch.float64) * least
    reached = torch.stack([energy(pixels(contrast(x, float(c))).to(x.dtype)).double() for c in factors])
    best = factors[(reached - wanted).abs().argmin(0).cpu()]
    return pixels(contrast(x, best.to(x.dtype))), best


def on_shell(z: list[Tensor]) -> list[Tensor]:
    """Latents of every level, together at radius sqrt(D): `(N, ...)` each.

    Args:
        z: of each level; a row at 0 stays there.
    """
    whole = _joined(z)
    radius = whole.norm(dim=1, keepdim=True).clamp(min=torch.finfo(whole.dtype).tiny)
    return _parted(whole / radius * whole.shape[1] ** 0.5, z)


def whitened(z: list[Tensor], normal: list[Tensor] | None = None) -> list[Tensor]:
    """Latents with mean 0 and covariance I over these rows, or with those of normal ones: `(N, ...)` each.

    Args:
        z: of each level. With no more rows than numbers a row, directions in which the rows do not differ
            stay so.
        normal: latents of normal rows, whose mean and covariance are to be taken on; None for 0 and I.
    """
    _, unit, _ = _moments(_joined(z).double())
    if normal is not None:
        mean, _, root = _moments(_joined(normal).double())
        unit = mean + unit @ root
    return _parted(unit.to(z[0].dtype), z)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean, the rows whitened, and the symmetric root of the covariance: of `(N, D)`."""
    mean = x.mean(0)
    away = x - mean
    values, axes = torch.linalg.eigh(away.T @ away / len(away))
    there = values > LEAST_EIGENVALUE
    roots = values.clamp(min=LEAST_EIGENVALUE).sqrt()
    inverse = torch.where(there, 1 / roots, 0.0)
    return mean, away @ (axes * inverse) @ axes.T, (axes * torch.where(there, roots, 0.0)) @ axes.T


def shell(coder: Coder, x: Tensor) -> Tensor:
    """Rows moved to the shell of typical latents and back: `(N, ...)`, in the units of x.

    Args:
        coder: a flow.
        x: encoded rows.
    """
    return coder.decode(on_shell(coder.encode(x)[0]))


def whitening(coder: Coder, x: Tensor, normal: Tensor | None = None) -> Tensor:
    """Rows whose latents are whitened and brought back: `(N, ...)`, in the units of x. No divergence of
    Gaussians finds them.

    Args:
        coder: a flow.
        x: encoded rows, all that are to be whitened together.
        normal: encoded normal rows, the moments of whose latents are taken on; None for those of N(0, I).
    """
    reference = None if normal is None else coder.encode(normal)[0]
    return coder.decode(whitened(coder.encode(x)[0], reference))


def mixture(x: Tensor, normal: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A group of as many rows as x, of which a share is from it and the rest is normal: `(N, ...)`.

    Args:
        x: rows.
        normal: at least as many normal ones.
        share: of rows that stay, from 0 to 1, rounded to whole rows.
        generator: source of the choice and the order.
    """
    keep = round(share * len(x))
    own = torch.randperm(len(x), generator=generator)[:keep].to(x.device)
    others = torch.randperm(len(normal), generator=generator)[: len(x) - keep].to(x.device)
    order = torch.randperm(len(x), generator=generator).to(x.device)
    return torch.cat([x[own], normal[others]])[order]


def blend(x: Tensor, normal: Tensor, share: float) -> Tensor:
    """Each row mixed with a normal one, share x + (1 - share) normal: `(N, ...)`.

    Args:
        x: rows.
        normal: as many normal ones.
        share: of x.
    """
    return share * x + (1 - share) * normal[: len(x)]


def _joined(z: list[Tensor]) -> Tensor:
    return torch.cat([level.flatten(1) for level in z], 1)


def _parted(whole: Tensor, z: list[Tensor]) -> list[Tensor]:
    widths = [level[0].numel() for level in z]
    return [part.reshape(level.shape) for part, level in zip(whole.split(widths, 1), z, strict=True)]
