"""Graphs as they are built: functions, sums in PyTorch's order, blocks of rows, names, models within."""

import platform

import numpy as np
import onnxruntime
import pytest
import torch

from upland.calibration.conformal import Calibration
from upland.export.calibration import p_values
from upland.export.functions import below, exp, expm1, log1p, number_of, softplus
from upland.export.graph import LEAST_BLOCK, STRING, Graph
from upland.export.sums import of_columns, of_rows, product

X86 = platform.machine() in ("x86_64", "AMD64")
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 40, 63, 100, 255, 257, 300)


def computed(function, x, dtype=None):
    """What a function of one value comes to."""
    graph = Graph(("x", "y"))
    found = function(graph.input("x", dtype or x.dtype, [f"n{axis}" for axis in range(x.ndim)]))
    graph.output(found, "y", [f"m{axis}" for axis in range(x.ndim)])
    model = graph.model("test", "upland", "0", {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


NUMBERS = np.array([0.0, 1e-300, 1e-17, 1e-9, 1e-3, 0.5, 1.0, 7.25, 30.0, 500.0])


@pytest.mark.parametrize(
    ("ours", "exact"),
    [(log1p, np.log1p), (expm1, np.expm1), (exp, np.exp), (softplus, lambda x: np.logaddexp(x, 0))],
)
def test_functions_are_exact_for_small_and_large_numbers(ours, exact):
    np.testing.assert_allclose(computed(ours, NUMBERS), exact(NUMBERS), rtol=2e-15)


def test_softplus_of_what_is_far_below_zero_is_no_zero():
    x = -NUMBERS
    np.testing.assert_allclose(computed(softplus, x), np.logaddexp(x, 0), rtol=2e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 100])
def test_bisection(dtype, count):
    rng = np.random.default_rng(count)
    table = np.sort(rng.integers(-9, 9, size=(3, count)).astype(dtype), axis=1)
    keys = np.tile(np.arange(-11, 11).astype(dtype), (3, 1))
    wanted = [np.searchsorted(row, key) for row, key in zip(table, keys, strict=True)]
    assert (computed(lambda x: below(table, x), keys) == wanted).all()


def test_bisection_of_an_empty_table():
    assert (computed(lambda x: below(np.zeros((1, 0)), x), np.ones((1, 4))) == 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_sums_are_in_the_order_of_pytorch(size):
    x = np.random.default_rng(size).normal(size=(512, size)).astype(np.float32)
    rows, columns = torch.from_numpy(x), torch.from_numpy(x.T.copy())
    for found, wanted in (
        (computed(lambda v: of_rows(v, size), x), rows.sum(1, keepdim=True)),
        (computed(lambda v: of_columns(v, size), x.T.copy()), columns.sum(0, keepdim=True)),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
        assert not X86 or (found == wanted.numpy()).all()


@pytest.mark.parametrize("rows", [1, 3, 4, 70])
def test_products(rows):
    rng = np.random.default_rng(rows)
    matrix, x = rng.normal(size=(2, rows, 20)), rng.normal(size=(2, 20, 33))
    start = rng.normal(size=(2, rows, 33)).astype(np.float32)
    found = computed(
        lambda v: product(matrix.astype(np.float32), v, v.graph.constant(start, np.float32)),
        x.astype(np.float32),
    )
    np.testing.assert_allclose(found, matrix @ x + start, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 99, 100, 101, 1000])
def test_blocks_are_small_and_give_a_number_for_each_row_in_order(rows):
    x = np.arange(rows * 2.0).reshape(rows, 2)

    def sized(block):
        """The first column, and beside it how many rows the block has."""
        return block.part(0, 1, 1).reshape(-1) + block.size(0).to(np.float64) * 1e6

    def blocks(v):
        return v.graph.in_blocks(sized, v, (2,), 100).columns()

    found = computed(blocks, x)[:, 0]
    assert (found % 1e6 == x[:, 0]).all()
    sizes = set((found // 1e6).tolist())
    assert all(size % LEAST_BLOCK == 0 and size < 100 + LEAST_BLOCK for size in sizes)


def test_words_have_numbers():
    words = np.array(["b", "ä", "", "other", "a\x00"], dtype=object)
    numbers = {"b": 1, "ä": 2, "": 3}
    assert computed(lambda x: number_of(x, numbers, 9), words, STRING).tolist() == [1, 2, 3, 9, 9]


def test_names_are_never_those_of_inputs():
    graph = Graph(("anomaly_score",))
    names = [graph.names.reserve(name) for name in ("v1", "v1", "", "anomaly_score")]
    assert names == ["v1", "v1_", "_", "anomaly_score_"]
    values = {graph.names.fresh() for _ in range(9)}
    assert len(values) == 9
    assert not values & set(names)


def test_a_model_within_another():
    inner = Graph(("x", "y"))
    x = inner.input("x", np.float64, ["n"])
    inner.output(inner.in_blocks(lambda v: v.sum(1), x.columns(), (1,), 32) * 2, "y", ["n"])
    model = inner.model("inner", "upland", "0", {})
    found = computed(lambda v: v.graph.call(model, v.graph.call(model, v, dtype=float), dtype=float), NUMBERS)
    np.testing.assert_allclose(found, 4 * NUMBERS)


def test_a_model_of_another_version_is_refused():
    inner = Graph(("x", "y"))
    inner.output(inner.input("x", np.float64, ["n"]) * 2, "y", ["n"])
    model = inner.model("inner", "upland", "0", {})
    model.opset_import[0].version = 12
    with pytest.raises(ValueError, match="opset 12"):
        computed(lambda v: v.graph.call(model, v, dtype=float), NUMBERS)


@pytest.mark.parametrize("folds", [1, 2])
def test_an_infinite_score_has_the_smallest_p_value(folds):
    """A net may overflow in the runtime where it does not in PyTorch."""
    scores = np.random.default_rng(0).normal(size=40)
    calibration = Calibration(scores, np.arange(40) % folds if folds > 1 else None)
    p = computed(lambda x: p_values(calibration, [x] * folds, 1e-7), np.array([np.inf, 0.0, 9.0]))
    assert p[0] == p[2] == calibration.smallest_p
    assert p[1] > p[0]
