"""A fitted detector in one `.safetensors` file, and back: nothing is ever unpickled.

Tensors: each member's weights, large vocabularies, reference rows and what criteria have learned, the
calibration scores. Manifest: the detector's name and constructor arguments, the plan of the fit, the members'
schemas, noise and training summary, versions; of a `SegmentedDetector` those of the pooled detector, and
`segments` beside them. A digest over all of it guards against corruption
(`upland.io.modelfile`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from upland import __version__
from upland.calibration.false_discovery import ALPHA
from upland.catalogue import DETECTORS
from upland.catalogue import load as load_entry
from upland.criteria.sequence import SequenceCriterion
from upland.detectors.arguments import check_live, plain_argument
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.detectors.foreign import check_detector
from upland.detectors.host import usual_settings
from upland.detectors.loading import KEPT, restored
from upland.detectors.manifests import check_manifest
from upland.detectors.own_features import ModuleError
from upland.detectors.segmented import SegmentedDetector
from upland.detectors.segmentstate import from_state, to_state
from upland.detectors.table import TableDetector
from upland.io.modelfile import TensorFileError, read_tensors, tensors_of, write_tensors
from upland.io.records import shown

_SEGMENTS = "segments/"  # what names of tensors of segments begin with
_LONGEST = 400  # letters of a reason


@usual_settings()
def save(detector: Detector, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a fitted detector to one file, whole or not at all.

    Arguments that decided the fit are written as they were then, whatever `set_params` has said since.

    Args:
        detector: what `fit` returned.
        path: the file, by custom `*.safetensors`.
        overwrite: whether an existing file may be replaced.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        TypeError: it is no detector, and the message says what to give instead; or one of a class of your
            own, which `load` could not find.
        FileExistsError: the file exists and may not be replaced.
        OSError: the file cannot be written.
        ValueError: an argument that may change after a fit is not as it must be, or no longer suits it.

    Examples:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
    """
    check_detector(detector, "save")
    if not isinstance(detector, SegmentedDetector) and type(detector).__name__ not in _homes():
        raise TypeError(
            f"{type(detector).__name__} is a class of your own, which a file cannot hold: "
            "save an estimator of upland"
        )
    if isinstance(detector, SegmentedDetector):
        detector.check_fitted()
        manifest, tensors = _content(detector.pooled_)
        manifest["segments"], found = to_state(detector)
        tensors |= {f"segments/{name}": value for name, value in found.items()}
    else:
        manifest, tensors = _content(detector)
    if detector.alpha_ != ALPHA:
        manifest["alpha"] = detector.alpha_
    manifest["tensors"] = _shapes(tensors)
    write_tensors(path, tensors, manifest, overwrite)


def _content(detector: Detector) -> tuple[dict[str, Any], dict[str, Any]]:
    """A fitted detector as plain data, and its tensors by name."""
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
    blocks = detector.blocks_
    if blocks is not None:
        tensors["blocks/scores"] = blocks.peaks.scores
        if blocks.peaks.folds is not None:
            tensors["blocks/folds"] = blocks.peaks.folds
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
    if blocks is not None:
        manifest["blocks"] = {"length": blocks.length, "resolved": blocks.resolved}
    return manifest, tensors


