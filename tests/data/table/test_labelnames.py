"""Names of labels are refused by their words, those of features are not."""

import numpy as np
import pyarrow as pa
import pytest

from upland.data.table.encoder import TableEncoder
from upland.data.table.labelnames import like_label, words_of

RNG = np.random.default_rng(0)
VALUES = {
    "zeros": np.zeros(60, dtype=int),
    "zeros and ones": RNG.integers(0, 2, 60),
    "booleans": RNG.random(60) < 0.5,
    "text": np.where(RNG.random(60) < 0.5, "ok", "bad"),
    "minus one and one": np.where(RNG.random(60) < 0.5, -1.0, 1.0),
}
NAMES = (
    *("is_faulty", "faulty", "fault", "failure", "defect", "is_defect", "defective", "malicious"),
    *("intrusion", "is_normal", "outcome", "Label_1", "label_encoded", "anomaly_label", "isFraud"),
    *("fraud_flag", "machine_failure", "Class", "attack", "label", "labels", "TARGET", "y", "y_true"),
    *("class", "is_anomaly", "isAnomaly", "anomalies", "ANOMALY", "outlier", "is_outlier"),
    *("ground_truth", "groundTruth", "groundtruth", "abnormal", "isfraud", "Machine-Failure"),
    *("attack.label", "fraudulent", "failed", "has_failed", "Target1", "failureType"),
)


def table(name, values):
    return pa.table({"a": RNG.normal(size=60), name: values})


@pytest.mark.parametrize("name", NAMES)
def test_a_label_left_in_is_refused_by_its_words(name):
    for values in VALUES.values():
        with pytest.raises(ValueError, match=rf"{name!r} looks like a label: ignore=\[.*categorical=\["):
            TableEncoder().fit(table(name, values))
        encoder = TableEncoder(categorical=[name]).fit(table(name, values))
        assert encoder.column_names == ("a", name)
        assert TableEncoder(ignore=[name]).fit(table(name, values)).column_names == ("a",)


FEATURES = {
    "class_size": RNG.integers(10, 35, 60),
    "label_count": np.zeros(60),
    "n_faults": RNG.integers(0, 2, 60),
    "failure_rate": np.zeros(60),
    "target_temperature": np.full(60, 21.5),
    "target": RNG.normal(size=60),
    "class": RNG.choice(["first", "second", "third"], 60),
    "normalised": RNG.integers(0, 2, 60),
    "classic": RNG.integers(0, 2, 60),
    "default": RNG.integers(0, 2, 60),
    "yield": RNG.integers(0, 2, 60),
    "attacker_age": RNG.integers(0, 2, 60),
    "fault_current": np.full(60, 31.5),
    "normal_force": RNG.normal(size=60),
    "outlier_score": np.zeros(60),
}


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_that_is_named_alike_passes(name):
    assert TableEncoder().fit(table(name, FEATURES[name])).column_names == ("a", name)


@pytest.mark.parametrize("name", ["error", "alarm_flag", "status", "isAlert", "rejected", "Warning"])
@pytest.mark.parametrize("values", [np.zeros(60), np.full(60, "ok"), np.zeros(60, dtype=bool)])
def test_a_constant_flag_is_used_with_a_warning(name, values):
    with pytest.warns(UserWarning, match=rf"column {name!r} holds the same in every normal row.*ignore=\["):
        encoder = TableEncoder().fit(table(name, values))
    assert encoder.column_names == ("a", name)
    TableEncoder(categorical=[name]).fit(table(name, values))
    TableEncoder().fit(table(name, RNG.integers(0, 2, 60)))  # it differs: no warning


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("isFraud_2", ["is", "fraud"]),
        ("HTTPError", ["http", "error"]),
        ("machine failure", ["machine", "failure"]),
        ("Label-1b", ["label", "b"]),
        ("Störung", ["störung"]),
        ("", []),
        ("42", []),
    ],
)
def test_words_of_a_name(name, words):
    assert words_of(name) == words
    assert like_label("") is None
