"""Plain data comes back; text of another form, or more of it than a file needs, is refused."""

import json

import pytest

from upland.io.manifest import DEPTH, PARTS, parsed


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [1, -0.5, "word\ud800", None, True, [], {"a": [1, {"b": 2.0}]}, nested(DEPTH - 1)]
)
def test_plain_data_come_back(value):
    assert parsed(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "NaN is no number"),
        ('{"a":[-Infinity]}', "-Infinity is no number"),
        ("[1e999]", "a number is too large"),
        ("9" * 5_000, "a whole number is too large"),
        ('{"a":1,"a":1}', "a record names a field twice"),
        (json.dumps(nested(DEPTH)), "it is too deep"),
        ("[" * 10_000 + "]" * 10_000, "it is too deep"),
        ("[" + "[]," * 2 * PARTS + "1]", "more lists and records"),
        ("[1", "delimiter"),
        ("", "Expecting value"),
    ],
)
def test_what_is_none_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        parsed(text)


def test_columns_of_a_wide_table_are_not_too_many():
    column = {
        "name": "x1",
        "kind": "numeric",
        "levels": [],
        "shares": [],
        "rare": [],
        "center": 0.0,
        "scale": 1.0,
    }
    text = json.dumps([column] * (2 * PARTS), separators=(",", ":"))
    assert text.count("[") + text.count("{") > PARTS
    assert len(parsed(text)) == 2 * PARTS
