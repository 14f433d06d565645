"""A fitted detector in one `.safetensors` file, and back: nothing is ever unpickled.

Tensors: each member's weights and large vocabularies, the calibration scores. Manifest: the detector's name
and constructor arguments, the members' schemas, noise and training summary, versions. A digest over all of
it guards against corruption (`upland.io.modelfile`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upland import __version__
from upland.calibration.conformal import Calibration
from upland.criteria.score_test import Reference
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.arguments import plain_argument
from upland.detectors.base import Detector
from upland.detectors.energy import EnergyDetector
from upland.detectors.fitting import Member
from upland.detectors.latent import FlowDetector, VAEDetector
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors
from upland.training.loop import History

DETECTORS: dict[str, type[Detector]] = {
    detector.__name__: detector for detector in (EnergyDetector, FlowDetector, VAEDetector)
}
ENCODERS: dict[str, type[Encoder]] = {
    "table": TableEncoder,
    "sequence": SequenceEncoder,
    "image": ImageEncoder,
}
_SETTLED = ("frame_", "window_", "smoothing_", "nets_")
_TUPLES = ("hidden", "categorical", "ignore", "filters", "size")


def save(detector: Detector, path: str | Path, overwrite: bool = True) -> None:
    """Write a fitted detector to one file, whole or not at all.

    Arguments that decided the fit are written as they were then, whatever `set_params` has said since.

    Args:
        detector: what `fit` returned.
        path: the file, by custom `*.safetensors`.
        overwrite: whether an existing file may be replaced.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        FileExistsError: the file exists and may not be replaced.
        OSError: the file cannot be written.

    Example:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
    """
    tensors: dict[str, Any] = {}
    members = []
    info = detector.info()
    for number, member in enumerate(detector.members_):
        schema, vocabularies = member.encoder.to_state()
        tensors |= {f"{number}/encoder/{name}": value for name, value in vocabularies.items()}
        tensors |= {
            f"{number}/model/{k}": v.detach().cpu().numpy() for k, v in member.model.state_dict().items()
        }
        for name, reference in member.references.items():
            tensors[f"{number}/reference/{name}/center"] = reference.center.numpy()
            tensors[f"{number}/reference/{name}/whitening"] = reference.whitening.numpy()
        tensors |= {f"{number}/kept/{name}": rows.numpy() for name, rows in _kept(member).items()}
        members.append(
            {
                "encoder": schema,
                "sigma": member.sigma,
                "history": member.history.to_json(),
                "references": {name: known.unit for name, known in member.references.items()},
            }
        )
    for unit, known in detector.calibrations_.items():
        tensors[f"calibration/{unit}/scores"] = known.scores
        if known.folds is not None:
            tensors[f"calibration/{unit}/folds"] = known.folds
    manifest = {
        "kind": "detector",
        "detector": type(detector).__name__,
        "arguments": _plain_arguments(detector),
        "own_module": detector.fitted_params().get("model") is not None,
        "data": detector.kind_,
        "settled": {name: vars(detector)[name] for name in _SETTLED if name in vars(detector)},
        "unit": detector.unit_,
        "calibrated": sorted(detector.calibrations_),
        "members": members,
        "offset": detector.offset_,
        "rows": detector.n_samples_fit_,
        "versions": info["versions"],
    }
    write_tensors(path, tensors, manifest, overwrite)


def _kept(member: Member) -> dict[str, Tensor]:
    """The rows that a member keeps, by name."""
    kept = {"standard": member.standard, "seen": member.seen, "reserve": member.reserve}
    return {name: rows for name, rows in kept.items() if rows is not None}


def _plain_arguments(detector: Detector) -> dict[str, Any]:
    arguments = {name: value for name, value in detector.fitted_params().items() if name != "model"}
    seed = arguments["random_state"]
    arguments["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    return {name: plain_argument(value) for name, value in arguments.items()}


def load(path: str | Path, model: nn.Module | None = None) -> Detector:
    """Read a detector that `save` wrote; its scores are bit-equal to those of the one that was saved.

    Args:
        path: the file.
        model: the module, or the function that makes one, of a detector that was fitted with a module of
            your own; the file holds its weights, not its code.

    Raises:
        FileNotFoundError: there is no such file.
        TensorFileError: the file is truncated, corrupted, foreign or of a newer format; the message says
            which.
        ValueError: the file needs a module of your own, or the module given does not fit its weights.

    Example:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
        >>> bool((upland.load(path).anomaly_score(rows) == detector.anomaly_score(rows)).all())
        True
    """
    tensors, manifest = read_tensors(path)
    if manifest.get("kind") != "detector":
        raise TensorFileError(
            Path(path), "foreign", f"holds a {manifest.get('kind', 'nothing known')}, not a detector"
        )
    name = manifest["detector"]
    if name not in DETECTORS:
        made_by = manifest["versions"]["upland"]
        raise TensorFileError(
            Path(path),
            "newer",
            f"holds a {name} of upland {made_by}, which this upland {__version__} does not know",
        )
    if manifest["own_module"] and model is None:
        raise ValueError(f"{path} was fitted with a module of your own: give it as load(path, model=module)")
    if model is not None and not manifest["own_module"]:
        raise ValueError(f"{path} was fitted with upland's own model: leave model out")
    arguments: dict[str, Any] = {
        k: tuple(v) if k in _TUPLES and isinstance(v, list) else v for k, v in manifest["arguments"].items()
    }
    if name == EnergyDetector.__name__ and "members" not in arguments:
        arguments |= _of_one_scale(manifest)
    if unknown := sorted(arguments.keys() - DETECTORS[name]().get_params()):
        raise TensorFileError(
            Path(path),
            "newer",
            f"has arguments that this upland {__version__} does not know: {', '.join(unknown)}",
        )
    detector = DETECTORS[name](**arguments, model=model)
    for name, value in manifest["settled"].items():
        setattr(detector, name, value)
    detector.restore(
        manifest["data"],
        manifest["unit"],
        [
            _member(detector, ENCODERS[manifest["data"]], k, record, tensors, path)
            for k, record in enumerate(manifest["members"])
        ],
        {unit: _calibration(tensors, unit) for unit in manifest["calibrated"]},
        manifest["offset"],
        manifest["rows"],
    )
    return detector


def _of_one_scale(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the arguments of a file from before the multi-scale energy stand for."""
    if manifest["data"] != "table" or manifest["own_module"]:
        return {}
    return {"noise": manifest["members"][0]["sigma"], "prior": "centre", "members": 1}


def _calibration(tensors: Mapping[str, Any], unit: str) -> Calibration:
    return Calibration(tensors[f"calibration/{unit}/scores"], tensors.get(f"calibration/{unit}/folds"))


def _member(
    detector: Detector,
    kind: type[Encoder],
    number: int,
    record: Mapping[str, Any],
    tensors: Mapping[str, Any],
    path: str | Path,
) -> Member:
    encoder = kind.from_state(record["encoder"], _under(tensors, f"{number}/encoder/"))
    module = detector.build_model(encoder)
    weights = {name: torch.from_numpy(value) for name, value in _under(tensors, f"{number}/model/").items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the module does not fit the weights in {path}: {error}") from None
    references = {
        name: Reference(
            torch.from_numpy(tensors[f"{number}/reference/{name}/center"]),
            torch.from_numpy(tensors[f"{number}/reference/{name}/whitening"]),
            unit,
        )
        for name, unit in record["references"].items()
    }
    kept = {name: torch.from_numpy(rows) for name, rows in _under(tensors, f"{number}/kept/").items()}
    history = History(**record["history"])
    return Member(encoder, module.eval(), record["sigma"], history, references, **kept)


def _under(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
