"""A fitted detector out of plain data and tensors, checked before anything is built or kept.

The plan says what is built, the tensors how large it may be: a model is built only where its weights are
there with the names, shapes and types that the plan asks for (`upland.detectors.shapes`), and whatever a fit
cannot have left in a file is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from upland.calibration.block_calibration import BlockCalibration
from upland.calibration.conformal import Calibration
from upland.catalogue import criteria_of, home_for_unit
from upland.catalogue import load as load_entry
from upland.criteria.base import Criterion
from upland.criteria.sequence import SequenceCriterion
from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder, kept_numbers, pixels_of
from upland.data.image.features import FeaturesError
from upland.data.image.reader import ImageReader
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import ClassFlow
from upland.detectors.arguments import check_live
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member, offered_criteria
from upland.detectors.own_features import ModuleError, own_source, with_source
from upland.detectors.plan import FitPlan, architecture_of
from upland.detectors.refinement import Refinement, are_changes
from upland.detectors.shapes import check_shapes
from upland.io.records import check_types, checked, fits, shown
from upland.models.base import EnergyModel, JoinedEnergy, LikelihoodModel, NoiseConditional
from upland.models.experts import ProductOfExperts
from upland.models.sequential import SequenceModel
from upland.models.stored import check_values
from upland.training.loop import LATER, History

ENCODERS: dict[str, type[Encoder]] = {"table": TableEncoder, "sequence": SequenceEncoder}
KEPT = ("standard", "training_rows", "held_out", "refining")
"""Tensors of a member: its reference rows."""

PROBED = 1 << 18
"""Encoded numbers of a point up to which some are scored at load."""

Tensors = Mapping[str, Any]


def restored(
    estimator: type[Detector], manifest: Mapping[str, Any], tensors: Tensors, own: Any, features: Any = None
) -> Detector:
    """The detector of a manifest and its tensors.

    Args:
        estimator: its class.
        manifest: plain data, as `upland.persistence.save` writes them.
        tensors: by name.
        own: the user's module, or the function that makes one; None for upland's own model.
        features: the user's module or function that makes features of images; None for upland's own.

    Raises:
        ModuleError: there is no module of the user's where one is needed, or it is another.
        ValueError: the plan, the members or the tensors are not as a fit leaves them; others of Python's own
            where plain data are of another type.
    """
    is_own = _is_own(manifest)
    if is_own and own is None:
        raise ModuleError("was fitted with a module of your own: give it as load(path, model=module)")
    if own is not None and not is_own:
        raise ModuleError("was fitted with upland's own model: leave model out")
    source = own_source(manifest, features)
    given = {"model": own} if source is None else {"model": own, "features": features}
    detector = estimator(**_arguments(estimator, manifest["arguments"]), **given)
    check_live(detector.get_params(deep=False))
    plan = FitPlan.from_json(manifest["plan"], own)
    _check_plan(plan, estimator)
    plan = with_source(plan, source)
    parts = _parts(tensors)
    loader = _MemberLoader(estimator, plan, own)
    members = [
        loader.member(record, parts.pop(str(number), {})) for number, record in enumerate(manifest["members"])
    ]
    if len({_in_common(member) for member in members}) > 1:
        raise ValueError("the members are of other columns than each other, or keep other rows")
    units = set(plan.reader.units)
    if sorted(manifest["calibrated"]) != sorted(units):
        raise ValueError("units of score are unknown or lacking")
    scores = _parts(parts.pop("calibration", {}))
    calibrations: dict[Any, Calibration] = {
        unit: _calibration(scores.pop(unit, {}), unit, plan, len(members)) for unit in manifest["calibrated"]
    }
    blocks = _blocks(parts.pop("blocks", {}), manifest.get("blocks"), plan, len(members))
    if parts or scores:
        raise ValueError(f"nothing needs the tensors {shown(sorted([*parts, *scores])[0])}")
    offset, rows = manifest["offset"], manifest["rows"]
    if not isinstance(offset, float) or not fits(offset, float):
        raise ValueError(f"the offset cannot be {shown(offset)}")
    if not fits(rows, int) or rows < 2:
        raise ValueError(f"the number of rows cannot be {shown(rows)}")
    detector.restore(plan, members, calibrations, offset, rows)
    detector.blocks_ = blocks
    _check_criteria(detector)
    return detector


def _in_common(member: Member) -> tuple[Any, ...]:
    """What the members of one detector have in common."""
    encoder, kept = member.encoder, (member.standard, member.training_rows, member.held_out)
    image: tuple[Any, ...] = ()
    if (pixels := pixels_of(encoder)) is not None:
        ignored = None if pixels.ignored is None else pixels.ignored.tobytes()
        image = encoder.shape, pixels.shape, pixels.dtype, pixels.scaling, ignored
    return encoder.inputs, encoder.named, *image, *(rows is None for rows in kept)


def _is_own(manifest: Mapping[str, Any]) -> bool:
    """Whether the model is the user's own."""
    if not isinstance(manifest["members"], list):
        raise ValueError("the members must be a list")
    name = manifest["members"][0]["architecture"]["name"]
    return isinstance(name, str) and name.startswith("own ")


