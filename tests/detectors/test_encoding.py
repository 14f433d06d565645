"""Each member encodes each row once, whatever is asked; rows in memory are copied for encoders only."""

import warnings

import numpy as np
import pytest

import upland
from normals import NORMAL, SIZES, mixed, quick, small, waves
from upland.data.image.encoder import ImageEncoder
from upland.data.image.rows import ImageRows
from upland.data.rows import MemoryRows
from upland.data.sequence.windows import SequenceRows
from upland.data.table.encoder import TableEncoder

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:time steps depend")
METHODS = ["split", "cross"]
CASES = [(made, method) for made in SIZES for method in METHODS]
UNITS = 90
"""Rows, images or sequences of a test."""


@pytest.fixture
def encoded(monkeypatch):
    """How many points each encoder has encoded: rows, time steps or images."""
    counts = {}

    def counted(encoder):
        transform = encoder.transform

        def watched(self, X):
            codes = transform(self, X)
            counts[id(self)] = counts.get(id(self), 0) + len(codes)
            return codes

        monkeypatch.setattr(encoder, "transform", watched)

    for encoder in (TableEncoder, ImageEncoder):  # steps of sequences are rows of a table
        counted(encoder)
    return counts


@pytest.fixture
def taken(monkeypatch):
    """The numbers of rows that were taken from the normal data, call by call."""
    sizes = []

    def counted(source):
        take = source.take

        def watched(self, rows):
            sizes.append(len(rows))
            return take(self, rows)

        monkeypatch.setattr(source, "take", watched)

    for source in (MemoryRows, SequenceRows, ImageRows):
        counted(source)
    return sizes


def points(X):
    """Rows, time steps or images, whichever an encoder counts."""
    return X.shape[0] * X.shape[1] if X.dtype == float and X.ndim == 3 else len(X)


def encoder_of(member):
    return getattr(member.encoder, "table", member.encoder)


@pytest.mark.parametrize(("made", "method"), CASES)
def test_in_a_fit_each_member_encodes_each_normal_row_once(made, method, encoded):
    X = NORMAL[made.modality](UNITS)
    detector = small(made, calibration=method).fit(X)
    assert {id(encoder_of(member)): points(X) for member in detector.members_} == encoded
    assert len(encoded) == (1 if method == "split" else 5)


@pytest.mark.parametrize(("made", "method"), CASES)
def test_in_a_fit_rows_are_copied_for_encoders_to_learn_from_and_for_nothing_else(made, method, taken):
    detector = small(made, calibration=method).fit(NORMAL[made.modality](UNITS))
    learned = [UNITS - detector.calibration_.size] if method == "split" else [UNITS - UNITS // 5] * 5
    assert taken == learned


@pytest.mark.parametrize("options", [{"window": 16, "stride": 5}, {"window": 16, "per": "step"}], ids=str)
def test_steps_in_windows_that_overlap_are_encoded_once(options, encoded):
    series = waves(1, 400)[0]
    detector = small(upland.SequenceEnergyDetector, **options).fit(series)
    assert encoded == {id(encoder_of(detector.members_[0])): 400}


@pytest.mark.parametrize("energy", ["multiscale", "experts"])
def test_columns_of_every_kind_are_encoded_once(energy, encoded, taken):
    detector = quick(calibration="cross", energy=energy).fit(mixed(UNITS))
    assert encoded == {id(member.encoder): UNITS for member in detector.members_}
    assert taken == [UNITS - UNITS // 5] * 5
    encoded.clear()
    detector.assess(mixed(30, seed=1))
    assert encoded == {id(member.encoder): 30 for member in detector.members_}


ASKED = {
    "anomaly_score": lambda detector, X: detector.anomaly_score(X),
    "assess": lambda detector, X: detector.assess(X),
    "flag": lambda detector, X: detector.flag(X, 0.3),
    "decision_function": lambda detector, X: detector.decision_function(X),
    "predict": lambda detector, X: detector.predict(X),
    "explain": lambda detector, X: upland.explain(detector, X),
}


@pytest.fixture(scope="module")
def fitted_of():
    return {
        (made, method): small(made, calibration=method).fit(NORMAL[made.modality](UNITS))
        for made, method in CASES
    }


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(("made", "method"), CASES)
def test_each_member_encodes_each_new_row_once(made, method, name, fitted_of, encoded):
    detector, X = fitted_of[made, method], NORMAL[made.modality](30, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ASKED[name](detector, X)
    assert encoded == {id(encoder_of(member)): points(X) for member in detector.members_}


@pytest.mark.parametrize("made", SIZES)
def test_groups_are_encoded_once_by_the_members_that_test_them(made, fitted_of, encoded):
    detector, X = fitted_of[made, "cross"], NORMAL[made.modality](30, seed=1)
    detector.score_groups(X, np.arange(30) // 10)
    first, *others = (encoder_of(member) for member in detector.members_)
    assert encoded.pop(id(first)) == points(X)
    of_scores = made is upland.SequenceEnergyDetector  # by the scores that all members have given
    assert encoded == ({id(other): points(X) for other in others} if of_scores else {})


@pytest.mark.parametrize("made", [made for made in SIZES if made.modality == "sequence"])
def test_each_step_of_a_stream_is_encoded_once(made, fitted_of, encoded):
    detector = fitted_of[made, "cross"]
    state = None
    for step in waves(1, 7, seed=1)[0]:
        state = detector.score_next(state, step).state
    assert encoded == {id(encoder_of(member)): 7 for member in detector.members_}
