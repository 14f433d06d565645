"""How long a model is trained, and on how many rows it starts."""

import pytest

from upland.training.schedule import (
    INIT_ROWS,
    denoising_steps,
    init_rows,
    likelihood_steps,
    multiscale_steps,
    support_candidates,
    support_points,
)

BY_ROWS = {"denoising": denoising_steps, "multiscale": multiscale_steps, "likelihood": likelihood_steps}
ROWS = [1, 10, 50, 200, 1_000, 5_000, 50_000, 500_000, 5_000_000]
BATCH = 128


def steps(function, rows, width=10):
    return function(rows, width, max(1, rows // BATCH))


@pytest.mark.parametrize("function", BY_ROWS.values(), ids=BY_ROWS)
def test_more_rows_are_never_trained_on_for_less_and_at_least_for_one_pass(function):
    taken = [steps(function, rows) for rows in ROWS]
    assert taken == sorted(taken)
    assert all(found >= max(1, rows // BATCH) for found, rows in zip(taken, ROWS, strict=True))
    assert taken[-1] == ROWS[-1] // BATCH


@pytest.mark.parametrize(
    ("function", "rows", "expected"),
    [
        (denoising_steps, 50, 200),  # 40 a row for each dimension
        (denoising_steps, 200, 300),
        (denoising_steps, 1_000, 420),  # 60 passes of 7 steps
        (denoising_steps, 5_000, 1_500),
        (denoising_steps, 50_000, 2_730),  # 7 passes of 390 steps
        (multiscale_steps, 50, 300),
        (multiscale_steps, 200, 600),
        (multiscale_steps, 1_000, 2_000),
        (multiscale_steps, 500_000, 10_000),
        (likelihood_steps, 50, 1_200),
        (likelihood_steps, 1_000, 1_680),
        (likelihood_steps, 50_000, 2_000),
    ],
)
def test_the_steps_of_some_tables(function, rows, expected):
    assert steps(function, rows) == expected


@pytest.mark.parametrize(
    ("width", "expected"),
    [(1, 20_000), (10, 20_000), (15, 8_888), (22, 4_132), (100, 4_096), (2_048, 2_048), (1 << 20, 256)],
)
def test_support_points_fall_with_the_width(width, expected):
    assert support_points(width) == expected


@pytest.mark.parametrize("width", [1, 10, 100, 1_000, 10_000, 1 << 20])
def test_candidates_are_at_least_the_support_points_and_bounded_in_memory(width):
    assert support_points(width) <= support_candidates(width) <= 8 * support_points(width)
    assert support_candidates(width) * width <= max(1 << 23, support_points(width) * width)
    assert init_rows(width) == INIT_ROWS
