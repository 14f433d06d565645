"""Values are of the types that annotations name, or refused by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from upland.io.records import checked, fits, shown

YES = [
    *[(1, int), (1, float), (1.5, float), (True, bool), ("a", str), (None, int | None)],
    *[("a", Literal["a", "b"]), ([1, 2], tuple[int, ...]), ([], tuple[int, ...])],
    *[([1, 2.5], tuple[float, float]), (["a", 1], Sequence[str | int]), ([1.0], list[float])],
    *[([["row", "x"]], tuple[tuple[Literal["row"], str], ...]), ({"a": 1}, Any)],
]
NO = [
    *[(True, int), (True, float), (1.0, int), (1, str), (1, bool), (2**63, int), (10**400, float)],
    *[(float("nan"), float), (float("inf"), float), ("c", Literal["a", "b"]), (1, Literal[True])],
    *[("abc", Sequence[str]), ([1], tuple[int, int]), ([True], tuple[int, ...]), (None, int)],
    *[({"a": 1}, tuple[int, ...]), ({}, str), ([["a"]], Sequence[str | int])],
]


@pytest.mark.parametrize(("value", "hint"), YES, ids=str)
def test_a_value_of_a_type(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(("value", "hint"), NO, ids=lambda value: str(value)[:30])
def test_a_value_of_another_type(value, hint):
    assert not fits(value, hint)


@dataclass
class Sizes:
    hidden: tuple[int, ...]
    steps: list[int]
    name: str | None = None


def test_lists_come_as_tuples_where_the_record_has_tuples():
    found = checked(Sizes, {"hidden": [1, 2], "steps": [3], "name": None}, "sizes")
    assert found == {"hidden": (1, 2), "steps": [3], "name": None}
    assert checked(Sizes, {"hidden": [], "steps": []}, "sizes", frozenset({"name"})).keys() == {
        "hidden",
        "steps",
    }


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ([], "sizes must be a record, got list"),
        ({"hidden": [], "steps": []}, "sizes: fields name are unknown or lacking"),
        ({"hidden": [], "steps": [], "name": "a", "x": 1}, "sizes: fields x are unknown or lacking"),
        ({"hidden": ["a"], "steps": [], "name": "a"}, r"sizes: hidden cannot be \['a'\]"),
    ],
)
def test_what_is_no_such_record_is_refused_by_name(record, why):
    with pytest.raises(ValueError, match=why):
        checked(Sizes, record, "sizes")


def test_a_value_is_shown_in_one_short_line_that_no_terminal_acts_on():
    assert shown("word") == "word"
    for value in ("\x1b[31m" * 999, "a\nb", ["\x07"] * 99, {"a": "\u202e"}):
        assert shown(value).isprintable()
        assert shown(value).isascii()
        assert len(shown(value)) < 100
