"""Time stamps of long frames that come as text."""

import numpy as np
import pandas as pd
import pytest

from upland.data.sequence.container import as_sequences
from upland.io.cells import CellOptions

HOURS = np.datetime64("2026-03-14T00", "us") + np.arange(48) * np.timedelta64(1, "h")
LAYOUTS = ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d %b %Y %H:%M"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stamps_of_text_order_the_steps_as_dates_do(layout):
    flow = np.arange(48.0)
    shuffled = np.random.default_rng(0).permutation(48)
    texts = pd.Series(HOURS).dt.strftime(layout)
    frame = pd.DataFrame({"when": texts, "flow": flow}).iloc[shuffled]
    sequences = as_sequences(frame, time="when")
    np.testing.assert_array_equal(sequences.stamps, HOURS)
    np.testing.assert_array_equal(sequences.table["flow"], flow)


def test_stamps_that_can_be_read_in_two_ways_are_the_users_to_decide():
    frame = pd.DataFrame({"when": ["3/4/2026", "5/4/2026", "4/4/2026"], "flow": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="'when', row 1: '3/4/2026' can be read with the day first"):
        as_sequences(frame, time="when")
    read = as_sequences(frame, time="when", cells=CellOptions(dayfirst=True))
    assert read.table["flow"].tolist() == [1.0, 3.0, 2.0]
    assert str(read.stamps[0])[:10] == "2026-04-03"
