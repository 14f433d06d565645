"""The benchmark of the flows' speed: both sides are of equal depth, and both learn."""

import pytest
import torch

from benchmarks import speed_flows
from laws import generator, normal

pytest.importorskip("zuko", reason="zuko is not installed: pip install 'upland[bench]'")


@pytest.mark.parametrize("coupling", speed_flows.COUPLINGS)
def test_both_are_densities_of_equal_nets(coupling):
    models = speed_flows.both(6, coupling)
    x = normal(9, 6, dtype=torch.float32)
    shapes = {}
    for name, model in models.items():
        assert speed_flows.log_prob(model, x).shape == (9,)
        shapes[name] = [p.shape for p in model.parameters() if p.shape == (128, 128)]
    assert len(shapes["upland"]) == len(shapes["zuko"]) == speed_flows.DEPTH


def test_a_step_moves_both():
    for model in speed_flows.both(3, "affine").values():
        before = [p.detach().clone() for p in model.parameters()]
        step = speed_flows.training_step(model, normal(16, 3, dtype=torch.float32))
        for _ in range(2):
            step()
        assert not any(torch.equal(p, was) for p, was in zip(model.parameters(), before, strict=True))


def test_equal_training_lowers_the_nats_of_both(monkeypatch):
    monkeypatch.setattr(speed_flows, "STEPS", 40)
    rows = (torch.rand(400, 3, generator=generator()) > 0.5).float() * 4 - 2
    for model in speed_flows.both(3, "affine").values():
        with torch.no_grad():
            before = -speed_flows.log_prob(model, rows).mean()
        assert speed_flows.fitted(model, rows, rows[:100])["nats"] < float(before)
