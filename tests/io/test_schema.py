"""The schema survives JSON without the loss of a bit, and refuses what it did not write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.io.schema import Column, Schema

NUMBER = Column("a", "numeric", "floating", center=0.1 + 0.2, scale=1e-300, missing=1 / 3)
LEVELS = Column(
    "b", "categorical", "string", levels=("x", "ü"), shares=(0.5, 0.25), rare=("z",), rare_share=0.25
)
SCHEMA = Schema((NUMBER, LEVELS), ("a", "skip", "b"), "names")


def test_round_trip():
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e308))
def test_every_double_survives(center, scale):
    column = Column("a", "numeric", "floating", center=center, scale=scale)
    assert Column.from_json(json.loads(json.dumps(column.to_json()))) == column


def test_widths_and_names():
    assert (NUMBER.width, LEVELS.width, SCHEMA.width) == (2, 4, 6)
    assert SCHEMA.names == ("a", "b")


@pytest.mark.parametrize(
    ("column", "constant"),
    [
        (Column("a", "numeric", "floating", scale=0.0), True),
        (Column("a", "numeric", "floating"), False),
        (Column("a", "boolean", "boolean", center=1.0, scale=0.01), True),
        (Column("a", "boolean", "boolean", center=0.5, scale=0.5), False),
        (Column("a", "categorical", "string", levels=("x",), shares=(1.0,)), True),
        (LEVELS, False),
    ],
)
def test_constants(column, constant):
    assert column.constant is constant


def broken(**change):
    record = SCHEMA.to_json()
    record["columns"][0] |= change
    return record


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (broken(kind="colour"), "unknown kind 'colour'; known are numeric"),
        (broken(hue=3), "unknown fields in the column: hue"),
        (broken(center=float("nan")), "'a' of the schema: its scaling must be finite"),
        (broken(scale=-1.0), "scale must not be negative"),
        (broken(scale="1"), "must be finite numbers"),
        (broken(levels=["x"]), "1 levels and 0 shares do not fit"),
        (broken(name=3), "name and dtype must be text"),
        ({**SCHEMA.to_json(), "naming": "maybe"}, "unknown naming 'maybe'"),
        ({**SCHEMA.to_json(), "inputs": ["a"]}, "not among its inputs"),
        ({**SCHEMA.to_json(), "inputs": ["a", "b", "b"]}, "names a column twice"),
        ({**SCHEMA.to_json(), "columns": []}, "no columns"),
        ({"columns": [], "inputs": []}, "fields lacking in the schema: naming"),
        ([], "must be a JSON object"),
    ],
)
def test_what_is_no_schema_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        Schema.from_json(record)
