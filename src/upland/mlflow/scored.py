"""What `mlflow.pyfunc` predicts with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from upland.io.extras import needed
from upland.scoring.columns import ADDED
from upland.scoring.images import IMAGE
from upland.scoring.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd

EXPLAIN = 0
"""How many reasons `predict` gives where nothing is said."""


class PyfuncModel:
    """A model file behind `mlflow.pyfunc`.

    Args:
        path: The model file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._scorer = Scorer(path, explain=EXPLAIN)

    def predict(
        self, data: pd.DataFrame | np.ndarray[Any, Any], params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The rows with the columns of `upland score` behind, as a pandas frame; of an array of images or
        sequences these columns alone.

        Args:
            data: A frame as the signature has it, or an array of images or sequences.
            params: `alpha`, the false-alarm rate of the flags, by default the model's own; `explain`, how
                many reasons are given.
        """
        given = params or {}
        scorer = self._scorer
        alpha, explain = float(given.get("alpha", scorer.alpha)), int(given.get("explain", EXPLAIN))
        if (alpha, explain) != (scorer.alpha, EXPLAIN):
            scorer = Scorer(self._path, alpha, explain)
        modality = scorer.detector.modality
        pandas = needed("pandas", "MLflow models need pandas", "mlflow")
        if modality == "table" or not isinstance(data, np.ndarray):
            found: pd.DataFrame = scorer(pandas.DataFrame(data) if isinstance(data, np.ndarray) else data)
            return found
        columns = scorer({IMAGE if modality == "image" else "sequence": data})
        found = pandas.DataFrame({name: columns[name] for name in ADDED if name in columns})
        return found
