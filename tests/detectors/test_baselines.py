"""A flow of a table is no worse on held-out rows than a Gaussian in closed form, and says what it was."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

import upland
from normals import small
from upland import FlowDetector
from upland.detectors.baselines import WIDEST
from upland.detectors.fitting import SPLIT_FROM
from upland.training.schedule import FLOW_RATE, likelihood_rate

REPLACED = "a Gaussian replaces the flow"


def correlated(count, width=166, factors=10, seed=0, loadings=0):
    """Rows of a Gaussian that nearly lie in a subspace."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng([loadings, width]).normal(size=(factors, width)) / np.sqrt(factors)
    return rng.normal(size=(count, factors)) @ basis + 0.1 * rng.normal(size=(count, width))


def curved(count, seed=0):
    """A noisy curve, which is no Gaussian."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(-2, 2, (count, 1))
    return np.hstack([turn, turn**2, np.sin(3 * turn)]) + 0.05 * rng.normal(size=(count, 3))


def training_of(detector):
    return detector.info()["training"][0]


@pytest.fixture(scope="module")
def wide():
    with pytest.warns(UserWarning, match=REPLACED) as caught:
        detector = small(FlowDetector, hidden=(128, 128), fallback="gaussian").fit(correlated(SPLIT_FROM))
    assert len(caught) == 1
    return detector


def test_a_wide_gaussian_table_is_modelled_no_worse_than_by_a_shrunk_gaussian(wide):
    """Against Ledoit and Wolf's on the same rows, on fresh rows: at most 1 nat of about 170 more a row."""
    member, fresh = wide.members_[0], correlated(1_000, seed=1)
    peer = LedoitWolf().fit(member.training_rows.double().numpy())
    covariance = torch.from_numpy(peer.covariance_) + member.sigma**2 * torch.eye(166).double()
    gaussian = torch.distributions.MultivariateNormal(torch.from_numpy(peer.location_), covariance)
    rows = torch.from_numpy(member.encoder.transform(fresh))
    noisy = rows + member.sigma * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = float(member.model.energy(noisy).mean())
    assert found <= -float(gaussian.log_prob(noisy.double()).mean()) + 1


def test_rows_off_the_subspace_are_found(wide):
    normal, other = correlated(300, seed=2), correlated(300, seed=3, loadings=1)
    mixed = np.sqrt(0.8) * correlated(300, seed=4) + np.sqrt(0.2) * other
    scores = wide.anomaly_score(np.vstack([normal, mixed]))
    assert roc_auc_score(np.repeat([0, 1], 300), scores) > 0.99


def test_latents_of_the_gaussian_are_normal_and_groups_of_normal_rows_are_not_flagged(wide):
    fresh = correlated(1_000, seed=5)
    member, codes = wide.members_[0], torch.from_numpy(wide.encoder_.transform(fresh))
    noise = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    z = wide.models_[0].latents(codes + member.sigma * noise)[0].mean.double().detach()
    assert float(z.mean().abs()) < 0.05
    assert 0.8 < float(z.square().mean()) < 1.25
    verdicts = wide.score_groups(fresh, np.arange(1_000) % 20, reasons=False)
    assert np.mean(np.asarray(verdicts.p_value) <= 0.05) <= 0.25
    shifted = wide.score_groups(fresh + 0.5, np.arange(1_000) % 20, reasons=False)
    assert np.mean(np.asarray(shifted.p_value) <= 0.05) == 1


def test_it_is_reloaded_with_the_same_bits(wide, tmp_path):
    rows = correlated(50, seed=6)
    upland.save(wide, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(rows), wide.anomaly_score(rows))
    np.testing.assert_array_equal(again.p_values(rows), wide.p_values(rows))
    assert again.members_[0].architecture == wide.members_[0].architecture
    assert again.info()["training"] == wide.info()["training"]
    assert again.members_[0].architecture.density == "gaussian"


def test_info_says_what_the_held_out_likelihood_said(wide):
    found = training_of(wide)
    gaussian, flow = found["held_out_loss_of_gaussian"], found["held_out_loss_of_flow"]
    assert found["held_out_loss"] == gaussian < flow
    assert gaussian < found["held_out_loss_of_independent_columns"]
    assert wide.info()["architecture"]["density"] == "gaussian"


def test_a_flow_that_is_better_stays_a_flow_and_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = small(FlowDetector, hidden=(32,), fallback="gaussian", epochs=60).fit(curved(1_000))
    found = training_of(detector)
    assert found["held_out_loss"] == found["held_out_loss_of_flow"] < found["held_out_loss_of_gaussian"]
    assert detector.members_[0].architecture.density == "flow"
    alone = small(FlowDetector, hidden=(32,), fallback="none", epochs=60).fit(curved(1_000))
    np.testing.assert_array_equal(detector.anomaly_score(curved(20)), alone.anomaly_score(curved(20)))
    assert "held_out_loss_of_gaussian" not in training_of(alone)


def test_each_fold_has_what_is_better_and_one_warning_is_for_all():
    rows = correlated(100, 40)
    with pytest.warns(UserWarning, match=REPLACED) as caught:
        detector = small(FlowDetector, fallback="gaussian", calibration="cross").fit(rows)
    assert len(caught) == 1
    for part in detector.info()["training"]:
        assert part["held_out_loss"] == min(part["held_out_loss_of_flow"], part["held_out_loss_of_gaussian"])


@pytest.mark.parametrize("width", [21, 60, 166, 256])
def test_the_first_steps_of_a_wide_flow_do_not_diverge(width):
    """With the rate of narrow tables, 0.003, 166 columns lose thousands of nats after a hundred steps."""
    rows = correlated(1_000, width)
    detector = FlowDetector(
        fallback="none", epochs=15, patience=100, calibration="split", random_state=0, progress=False
    ).fit(rows)
    history, independent = detector.history_[0], 0.5 * width * np.log(2 * np.pi * np.e)
    assert max(history["validation"]) < independent


def test_the_rate_falls_with_the_columns_that_a_matrix_mixes_and_never_rises_above_the_usual():
    rates = [likelihood_rate(width) for width in (1, 20, 21, 100, 256)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == rates[1] == FLOW_RATE == likelihood_rate(257)
    given = small(FlowDetector, learning_rate=0.017).fit(correlated(120, 30))
    assert given.plan_.settings(100, 30, 10).learning_rate == 0.017


def test_very_wide_tables_are_not_compared():
    rows = np.random.default_rng(0).normal(size=(110, WIDEST + 1))
    detector = small(FlowDetector, fallback="gaussian", epochs=1, calibration="split").fit(rows)
    assert "held_out_loss_of_gaussian" not in training_of(detector)
    assert detector.members_[0].architecture.density == "flow"
