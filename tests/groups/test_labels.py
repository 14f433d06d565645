"""Laws of labels: any container, in order of first appearance, none missing."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from upland.groups.labels import grouped, labels_in

CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "numpy": np.array,
    "torch": torch.tensor,
    "arrow": pa.array,
    "chunked": lambda labels: pa.chunked_array([labels]),
    "pandas": lambda labels: pd.Series(labels, dtype="Int64"),
    "polars": pl.Series,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_labels_may_be_in_anything(container):
    names, numbers = grouped(CONTAINERS[container]([3] * 2 + [1] * 3 + [3]), 6)
    assert names.tolist() == [3, 1]
    assert numbers.tolist() == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    "lost",
    [
        [None, 1, None],
        [float("nan"), 1.0, float("nan")],
        pa.array([None, 1, None]),
        pd.Series([pd.NA, 1, pd.NA], dtype="Int64"),
        pd.Series([pd.NaT, pd.Timestamp(0), pd.NaT]),
    ],
)
def test_missing_labels_are_refused_in_anything(lost):
    with pytest.raises(ValueError, match="2 of 3 rows have no group, the first is row 0"):
        grouped(lost, 3)


@pytest.mark.parametrize(
    ("labels", "rows", "message"),
    [
        ([1, 2], 3, "there are 3 rows, but groups names 2"),
        ([], 0, "no rows"),
        (np.zeros((3, 1)), 3, "one label for each row"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, rows, message):
    with pytest.raises(ValueError, match=message):
        grouped(labels, rows)


def test_a_column_names_groups():
    frame = pd.DataFrame({"flow": [1.0, 2.0, 3.0], "shift": ["a", "", "b"]})
    assert labels_in(frame, "shift", {"flow"}) == ["a", "", "b"]
    assert labels_in(frame, "shift", {"flow"}, blanks=("", "NA")) == ["a", None, "b"]
    with pytest.raises(ValueError, match="column 'flow' is a feature of this detector"):
        labels_in(frame, "flow", {"flow"})
    with pytest.raises(ValueError, match="no column 'shft' to name groups by; the table has 'flow', 'shift'"):
        labels_in(frame, "shft", {"flow"})
    with pytest.raises(ValueError, match="the table has no names"):
        labels_in(np.zeros((3, 2)), "shift", {"flow"})


@pytest.mark.parametrize("labels", [None, 3, 2.5, object()])
def test_what_are_no_labels_is_refused(labels):
    with pytest.raises(ValueError, match=r"groups must be one label for each row, \(N,\)"):
        grouped(labels, 3)
