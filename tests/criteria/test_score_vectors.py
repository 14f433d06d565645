"""The score test: its vectors against brute force, its reference against theory, its two sides."""

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS

from laws import covariance, generator, normal, randomise
from upland import SequenceEnergyDetector
from upland.criteria import reading
from upland.criteria.reading import precise
from upland.criteria.score_vectors import (
    LEAST_SHRINKAGE,
    LEAST_SQUARE,
    Running,
    evidence,
    oas,
    reference_of,
    running_vectors,
    sequence_vectors,
    step_tests,
    summed,
    vector,
)
from upland.models.recurrent import RecurrentEnergy

WIDTH, FRAME = 2, 3
LENGTHS = np.array([9, 2, 31, 1, 17, 3])
CODES = normal(int(LENGTHS.sum()), WIDTH, seed=4).float()
WINDOWS = (2, 5, 12)


def read(start, stop):
    return CODES[start:stop]


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def model(request):
    made = RecurrentEnergy(WIDTH, (6, 4), state=3, frame=FRAME, cell=request.param, generator=generator())
    return randomise(made, scale=0.5)


@pytest.fixture(scope="module")
def parts(model):
    """The evidence of every step, sequence by sequence, each read alone and whole."""
    exact = precise(model)
    found = []
    for start, length in zip(np.cumsum(LENGTHS) - LENGTHS, LENGTHS, strict=True):
        x = CODES[start : start + length].double()[None]
        with torch.no_grad():
            points, context, _ = exact.advance(exact.start(1), x)
            found.append(evidence(exact, points[0], context[0]))
    return found


def close(one, two, tolerance=1e-10):
    torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


# -- vectors -------------------------------------------------------------------------------------------------


def test_the_evidence_is_the_gradient_in_the_biases_and_the_residual(model):
    exact = precise(model)
    points, context = normal(7, FRAME * WIDTH, seed=1), normal(7, 3, seed=2)
    exact.given(context).energy(points).sum().backward()
    found = evidence(exact, points, context).detach()
    of_biases = torch.cat([-bias.grad for bias in exact.biases])
    close(found[:, : len(of_biases)].sum(0), of_biases)
    residual = (points - exact.given(context).reconstruct(points)).detach().reshape(7, FRAME, WIDTH)
    close(found[:, len(of_biases) : -WIDTH], residual.mean(1))
    close(found[:, -WIDTH:], residual.square().mean(1))


