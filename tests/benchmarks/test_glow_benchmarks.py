"""The Glow benchmark: the peer has the same levels, and the bound has all the convolutions."""

import pytest
import torch
from benchmarks.speed_glow import BIN, SHAPES, Convolutions, peer, scoring, training

from laws import generator
from upland.models.glow import Glow


@pytest.mark.parametrize("part", SHAPES)
def test_the_peer_is_a_glow_of_the_same_latents(part):
    pytest.importorskip("antsnormflows")
    shape, levels = SHAPES[part]
    ours, theirs = Glow(shape, levels, 1, 4), peer(shape, levels, 1, 4, net_actnorm=False)
    x = torch.rand(4, *shape, generator=generator()) - 0.5
    z, _ = theirs.inverse_and_log_det(x)
    assert sorted(tuple(part.shape[1:]) for part in z) == sorted(ours.latent_shapes)
    for model in (ours, theirs):
        before = model.log_prob(x).mean().item()
        training(model, x)()
        scoring(model, x)()
        assert model.log_prob(x).mean().item() != before
    assert BIN == 1 / 256


def test_the_bound_has_the_convolutions_of_every_step():
    bound = Convolutions(Glow((1, 8, 8), 2, 3, 4), batch=2)
    assert len(bound.pairs) == 2 * 3 * 4
    assert [tuple(out.shape) for out in bound.forwards()[:4]] == [(2, 4, 4, 4)] * 4
    bound.both()
