"""A fitted detector in one `.safetensors` file, and back: nothing is ever unpickled.

Tensors: each member's weights, large vocabularies, reference rows and what criteria have learned, the
calibration scores. Manifest: the detector's name and constructor arguments, the plan of the fit, the members'
schemas, noise and training summary, versions. A digest over all of it guards against corruption
(`upland.io.modelfile`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upland import __version__
from upland.calibration.conformal import Calibration
from upland.catalogue import DETECTORS, criteria_of
from upland.catalogue import load as load_entry
from upland.criteria.base import Criterion
from upland.criteria.sequence import SequenceCriterion
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.arguments import check_live, plain_argument
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.detectors.plan import FitPlan, architecture_of
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors
from upland.models.recurrent import RecurrentEnergy
from upland.training.loop import History

ENCODERS: dict[str, type[Encoder]] = {
    "table": TableEncoder,
    "sequence": SequenceEncoder,
    "image": ImageEncoder,
}
_KEPT = ("standard", "training_rows", "held_out")


def save(detector: Detector, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a fitted detector to one file, whole or not at all.

    Arguments that decided the fit are written as they were then, whatever `set_params` has said since.

    Args:
        detector: what `fit` returned.
        path: the file, by custom `*.safetensors`.
        overwrite: whether an existing file may be replaced.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        TypeError: the detector is of a class of your own, which `load` could not find.
        FileExistsError: the file exists and may not be replaced.
        OSError: the file cannot be written.
        ValueError: an argument that may change after a fit is not as it must be.

    Examples:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
    """
    if type(detector).__name__ not in _homes():
        raise TypeError(
            f"{type(detector).__name__} is a class of your own, which a file cannot hold: "
            "save an estimator of upland"
        )
    info = detector.info()
    check_live(detector.get_params(deep=False))
    tensors: dict[str, Any] = {}
    members = []
    for number, member in enumerate(detector.members_):
        record, found = _to_state(member)
        members.append(record)
        tensors |= {f"{number}/{name}": value for name, value in found.items()}
    for unit, calibration in detector.calibrations_.items():
        tensors[f"calibration/{unit}/scores"] = calibration.scores
        if calibration.folds is not None:
            tensors[f"calibration/{unit}/folds"] = calibration.folds
    manifest = {
        "content": "detector",
        "detector": type(detector).__name__,
        "arguments": _plain_arguments(detector),
        "plan": detector.plan_.to_json(),
        "calibrated": sorted(detector.calibrations_),
        "members": members,
        "offset": detector.offset_,
        "rows": detector.n_samples_fit_,
        "tensors": _shapes(tensors),
        "versions": info["versions"],
    }
    write_tensors(path, tensors, manifest, overwrite)


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Type and shape of each tensor."""
    return {name: [tensor.dtype.name, list(tensor.shape)] for name, tensor in tensors.items()}


def _to_state(member: Member) -> tuple[dict[str, Any], dict[str, Any]]:
    """A member as plain data, and its tensors by name."""
    schema, vocabularies = member.encoder.to_state()
    tensors = {f"encoder/{name}": value for name, value in vocabularies.items()}
    tensors |= {f"model/{name}": _array(value) for name, value in member.model.state_dict().items()}
    kept = {"standard": member.standard, "training_rows": member.training_rows, "held_out": member.held_out}
    tensors |= {f"rows/{name}": _array(rows) for name, rows in kept.items() if rows is not None}
    criteria = []
    for (name, unit), criterion in member.criteria.items():
        if isinstance(criterion, SequenceCriterion):  # others are fitted again on the reference rows
            criteria.append([name, unit])
            tensors |= {f"criteria/{name}/{unit}/{k}": _array(v) for k, v in criterion.state().items()}
    record = {
        "encoder": schema,
        "architecture": member.architecture.to_json(),
        "sigma": member.sigma,
        "history": member.history.to_json(),
        "criteria": criteria,
    }
    return record, tensors


def _array(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


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

    Examples:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
        >>> bool((upland.load(path).anomaly_score(rows) == detector.anomaly_score(rows)).all())
        True
    """
    tensors, manifest = read_tensors(path)
    if manifest.get("content") != "detector":
        found = manifest.get("content", "nothing of upland's")
        raise TensorFileError(Path(path), "foreign", f"holds a {found}, not a detector")
    if manifest.get("tensors") != _shapes(tensors):
        raise TensorFileError(
            Path(path), "corrupted", "is corrupted: its tensors are not those that were saved"
        )
    try:
        return _restored(Path(path), tensors, manifest, model)
    except TensorFileError:
        raise
    except _Module as error:
        raise ValueError(f"{path} {error}") from error.__cause__
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        versions = manifest.get("versions")
        made_by = versions.get("upland") if isinstance(versions, dict) else "?"
        text = f"of upland {made_by} cannot be read by this upland {__version__}"
        raise TensorFileError(Path(path), "newer", f"{text}: {type(error).__name__}: {error}") from error


