"""No change is larger than it must be, and cells that are broken together are mended together."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import upland
from upland.counterfactuals.search import MOST, Search
from upland.counterfactuals.smaller import BEAM

pytestmark = [
    pytest.mark.filterwarnings("ignore:p-values are coarse"),
    pytest.mark.filterwarnings("ignore:missing values"),
]

COMMON = {"random_state": 0, "progress": False}
DETECTORS = {
    "energy": lambda: upland.EnergyDetector(**COMMON),
    "energy, cross": lambda: upland.EnergyDetector(calibration="cross", **COMMON),
    "energy of the paper": lambda: upland.EnergyDetector(
        epochs=10, noise=0.5, prior="centre", n_nets=1, **COMMON
    ),
    "vae": lambda: upland.VAEDetector(epochs=10, **COMMON),
}
START = pd.Timestamp("2026-01-01")


def mixed(count, seed):
    """A pair that depends on each other, and columns of all kinds beside it."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=count)
    return pd.DataFrame(
        {
            "a": a,
            "b": 2 * a + rng.normal(0, 0.1, count),
            "narrow": rng.normal(size=count).astype("float32"),
            "short": rng.normal(20, 3, count).round(1),
            "small": rng.integers(0, 9, count).astype("int8"),
            "letter": rng.choice(["x", "y", "z"], count),
            "on": rng.random(count) < 0.5,
            "when": START + pd.to_timedelta(rng.integers(0, 365, count), unit="D"),
            "const": 7.0,
            "absent": np.where(rng.random(count) < 0.3, np.nan, rng.normal(size=count)),
        }
    )


DAMAGES = {
    "none": lambda rows: rows,
    "a pair missing": lambda rows: rows.assign(a=np.nan, b=np.nan),
    "a pair and a third missing": lambda rows: rows.assign(a=np.nan, b=np.nan, short=np.nan),
    "a pair beyond": lambda rows: rows.assign(a=30.0, b=-20.0),
    "a pair of which one is exchanged": lambda rows: rows.assign(a=rows["a"].to_numpy()[::-1]),
    "three columns beyond": lambda rows: rows.assign(short=rows["short"] + 40, small=np.int8(99), const=1.0),
    "a level that is new": lambda rows: rows.assign(letter="w", on=~rows["on"]),
    "the largest numbers": lambda rows: rows.assign(a=1e308, b=-1.7e308, short=1e308),
}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request):
    return DETECTORS[request.param]().fit(mixed(600, 0))


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_changed_column_can_be_put_back_and_none_is_as_it_was(damage, detector):
    rows = DAMAGES[damage](mixed(16, 1))
    named = 0
    for k, alpha in ((2, 0.3), (6, 0.05)):
        back = []
        made = upland.explain(detector, rows, "counterfactual", k=k, alpha=alpha)
        assert np.isfinite(made.distance).all()
        for row, changes in enumerate(made.changes):
            assert len(changes) <= k
            assert not [change for change in changes if change.value == change.proposed]
            assert (made.distance[row] > 0) == bool(changes)
            for change in changes if made.found[row] else ():
                one = made.table.iloc[[row]].copy()
                one[change.column] = rows[change.column].iloc[[row]].array
                back.append(one)
            named += len(changes)
        assert not back or (detector.p_values(pd.concat(back)) <= alpha).all()
    assert named


@pytest.mark.parametrize("damage", ["a pair missing", "a pair and a third missing", "a pair beyond"])
def test_what_putting_the_values_back_would_mend_is_mended(damage, detector):
    rows = mixed(30, 1)
    made = upland.explain(detector, DAMAGES[damage](rows), "counterfactual", k=3)
    wanted = (made.p_before <= 0.05) & (detector.p_values(rows) > 0.05)
    assert made.found[wanted].all()
    assert wanted.sum() >= 20


KINDS = {
    "numbers": lambda x: x,
    "numbers with a decimal": lambda x: (10 * x).round(1),
    "whole numbers": lambda x: pd.array(np.rint(5 * x).astype(int), dtype="Int64"),
    "levels": lambda x: pd.array(np.array(list("pqrst"))[np.digitize(x, [-1, -0.3, 0.3, 1])], dtype="string"),
    "dates": lambda x: START + pd.to_timedelta(np.rint(20 * x), unit="D"),
    "durations": lambda x: pd.to_timedelta(np.rint(600 * x), unit="s"),
}


