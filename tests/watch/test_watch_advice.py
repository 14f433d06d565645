"""What the messages of the watch advise helps."""

import numpy as np
import pytest

import upland
from watched import CASES, fitted, numbers, plain_detector

ROWS = np.random.default_rng(0).normal(size=(200, 2))


def new(label):
    return CASES[label][1](4, 3)


@pytest.mark.parametrize(
    ("make", "given", "wrong", "right", "words"),
    [
        (lambda: fitted("images"), lambda: new("images"), {"keep_rows": True}, {}, "leave keep_rows out"),
        (
            lambda: fitted("images"),
            lambda: new("images"),
            {"every": "1h", "time": "t"},
            {"time": "t"},
            "leave every out",
        ),
        (
            lambda: fitted("sequences"),
            lambda: new("sequences"),
            {"every": "1h", "time": "t"},
            {},
            "leave every out",
        ),
        (
            lambda: upland.EnergyDetector(random_state=0, progress=False).fit(ROWS),
            lambda: ROWS[:9],
            {"keep_rows": True},
            {},
            "leave keep_rows out",
        ),
        (
            plain_detector,
            lambda: numbers(9, 0) | {"t": np.zeros(9)},
            {"every": "1h"},
            {"every": "1h", "time": "t"},
            "give time",
        ),
        (
            plain_detector,
            lambda: numbers(9, 0) | {"t": np.zeros(9)},
            {"by": "t", "every": "1h", "time": "t"},
            {"by": "t"},
            "leave one of them out",
        ),
    ],
)
def test_what_a_message_advises_helps(tmp_path, make, given, wrong, right, words):
    try:
        with upland.Watch(make(), tmp_path / "wrong.db", **wrong) as watch:
            said = watch.update(given()).reason
    except ValueError as error:
        said = str(error)
    assert words in said
    with upland.Watch(make(), tmp_path / "right.db", **right) as watch:
        assert watch.update(given()).status == "taken"


def test_groups_of_images_are_given(tmp_path):
    with upland.Watch(fitted("images"), tmp_path / "h.db", by="line") as watch:
        assert "give groups=..." in watch.update(new("images")).reason
        found = watch.update(new("images"), groups=["a", "a", "b", "b"], digest="again")
    assert [one.group for one in found.groups] == ["a", "b"]


def test_rows_are_given_to_update(tmp_path):
    with upland.Watch(plain_detector(), tmp_path / "h.db") as watch:
        with pytest.raises(TypeError, match="use update"):
            watch.update_next(numbers(1, 0))
        assert watch.update(numbers(1, 0)).status == "taken"
