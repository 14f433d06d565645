"""Types of columns of text: by a quick look, the same as cell by cell."""

from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from upland.io import inference
from upland.io.formats import open_source
from upland.io.inference import TypedRows, doubtful_rows
from upland.io.schema import Column, Schema

SIGNS = "019.-+eE "
LONG = (
    *("12345678901234", "123456789012345", "1234567890123456", "99999999999999.5", "100000000000000"),
    *("9007199254740993", "-9007199254740993", "9223372036854775808", "0.12345678901234567890"),
    *("1e400", "1e-400", "-.5", "1.", "inf", "nan", "NaN", "NA", "", "-", "?", "007", "-0", "-0.0", "00.5"),
    *("1_0", "0x1", "é", "\u22125"),
)


@pytest.fixture(scope="module")
def cells():
    """All texts of up to four of the signs of numbers, and some longer ones."""
    return ["".join(signs) for length in range(5) for signs in product(SIGNS, repeat=length)] + [*LONG]


def read_by_the_model(cells):
    """Cells as numbers where each is one by itself, else missing."""
    numbers = []
    for cell in cells:
        try:
            numbers.append(pc.cast(pa.scalar(cell), pa.float64()).as_py())
        except pa.ArrowInvalid:
            numbers.append(None)
    return [None if number is not None and np.isnan(number) else number for number in numbers]


def test_what_is_not_doubtful_is_read_as_its_pattern_says(cells):
    raw = pa.chunked_array([cells])
    typed = pa.chunked_array([pa.array(read_by_the_model(cells), pa.float64())])
    rows = doubtful_rows(raw, typed)
    sure = np.setdiff1d(np.arange(len(cells)), rows)
    assert len(sure) > 250
    whole, real = (
        pc.match_substring_regex(raw, reading.pattern).to_numpy() for reading in inference._NUMBERS
    )
    assert real[sure].all()
    np.testing.assert_array_equal(whole[sure], ["." not in cells[row] for row in sure])
    sliced = doubtful_rows(raw.slice(700, 900), typed.slice(700, 900))
    np.testing.assert_array_equal(sliced, rows[(rows >= 700) & (rows < 1600)] - 700)


COLUMNS = {
    "whole": ["1", "-2", "0", "907"],
    "whole, some missing": ["1", "", "NA", "-0"],
    "whole until the last": ["1", "2", "3", "4.5"],
    "large": ["9007199254740993", "1", "2", "3"],
    "too large": ["9223372036854775808", "1", "2", "3"],
    "real": ["0.1", "-.5", "1.", "99999999999999.5"],
    "with exponents": ["9.5e-05", "1E5", "0.25", "-1e+300"],
    "infinite": ["inf", "-inf", "1", "2"],
    "with zeros before": ["1", "2", "3", "007"],
    "with a sign": ["1", "2", "3", "+4"],
    "with blanks around": [" 1", "2 ", "3", " NA "],
    "many digits": ["1234567890123456.5", "1", "2", "3"],
    "all missing": ["", "NA", "", ""],
    "flags": ["1", "true", "0", "False"],
}


@pytest.mark.parametrize("at_once", [1, 2, 4])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_typed_as_without_the_quick_look(name, at_once, tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("a,more\n" + "".join(f"{cell},{cell}\n" for cell in COLUMNS[name]))
    kind = "boolean" if name == "flags" else "numeric"
    schema = Schema((Column("a", kind, "floating"),), ("a",), "names")

    def typed():
        source = open_source(path)
        pairs = list(source.pairs(schema, at_once))
        monkeypatch.setattr(source, "pairs", lambda schema: iter(pairs))
        rows = TypedRows(source, schema)
        return pa.concat_tables([rows.table(*pair) for pair in pairs])

    quick = typed()
    monkeypatch.setattr(inference, "doubtful_rows", lambda raw, typed: np.arange(len(raw)))
    monkeypatch.setattr(inference, "_as_read", lambda *_: None)
    slow = typed()
    assert quick.schema == slow.schema
    assert quick.equals(slow)


def test_plain_numbers_are_not_gone_through_by_patterns(tmp_path, monkeypatch):
    """Of plain columns a first look at one batch is taken, and afterwards none."""
    path = tmp_path / "rows.csv"
    rng = np.random.default_rng(0)
    path.write_text("a,b\n" + "".join(f"{x:.4f},{n}\n" for n, x in enumerate(rng.normal(size=5000))))
    schema = Schema(
        (Column("a", "numeric", "floating"), Column("b", "numeric", "integer")), ("a", "b"), "names"
    )
    source, seen = open_source(path), []
    pairs = list(source.pairs(schema, 500))
    monkeypatch.setattr(source, "pairs", lambda schema: iter(pairs))
    real = pc.match_substring_regex
    monkeypatch.setattr(
        pc, "match_substring_regex", lambda cells, *rest: (seen.append(len(cells)), real(cells, *rest))[1]
    )
    rows = TypedRows(source, schema)
    found = pa.concat_tables([rows.table(*pair) for pair in pairs])
    assert found.schema.types == [pa.float64(), pa.int64()]
    assert 0 < sum(seen) < 5000
