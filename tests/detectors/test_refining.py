"""Refining by a few labelled rows: what it brings, what it leaves, and that p-values keep their guarantee."""

import copy

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import upland
from laws import scores_in_a_new_process
from normals import mixed, numbers
from upland.detectors.refining import spared_rows
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

NORMALS = 20


def experts(**options):
    return upland.EnergyDetector(**{"random_state": 0, "progress": False} | options)


def shifted(count=40, seed=5):
    """Rows of which the first are a little too high in column 2, and their labels."""
    rows = numbers(2 * count, seed=seed)
    rows[:count, 2] += 2.5
    return rows, np.repeat([1, 0], count)


def labelled(anomalies=8, seed=7):
    rows = numbers(anomalies + NORMALS, seed=seed)
    rows[:anomalies, 2] += 2.5
    return rows, np.r_[np.ones(anomalies, dtype=int), np.zeros(NORMALS, dtype=int)]


FITS = {
    "split": lambda: experts().fit(numbers(700)),
    "cross": lambda: experts().fit(numbers(200)),
    "calibrated": lambda: experts().fit(numbers(200)).calibrate(numbers(150, seed=3)),
    "fast": lambda: experts(speed="fast").fit(numbers(700)),
}


@pytest.fixture(params=FITS)
def detector(request):
    return FITS[request.param]()


def test_labels_find_more_of_their_sort(detector):
    rows, is_anomaly = shifted()
    before = roc_auc_score(is_anomaly, detector.anomaly_score(rows))
    assert detector.refine(*labelled()) is detector
    after = roc_auc_score(is_anomaly, detector.anomaly_score(rows))
    assert after > before + 0.02
    for found in detector.info()["refinement"]:
        assert (found["anomalies"], found["normals"]) == (8, NORMALS)
        assert found["auroc"] >= found["auroc_before"]


def test_what_calibrates_had_no_part_in_it(detector):
    before = [member.held_out for member in detector.members_]
    detector.refine(*labelled())
    for held_out, member in zip(before, detector.members_, strict=True):
        spared = [] if member.refining is None else member.refining.tolist()
        kept = member.held_out.tolist()
        assert sorted([*kept, *spared]) == sorted(held_out.tolist())
        assert len(spared) == member.refinement.held_out
        assert not any(row in spared for row in kept)
    scores = [detector.fitted_criterion(member, "row").score(member.held_out) for member in detector.members_]
    calibration = detector.calibration_
    expected = np.concatenate(scores) if calibration.folds is not None else np.mean(scores, axis=0)
    assert (calibration.scores == expected).all()


@pytest.mark.parametrize("labels", ["anomalies", "noise"])
def test_normal_rows_keep_alpha_over_redraws(labels):
    rates = []
    for seed in range(40):
        fitted = experts(random_state=seed, parts=["whitened", "unseen"]).fit(numbers(700, seed=1000 + seed))
        rows, y = labelled(seed=2000 + seed)
        if labels == "noise":
            y = np.random.default_rng(seed).permutation(y)
        fitted.refine(rows, y)
        p = fitted.p_values(numbers(500, seed=3000 + seed))
        rates.append([(p <= alpha).mean() for alpha in (0.05, 0.01)])
    n = fitted.calibration_.size
    for alpha, rate in zip((0.05, 0.01), np.mean(rates, axis=0), strict=True):
        exact = np.floor(alpha * (n + 1)) / (n + 1)
        error = np.sqrt(alpha * (1 - alpha) * (1 / n + 1 / 500) / 40)
        assert abs(rate - exact) < 3.5 * error


def test_labels_that_say_nothing_leave_the_scores_as_they_were():
    fitted, new = FITS["split"](), numbers(50, seed=4)
    before = fitted.anomaly_score(new)
    rows = numbers(24, seed=21)
    fitted.refine(rows, [1, 1, 1, 1, *[0] * 20])
    assert fitted.info()["refinement"][0]["shrinkage"] is None
    assert (fitted.anomaly_score(new) == before).all()


@pytest.mark.parametrize(("rows", "normals"), [(500, 0), (500, 1), (520, 0), (1000, 0), (1000, 5)])
def test_few_labels_of_broad_anomalies_do_no_harm(rows, normals):
    gains = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        fitted = experts(random_state=seed).fit(rng.normal(size=(rows, 10)))
        labelled_rows = np.r_[1.3 * rng.normal(size=(20, 10)), rng.normal(size=(normals, 10))]
        new, y = (
            np.r_[1.3 * rng.normal(size=(1000, 10)), rng.normal(size=(1000, 10))],
            np.repeat([1, 0], 1000),
        )
        before = roc_auc_score(y, fitted.anomaly_score(new))
        if rows == 500 and normals == 0:
            with pytest.raises(ValueError, match="too few are held out in its place: label 10 rows with 0"):
                fitted.refine(labelled_rows, np.ones(20))
        else:
            fitted.refine(labelled_rows, np.repeat([1, 0], [20, normals]))
        gains.append(roc_auc_score(y, fitted.anomaly_score(new)) - before)
    assert np.mean(gains) > -0.003


