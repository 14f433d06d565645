"""Whatever fits can be saved and loaded: names, numbers and arguments at their limits."""

import numpy as np
import pandas as pd
import pytest

import upland
from normals import numbers, quick
from upland.io.modelfile import write_tensors

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")


def test_a_detector_of_many_long_names_is_read_again(tmp_path):
    names = [f"{number} ".ljust(30_000, "x") for number in range(20)]
    detector = quick(calibration="cross").fit(pd.DataFrame(numbers(60, 20), columns=names))
    upland.save(detector, tmp_path / "m")
    assert (tmp_path / "m").stat().st_size > 6_000_000
    assert upland.load(tmp_path / "m").encoder_.column_names == tuple(names)


def test_a_model_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("upland.io.modelfile._LONGEST_HEADER", 10)
    with pytest.raises(ValueError, match="more than a model file holds"):
        write_tensors(tmp_path / "m", {"w": np.zeros(1)}, {"text": "x" * 1000})
    assert not (tmp_path / "m").exists()


COUNTED = np.arange(150) * 7 % 50
EXTREMES = {
    "the largest whole numbers": np.uint64(2**64 - 1) - COUNTED.astype(np.uint64),
    "the smallest": -(2**63) + COUNTED,
    "the smallest floats": COUNTED * 5e-324,
    "the largest floats": COUNTED * 1e306,
}


@pytest.mark.parametrize("name", EXTREMES)
def test_what_fits_can_be_saved_and_loaded(name, tmp_path):
    rows = pd.DataFrame({"a": EXTREMES[name], "b": numbers(150, 1)[:, 0]})
    detector = quick(keep_rows=2**62, missing=[2**62, -1e308, "?"]).fit(rows)
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    np.testing.assert_array_equal(again.anomaly_score(rows), detector.anomaly_score(rows))


BEYOND = [{"keep_rows": 10**19}, {"missing": [10**30]}, {"missing": [float("inf")]}]


@pytest.mark.parametrize("arguments", BEYOND)
def test_what_could_not_be_saved_is_refused_by_the_fit(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        quick(**arguments).fit(numbers())
