"""Laws of the missing mass: Good's estimate, counts without a row, unseen values and pairs of seen ones."""

import math

import pytest
import torch

from laws import generator
from upland.models.missing_mass import EXPECTED, MOST_OF_PAIR, MOST_WEIGHT, UnseenPairs, UnseenValues
from upland.models.parts import Layout, plain_layout
from upland.models.recurring_values import (
    BLOCKS,
    MISSING,
    blocks_of_neighbours,
    countable_columns,
    counted,
    values_of,
)
from upland.models.stored import check_values

PARTS = [UnseenValues, UnseenPairs]
MIXED = Layout((0, 1, 1, 2, 2, 2, 3, 3), (False, False, True, False), (False, False, False, True))
"""A number, one that may lack, a category of two levels and unseen ones, a part of a date."""


def draws(count, columns=2, values=6, seed=0):
    """Whole numbers `(count, columns)` of probabilities that fall."""
    shares = torch.tensor([0.5**value for value in range(values)], dtype=torch.float64)
    found = torch.multinomial(shares, count * columns, True, generator=generator(seed))
    return found.reshape(count, columns).float()


def together(count=300, seed=0):
    """A column that repeats, and one that follows it."""
    one = draws(count, 1, seed=seed)
    return torch.cat([one, (one + 1).remainder(6)], 1)


def loosely_together(count, seed):
    """The same, but for one row in twenty."""
    rows, others = together(count, seed), draws(count, 1, 12, seed=seed + 1000)
    return torch.where(torch.arange(count)[:, None] % 20 == 0, torch.cat([rows[:, :1], others], 1), rows)


def several(count, seed):
    return draws(count, 4, 12, seed)


def mixed_rows(count=200, seed=0):
    """Encoded rows of `MIXED`; the marks of what lacks in the last input of its column."""
    levels = torch.nn.functional.one_hot(draws(count, 1, 2, seed)[:, 0].long(), 3).float()
    first, number = loosely_together(count, seed + 1).split(1, 1)
    lacking = (draws(count, 1, 2, seed=seed + 2) > 0).float()
    dates = torch.randn(count, 2, generator=generator(seed))
    return torch.cat([first, number * (1 - lacking), lacking, levels, dates], 1)


def fitted(kind, rows, layout=None, blocks=None, **options):
    """A part, fitted; each row is a block of its own unless blocks are given."""
    made = kind(layout or plain_layout(rows.shape[1]), **options)
    if isinstance(made, UnseenValues) and blocks is not None:
        made.set_blocks(blocks)
    made.left_out = made.fit(rows, generator())
    return made


# -- Good's estimate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "count"), [(6, 40), (12, 100), (40, 60)])
def test_the_missing_mass_is_right_on_average_over_redraws(values, count):
    """Over redraws the share of values seen once has the mean of the true missing mass, the probability that
    the next draw is a value unseen so far, up to its bias of at most 1 / n.
    """
    shares = torch.linspace(1.0, 0.02, values, dtype=torch.float64).square()
    shares /= shares.sum()
    estimates, truths = [], []
    for seed in range(400):
        drawn = torch.multinomial(shares, count, True, generator=generator(seed))
        found = counted(drawn, torch.arange(count))
        once = int((found.counts == 1).sum())
        assert found.missing_mass == max(once, 1) / (count + 1)
        estimates.append(once / (count + 1))
        seen = torch.zeros(values, dtype=torch.bool)
        seen[drawn] = True
        truths.append(float(shares[~seen].sum()))
    away = torch.tensor(estimates, dtype=torch.float64) - torch.tensor(truths, dtype=torch.float64)
    error = float(away.std()) / 20
    assert abs(float(away.mean())) < 4 * error + 1 / count
    assert abs(float(away.mean())) < 0.25 * sum(truths) / 400


@pytest.mark.parametrize("kind", PARTS)
def test_fresh_rows_have_the_mean_energy_of_rows_left_out(kind):
    means = []
    for seed in range(20):
        make = loosely_together if kind is UnseenPairs else several
        rows, new = (make(500, start + seed) for start in (0, 100))
        made = fitted(kind, rows)
        means.append([float(made.left_out.mean()), float(made.values(new).mean())])
    left_out, fresh = torch.tensor(means, dtype=torch.float64).mean(0).tolist()
    assert fresh > 0
    assert left_out == pytest.approx(fresh, rel=0.2)


def test_a_column_that_drifts_has_a_large_missing_mass():
    """Each value occurs ten times, in neighbouring rows only: by single rows none would be new."""
    drifting, block = torch.arange(400) // 10, blocks_of_neighbours(400)
    assert counted(drifting, torch.arange(400)).missing_mass == 1 / 401
    assert counted(drifting, block).missing_mass > 0.9
    assert fitted(UnseenValues, drifting.float()[:, None], blocks=block).used.tolist() == []
    shuffled = drifting[torch.randperm(400, generator=generator())]
    assert counted(shuffled, block).missing_mass < 0.02


@pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 500])
def test_blocks_are_neighbours_of_about_the_same_number(count):
    block = blocks_of_neighbours(count)
    sizes = block.bincount()
    assert (block.diff() >= 0).all()
    assert len(sizes) == min(BLOCKS, count)
    assert sizes.max() - sizes.min() <= 1


# -- left out, and new ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [plain_layout(3), MIXED], ids=["numbers", "mixed"])
@pytest.mark.parametrize(("kind", "blocks"), [(UnseenValues, 120), (UnseenValues, 5), (UnseenPairs, 120)])
def test_energies_left_out_are_those_of_counts_without_the_block(kind, layout, blocks):
    """With the weights of all rows; whether a value or a pair is unseen is counted anew without the block."""
    pairs = loosely_together(120, 1)
    rows = mixed_rows(120) if layout is MIXED else torch.cat([pairs, draws(120, 1, 8)], 1)
    rows[[3, 30, 60, 61, 90, 10], 0] = torch.tensor([50.0, 51, 52, 52, 53, 53])  # once, and twice
    block = torch.arange(120) * blocks // 120
    made = fitted(kind, rows, layout, block)
    assert (made.left_out > 0).any()
    values = values_of(rows, made.columns)
    for row in range(len(rows)):
        others = block != block[row]
        if kind is UnseenValues:
            columns = made.used.tolist()
            unseen = [not bool((values[c][others] == values[c][row]).any()) for c in columns]
        else:
            pairs = [(int(made.used[a]), int(made.used[b])) for a, b in made.members]
            unseen = [
                not bool(((values[a] == values[a][row]) & (values[b] == values[b][row]))[others].any())
                for a, b in pairs
            ]
        expected = sum(w for w, is_unseen in zip(made.weights.double(), unseen, strict=True) if is_unseen)
        assert float(made.left_out[row]) == pytest.approx(float(expected))


@pytest.mark.parametrize("kind", PARTS)
def test_a_row_of_the_training_has_seen_values_and_pairs_only(kind):
    rows = draws(300, 3)
    assert (fitted(kind, rows).values(rows) == 0).all()


def test_the_weight_is_the_logarithm_of_the_likelihood_ratio():
    rows = (torch.arange(200) % 10).float()[:, None]
    made = fitted(UnseenValues, rows)
    weight = math.log(EXPECTED / (1 / 201))
    new = torch.tensor([[3.0], [3.5], [11.0], [-0.0]])
    torch.testing.assert_close(made.values(new), torch.tensor([0, weight, weight, 0.0], dtype=torch.float64))


def test_a_column_where_most_values_are_new_is_not_looked_up():
    rows = torch.cat([torch.randn(200, 1, generator=generator()), draws(200, 1)], 1)
    made = fitted(UnseenValues, rows)
    assert made.used.tolist() == [1]
    new = torch.tensor([[17.0, 0.0], [17.0, 0.5]])
    assert made.values(new)[0] == 0 < made.values(new)[1]


def test_a_constant_column_is_not_looked_up():
    """The encoder warns of it, and distances see a change."""
    assert fitted(UnseenValues, torch.ones(100, 1)).used.tolist() == []


def test_an_unseen_pair_of_seen_values_is_found_by_pairs_alone():
    rows = together()
    new = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0]])
    alone, pairs = fitted(UnseenValues, rows).values(new), fitted(UnseenPairs, rows).values(new)
    assert alone.tolist() == [0, 0, 0]
    assert pairs[0] == 0
    assert (pairs[1:] > 2).all()


def test_a_pair_with_an_unseen_value_is_unseen():
    new = torch.tensor([[0.5, 1.0], [0.0, 17.0]])
    assert (fitted(UnseenPairs, together()).values(new) > 2).all()


def test_pairs_of_independent_columns_count_for_nothing_where_all_pairs_occur():
    """What draws of each column would never make unseen tells nothing."""
    made = fitted(UnseenPairs, torch.cartesian_prod(torch.arange(3), torch.arange(3)).float().repeat(40, 1))
    assert made.members.tolist() == []
    assert made.values(torch.tensor([[0.0, 2.0]])).tolist() == [0]


def test_the_most_telling_pairs_are_kept():
    """Of three columns two follow each other closely, and the third loosely."""
    rows = torch.cat([loosely_together(400, 0), together(400)[:, 1:]], 1)
    assert fitted(UnseenPairs, rows, most=1).members.tolist() == [[0, 2]]
    assert fitted(UnseenPairs, rows, most=3).members.tolist() == [[0, 2], [0, 1], [1, 2]]


def test_pairs_that_are_new_too_often_are_not_looked_up():
    rows = torch.cat(
        [draws(60, 1, 40, seed=seed) + 40 * (torch.arange(60) % 7)[:, None] for seed in (0, 1)], 1
    )
    counts = counted(rows[:, 0] * 1000 + rows[:, 1], torch.arange(60))
    assert counts.missing_mass > MOST_OF_PAIR
    assert fitted(UnseenPairs, rows).members.tolist() == []


