"""Laws of tests of groups: a verdict is of its own rows and the reference alone, at the level asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laws import Gaussian, assert_level, normal
from upland.catalogue import STATISTICS
from upland.groups import verdicts
from upland.groups.joint import JointStatistic
from upland.groups.null import Null
from upland.groups.outputs import Reference
from upland.groups.tester import GroupTester, needs_score, verdicts_from_scores
from upland.models.base import Latent, Level

D = 4
COVARIANCE = 1 + 0.3 * torch.eye(D).double()
ROOT = torch.linalg.cholesky(COVARIANCE)
OF_LATENTS = [name for name, entry in STATISTICS.items() if entry.needs == "latents"]
OF_SCORES = [name for name, entry in STATISTICS.items() if entry.of_scores]


class GaussianFlow(Gaussian, Latent):
    """The Gaussian with its whitened rows as latents."""

    def latents(self, x):
        return [Level(torch.linalg.solve_triangular(ROOT, x.T, upper=False).T)]


def related(count, seed):
    """Normal rows, whose columns depend on each other."""
    return normal(count, D, seed=seed) @ ROOT.T


def reference(model, rows=200, training=400, held_out=400):
    return Reference(
        model=model(torch.zeros(D).double(), COVARIANCE).eval(),
        sigma=1.0,
        rows=related(rows, 1),
        training_rows=related(training, 2),
        held_out=related(held_out, 3),
        columns=np.arange(D),
        column_names=("a", "b", "c", "d"),
        shape=(D,),
    )


MODELS = {"energy": Gaussian, "flow": GaussianFlow}


@pytest.fixture(scope="module", params=MODELS)
def tester(request):
    return GroupTester(reference(MODELS[request.param]))


@pytest.fixture(scope="module")
def lots():
    """Eight groups: in the third one column is permuted, in the sixth one is shifted."""
    rows, labels = related(400, 4), np.repeat([f"lot {i}" for i in range(8)], 50)
    rows[100:150, 1] = rows[100:150, 1].flip(0)
    rows[250:300, 3] += 4
    return rows, labels


def test_anomalous_groups_are_flagged_with_their_reason(tester, lots):
    found = tester.test(*lots, 0.05, "fdr", "auto")
    assert found.group.tolist() == [f"lot {i}" for i in range(8)]
    assert found.size.tolist() == [50] * 8
    assert np.flatnonzero(found.flag).tolist() == [2, 5]
    assert found.reason[[2, 5]].tolist() == ["dependence", "marginals"]
    assert found.columns[2][0] == "b"
    assert found.p_value[5] == found.smallest_p[5]


@pytest.mark.parametrize("name", STATISTICS)
def test_every_statistic_finds_an_anomalous_group_or_refuses_the_model(tester, lots, name):
    if name in OF_LATENTS and not isinstance(tester.reference.model, Latent):
        with pytest.raises(
            TypeError, match=f"'{name}' is of latents, and the model has none.*'mmd', 'shift', 'stein'"
        ):
            tester.test(*lots, 0.05, "false_alarm", name)
        return
    found = tester.test(*lots, 0.05, "false_alarm", name, reasons=False)
    assert ((found.p_value >= found.smallest_p) & (found.p_value <= 1)).all()
    strangest = int(found.statistic.argmax())
    assert strangest in (2, 5)
    assert found.flag[strangest]


def test_the_score_is_taken_only_where_it_is_needed(tester):
    latent = isinstance(tester.reference.model, Latent)
    needing = {name for name in STATISTICS if needs_score(name, tester.reference.model)}
    assert needing == ({"stein"} if latent else {"stein", "auto"})


@pytest.mark.parametrize(("n", "rows", "redraws"), [(1, 60, 1_000), (2, 60, 1_000), (7, 60, 400)])
def test_small_groups_of_normal_rows_are_seldom_flagged(tester, n, rows, redraws):
    """The model and the statistic are fixed; the held-out rows and the group are drawn again and again."""
    statistic, model = tester.statistic("auto"), tester.reference.model
    drawn = related(redraws * (rows + n), 5)
    score = needs_score("auto", model)
    features = statistic.features(tester.reference.outputs(drawn, score)).reshape(redraws, rows + n, -1)
    p = [Null(part[n:], statistic.value).p_value(part[:n]).p for part in features]
    assert_level(p, 0.05, rows // n if rows // n >= 19 else None)


def test_a_verdict_is_of_its_own_rows_alone(tester, lots):
    rows, labels = lots
    whole = tester.test(rows, labels, 0.05, "false_alarm", "auto")
    alone = tester.test(rows[100:150], labels[100:150], 0.05, "false_alarm", "auto")
    assert alone.statistic[0] == pytest.approx(whole.statistic[2], rel=1e-9)
    assert (alone.p_value[0], alone.columns[0]) == (whole.p_value[2], whole.columns[2])
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = tester.test(rows[order], labels[order], 0.05, "false_alarm", "auto")
    back = [shuffled.group.tolist().index(name) for name in whole.group]
    np.testing.assert_allclose(shuffled.statistic[back], whole.statistic, rtol=1e-9)


def test_a_large_group_s_verdict_does_not_depend_on_its_place(tester):
    large, small = related(5_000, 6), related(40, 7)
    alone = tester.test(large, np.zeros(5_000), 0.05, "false_alarm", "auto")
    both = tester.test(torch.cat([small, large]), np.repeat([0, 1], [40, 5_000]), 0.05, "false_alarm", "auto")
    assert both.size.tolist() == [40, 5_000]
    assert both.statistic[1] == pytest.approx(alone.statistic[0], rel=1e-9)
    assert both.p_value[1] == alone.p_value[0]


def test_verdicts_are_the_same_whatever_fits_into_memory(tester, monkeypatch):
    rows, labels = related(1_400, 8), np.arange(1_400) // 700
    whole = tester.test(rows, labels, 0.05, "fdr", "auto")
    monkeypatch.setattr(verdicts, "NUMBERS_AT_ONCE", 1)
    monkeypatch.setattr(verdicts, "AT_ONCE", 1)
    pieces = tester.test(rows, labels, 0.05, "fdr", "auto")
    np.testing.assert_allclose(pieces.statistic, whole.statistic, rtol=1e-9)
    assert pieces.p_value.tolist() == whole.p_value.tolist()


def test_what_was_fitted_before_changes_nothing(tester, lots):
    """A statistic is fitted once for a tester, and belongs to this one alone."""
    assert tester.statistic("auto") is tester.statistic("auto")
    fresh = GroupTester(tester.reference)
    assert fresh.statistic("auto") is not tester.statistic("auto")
    other = GroupTester(replace(tester.reference, rows=related(200, 9)))
    for name in ("likelihood", "auto", "mmd"):
        found = [one.test(*lots, 0.05, "fdr", name) for one in (tester, fresh, other)]
        assert found[0].statistic.tolist() == found[1].statistic.tolist()
        assert (found[0].statistic.tolist() == found[2].statistic.tolist()) == (name == "likelihood")


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (5,), (6,), (7, 30), (40, 90)])
def test_how_large_groups_may_be_changes_nothing(tester, sizes):
    """A statistic that was fitted for groups of no more rows than there are gives the bits of any other."""
    labels = np.repeat(np.arange(2 * len(sizes)), sizes * 2)
    rows, whole = related(len(labels), 11), GroupTester(tester.reference)
    for name in ("auto", "divergence") if tester.reference.model.__class__ is GaussianFlow else ("auto",):
        fresh = GroupTester(tester.reference)
        assert whole.statistic(name).reaches(10_000)
        found, expected = (one.test(rows, labels, 0.05, "false_alarm", name) for one in (fresh, whole))
        assert found.statistic.tolist() == expected.statistic.tolist()
        assert found.p_value.tolist() == expected.p_value.tolist()
        if isinstance(whole.statistic(name), JointStatistic):
            assert fresh._statistics[name].reaches(max(sizes))
            assert not fresh._statistics[name].reaches(10_000)
        larger = np.zeros(len(labels), dtype=np.int64)  # then it is fitted for these
        found, expected = (one.test(rows, larger, 0.05, "false_alarm", name) for one in (fresh, whole))
        assert found.statistic.tolist() == expected.statistic.tolist()


def test_a_statistic_is_fitted_twice_at_most(monkeypatch):
    fits, fit = [], JointStatistic.fit

    def counted(*given, **more):
        fits.append(given)
        return fit(*given, **more)

    monkeypatch.setattr(JointStatistic, "fit", counted)
    tester = GroupTester(reference(Gaussian))
    for size in (2, 3, 7, 20, 60, 5):
        tester.test(related(2 * size, size), np.arange(2 * size) // size, 0.05, "false_alarm", "auto")
    assert len(fits) == 2


def test_reasons_are_computed_only_where_someone_asks(lots, monkeypatch):
    tester, asked = GroupTester(reference(Gaussian)), []
    monkeypatch.setattr("upland.groups.reasons.Reasons.of", lambda *given: asked.append(given))
    found = tester.test(*lots, 0.05, "fdr", "auto", reasons=False)
    assert not asked
    assert set(found.reason) == {""}
    assert set(found.columns) == {()}
    with pytest.raises(AttributeError):
        tester.test(*lots, 0.05, "fdr", "auto")
    assert asked


def test_p_values_that_are_too_coarse_are_warned_of():
    tester = GroupTester(reference(Gaussian, held_out=20))
    with pytest.warns(UserWarning, match="20 of 20 groups cannot be flagged at alpha = 0.01: with 20 normal"):
        found = tester.test(related(20, 5) + 50, np.arange(20), 0.01, "fdr", "auto")
    assert not found.flag.any()
    tester = GroupTester(reference(Gaussian, held_out=100))
    with pytest.warns(UserWarning, match="among 40 groups at least 8 must be anomalous"):
        tester.test(related(40, 5), np.arange(40), 0.05, "fdr", "auto")


@pytest.mark.parametrize(
    ("changes", "statistic", "message"),
    [
        ({}, "best", ", ".join(map(repr, STATISTICS))),
        ({"rows": None}, "auto", "0 normal rows are kept with the model, and it takes 8"),
        ({"rows": related(7, 1)}, "auto", "7 normal rows are kept"),
        ({"held_out": None}, "auto", "no normal rows are kept to compare groups with: .*keep_rows"),
        ({"held_out": related(0, 1)}, "auto", "no normal rows are kept to compare"),
    ],
)
def test_what_cannot_be_tested_is_refused(changes, statistic, message):
    tester = GroupTester(replace(reference(Gaussian), **changes))
    for call in (
        lambda: tester.check(statistic),
        lambda: tester.test(related(9, 1), [0] * 9, 0.05, "fdr", statistic),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# -- by scores alone -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_SCORES)
def test_scores_alone_find_an_anomalous_group(name):
    draws = normal(240, seed=1).numpy()
    scores = np.concatenate([draws[200:220], draws[220:] + 3])
    found = verdicts_from_scores(draws[:200], scores, np.arange(40) // 20, 0.05, "fdr", name)
    assert found.flag.tolist() == [False, True]


@pytest.mark.parametrize("name", [*sorted(STATISTICS.keys() - set(OF_SCORES)), "best"])
def test_statistics_of_more_than_scores_are_refused(name):
    with pytest.raises(TypeError, match="one of 'auto', 'typicality', 'likelihood', 'projections'"):
        verdicts_from_scores(np.arange(40.0), np.arange(3.0), [0, 0, 1], 0.05, "fdr", name)


@pytest.mark.parametrize(
    ("normal_scores", "scores", "message"),
    [
        (np.arange(40.0), np.array([1.0, np.nan, 2.0]), "1 of 3 have no score"),
        (np.arange(15.0), np.arange(3.0), "15 held-out scores are too few"),
        (np.arange(40.0), np.ones((3, 2)), r"scores \(N,\), but these are \(3, 2\)"),
    ],
)
def test_scores_that_cannot_be_tested_are_refused(normal_scores, scores, message):
    with pytest.raises(ValueError, match=message):
        verdicts_from_scores(normal_scores, scores, [0, 0, 1], 0.05, "fdr", "auto")
