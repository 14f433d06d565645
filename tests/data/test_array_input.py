"""Arrays in any form are read as one array, for tables, sequences and images alike."""

import numpy as np
import pytest
import torch

from upland.data.arrays import as_array, as_cells, filled, numbers
from upland.data.image.encoder import as_images
from upland.data.rows import MemoryRows
from upland.data.sequence.container import as_sequences
from upland.data.table.encoder import TableEncoder

X = np.random.default_rng(0).integers(0, 99, (6, 4, 4)).astype(np.float32)
FORMS = {
    "array": lambda x: x,
    "list": lambda x: x.tolist(),
    "tensor": torch.from_numpy,
    "tensor with a gradient": lambda x: torch.from_numpy(x.copy()).requires_grad_(),
    "view of a tensor": lambda x: torch.from_numpy(x.T.copy()).T if x.ndim == 2 else torch.from_numpy(x),
    "tensor of 16 bits": lambda x: torch.from_numpy(x).to(torch.bfloat16),
    "big endian": lambda x: x.astype(">f4"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_table_sequences_and_images(form):
    make = FORMS[form]
    np.testing.assert_array_equal(as_array(make(X[0])), X[0])
    table = make(X[:, 0])
    encoder = TableEncoder().fit(X[:, 0])
    np.testing.assert_array_equal(encoder.transform(table), encoder.transform(X[:, 0]))
    np.testing.assert_array_equal(MemoryRows(table).take(np.arange(6)).matrix, X[:, 0])
    sequences = as_sequences(make(X))
    np.testing.assert_array_equal(sequences.table, as_sequences(X).table)
    if form != "list":  # a list is of images
        np.testing.assert_array_equal(as_images(make(X)).take(np.arange(6)), as_images(X).take(np.arange(6)))


def test_masked_cells_are_missing_in_tables_and_sequences_and_refused_in_images():
    masked = np.ma.masked_array(X, X > 50)
    holes = np.where(X > 50, np.nan, X)
    np.testing.assert_array_equal(filled(as_array(masked)), holes)
    encoder = TableEncoder().fit(holes[:, 0])
    np.testing.assert_array_equal(encoder.transform(masked[:, 0]), encoder.transform(holes[:, 0]))
    np.testing.assert_array_equal(as_sequences([*masked]).table, np.concatenate(holes))
    with pytest.raises(TypeError, match="masked arrays are not supported as images"):
        as_images(masked)


def test_ragged_lists_are_refused_in_the_words_of_the_data():
    with pytest.raises(ValueError, match="the rows have different lengths, or are nested too deeply"):
        TableEncoder().fit([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="these are no images"):
        as_images([[[1, 2], [3]], [[1, 2], [3, 4]]])


def test_numbers_beside_text_stay_numbers_in_tables():
    assert as_cells([[1.5, "a"], [2, "b"]]).tolist() == [[1.5, "a"], [2, "b"]]
    assert as_cells([[1.5, 3], [2, 4]]).dtype == np.float64


def test_objects_that_are_numbers_become_numbers_and_others_are_named():
    found = numbers(np.array([[1, None], [2.5, True]], dtype=object), "X")
    np.testing.assert_array_equal(found, [[1.0, np.nan], [2.5, 1.0]])
    with pytest.raises(TypeError, match=r"X\[1, 0\] holds 'a', which is no number"):
        numbers(np.array([[1, 2], ["a", 3]], dtype=object), "X")
    with pytest.raises(ValueError, match="Complex data not supported: X has the dtype complex128"):
        numbers(np.array([1j]), "X")
