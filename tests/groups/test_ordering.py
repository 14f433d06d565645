"""The law of sets: a verdict depends on the rows of a group, not on their order, nor on other groups."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import upland
from laws import Gaussian, normal
from normals import NORMAL, SIZES, small
from upland.catalogue import STATISTICS
from upland.groups import verdicts
from upland.groups.null import Null
from upland.groups.ordering import MOST_ROWS, sorted_groups
from upland.groups.outputs import Reference
from upland.groups.tester import GroupTester, needs_score

COUNTS = (2, 9, 9, 20)
LABELS = np.repeat(["two", "nine", "other nine", "twenty"], COUNTS)
FIELDS = ("statistic", "p_value", "p_value_error", "flag", "reason", "columns", "smallest_p", "method")
ORDERS = range(6)


def mixed(count, seed):
    """A frame with missing values, repeated rows, a category, zeros of both signs and a date."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "load": np.where(rng.random(count) < 0.2, np.nan, rng.normal(size=count)),
            "step": rng.integers(-2, 3, count) * rng.choice([-0.0, 0.5], count),
            "valve": rng.choice(["open", "shut"], count),
            "gap": rng.gamma(2.0, size=count),
        }
    )


def taken(data, order):
    return data.iloc[order] if isinstance(data, pd.DataFrame) else data[order]


def by_name(found):
    """Every field of each group's verdict, as it is."""
    values = zip(*(getattr(found, name) for name in FIELDS), strict=True)
    return dict(zip(found.group.tolist(), map(list, values), strict=True))


