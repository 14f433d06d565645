"""ONNX graphs beside upland: how far scores differ, which p-values are equal, rows per second on one thread.

Each detector is fitted on the normal rows of a table, exported, and scores these rows and the test rows; rows
of the fit are among the rows that calibrate, and tie with them. A row of results has the largest relative
difference of a score, the shares of equal p-values and flags, and the rows per second of both.

    sets         the tables of scikit-learn, every set of ADBench and of OddBench, KDD Cup 99
    families     mixed tables: numbers, words, missing cells

    python -m benchmarks.onnx --data DIR
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import protocols
from benchmarks.bundled import SETS
from benchmarks.options import HERE, command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from benchmarks.table_tasks import LABEL, with_features

KEYS = ("method", "set")
QUICK = {"methods": ["EnergyDetector"], "most_sets": 3}
MOST = 20_000
"""Rows of a fit, and rows that are scored."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "EnergyDetector": ("EnergyDetector", {}),
    "fast": ("EnergyDetector", {"speed": "fast"}),
    "cross": ("EnergyDetector", {"calibration": "cross"}),
    "multiscale": ("EnergyDetector", {"energy": "multiscale"}),
    "multiscale reconstruction": ("EnergyDetector", {"energy": "multiscale", "criterion": "reconstruction"}),
    "dsebm": ("EnergyDetector", {"energy": "dsebm"}),
    "dsebm energy": ("EnergyDetector", {"energy": "dsebm", "criterion": "energy"}),
    "flow": ("FlowDetector", {}),
    "flow divergence": ("FlowDetector", {"criterion": "divergence"}),
    "vae": ("VAEDetector", {}),
    "vae likelihood": ("VAEDetector", {"criterion": "likelihood"}),
}
"""Class and arguments by name; the first is fitted on every set, the others on `SOME`."""

SOME = (
    *("sklearn_breast_cancer", "sklearn_digits", "sklearn_wine", "adbench cardio", "adbench wilt"),
    *("families german", "families sick", "families stroke"),
)
"""Sets of numbers and mixed ones."""


