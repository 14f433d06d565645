"""On a GPU every estimator does what it does on the CPU, with scores that are equal to 1e-4."""

import copy

import numpy as np
import pytest
import torch

import upland
from upland.data.image.weights import LITE0, is_installed

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(600, 5))
NEW = np.vstack([rng.normal(size=(40, 5)), 2 + 3 * rng.normal(size=(40, 5))])
WAVES = np.sin(np.arange(24) / 3 + rng.uniform(0, 6, (80, 1)))[..., None] + 0.1 * rng.normal(size=(80, 24, 1))
PICTURES = rng.integers(0, 80, (60, 8, 8), dtype=np.uint8)
OTHERS = rng.integers(0, 255, (10, 8, 8), dtype=np.uint8)
FITS = {
    "kernel": (upland.EnergyDetector, {"epochs": 5}, ROWS, NEW),
    "mixture": (upland.EnergyDetector, {"prior": "mixture", "epochs": 5}, ROWS, NEW),
    "paper": (upland.EnergyDetector, {"noise": 0.5, "prior": "centre", "n_nets": 1, "epochs": 5}, ROWS, NEW),
    "sliced": (upland.EnergyDetector, {"objective": "sliced", "epochs": 3}, ROWS, NEW),
    "flow": (upland.FlowDetector, {"epochs": 3}, ROWS, NEW),
    "spline": (upland.FlowDetector, {"epochs": 2, "coupling": "spline"}, ROWS, NEW),
    "vae": (upland.VAEDetector, {"epochs": 3}, ROWS, NEW),
    "sequences": (upland.SequenceEnergyDetector, {"epochs": 2}, WAVES, WAVES[:9]),
    "steps": (upland.SequenceEnergyDetector, {"epochs": 2, "per": "step"}, WAVES, WAVES[:9]),
    "features of pixels": (upland.ImageEnergyDetector, {"features": "pixels"}, PICTURES, OTHERS),
    "features of a network": (upland.ImageEnergyDetector, {"features": LITE0}, PICTURES, OTHERS),
    "flow of features": (upland.ImageFlowDetector, {"features": LITE0}, PICTURES, OTHERS),
    "images": (upland.ImageEnergyDetector, {"epochs": 2, "n_centres": 16}, PICTURES, OTHERS),
    "convolutions": (upland.ImageEnergyDetector, {"epochs": 2, "filters": (8,)}, PICTURES, OTHERS),
    "glow": (upland.ImageFlowDetector, {"epochs": 1, "depth": 1}, PICTURES, OTHERS),
    "image vae": (upland.ImageVAEDetector, {"epochs": 1}, PICTURES, OTHERS),
}
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
NEEDS_WEIGHTS = pytest.mark.skipif(not is_installed(), reason="needs upland[backbone]")


def _case(name, device):
    """A fit on a device, as parameters of a test."""
    marks = [ON_A_GPU] if device == "cuda" else []
    marks += [NEEDS_WEIGHTS] if FITS[name][1].get("features") == LITE0 else []
    return pytest.param(name, device, marks=marks)


CASES = [_case(name, device) for name in FITS for device in ("cpu", "cuda")]


@pytest.mark.parametrize(("name", "device"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_fit_on_a_device_does_all_that_one_on_the_cpu_does(name, device, tmp_path):
    estimator, arguments, normal, new = FITS[name]
    detector = estimator(device=device, random_state=0, progress=False, **arguments).fit(normal)
    assert next(detector.models_[0].parameters()).device.type == device
    if arguments.get("features") == LITE0:
        assert next(_network(detector).parameters()).device.type == device
    scores = detector.anomaly_score(new)
    upland.save(detector, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")  # on the CPU
    np.testing.assert_allclose(again.anomaly_score(new), scores, rtol=0 if device == "cpu" else 1e-4)
    for criterion in detector.offered_.homes:
        other = copy.deepcopy(detector).set_params(criterion=criterion)
        expected = copy.deepcopy(again).set_params(criterion=criterion)
        found, kept = upland.explain(other, new).shares, upland.explain(expected, new).shares
        for here, there in zip(found, kept, strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-3 * np.nanmax(np.abs(there)))
    if name != "steps":
        p = detector.score_groups(new, np.arange(len(new)) % 2).p_value
        np.testing.assert_allclose(p, again.score_groups(new, np.arange(len(new)) % 2).p_value, atol=0.02)
    if detector.modality == "sequence":
        state, found = None, []
        for step in WAVES[0]:
            score, _, state = detector.score_next(state, step)
            found.append(score)
        whole = upland.load(tmp_path / "model.safetensors")
        assert len(found) == 24
        np.testing.assert_allclose(found[-1], _step_scores(whole)[-1], rtol=1e-6)
    assert detector.calibrate(normal[: len(normal) // 2]).calibration_.method == "split"


def _step_scores(detector):
    """The scores of the steps of the first sequence in one pass."""
    found, state = [], None
    for step in WAVES[0]:
        score, _, state = detector.score_next(state, step)
        found.append(score)
    return found


def _network(detector):
    """The network that makes the features of a detector of images."""
    source = detector.plan_.reader.source
    return getattr(source, "source", source).backbone.network
