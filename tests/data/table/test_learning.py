"""What normal rows teach: moments at any magnitude and in any split, and the doubts that are errors."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.data.table.learning import ColumnLearner, RunningMoments


def moments(x, *cuts):
    result = RunningMoments()
    for part in np.split(np.asarray(x, dtype=np.float64), list(cuts)):
        result.update(part)
    return result


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_moments_do_not_depend_on_the_batches(x, first, second):
    cuts = sorted((min(first, len(x)), min(second, len(x))))
    whole, split = moments(x), moments(x, *cuts)
    assert split.mean == pytest.approx(np.mean(x), rel=1e-12, abs=1e-9)
    assert split.deviation == pytest.approx(whole.deviation, rel=1e-9, abs=1e-9)
    assert whole.deviation == pytest.approx(np.std(x), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-5, 1.0, 1e5, 1e200, 1e300])
@pytest.mark.parametrize("cuts", [(), (1,), (3, 5)])
def test_moments_neither_overflow_nor_vanish(unit, cuts):
    x = np.array([1.0, -2.0, 3.5, 0.25, 8.0, -1.0])
    result = moments(x * unit, *cuts)
    assert result.mean == pytest.approx(x.mean() * unit, rel=1e-12)
    assert result.deviation == pytest.approx(x.std() * unit, rel=1e-12)


def test_moments_across_magnitudes():
    x = np.array([5e-324, 1e-300, 1.0, 1e300, -1.7e308, 1.7e308])
    result = moments(x, 1, 2, 3, 4, 5)
    assert np.isfinite([result.mean, result.deviation]).all()
    assert result.deviation == pytest.approx(1.7e308 / np.sqrt(3), rel=1e-6)


def test_moments_keep_a_small_spread_on_a_large_offset():
    x = 1.7e9 + np.arange(1000.0) / 1000
    assert moments(x, 300).deviation == pytest.approx(np.arange(1000).std() / 1000, rel=1e-6)


def learned(name, *batches, categorical=False, max_levels=100):
    learner = ColumnLearner(name, categorical)
    for batch in batches:
        learner.update(batch)
    return learner.finish(max_levels)


def test_levels_are_sorted_by_frequency_then_name():
    column = learned("c", pa.array(["b", "a", "c", "c", None, "a", "b", "d"]))
    assert column.levels == ("a", "b", "c", "d")
    assert column.shares == (0.25, 0.25, 0.25, 0.125)
    assert column.missing == 0.125


def test_rare_levels_share_a_slot():
    column = learned("c", pa.array(list("aaabbc")), max_levels=1)
    assert (column.levels, column.rare) == (("a",), ("b", "c"))
    assert (column.shares, column.rare_share, column.width) == ((0.5,), 0.5, 3)


def test_kinds_must_agree_between_batches():
    with pytest.raises(
        ValueError, match=r"'c' is numeric in one batch, and categorical in the batch after row 2"
    ):
        learned("c", np.array([1.0, 2.0]), pa.array(["x"]))


def test_an_untyped_empty_batch_is_merely_missing():
    column = learned("c", pa.nulls(2), np.array([1.0, 3.0]))
    assert (column.kind, column.missing, column.center) == ("numeric", 0.5, 2.0)


def test_constants_and_near_constants():
    assert learned("c", np.full(9, 0.1)).scale == 0.0
    assert learned("c", np.array([0.3, 0.1 + 0.2])).scale == 0.0
    assert learned("c", np.array([1.7e9, 1.7e9 + 1])).scale > 0.0
    assert learned("c", np.array([0.0, 1e-300])).constant is False


@pytest.mark.parametrize("name", ["label", "Label", " TARGET", "class", "y", "is_anomaly", "ground_truth"])
@pytest.mark.parametrize(
    "values", [np.array([0, 1, 0]), np.zeros(3), np.array([True, False, True]), pa.array(["ok", "bad", None])]
)
def test_a_label_left_in_is_refused(name, values):
    with pytest.raises(ValueError, match=r"looks like a label: ignore=\["):
        learned(name, values)


@pytest.mark.parametrize(
    ("name", "values"),
    [("label", np.array([0.0, 1.0, 2.0])), ("flag", np.array([0, 1])), ("y", pa.array(["a", "b", "c"]))],
)
def test_what_is_no_label_passes(name, values):
    assert learned(name, values).name == name


def test_a_label_named_categorical_is_a_feature():
    assert learned("label", np.array([0, 1, 1]), categorical=True).levels == ("1", "0")


@pytest.mark.parametrize("cut", [1, 10, 49, 60])
def test_a_counter_warns_in_any_split(cut):
    rows = np.arange(7, 107)
    with pytest.warns(UserWarning, match=r"'id' merely counts the rows.*ignore=\['id'\]"):
        learned("id", rows[:cut], rows[cut:])


def test_a_counter_is_known_by_a_part_of_the_rows():
    some = np.sort(np.random.default_rng(0).choice(1000, 400, replace=False))
    with pytest.warns(UserWarning, match="'id' merely counts the rows"):
        learned("id", some)


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(49),
        np.r_[np.arange(60), 59],
        np.arange(100)[::-1],
        np.arange(0, 2000, 10),
        np.arange(100) / 2,
        np.r_[np.nan, np.arange(99)],
    ],
)
def test_what_does_not_count_rows_does_not_warn(rows):
    learned("id", rows)  # warnings are errors here


WORDS = [f"word number {i}" for i in range(80)]


@pytest.mark.parametrize(
    "texts", [WORDS, [f"a long comment about case {i} of the many cases there are" for i in range(5)]]
)
def test_free_text_is_refused_by_name(texts):
    with pytest.raises(
        ValueError, match=r"'note' looks like free text.*ignore=\['note'\].*categorical=\['note'\]"
    ):
        learned("note", pa.array(texts))
    assert len(learned("note", pa.array(texts), categorical=True).levels) == len(texts)


@pytest.mark.parametrize(
    "texts", [WORDS * 2, WORDS[:50], ["a very long level name, and the only one of its kind"] * 3]
)
def test_categories_are_no_free_text(texts):
    assert learned("note", pa.array(texts)).kind == "categorical"


def test_too_many_levels_stop_a_stream():
    learner = ColumnLearner("note", True)
    with pytest.raises(ValueError, match="more than 100,000 distinct texts"):
        for start in range(0, 200_000, 50_000):
            learner.update(pa.array([str(i) for i in range(start, start + 50_000)]))


def test_stray_text_among_numbers_is_named_with_its_row():
    texts = [str(i / 2) for i in range(40)]
    texts[17] = "?"
    with pytest.raises(ValueError, match=r"'a' holds numbers, but row 18 holds '\?'"):
        learned("a", pa.array(texts))


def test_a_few_codes_with_a_word_among_them_are_categories():
    assert learned("grade", pa.array(["1", "2", "3", "other"] * 10)).levels == ("1", "2", "3", "other")


def test_all_missing_is_refused_by_name():
    with pytest.raises(
        ValueError, match=r"'a' has no value in any of the 3 rows: leave it out \(ignore=\['a'\]\)"
    ):
        learned("a", np.full(3, np.nan))
