"""ONNX graphs of images and of sequences beside upland: how far scores differ, which p-values are equal.

Each detector is fitted on some data, exported, and scores these data and new ones. Nets are trained for a few
passes: what is compared is the graph with its detector. Columns are as in `benchmarks.onnx`; the largest
difference is in units of the larger of a score and the distance of the calibration's quartiles.

    images       digits of scikit-learn, 8 x 8; Fashion-MNIST, 28 x 28
    sequences    four sets of the UCR and UEA archives; digits' rows as one long series

    python -m benchmarks.onnx_modalities --data DIR
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.onnx import session_of, timed
from benchmarks.options import HERE, command, data_argument, parsed
from benchmarks.records import Records

KEYS = ("method", "set")
QUICK = {"most_sets": 1}
MOST = 1_000
"""Images that are fitted on, and scored."""

IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "image energy": ("ImageEnergyDetector", {}),
    "image energy, E": ("ImageEnergyDetector", {"criterion": "energy"}),
    "image energy, convolutions": ("ImageEnergyDetector", {"filters": (8, 16), "pool": "max"}),
    "image flow": ("ImageFlowDetector", {"criterion": "likelihood", "depth": 2}),
    "image flow, divergence": ("ImageFlowDetector", {"criterion": "divergence", "depth": 2}),
    "image vae": ("ImageVAEDetector", {}),
    "image vae, typicality": ("ImageVAEDetector", {"criterion": "typicality"}),
}
SEQUENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "score test": ("SequenceEnergyDetector", {"criterion": "score_test"}),
    "largest channel": ("SequenceEnergyDetector", {"criterion": "max_channel"}),
    "sequence reconstruction": ("SequenceEnergyDetector", {"criterion": "reconstruction"}),
}
"""Class and arguments by name."""


class Task(NamedTuple):
    """Normal data, data to score, and the inputs of a graph that they are."""

    normal: Any
    new: Any
    feeds: Mapping[str, NDArray[Any]]


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--most-sets", type=int, default=None, help="sets of each modality, at most")
    parser.set_defaults(output=HERE / "results" / "onnx_modalities.json")
    options = parsed(parser, argv, "onnx_modalities", QUICK, is_bundled=True)
    torch.set_num_threads(1)
    records = Records.open(options.output, KEYS)
    for methods, sets in ((IMAGES, images(options.data)), (SEQUENCES, sequences(options.data))):
        for name, read in list(sets)[: options.most_sets]:
            for method, (kind, params) in methods.items():
                if records.find(method=method, set=name) is None:
                    found = compared(kind, params, read())
                    records.add({"benchmark": "onnx_modalities", "method": method, "set": name, **found})
                    print(json.dumps(records.rows[-1]), flush=True)
    return 0


def images(data: Path) -> Iterator[tuple[str, Callable[[], Task]]]:
    """Sets of images, by name."""
    yield "digits", _digits
    if (data / "images" / "fashion_mnist.npz").is_file():
        yield "Fashion-MNIST", partial(_fashion, data)


def _digits() -> Task:
    pixels = (load_digits().images * 15).astype(np.uint8)
    return Task(pixels[:MOST], pixels[-MOST:], {"image": pixels[-MOST:]})


def _fashion(data: Path) -> Task:
    with np.load(data / "images" / "fashion_mnist.npz") as stored:
        normal, new = stored["x_train"][:MOST], stored["x_test"][:MOST]
    new = np.concatenate([normal[: MOST // 2], new[: MOST // 2]])
    return Task(normal, new, {"image": new})


def sequences(data: Path) -> Iterator[tuple[str, Callable[[], Task]]]:
    """Sets of sequences, by name."""
    yield "digits as a series", _series
    for name in ("ItalyPowerDemand", "GunPoint", "BasicMotions", "NATOPS"):
        if (data / "sequences" / f"{name}.npz").is_file():
            yield name, partial(_ucr, data, name)


def _series() -> Task:
    steps = load_digits().data.reshape(-1, 8)[:4_000]
    return Task(steps, steps, _columns(steps) | {"lengths": np.array([len(steps)])})


def _ucr(data: Path, name: str) -> Task:
    with np.load(data / "sequences" / f"{name}.npz") as stored:
        train, test = (np.asarray(stored[f"x_{part}"], dtype=np.float64) for part in ("train", "test"))
    train, test = (x[..., None] if x.ndim == 2 else x.transpose(0, 2, 1) for x in (train, test))
    new = np.concatenate([train, test])[:MOST]
    lengths = {"lengths": np.full(len(new), new.shape[1])}
    return Task(train, new, _columns(new.reshape(-1, new.shape[2])) | lengths)


def _columns(steps: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    return {f"x{position}": column for position, column in enumerate(steps.T)}


def compared(kind: str, params: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """How a graph and its detector agree, and how fast they are."""
    import upland
    from upland.export.onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = getattr(upland, kind)(**params, epochs=3, random_state=0, progress=False)
        detector = made.fit(task.normal)
        data = to_onnx(detector)
        session = session_of(data)
        seconds = timed(lambda: session.run(None, task.feeds)), timed(lambda: detector.assess(task.new))
        scores, p, flags = session.run(None, task.feeds)
        wanted = detector.assess(task.new)
    low, high = np.percentile(detector.calibration_.scores, [25, 75])
    size = np.maximum(np.abs(wanted.anomaly_score), high - low)
    return {
        "units": len(scores),
        "unit": detector.unit_,
        "calibration": detector.calibration_.size,
        "largest_difference": float((np.abs(scores - wanted.anomaly_score) / size).max()),
        "equal_p_values": float(np.mean(p == wanted.p_value)),
        "equal_flags": float(np.mean(flags == (wanted.p_value <= 0.05))),
        "onnx_per_second": len(scores) / seconds[0],
        "torch_per_second": len(scores) / seconds[1],
        "megabytes": len(data) / 1e6,
    }


if __name__ == "__main__":
    raise SystemExit(main())
