"""False alarms and false discoveries are as promised, over redraws of training, calibration and test rows."""

import numpy as np
import pytest

from laws import standard_error
from upland import EnergyDetector
from upland.calibration.false_discovery import benjamini_hochberg

REDRAWS = 200


def rows(rng, count, shift=0.0):
    """Skewed, dependent columns, so that nothing holds by symmetry."""
    raw = rng.normal(size=(count, 3))
    return np.column_stack([raw[:, 0], raw[:, 0] ** 2 + raw[:, 1], np.exp(0.5 * raw[:, 2])]) + shift


NETS = {"hidden": (8,), "epochs": 2, "noise": 0.5}
SIZES = {"split": 100, "cross": 60}
MODELS = [("nets", "split"), ("nets", "cross"), ("experts", "split"), ("experts", "cross")]


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def redraws(request):
    """For each redraw: p-values of normal rows alone, and of a batch of which a fifth are anomalies."""
    normal, mixed, smallest = [], [], 0.0
    model, method = request.param
    fine = 5 if request.param == ("experts", "split") else 1  # so that alpha = 0.01 is reached
    for draw in range(REDRAWS // 2 if request.param == ("experts", "cross") else REDRAWS):
        rng = np.random.default_rng(draw)
        detector = EnergyDetector(
            **(NETS if model == "nets" else {}), calibration=method, random_state=draw, progress=False
        ).fit(rows(rng, fine * SIZES[method]))
        normal.append(detector.p_values(rows(rng, 50)))
        mixed.append(np.concatenate([normal[-1][:40], detector.p_values(rows(rng, 10, shift=6.0))]))
        smallest = detector.calibration_.smallest_p
    return method, np.array(normal), np.array(mixed), smallest


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.5])
def test_false_alarms_are_as_promised(redraws, alpha):
    method, normal, _, smallest = redraws
    share = (normal <= alpha).mean(axis=1)
    mean, error = share.mean(), standard_error(share)
    assert mean <= alpha + 3 * error
    if method == "split":
        assert mean >= np.floor(alpha / smallest + 1e-9) * smallest - 3 * error
    else:
        assert mean <= 2 * alpha


def discovery_shares(batches, alpha, n_normal):
    """False discovery proportion of each batch whose first rows are normal."""
    flagged = np.array([benjamini_hochberg(p, alpha) for p in batches])
    return flagged[:, :n_normal].sum(axis=1) / np.maximum(flagged.sum(axis=1), 1)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4])
def test_false_discoveries_are_as_promised(redraws, alpha):
    _, normal, mixed, _ = redraws
    for batches, n_normal in ((normal, normal.shape[1]), (mixed, 40)):
        proportion = discovery_shares(batches, alpha, n_normal)
        assert proportion.mean() <= alpha + 2 * standard_error(proportion)


def test_the_anomalies_are_found(redraws):
    _, _, mixed, _ = redraws
    assert (mixed[:, 40:] <= 0.1).mean() > 0.8
