"""Text cast to the kinds of a schema: what the fit would have read, or an error that names the cell."""

import numpy as np
import pyarrow as pa
import pytest

from rowfiles import TABLE, texted
from upland.data.table.encoder import TableEncoder
from upland.io.formats import open_source

BAD_CELLS = [
    ("load", "abc", "is not a number"),
    ("load", "1_000", "is not a number"),
    ("load", "1,5", "is not a number"),
    ("open", "perhaps", "is not true, false, 1 or 0"),
    ("at", "yesterday", "is not a date"),
    ("count", "3 pieces", "is not a number"),
]


@pytest.mark.parametrize(("name", "cell", "message"), BAD_CELLS)
def test_a_bad_cell_is_named_with_column_row_and_value(tmp_path, name, cell, message):
    frame = TABLE.to_pandas().astype(object)
    frame.loc[[321, 400], name] = cell
    frame.to_csv(tmp_path / "rows.csv", index=False)
    source = open_source(tmp_path / "rows.csv")
    schema = TableEncoder().fit(TABLE).schema_
    with pytest.raises(
        ValueError, match=f"rows.csv: column '{name}', row 322 holds '{cell}', which {message}"
    ):
        list(source.batches(schema, 100))


@pytest.mark.filterwarnings("ignore:column 'at' has a time zone here")
def test_booleans_dates_and_codes_from_text(tmp_path):
    fitted = pa.table(
        {
            "flag": [True, False],
            "at": pa.array([0, 3600], pa.timestamp("s")),
            "time": pa.array([0, 3600], pa.time32("s")),
            "code": [1, 7],
            "half": [0.5, 1.0],
            "sure": [True, False],
        }
    )
    encoder = TableEncoder(categorical=["code", "half", "sure"]).fit(fitted)
    lines = [
        "flag,at,time,code,half,sure",
        "TRUE,1970-01-01T00:00:00,00:00:00,007,1.00,true",
        "0,1970-01-01T01:00:00Z,01:00:00,+1,.5,False",
    ]
    for number, line in enumerate(lines[1:]):
        source = open_source(texted(tmp_path / f"{number}.csv", f"{lines[0]}\n{line}\n"))
        (batch,) = source.batches(encoder.schema_)
        expected = {
            "code": [("7", "1")[number]],
            "half": [("1", "0.5")[number]],
            "sure": [("True", "False")[number]],
        }
        assert batch.select(list(expected)).to_pydict() == expected
        codes = encoder.transform(batch)
        plain = encoder.slots < 3
        np.testing.assert_array_equal(codes[:, plain], encoder.transform(fitted.slice(number, 1))[:, plain])


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("1970-01-02", 86400.0),
        ("1970-01-02 00:00", 86400.0),
        ("1970-01-02T00:00:01.5", 86401.5),
        ("1970-01-02T00:00:01.500000001", 86401.5),
        ("1970-01-02T02:00:00+02:00", 86400.0),
        ("1970-01-02T00:00:00.000000001Z", 86400.0),
    ],
)
def test_dates_in_text(tmp_path, cell, seconds):
    encoder = TableEncoder().fit(pa.table({"at": pa.array([0, 100], pa.timestamp("s")), "a": [1, 5]}))
    source = open_source(texted(tmp_path / "rows.csv", f"at,a\n{cell},1\n"))
    (batch,) = source.batches(encoder.schema_)
    assert batch["at"].type.tz == ("UTC" if cell.endswith(("Z", "+02:00")) else None)
    assert batch["at"].cast(pa.int64()).to_pylist() == [int(seconds * 1e6)]


def test_a_csv_is_cast_by_position_when_the_fit_had_no_names(tmp_path):
    source = open_source(texted(tmp_path / "rows.csv", "p,q\n1,2\n3,4\n"))
    (batch,) = source.batches(TableEncoder().fit(np.eye(2)).schema_)
    assert batch.to_pydict() == {"p": [1.0, 3.0], "q": [2.0, 4.0]}
