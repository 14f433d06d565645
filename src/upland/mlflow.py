"""The MLflow flavour: models of upland in a registry, by the extra `mlflow`.

A logged model holds upland's own model file and nothing that is unpickled. It comes with the flavour
`upland`, which gives the detector back, and with `python_function`, which scores: its `predict` takes a frame
or an array and returns a frame with the columns of `upland score`.

Source: MLflow, "Custom flavors", https://mlflow.org/docs/latest/ml/traditional-ml/tutorials/custom-pyfunc
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upland import __version__
from upland.catalogue import Modality
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.segmented import SegmentedDetector
from upland.io.extras import needed
from upland.persistence import load, save
from upland.scoring.columns import ADDED
from upland.scoring.scorer import IMAGE, Scorer

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.io.schema import Column

__all__ = ["load_model", "log_model", "save_model"]

FILE = "model.safetensors"
EXAMPLE = "input_example.json"
ALPHA = 0.05


def save_model(
    model: Any,
    path: str | Path,
    mlflow_model: Any = None,
    metadata: Mapping[str, Any] | None = None,
    pip_requirements: list[str] | None = None,
) -> None:
    """Write an MLflow model into a folder.

    Its signature and its input example are made of the schema in the model file: of each column the centre or
    the most frequent level. No row of anybody's data is in them.

    Args:
        model: a fitted detector, or the path of a model file.
        path: the folder, which must not exist or be empty.
        mlflow_model: MLflow's description, which `log_model` gives.
        metadata: what else the description says.
        pip_requirements: what the model needs; upland of this version with `mlflow`, if left out.

    Raises:
        ImportError: MLflow is not installed; the message says what to install.
        FileExistsError: the folder holds files.
        TensorFileError: the file is no model file.
    """
    mlflow = _mlflow()
    from mlflow.models.model import MLMODEL_FILE_NAME

    folder = Path(path)
    if isinstance(model, str | Path):
        load(model)  # refused before anything is written
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds files already: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, str | Path):
        shutil.copyfile(model, folder / FILE)
    else:
        save(model, folder / FILE)
    scorer = Scorer(folder / FILE)
    detector = scorer.detector
    described = mlflow.models.Model() if mlflow_model is None else mlflow_model
    described.signature = _signature(detector)
    described.metadata = dict(metadata) if metadata else described.metadata
    described.saved_input_example_info = _write_example(detector, folder)
    described.add_flavor(
        "upland",
        upland_version=__version__,
        data=FILE,
        sha256=scorer.digest,
        detector=type(detector).__name__,
        modality=detector.modality,
    )
    mlflow.pyfunc.add_to_model(
        described, loader_module="upland.mlflow", data=FILE, python_env="python_env.yaml"
    )
    _write_environment(folder, pip_requirements or [f"upland[mlflow]=={__version__}"])
    described.save(str(folder / MLMODEL_FILE_NAME))


def log_model(model: Any, name: str = "model", **options: Any) -> Any:
    """Log a fitted detector, or a model file, to the active run.

    Args:
        model: a fitted detector, or the path of a model file.
        name: of the logged model.
        options: of `mlflow.models.Model.log`, such as `registered_model_name`, and of `save_model`.

    Returns:
        MLflow's `ModelInfo`; its `model_uri` is what `load_model` takes.

    Raises:
        ImportError: MLflow is not installed; the message says what to install.
    """
    import upland.mlflow as flavour

    return _mlflow().models.Model.log(artifact_path=None, name=name, flavor=flavour, model=model, **options)


def load_model(model_uri: str) -> Detector:
    """The detector of a logged or saved model.

    Args:
        model_uri: as `models:/NAME/1`, `runs:/RUN/NAME` or a folder.

    Raises:
        ImportError: MLflow is not installed; the message says what to install.
        ValueError: there is a model, but of another flavour.
    """
    mlflow = _mlflow()
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=str(model_uri)))
    flavours = mlflow.models.Model.load(str(folder)).flavors
    if "upland" not in flavours:
        raise ValueError(f"{model_uri} is a model of {', '.join(flavours) or 'no flavour'}, not of upland")
    return load(folder / flavours["upland"]["data"])


class _Predicts:
    """What MLflow calls: frames or arrays to frames with verdicts."""

    def __init__(self, path: Path) -> None:
        self.path, self.scorer = path, Scorer(path, ALPHA)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """A frame with the columns of `upland score`.

        Args:
            model_input: a frame; of images an array `(N, H, W)` or `(N, H, W, C)`; of a table or sequences
                whose columns have no names an array `(N, D)` or `(N, T, D)`.
            params: `alpha` and `explain`.
        """
        import pandas as pd

        given = dict(params or {})
        alpha, explain = float(given.get("alpha", ALPHA)), int(given.get("explain", 0))
        scorer = self.scorer if (alpha, explain) == (ALPHA, 0) else Scorer(self.path, alpha, explain)
        if not isinstance(model_input, np.ndarray):
            return scorer(model_input)
        found = scorer(_named(model_input, scorer.detector.modality))
        return pd.DataFrame({name: list(found[name]) for name in scorer.added})


def _named(array: Any, modality: Modality) -> dict[Any, Any]:
    """An array as the columns that a `Scorer` reads."""
    if modality == "image":
        return {IMAGE: array}
    if array.ndim == 3:
        return {"x": array}
    return {number: array[:, number] for number in range(array.shape[1])}


def _load_pyfunc(path: str) -> _Predicts:
    """What MLflow loads as a `python_function`."""
    return _Predicts(Path(path))


def _mlflow() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of type hints of its own
        for part in ("artifacts", "models", "pyfunc"):
            needed(f"mlflow.{part}", "The MLflow flavour needs MLflow", "mlflow")
    return needed("mlflow", "The MLflow flavour needs MLflow", "mlflow")


# -- signature and example -----------------------------------------------------------------------------------


def _signature(detector: Detector) -> Any:
    """MLflow's signature of a detector: columns or a tensor in, verdicts out, `alpha` and `explain`."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    outputs = Schema(
        [ColSpec(kind, name) for kind, name in zip(("double", "double", "boolean"), ADDED, strict=False)]
    )
    params = ParamSchema([ParamSpec("alpha", "double", ALPHA), ParamSpec("explain", "long", 0)])
    tensor = _tensor(detector)
    if tensor is not None:
        inputs = Schema([TensorSpec(*tensor)])
    else:
        inputs = Schema([ColSpec(_type(column), name) for name, column in _columns(detector).items()])
    return ModelSignature(inputs, outputs, params)


