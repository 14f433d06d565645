"""The loop: when it stops, what it keeps, what it says, and that it goes on as if it had never stopped."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from laws import generator, normal
from upland.models.base import ModuleEnergy
from upland.models.energies import DenseEnergy
from upland.training.adam import Adam
from upland.training.loop import History, Settings, Training, shuffled_batches
from upland.training.objectives import denoising

SETTINGS = Settings(steps=60, checks=6, patience=6, learning_rate=1e-2, batch=32, seed=3)
ROWS = normal(300, 4, dtype=torch.float32)
HELD = normal(80, 4, seed=1, dtype=torch.float32)


def loss(model, batch, noise):
    return denoising(model, batch, 0.5, noise)


def training(settings=SETTINGS, function=loss):
    return Training(DenseEnergy(4, (16,), generator(5)), function, settings)


def batches():
    return shuffled_batches(ROWS, 32, generator(6))


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def scripted(values):
    """A loss whose held-out value follows a script; each training step moves the weights."""
    held_out = iter(values)

    def function(model, batch, noise):
        value = loss(model, batch, noise)
        return value if model.training else value * 0 + next(held_out)

    return function


def test_takes_the_steps_and_checks_asked_for():
    history = training().run(batches(), HELD)
    assert history.steps == [10, 20, 30, 40, 50, 60]
    assert len(history.training) == len(history.validation) == 6
    assert history.stopped == "finished"
    assert history.seconds > 0


def test_the_loss_falls_and_the_best_weights_are_kept():
    run = training()
    history = run.run(batches(), HELD)
    assert min(history.validation) < 0.9 * history.validation[0]
    assert history.best_step == history.steps[int(np.argmin(history.validation))]
    assert run.held_out_loss(run.model, HELD) == min(history.validation)
    assert not run.model.training


def test_patience_ends_it_and_the_best_check_wins():
    run = training(replace(SETTINGS, patience=2), scripted([3.0, 1.0, 2.0, 1.5, 0.1, 0.1]))
    seen = []
    history = run.run(batches(), HELD, after_check=lambda now: seen.append(weights(now.model)))
    assert history.stopped == "early"
    assert history.validation == [3.0, 1.0, 2.0, 1.5]
    assert history.best_step == 20
    assert_same_weights(weights(run.model), seen[1])


def test_the_best_is_taken_even_if_it_is_the_first():
    run = training(replace(SETTINGS, patience=100), scripted([1.0, 2.0, 2.0, 2.0, 2.0, 2.0]))
    assert run.run(batches(), HELD).best_step == 10


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["training", "held-out"])
def test_a_loss_that_is_not_finite_says_what_to_try(bad, where):
    def function(model, batch, noise):
        wrong = model.training == (where == "training")
        return loss(model, batch, noise) * (bad if wrong else 1.0)

    with pytest.raises(FloatingPointError, match=r"not finite at step 10.*smaller learning_rate than 0\.01"):
        training(function=function).run(batches(), HELD)


def interrupting(after):
    calls = itertools.count(1)

    def function(model, batch, noise):
        if next(calls) == after:
            raise KeyboardInterrupt
        return loss(model, batch, noise)

    return function


def test_an_interruption_keeps_the_best_so_far():
    run, seen = training(function=interrupting(after=36)), []
    with pytest.warns(UserWarning, match=r"interrupted at step \d+ of 60.*best weights so far \(step 30\)"):
        history = run.run(batches(), HELD, after_check=lambda now: seen.append(weights(now.model)))
    assert history.stopped == "interrupted"
    assert history.best_step == 30
    assert_same_weights(weights(run.model), seen[2])


def test_an_interruption_before_the_first_check_has_nothing_to_keep():
    with pytest.raises(KeyboardInterrupt):
        training(function=interrupting(after=4)).run(batches(), HELD)


def test_two_runs_are_equal_bit_for_bit():
    one, two = training(), training()
    histories = [run.run(batches(), HELD).to_json() for run in (one, two)]
    assert histories[0] | {"seconds": 0} == histories[1] | {"seconds": 0}
    assert_same_weights(weights(one.model), weights(two.model))


def test_another_seed_is_another_training():
    one, two = training(), training(replace(SETTINGS, seed=4))
    for run in (one, two):
        run.run(batches(), HELD)
    assert not torch.equal(one.model.weights[0], two.model.weights[0])


def test_every_interval_has_a_noise_of_its_own_and_the_held_out_loss_one():
    def first(generator):
        return float(torch.rand((), generator=generator))

    device = torch.device("cpu")
    for settings in (SETTINGS, replace(SETTINGS, seed=4)):
        assert first(settings.held_out_noise(device)) == first(settings.held_out_noise(device))
    streams = [
        first(source)
        for settings in (SETTINGS, replace(SETTINGS, seed=4))
        for source in (
            settings.held_out_noise(device),
            *(settings.training_noise(interval, device) for interval in range(6)),
        )
    ]
    assert len(set(streams)) == len(streams) == 14


class Stop(Exception):
    pass


@pytest.mark.parametrize("checks", range(1, 7))
def test_resumed_at_any_check_it_ends_as_if_uninterrupted(checks):
    whole = training()
    expected = whole.run(batches(), HELD)
    state = []

    def stop(now):
        if len(now.history.steps) == checks:
            state.append(now.to_state())
            raise Stop

    with pytest.raises(Stop):
        training().run(batches(), HELD, after_check=stop)
    arrays, plain = state[0]
    resumed = training()
    resumed.restore({name: np.array(value) for name, value in arrays.items()}, plain)
    history = resumed.run(batches(), HELD)
    assert history.to_json() | {"seconds": 0} == expected.to_json() | {"seconds": 0}
    assert_same_weights(weights(resumed.model), weights(whole.model))


def test_a_state_of_other_settings_is_refused():
    arrays, plain = training().to_state()
    with pytest.raises(
        ValueError, match=r"training with .*'learning_rate': 0\.01.* not .*'learning_rate': 0\.5"
    ):
        training(replace(SETTINGS, learning_rate=0.5)).restore(arrays, plain)


def test_the_state_is_arrays_and_plain_data():
    import json

    run = training()
    run.run(batches(), HELD)
    arrays, plain = run.to_state()
    assert all(isinstance(value, np.ndarray) for value in arrays.values())
    assert History(**json.loads(json.dumps(plain))["history"]) == run.history


def test_a_module_with_buffers_keeps_them():
    def made():
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Softplus(), torch.nn.Linear(8, 1)
        )
        with torch.no_grad():
            for value in net.parameters():
                value.copy_(0.3 * torch.randn(value.shape, generator=generator(value.numel())))
        return Training(ModuleEnergy(net), loss, SETTINGS)

    run = made()
    run.run(batches(), HELD)
    arrays, plain = run.to_state()
    again = made()
    again.restore(arrays, plain)
    assert_same_weights(weights(again.model), weights(run.model))


def test_progress_hears_of_every_check():
    heard = []
    training().run(batches(), HELD, progress=lambda *news: heard.append(news))
    assert [step for step, _, _ in heard] == [10, 20, 30, 40, 50, 60]
    assert {steps for _, steps, _ in heard} == {60}


def test_threads_and_random_state_are_left_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    training().run(batches(), HELD)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 25, 61])
def test_any_number_of_steps(steps):
    settings = replace(SETTINGS, steps=steps, checks=20, patience=100)
    history = training(settings).run(batches(), HELD)
    assert history.steps[-1] == steps
    assert len(history.steps) <= 2 * 20 + 1


@pytest.mark.parametrize("steps", [1, 5, 60])
def test_the_rate_rises_briefly_and_falls_to_nothing(steps):
    settings = replace(SETTINGS, steps=steps)
    rates = [settings.rate(step) for step in range(steps)]
    assert all(0 < rate <= settings.learning_rate for rate in rates)
    if steps > 20:
        assert rates[0] < rates[10] > rates[-1]
        assert rates[-1] < 0.01 * settings.learning_rate


def test_the_optimiser_is_pytorchs_adam():
    source = generator(2)
    start = [torch.randn(shape, generator=source, dtype=torch.float64) for shape in [(3, 2), (4,), ()]]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    one, two = Adam(ours), torch.optim.Adam(theirs, lr=0.1)
    for step in range(30):
        two.param_groups[0]["lr"] = rate = 0.1 / (step + 1)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = torch.randn(b.shape, generator=source, dtype=b.dtype) * 10.0 ** (step % 5 - 3)
            a.grad = b.grad.clone()
        one.step(rate)
        two.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    one.clear()
    assert all(weight.grad is None for weight in ours)


def test_shuffled_batches_have_each_row_at_most_once_a_pass():
    stream = shuffled_batches(torch.arange(10), 3, generator())
    for _ in range(4):
        one_pass = torch.cat(list(itertools.islice(stream, 3)))
        assert len(set(one_pass.tolist())) == 9


def test_shuffled_batches_change_the_order_and_cover_all_rows():
    stream = shuffled_batches(torch.arange(12), 4, generator())
    passes = [torch.cat(list(itertools.islice(stream, 3))) for _ in range(2)]
    assert not torch.equal(*passes)
    for one_pass in passes:
        assert sorted(one_pass.tolist()) == list(range(12))


def test_batches_of_few_rows_are_all_rows():
    stream = shuffled_batches(torch.arange(5), 64, generator())
    assert all(sorted(next(stream).tolist()) == list(range(5)) for _ in range(3))


def test_no_warning_without_a_reason():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training().run(batches(), HELD)
