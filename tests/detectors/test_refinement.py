"""Weights and log odds of labelled rows: never worse than without in cross-validation, by construction."""

import numpy as np
import pytest

from upland.detectors import refinement
from upland.detectors.refinement import (
    LEAST_OF_ONE,
    MOST,
    Cases,
    Changes,
    Refinement,
    _validated,
    chosen,
    fitted_changes,
)

USUAL = np.array([1.0, 1.0, 0.5])


def cases(count, seed, shift=0.0, inputs=4):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, inputs))
    features[:, 0] += shift
    return Cases(rng.exponential(size=(count, 3)) + 1e-3, features, rng.uniform(0.5, 1, count))


def objective(changes, anomalies, normals, shrinkage):
    """The loss of the module's page, from its words."""
    total, weight = 0.0, 0.0
    for i, own in enumerate(changes.scores(anomalies)):
        for j, other in enumerate(changes.scores(normals)):
            pair = anomalies.weights[i] * normals.weights[j]
            total, weight = total + pair * np.log1p(np.exp(other - own)), weight + pair
    moved = np.r_[np.log(changes.weights / USUAL), changes.coefficients]
    return total / weight + shrinkage * (moved**2).sum()


@pytest.mark.parametrize("anomalies", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_never_worse_than_without_labels_in_cross_validation(anomalies, shift, seed):
    some, others = cases(anomalies, seed, shift), cases(15, 100 + seed)
    choice = chosen(some, others, USUAL)
    assert choice.after.loss <= choice.before.loss
    assert choice.after.auroc >= choice.before.auroc
    if choice.shrinkage is None:
        assert choice.after == choice.before
        assert (choice.changes.weights == USUAL).all()
        assert not choice.changes.coefficients.any()
    else:
        folds = _validated(some.in_order(), others.in_order(), USUAL, choice.shrinkage)
        assert tuple(folds.mean(0)) == pytest.approx(choice.after, rel=1e-12)
        assert choice.changes.coefficients.any()
    assert (choice.changes.weights > 0).all()


@pytest.mark.parametrize("anomalies", [1, 2, 20])
@pytest.mark.parametrize("careful", [False, True])
def test_nothing_changes_where_normal_rows_cannot_be_left_out(anomalies, careful):
    choice = chosen(cases(anomalies, 0, 3.0), cases(1, 1), USUAL, careful)
    assert choice.shrinkage is None
    assert choice.after == choice.before
    assert (choice.changes.weights == USUAL).all()
    assert not choice.changes.coefficients.any()


def test_a_careful_choice_changes_less_often_and_still_where_it_is_plain():
    pairs = [(cases(20, seed), cases(15, 100 + seed)) for seed in range(30)]
    usual, careful = ([chosen(*pair, USUAL, care).shrinkage for pair in pairs] for care in (False, True))
    assert sum(one is not None for one in usual) > 4 * sum(one is not None for one in careful)
    plain = (cases(20, 0, 3.0), cases(15, 1))
    assert chosen(*plain, USUAL, True).shrinkage is not None


def test_both_outcomes_occur():
    found = [
        chosen(cases(5, seed, shift), cases(15, 50 + seed), USUAL) for shift in (0, 3) for seed in range(6)
    ]
    assert any(choice.shrinkage is None for choice in found[:6])
    assert all(choice.shrinkage is not None for choice in found[6:])


@pytest.mark.parametrize("shrinkage", [0.01, 0.3])
def test_the_fit_is_a_minimum_of_the_loss(shrinkage):
    some, others = cases(6, 0, 1.0), cases(9, 1)
    found = fitted_changes(some, others, USUAL, shrinkage)
    least = objective(found, some, others, shrinkage)
    assert least < objective(Changes(USUAL, np.zeros(4)), some, others, shrinkage)
    for seed in range(20):
        step = 1e-2 * np.random.default_rng(seed).normal(size=7)
        near = Changes(found.weights * np.exp(step[:3]), found.coefficients + step[3:])
        assert objective(near, some, others, shrinkage) > least


@pytest.mark.parametrize("count", [1, 6])
def test_the_order_of_labelled_rows_does_not_matter(count):
    some, others = cases(count, 0, 2.0), cases(12, 1)
    rng = np.random.default_rng(2)
    first = chosen(some, others, USUAL)
    for _ in range(3):
        order, others_order = rng.permutation(count), rng.permutation(12)
        again = chosen(
            Cases(*(part[order] for part in some)), Cases(*(part[others_order] for part in others)), USUAL
        )
        assert (again.changes.weights == first.changes.weights).all()
        assert (again.changes.coefficients == first.changes.coefficients).all()
        assert again[1:] == first[1:]


def test_pairs_have_a_bound_and_many_rows_come_in_any_order(monkeypatch):
    sizes, measured = [], refinement._measured
    monkeypatch.setattr(
        refinement,
        "_measured",
        lambda changes, *rows: sizes.extend(len(some.weights) for some in rows) or measured(changes, *rows),
    )
    monkeypatch.setattr(refinement, "SHRINKAGES", (1.0,))
    monkeypatch.setattr(refinement, "STEPS", 3)
    rng, count = np.random.default_rng(3), 20_000
    some = cases(count, 0, 2.0)._replace(weights=np.ones(count))
    weights = np.repeat([1 / (count - 50), 1 / 50], [count - 50, 50])
    others = cases(count, 1)._replace(weights=weights)
    first = chosen(some, others, USUAL)
    again = chosen(some.some(rng.permutation(count)), others.some(rng.permutation(count)), USUAL)
    assert 0 < max(sizes) <= MOST + 50
    assert all((one == other).all() for one, other in zip(first.changes[:2], again.changes[:2], strict=True))
    assert first[1:] == again[1:]


@pytest.mark.parametrize("labelled", [3, MOST, 4 * MOST])
def test_rows_that_are_drawn_keep_the_weight_of_all(labelled):
    weights = np.repeat([1 / labelled, 1 / 50], [labelled, 50])
    rows = cases(labelled + 50, 0)._replace(weights=weights)
    few = rows.few()
    assert len(few.weights) == min(labelled, MOST) + 50
    np.testing.assert_allclose(few.weights.sum(), 2)
    if labelled <= MOST:
        assert all((one == other).all() for one, other in zip(few, rows, strict=True))


def test_more_anomalies_allow_less_shrinkage_and_one_alone_the_most():
    one = chosen(cases(1, 0, 4.0), cases(20, 1), USUAL)
    many = chosen(cases(30, 0, 4.0), cases(20, 1), USUAL)
    assert one.shrinkage >= LEAST_OF_ONE
    assert many.shrinkage < one.shrinkage


def test_log_odds_are_zero_for_the_mean_normal_row():
    some, others = cases(6, 0, 1.0), cases(9, 1)
    found = fitted_changes(some, others, USUAL, 0.1)
    mean = np.average(others.features @ found.coefficients + found.constant, weights=others.weights)
    assert abs(mean) < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        {"anomalies": 0},
        {"normals": -1},
        {"shrinkage": 0.0},
        {"shrinkage": 1e-4},
        {"shrinkage": 1e300},
        {"auroc": 1.5},
        {"auroc": float("nan")},
        {"held_out": "9"},
    ],
)
def test_records_that_no_refinement_leaves_are_refused(wrong):
    right = {"anomalies": 2, "normals": 5, "held_out": 9, "shrinkage": 0.1, "auroc_before": 0.7, "auroc": 0.8}
    assert Refinement.from_json(right).anomalies == 2
    with pytest.raises(ValueError, match="refinement"):
        Refinement.from_json(right | wrong)