def scored(detector, data, labels, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return by_name(detector.score_groups(data, labels, **options))


def offered(detector, statistic):
    """Whether a statistic is of such a detector, by the catalogue."""
    entry = STATISTICS[statistic]
    if detector.modality == "sequence":
        return entry.of_scores if detector.family == "energy" else entry.needs != "score"
    return entry.needs != "latents" or detector.family in ("flow", "vae")


MADE = [*SIZES, "mixed", "experts"]


@pytest.fixture(scope="module", params=MADE, ids=lambda made: getattr(made, "__name__", made))
def fitted(request):
    """A detector and new data in four groups."""
    if request.param in ("mixed", "experts"):
        energy = {"mixed": "multiscale", "experts": "experts"}[request.param]
        return small(upland.EnergyDetector, energy=energy).fit(mixed(150, 0)), mixed(40, 1)
    options = {"window": None} if request.param.modality == "sequence" else {}
    make = NORMAL[request.param.modality]
    return small(request.param, **options).fit(make(150)), make(40, seed=1)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_order_of_rows_and_of_groups_changes_no_bit(fitted, statistic):
    """Bit for bit: in six orders of all rows, which are six orders of the groups as well."""
    detector, data = fitted
    if not offered(detector, statistic):
        with pytest.raises(TypeError, match="statistic"):
            scored(detector, data, LABELS, statistic=statistic)
        return
    expected = scored(detector, data, LABELS, statistic=statistic)
    for seed in ORDERS:
        order = np.random.default_rng(seed).permutation(len(LABELS))
        assert scored(detector, taken(data, order), LABELS[order], statistic=statistic) == expected


@pytest.mark.parametrize("statistic", STATISTICS)
def test_other_groups_change_no_bit(fitted, statistic):
    """Where each is flagged by itself; under a false discovery rate p-values are finer the more there are.

    The score of a sequence depends on those beside it by 1e-7 of itself, so that p-values alone are equal.
    """
    detector, data = fitted
    options = {"statistic": statistic, "control": "false_alarm"}
    if not offered(detector, statistic):
        with pytest.raises(TypeError, match="statistic"):
            scored(detector, data, LABELS, **options)
        return
    expected = scored(detector, data, LABELS, **options)
    for name in expected:
        own = np.flatnonzero(name == LABELS)
        alone = scored(detector, taken(data, own), LABELS[own], **options)[name]
        if detector.modality == "sequence":
            assert alone[0] == pytest.approx(expected[name][0], rel=1e-5)
            assert alone[1:] == expected[name][1:]
        else:
            assert alone == expected[name]


SEQUENCES = (upland.SequenceEnergyDetector, upland.SequenceFlowDetector)
OF_ROWS = [made for made in MADE if made not in SEQUENCES]  # of scores, and of steps


@pytest.mark.parametrize("fitted", OF_ROWS, indirect=True)
def test_features_of_a_row_do_not_depend_on_its_position(fitted):
    detector, data = fitted
    x = torch.cat(
        [detector.encode(detector.encoder_, p) for p in detector.plan_.reader.pieces(data, detector.encoder_)]
    )
    tester, order = detector.group_tester_, torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    for name in STATISTICS:
        try:
            statistic = tester.statistic(name)
        except TypeError:
            continue
        score = needs_score(name, tester.reference.model)
        whole, shuffled, alone = (
            statistic.features(tester.reference.outputs(rows, score)) for rows in (x, x[order], x[order[:1]])
        )
        assert torch.equal(whole[order], shuffled), name
        assert torch.equal(whole[order[:1]], alone), name


# -- by encoded rows -----------------------------------------------------------------------------------------


def gaussian_tester(held_out):
    d = 3
    return GroupTester(
        Reference(
            model=Gaussian(torch.zeros(d).double(), torch.eye(d).double()).eval(),
            sigma=1.0,
            rows=normal(60, d, seed=1),
            held_out=normal(held_out, d, seed=2),
            columns=np.arange(d),
            column_names=("a", "b", "c"),
            shape=(d,),
        )
    )


def verdicts_of(rows, labels):
    return by_name(gaussian_tester(200).test(rows, labels, 0.05, "fdr", "auto"))


def test_a_group_too_large_is_tested_by_the_same_rows_in_any_order():
    rows = normal(MOST_ROWS + 500, 3, seed=3)
    labels = np.array(["large"] * (len(rows) - 9) + ["small"] * 9)
    order = np.random.default_rng(1).permutation(len(rows))
    assert verdicts_of(rows[order], labels[order]) == verdicts_of(rows, labels)


def test_groups_of_the_same_rows_have_the_same_verdict():
    rows = normal(12, 3, seed=4)
    found = verdicts_of(
        torch.cat([rows, normal(12, 3, seed=5), rows.flip(0)]), np.repeat(["a", "b", "c"], 12)
    )
    assert found["a"] == found["c"] != found["b"]


def test_no_order_changes_what_fits_into_memory(monkeypatch):
    rows, labels = normal(90, 3, seed=6), np.arange(90) % 9
    whole = verdicts_of(rows, labels)
    monkeypatch.setattr(verdicts, "AT_ONCE", 1)
    assert verdicts_of(rows.flip(0), labels[::-1]) == whole


def test_zeros_of_either_sign_are_one_value():
    rows = normal(8, 3, seed=7)
    rows[::2, 0] = 0.0
    signed = rows.clone()
    signed[::4, 0] = -0.0
    one, other = (sorted_groups(x, np.zeros(8, dtype=np.int64), np.array([8]))[0] for x in (rows, signed))
    assert one.key == other.key
    assert one.rows.tolist() == other.rows.tolist()


def test_groups_differ_by_size_and_rows():
    rows = normal(6, 2, seed=8)
    numbers = np.array([0, 1, 1, 2, 2, 2])
    found = sorted_groups(torch.cat([rows, rows]), np.tile(numbers, 2), np.array([2, 4, 6]))
    assert [group.size for group in found] == [2, 4, 6]
    assert len({group.key for group in found}) == 3


def test_the_draws_depend_on_the_normal_rows(monkeypatch):
    """Another reserve has other draws: over reserves the draws are random as well."""
    seeds = []
    make = Null.__init__
    monkeypatch.setattr(
        Null,
        "__init__",
        lambda *given, seed, **named: (seeds.append(seed), make(*given, **named, seed=seed))[1],
    )
    rows, labels = normal(10, 3, seed=9), [0] * 10
    for held_out in (200, 200, 199):
        gaussian_tester(held_out).test(rows, labels, 0.05, "fdr", "auto")
    assert seeds[0] == seeds[1] != seeds[2]