def _arguments(estimator: type[Detector], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments, of the types that it says."""
    hints = get_type_hints(estimator.__init__)
    if unknown := sorted(stored.keys() - (hints.keys() - {"model", "return"})):
        raise ValueError(f"unknown arguments {', '.join(map(shown, unknown))}")
    if not fits(stored.get("random_state"), int | None):
        raise ValueError(f"random_state cannot be {shown(stored['random_state'])}")
    return check_types(hints, stored, "arguments")


def _check_plan(plan: FitPlan, estimator: type[Detector]) -> None:
    """Refuse the plan of another estimator, and criteria that it does not offer."""
    modality, units = estimator.modality, set(plan.reader.units)
    if plan.reader.modality != modality or (estimator.family, modality) not in plan.architecture.of:
        raise ValueError(f"the plan is not that of a {estimator.__name__}")
    if units != set(dict(plan.criteria)) or plan.unit not in units:
        raise ValueError("units of score are unknown or lacking")
    offered = offered_criteria(estimator.family, modality, plan.architecture.model_type)
    if unknown := {name for _, name in plan.criteria} - set(offered.homes):
        raise ValueError(f"there is no criterion {shown(sorted(unknown)[0])} of such a model")


def _check_criteria(detector: Detector) -> None:
    """Refuse a criterion that compares with reference rows where none are kept."""
    for name in detector.offered_.chosen(detector.criterion).values():
        needs_rows = load_entry(detector.offered_.homes[name]).needs_rows
        if needs_rows and any(member.standard is None for member in detector.members_):
            raise ValueError(f"criterion {name!r} needs reference rows, and none are kept")


def _parts(tensors: Tensors) -> dict[str, dict[str, Any]]:
    """Tensors by the first part of their name, then by the rest."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        first, _, rest = name.partition("/")
        parts.setdefault(first, {})[rest] = value
    return parts


def _calibration(tensors: Tensors, unit: str, plan: FitPlan, members: int) -> Calibration:
    """The held-out scores of a unit."""
    scores, folds = tensors["scores"], tensors.get("folds")
    if set(tensors) - {"scores", "folds"} or (folds is not None and plan.calibration == "split"):
        raise ValueError(f"the calibration of {unit}s has tensors that nothing needs")
    if scores.dtype != np.float64 or scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"the calibration scores of {unit}s must be finite numbers, one at least")
    if folds is None:
        return Calibration(scores)
    whole = folds.dtype == np.int64 and folds.shape == scores.shape
    if not whole or folds.min() < 0 or folds.max() >= members:
        raise ValueError(f"the folds of the calibration scores of {unit}s must be those of the members")
    return Calibration(scores, folds)


def _blocks(tensors: Tensors, record: Any, plan: FitPlan, members: int) -> BlockCalibration | None:
    """The calibration of episodes; files of before there was one have none."""
    if record is None and not tensors:
        return None
    if record is None or "step" not in plan.reader.units or set(record) != {"length", "resolved"}:
        raise ValueError("the blocks of steps are not those of a calibration")
    if record["length"] < 1:
        raise ValueError(f"blocks cannot be of {shown(record['length'])} steps")
    return BlockCalibration(_calibration(tensors, "block", plan, members), **record)


