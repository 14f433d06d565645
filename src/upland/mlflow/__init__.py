"""The MLflow flavour: models of upland in a registry, by the extra `mlflow`.

What is stored is the model file that `upland.save` writes, byte by byte, with its digest in `MLmodel`;
nothing is pickled. `mlflow.pyfunc` and `mlflow.pyfunc.spark_udf` score with it as `upland.Scorer` does.

Reference: MLflow models, https://mlflow.org/docs/latest/ml/model/
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upland import __version__
from upland.io.extras import needed
from upland.io.locks import warnings_apart

if TYPE_CHECKING:
    from upland.detectors.base import Detector

FLAVOR_NAME = "upland"
FILE = "model.safetensors"
"""The model file in the folder `data` of an MLflow model."""


def get_default_pip_requirements() -> list[str]:
    """What a model that is loaded elsewhere needs, where nothing else is asked for."""
    return [f"upland[mlflow]=={__version__}"]


def save_model(
    detector: Detector | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    signature: Any = None,
    input_example: Any = None,
    mlflow_model: Any = None,
    **options: Any,
) -> None:
    """Write a folder with an MLflow model: the model file, `MLmodel`, requirements and an example.

    Args:
        detector: a fitted detector, or the path of a model file.
        path: the folder to make.
        signature: of the inputs, the outputs and the parameters `alpha` and `explain`; by default that of the
            model's own columns. False for none, so that MLflow passes on all that it is given.
        input_example: rows to show; by default one made of what the model file says of its columns: means and
            the most frequent levels. It is no row of the data.
        mlflow_model: what `log_model` adds to.
        options: of `mlflow.pyfunc.save_model`, such as `pip_requirements`, `metadata`.

    Raises:
        ImportError: MLflow is not installed.
        TensorFileError: the file is no model file.
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        mlflow.exceptions.MlflowException: the folder exists and is not empty.
    """
    pyfunc = _mlflow("mlflow.pyfunc")
    from upland.mlflow.signature import example_of, signature_of
    from upland.persistence import load, save

    model = _mlflow("mlflow.models").Model() if mlflow_model is None else mlflow_model
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        if isinstance(detector, str | os.PathLike):
            fitted = load(Path(detector))
            file.write_bytes(Path(detector).read_bytes())
        else:
            fitted = detector
            save(detector, file)
        model.add_flavor(
            FLAVOR_NAME,
            data=f"data/{FILE}",
            sha256=_digest(file),
            upland_version=__version__,
            detector=type(fitted).__name__,
            modality=fitted.modality,
        )
        given: dict[str, Any] = {"pip_requirements": get_default_pip_requirements()}
        if "conda_env" in options:
            given.clear()
        pyfunc.save_model(
            str(path),
            loader_module=__name__,
            data_path=str(file),
            mlflow_model=model,
            signature=signature_of(fitted) if signature is None else signature,
            input_example=_example(example_of(fitted), input_example),
            **given | options,
        )


def _example(made: Any, given: Any) -> Any:
    """The example that MLflow is given: of the schema, of the user, or none where that is False."""
    if given is None:
        return made
    return None if given is False else given


def log_model(
    detector: Detector | str | os.PathLike[str],
    name: str = "model",
    *,
    registered_model_name: str | None = None,
    **options: Any,
) -> Any:
    """Log a model to the tracking server and, with a name, to its registry; what MLflow knows of it.

    Args:
        detector: a fitted detector, or the path of a model file.
        name: of the logged model.
        registered_model_name: of the entry in the registry; None for no entry.
        options: of `save_model` and of `mlflow.models.Model.log`, such as `signature`, `tags`.

    Raises:
        ImportError: MLflow is not installed.
        TensorFileError: the file is no model file.
        sklearn.exceptions.NotFittedError: the detector is not fitted.
    """
    return _mlflow("mlflow.models").Model.log(
        artifact_path=None,
        flavor=sys.modules[__name__],
        name=name,
        registered_model_name=registered_model_name,
        detector=detector,
        **options,
    )


def load_model(model_uri: str, dst_path: str | None = None) -> Detector:
    """The fitted detector of a logged model; its scores are those of the one that was logged.

    Args:
        model_uri: as MLflow has it: `models:/pumps/3`, `runs:/ID/model`, a folder.
        dst_path: a folder to download to; by default a temporary one.

    Raises:
        ImportError: MLflow is not installed.
        ValueError: it is no model of upland, or its file is not the one that was logged.
    """
    folder = Path(_mlflow("mlflow.artifacts").download_artifacts(artifact_uri=model_uri, dst_path=dst_path))
    flavors = _mlflow("mlflow.models").Model.load(str(folder)).flavors
    if FLAVOR_NAME not in flavors:
        raise ValueError(
            f"{model_uri} is no model of upland, but of {', '.join(sorted(flavors)) or 'nothing'}"
        )
    file = folder / "data" / FILE
    if _digest(file) != flavors[FLAVOR_NAME].get("sha256"):
        raise ValueError(
            f"{model_uri}: its model file is not the one that was logged, by the digest in MLmodel"
        )
    from upland.persistence import load

    return load(file)


def _load_pyfunc(path: str) -> Any:
    """What `mlflow.pyfunc.load_model` calls."""
    from upland.mlflow.scored import PyfuncModel

    return PyfuncModel(path)


def _mlflow(module: str) -> Any:
    with warnings_apart():
        warnings.simplefilter("ignore")  # what MLflow says of its own code when it is imported
        return needed(module, "MLflow models need MLflow", "mlflow")


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