def test_a_second_call_takes_the_place_of_the_first(detector):
    new = numbers(50, seed=4)
    twice, once = detector, copied(detector)
    twice.refine(*labelled(5, seed=11)).refine(*labelled())
    once.refine(*labelled())
    assert (twice.anomaly_score(new) == once.anomaly_score(new)).all()
    assert (twice.p_values(new) == once.p_values(new)).all()


def copied(detector):

    return copy.deepcopy(detector)


def test_the_order_of_labelled_rows_does_not_matter(detector):
    rows, y = labelled()
    order = np.random.default_rng(0).permutation(len(y))
    other, new = copied(detector), numbers(50, seed=4)
    detector.refine(rows, y)
    other.refine(rows[order], y[order])
    assert (detector.anomaly_score(new) == other.anomaly_score(new)).all()
    assert (detector.p_values(new) == other.p_values(new)).all()


def test_the_same_after_reload_and_refined_again_there(detector, tmp_path):
    new, path = numbers(50, seed=4), tmp_path / "model.safetensors"
    upland.save(detector, path)
    fresh = upland.load(path).refine(*labelled())
    detector.refine(*labelled())
    assert (fresh.anomaly_score(new) == detector.anomaly_score(new)).all()
    upland.save(detector, path)
    loaded = upland.load(path)
    assert (loaded.p_values(new) == detector.p_values(new)).all()
    assert loaded.info() == detector.info()
    assert loaded.offset_ == detector.offset_
    again = loaded.refine(*labelled(5, seed=11)).anomaly_score(new)
    assert (again == detector.refine(*labelled(5, seed=11)).anomaly_score(new)).all()


def test_the_same_in_a_new_process(tmp_path):
    fitted, new = FITS["split"]().refine(*labelled()), numbers(50, seed=4)
    upland.save(fitted, tmp_path / "model.safetensors")
    np.save(tmp_path / "new.npy", new)
    again = scores_in_a_new_process([tmp_path / "model.safetensors"], tmp_path / "new.npy")
    assert (again[0] == np.stack(fitted.assess(new))).all()


def rewritten(path, change):
    """The file with other tensors or another manifest."""
    tensors, manifest = read_tensors(path)
    change(tensors, manifest)
    manifest["tensors"] = {name: [value.dtype.name, list(value.shape)] for name, value in tensors.items()}
    write_tensors(path, tensors, manifest, overwrite=True)
    return path


def test_files_without_labels_are_as_if_there_were_none(tmp_path):
    upland.save(FITS["split"](), tmp_path / "m.safetensors")
    tensors, manifest = read_tensors(tmp_path / "m.safetensors")
    assert not any(name.endswith(("part_weights", "tilt", "refining")) for name in tensors)
    assert "refinement" not in manifest["members"][0]


def no_record(tensors, manifest):
    del manifest["members"][0]["refinement"]


def no_tilt(tensors, manifest):
    del tensors["0/model/tilt"]


def no_changes(tensors, manifest):
    del tensors["0/model/tilt"], tensors["0/model/part_weights"]


def negative_weight(tensors, manifest):
    tensors["0/model/part_weights"] = -tensors["0/model/part_weights"]


def infinite(tensors, manifest):
    tensors["0/model/tilt"] = tensors["0/model/tilt"] + np.float32(np.inf)


def short(tensors, manifest):
    tensors["0/model/tilt"] = tensors["0/model/tilt"][:-1]


def steep(tensors, manifest):
    tensors["0/model/tilt"] = tensors["0/model/tilt"] + np.float32(1e38)


def far_constant(tensors, manifest):
    tensors["0/model/tilt"][-1] = 1e30


def heavy(tensors, manifest):
    tensors["0/model/part_weights"] = tensors["0/model/part_weights"] * np.float32(1e30)


def no_refining_rows(tensors, manifest):
    del tensors["0/rows/refining"]


def fewer_refining_rows(tensors, manifest):
    tensors["0/rows/refining"] = tensors["0/rows/refining"][1:]


def many_held_out(tensors, manifest):
    manifest["members"][0]["refinement"]["held_out"] = 10**18


def large_shrinkage(tensors, manifest):
    manifest["members"][0]["refinement"]["shrinkage"] = 1e300


BROKEN = [no_record, no_tilt, no_changes, negative_weight, infinite, short]
FORGED = [
    steep,
    far_constant,
    heavy,
    no_refining_rows,
    fewer_refining_rows,
    many_held_out,
    large_shrinkage,
]


