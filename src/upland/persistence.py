"""A fitted detector in one `.safetensors` file, and back: nothing is ever unpickled.

Tensors: each member's weights, large vocabularies, reference rows and what criteria have learned, the
calibration scores. Manifest: the detector's name and constructor arguments, the plan of the fit, the members'
schemas, noise and training summary, the type and shape of every tensor, versions. A digest over all of it
guards against corruption (`upland.io.modelfile`). What was read must say all that the file says: where
`save` would not write the same again, `load` refuses the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from upland import __version__
from upland.calibration.conformal import Calibration
from upland.catalogue import DETECTORS, Unit, criteria_of
from upland.catalogue import load as load_entry
from upland.criteria.base import Criterion
from upland.criteria.sequence import SequenceCriterion
from upland.data.encoder import Encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.architectures import Architecture
from upland.detectors.arguments import check_live, plain_argument
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.detectors.plan import FitPlan, architecture_of
from upland.detectors.records import UnknownNameError, entry_of, object_in, read_record, typed
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors
from upland.models.base import EnergyModel
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
    name, estimator = type(detector).__name__, type(detector)
    if name not in _homes() or load_entry(_homes()[name]) is not estimator:
        raise ValueError(
            f"{name} is no estimator of upland's own, and load could not find it again: "
            "keep what it adds elsewhere, and save one of upland's"
        )
    check_live(detector.get_params(deep=False))
    versions = detector.info()["versions"]
    tensors, manifest = _to_file(detector)
    write_tensors(path, tensors, manifest | {"versions": versions}, overwrite)


def _homes() -> dict[str, str]:
    """Where each estimator is loaded from, by its class's name."""
    return {entry.home.split(":")[1]: entry.home for entry in DETECTORS.values()}


def _to_file(detector: Detector) -> tuple[dict[str, Any], dict[str, Any]]:
    """All tensors by name, and the manifest without versions."""
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
        "criterion": detector.criterion_,
        "calibrated": {unit: calibration.method for unit, calibration in detector.calibrations_.items()},
        "n_members": len(members),
        "members": members,
        "offset": detector.offset_,
        "rows": detector.n_samples_fit_,
        "tensors": _shapes(tensors),
    }
    return tensors, manifest


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
    with _refusing(path, manifest):
        if manifest.get("tensors") != _shapes(tensors):
            raise ValueError("its tensors are not those that were saved")
        estimator: type[Detector] = load_entry(entry_of(_homes(), manifest["detector"], "estimator"))
        arguments = _arguments(estimator, manifest["arguments"])
        plan = FitPlan.from_json(manifest["plan"], model)
        _check_criteria(estimator, plan, manifest)
        parts = _parts(plan, manifest, tensors, model)
    own = plan.architecture.own
    if own and model is None:
        raise ValueError(f"{path} was fitted with a module of your own: give it as load(path, model=module)")
    if model is not None and not own:
        raise ValueError(f"{path} was fitted with upland's own model: leave model out")
    if own:
        models = [_model(*part, path) for part in parts]
    with _refusing(path, manifest):
        if not own:
            models = [_model(*part, path) for part in parts]
        members = [
            _member(estimator, plan, record, encoder, architecture, made, _under(tensors, f"{number}/"))
            for number, (record, (encoder, architecture, _), made) in enumerate(
                zip(manifest["members"], parts, models, strict=True)
            )
        ]
        detector = estimator(**arguments, model=model)
        calibrations = _calibrations(plan, manifest, tensors)
        detector.restore(plan, members, calibrations, *_numbers(manifest))
        _check_whole(detector, manifest)
    return detector


@contextmanager
def _refusing(path: str | Path, manifest: Mapping[str, Any]) -> Iterator[None]:
    """Any error of what a file says as a `TensorFileError` with the path."""
    try:
        yield
    except UnknownNameError as error:
        versions = manifest.get("versions")
        made_by = versions.get("upland") if isinstance(versions, Mapping) else None
        text = f"is of upland {made_by}, and not known to this upland {__version__}: {error}"
        raise TensorFileError(Path(path), "newer", text) from error
    except (
        *(ArithmeticError, AssertionError, AttributeError, LookupError),
        *(MemoryError, RuntimeError, TypeError, ValueError),
    ) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise TensorFileError(Path(path), "corrupted", f"is corrupted: {what}") from error


def _arguments(estimator: type[Detector], record: Any) -> dict[str, Any]:
    """The constructor's arguments, in the types of its signature; the model is none of them."""
    plain = object_in(record, "arguments")
    hints = {
        n: hint for n, hint in get_type_hints(estimator.__init__).items() if n not in ("model", "return")
    }
    if unknown := sorted(plain.keys() - hints.keys()):
        raise UnknownNameError(f"there is no argument {', '.join(unknown)}")
    return typed(plain, hints, "arguments")


def _check_criteria(estimator: type[Detector], plan: FitPlan, manifest: Mapping[str, Any]) -> None:
    """Refuse criteria that are not there; raises UnknownNameError, ValueError."""
    known = {"auto": "", **criteria_of(estimator.family, estimator.modality)}
    named = [name for _, name in plan.criteria] + [manifest["arguments"].get("criterion") or "auto"]
    for name in named + [name for member in manifest["members"] for name, _ in member["criteria"]]:
        entry_of(known, name, "criterion")


