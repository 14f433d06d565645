"""What tests of exported graphs share: a mixed table, and how a graph is run beside its detector."""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from benchmarks.onnx import feeds, relative

from upland.export.onnx import to_onnx


def mixed(count, seed):
    """A column of every kind, some with missing cells."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    seconds = rng.integers(0, 400 * 86_400, count)
    return pd.DataFrame(
        {
            "flow": flow,
            "pressure": 2 * flow + rng.normal(0, 0.2, count),
            "gaps": np.where(rng.random(count) < 0.2, np.nan, rng.normal(size=count)),
            "blank": np.where(rng.random(count) < 0.1, -999.0, rng.normal(size=count)),
            "valve": rng.choice(["open", "shut", "Füße", "007"], count, p=[0.5, 0.3, 0.15, 0.05]),
            "grade": pd.Series(rng.choice(np.array(["a", "b", None], dtype=object), count)),
            "article": [f"item {number}" for number in rng.integers(0, 130, count)],
            "code": rng.integers(1, 6, count),
            "half": rng.choice([0.5, 1.5, 2.0], count),
            "running": rng.random(count) < 0.3,
            "known": pd.Series(
                rng.choice(np.array([True, False, None], dtype=object), count), dtype="boolean"
            ),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, unit="s"),
            "took": pd.to_timedelta(rng.exponential(100, count), unit="s"),
            "serial": (2**60 + rng.integers(0, 1000, count)).astype(np.int64),
            "fixed": np.full(count, 3.25),
            "zero": np.zeros(count),
            "anomaly_score": rng.normal(size=count),
        }
    )


STRANGE = {
    "flow": [np.nan, 1e300, -1e308],
    "pressure": [-40.0],
    "blank": [-999.0, np.nan],
    "valve": ["never", None, "", "NaN"],
    "grade": ["z"],
    "article": ["item 900", None],
    "code": [99],
    "half": [np.nan, 7.25],
    "known": [None],
    "when": [pd.NaT, pd.Timestamp("1900-02-28 12:00"), pd.Timestamp("2024-02-29")],
    "took": [pd.NaT],
    "serial": [2**60 + 10**6],
    "fixed": [3.2500001, 4.0],
    "zero": [1e-13, 1e-6, np.nan],
}
"""Cells that are unseen, missing or far from normal ones."""


def strange(count, seed):
    """Rows with such cells."""
    rng, frame = np.random.default_rng(seed), mixed(count, seed)
    for name, cells in STRANGE.items():
        for cell in cells:
            frame.loc[rng.random(count) < 0.05, name] = cell
    return frame


def session_of(detector):
    """A detector's graph, checked, ready to run on one thread."""
    data = to_onnx(detector)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(session, table, **changed):
    """Scores, p-values and flags of a table; some inputs may be changed."""
    return session.run(None, feeds(session, table) | changed)


def check(detector, table, within=1e-5, off=0.0):
    """A graph gives what its detector gives; at most a share of the p-values is off, by one row."""
    scores, p, flags = run(session_of(detector), table)
    wanted = detector.assess(table)
    assert relative(scores, wanted.anomaly_score).max() <= within
    assert np.mean(p != wanted.p_value) <= off
    step = 1 / (detector.calibration_.size + 1)
    assert np.abs(p - wanted.p_value).max() <= 1.01 * step * (off > 0)
    assert (flags == (p <= 0.05)).all()
