"""Laws of scoring in blocks: a row's number depends on that row alone, bit for bit."""

import pytest
import torch
from torch import nn

from laws import generator, normal, randomise
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.blocks import FEW, blocks_of, in_blocks
from upland.models.convolutional import ConvolutionalEnergy
from upland.models.energies import DenseEnergy
from upland.models.flow import table_flow
from upland.models.glow import Glow
from upland.models.multiscale import MultiscaleEnergy
from upland.models.vae import convolutional_vae, dense_vae

WIDTH, SIGMA, SHAPE = 6, 0.4, (1, 9, 11)
BLOCK = EnergyModel.block_rows


def convolutional(pool, hidden):
    return ConvolutionalEnergy(SHAPE, (4, 8), pool=pool, hidden=hidden, generator=generator())


def own_net():
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Softplus(), nn.Linear(8, 1))


def multiscale(prior):
    model = MultiscaleEnergy(WIDTH, (16, 33), prior=prior, generator=generator())
    model.init_from_data(normal(100, WIDTH, seed=9).float(), generator(1))
    return model


MODELS = {
    "dense": lambda: DenseEnergy(WIDTH, (32, 16), generator()),
    "dense, odd sizes": lambda: DenseEnergy(WIDTH, (130, 257), generator()),
    "dense, narrow layers": lambda: DenseEnergy(WIDTH, (257, 3, 33, 1), generator()),
    "multi-scale, kernel": lambda: multiscale("kernel"),
    "multi-scale, mixture": lambda: multiscale("mixture"),
    "multi-scale, centre": lambda: multiscale("centre"),
    "affine flow": lambda: randomise(table_flow(WIDTH, 2, (9,), "affine", generator()), scale=0.1),
    "spline flow": lambda: randomise(table_flow(WIDTH, 2, (9,), "spline", generator()), scale=0.1),
    "VAE": lambda: dense_vae(WIDTH, (33, 7), 2, generator()),
    "own module": lambda: randomise(ModuleEnergy(own_net())),
    "convolutional": lambda: ConvolutionalEnergy(SHAPE, (3, 4), generator=generator()),
    "convolutional, max": lambda: convolutional("max", (5,)),
    "convolutional, strides": lambda: convolutional("none", (5,)),
    "convolutional, top of 32": lambda: convolutional("average", (32,)),
    "convolutional, centres": lambda: ConvolutionalEnergy(SHAPE, (), n_centres=7, generator=generator()),
    "Glow": lambda: Glow(SHAPE, 2, depth=1, hidden=4, generator=generator()),
    "convolutional VAE": lambda: convolutional_vae(SHAPE, (3, 4), 2, generator()),
}
IMAGES = {name for name in MODELS if name.startswith("convolutional") or name == "Glow"}


def energy(model, x, sigma):
    return model.energy(x).double() / sigma**2


def residual(model, x, sigma):
    return x - model.reconstruct(x)


BY_PYTORCH = {
    "affine flow": (residual,),
    "spline flow": (residual,),
    "Glow": (residual,),
    "own module": (energy, residual),
}
"""What is not the same to the bit: gradients by automatic differentiation, modules of the user's own."""


@pytest.fixture(params=MODELS)
def case(request):
    """A model, rows, the size of a block, and what of it depends on the kernels that PyTorch chooses."""
    shape = SHAPE if request.param in IMAGES else (WIDTH,)
    model = MODELS[request.param]().eval()
    rows = normal(70 if request.param in IMAGES else model.block_rows + 17, *shape, dtype=torch.float32)
    return model, rows, 32 if request.param in IMAGES else None, BY_PYTORCH.get(request.param, ())


@pytest.mark.parametrize("function", [energy, residual])
def test_a_row_has_the_same_number_in_any_order_and_any_batch(case, function):
    """To the bit; to rounding where PyTorch chooses the kernels."""
    model, rows, size, by_pytorch = case
    tolerance = 1e-5 if function in by_pytorch else 0.0
    whole = in_blocks(function, model, rows, SIGMA, size)
    assert len(whole) == len(rows)
    assert not whole.requires_grad
    order = torch.randperm(len(rows), generator=generator(3))
    shuffled = in_blocks(function, model, rows[order], SIGMA, size)
    torch.testing.assert_close(shuffled, whole[order], rtol=tolerance, atol=tolerance)
    for cut in (1, 31, len(rows) - 1):
        parts = [in_blocks(function, model, part, SIGMA, size) for part in (rows[:cut], rows[cut:])]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=tolerance, atol=tolerance)


def test_blocks_give_what_the_function_gives(case):
    model, rows, size, _ = case
    with torch.no_grad():
        expected = [function(model, rows, SIGMA) for function in (energy, residual)]
    found = blocks_of(lambda *given: [energy(*given), residual(*given)], model, rows, SIGMA, size)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 5, 7, 9, 11, 15, 16, 31, 33])
def test_the_same_bits_in_any_order_at_any_width(width):
    made = {hidden: DenseEnergy(width, hidden, generator()) for hidden in [(64,), (256, 256), (7,), (33, 9)]}
    for coupling in ("affine", "spline"):
        made[coupling] = randomise(table_flow(width, 2, (8,), coupling, generator()), scale=0.1)
    rows = normal(BLOCK, width, dtype=torch.float32)
    order = torch.randperm(BLOCK, generator=generator(3))
    for name, model in made.items():
        for function in (energy,) if name in ("affine", "spline") else (energy, residual):
            whole = in_blocks(function, model.eval(), rows, SIGMA)
            assert torch.equal(in_blocks(function, model, rows[order], SIGMA), whole[order]), name


def test_a_module_without_parameters_is_scored_too():
    class Squares(nn.Module):
        def forward(self, x):
            return x.flatten(1).square().sum(1)

    rows = normal(5, 2, 3, dtype=torch.float32)
    found = in_blocks(residual, ModuleEnergy(Squares()).eval(), rows, SIGMA)
    torch.testing.assert_close(found, 2 * rows)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_left_as_it_was(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        in_blocks(energy, MODELS["dense"]().eval(), normal(9, WIDTH, dtype=torch.float32), SIGMA)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("rows", "seen"), [(1, [FEW]), (FEW, [FEW]), (FEW + 1, [BLOCK]), (BLOCK + 1, [BLOCK, FEW])]
)
def test_few_rows_are_not_padded_to_a_whole_block(rows, seen):
    model, given = DenseEnergy(WIDTH, (4,), generator()), []

    def energy(model, x, sigma):
        given.append(len(x))
        return x[:, 0]

    x = normal(rows, WIDTH, seed=1).float()
    assert torch.equal(in_blocks(energy, model, x, SIGMA), x[:, 0])
    assert given == seen
