"""Values, times and names in words."""

from datetime import datetime

import numpy as np
import pytest

from upland.cli.words import json_value, plural, span_text
from upland.scoring.words import cell_text, label_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.datetime64("NaT"), "missing"),
        (np.float32(1.23456), "1.235"),
        (1234567, "1.235e+06"),
        (np.bool_(True), "True"),
        ("open", "open"),
        (np.datetime64("2026-03-02T12:00:00.25", "us"), "2026-03-02 12:00:00"),
        (np.datetime64("2026-03-02T12:00:00.25", "ns"), "2026-03-02 12:00:00"),
        (np.timedelta64(90_500_000, "us"), "0:01:30"),
        ((1.0, 255.0), "(1, 255)"),
    ],
)
def test_cells_in_words(value, text):
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (3, 8, "3 to 8"),
        (123456, 123456, "123456"),
        (0.5, 2.0, "0.5 to 2"),
        (
            np.datetime64("2026-03-02T10:12", "ns"),
            np.datetime64("2026-03-02T10:40", "ns"),
            "2026-03-02 10:12 to 10:40",
        ),
        (datetime(2026, 3, 2, 10), datetime(2026, 3, 3, 9), "2026-03-02 10:00 to 2026-03-03 09:00"),
        (datetime(2026, 3, 2, 10, 0, 5), datetime(2026, 3, 2, 10, 0, 5), "2026-03-02 10:00:05"),
        (np.datetime64("2026-03-02"), np.datetime64("2026-03-04"), "2026-03-02 to 2026-03-04"),
    ],
)
def test_spans_in_words(start, end, text):
    assert span_text(start, end) == text


def test_labels_keep_their_digits():
    assert label_text(np.int64(1234567)) == "1234567"
    assert label_text("b") == "b"


def test_values_for_programs():
    assert json_value(np.float32(0.5)) == 0.5
    assert json_value(float("nan")) is None
    assert json_value((1, None)) == [1, None]
    assert json_value(np.datetime64("2026-03-02T10:12", "ns")) == "2026-03-02 10:12:00"


@pytest.mark.parametrize(
    ("word", "many"),
    [
        *(("shift", "shifts"), ("batch", "batches"), ("day", "days"), ("city", "cities")),
        *(("box", "boxes"), ("lot_id", "groups of 'lot_id'"), ("Fläche", "groups of 'Fläche'")),
    ],
)
def test_plurals(word, many):
    assert plural(word) == many
