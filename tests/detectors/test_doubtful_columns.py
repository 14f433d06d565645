"""What doubtful columns do to a detector: sentinels blind none, what the fit drops need not come back."""

import warnings

import numpy as np
import pandas as pd
import pytest

import upland

QUICK = {"epochs": 4, "n_nets": 1, "random_state": 0, "progress": False}
CHEAP = QUICK | {"prior": "centre"}


def sensors(n, seed):
    g = np.random.default_rng(seed)
    flow = g.normal(10, 2, n)
    return pd.DataFrame({"flow": flow, "power": 3 * flow + g.normal(0, 1, n), "heat": g.normal(50, 5, n)})


SENTINELS = {
    "none": [],
    "one 1e9": [1e9],
    "five -9999": [-9999.0] * 5,
    "thirty of both": [-9999.0] * 20 + [1e9] * 10,
}


@pytest.mark.parametrize("name", SENTINELS)
def test_sentinels_do_not_blind_a_column(name):
    rows, values = sensors(1_000, 0), SENTINELS[name]
    rows.loc[np.random.default_rng(1).choice(1_000, len(values), replace=False), "heat"] = values
    detector = upland.EnergyDetector(**QUICK)
    if values:
        with pytest.warns(UserWarning, match="column 'heat' holds .* far beyond its other values") as caught:
            detector.fit(rows)
        assert len(caught) == 1
    else:
        detector.fit(rows)
    for away in (6, 10, 20, 50, 100):
        new = sensors(100, away)
        new["heat"] = 50 + 5 * away * np.where(np.arange(100) % 2, 1, -1)
        assert detector.flag(new).mean() >= 0.97, away
    assert detector.flag(sensors(500, 2)).mean() <= 0.1


def test_sentinels_that_are_said_to_be_missing_raise_no_warning():
    rows = sensors(300, 0)
    rows.loc[::60, "heat"] = -9999
    detector = upland.EnergyDetector(**CHEAP, missing=[-9999]).fit(rows)
    holes = rows.assign(heat=rows["heat"].where(rows["heat"] != -9999))
    np.testing.assert_array_equal(detector.anomaly_score(rows), detector.anomaly_score(holes))
    assert detector.anomaly_score(rows.astype(np.float32)).shape == (300,)


def test_an_index_need_not_come_back(tmp_path):
    rows = sensors(300, 0).sample(frac=1, random_state=0)
    rows.to_csv(tmp_path / "rows.csv")
    with pytest.warns(UserWarning, match="column '' holds the index of a pandas frame") as caught:
        detector = upland.EnergyDetector(**CHEAP).fit(tmp_path / "rows.csv")
    assert len(caught) == 1
    expected = detector.anomaly_score(rows)
    np.testing.assert_array_equal(detector.anomaly_score(tmp_path / "rows.csv"), expected)
    plain = upland.EnergyDetector(**CHEAP).fit(rows.to_numpy())
    with pytest.warns(UserWarning, match="without feature names"):
        np.testing.assert_array_equal(plain.anomaly_score(tmp_path / "rows.csv"), expected)


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_column_left_in_is_named_once_in_a_fit(calibration):
    rows = sensors(200, 0).assign(meter=lambda frame: frame["power"].cumsum())
    with pytest.warns(UserWarning, match=r"column 'meter' only rises.*ignore=\['meter'\]") as caught:
        upland.EnergyDetector(**CHEAP, calibration=calibration).fit(rows)
    assert len(caught) == 1
    upland.EnergyDetector(**CHEAP, calibration=calibration, ignore=["meter"]).fit(rows)


def test_a_cell_that_one_fold_did_not_see_missing_is_said_truly_and_explained():
    rows = sensors(100, 0)
    rows.loc[7, "heat"] = np.nan
    detector = upland.EnergyDetector(**CHEAP, calibration="cross").fit(rows)
    assert len({member.encoder.width for member in detector.members_}) == 2
    with pytest.warns(UserWarning, match="where no value, or hardly any, was missing in the normal data"):
        detector.anomaly_score(rows.iloc[[7]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reasons = upland.explain(detector, rows.iloc[[7]]).top(3)[0]
    assert reasons[0].column == "heat"
    assert sorted(reason.column for reason in reasons) == ["flow", "heat", "power"]


def shifts(n, seed, start):
    """Rows of weekdays between 8 and 18 h in four weeks."""
    g = np.random.default_rng(seed)
    day = g.choice([day for day in range(28) if day % 7 < 5], n)
    hours = pd.to_timedelta(24 * day + g.uniform(8, 18, n), unit="h")
    return sensors(n, seed).assign(at=pd.Timestamp(start) + hours)


def test_a_strange_moment_is_anomalous_and_the_next_month_is_not(tmp_path):
    detector = upland.EnergyDetector(**QUICK, dates="parts").fit(shifts(600, 0, "2026-01-05"))
    assert detector.flag(shifts(300, 1, "2026-02-02")).mean() <= 0.1
    for moment in ("2026-02-08 03:00", "2026-02-08 12:00", "2026-02-10 03:00"):
        strange = shifts(20, 2, "2026-02-02").assign(at=pd.Timestamp(moment))
        assert detector.flag(strange).all(), moment
    reason = upland.explain(detector, strange).top(1)[0][0]
    assert (reason.column, reason.value) == ("at", pd.Timestamp("2026-02-10 03:00"))
    assert reason.expected.split()[0] in ("Mon", "Tue", "Wed", "Thu", "Fri")
    upland.save(detector, tmp_path / "model")
    again = upland.load(tmp_path / "model")
    np.testing.assert_array_equal(again.anomaly_score(strange), detector.anomaly_score(strange))
