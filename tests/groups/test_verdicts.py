"""Verdicts on groups: which, why, at what rate; their own rows and the detector alone; clear refusals."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from test_latent_detectors import pictures
from test_latent_detectors import quick as latent

import upland
from normals import mixed, numbers, quick
from upland.catalogue import STATISTICS
from upland.detectors.latent import FlowDetector, VAEDetector
from upland.groups import verdicts as groupcontract
from upland.groups.verdicts import judge_scores

DETECTORS = {
    "energy": lambda **more: quick(**more),
    "flow": lambda **more: latent(FlowDetector, **more),
    "vae": lambda **more: latent(VAEDetector, **more),
}
MIXING = np.random.default_rng(9).normal(size=(4, 4))


def related(count, seed):
    """Rows whose columns go together."""
    return np.random.default_rng(seed).normal(size=(count, 4)) @ MIXING


@pytest.fixture(scope="module", params=DETECTORS)
def fitted(request):
    return DETECTORS[request.param](calibration="split", epochs=20).fit(related(1_000, 0))


@pytest.fixture(scope="module")
def dealt():
    """Eight lots: the third has one column permuted, the sixth is shifted."""
    rows, lots = related(400, 1), np.repeat([f"lot {i}" for i in range(8)], 50)
    rng = np.random.default_rng(2)
    rows[100:150, 1] = rng.permutation(rows[100:150, 1])
    rows[250:300] += 1.5 * rows.std(0)
    return rows, lots


def test_what_has_gone_off_is_flagged_and_named(fitted, dealt):
    found = fitted.score_groups(*dealt)
    assert found.group.tolist() == [f"lot {i}" for i in range(8)]
    assert found.size.tolist() == [50] * 8
    assert found.flag[[2, 5]].all()
    assert found.flag.sum() <= 3
    assert found.kind[2] == "dependence"
    assert found.kind[5] == "marginals"
    assert set(np.argsort(found.statistic)[-2:]) == {2, 5}


@pytest.mark.parametrize("seed", range(4))
def test_a_shift_is_told_as_marginals_and_mixed_up_values_as_dependence(seed):
    def correlated(count, number):
        rng = np.random.default_rng([seed, number])
        return rng.normal(size=(count, 1)) + 0.7 * rng.normal(size=(count, 6))

    detector = quick(calibration="split").fit(correlated(800, 0))
    shifted, mixed_up = correlated(30, 1), correlated(30, 2)
    shifted[:, 3] += 1.5
    mixed_up[:, 2] = np.random.default_rng(seed).permutation(mixed_up[:, 2])
    found = detector.score_groups(np.concatenate([shifted, mixed_up]), np.repeat([0, 1], 30))
    assert found.kind.tolist() == ["marginals", "dependence"]
    assert found.columns[0][0] == "x3"
    assert found.columns[1][0] == "x2"


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_judges_every_model_that_can(fitted, dealt, statistic):
    if statistic in ("divergence", "geometric") and isinstance(fitted, upland.EnergyDetector):
        with pytest.raises(TypeError, match=f"{statistic}.*latents.*FlowDetector"):
            fitted.score_groups(*dealt, statistic=statistic)
        return
    found = fitted.score_groups(*dealt, statistic=statistic)
    assert np.isfinite(found.statistic).all()
    assert ((found.p_value > 0) & (found.p_value <= 1)).all()


def test_a_groups_verdict_is_of_its_own_rows_alone(fitted, dealt):
    rows, lots = dealt
    whole = fitted.score_groups(rows, lots, control="false_alarm")
    alone = fitted.score_groups(rows[100:150], lots[100:150], control="false_alarm")
    order = np.random.default_rng(0).permutation(len(rows))
    mixed_up = fitted.score_groups(rows[order], lots[order], control="false_alarm")
    assert alone.statistic[0] == pytest.approx(whole.statistic[2], rel=1e-9)
    assert alone.p_value[0] == whole.p_value[2]
    back = [mixed_up.group.tolist().index(name) for name in whole.group]
    np.testing.assert_allclose(mixed_up.statistic[back], whole.statistic, rtol=1e-9)
    again = fitted.score_groups(rows, lots, control="false_alarm")
    for first, second in zip(whole, again, strict=True):
        assert np.array_equal(first, second) or first == second


@pytest.mark.parametrize("size", [1, 2, 7])
def test_small_groups_of_normal_rows_are_seldom_flagged(fitted, size):
    rows = related(140, 3)
    found = fitted.score_groups(rows, np.arange(140) // size, control="false_alarm")
    rate = (found.p_value <= 0.05).mean()
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(found.p_value)) + 0.05


def test_a_column_names_the_groups_of_frames_and_files(tmp_path):
    frame = mixed(300).assign(shift=np.arange(300) // 30)
    detector = quick(calibration="split", ignore=["shift"]).fit(frame)
    found = detector.score_groups(frame, "shift")
    assert found.group.tolist() == list(range(10))
    frame.to_parquet(tmp_path / "f.parquet")
    frame.to_csv(tmp_path / "f.csv", index=False)
    for path in ("f.parquet", "f.csv"):
        of_file = detector.score_groups(tmp_path / path, "shift")
        np.testing.assert_allclose(of_file.statistic, found.statistic, rtol=1e-9)
    of_the_rest = quick(calibration="split").fit(mixed(300)).score_groups(frame, "shift")
    assert len(of_the_rest.group) == 10
    assert found.to_frame()["group"].tolist() == list(range(10))
    assert found.to_arrow().num_rows == 10
    assert {c for names in found.columns for c in names} <= set(mixed(1).columns)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("flow", "is a feature"),
        ("shft", "no column 'shft'"),
        (np.arange(7), "300 rows, but groups names 7"),
        ([None] + [1] * 299, "1 of 300 rows have no group"),
        ([float("nan")] * 2 + [1.0] * 298, "2 of 300 rows have no group"),
    ],
)
def test_groups_that_cannot_be_are_refused(groups, message):
    detector = quick(calibration="split").fit(mixed(300))
    with pytest.raises(ValueError, match=message):
        detector.score_groups(mixed(300), groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"alpha": 0}, "alpha"), ({"control": "both"}, "control"), ({"statistic": "best"}, "statistic")],
)
def test_arguments_that_make_no_sense_are_named(options, message):
    detector = quick(calibration="split").fit(numbers(200))
    with pytest.raises(ValueError, match=message):
        detector.score_groups(numbers(20), np.zeros(20), **options)


def test_without_kept_rows_there_is_no_verdict(tmp_path):
    detector = quick(calibration="split", keep_rows=0).fit(numbers(200))
    with pytest.raises(ValueError, match="keep_rows"):
        detector.score_groups(numbers(20), np.zeros(20))
    upland.save(detector, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="keep_rows"):
        upland.load(tmp_path / "m.safetensors").score_groups(numbers(20), np.zeros(20))


def test_too_coarse_p_values_are_told():
    detector = quick(calibration="split").fit(numbers(120))
    with pytest.warns(UserWarning, match="cannot be flagged"):
        found = detector.score_groups(numbers(20) + 50, np.arange(20), alpha=0.01)
    assert not found.flag.any()


def test_fresh_normal_rows_renew_the_comparison(tmp_path):
    detector = quick(calibration="split").fit(related(500, 0))
    moved = related(500, 1) + 3
    lots = np.arange(100) // 25
    assert detector.score_groups(moved[:100], lots).flag.all()
    detector.calibrate(moved[100:])
    assert not detector.score_groups(moved[:100], lots).flag.any()
    upland.save(detector, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors")
    assert not again.score_groups(moved[:100], lots).flag.any()


def test_groups_of_images_have_regions():
    normal, new = pictures(200), pictures(40, seed=1)
    new[20:, :3, :2] = 250
    for detector in (quick(calibration="split"), latent(hidden=(4,), depth=1, calibration="split")):
        found = detector.fit(normal).score_groups(new, np.arange(40) // 20, control="false_alarm")
        assert found.statistic[1] > found.statistic[0]
        assert found.flag[1]
        assert "top left" in found.columns[1]


def test_groups_of_sequences_go_by_their_scores():
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(120, 12, 2)), rng.normal(size=(20, 12, 2))
    new[10:] *= 3
    detector = upland.EnergyDetector(
        hidden=(8,), epochs=2, frame=4, calibration="split", random_state=0, progress=False
    ).fit(normal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = detector.score_groups(new, np.arange(20) // 10)
    assert found.statistic[1] > found.statistic[0]
    with pytest.raises(TypeError, match="scores"):
        detector.score_groups(new, np.zeros(20), statistic="divergence")
    with pytest.raises(ValueError, match="array"):
        detector.score_groups(new, "id")


def test_a_cross_fitted_detector_judges_by_its_first_member():
    detector = quick(calibration="cross").fit(related(300, 0))
    found = detector.score_groups(related(60, 1) + 5, np.arange(60) // 20)
    assert found.flag.all()
    assert len(detector.members_[0].reserve) == 60


def test_nothing_is_flagged_among_normal_groups_more_often_than_said():
    """Over redraws of training and groups: one draw proves nothing."""
    flagged = []
    for seed in range(12):
        detector = quick(calibration="split", epochs=2, random_state=seed).fit(related(250, 100 + seed))
        found = detector.score_groups(related(100, 200 + seed), np.arange(100) // 5, control="false_alarm")
        flagged.append(found.flag.mean())
    error = np.std(flagged) / np.sqrt(len(flagged))
    assert np.mean(flagged) <= 0.05 + 3 * max(error, 0.014)


def test_a_large_group_is_judged_by_some_of_its_rows():
    detector = quick(calibration="split").fit(related(500, 0))
    found = detector.score_groups(related(9_000, 1), np.zeros(9_000), control="false_alarm")
    assert found.size.tolist() == [9_000]
    assert 0 < found.p_value[0] <= 1
    shifted = pd.DataFrame(related(9_000, 1) + 1)
    assert detector.score_groups(shifted.to_numpy(), np.zeros(9_000), control="false_alarm").flag[0]


def test_a_large_groups_verdict_does_not_depend_on_its_place_in_the_call():
    detector = quick(calibration="split", epochs=1).fit(related(500, 0))
    large, small = related(5_000, 1), related(40, 2)
    alone = detector.score_groups(large, np.zeros(5_000), control="false_alarm")
    behind = detector.score_groups(
        np.concatenate([small, large]), np.repeat([0, 1], [40, 5_000]), control="false_alarm"
    )
    assert behind.group.tolist() == [0, 1]
    assert behind.statistic[1] == pytest.approx(alone.statistic[0], rel=1e-9)
    assert behind.p_value[1] == alone.p_value[0]


@pytest.mark.parametrize(
    "kept",
    [
        torch.tensor,
        pa.array,
        lambda labels: pa.chunked_array([labels]),
        lambda labels: pd.Series(labels, dtype="Int64"),
        np.array,
        tuple,
    ],
    ids=["torch", "arrow", "chunked", "pandas", "numpy", "tuple"],
)
def test_labels_may_be_in_anything(kept):
    detector = quick(calibration="split", epochs=1).fit(numbers(200))
    found = detector.score_groups(numbers(40), kept([3] * 20 + [1] * 20))
    assert found.group.tolist() == [3, 1]
    assert found.size.tolist() == [20, 20]


@pytest.mark.parametrize("lost", [pa.array([None] + [1] * 39), pd.Series([pd.NA] + [1] * 39, dtype="Int64")])
def test_labels_that_are_missing_are_refused_in_anything(lost):
    detector = quick(calibration="split", epochs=1).fit(numbers(200))
    with pytest.raises(ValueError, match="1 of 40 rows have no group"):
        detector.score_groups(numbers(40), lost)
    with pytest.raises(ValueError, match="one label for each row"):
        detector.score_groups(numbers(40), np.zeros((40, 1)))


@pytest.mark.filterwarnings("ignore")
def test_cross_fitted_sequences_are_judged_by_the_first_member_and_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(90, 8, 2)), rng.normal(size=(20, 8, 2))
    detector = upland.EnergyDetector(
        hidden=(8,), epochs=2, frame=4, calibration="cross", random_state=0, progress=False
    ).fit(normal)
    own = detector.calibration_.scores[detector.calibration_.folds == 0]
    scores = detector._scored(new, "sequence").values[:, 0]
    lots = np.arange(20) // 10
    there = judge_scores(own, scores, lots, 0.05, "fdr", "auto")
    assert detector.score_groups(new, lots).p_value.tolist() == there.p_value.tolist()


def test_one_column_cannot_depend():
    detector = quick(calibration="split", epochs=1).fit(numbers(300, 1))
    assert set(detector.score_groups(numbers(80, 1), np.arange(80) // 20).kind) == {"marginals"}


def test_renewal_keeps_as_many_rows_as_the_fit():
    detector = quick(calibration="split", epochs=1).fit(numbers(300)).set_params(keep_rows=0)
    detector.calibrate(numbers(100, seed=2))
    assert len(detector.members_[0].reserve) == 100


def test_verdicts_are_the_same_whatever_fits_into_memory(monkeypatch):
    detector = latent(calibration="split", epochs=1).fit(numbers(700))
    rows, lots = numbers(1_400, seed=2), np.arange(1_400) // 700
    whole = detector.score_groups(rows, lots)
    monkeypatch.setattr(groupcontract, "NUMBERS_AT_ONCE", 1)
    pieces = detector.score_groups(rows, lots)
    assert pieces.statistic.tolist() == whole.statistic.tolist()
    assert pieces.p_value.tolist() == whole.p_value.tolist()


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 3 have no score"):
        judge_scores(np.arange(40.0), np.array([1.0, np.nan, 2.0]), [0, 0, 1], 0.05, "fdr", "auto")