@dataclass(frozen=True)
class _MemberLoader:
    """Members of one detector, out of plain data and tensors.

    Args:
        estimator: the class of the detector.
        plan: of the fit.
        own: the user's module, or the function that makes one.
    """

    estimator: type[Detector]
    plan: FitPlan
    own: Any

    def member(self, record: Mapping[str, Any], tensors: Tensors) -> Member:
        """A member; raises as `restored`."""
        fields = {"encoder", "architecture", "sigma", "history", "criteria"}
        if set(record) - {"refinement"} != fields:
            raise ValueError("a member has fields that are unknown or lacking")
        parts, sigma = _parts(tensors), record["sigma"]
        if parts.keys() - {"encoder", "model", "rows", "criteria", "classes"}:
            raise ValueError("a member has tensors that nothing needs")
        if not fits(sigma, float) or not 0 < sigma**2 < math.inf:
            raise ValueError(f"sigma must be positive, not {shown(sigma)}")
        encoder = self._encoder(record["encoder"], parts.get("encoder", {}))
        architecture = architecture_of(record["architecture"], self.own)
        if not _resolves(self.plan.architecture, architecture):
            raise ValueError("a member has another architecture than the plan says")
        kept = self._kept(encoder, _as_tensors(parts.get("rows", {})))
        model = self._model(architecture, encoder, _as_tensors(parts.get("model", {})))
        criteria = self._criteria(record["criteria"], model, sigma, parts.get("criteria", {}))
        labels = _labels(architecture, kept, _as_tensors(parts.get("classes", {})))
        history = _history(record["history"])
        refinement = _refinement(record, model, kept)
        if not architecture.own and encoder.width <= PROBED:
            _check_numbers(model, sigma, _ordinary(model, encoder, kept))
            if isinstance(encoder, FeatureEncoder):
                _check_scores(model, encoder)
        return Member(
            encoder,
            model,
            sigma,
            history,
            architecture,
            **kept,
            refinement=refinement,
            labels=labels,
            criteria=criteria,
        )

    def _encoder(self, manifest: Mapping[str, Any], tensors: Tensors) -> Encoder:
        """The encoder."""
        reader = self.plan.reader
        if isinstance(reader, ImageReader):
            try:
                return reader.restored_encoder(manifest, tensors)
            except FeaturesError as error:
                raise ModuleError(str(error)) from error
        return ENCODERS[self.estimator.modality].from_state(manifest, tensors)

    def _model(self, architecture: Architecture, encoder: Encoder, weights: dict[str, Tensor]) -> Any:
        """The model with its weights, in evaluation mode."""
        if architecture.own:
            return _own_model(architecture, encoder, weights)
        check_shapes(architecture, encoder, weights)
        model = architecture.build(encoder, torch.Generator())
        model.load_state_dict(weights)
        check_values(model)
        return model.eval()

    def _kept(self, encoder: Encoder, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """The reference rows."""
        if rows.keys() - KEPT:
            raise ValueError("a member has reference rows that nothing needs")
        of_steps = isinstance(encoder, SequenceEncoder)  # their latents, -log p, and the number of the run
        shape = (encoder.width + 2,) if of_steps else kept_numbers(encoder)
        for name, some in rows.items():
            count = len(some) if some.ndim else 0
            if some.shape[1:] != shape or some.dtype != torch.float32:
                raise ValueError(f"the rows {name} must be float32 of shape {shape}")
            if not 0 < count <= self.plan.keep_rows or not bool(some.isfinite().all()):
                raise ValueError(f"the rows {name} must be finite, and {self.plan.keep_rows} at most")
        return rows

    def _criteria(self, names: Any, model: nn.Module, sigma: float, tensors: Tensors) -> dict[Any, Any]:
        """The criteria that a file keeps: those of sequences."""
        if self.estimator.modality != "sequence":
            if names or tensors:
                raise ValueError("a member has criteria that nothing needs")
            return {}
        homes = criteria_of(self.estimator.family, self.estimator.modality)
        pairs = [tuple(pair) for pair in names]
        needed = {(name, unit) for unit, name in self.plan.criteria}
        if len(set(pairs)) < len(pairs) or not needed <= set(pairs) <= _pairs(homes):
            raise ValueError("the criteria of a member are unknown or lacking")
        assert isinstance(model, SequenceModel)
        criteria: dict[Any, Criterion[Any, Any]] = {}
        states = {first: _parts(inner) for first, inner in _parts(tensors).items()}
        for name, unit in pairs:
            made: SequenceCriterion = load_entry(home_for_unit(name, homes, unit))(unit)
            state = _as_tensors(states.get(name, {}).pop(unit, {}))
            made.check_state(model, state)
            criteria[name, unit] = made.restore(model, sigma, self.plan.smoothing or 1, state)
        if any(states.values()):
            raise ValueError("a member has states of criteria that nothing needs")
        return criteria


def _resolves(plan: Architecture, architecture: Architecture) -> bool:
    """Whether an architecture is that of a plan, with what the plan left open."""
    if type(plan) is not type(architecture):
        return False
    pairs = zip(astuple(plan), astuple(architecture), strict=True) if not plan.own else ()
    return all(asked is None or asked == size for asked, size in pairs)


def _labels(
    architecture: Architecture, kept: Mapping[str, Tensor], labels: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The classes of the reference rows."""
    classes = len(architecture.classes) if isinstance(architecture, ClassFlow) else 0
    if set(labels) != (set(kept) if classes else set()):
        raise ValueError("the classes of a member are not those of its reference rows")
    for name, codes in labels.items():
        whole = codes.dtype == torch.int64 and codes.shape == (len(kept[name]),)
        if not whole or not bool(((codes >= 0) & (codes < classes)).all()):
            raise ValueError(f"the classes of the rows {name} must be numbers below {classes}, one a row")
    return labels


def _pairs(homes: Mapping[str, str]) -> set[tuple[str, str]]:
    return {(name, unit) for name in homes for unit in ("step", "sequence")}


def _as_tensors(arrays: Tensors) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _own_model(architecture: Architecture, encoder: Encoder, weights: dict[str, Tensor]) -> nn.Module:
    """A module of the user's, whose code may raise anything."""
    try:
        model = architecture.build(encoder, torch.Generator())
        model.load_state_dict(weights)
    except Exception as error:
        raise ModuleError(f"holds weights that the module given does not fit: {error}") from error
    return model.eval()


def _ordinary(model: nn.Module, encoder: Encoder, kept: Mapping[str, Tensor]) -> Tensor:
    """A few rows that a model must have a finite energy for."""
    if isinstance(model, SequenceModel):
        return torch.zeros(1, model.frame, model.width + model.context_width, dtype=torch.float32)
    return torch.cat(
        [torch.zeros(1, *kept_numbers(encoder), dtype=torch.float32), *(rows[:1] for rows in kept.values())]
    )


def _check_numbers(model: EnergyModel, sigma: float, rows: Tensor) -> None:
    """Refuse weights that are finite but of such sizes that ordinary rows have no finite score."""
    with torch.no_grad():
        numbers = [model.energy(rows).double() / sigma**2]
        if isinstance(model, NoiseConditional):
            numbers.append(model.joined_score(rows))
        if not isinstance(model, LikelihoodModel | SequenceModel):
            numbers.append((rows - model.reconstruct(rows)).square())
    if not all(bool(part.isfinite().all()) for part in numbers):
        raise ValueError("the weights give no finite number for an ordinary row")


def _check_scores(model: EnergyModel, encoder: FeatureEncoder) -> None:
    """The same for features of images, of which reference rows hold the vectors alone."""
    blank = encoder.source.transform(np.zeros((1, *encoder.pixels.shape), dtype=np.float32))
    plain = torch.stack([torch.full((encoder.width,), value, dtype=torch.float32) for value in (0.0, 1.0)])
    score = model.joined_score if isinstance(model, JoinedEnergy) else model.energy
    with torch.no_grad():
        scores = score(torch.cat([plain, torch.from_numpy(blank)]))
    if not bool(scores.isfinite().all()):
        raise ValueError("the weights give no finite number for an ordinary image")


def _refinement(record: Mapping[str, Any], model: nn.Module, kept: Mapping[str, Any]) -> Refinement | None:
    """What labelled rows have changed; files of before there were labelled rows do not say."""
    found = Refinement.from_json(record["refinement"]) if "refinement" in record else None
    refined = isinstance(model, ProductOfExperts) and model.tilt is not None
    if refined != (found is not None and found.shrinkage is not None) or ("refining" in kept and not found):
        raise ValueError("a member has a refinement that is not that of its model")
    if found and found.held_out != len(kept.get("refining", ())):
        raise ValueError("a member has another number of refining rows than its refinement says")
    if isinstance(model, ProductOfExperts) and model.tilt is not None and model.part_weights is not None:
        weights, usual = model.part_weights.double().numpy(), np.array(model.usual_weights, dtype=np.float64)
        if not are_changes(weights, usual, model.tilt.double().numpy()):
            raise ValueError("a member has weights or log odds that no labelled rows leave")
    return found


def _history(record: Any) -> History:
    """The course of a training."""
    history = History(**checked(History, record, "the history", later=LATER))
    lengths = {len(part) for part in (history.steps, history.training, history.validation)}
    compared = {getattr(history, name) is None for name in ("gaussian", "independent")}
    if len(compared) > 1 or len(lengths) > 1 or min([history.best_step, history.seconds, *history.steps]) < 0:
        raise ValueError("the history is not that of a training")
    return history
