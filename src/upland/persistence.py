"""A fitted detector in one `.safetensors` file, and back: nothing is ever unpickled.

Tensors: each member's weights, large vocabularies, reference rows and what criteria have learned, the
calibration scores. Manifest: the detector's name and constructor arguments, the plan of the fit, the members'
schemas, noise and training summary, versions. A digest over all of it guards against corruption
(`upland.io.modelfile`).
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
from upland.catalogue import DETECTORS, criteria_of
from upland.catalogue import load as load_entry
from upland.criteria.base import Criterion
from upland.criteria.sequence import SequenceCriterion
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.arguments import plain_argument
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

    Examples:
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
        "versions": info["versions"],
    }
    write_tensors(path, tensors, manifest, overwrite)


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
    made_by = manifest["versions"]["upland"]
    homes = {entry.home.split(":")[1]: entry.home for entry in DETECTORS.values()}
    if manifest["detector"] not in homes:
        name = manifest["detector"]
        text = f"holds a {name} of upland {made_by}, which this upland {__version__} does not know"
        raise TensorFileError(Path(path), "newer", text)
    own = manifest["members"][0]["architecture"]["name"].startswith("own ")
    if own and model is None:
        raise ValueError(f"{path} was fitted with a module of your own: give it as load(path, model=module)")
    if model is not None and not own:
        raise ValueError(f"{path} was fitted with upland's own model: leave model out")
    estimator: type[Detector] = load_entry(homes[manifest["detector"]])
    arguments = {name: tuple(v) if isinstance(v, list) else v for name, v in manifest["arguments"].items()}
    if unknown := sorted(arguments.keys() - estimator().get_params()):
        text = f"has arguments that this upland {__version__} does not know: {', '.join(unknown)}"
        raise TensorFileError(Path(path), "newer", text)
    detector = estimator(**arguments, model=model)
    try:
        plan = FitPlan.from_json(manifest["plan"], model)
    except (ValueError, TypeError, KeyError) as error:
        raise TensorFileError(
            Path(path), "newer", f"of upland {made_by} has another plan: {error}"
        ) from error
    members = [
        _from_state(estimator, plan, record, _under(tensors, f"{number}/"), path, model)
        for number, record in enumerate(manifest["members"])
    ]
    calibrations: dict[Any, Calibration] = {
        unit: _calibration(tensors, unit) for unit in manifest["calibrated"]
    }
    detector.restore(plan, members, calibrations, manifest["offset"], manifest["rows"])
    return detector


def _calibration(tensors: Mapping[str, Any], unit: str) -> Calibration:
    return Calibration(tensors[f"calibration/{unit}/scores"], tensors.get(f"calibration/{unit}/folds"))


def _from_state(
    estimator: type[Detector],
    plan: FitPlan,
    record: Mapping[str, Any],
    tensors: Mapping[str, Any],
    path: str | Path,
    own: Any,
) -> Member:
    encoder = ENCODERS[estimator.modality].from_state(record["encoder"], _under(tensors, "encoder/"))
    architecture = architecture_of(record["architecture"], own)
    model = architecture.build(encoder)
    weights = {name: torch.from_numpy(value) for name, value in _under(tensors, "model/").items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the module does not fit the weights in {path}: {error}") from None
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
