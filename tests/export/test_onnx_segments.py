"""Graphs of detectors with a model for every segment."""

import numpy as np
import pandas as pd
import pytest

import upland
from exported import check, run, session_of

pytestmark = pytest.mark.filterwarnings("ignore:missing values in", "ignore:p-values are coarse")


def machines(count, seed, segments):
    rng = np.random.default_rng(seed)
    number = np.minimum(rng.geometric(0.1, count), segments)
    flow = rng.normal(number, 1)
    return pd.DataFrame(
        {
            "machine": [f"m{one}" for one in number],
            "flow": flow,
            "pressure": 2 * flow + rng.normal(0, 0.1 + 0.03 * number),
            "valve": rng.choice(["a", "b"], count),
        }
    )


def fitted(segments, **options):
    pooled = upland.EnergyDetector(random_state=0, progress=False, speed="fast")
    return upland.SegmentedDetector(pooled, by="machine", **options).fit(machines(1500, 0, segments))


@pytest.mark.parametrize("segments", [2, 40])
def test_segments(segments):
    detector = fitted(segments)
    new = machines(1000, 1, segments)
    new.loc[:50, "machine"] = "of a new name"
    check(detector, pd.concat([machines(1500, 0, segments), new], ignore_index=True), off=0.002)


def test_whole_numbers_name_segments_by_their_digits():
    frame = machines(1000, 0, 3).assign(machine=lambda rows: rows["machine"].str[1:].astype(int))
    pooled = upland.EnergyDetector(random_state=0, progress=False, speed="fast")
    check(upland.SegmentedDetector(pooled, by="machine").fit(frame), frame, off=0.002)


@pytest.mark.parametrize(("unseen", "new"), [("pooled", False), ("error", True)])
def test_a_row_of_no_segment_or_of_one_that_is_refused(unseen, new):
    session = session_of(fitted(3, unseen=unseen))
    names = np.array(["m1", "", "another"], dtype=object)
    scores, p, flags = run(session, machines(3, 1, 3), machine=names)
    assert np.isnan(scores).tolist() == np.isnan(p).tolist() == [False, True, new]
    assert flags[1]
