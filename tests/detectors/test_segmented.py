"""A detector with a model for every segment: scores, p-values over redraws, unseen segments, files."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import upland
from laws import assert_level, scores_in_a_new_process
from upland.calibration.segments import LEVELS
from upland.detectors import segmented, segmentrows
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

QUICK = {
    "epochs": 1,
    "hidden": (4,),
    "calibration": "split",
    "random_state": 0,
    "progress": False,
    "keep_rows": 32,
}


def machines(counts, seed=0, differ=1.0):
    """Flow and pressure of machines that run at points of their own, and a category."""
    rng, places = np.random.default_rng(seed), np.random.default_rng(7).normal(size=(2, 100))
    of = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    flow = rng.normal(size=of.size) + 3 * differ * places[0, of]
    slope = 1 + differ * places[1, of]
    frame = {"machine": np.array([f"m{n:02d}" for n in range(len(counts))])[of], "flow": flow}
    frame["pressure"] = slope * flow + 0.2 * rng.normal(size=of.size)
    return pd.DataFrame(frame | {"valve": rng.choice(["open", "shut"], of.size)})


def make(**options):
    inner = {name: options.pop(name) for name in list(options) if name in QUICK}
    return upland.SegmentedDetector(upland.EnergyDetector(**QUICK | inner), **{"by": "machine"} | options)


@pytest.fixture(scope="module")
def detector():
    return make().fit(machines([80] * 10 + [7, 3, 1]))


@pytest.fixture(scope="module")
def new():
    return machines([9] * 12, seed=1)


def test_a_row_of_another_machine_is_anomalous(detector, new):
    moved = new.assign(machine=np.roll(np.array([f"m{n:02d}" for n in range(10)]), 1)[new.index % 10])
    clean = new[new["machine"] < "m10"]
    moved = moved.loc[clean.index]
    moved = moved[moved["machine"] != clean["machine"]]
    scores = [detector.anomaly_score(rows) for rows in (clean, moved)]
    labels = np.repeat([0, 1], [len(clean), len(moved)])
    assert roc_auc_score(labels, np.concatenate(scores)) > 0.9
    pooled = [detector.pooled_.anomaly_score(rows) for rows in (clean, moved)]
    assert roc_auc_score(labels, np.concatenate(pooled)) < 0.6


def test_segments_that_do_not_differ_rank_as_the_pooled_detector():
    """Nearly: by chance small differences between segments remain."""
    rows, fresh = machines([60] * 12, differ=0.0), machines([20] * 12, seed=1, differ=0.0)
    detector = make().fit(rows)
    order = [
        np.argsort(np.argsort(s))
        for s in (detector.anomaly_score(fresh), detector.pooled_.anomaly_score(fresh))
    ]
    assert np.corrcoef(*order)[0, 1] > 0.98
    assert detector.info()["segments"]["mostly_pooled"] == 12


def test_info_says_what_the_segments_are(detector):
    info = detector.info()
    segments = info["segments"]
    assert (segments["count"], segments["by"], info["rows"]) == (13, "machine", 811)
    assert segments["training_rows"][0] <= 1
    assert segments["training_rows"][2] == 64
    assert 0.8 < segments["own_mean"] < 1
    assert "exact in each segment" in info["calibration"]["guarantee"]
    assert info["calibration"]["guarantee_unseen"].startswith("none for segments that the fit did not see")
    assert segments["can_be_flagged"] == 13
    assert (info["detector"], info["pooled_detector"]) == ("SegmentedDetector", "EnergyDetector")
    assert "machine" not in [column["name"] for column in info["columns"]]


def test_every_fifth_row_of_a_segment_calibrates(detector):
    sizes = detector.segment_calibration_.sizes
    assert (sizes[:10] == 16).all()
    assert sizes.sum() + detector.counts_.sum() == 811


# -- rows in any order and container -------------------------------------------------------------------------


def test_order_batches_and_containers_change_nothing(detector, new, tmp_path):
    scores = detector.anomaly_score(new)
    order = np.random.default_rng(0).permutation(len(new))
    np.testing.assert_allclose(detector.anomaly_score(new.iloc[order]), scores[order], rtol=1e-7)
    single = np.concatenate([detector.anomaly_score(new.iloc[n : n + 1]) for n in range(20)])
    np.testing.assert_allclose(single, scores[:20], rtol=1e-7)
    table = pa.Table.from_pandas(new, preserve_index=False)
    csv.write_csv(table, tmp_path / "new.csv")
    shuffled = new[["valve", "pressure", "machine", "flow"]]
    others = (pl.from_pandas(new), table, shuffled, new.to_dict("list"), tmp_path / "new.csv")
    for other in (*others, new.astype({"machine": "category"})):
        np.testing.assert_allclose(detector.anomaly_score(other), scores, rtol=1e-12)
        np.testing.assert_array_equal(detector.p_values(other), detector.p_values(new))
    assert (detector.anomaly_score(new) == scores).all()


def test_numbers_and_text_name_the_same_segments():
    rows = machines([40] * 5)
    numbered = rows.assign(machine=rows["machine"].str[1:].astype(int))
    detector = make().fit(numbered)
    scores = detector.anomaly_score(numbered)
    assert detector.segments_ == ["0", "1", "2", "3", "4"]
    for other in (numbered.astype({"machine": str}), numbered.astype({"machine": float})):
        np.testing.assert_array_equal(detector.anomaly_score(other), scores)


def test_an_array_has_a_column_of_segments_by_position():
    rows = machines([40] * 5)
    array = rows.assign(machine=rows["machine"].str[1:].astype(int))[
        ["flow", "machine", "pressure"]
    ].to_numpy()
    detector = make(by=1).fit(array)
    assert detector.segments_ == ["0", "1", "2", "3", "4"]
    assert detector.n_features_in_ == 3
    assert detector.encoder_.column_names == ("x0", "x2")
    assert (detector.anomaly_score(array[::-1])[::-1] == detector.anomaly_score(array)).all()


def test_two_fits_with_a_seed_are_equal(new):
    rows = machines([30] * 6)
    first, second = make().fit(rows), clone(make()).fit(rows)
    np.testing.assert_array_equal(first.anomaly_score(new[:40]), second.anomaly_score(new[:40]))


def test_pieces_of_a_fit_change_nothing(monkeypatch, new):
    rows = machines([30] * 6)
    whole = make().fit(rows).anomaly_score(new[:40])
    monkeypatch.setattr(segmentrows, "PIECE", 17)
    np.testing.assert_allclose(make().fit(rows).anomaly_score(new[:40]), whole, rtol=1e-7)


def test_the_pooled_detector_is_fitted_on_some_of_many_rows(monkeypatch):
    monkeypatch.setattr(segmented, "POOLED_ROWS", 60)
    detector = make().fit(machines([30] * 6))
    assert detector.pooled_.n_samples_fit_ == 60
    assert detector.counts_.tolist() == [24] * 6


# -- p-values ------------------------------------------------------------------------------------------------


def test_the_rate_over_redraws_holds_in_each_segment_and_over_all():
    counts, redraws = [100, 100, 30, 200], 60
    p, of = [], []
    for seed in range(redraws):
        rows = machines([2 * count for count in counts], seed=seed)
        half = rows.groupby("machine").cumcount() < rows["machine"].map(
            dict(zip(sorted(set(rows["machine"])), counts, strict=True))
        )
        detector = make(random_state=seed).fit(rows[half])
        one = rows[~half].groupby("machine").head(5)
        p.append(detector.p_values(one))
        of.append(one["machine"].to_numpy())
    p, of = np.array(p), np.array(of)
    for segment, count in zip(sorted(set(of[0])), counts, strict=True):
        here = p[of == segment].reshape(redraws, -1)
        if count // 5 >= LEVELS[1]:
            # rows of one redraw share the calibration, so that only the first of each are independent
            assert_level(here[:, 0], 0.05, groups=count // 5)
            assert np.mean(here <= 0.05) < 0.08
    assert np.mean(p <= 0.05) < 0.08
    assert np.mean(p <= 0.01) < 0.025


def test_flags_and_rates(detector, new):
    assert detector.flag(new).tolist() == (detector.p_values(new) <= 0.05).tolist()
    assert detector.flag(new, control="fdr").sum() <= detector.flag(new, alpha=0.2).sum()
    assert set(detector.predict(new)) <= {1, -1}
    np.testing.assert_allclose(
        detector.decision_function(new), -detector.anomaly_score(new) - detector.offset_
    )


def test_a_renewed_calibration_is_by_fresh_rows(new):
    detector = make().fit(machines([80] * 10))
    scores, before = detector.anomaly_score(new[:50]), detector.p_values(new[:50])
    fresh = machines([200] * 10, seed=5)
    assert detector.calibrate(fresh) is detector
    assert detector.segment_calibration_.sizes.tolist() == [200] * 10
    np.testing.assert_array_equal(detector.anomaly_score(new[:50]), scores)
    assert (detector.p_values(new[:50]) != before).any()
    for unseen in ("pooled", "error"):
        detector.set_params(unseen=unseen)
        with pytest.raises(ValueError, match="such as 'm77': leave their rows out, only segments of the fit"):
            detector.calibrate(fresh.assign(machine="m77"))


# -- unseen, missing, wrong ----------------------------------------------------------------------------------


def test_a_new_segment_is_scored_by_the_pooled_detector(detector, new):
    strange = new.assign(machine="new")
    order = np.argsort(detector.pooled_.anomaly_score(strange), kind="stable")
    scores = detector.anomaly_score(strange)
    assert (np.diff(scores[order]) >= -1e-9).all()
    assert detector.p_values(strange).min() > 0


def test_or_refused(new):
    detector = make(unseen="error").fit(machines([30] * 12))
    detector.anomaly_score(new)
    with pytest.raises(
        ValueError, match=r"1 segment\(s\) of 'machine'.*such as 'new'; a fit with unseen='pooled'"
    ):
        detector.anomaly_score(pd.concat([new, new[:1].assign(machine="new")]))


@pytest.mark.parametrize("counts", [[2], [1, 1, 1], [5, 5], [40], [1] * 60])
@pytest.mark.filterwarnings("ignore")
def test_few_rows_or_one_segment(counts):
    rows = machines(counts)
    detector = make().fit(rows)
    scores, p = detector.assess(rows)
    assert np.isfinite(scores).all()
    assert ((p > 0) & (p <= 1)).all()


def test_a_row_without_a_segment_is_refused(detector, new):
    with pytest.raises(ValueError, match="1 of 108 rows have no 'machine'"):
        detector.anomaly_score(new.assign(machine=[None, *new["machine"][1:]]))
    with pytest.raises(ValueError, match="missing column 'machine'"):
        detector.anomaly_score(new.drop(columns="machine"))


@pytest.mark.parametrize(
    ("made", "error", "words"),
    [
        (lambda: make(by="pump"), ValueError, "by names columns that are not in the table: 'pump'"),
        (lambda: make(by=("machine", "valve")), TypeError, "name or the position of one column"),
        (lambda: make(by=True), TypeError, "name or the position of one column"),
        (lambda: make(unseen="new"), ValueError, "unseen must be 'pooled' or 'error', got 'new'"),
        (
            lambda: upland.SegmentedDetector(None, by="machine"),
            TypeError,
            "a detector of tables .* got NoneType",
        ),
        (
            lambda: upland.SegmentedDetector(upland.ImageFlowDetector(), by="machine"),
            TypeError,
            "ImageFlowDetector",
        ),
        (lambda: make(by="flow"), TypeError, "which names no segments"),
    ],
)
def test_wrong_arguments_are_refused(made, error, words):
    with pytest.raises(error, match=words):
        made().fit(machines([30] * 3))


def test_a_fit_that_fails_leaves_the_earlier_one(new):
    detector = make().fit(machines([30] * 12))
    scores = detector.anomaly_score(new)
    with pytest.raises(ValueError, match="no 'machine'"):
        detector.fit(machines([30] * 3).assign(machine=None))
    np.testing.assert_array_equal(detector.anomaly_score(new), scores)


def test_the_inner_detector_is_left_as_it_was():
    inner = upland.EnergyDetector(**QUICK, ignore=["valve"])
    before = inner.get_params()
    detector = upland.SegmentedDetector(inner, by="machine").fit(machines([40] * 3))
    assert inner.get_params() == before
    assert detector.encoder_.column_names == ("flow", "pressure")
    assert clone(detector).get_params()["detector__ignore"] == ["valve"]


@pytest.mark.filterwarnings("ignore:a Gaussian replaces the flow")
@pytest.mark.parametrize(
    "inner", [upland.FlowDetector(layers=1, **{"epochs": 1, "random_state": 0, "progress": False})]
)
def test_any_detector_of_tables_will_do(inner, new, tmp_path):
    detector = upland.SegmentedDetector(inner, by="machine").fit(machines([40] * 12))
    upland.save(detector, tmp_path / "model.safetensors")
    loaded = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.anomaly_score(new), detector.anomaly_score(new))


# -- reasons, groups -----------------------------------------------------------------------------------------


def test_shares_sum_to_the_score_and_name_the_column(detector, new):
    broken = new[new["machine"] == "m03"].assign(pressure=lambda rows: rows["pressure"] + 6)
    found = upland.explain(detector, broken)
    np.testing.assert_allclose(found.shares.sum(axis=1), detector.anomaly_score(broken))
    assert found.columns == ("flow", "pressure", "valve")
    assert {reasons[0].column for reasons in found.top(1)} <= {"flow", "pressure"}
    assert np.abs(found.expected[:, 1].astype(float) - broken["pressure"]).min() > 2


@pytest.mark.filterwarnings("ignore:a Gaussian replaces the flow")
@pytest.mark.parametrize("make_one", [upland.EnergyDetector, upland.FlowDetector])
def test_shares_are_the_mean_over_the_members(make_one):
    """Where a segment counts for nothing they are those of the pooled detector, in proportion."""
    options = {"epochs": 1, "random_state": 0, "progress": False, "calibration": "cross"}
    rows = machines([40] * 6)
    detector = upland.SegmentedDetector(make_one(**options), by="machine").fit(rows)
    assert len(detector.members_) > 1
    detector.energies_.weight.zero_()
    found, pooled = (upland.explain(one, rows).shares for one in (detector, detector.pooled_))
    parts = [s.clip(0) / s.clip(0).sum(axis=1, keepdims=True) for s in (found, pooled)]
    np.testing.assert_allclose(parts[0], parts[1], atol=1e-9)


def test_a_score_of_nothing_has_equal_shares():
    of = np.repeat(np.arange(6), 50)
    rows = pd.DataFrame({"machine": of, "x": of * 1.0, "y": of * 2.0})
    detector = upland.SegmentedDetector(upland.EnergyDetector(random_state=0), by="machine").fit(rows)
    shares, scores = upland.explain(detector, rows).shares, detector.anomaly_score(rows)
    assert (scores == 0).any()
    np.testing.assert_allclose(shares.sum(axis=1), scores)


def test_groups_are_tested_by_the_pooled_detector_as_a_warning_says(detector, new):
    with pytest.warns(UserWarning, match=", against rows of all segments") as found:
        verdicts = detector.score_groups(new, "machine", reasons=False)
    assert len(found) == 1
    expected = detector.pooled_.score_groups(new, "machine", reasons=False)
    np.testing.assert_array_equal(verdicts.p_value, expected.p_value)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("segments") / "model.safetensors"
    upland.save(detector, path)
    return path


def test_a_loaded_one_is_equal_bit_for_bit(detector, new, path, tmp_path):
    loaded = upland.load(path)
    for found, expected in zip(loaded.assess(new), detector.assess(new), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert loaded.info() == detector.info()
    assert loaded.get_params()["by"] == "machine"
    assert repr(loaded.detector) == repr(clone(detector.pooled_).set_params(ignore=()))
    upland.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    np.testing.assert_array_equal(loaded.calibrate(new).calibration_.size, len(new))


def test_arguments_that_change_after_a_fit_change_nothing(new, tmp_path):
    detector = make().fit(machines([30] * 12))
    before = detector.assess(new)
    upland.save(detector, tmp_path / "before.safetensors")
    detector.set_params(by="valve", detector__ignore=["flow"], detector__criterion="energy")
    np.testing.assert_array_equal(detector.assess(new), before)
    upland.save(detector, tmp_path / "after.safetensors")
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.set_params(unseen="zzz"), "unseen must be 'pooled' or 'error', got 'zzz'"),
        (lambda d: setattr(d, "criterion", "energy"), "fitted for criterion=.*, but now criterion='energy'"),
    ],
)
def test_arguments_that_no_longer_suit_the_fit_are_refused_wherever_it_is_used(new, tmp_path, change, words):
    detector = make().fit(machines([30] * 12))
    change(detector)
    uses = [getattr(detector, name) for name in ("anomaly_score", "p_values", "flag", "predict", "calibrate")]
    uses += [lambda rows: upland.explain(detector, rows), lambda rows: detector.info()]
    uses += [lambda rows: detector.score_groups(rows, "machine")]
    for use in (*uses, lambda rows: upland.save(detector, tmp_path / "model.safetensors")):
        with pytest.raises(ValueError, match=words):
            use(new)
    assert not list(tmp_path.iterdir())


def test_before_a_fit_there_is_nothing(new):
    for use in (make().info, lambda: make().anomaly_score(new), lambda: make().calibrate(new)):
        with pytest.raises(NotFittedError):
            use()


@pytest.mark.parametrize("share", [0.3, 0.1])
def test_contamination_is_the_share_of_the_rows_of_the_fit_that_predict_flags(share, tmp_path):
    rows = machines([50] * 6)
    inner = upland.EnergyDetector(**QUICK, contamination=share)
    detector = upland.SegmentedDetector(inner, by="machine").fit(rows)
    assert np.mean(detector.predict(rows) == -1) == pytest.approx(share, abs=0.01)
    upland.save(detector, tmp_path / "model.safetensors")
    for one in (detector, upland.load(tmp_path / "model.safetensors")):
        assert one.calibrate(machines([80] * 6, seed=3)).offset_ == detector.offset_
        np.testing.assert_array_equal(one.predict(rows), detector.predict(rows))


@pytest.mark.parametrize("ignore", [(), ("machine",), ("valve",), ("machine", "valve")])
def test_what_the_user_ignores_is_loaded_again(ignore, tmp_path):
    inner = upland.EnergyDetector(**QUICK, ignore=ignore)
    detector = upland.SegmentedDetector(inner, by="machine").fit(machines([40] * 3))
    upland.save(detector, tmp_path / "model.safetensors")
    assert tuple(upland.load(tmp_path / "model.safetensors").detector.ignore) == ignore


def test_in_a_new_process_too(tmp_path):
    rows = machines([40] * 4)
    array = rows.assign(machine=rows["machine"].str[1:].astype(int))[
        ["flow", "machine", "pressure"]
    ].to_numpy()
    detector = make(by=1).fit(array)
    upland.save(detector, tmp_path / "model.safetensors")
    np.save(tmp_path / "rows.npy", array)
    found = scores_in_a_new_process([tmp_path / "model.safetensors"], tmp_path / "rows.npy")
    np.testing.assert_array_equal(found[0], detector.assess(array))


def test_bytes_of_a_file_grow_by_little_for_each_segment(tmp_path):
    sizes = []
    for count in (20, 220):
        rows = machines([12] * 20).assign(machine=np.arange(240) % count)
        upland.save(make().fit(rows), tmp_path / f"{count}.safetensors")
        sizes.append((tmp_path / f"{count}.safetensors").stat().st_size)
    width = 2 + 3
    assert (sizes[1] - sizes[0]) / 200 < 4 * width**2 + 8 * (width + 2 * 3 + 1 + 3) + 100


def changed(tensors, name, value):
    return tensors | {f"segments/{name}": value}


def recorded(**fields):
    return lambda t, m: (t, m | {"segments": m["segments"] | fields})


def filled_with(name, value):
    return lambda t, m: (
        changed(t, f"energies/{name}", np.full_like(t[f"segments/energies/{name}"], value)),
        m,
    )


FORGED = {
    "a feature as the column": recorded(by="flow"),
    "a feature as the column, given so": recorded(by="flow", given="flow"),
    "a position that is none": recorded(given=77),
    "a name that is none": recorded(given="zz"),
    "an offset beyond all scores": recorded(offset=1e308),
    "a centre beyond all codes": filled_with("centre", 1e300),
    "a location beyond all energies": filled_with("location", -1e308),
    "a scale below the least": filled_with("scale", 1e-320),
    "counts of no rows": lambda t, m: (changed(t, "counts", np.zeros(13, np.int64)), m),
    "counts beyond the rows": lambda t, m: (changed(t, "counts", np.full(13, 1 << 62, np.int64)), m),
    "fewer rows than it counts": recorded(rows=100),
    "a tensor that is lacking": lambda t, m: ({k: v for k, v in t.items() if k != "segments/counts"}, m),
    "a tensor too many": lambda t, m: (changed(t, "more", np.zeros(1)), m),
    "no record": lambda t, m: (t, {k: v for k, v in m.items() if k != "segments"}),
    "a record that is none": lambda t, m: (t, m | {"segments": []}),
    "a record without tensors": lambda t, m: (
        {k: v for k, v in t.items() if not k.startswith("segments/")},
        m,
    ),
    "precision of another shape": lambda t, m: (
        changed(t, "energies/precision", np.zeros((14, 1, 1), np.float32)),
        m,
    ),
    "precision of 0": lambda t, m: (
        changed(t, "energies/precision", 0 * t["segments/energies/precision"]),
        m,
    ),
    "scales of 0": lambda t, m: (changed(t, "energies/scale", 0 * t["segments/energies/scale"]), m),
    "NaN": lambda t, m: (changed(t, "energies/centre", np.nan * t["segments/energies/centre"]), m),
    "a weight of 2": lambda t, m: (changed(t, "energies/weight", 2 + t["segments/energies/weight"]), m),
    "float32": lambda t, m: (
        changed(t, "energies/scale", t["segments/energies/scale"].astype(np.float32)),
        m,
    ),
    "counts below 0": lambda t, m: (changed(t, "counts", -1 - t["segments/counts"]), m),
    "calibration of no segment": lambda t, m: (
        changed(t, "calibration/sizes", t["segments/calibration/sizes"] + 9),
        m,
    ),
    "no calibration": lambda t, m: (
        t
        | {
            f"segments/calibration/{k}": t[f"segments/calibration/{k}"][:0]
            for k in ("scores", "sizes", "unsegmented")
        },
        m,
    ),
    "calibration of NaN": lambda t, m: (
        changed(t, "calibration/scores", np.nan * t["segments/calibration/scores"]),
        m,
    ),
    "names of another length": lambda t, m: (changed(t, "names.lengths", t["segments/names.lengths"] + 1), m),
    "names not sorted": lambda t, m: (changed(t, "names.text", t["segments/names.text"][::-1].copy()), m),
    "another unseen": lambda t, m: (t, m | {"segments": m["segments"] | {"unseen": "guess"}}),
    "a column that is not there": lambda t, m: (t, m | {"segments": m["segments"] | {"by": "pump"}}),
    "a weight of text": lambda t, m: (t, m | {"segments": m["segments"] | {"weights": ["a", 1.0, 1.0]}}),
    "weights too many": lambda t, m: (t, m | {"segments": m["segments"] | {"weights": [1.0] * 4}}),
    "no rows": lambda t, m: (t, m | {"segments": m["segments"] | {"rows": 0}}),
    "a field too many": lambda t, m: (t, m | {"segments": m["segments"] | {"more": 0}}),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_files_are_refused(forge, path, tmp_path):
    tensors, manifest = forge(*read_tensors(path))
    manifest = manifest | {"tensors": {k: [v.dtype.name, list(v.shape)] for k, v in tensors.items()}}
    write_tensors(tmp_path / "forged.safetensors", tensors, manifest)
    with pytest.raises(TensorFileError):
        upland.load(tmp_path / "forged.safetensors")


def test_of_many_calibration_rows_some_stand_for_new_segments(monkeypatch):
    monkeypatch.setattr(segmented, "CALIBRATION_MOST", 30)
    detector = make().fit(machines([60] * 6))
    assert detector.segment_calibration_.unsegmented.size == 30
    assert detector.segment_calibration_.scores.size == 72
    p = detector.p_values(machines([60] * 6, seed=2).assign(machine="new"))
    np.testing.assert_allclose(p * 31, np.rint(p * 31))
