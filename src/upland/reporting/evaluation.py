"""What a model comes to on labelled data, for its card."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upland.data.table.encoder import TableEncoder
from upland.detectors.refining import anomalies_among
from upland.io.formats import open_source
from upland.io.locks import warnings_apart
from upland.reporting.card import Evaluation

if TYPE_CHECKING:
    from upland.detectors.base import Detector

_LARGEST = sys.float_info.max

FORM = '{"dataset": "pumps of May", "metrics": {"roc_auc": 0.98}}'
"""What a file of results holds."""


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation in a JSON file.

    Args:
        path: The file, as in `FORM`; `note` says how the numbers were measured.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not of that form; the message says what is.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply: it must hold {FORM}") from None
    except ValueError as error:  # also of a number of thousands of digits
        raise ValueError(f"{path} is no JSON ({error}): it must hold {FORM}") from None
    metrics = record.get("metrics") if isinstance(record, dict) else None
    if not isinstance(metrics, dict) or not metrics or not isinstance(record.get("dataset"), str):
        raise ValueError(f"{path} must hold {FORM}")
    for name, value in metrics.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"{path}: the metric {name!r} must be a finite number, not {repr(value)[:40]}")
    return Evaluation(record["dataset"], metrics, str(record.get("note", "")))


def evaluated(detector: Detector, path: Path, label: str, alpha: float | None = None) -> Evaluation:
    """The evaluation on a file of labelled rows.

    Args:
        detector: Fitted on a table.
        path: Rows that the fit has not seen.
        label: The column of labels: 1 for an anomaly, 0 for a normal row.
        alpha: The false-alarm rate of the flags; None is the model's own.

    Raises:
        ValueError: The model is of no table or uses the column; labels are missing or all the same.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    encoder = detector.encoder_
    if not isinstance(encoder, TableEncoder):
        raise ValueError("labelled data are for models of tables: give --evaluation with results of your own")
    if label in encoder.schema_.names:
        raise ValueError(f"column {label!r} is a feature of this model and no label")
    source = open_source(path, encoder.cells)
    if label not in source.names:
        raise ValueError(f"{path} has no column {label!r} of labels")
    column = source.read().column(list(source.names).index(label)).to_pylist()
    anomalous = anomalies_among(column, len(column))
    if anomalous.all():
        raise ValueError("every row is labelled an anomaly: label normal rows with 0")
    with warnings_apart():
        warnings.filterwarnings("ignore", message=".*columns that the fit did not see.*")
        scores, p_values = detector.assess(path)
    alpha = detector.alpha_ if alpha is None else alpha
    flags = p_values <= alpha
    metrics = {
        "roc_auc": float(roc_auc_score(anomalous, scores)),
        "average_precision": float(average_precision_score(anomalous, scores)),
        "false_alarm_rate": float(np.mean(flags[~anomalous])),
        "recall": float(np.mean(flags[anomalous])),
    }
    note = f"{len(column):,} rows, {int(anomalous.sum()):,} of them anomalies; "
    note += f"flags at a false-alarm rate of {alpha:g}."
    return Evaluation(path.name, metrics, note)
