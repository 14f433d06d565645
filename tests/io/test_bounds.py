"""Arrow tables of the user's program are checked as those of files are."""

import numpy as np
import pyarrow as pa
import pytest

from upland.data.table.encoder import TableEncoder
from upland.io.bounds import checked

OUTSIDE = pa.py_buffer(np.array([0, 5_000, 10], dtype="i4"))
DAMAGED = {
    "indices": pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), pa.array(["a"]), safe=False),
    "offsets": pa.StringArray.from_buffers(2, OUTSIDE, pa.py_buffer(b"hello world")),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("form", [pa.table, pa.record_batch])
def test_a_damaged_table_of_the_users_program_is_refused_with_the_column(name, form):
    table = form({"x": [1.0, 2.0], name: DAMAGED[name]})
    with pytest.raises(ValueError, match=f"the table: column '{name}' is damaged"):
        TableEncoder().fit(table)


def test_a_table_that_is_as_it_must_be_is_itself():
    table = pa.table({"x": [1.0, 2.0]})
    assert checked(table, "rows") is table
