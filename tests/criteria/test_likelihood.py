"""Criteria of likelihoods: their formulas, and shares that are what another value would save."""

import zlib
from math import log

import numpy as np
import pytest
import torch

from estimators import EXAMPLES
from upland.criteria.complexity import Complexity, compressed_lengths
from upland.criteria.divergence import Divergence
from upland.criteria.divergence_complexity import DivergenceComplexity
from upland.criteria.likelihood import Likelihood
from upland.criteria.typicality import Typicality

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")


@pytest.fixture(scope="module")
def rows():
    member = EXAMPLES["FlowDetector"].fit().members_[0]
    return member.reference, torch.from_numpy(member.encoder.transform(EXAMPLES["FlowDetector"].new))


@pytest.fixture(scope="module")
def images():
    member = EXAMPLES["ImageFlowDetector"].fit().members_[0]
    x = torch.from_numpy(member.encoder.transform(EXAMPLES["ImageFlowDetector"].new))
    return member.reference, x


def energy(reference, x):
    with torch.no_grad():
        return reference.model.energy(x).double().numpy()


def test_the_likelihood_is_the_energy_of_the_model(rows, images):
    for reference, x in (rows, images):
        found = Likelihood().fit(reference).score(x)
        np.testing.assert_allclose(found, energy(reference, x), rtol=1e-5)


def test_typicality_grows_with_the_distance_from_the_mean_energy_on_both_sides(rows):
    reference, x = rows
    everything = torch.cat([x, reference.rows])
    found = Typicality().fit(reference).score(everything)
    away = np.abs(energy(reference, everything) - energy(reference, reference.rows).mean())
    assert (np.diff(found[np.argsort(away)]) >= -1e-5).all()


def test_a_columns_share_is_what_the_best_other_value_would_save(rows):
    """By every value of every reference row, of which the criterion tries nine."""
    reference, x = rows
    shares, expected = Likelihood().fit(reference).shares(x)
    now = energy(reference, x)
    for column in np.unique(reference.columns):
        inputs = np.flatnonzero(reference.columns == column)
        best = np.full(len(x), np.inf)
        for value in reference.rows[:, inputs].unique(dim=0):
            other = x.clone()
            other[:, inputs] = value
            best = np.minimum(best, energy(reference, other))
        share = shares[:, inputs].sum(1)
        assert (share >= 0).all()
        assert (share <= np.maximum(now - best, 0) + 0.5).all()
        replaced = x.clone()
        replaced[:, inputs] = torch.from_numpy(expected[:, inputs])
        np.testing.assert_allclose(now - share, energy(reference, replaced), rtol=1e-4, atol=1e-4)


def test_shares_of_pixels_sum_to_the_latents_part_of_the_energy(images):
    reference, x = images
    shares, _ = Likelihood().fit(reference).shares(x)
    levels = reference.outputs(x).levels
    latents = sum(0.5 * level.mean.double().square().flatten(1).sum(1) for level in levels)
    np.testing.assert_allclose(shares.sum(axis=(1, 2, 3)), latents, rtol=1e-6)


def test_the_complexity_is_the_likelihood_of_whole_numbers_less_the_compressed_length(images):
    reference, x = images
    nats = energy(reference, x) - x[0].numel() * log(reference.bin)
    found = Complexity().fit(reference).score(x)
    np.testing.assert_allclose(found, nats - compressed_lengths(x, reference.bin), rtol=1e-5)


def test_the_compressed_length_is_the_shortest_of_the_image_and_its_differences(images):
    reference, x = images
    levels = EXAMPLES["ImageFlowDetector"].new
    for image, length in zip(levels, compressed_lengths(x, reference.bin), strict=True):
        across = np.diff(image, axis=1, prepend=np.uint8(0))
        down = np.diff(image, axis=0, prepend=np.uint8(0))
        sizes = [len(zlib.compress(part.tobytes(), 9)) for part in (image, across, down)]
        assert length == pytest.approx(8 * log(2) * min(sizes))


def test_images_without_steps_of_pixels_have_no_complexity(images):
    reference, x = images
    without = reference.__class__(**{**vars(reference), "bin": None})
    with pytest.raises(ValueError, match="there is no step of their pixels"):
        Complexity().fit(without).score(x)
    with pytest.raises(ValueError, match="there is no step of their pixels"):
        DivergenceComplexity().fit(without)


def test_half_of_the_divergence_and_half_of_a_complexity_that_is_too_high(images):
    reference, x = images
    everything = torch.cat([x, reference.rows])
    both = DivergenceComplexity().fit(reference).score(everything)
    of_complexity = 2 * both - Divergence().fit(reference).score(everything)
    order = np.argsort(Complexity().fit(reference).score(everything))
    assert of_complexity[order[0]] == pytest.approx(0, abs=1e-9)
    assert of_complexity[order[-1]] > 0.5
    assert (np.diff(of_complexity[order]) >= -1e-6).all()
