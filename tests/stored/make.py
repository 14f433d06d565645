"""Write a small file of each estimator, with rows and what the detector says of them.

    PYTHONPATH=src:tests python tests/stored/make.py

Files that are there already stay as they are: they must load in every later version.
"""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

import upland
from estimators import EXAMPLES, series
from upland.criteria.whole import convolutions
from upland.detectors.ensemble import offered_criteria
from upland.io.modelfile import FORMAT

FEW = 50
"""Random kernels of a file of whole sequences, a tenth of the usual: their number is read from the file."""

FOLDER = Path(__file__).parent / f"format-{FORMAT}"


def to_plain(data):
    """A frame or an array as JSON; `test_stored.py` reads it back."""
    return data.to_dict("list") if isinstance(data, pd.DataFrame) else data.tolist()


def answers(detector, new):
    """Scores by every criterion, shares, p-values, offset, statistics of two groups, as plain data."""
    found = {"p_values": detector.p_values(new).tolist(), "offset": detector.offset_, "scores": {}}
    found["shares"] = np.asarray(upland.explain(detector, new).shares).tolist()
    if detector.modality != "sequence":
        verdicts = detector.score_groups(new, np.arange(len(new)) % 2, reasons=False)
        found["groups"] = verdicts.statistic.tolist()
    model = detector.plan_.architecture.model_type
    for criterion in offered_criteria(detector.family, detector.modality, model).homes:
        detector.set_params(criterion=criterion)
        found["scores"][criterion] = detector.anomaly_score(new).tolist()
    detector.set_params(criterion="auto")
    return found


def one_channel(name, steps):
    """An example of sequences with one channel and short series, so that its file is small."""
    example = EXAMPLES[name]
    rows, new = (
        series(seed, steps=count)[["machine", "time", "wave"]] for seed, count in ((0, steps), (1, 30))
    )
    return example._replace(params=example.params | {"categorical": []}, rows=rows, new=new)


def examples():
    """Those of every estimator, and one that is newer than the file of its estimator: series that are long
    enough for most experts of steps.
    """
    return EXAMPLES | {
        "SequenceFlowDetector": one_channel("SequenceFlowDetector", 120),
        "SequenceEnergyDetector of experts": one_channel("SequenceEnergyDetector", 60),
    }


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, example in examples().items():
        path = FOLDER / f"{name.replace(' ', '-')}.safetensors"
        if path.exists():
            continue
        with mock.patch.object(convolutions, "KERNELS", FEW):
            detector = example.fit(calibration="cross" if name == "VAEDetector" else "split")
        upland.save(detector, path, overwrite=False)
        record = {"rows": to_plain(example.new), **answers(detector, example.new)}
        path.with_suffix(".json").write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