class _Module(Exception):
    """The module that the user gave, or did not give, is at fault, not the file."""


def _homes() -> dict[str, str]:
    """Where each estimator is written, by the name of its class."""
    return {entry.home.split(":")[1]: entry.home for entry in DETECTORS.values()}


def _restored(
    path: Path, tensors: Mapping[str, Any], manifest: Mapping[str, Any], model: nn.Module | None
) -> Detector:
    """The detector of a manifest and its tensors."""
    name, homes = manifest["detector"], _homes()
    if name not in homes:
        raise ValueError(f"there is no estimator {name}")
    own = manifest["members"][0]["architecture"]["name"].startswith("own ")
    if own and model is None:
        raise _Module("was fitted with a module of your own: give it as load(path, model=module)")
    if model is not None and not own:
        raise _Module("was fitted with upland's own model: leave model out")
    estimator: type[Detector] = load_entry(homes[name])
    arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in manifest["arguments"].items()}
    if unknown := sorted(arguments.keys() - estimator().get_params()):
        raise ValueError(f"unknown arguments {', '.join(unknown)}")
    detector = estimator(**arguments, model=model)
    plan = FitPlan.from_json(manifest["plan"], model)
    members = [
        _from_state(estimator, plan, record, _under(tensors, f"{number}/"), model)
        for number, record in enumerate(manifest["members"])
    ]
    units, offset = set(plan.reader.units), manifest["offset"]
    if not units == set(manifest["calibrated"]) == set(dict(plan.criteria)) or plan.unit not in units:
        raise ValueError("units of score are unknown or lacking")
    if not isinstance(offset, float):
        raise ValueError(f"the offset cannot be {offset!r}")
    calibrations: dict[Any, Calibration] = {
        unit: _calibration(tensors, unit) for unit in manifest["calibrated"]
    }
    detector.restore(plan, members, calibrations, offset, manifest["rows"])
    return detector


def _calibration(tensors: Mapping[str, Any], unit: str) -> Calibration:
    return Calibration(tensors[f"calibration/{unit}/scores"], tensors.get(f"calibration/{unit}/folds"))


def _from_state(
    estimator: type[Detector],
    plan: FitPlan,
    record: Mapping[str, Any],
    tensors: Mapping[str, Any],
    own: Any,
) -> Member:
    encoder = ENCODERS[estimator.modality].from_state(record["encoder"], _under(tensors, "encoder/"))
    architecture = architecture_of(record["architecture"], own)
    weights = {name: torch.from_numpy(value) for name, value in _under(tensors, "model/").items()}
    try:
        model = architecture.build(encoder)
        model.load_state_dict(weights)
    except Exception as error:  # the user's own code may raise anything
        if own is None:
            raise
        raise _Module(f"holds weights that the module given does not fit: {error}") from error
    model.eval()
    kept = {name: torch.from_numpy(rows) for name, rows in _under(tensors, "rows/").items() if name in _KEPT}
    criteria: dict[Any, Criterion[Any, Any]] = {}
    for name, unit in record["criteria"]:
        assert isinstance(model, RecurrentEnergy)
        made: SequenceCriterion = load_entry(criteria_of(estimator.family, estimator.modality)[name])(unit)
        state = {k: torch.from_numpy(v) for k, v in _under(tensors, f"criteria/{name}/{unit}/").items()}
        criteria[name, unit] = made.restore(model, record["sigma"], plan.smoothing or 1, state)
    history = History(**record["history"])
    return Member(encoder, model, record["sigma"], history, architecture, **kept, criteria=criteria)


def _under(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
