"""Laws of every criterion of every estimator: a function of the reference and of the point alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from estimators import EXAMPLES, EXPERTS, table
from upland.catalogue import CRITERIA, FAMILIES, MODALITIES, criteria_of, home_for_unit, load
from upland.criteria.base import Criterion
from upland.criteria.reading import precise, stretches
from upland.criteria.sequence import EncodedSequences
from upland.detectors.ensemble import offered_criteria

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")
OTHER_MODELS = {
    *(("EnergyDetector", "experts"), (EXPERTS, "multiscale")),
    ("ImageEnergyDetector", "experts"),
}
"""Criteria of the catalogue that need another model of the same family."""

POINTS, SEQUENCES = [], []
for _name, _example in EXAMPLES.items():
    _class = type(_example.make())
    for _criterion in criteria_of(_class.family, _class.modality):
        if _class.modality == "sequence":
            SEQUENCES += [(_criterion, unit) for unit in ("step", "sequence")]
        elif (_name, _criterion) not in OTHER_MODELS:
            POINTS.append((_name, _criterion))
SUM_TO_SCORE = ("experts", "multiscale", "reconstruction", "score_test", "max_channel")


@pytest.fixture(scope="module")
def members():
    return {name: example.fit().members_[0] for name, example in EXAMPLES.items()}


def class_of(name, criterion):
    kind = type(EXAMPLES[name].make())
    return load(criteria_of(kind.family, kind.modality)[criterion])


def new_points(name, member):
    return torch.from_numpy(member.encoder.transform(EXAMPLES[name].new))


def test_the_catalogue_names_criteria_of_known_models():
    for name, entry in CRITERIA.items():
        assert entry.models, name
        for family, modality in entry.models:
            assert family in FAMILIES
            assert modality in MODALITIES
            assert issubclass(load(criteria_of(family, modality)[name]), Criterion)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_model_is_offered_the_criteria_that_it_can_be_scored_by(name, members):
    """The criteria of the catalogue but those of another model, which are refused by name."""
    example, architecture = EXAMPLES[name], members[name].architecture
    kind = type(example.make())
    named = criteria_of(kind.family, kind.modality)
    offered = offered_criteria(kind.family, kind.modality, architecture.model_type)
    others = [criterion for label, criterion in OTHER_MODELS if label == name]
    assert offered.homes == {key: home for key, home in named.items() if key not in others}
    assert set(offered.defaults.values()) <= set(offered.homes)
    assert isinstance(members[name].model, architecture.model_type)
    for criterion in others:
        with pytest.raises(ValueError, match=f"criterion must be 'auto' or one of .*got '{criterion}'"):
            example.fit(criterion=criterion)


# -- rows and images -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "criterion"), POINTS)
def test_a_score_is_one_number_a_point_and_shares_are_shaped_as_the_points(name, criterion, members):
    member = members[name]
    x = new_points(name, member)
    fitted = class_of(name, criterion)().fit(member.reference)
    scores, shares = fitted.score(x), fitted.shares(x)
    assert scores.shape == (len(x),)
    assert scores.dtype == np.float64
    assert shares.inputs.shape == shares.expected.shape == tuple(x.shape)
    assert (shares.inputs >= 0).all()
    assert np.isfinite(shares.expected).all()
    if criterion in SUM_TO_SCORE:
        np.testing.assert_allclose(shares.inputs.reshape(len(x), -1).sum(1), scores, rtol=1e-6)


@pytest.mark.parametrize(("name", "criterion"), POINTS)
def test_fitted_again_on_the_same_reference_it_gives_the_same_bits(name, criterion, members):
    member = members[name]
    one, two = (class_of(name, criterion)().fit(member.reference) for _ in range(2))
    x = new_points(name, member)
    two.score(x + 1)  # what was scored before does not matter
    np.testing.assert_array_equal(one.score(x), two.score(x))


@pytest.mark.parametrize(("name", "criterion"), POINTS)
def test_a_points_score_does_not_depend_on_its_company(name, criterion, members):
    member = members[name]
    x = new_points(name, member)
    fitted = class_of(name, criterion)().fit(member.reference)
    whole = fitted.score(x)
    np.testing.assert_allclose(fitted.score(x.flip(0)), whole[::-1], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose([fitted.score(point[None])[0] for point in x], whole, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("name", "criterion"), POINTS)
def test_only_a_criterion_that_says_so_needs_reference_rows(name, criterion, members):
    member = members[name]
    without = replace(member.reference, rows=None)
    made = class_of(name, criterion)
    if made.needs_rows:
        with pytest.raises(ValueError, match="0 normal rows are kept with the model, and it takes"):
            made().fit(without)
        return
    x = new_points(name, member)
    np.testing.assert_array_equal(made().fit(without).score(x), made().fit(member.reference).score(x))


@pytest.mark.parametrize(("name", "criterion"), [pair for pair in POINTS if not pair[0].startswith("Image")])
def test_far_rows_score_higher_than_normal_ones(name, criterion):
    example = EXAMPLES[name]
    longer = {} if name == EXPERTS else {"epochs": 20, "hidden": (16,)}
    detector = example.make(criterion=criterion, **longer).fit(table(300, 0))
    new = table(50, 5)
    far = new.assign(flow=new["flow"] + 60, pressure=new["pressure"] - 300)
    assert np.median(detector.anomaly_score(far)) > np.max(detector.anomaly_score(new))


# -- sequences -----------------------------------------------------------------------------------------------


LENGTHS = np.array([7, 30, 1, 12])


def holder(criterion):
    """The example whose estimator offers a criterion of sequences."""
    kinds = {name: type(example.make()) for name, example in EXAMPLES.items()}
    return next(
        name
        for name, kind in kinds.items()
        if kind.modality == "sequence" and criterion in criteria_of(kind.family, "sequence")
    )


@pytest.fixture(scope="module")
def sequences(members):
    generator = torch.Generator().manual_seed(2)
    codes = torch.randn(
        int(LENGTHS.sum()), members["SequenceEnergyDetector"].model.width, generator=generator
    )
    return EncodedSequences(lambda start, stop: codes[start:stop], LENGTHS)


@pytest.mark.parametrize(("criterion", "unit"), SEQUENCES)
def test_of_sequences_a_score_is_of_each_unit_and_shares_are_of_each_step(
    criterion, unit, members, sequences
):
    fitted = members[holder(criterion)].criteria[criterion, unit]
    scores, shares = fitted.score(sequences), fitted.shares(sequences)
    assert scores.shape == (LENGTHS.sum() if unit == "step" else LENGTHS.size,)
    assert scores.dtype == np.float64
    assert shares.inputs.shape == shares.expected.shape == (LENGTHS.sum(), fitted.model.width)
    if criterion in SUM_TO_SCORE:
        sums = shares.inputs.sum(1)
        sums = sums if unit == "step" else np.add.reduceat(sums, sequences.starts)
        np.testing.assert_allclose(sums, scores, rtol=1e-6)


@pytest.mark.parametrize(("criterion", "unit"), SEQUENCES)
def test_of_sequences_what_was_learned_is_its_state(criterion, unit, members, sequences):
    name = holder(criterion)
    member, family = members[name], type(EXAMPLES[name].make()).family
    fitted = member.criteria[criterion, unit]
    made = load(home_for_unit(criterion, criteria_of(family, "sequence"), unit))(unit)
    again = made.restore(member.model, member.sigma, 16, fitted.state())
    np.testing.assert_array_equal(again.score(sequences), fitted.score(sequences))


@pytest.mark.parametrize("criterion", [name for name, unit in SEQUENCES if unit == "step"])
def test_the_next_steps_have_the_scores_of_the_whole_pass(criterion, members, sequences):
    fitted = members[holder(criterion)].criteria[criterion, "step"]
    exact, whole = precise(fitted.model), fitted.score(sequences)
    start, length = int(sequences.starts[1]), int(LENGTHS[1])

    def one(begin, stop):
        return sequences.codes(start + begin, start + stop)

    (read,) = stretches(exact, one, np.array([length]))
    memory, found = fitted.start(exact, 1), []
    for step in range(length):
        now = slice(step, step + 1)
        with torch.no_grad():
            value, memory = fitted.score_next(exact, memory, read.points[:, now], read.context[:, now])
        found.append(float(value))
    np.testing.assert_allclose(found, whole[start : start + length], rtol=1e-9, atol=1e-12)


ROUNDS = [((0, 1, 3), 2), ((1,), 1), ((1, 3), 5), ((0, 3), 4), ((2,), 1), ((1,), 9)]
"""Which of the sequences go on together, and by how many steps."""


@pytest.mark.parametrize("criterion", [name for name, unit in SEQUENCES if unit == "step"])
def test_memories_of_series_are_put_together_and_taken_apart_again(criterion, members, sequences):
    """They are float64 arrays `(n, ...)`, and a series has the same numbers beside others as alone."""
    fitted = members[holder(criterion)].criteria[criterion, "step"]
    exact, whole = precise(fitted.model), fitted.score(sequences)
    reads = [
        (row, read) for read in stretches(exact, sequences.codes, LENGTHS) for row in range(len(read.group))
    ]
    points = {int(read.group[row]): (read.points[row], read.context[row]) for row, read in reads}
    kept = {name: value.copy() for name, value in fitted.start(exact, 4).items()}
    assert all(value.dtype == np.float64 and len(value) == 4 for value in kept.values())
    seen = np.zeros(4, dtype=int)
    for rows, length in ROUNDS:
        chosen = list(rows)
        parts = [[part[seen[row] : seen[row] + length] for part in points[row]] for row in chosen]
        memory = {name: value[chosen] for name, value in kept.items()}
        before = {name: value.copy() for name, value in memory.items()}
        with torch.no_grad():
            values, after = fitted.score_next(exact, memory, *map(torch.stack, zip(*parts, strict=True)))
        for name, value in memory.items():
            np.testing.assert_array_equal(value, before[name])
            kept[name][chosen] = after[name]
        places = (sequences.starts[chosen] + seen[chosen])[:, None] + np.arange(length)
        np.testing.assert_allclose(values.numpy(), whole[places], rtol=1e-9, atol=1e-12)
        seen[chosen] += length


@pytest.mark.parametrize("criterion", ["max_channel", "reconstruction", "energy"])
def test_a_sequences_score_is_the_mean_over_its_steps(criterion, members, sequences):
    criteria = members["SequenceEnergyDetector"].criteria
    steps = criteria[criterion, "step"].score(sequences)
    means = [part.mean() for part in np.split(steps, sequences.starts[1:])]
    np.testing.assert_allclose(criteria[criterion, "sequence"].score(sequences), means, rtol=1e-9)
