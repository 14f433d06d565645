"""`score_groups` of detectors: anomalous groups with their reasons, labels from anywhere, refusals."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest

import upland
from laws import standard_error
from normals import mixed, numbers, quick, small, waves
from plant import ramps
from upland.groups.tester import verdicts_from_scores

DETECTORS = (upland.EnergyDetector, upland.FlowDetector, upland.VAEDetector)
MIXING = np.random.default_rng(9).normal(size=(4, 4))


def related(count, seed):
    """Rows whose columns are correlated."""
    return np.random.default_rng(seed).normal(size=(count, 4)) @ MIXING


@pytest.fixture(scope="module", params=[*DETECTORS, "experts"])
def fitted(request):
    if request.param == "experts":
        return quick(energy="experts").fit(related(1_000, 0))
    return small(request.param, epochs=20).fit(related(1_000, 0))


@pytest.fixture(scope="module")
def lots():
    """Eight lots: the third has one column permuted, the sixth is shifted."""
    rows, labels = related(400, 1), np.repeat([f"lot {i}" for i in range(8)], 50)
    rng = np.random.default_rng(2)
    rows[100:150, 1] = rng.permutation(rows[100:150, 1])
    rows[250:300] += 1.5 * rows.std(0)
    return rows, labels


def test_anomalous_groups_are_flagged_with_their_reason(fitted, lots):
    found = fitted.score_groups(*lots)
    assert found.group.tolist() == [f"lot {i}" for i in range(8)]
    assert found.size.tolist() == [50] * 8
    assert found.flag[[2, 5]].all()
    assert found.flag.sum() <= 3
    assert found.reason[2] == "dependence"
    assert found.reason[5] == "marginals"
    assert set(np.argsort(found.statistic)[-2:]) == {2, 5}


@pytest.mark.parametrize("container", [list, lambda labels: pd.Series(labels), iter])
def test_labels_may_be_in_anything_and_are_read_once(container, fitted, lots):
    rows, labels = lots
    found = fitted.score_groups(rows, container(labels.tolist()), reasons=False)
    np.testing.assert_array_equal(found.p_value, fitted.score_groups(rows, labels, reasons=False).p_value)


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
    assert found.to_frame()["group"].tolist() == found.to_arrow()["group"].to_pylist() == list(range(10))
    assert {c for names in found.columns for c in names} <= set(mixed(1).columns)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("flow", "is a feature"),
        ("shft", "no column 'shft'"),
        (np.arange(7), "300 rows, but groups names 7"),
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
    new = ramps(40, 1)
    new[20:, :4, :4] = 250
    for made in (upland.ImageEnergyDetector, upland.ImageFlowDetector):
        detector = small(made, epochs=3)
        found = detector.fit(ramps(200, 0)).score_groups(new, np.arange(40) // 20, control="false_alarm")
        assert found.flag.tolist() == [False, True]
        assert "top left" in found.columns[1]
        without = detector.score_groups(new, np.arange(40) // 20, control="false_alarm", reasons=False)
        assert without.p_value.tolist() == found.p_value.tolist()
        assert set(without.reason) == {""}
    with pytest.raises(ValueError, match="images have no column 'lot'"):
        detector.score_groups(new, "lot")


def test_groups_of_sequences_go_by_their_scores():
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(120, 12, 2)), rng.normal(size=(20, 12, 2))
    new[10:] *= 3
    detector = small(upland.SequenceEnergyDetector, frame=4).fit(normal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = detector.score_groups(new, np.arange(20) // 10)
    assert found.statistic[1] > found.statistic[0]
    with pytest.raises(TypeError, match="scores"):
        detector.score_groups(new, np.zeros(20), statistic="divergence")
    with pytest.raises(ValueError, match="array"):
        detector.score_groups(new, "id")


def test_a_cross_fitted_detector_tests_by_its_first_member():
    detector = quick(calibration="cross").fit(related(300, 0))
    found = detector.score_groups(related(60, 1) + 5, np.arange(60) // 20)
    assert found.flag.all()
    assert len(detector.members_[0].held_out) == 60


@pytest.mark.parametrize("options", [{"epochs": 1}, {"energy": "experts"}], ids=["nets", "experts"])
def test_normal_groups_are_flagged_as_seldom_as_promised(options):
    """Over redraws of training, held-out rows and groups."""
    flagged = []
    for seed in range(30):
        detector = quick(**options, random_state=seed).fit(related(250, 100 + seed))
        found = detector.score_groups(
            related(100, 200 + seed), np.arange(100) // 5, control="false_alarm", reasons=False
        )
        flagged.append(found.flag.mean())
    error = standard_error(flagged)
    assert error < 0.015
    assert abs(np.mean(flagged) - 0.05) < 3 * error


@pytest.mark.filterwarnings("ignore")
def test_cross_fitted_sequences_are_tested_by_the_first_member_and_what_it_has_not_seen():
    rng = np.random.default_rng(0)
    normal, new = rng.normal(size=(90, 8, 2)), rng.normal(size=(20, 8, 2))
    detector = small(upland.SequenceEnergyDetector, frame=4, calibration="cross").fit(normal)
    own = detector.calibration_.scores[detector.calibration_.folds == 0]
    scores = detector._scores(new, "sequence").values[:, 0]
    lots = np.arange(20) // 10
    there = verdicts_from_scores(own, scores, lots, 0.05, "fdr", "auto")
    assert detector.score_groups(new, lots).p_value.tolist() == there.p_value.tolist()


def test_renewal_keeps_as_many_rows_as_the_fit():
    detector = quick(calibration="split", epochs=1).fit(numbers(300)).set_params(keep_rows=0)
    detector.calibrate(numbers(100, seed=2))
    assert len(detector.members_[0].held_out) == 100


@pytest.mark.parametrize("statistic", ["auto", "likelihood", "mmd", "projections"])
def test_a_verdict_depends_on_the_set_of_rows_and_not_on_their_order(fitted, statistic):
    rows, labels = related(9 * 8, 3), np.repeat(np.arange(8), 9)
    order = np.random.default_rng(4).permutation(len(rows))
    order = order[np.argsort(labels[order], kind="stable")]  # the groups in the same order of appearance
    first = fitted.score_groups(rows, labels, statistic=statistic)
    second = fitted.score_groups(rows[order], labels[order], statistic=statistic)
    assert set(first.method) == {"permutation"}
    np.testing.assert_array_equal(first.p_value, second.p_value)
    np.testing.assert_allclose(first.statistic, second.statistic, rtol=1e-9)


@pytest.fixture(scope="module")
def of_sequences():
    return small(upland.SequenceEnergyDetector, epochs=2).fit(waves(count=120, seed=0))


@pytest.mark.filterwarnings("ignore:.*groups")
def test_groups_of_sequences_compare_like_with_like(of_sequences):
    labels = np.arange(20) % 2
    detector = copy.copy(of_sequences).set_params(criterion="reconstruction")
    with pytest.raises(ValueError, match="calibrated for criterion"):
        detector.score_groups(waves(count=20, seed=1), labels)
    long = np.concatenate(list(waves(count=20, seed=1)))
    with pytest.raises(
        ValueError, match="fitted for scores of sequences, and these data have scores of steps"
    ):
        of_sequences.score_groups(long, np.arange(len(long)) % 2)
    cut = small(upland.SequenceEnergyDetector, epochs=2, window=7, frame=2).fit(waves(count=120, seed=0))
    with pytest.raises(ValueError, match=r"cut sequences into windows.*window=None"):
        cut.score_groups(waves(count=20, seed=1), labels)