# -- columns of several inputs -------------------------------------------------------------------------------


def test_a_missing_cell_is_a_value_and_dates_in_parts_are_none():
    columns = countable_columns(MIXED)
    assert columns.first == (0, 1, 3)
    rows = torch.tensor([[1.0, 0.0, 1.0, 0, 1, 0, 0.3, 0.4], [1.0, 2.0, 0.0, 0, 0, 1, 0.1, 0.2]])
    found = values_of(rows, columns)
    assert found.tolist() == torch.tensor([[1, 1], [MISSING, 2], [1, 2]]).tolist()


def test_a_missing_cell_where_none_was_is_unseen_and_where_some_were_is_not():
    rows = mixed_rows()
    lacking = rows[rows[:, 2] > 0][:1]
    whole = rows[:, 2] == 0
    with_some, with_none = fitted(UnseenValues, rows, MIXED), fitted(UnseenValues, rows[whole], MIXED)
    assert with_some.values(lacking) == 0
    assert with_none.values(lacking) > 0
    assert with_none.shares(lacking)[0, 1] == with_none.values(lacking)[0]


def test_an_unseen_level_is_an_unseen_value():
    rows = mixed_rows()
    new = rows[:1].clone()
    new[0, 3:6] = torch.tensor([0.0, 0.0, 1.0])
    made = fitted(UnseenValues, rows, MIXED)
    assert made.values(new) > 3
    assert made.shares(new)[0, 3] == made.values(new)[0]


@pytest.mark.parametrize("kind", PARTS)
def test_shares_lie_at_the_columns_and_sum_to_the_energy(kind):
    made, new = fitted(kind, mixed_rows(), MIXED), mixed_rows(80, seed=9)
    new[::3, 0] += 0.5
    new[1::3, 3:6] = torch.tensor([0.0, 0.0, 1.0])
    shares = made.shares(new)
    assert (shares >= 0).all()
    assert made.values(new).max() > 0
    torch.testing.assert_close(shares.sum(1), made.values(new))
    others = [i for i in range(8) if i not in made.columns.first]
    assert (shares[:, others] == 0).all()


# -- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_rows_give_finite_energies(kind, count):
    for layout in (plain_layout(2), MIXED, Layout((0, 0), (False,), (True,))):
        rows = mixed_rows(count)[:, : layout.width]
        made = fitted(kind, rows, layout)
        assert made.left_out.shape == (count,)
        assert made.values(rows).eq(0).all()
        assert made.least_deviation() >= 0
        check_values(made)


@pytest.mark.parametrize("kind", PARTS)
def test_the_deviation_is_at_least_that_of_rare_events(kind):
    """Of n_1 = 0 the energies left out are all zero; the deviation is that of events as rare as p."""
    made = fitted(kind, together(3000))
    w = made.weights.double()
    p = EXPECTED * (-w).exp()
    assert made.left_out.eq(0).all()
    assert made.least_deviation() == pytest.approx(float((p * w.square()).sum().sqrt()))
    assert made.least_deviation() > 0


BAD = {
    "a column that is not there": ("used", lambda value: value + 9),
    "a column below zero": ("used", lambda value: -value - 1),
    "keys out of order": ("keys", lambda value: value.flip(1)),
    "keys that are no number": ("keys", lambda value: value * math.nan),
    "weights below zero": ("weights", lambda value: -value),
    "weights too large": ("weights", lambda value: value + 2 * MOST_WEIGHT),
    "weights that are no number": ("weights", lambda value: value * math.nan),
    "members that are not there": ("members", lambda value: value + 9),
    "members below zero": ("members", lambda value: -value - 1),
    "pairs out of order": ("pairs", lambda value: value.flip(1)),
    "pairs of values that are not there": ("pairs", lambda value: value + (9 << 32)),
    "pairs of second values that are not there": ("pairs", lambda value: value + 9),
    "pairs below zero": ("pairs", lambda value: -value.flip(1) - 1),
}


@pytest.mark.parametrize(
    ("kind", "case"), [(kind, case) for kind in PARTS for case in BAD if BAD[case][0] in kind.sized]
)
def test_values_that_no_fit_gives_are_refused(kind, case):
    name, change = BAD[case]
    made = fitted(kind, together())
    check_values(made)
    setattr(made, name, change(getattr(made, name)))
    with pytest.raises(ValueError, match=r"must|not all finite"):
        check_values(made)


def test_close_numbers_are_one_value_unless_all_are_close():
    """Doubles that arithmetic has moved by a bit, and time stamps, which a float cannot hold."""
    offset, step = 7_000.0, 1e-6
    grid = (torch.arange(200) % 10).float()
    moved = grid * (1 + 5e-8 * (torch.arange(200) % 2))
    assert len(counted(moved, offset=offset).keys) == 10
    stamps = torch.arange(200, dtype=torch.float64).mul(step).float()
    assert len(counted(stamps, offset=offset).keys) == 200