@pytest.mark.parametrize("change", BROKEN + FORGED)
def test_files_that_no_refinement_leaves_are_refused(change, tmp_path):
    upland.save(FITS["split"]().refine(*labelled()), tmp_path / "m.safetensors")
    upland.load(rewritten(tmp_path / "m.safetensors", lambda tensors, manifest: None))
    with pytest.raises(TensorFileError):
        upland.load(rewritten(tmp_path / "m.safetensors", change))


def test_shares_of_a_refined_score_sum_to_it():
    fitted, new = FITS["split"]().refine(*labelled()), numbers(50, seed=4)
    model = fitted.members_[0].model
    assert model.tilt is not None
    x = torch.from_numpy(fitted.encoder_.transform(new))
    with torch.no_grad():
        np.testing.assert_allclose(model.shares(x).sum(1), model.joined_score(x), rtol=1e-9)


def test_mixed_tables_and_any_container_of_labels(tmp_path):
    rows = mixed(30, seed=1).assign(broken=[1] * 5 + [0] * 25)
    rows.loc[:4, "pressure"] += 3
    y = rows["broken"]
    new, base = mixed(40, seed=2), experts().fit(mixed(600))
    found = [
        copied(base).refine(table, labels).anomaly_score(new)
        for table, labels in [
            (rows.drop(columns="broken"), y),
            (rows, "broken"),
            (rows, y.astype(bool).tolist()),
            (rows, pa.array(y.astype(float))),
            (pa.Table.from_pandas(rows), y.to_numpy()),
        ]
    ]
    assert all((scores == found[0]).all() for scores in found)


@pytest.mark.parametrize("words", [("True", "False"), ("true", "false"), ("TRUE", "FALSE"), ("1", "0")])
def test_labels_of_a_file_are_those_of_a_frame(tmp_path, words):
    rows, y = labelled()
    table = pd.DataFrame(rows, columns=[f"c{j}" for j in range(rows.shape[1])]).assign(broken=y == 1)
    new = table.drop(columns="broken")
    base = experts().fit(pd.DataFrame(numbers(700), columns=new.columns))
    path = tmp_path / "labelled.csv"
    table.assign(broken=[words[0] if one else words[1] for one in y]).to_csv(path, index=False)
    expected = copied(base).refine(table, "broken").anomaly_score(new)
    assert (copied(base).refine(path, "broken").anomaly_score(new) == expected).all()


def test_a_numeric_contamination_sets_the_offset_by_the_new_scores():
    fitted = experts(contamination=0.1).fit(numbers(700)).refine(*labelled())
    assert fitted.offset_ == np.percentile(-fitted.calibration_.scores, 10)
    assert abs((fitted.predict(numbers(2000, seed=9)) == -1).mean() - 0.1) < 0.06


def test_groups_are_compared_with_rows_that_had_no_part_in_it():
    fitted = FITS["split"]()
    fitted.score_groups(numbers(40, seed=8), np.repeat([0, 1], 20))
    fitted.refine(*labelled())
    assert fitted.group_tester_.reference.held_out is fitted.members_[0].held_out


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([2] * 28, "row 0 has 2"),
        ([0.5] * 28, "row 0 has 0.5"),
        ([1, None, *[0] * 26], "row 1 has None"),
        ([1, float("nan"), *[0] * 26], "row 1 has nan"),
        (["yes"] * 28, "row 0 has 'yes'"),
        ([0] * 28, "no row is labelled an anomaly: label one with 1 at least"),
        ([1] * 27, "there are 28 labelled rows, but y has 27 labels"),
        (None, "y must be one label for each row"),
        (np.ones((28, 2)), "y must be one label for each row|row 0 has"),
    ],
)
def test_labels_that_are_none_are_refused(y, words):
    fitted = FITS["split"]()
    before = fitted.members_
    with pytest.raises(ValueError, match=words):
        fitted.refine(labelled()[0], y)
    assert fitted.members_ is before


def test_what_cannot_be_refined_says_so():
    rows, y = labelled()
    with pytest.raises(NotFittedError):
        experts().refine(rows, y)
    with pytest.raises(ValueError, match="no column 'q' of labels; the table has no names"):
        FITS["split"]().refine(rows, "q")
    for y, words in (([1, 1, 1], "no row is labelled"), ([1, 1, 0], "only one row is labelled")):
        with pytest.raises(ValueError, match=words):
            experts().fit(numbers(20)).refine(rows[:3], y)
    with pytest.raises(ValueError, match="missing column"):
        experts().fit(mixed()).refine(pd.DataFrame({"flow": [1.0]}), [1])


def test_few_held_out_rows_stay_to_calibrate():
    left = {held: held - spared_rows(held) for held in (1, 15, 19, 20, 60, 99, 120, 200, 2000)}
    assert left == {1: 1, 15: 15, 19: 19, 20: 19, 60: 45, 99: 99, 120: 99, 200: 150, 2000: 1950}