def _tensor(detector: Detector) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Type and shape of arrays of images, and of tables and sequences whose columns have no names."""
    encoder = detector.encoder_
    if isinstance(encoder, ImageEncoder):
        channels, height, width = encoder.shape
        return encoder.dtype, (-1, height, width, *([channels] if channels > 1 else []))
    if encoder.named or isinstance(detector, SegmentedDetector):
        return None
    steps = (-1,) if isinstance(encoder, SequenceEncoder) else ()
    return np.dtype(np.float64), (-1, *steps, len(encoder.inputs))


def _columns(detector: Detector) -> dict[str, Column | None]:
    """The columns of a detector's frames; None are those that name sequences, times or segments."""
    encoder = detector.encoder_
    own: list[Any] = []
    if isinstance(encoder, SequenceEncoder):
        own, table = [name for name in (encoder.id, encoder.time) if name is not None], encoder.table
    else:
        assert isinstance(encoder, TableEncoder)
        own, table = [detector.by_] if isinstance(detector, SegmentedDetector) else [], encoder
    columns = {column.name: column for column in table.schema_.columns}
    return dict.fromkeys(map(str, own)) | {
        str(name): columns[name] for name in encoder.inputs if name in columns
    }


def _type(column: Column | None) -> Any:
    """MLflow's type: of numbers and texts theirs; of anything else any, as missing cells change its type."""
    from mlflow.types.schema import AnyType

    if column is not None and column.kind == "numeric" and column.dtype == "floating":
        return "double"
    return "string" if column is not None and column.dtype == "string" else AnyType()  # type: ignore[no-untyped-call]


def _write_example(detector: Detector, folder: Path) -> dict[str, Any] | None:
    """An example of the input, of the schema alone, as MLflow reads it; None where values of no column can be
    told.
    """
    tensor = _tensor(detector)
    if tensor is not None:
        dtype, shape = tensor
        content: Any = np.zeros([max(size, 1) for size in shape], dtype=dtype).tolist()
        found = {"artifact_path": EXAMPLE, "type": "ndarray", "format": "tf-serving"}
    else:
        cells = {name: _typical(column) for name, column in _columns(detector).items()}
        if None in cells.values():
            return None
        content = {"columns": list(cells), "data": [list(cells.values())]}
        found = {"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"}
    (folder / EXAMPLE).write_text(json.dumps(content), "utf-8")
    return found


def _typical(column: Column | None) -> Any:
    """A value of the schema: the centre of numbers, the most frequent level."""
    if column is None:
        return None
    if column.kind == "numeric" and column.form is None:
        return float(column.center)
    if column.kind == "boolean":
        return True
    if column.levels and column.shares:
        return column.levels[int(np.argmax(column.shares[: len(column.levels)]))]
    return None


def _write_environment(folder: Path, requirements: list[str]) -> None:
    """What the model needs, in the files that MLflow reads."""
    import platform

    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements), "utf-8")
    lines = [f"python: {platform.python_version()}", "dependencies:", "- -r requirements.txt"]
    (folder / "python_env.yaml").write_text("\n".join(lines) + "\n", "utf-8")