def twins(one, other, count, seed, copies=2):
    """Columns of two kinds that follow the same number, and others that do not."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    columns = {f"twin {n}": KINDS[(one, other)[n % 2]](x + rng.normal(0, 0.05, count)) for n in range(copies)}
    beside = {f"beside {n}": rng.normal(size=count) for n in range(3)}
    return pd.DataFrame({**columns, **beside, "letter": rng.choice(["x", "y", "z"], count)})


@pytest.mark.parametrize(("one", "other"), [(kind, kind) for kind in KINDS] + list(combinations(KINDS, 2)))
def test_cells_that_are_missing_together_are_filled_together(one, other):
    """Wherever the values that were there make the row normal, a change is found of no more columns."""
    normal, rows = twins(one, other, 500, 0), twins(one, other, 30, 1)
    detector = upland.EnergyDetector(**COMMON).fit(normal)
    gone = rows.copy()
    for name in ("twin 0", "twin 1"):
        gone[name] = gone[name].where(np.zeros(len(gone), dtype=bool))
    made = upland.explain(detector, gone, "counterfactual")
    wanted = (made.p_before <= 0.05) & (detector.p_values(rows) > 0.05)
    assert wanted.sum() >= 20
    assert made.found[wanted].all()
    assert max(len(changes) for changes, ask in zip(made.changes, wanted, strict=True) if ask) <= 2


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_up_to_k_missing_cells_are_filled(count):
    normal, rows = (twins("numbers", "numbers", n, seed, copies=count) for n, seed in ((500, 0), (20, 1)))
    detector = upland.EnergyDetector(**COMMON).fit(normal)
    gone = rows.assign(**{f"twin {n}": np.nan for n in range(count)})
    made = upland.explain(detector, gone, "counterfactual", k=count)
    wanted = (made.p_before <= 0.05) & (detector.p_values(rows) > 0.05)
    assert wanted.sum() >= 12
    assert made.found[wanted].all()


@pytest.mark.parametrize("third", [{"beside 0": 40.0}, {"letter": "unheard of"}, {"beside 1": np.nan}])
def test_a_third_broken_cell_is_mended_beside_them(third):
    normal, rows = twins("numbers", "numbers", 500, 0), twins("numbers", "numbers", 20, 1)
    detector = upland.EnergyDetector(**COMMON).fit(normal)
    gone = rows.assign(**{"twin 0": np.nan, "twin 1": np.nan, **third})
    made = upland.explain(detector, gone, "counterfactual", k=3)
    wanted = (made.p_before <= 0.05) & (detector.p_values(rows) > 0.05)
    assert wanted.sum() >= 12
    assert made.found[wanted].all()


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_work_is_bounded(damage, detector, monkeypatch):
    """6 k scorings of `MOST` candidates and one more at most, and k explanations of `BEAM` rows at most."""
    calls = {"_scored": [], "_explained": []}
    for name in calls:
        original = getattr(Search, name)

        def counted(self, asked, name=name, original=original):
            calls[name].append(max(map(len, asked)))
            return original(self, asked)

        monkeypatch.setattr(Search, name, counted)
    rows = DAMAGES[damage](mixed(3, 1))
    upland.explain(detector, rows, "counterfactual", k=4, alpha=0.3)
    assert len(calls["_scored"]) <= 6 * 4
    assert len(calls["_explained"]) <= 4
    assert max(calls["_scored"], default=0) <= MOST + 1
    assert max(calls["_explained"], default=0) <= BEAM


@pytest.mark.parametrize("column", ["a", "narrow", "short"])
@pytest.mark.parametrize("value", [1e30, -1e300, 1e308, -1.7e308])
def test_the_distance_of_a_number_however_large_is_finite(column, value, detector):
    rows = mixed(3, 1).astype({"narrow": "float64"}).assign(**{column: value})
    made = upland.explain(detector, rows, "counterfactual")
    assert np.isfinite(made.distance).all()
    assert (made.distance[made.p_before <= 0.05] > 0).all()
