r"""What labelled rows change in a product of experts: the weights of its parts, and log odds beside them.

With phi_p = softplus(z_p)^3 what part p says of a row, f its features (`upland.models.tilt`) and v_p the
usual weights,

    s(x) = log sum_p v_p exp(t_p) phi_p(x) + b f(x)

is made larger for anomalies than for normal rows by a pairwise logistic loss (Burges et al., "Learning to
rank using gradient descent", ICML 2005), shrunk towards the usual score, t = 0 and b = 0:

    mean over pairs log(1 + exp(s(normal) - s(anomaly))) + lambda (|t|^2 + |b|^2).

Lambda is chosen by cross-validation over the labelled rows, anomalies and normal rows parted alike. It is
one of `SHRINKAGES`, at least `LEAST / K` for K anomalies, or nothing changes: where no lambda has both a
smaller loss and an AUROC at least as high as the usual score in cross-validation. A single anomaly cannot be
left out; then only normal rows are, and lambda is at least 1. With fewer than `ENOUGH` rows labelled normal,
both gains must be above 0 by a t test over the folds, and a single anomaly changes nothing.

The rows are put in an order of their own first, so that theirs does not matter. At most `MOST` of a label are
compared, drawn with a fixed seed, so that time and memory of the pairs have a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import t as student

from upland.io.records import checked

Floats = NDArray[np.float64]

SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
LEAST, LEAST_OF_ONE = 0.3, 1.0
FOLDS = 10
ENOUGH = 10
"""Rows labelled normal from which the means of the folds decide."""
LEVEL = 0.025
"""Of the t test."""
STEPS = 100
MOST = 500
"""Rows of one label that are compared with those of the other; they are drawn where there are more."""
FURTHEST = 5.0
"""Logarithm of the factor by which a weight may change at most."""
STEEPEST = 1000.0
"""Coefficient that no fit comes near: lambda of its square is at most the loss of the usual score."""
LARGEST_FEATURE = 100.0
"""What no feature of a float32 number reaches: its logarithm is below 89."""


@dataclass(frozen=True)
class Refinement:
    """How labelled rows have refined a member, and what it did in cross-validation.

    Args:
        anomalies: labelled ones.
        normals: rows labelled normal.
        held_out: rows held out by the fit that were taken as normal beside them.
        shrinkage: lambda; None where the weights stay as they were.
        auroc_before: of the usual score over the labelled rows.
        auroc: of the refined score, on rows left out of its fit; of a single anomaly only normal ones are. As
            before, where nothing changes.
    """

    anomalies: int
    normals: int
    held_out: int
    shrinkage: float | None
    auroc_before: float
    auroc: float

    @classmethod
    def from_json(cls, record: object) -> Self:
        """Rebuild one; raises ValueError for a record that is none."""
        made = cls(**checked(cls, record, "the refinement"))
        rates, counts = (made.auroc_before, made.auroc), (made.normals, made.held_out)
        possible = made.shrinkage is None or SHRINKAGES[0] <= made.shrinkage <= SHRINKAGES[-1]
        if made.anomalies < 1 or min(counts) < 0 or not possible or not all(0 <= r <= 1 for r in rates):
            raise ValueError("the refinement is not that of labelled rows")
        return made


class Cases(NamedTuple):
    """Rows of one label.

    Args:
        cubes: `(N, P)` what each part says.
        features: `(N, Q)` what log odds are linear in.
        weights: `(N,)` of the rows in the loss.
    """

    cubes: Floats
    features: Floats
    weights: Floats

    def some(self, which: NDArray[Any]) -> Cases:
        """Those of some rows."""
        return Cases(*(part[which] for part in self))

    def in_order(self) -> Cases:
        """The same rows in an order that does not depend on theirs."""
        order = np.lexsort(np.c_[self.features, self.cubes, self.weights].T[::-1])
        return Cases(*(part[order] for part in self))

    def few(self) -> Cases:
        """The same rows, or some drawn of those of one weight where they are more than `MOST`."""
        weights, generator = np.zeros_like(self.weights), np.random.default_rng(0)
        for weight in np.unique(self.weights):
            own = np.flatnonzero(self.weights == weight)
            drawn = generator.permutation(own)[:MOST]
            weights[drawn] = weight * (len(own) / len(drawn))
        return self._replace(weights=weights).some(weights > 0)


class Changes(NamedTuple):
    """What labelled rows change.

    Args:
        weights: `(P,)` of the parts.
        coefficients: `(Q,)` of the log odds.
        constant: of the log odds, which makes their mean over normal rows 0.
    """

    weights: Floats
    coefficients: Floats
    constant: float = 0.0

    def scores(self, rows: Cases) -> Floats:
        """s(x), `(N,)`."""
        found: Floats = np.log(rows.cubes @ self.weights) + rows.features @ self.coefficients
        return found


def are_changes(weights: Floats, usual: Floats, tilt: Floats) -> bool:
    """Whether labelled rows may have left weights and log odds such as these.

    Args:
        weights: `(P,)` of the parts.
        usual: `(P,)` the usual ones.
        tilt: `(2 D + 1,)` coefficients and, last, the constant.
    """
    moved = np.abs(np.log(weights / usual))
    size = np.abs(tilt[:-1])
    furthest = LARGEST_FEATURE * size.sum()
    return bool((moved < FURTHEST + 0.01).all() and (size < STEEPEST).all() and abs(tilt[-1]) <= furthest)


class Measured(NamedTuple):
    """Loss and AUROC of pairs."""

    loss: float
    auroc: float


class Choice(NamedTuple):
    """What was chosen by cross-validation.

    Args:
        changes: by all labelled rows; such as change nothing, where nothing was better.
        shrinkage: lambda; None where nothing was better.
        before: what the usual score has.
        after: what the changes had on rows left out.
    """

    changes: Changes
    shrinkage: float | None
    before: Measured
    after: Measured


def chosen(anomalies: Cases, normals: Cases, usual: Floats, careful: bool = False) -> Choice:
    """The changes that are best in cross-validation; none where there is nothing to leave out.

    Args:
        anomalies: labelled ones, at least one.
        normals: at least one.
        usual: `(P,)` weights, positive.
        careful: the folds must agree that they are better.
    """
    anomalies, normals = anomalies.in_order().few(), normals.in_order().few()
    count = len(anomalies.weights)
    least = LEAST / count if count > 1 else LEAST_OF_ONE
    if len(normals.weights) < 2 or (careful and count == 1):
        unchanged = _changes(anomalies, normals, usual, None)
        measured = _measured(unchanged, anomalies, normals)
        return Choice(unchanged, None, measured, measured)
    usually = _validated(anomalies, normals, usual, None)
    before = _mean(usually)
    best, after = None, before
    for shrinkage in (one for one in SHRINKAGES if one >= least):
        folds = _validated(anomalies, normals, usual, shrinkage)
        found = _mean(folds)
        better = found.loss < after.loss and found.auroc >= before.auroc
        if better and (not careful or _agreed((usually - folds) * (1, -1))):
            best, after = shrinkage, found
    return Choice(_changes(anomalies, normals, usual, best), best, before, after)


def _mean(folds: Floats) -> Measured:
    """The mean over folds."""
    return Measured(*(float(np.mean(part)) for part in folds.T))


def _agreed(gains: Floats) -> bool:
    """Whether the gains of the folds, `(F, 2)`, are above 0 by a t test, each of the two."""
    error = gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
    return bool((gains.mean(axis=0) > student.ppf(1 - LEVEL, len(gains) - 1) * error).all())


def _changes(anomalies: Cases, normals: Cases, usual: Floats, shrinkage: float | None) -> Changes:
    """The changes for a lambda; for None such as change nothing."""
    if shrinkage is None:
        return Changes(usual, np.zeros(anomalies.features.shape[1]))
    return fitted_changes(anomalies, normals, usual, shrinkage)


def _validated(anomalies: Cases, normals: Cases, usual: Floats, shrinkage: float | None) -> Floats:
    """What rows left out say of the changes by the others, in each fold `(F, 2)`; None changes nothing."""
    count, others = len(anomalies.weights), len(normals.weights)
    folds = min(FOLDS, others, count if count > 1 else FOLDS)
    found = []
    for fold in range(folds):
        left, left_normals = (np.arange(n) % folds == fold for n in (count, others))
        if count == 1:
            left[:] = True
        seen = anomalies if count == 1 else anomalies.some(~left)
        changes = _changes(seen, normals.some(~left_normals), usual, shrinkage)
        found.append(_measured(changes, anomalies.some(left), normals.some(left_normals)))
    return np.array(found, dtype=np.float64)


def _measured(changes: Changes, anomalies: Cases, normals: Cases) -> Measured:
    """Loss and AUROC of the pairs of some rows."""
    gaps = changes.scores(anomalies)[:, None] - changes.scores(normals)
    pairs = np.outer(anomalies.weights, normals.weights)
    pairs = pairs / pairs.sum()
    won = (gaps > 0) + 0.5 * (gaps == 0)
    return Measured(float((pairs * np.logaddexp(0, -gaps)).sum()), min(float((pairs * won).sum()), 1.0))


def fitted_changes(anomalies: Cases, normals: Cases, usual: Floats, shrinkage: float) -> Changes:
    """The changes that minimise the loss.

    Args:
        anomalies: at least one.
        normals: at least one.
        usual: `(P,)` weights, positive.
        shrinkage: lambda, positive.
    """
    pairs = np.outer(anomalies.weights, normals.weights)
    pairs = pairs / pairs.sum()
    parts, inputs = len(usual), anomalies.features.shape[1]

    def loss(values: Floats) -> tuple[float, Floats]:
        changes = Changes(usual * np.exp(values[:parts]), values[parts:])
        gaps = changes.scores(anomalies)[:, None] - changes.scores(normals)
        slopes = pairs * np.exp(-np.logaddexp(0, gaps))
        total = (pairs * np.logaddexp(0, -gaps)).sum() + shrinkage * (values @ values)
        gradient = 2 * shrinkage * values
        for rows, slope in ((anomalies, -slopes.sum(1)), (normals, slopes.sum(0))):
            gradient[:parts] += (slope / (rows.cubes @ changes.weights)) @ rows.cubes * changes.weights
            gradient[parts:] += slope @ rows.features
        return float(total), gradient

    bounds = [(-FURTHEST, FURTHEST)] * parts + [(None, None)] * inputs
    start = np.zeros(parts + inputs)
    found: Floats = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}
    ).x
    shares = normals.weights / normals.weights.sum()
    constant = -float(shares @ (normals.features @ found[parts:]))
    return Changes(usual * np.exp(found[:parts]), found[parts:], constant)