class Table(NamedTuple):
    """Normal rows, and rows to score."""

    normal: Any
    new: Any


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    sets_arguments(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.set_defaults(output=HERE / "results" / "onnx.json")
    options = parsed(parser, argv, "onnx", QUICK, is_bundled=True)
    torch.set_num_threads(1)
    records = Records.open(options.output, KEYS)
    for method in options.methods:
        for name, read in list(chosen(options, method))[: options.most_sets]:
            if records.find(method=method, set=name) is None:
                found = compared(*METHODS[method], read())
                records.add({"benchmark": "onnx", "method": method, "set": name, **found})
                print(json.dumps(records.rows[-1]), flush=True)
    for method in options.methods:
        if rows := [row for row in records.rows if row["method"] == method]:
            print(method, summary(rows))
    return 0


def chosen(options: argparse.Namespace, method: str) -> Iterator[tuple[str, Callable[[], Table]]]:
    """The sets that a method is asked for, by name."""
    some = options.sets or (None if method == next(iter(METHODS)) else SOME)
    for name, read in tables(options.data):
        if some is None or name in some:
            yield name, read


def tables(data: Path) -> Iterator[tuple[str, Callable[[], Table]]]:
    """Every table, by name."""
    for name, (load, anomalous) in SETS.items():
        yield name, partial(_bundled, load, anomalous)
    for file in sorted((data / "adbench").glob("*.npz")):
        if file.stem not in SETS:
            yield f"adbench {file.stem}", partial(_adbench, data, file.stem)
    for file in sorted((data / "oddbench").glob("*.npz")):
        yield f"oddbench {file.stem}", partial(_oddbench, file)
    if (data / "kddcup99").is_dir():
        yield "kdd", partial(_kdd, data)
    for file in sorted((data / "tables").glob("*.parquet")):
        yield f"families {file.stem}", partial(_family, file)


def _bundled(load: Callable[[], Any], anomalous: int) -> Table:
    X, classes = load()
    return Table(X[classes != anomalous], X)


def _adbench(data: Path, name: str) -> Table:
    X, y = protocols.load_adbench(data, name)
    return Table(X[y == 0][:MOST], X[:MOST])


def _oddbench(file: Path) -> Table:
    with np.load(file) as stored:
        train, test = (np.asarray(stored[part], dtype=np.float64) for part in ("train", "test"))
    return Table(train, np.concatenate([train, test])[:MOST])


def _kdd(data: Path) -> Table:
    import pandas as pd

    frame = pd.read_csv(data / "kddcup99" / "kddcup.data_10_percent.gz", header=None)
    normal = frame.pop(frame.columns[-1]) == "normal."
    frame.columns = [f"c{position}" for position in range(frame.shape[1])]
    some = frame.sample(MOST, random_state=0)
    return Table(frame[normal.to_numpy()].sample(MOST, random_state=0), some)


def _family(file: Path) -> Table:
    import pandas as pd

    frame = pd.read_parquet(file)
    features = frame.drop(columns=LABEL, errors="ignore").sample(frac=1.0, random_state=0)
    train = with_features(features.iloc[: len(features) // 2][:MOST])
    return Table(train, features[list(train.columns)][:MOST])


def compared(detector_name: str, params: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """How a graph and its detector agree, and how fast they are."""
    import onnxruntime

    import upland
    from upland.export.onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = getattr(upland, detector_name)(**params, random_state=0, progress=False)
        detector.fit(table.normal)
        data = to_onnx(detector)
        session = session_of(data)
        given = feeds(session, table.new)
        seconds = {"torch": np.inf, "onnx": np.inf}
        for _ in range(3):
            seconds["onnx"] = min(seconds["onnx"], timed(lambda: session.run(None, given)))
            seconds["torch"] = min(seconds["torch"], timed(lambda: detector.assess(table.new)))
    scores, p, flags = session.run(None, given)
    wanted = detector.assess(table.new)
    return {
        "rows": len(scores),
        "columns": len(given),
        "width": int(detector.encoder_.width),
        "calibration_rows": detector.calibration_.size,
        "largest_difference": float(relative(scores, wanted.anomaly_score).max()),
        "equal_p_values": float(np.mean(p == wanted.p_value)),
        "equal_flags": float(np.mean(flags == (wanted.p_value <= 0.05))),
        "largest_p_difference": float(np.abs(p - wanted.p_value).max()),
        "onnx_rows_per_second": len(scores) / seconds["onnx"],
        "torch_rows_per_second": len(scores) / seconds["torch"],
        "megabytes": len(data) / 1e6,
        "runtime": onnxruntime.__version__,
    }


def timed(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def relative(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences relative to the larger size."""
    size = np.maximum(np.maximum(np.abs(found), np.abs(wanted)), 1e-300)
    return np.asarray(np.abs(found - wanted) / size)


def session_of(data: bytes) -> Any:
    """A session of one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def feeds(session: Any, table: Any) -> dict[str, NDArray[Any]]:
    """The inputs of a graph from a table, as the graph's metadata say that they are written."""
    inputs = json.loads(session.get_modelmeta().custom_metadata_map["upland.inputs"])
    if isinstance(table, np.ndarray):
        return {one["name"]: table[:, int(one["column"][1:])].astype(np.float64) for one in inputs}
    return {one["name"]: cells(one, table[one["column"]]) for one in inputs}


def cells(one: Mapping[str, str], values: Any) -> NDArray[Any]:
    """A column of a pandas frame as one input."""
    import pandas as pd

    missing = values.isna().to_numpy()
    if one["type"] == "string":
        texts = values.astype(object).map(str, na_action="ignore").to_numpy(dtype=object)
        return np.where(missing, one["missing"], texts)
    if one["type"] == "int64":
        return values.astype("Int64").fillna(int(one["missing"])).to_numpy(dtype=np.int64)
    if one["kind"] in ("date", "duration"):
        start = (
            pd.Timestamp(0, tz=getattr(values.dt, "tz", None)) if one["kind"] == "date" else pd.Timedelta(0)
        )
        return ((values - start) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    return values.astype(object).where(~values.isna(), np.nan).to_numpy(dtype=np.float64)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all sets: the largest difference, equal p-values and flags, and rows per second as a ratio."""
    ratio = [row["onnx_rows_per_second"] / row["torch_rows_per_second"] for row in rows]
    equal = np.array([row["equal_p_values"] for row in rows])
    counts = np.array([row["rows"] for row in rows])
    return {
        "sets": len(rows),
        "rows": int(counts.sum()),
        "largest_difference": max(row["largest_difference"] for row in rows),
        "sets_with_all_p_values_equal": int((equal == 1).sum()),
        "least_equal_p_values": float(equal.min()),
        "equal_p_values": float(equal @ counts / counts.sum()),
        "least_equal_flags": min(row["equal_flags"] for row in rows),
        "median_ratio": float(np.median(ratio)),
    }


if __name__ == "__main__":
    raise SystemExit(main())
