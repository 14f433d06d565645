"""Which modality data are of: containers and places of rows are tables, with a time column sequences."""

import numpy as np
import pyarrow as pa
import pytest

from rowfiles import PLAIN, texted, written
from upland.data.modality import check_modality, modality_of

FORMS = [
    (lambda: {"a": [1.0]}, "table"),
    (lambda: [{"a": 1.0}], "table"),
    (lambda: iter([np.zeros((2, 2))]), "table"),
    (lambda: pa.table(PLAIN).to_reader(), "table"),
    (lambda: np.zeros(3, dtype=[("a", float)]), "table"),
    (lambda: np.zeros((3, 4, 2)), "sequence"),
    (lambda: np.zeros((3, 4, 2), np.uint8), "image"),
]


@pytest.mark.parametrize(("make", "modality"), FORMS, ids=range(len(FORMS)))
def test_modality_by_form(make, modality):
    assert modality_of(make()) == modality
    assert modality_of(make(), time="a") == "sequence"


def test_an_iterator_is_not_read():
    parts = iter([np.zeros((2, 2))])
    modality_of(parts)
    check_modality(parts, "table", "energy")
    assert len(list(parts)) == 1


@pytest.fixture
def folder(tmp_path):
    written(tmp_path / "a.csv", pa.table(PLAIN))
    return tmp_path


def test_folders_are_what_they_hold(folder):
    assert (
        modality_of(folder)
        == modality_of(str(folder / "*.csv"))
        == modality_of([folder / "a.csv"])
        == "table"
    )
    with pytest.raises(ValueError, match="ImageEnergyDetector reads images, but X holds a table"):
        check_modality(folder, "image", "energy")
    texted(folder / "b.png", "")
    with pytest.raises(ValueError, match="holds 1 file of rows and 1 image: put them"):
        modality_of(folder)
    check_modality(folder, "table", "energy")
    check_modality(folder, "image", "energy")
    (folder / "a.csv").unlink()
    assert modality_of(folder) == "image"
    (folder / "b.png").unlink()
    with pytest.raises(ValueError, match="holds neither rows nor images: it is empty"):
        modality_of(folder)


@pytest.mark.parametrize("text", ["a,b\n1,2\n" * 1000, "nothing.csv", "a\0b"])
def test_a_text_that_leads_nowhere_is_said_to(text):
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        modality_of(text)
