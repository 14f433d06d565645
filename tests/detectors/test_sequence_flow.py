"""The flow of sequences: the likelihood of steps and sequences, calm channels, groups of stretches."""

import copy
from itertools import islice

import numpy as np
import pytest
import torch

import upland
from normals import small
from upland.data.sequence.container import as_sequences
from upland.models.recurrent import RecurrentEnergy
from upland.models.recurrent_flow import RecurrentFlow
from upland.training.loop import Training

CUT = {"window": 32, "lags": 4, "epochs": 3}


def series(steps, seed, calm=1.0):
    """Two channels of an autoregressive series; the noise of the second may be calmer."""
    rng = np.random.default_rng(seed)
    noise, x = rng.normal(size=(steps, 2)) * (1, calm), np.zeros((steps, 2))
    for t in range(1, steps):
        x[t] = 0.8 * x[t - 1] + noise[t]
    return x


@pytest.fixture(scope="module")
def flow():
    return small(upland.SequenceFlowDetector, **CUT).fit(series(1_600, 0))


def test_the_likelihood_is_that_of_the_model_in_nats(flow):
    found = small(upland.SequenceFlowDetector, **CUT, smoothing=1, criterion="likelihood").fit(series(400, 0))
    new, member = series(50, 1), found.members_[0]
    codes = torch.from_numpy(member.encoder.steps(as_sequences(new))).double()
    by_model = -float(copy.deepcopy(member.model).double().log_prob(codes[None])[0].detach())
    assert found.anomaly_score(new).sum() == pytest.approx(by_model, rel=1e-9)


@pytest.mark.parametrize("windows", [3, 5, 16, 40])
@pytest.mark.parametrize("whole", [False, True])
def test_early_stopping_is_by_windows_that_are_not_trained_on(windows, whole, monkeypatch):
    parts, run = [], Training.run

    def watched(self, batches, validation, **options):
        batches = list(islice(batches, 2 * windows))
        parts.append({"training": torch.cat(batches), "validation": validation})
        return run(self, iter(batches), validation, **options)

    monkeypatch.setattr(Training, "run", watched)
    x = series(32 * windows, 0)
    options = {"window": None, "per": "step", "epochs": 1} if whole else {"window": 32, "epochs": 1}
    detector = small(upland.SequenceFlowDetector, **CUT | options, calibration="split", batch_size=1)
    detector.fit(list(x.reshape(windows, 32, 2)) if whole else x)
    training, validation = ({row.numpy().tobytes() for row in parts[0][name]} for name in parts[0])
    assert not training & validation
    assert len(training | validation) == windows - max(1, round(windows / 5))


def test_a_likelihood_of_few_windows_is_that_of_new_series_too():
    """Without early stopping a new step has 1.5 nats more than one of the training."""
    detector = upland.SequenceFlowDetector(calibration="split", lags=8, random_state=0)
    member = detector.fit(series(1_000, 0)).members_[0]
    codes = [torch.from_numpy(member.encoder.steps(as_sequences(series(1_000, seed)))) for seed in (0, 1)]
    with torch.no_grad():
        seen, new = (-float(member.model.log_prob(x[None])[0]) / 1_000 for x in codes)
    assert new - seen < 0.4


def test_a_calm_channel_is_found_and_named_by_the_divergence(flow):
    new = series(600, 2)
    new[300:, 1] = new[300, 1]
    flow.set_params(criterion="divergence")
    scores, shares = flow.anomaly_score(new), upland.explain(flow, new).shares
    flow.set_params(criterion="auto")
    assert scores[450:].min() > scores[:300].max()
    assert (shares[450:].argmax(1) == 1).all()


def test_groups_of_stretches_are_found_by_their_latents(flow):
    new = np.concatenate([series(400, 3), series(400, 4, calm=0.4)])
    labels = np.repeat(["normal", "calm"], 400)
    found = flow.score_groups(new, labels, control="false_alarm")
    assert found.group.tolist() == ["normal", "calm"]
    assert found.size.tolist() == [400, 400]
    assert found.p_value[1] < 0.01 < found.p_value[0]
    assert found.columns[1][0] == "x1"


@pytest.mark.filterwarnings("ignore:.* held-out blocks of .* are few")
def test_p_values_of_normal_stretches_keep_their_rate(flow):
    p = np.concatenate(
        [
            flow.score_groups(
                series(1_280, seed), np.arange(1_280) // 64, control="false_alarm", reasons=False
            ).p_value
            for seed in range(10, 15)
        ]
    )
    assert (p <= 0.1).mean() < 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(p)) + 0.02  # one model, 10 held-out windows


def test_groups_are_refused_where_nothing_is_kept_or_the_statistic_needs_more(flow):
    none = small(upland.SequenceFlowDetector, **CUT, keep_rows=0).fit(series(400, 0))
    with pytest.raises(ValueError, match="no normal steps are kept"):
        none.score_groups(series(64, 1), np.zeros(64))
    with pytest.raises(TypeError, match="tested by their latents"):
        flow.score_groups(series(64, 1), np.zeros(64), statistic="stein")
    with pytest.raises(ValueError, match="statistic must be one of"):
        flow.score_groups(series(64, 1), np.zeros(64), statistic="other")


@pytest.mark.filterwarnings("ignore:.* held-out blocks of .* are few")
def test_groups_are_the_same_after_loading(flow, tmp_path):
    upland.save(flow, tmp_path / "m.safetensors")
    new, labels = series(200, 5), np.arange(200) // 100
    again = upland.load(tmp_path / "m.safetensors").score_groups(new, labels)
    assert flow.score_groups(new, labels).p_value.tolist() == again.p_value.tolist()


def test_the_first_steps_of_normal_series_are_not_flagged_more_than_others():
    generator = np.random.default_rng(0)
    t = np.arange(240)
    phase = generator.uniform(0, 6, (60, 1))
    x = np.sin(t / 6 + phase)[..., None] + 0.1 * generator.normal(size=(60, 240, 1))
    detector = upland.SequenceFlowDetector(per="step", random_state=0, epochs=5, window=None).fit(x[:40])
    flags = detector.flag(x[40:], alpha=0.05)
    assert flags[:, :60].mean() < 0.12


@pytest.mark.parametrize("criterion", ["likelihood", "divergence", "likelihood_divergence"])
def test_a_first_step_is_flagged_where_it_is_far_from_all_that_is_normal(criterion):
    detector = upland.SequenceFlowDetector(criterion=criterion, random_state=0, epochs=3).fit(
        series(1_500, 0)
    )
    new = series(60, 1)
    usual = detector.anomaly_score(new)[:8]
    assert len(np.unique(usual)) == 1  # and no ranks of rounding
    new[0, 1] = 1e4
    scores, p_values = detector.assess(new)
    assert scores[0] > usual[0]
    assert p_values[:8].max() < 0.05


@pytest.mark.parametrize("own", [RecurrentEnergy, RecurrentFlow])
def test_a_model_of_ones_own_for_other_channels_is_refused(own):
    made = upland.SequenceEnergyDetector if own is RecurrentEnergy else upland.SequenceFlowDetector
    with pytest.raises(ValueError, match=r"has 2 encoded channel\(s\), and the model takes 3"):
        made(model=own(3), epochs=1).fit(series(100, 0))