def test_only_mean_squares_become_logarithms():
    means = torch.tensor([[-1.0, 2.0, 0.0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([[-1.0, 2.0, np.log(LEAST_SQUARE), np.log(4.0 + LEAST_SQUARE)]])
    close(vector(means, 2), expected.double())


def test_a_sequences_vector_is_of_the_mean_over_its_full_frames(model, parts):
    """A sequence that is shorter than the frame has no full one: all of its steps count."""
    expected = [vector(p.mean(0) if len(p) < FRAME else p[FRAME - 1 :].mean(0), WIDTH) for p in parts]
    close(sequence_vectors(model, read, LENGTHS), torch.stack(expected))


def by_brute_force(parts, window, usual=None):
    """For each step the vector of the mean over the last steps of its own sequence; with what is usual in the
    place of the steps before the start.
    """
    found = []
    for part in parts:
        before = part[:0] if usual is None else usual.expand(window - 1, -1)
        filled = torch.cat([before, part])
        for stop in range(len(before) + 1, len(filled) + 1):
            found.append(vector(filled[max(0, stop - window) : stop].mean(0), WIDTH))
    return torch.stack(found)


@pytest.fixture(scope="module")
def references(model):
    found = running_vectors(model, read, LENGTHS, WINDOWS, np.arange(LENGTHS.sum()))
    return {w: reference_of(v, relative=True) for w, v in zip(WINDOWS, found, strict=True)}


def test_running_vectors_are_of_means_over_the_last_steps(model, parts):
    everything = np.arange(LENGTHS.sum())
    for window, found in zip(
        WINDOWS, running_vectors(model, read, LENGTHS, WINDOWS, everything), strict=True
    ):
        close(found, by_brute_force(parts, window))


def test_only_the_wanted_steps_are_kept_in_their_order(model):
    some = np.array([0, 3, 10, 11, 40, 62])
    whole = running_vectors(model, read, LENGTHS, WINDOWS, np.arange(LENGTHS.sum()))
    few = running_vectors(model, read, LENGTHS, WINDOWS, some)
    for one, two in zip(few, whole, strict=True):
        close(one, two[some])


@pytest.mark.parametrize(("stretch", "together"), [(1, 1), (4, 8), (7, 1_000), (1_000, 20)])
@pytest.mark.parametrize("what", ["running vectors", "sequence vectors", "step tests"])
def test_stretches_of_any_length_agree(model, references, what, stretch, together, monkeypatch):
    def found():
        if what == "running vectors":
            return running_vectors(model, read, LENGTHS, WINDOWS, np.arange(LENGTHS.sum()))
        if what == "sequence vectors":
            return [sequence_vectors(model, read, LENGTHS)]
        return [step_tests(model, read, LENGTHS, references)]

    whole = found()
    monkeypatch.setattr(reading, "STRETCH", stretch)
    monkeypatch.setattr(reading, "TOGETHER", together)
    for one, two in zip(found(), whole, strict=True):
        close(one, two)


@pytest.mark.parametrize("cuts", [(), (1,), (5, 6, 20)])
def test_running_on_is_as_running_through_and_the_tail_is_bounded(model, parts, cuts):
    exact, x = precise(model), CODES[11:42].double()[None]
    with torch.no_grad():
        points, context, _ = exact.advance(exact.start(1), x)
    running, found = Running(exact, dict.fromkeys(WINDOWS), 1), []
    for start, stop in zip((0, *cuts), (*cuts, 31), strict=True):
        found.append(running.advance(points[:, start:stop], context[:, start:stop]))
        assert running.tail.shape[1] == max(WINDOWS) - 1
    for place, window in enumerate(WINDOWS):
        close(torch.cat([part[place][0] for part in found]), by_brute_force(parts[2:3], window))


def test_a_steps_score_is_the_sum_over_the_windows_and_before_the_start_all_was_usual(
    model, parts, references
):
    vectors = [by_brute_force(parts, w, reference.usual(WIDTH)) for w, reference in references.items()]
    expected = sum(reference.test(v) for v, reference in zip(vectors, references.values(), strict=True))
    close(step_tests(model, read, LENGTHS, references), expected)
    close(summed(vectors, references), expected)


def test_what_is_usual_has_the_center_for_its_vector(references):
    for reference in references.values():
        close(vector(reference.usual(WIDTH), WIDTH), reference.center)


# -- the reference -------------------------------------------------------------------------------------------


def gaussian(count, spread, seed=0):
    return normal(count, len(spread), seed=seed) @ torch.linalg.cholesky(spread).T + 3.0


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_normal_vectors_have_a_test_of_about_one(scale):
    """E T = trace(C^-1 S) / K = 1 for new vectors as well; shrinkage by a tenth moves little."""
    spread = torch.diag(torch.linspace(0.3, 4.0, 6, dtype=torch.float64)) * scale
    reference = reference_of(gaussian(4_000, spread), relative=False)
    assert reference.unit == 1.0
    assert float(reference.test(gaussian(4_000, spread)).mean()) == pytest.approx(1, abs=0.02)
    assert float(reference.test(gaussian(4_000, spread, seed=9)).mean()) == pytest.approx(1, abs=0.05)


def test_the_whitening_is_of_the_shrunk_correlations():
    vectors = gaussian(60, covariance(5))
    reference = reference_of(vectors, relative=False)
    spread = vectors.std(0, correction=0) + 1e-3 * vectors.mean(0).abs() + 1e-6
    z = (vectors - vectors.mean(0)) / spread
    share = max(OAS(assume_centered=True).fit(z.numpy()).shrinkage_, LEAST_SHRINKAGE)
    correlation = z.T @ z / len(z)
    target = correlation.diagonal().mean() * torch.eye(5, dtype=z.dtype)
    shrunk = (1 - share) * correlation + share * target
    away = normal(8, 5, seed=3)
    expected = (away / spread * torch.linalg.solve(shrunk, (away / spread).T).T).mean(1)
    close(reference.test(reference.center + away), expected)


def test_relative_means_in_units_of_the_median():
    vectors = gaussian(501, covariance(4))
    found = reference_of(vectors, relative=True)
    assert float(found.test(vectors).median()) == pytest.approx(1)
    plain = reference_of(vectors, relative=False)
    close(found.test(vectors) * found.unit, plain.test(vectors))


def test_both_sides_count_alike():
    reference, away = reference_of(gaussian(300, covariance(4)), relative=False), normal(20, 4, seed=2)
    close(reference.test(reference.center + away), reference.test(reference.center - away))
    assert float(reference.test(reference.center)) == 0


@pytest.mark.parametrize("count", [2, 3, 5])
def test_fewer_vectors_than_dimensions_are_enough(count):
    reference = reference_of(gaussian(count, covariance(12)), relative=True)
    found = reference.test(gaussian(50, covariance(12), seed=1))
    assert torch.isfinite(found).all()
    assert (found > 0).all()


def test_vectors_that_are_all_alike_tell_a_change():
    reference = reference_of(torch.ones(20, 3, dtype=torch.float64), relative=True)
    steps_away = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.1, 1.0], [1.0, 5.0, 1.0]], dtype=torch.float64)
    one, two, three = reference.test(steps_away).tolist()
    assert one < two < three < np.inf


@pytest.mark.parametrize(("count", "width"), [(5, 3), (30, 8), (12, 40), (400, 6), (2, 4)])
def test_the_shrinkage_is_scikit_learns(count, width):
    z = gaussian(count, covariance(width))
    ours = oas(z.T @ z / count, count)
    assert ours == pytest.approx(OAS(assume_centered=True).fit(z.numpy()).shrinkage_, rel=1e-9)


def test_equal_variances_are_shrunk_all_the_way():
    assert oas(torch.eye(5, dtype=torch.float64), 10**6) == pytest.approx(1, abs=1e-5)


# -- two-sided -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:p-values are coarse")
def test_a_calmer_sequence_is_stranger_to_the_score_test_and_not_to_the_reconstruction():
    rng = np.random.default_rng(0)
    train, new = (rng.normal(size=(count, 20, 2)) for count in (40, 30))
    calm, wild = 0.15 * new[:10], 3 * new[:10]
    options = {"hidden": (16, 8), "epochs": 5, "calibration": "split", "random_state": 0, "progress": False}
    tested, rebuilt = (
        SequenceEnergyDetector(criterion=name, **options).fit(train)
        for name in ("score_test", "reconstruction")
    )
    usual = tested.anomaly_score(new)
    assert tested.anomaly_score(calm).min() > usual.max()
    assert tested.anomaly_score(wild).min() > usual.max()
    assert rebuilt.anomaly_score(calm).max() < rebuilt.anomaly_score(new).min()
    assert rebuilt.anomaly_score(wild).min() > rebuilt.anomaly_score(new).max()
