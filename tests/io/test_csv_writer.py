"""Lines of CSV files by the quick ways: the same bytes as by the slow ones."""

import pyarrow as pa
import pytest

from upland.io import csv_writer
from upland.io.csv_writer import _lines
from upland.io.dialect import PLAIN

SIGNS = [chr(code) for code in range(1, 256)] + ["\u2003", "\u2028", "é"]
CELLS = [cell for sign in SIGNS for cell in (f"{sign}ab", f"a{sign}b", f"ab{sign}", sign)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_cells_with_any_sign_are_written_as_by_the_pattern_alone(delimiter, newline, monkeypatch):
    dialect = PLAIN._replace(delimiter=delimiter, newline=newline)
    tables = [pa.table({"a": [cell, "b", None], "n": [0.1, 1e-300, None], "t": ["x"] * 3}) for cell in CELLS]
    tables += [pa.table({"a": [cell, ""]}) for cell in CELLS]
    quick = [_lines(table, dialect) for table in tables]
    monkeypatch.setattr(csv_writer, "_has_special", lambda *_: True)
    monkeypatch.setattr(csv_writer, "_without_quotes", failing)
    assert quick == [_lines(table, dialect) for table in tables]


def failing(*_):
    raise pa.ArrowInvalid("a cell in quotes")


def test_plain_cells_are_not_gone_through_by_a_pattern(monkeypatch):
    monkeypatch.setattr(csv_writer.pc, "match_substring_regex", None)
    table = pa.table({"a": ["-1.5", "", "é"], "b": [0.5, None, 2.0]})
    assert _lines(table.slice(1), PLAIN._replace(delimiter=",")).decode() == ",\né,2\n"