def _parts(
    plan: FitPlan, manifest: Mapping[str, Any], tensors: Mapping[str, Any], own: Any
) -> list[tuple[Encoder, Architecture, dict[str, Tensor]]]:
    """Encoder, architecture and weights of each member."""
    records = manifest["members"]
    if len(records) != manifest["n_members"] or not records:
        raise ValueError(f"it holds {len(records)} of {manifest['n_members']} members")
    reader, parts = plan.to_json()["reader"], []
    for number, record in enumerate(records):
        of_member = _under(tensors, f"{number}/")
        state = object_in(record["encoder"], "encoder")
        for part in (state, state.get("table", {})):
            if other := [name for name in part.keys() & reader.keys() if part[name] != reader[name]]:
                raise ValueError(f"the encoder has another {other[0]} than the plan")
        encoder = ENCODERS[plan.reader.modality].from_state(state, _under(of_member, "encoder/"))
        architecture = architecture_of(record["architecture"], own)
        sizes, planned = architecture.to_json(), plan.architecture.to_json()
        if any(sizes.get(name) != size for name, size in planned.items() if size is not None):
            raise ValueError("the model of a member is not that of the plan")
        if None in sizes.values():
            raise ValueError("the model of a member lacks a size")
        weights = {name: torch.from_numpy(value) for name, value in _under(of_member, "model/").items()}
        parts.append((encoder, architecture, weights))
    return parts


def _model(
    encoder: Encoder, architecture: Architecture, weights: Mapping[str, Tensor], path: str | Path
) -> EnergyModel:
    """The model with its weights; raises ValueError where they do not fit."""
    model = architecture.build(encoder)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the module does not fit the weights in {path}: {error}") from None
    for name, value in model.state_dict().items():
        if value.dtype != weights[name].dtype:
            raise ValueError(
                f"the module does not fit the weights in {path}: {name} is {value.dtype}, "
                f"and {weights[name].dtype} there"
            )
    return model.eval()


def _member(
    estimator: type[Detector],
    plan: FitPlan,
    record: Mapping[str, Any],
    encoder: Encoder,
    architecture: Architecture,
    model: EnergyModel,
    tensors: Mapping[str, Any],
) -> Member:
    sigma = record["sigma"]
    if not isinstance(sigma, float) or not 0 < sigma < math.inf:
        raise ValueError(f"the noise of a member cannot be {sigma!r}")
    kept = {name: torch.from_numpy(rows) for name, rows in _under(tensors, "rows/").items() if name in _KEPT}
    if any(rows.shape[1:] != encoder.shape for rows in kept.values()):
        raise ValueError("reference rows of another shape")
    pairs = [(name, unit) for name, unit in record["criteria"]]
    units = plan.reader.units if isinstance(model, RecurrentEnergy) else ()
    names = [*dict.fromkeys(name for name, _ in pairs), *(name for _, name in plan.criteria if units)]
    if {*pairs} != {(name, unit) for name in names for unit in units}:
        raise ValueError("criteria of a member are lacking, or have no place there")
    homes = criteria_of(estimator.family, estimator.modality)
    criteria: dict[tuple[str, Unit], Criterion[Any, Any]] = {}
    for name, unit in pairs:
        assert isinstance(model, RecurrentEnergy)
        made: SequenceCriterion = load_entry(homes[name])(unit)
        state = {k: torch.from_numpy(v) for k, v in _under(tensors, f"criteria/{name}/{unit}/").items()}
        criteria[name, unit] = made.restore(model, sigma, plan.smoothing or 1, state)
    history = read_record(History, record["history"], "history")
    return Member(encoder, model, sigma, history, architecture, **kept, criteria=criteria)


def _calibrations(
    plan: FitPlan, manifest: Mapping[str, Any], tensors: Mapping[str, Any]
) -> dict[Unit, Calibration]:
    methods, members = object_in(manifest["calibrated"], "calibrations"), manifest["n_members"]
    if methods.keys() != {*plan.reader.units} or (plan.calibration == "split" and members > 1):
        raise ValueError("its calibrations are not those of its units and members")
    found: dict[Unit, Calibration] = {}
    for unit in plan.reader.units:
        calibration = Calibration(
            tensors[f"calibration/{unit}/scores"], tensors.get(f"calibration/{unit}/folds")
        )
        folds = calibration.scores if calibration.folds is None else calibration.folds
        cross = calibration.folds is not None
        if cross and (folds.min() < 0 or folds.max() >= members or plan.calibration == "split"):
            raise ValueError(f"the folds of the {unit}s are not those of its members")
        if calibration.scores.ndim != 1 or folds.shape != calibration.scores.shape or not folds.size:
            raise ValueError(f"the calibration scores of the {unit}s are of another shape")
        found[unit] = calibration
    return found


def _numbers(manifest: Mapping[str, Any]) -> tuple[float, int]:
    """The offset, and the number of normal rows."""
    offset, rows = manifest["offset"], manifest["rows"]
    if not isinstance(offset, float) or not math.isfinite(offset):
        raise ValueError(f"the offset cannot be {offset!r}")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise ValueError(f"the number of rows cannot be {rows!r}")
    return offset, rows


def _check_whole(detector: Detector, manifest: Mapping[str, Any]) -> None:
    """Refuse a file that says something else, or more, than what was read of it."""
    if not isinstance(manifest["versions"]["upland"], str):
        raise ValueError("its version is no text")
    absent = {name for _, name in detector.plan_.criteria} - detector.offered_.homes.keys()
    if absent:
        raise ValueError(f"its model cannot be scored by {sorted(absent)}")
    _, again = _to_file(detector)
    again["arguments"] = {name: again["arguments"][name] for name in manifest["arguments"]}
    said = {name: part for name, part in manifest.items() if name != "versions"}
    if other := sorted(name for name in said.keys() | again.keys() if said.get(name) != again.get(name)):
        unknown = said.keys() - again.keys()
        raise (UnknownNameError if unknown else ValueError)(f"its {other[0]} cannot be as it says")


def _under(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