def _shapes(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Type and shape of each tensor."""
    return {name: [tensor.dtype.name, list(tensor.shape)] for name, tensor in tensors.items()}


def _to_state(member: Member) -> tuple[dict[str, Any], dict[str, Any]]:
    """A member as plain data, and its tensors by name."""
    schema, vocabularies = member.encoder.to_state()
    tensors = {f"encoder/{name}": value for name, value in vocabularies.items()}
    tensors |= {f"model/{name}": _array(value) for name, value in member.model.state_dict().items()}
    kept = {name: getattr(member, name) for name in KEPT}
    tensors |= {f"rows/{name}": _array(rows) for name, rows in kept.items() if rows is not None}
    tensors |= {f"classes/{name}": _array(labels) for name, labels in member.labels.items()}
    criteria = []
    for (name, unit), criterion in list(member.criteria.items()):  # a thread may add one
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
    if member.refinement is not None:
        record["refinement"] = asdict(member.refinement)
    return record, tensors


def _array(value: Tensor) -> Any:
    return value.detach().cpu().numpy()


def _plain_arguments(detector: Detector) -> dict[str, Any]:
    left_out = {"model", "ignore"} if detector.modality == "image" else {"model"}  # the encoders hold it
    if not isinstance(detector.fitted_params().get("features", ""), str):
        left_out.add("features")  # of the user's own
    arguments = {name: value for name, value in detector.fitted_params().items() if name not in left_out}
    seed = arguments["random_state"]
    arguments["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
    return {name: plain_argument(value) for name, value in arguments.items()}


def load(
    path: str | Path,
    model: nn.Module | None = None,
    features: nn.Module | Callable[[Any], Any] | None = None,
) -> Detector:
    """Read a detector that `save` wrote; its scores are bit-equal to those of the one that was saved.

    Args:
        path: the file.
        model: the module, or the function that makes one, of a detector that was fitted with a module of
            your own; the file holds its weights, not its code.
        features: the module or function, with its weights, of a detector that was fitted with features of
            your own; the file holds its name, the digest of its weights and some features of a fixed picture.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        TensorFileError: the file is truncated, corrupted, foreign, of a newer format, or no regular file; or
            it holds what no fit leaves in a file. The message says which.
        ValueError: the file needs a module of your own, or the module given does not fit its weights; the
            features are not those of the fit.

    Examples:
        >>> import numpy as np, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rows)
        >>> upland.save(detector, path)
        >>> bool((upland.load(path).anomaly_score(rows) == detector.anomaly_score(rows)).all())
        True
    """
    path = Path(path)
    return _loaded(path, *read_tensors(path), model, features)


def load_bytes(data: bytes, path: str | Path) -> Detector:
    """The detector in a model file whose bytes are in memory; raises as `load`.

    Args:
        data: all bytes of the file.
        path: what messages call it.
    """
    path = Path(path)
    return _loaded(path, *tensors_of(data, path), None)


def _loaded(
    path: Path,
    tensors: dict[str, Any],
    manifest: dict[str, Any],
    model: nn.Module | None,
    features: Callable[[Any], Any] | None = None,
) -> Detector:
    if manifest.get("content") != "detector":
        found = shown(manifest.get("content", "nothing of upland's"))
        raise TensorFileError(path, "foreign", f"holds a {found}, not a detector")
    if manifest.get("tensors") != _shapes(tensors):
        raise TensorFileError(path, "corrupted", "is corrupted: its tensors are not those that were saved")
    try:
        check_manifest(manifest)
        name, homes = manifest["detector"], _homes()
        if name not in homes:
            raise ValueError(f"there is no estimator {shown(name)}")
        with usual_settings():
            own, of_segments = _parted(tensors)
            detector = restored(load_entry(homes[name]), manifest, own, model, features)
            detector = _segmented(detector, manifest.get("segments"), of_segments)
            detector.alpha_ = _alpha(manifest.get("alpha", ALPHA))
            return detector
    except ModuleError as error:
        raise ValueError(f"{path} {error}") from error.__cause__
    except MemoryError:
        raise
    except ImportError as error:  # a package that the model needs
        raise ImportError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # plain data of another type may raise anything
        raise TensorFileError(path, "newer", _unreadable(manifest.get("versions"), error)) from error


def _parted(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors of a detector, and those of its segments, by the rest of their names."""
    inside = {name for name in tensors if name.startswith(_SEGMENTS)}
    return (
        {name: value for name, value in tensors.items() if name not in inside},
        {name.removeprefix(_SEGMENTS): tensors[name] for name in inside},
    )


def _segmented(detector: Detector, record: Any, tensors: Mapping[str, Any]) -> Detector:
    """The detector itself, or that of segments that it is the pooled one of."""
    if record is None and not tensors:
        return detector
    if not isinstance(detector, TableDetector):
        raise ValueError("only tables have segments")
    return from_state(detector, record, tensors)


def _alpha(value: Any) -> float:
    """The rate that flags keep by default; files that do not say it keep the usual one."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(f"alpha cannot be {shown(value)}")
    return value


def _unreadable(versions: Any, error: Exception) -> str:
    """What is said of a file that is whole and holds what this version cannot use."""
    made_by = versions.get("upland") if isinstance(versions, dict) else None
    known = isinstance(made_by, str) and re.fullmatch(r"[\w.+-]{1,40}", made_by, re.ASCII)
    text = f"of upland {made_by if known else '?'} cannot be read by this upland {__version__}"
    return f"{text}: {type(error).__name__}: {str(error)[:_LONGEST]}"


def _homes() -> dict[str, str]:
    """Where each estimator is written, by the name of its class."""
    return {entry.home.split(":")[1]: entry.home for entry in DETECTORS.values()}
