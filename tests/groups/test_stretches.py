"""Blocks of consecutive steps: where runs end, what blocks hold, and what is kept."""

import numpy as np
import torch

from laws import normal
from upland.groups.likelihood import Likelihood
from upland.groups.stretches import Steps, block_features, half_anomalous, numbered


def steps(runs):
    runs = torch.tensor(runs)
    return Steps(normal(len(runs), 2), torch.arange(len(runs), dtype=torch.float64), runs)


def test_runs_end_where_a_key_changes_or_with_so_many_steps():
    assert numbered(np.array([0, 0, 0, 1, 1, 1, 1])).tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert numbered(np.array([0, 0, 1, 1]), np.array([5, 6, 6, 6])).tolist() == [0, 1, 2, 2]
    assert numbered(np.array([0, 0, 0, 1, 1, 1, 1]), most=2).tolist() == [0, 0, 1, 2, 2, 3, 3]


def test_a_block_has_the_mean_over_its_steps_and_none_crosses_runs():
    found = block_features(Likelihood(), steps([0, 0, 0, 1, 1, 1, 1]), 2)
    assert found[:, 0].tolist() == [0.5, 3.5, 5.5]
    whole = block_features(Likelihood(), steps([0, 0, 0, 1, 1, 1, 1]), 0)
    assert whole[:, 0].tolist() == [1.0, 4.5]


def test_latents_of_the_step_before_do_not_cross_runs():
    some = steps([0, 0, 1, 1])
    before = some.outputs().levels[1].mean[:, 2:]
    assert torch.equal(before[[1, 3]], some.latents[[0, 2]])
    assert not bool(before[[0, 2]].any())


def test_what_is_kept_is_whole_runs_and_comes_back_as_it_was():
    some = steps(np.repeat(np.arange(10), 4).tolist())
    kept = some.kept(12)
    assert kept.lengths.tolist() == [4, 4, 4]
    again = Steps.from_tensor(kept.to_tensor())
    torch.testing.assert_close(again.latents, kept.latents, rtol=0, atol=1e-6)
    assert torch.equal(again.runs, kept.runs)


def test_a_group_half_of_whose_blocks_are_anomalous_is_as_rare_as_the_draws_that_hold_these():
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(12)[:8] for _ in range(20_000)]
    held = np.mean([np.isin([0, 1, 2, 3], chosen).all() for chosen in drawn])
    assert abs(held - half_anomalous(4, 8)) < 0.01
    assert half_anomalous(4, 1) == 1 / 5
