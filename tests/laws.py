"""Helpers of the laws: random streams, oracles, gradients by finite difference, scores of a fresh process."""

import json

import numpy as np
import torch
from scipy.stats import binom

from programs import run_python
from upland.models.base import EnergyModel


class Gaussian(EnergyModel):
    """The energy of N(mu, S), E(x) = 1/2 (x - mu)' P (x - mu) with P = S^-1: grad E(x) = P (x - mu)."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.mean = torch.nn.Parameter(mean.clone())
        self.precision = torch.nn.Parameter(torch.linalg.inv(covariance).contiguous())

    def energy(self, x):
        return 0.5 * ((x - self.mean) @ self.precision * (x - self.mean)).sum(-1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    """Standard normal numbers from a stream of their own."""
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)


def covariance(width, seed=0):
    """A symmetric positive definite matrix, far from a multiple of the identity."""
    root = normal(width, width, seed=seed)
    return root @ root.T / width + torch.diag(torch.linspace(0.3, 1.5, width, dtype=torch.float64))


def randomise(model, seed=0, scale=0.7):
    """Give every weight a value of its own, biases and priors included."""
    source = generator(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(scale * torch.randn(value.shape, generator=source, dtype=value.dtype))
    return model


def autograd_gradient(model, x):
    """grad E at the rows of x, by automatic differentiation of the energy alone."""
    point = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.energy(point).sum(), point)
    return gradient


def finite_difference(function, x, step=1e-5):
    """Central differences of `(N, D) -> (N,)` in each coordinate: `(N, D)`."""
    columns = []
    with torch.no_grad():
        for column in range(x.shape[1]):
            shift = torch.zeros_like(x)
            shift[:, column] = step
            columns.append((function(x + shift) - function(x - shift)) / (2 * step))
    return torch.stack(columns, dim=1)


def points_with_moments(mean, spread, count, seed=0):
    """`(count, D)` points whose sample mean and (biased) covariance are exactly these."""
    raw = normal(count, mean.shape[0], seed=seed)
    raw = raw - raw.mean(0)
    whitened = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / count)).T
    return mean + whitened @ torch.linalg.cholesky(spread).T


def scores_in_a_new_process(models, rows):
    """Anomaly scores and p-values of the rows in an .npy file under each saved model, by a fresh Python."""
    code = (
        "import json, sys, numpy as np, upland\n"
        "rows = np.load(sys.argv[1])\n"
        "loaded = [upland.load(path) for path in sys.argv[2:]]\n"
        "print(json.dumps([[part.tolist() for part in detector.assess(rows)] for detector in loaded]))"
    )
    done = run_python("-c", code, rows, *models)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout))


def standard_error(values):
    values = np.asarray(values, dtype=float)
    return float(values.std(ddof=1) / np.sqrt(values.size))


def assert_level(p_values, alpha, groups=None):
    """Independent p-values of normal data are at most alpha as often as they should be.

    Args:
        p_values: `(N,)`.
        alpha: the level.
        groups: k where p-values are multiples of 1 / (k + 1); None where every alpha can be reached.
    """
    exact = alpha if groups is None else np.floor(alpha * (groups + 1) + 1e-9) / (groups + 1)
    hits = int((np.asarray(p_values) <= alpha).sum())
    least, most = binom.ppf([1e-4, 1 - 1e-4], len(p_values), exact)
    assert least <= hits <= most, f"{hits} of {len(p_values)} at {alpha}, expected {least:g} to {most:g}"
