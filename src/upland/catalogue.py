"""Everything that is chosen by a name, and the module that it is loaded from.

Python, the command line, their messages and the tables of the documentation read these tables, so that a new
criterion, statistic or file format is one file and one line here. A new estimator is a class in `detectors`
and one line here; a new model family needs its model and sizes too (docs/architecture.md). Nothing of upland
is imported until an entry is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

Modality = Literal["table", "sequence", "image"]
Unit = Literal["row", "image", "sequence", "step"]
Family = Literal["energy", "flow", "vae"]

MODALITIES: dict[Modality, str] = {"table": "tables", "sequence": "sequences", "image": "images"}
"""The modalities of data, and their plural."""

FAMILIES: dict[str, str] = {
    "energy": "an energy, in closed form or a deep net trained by score matching",
    "flow": "a normalising flow, trained by its likelihood",
    "vae": "a variational auto-encoder",
}
"""The families of models."""


class Detector(NamedTuple):
    """An estimator.

    Args:
        home: module and class, as in `upland.detectors.table:EnergyDetector`.
        defaults: the criterion of each unit of score.
        otherwise: the criteria of models that cannot be scored by these, as one of the user's own; the first
            that can be.
    """

    home: str
    defaults: dict[Unit, str]
    otherwise: tuple[str, ...] = ("reconstruction",)


class Criterion(NamedTuple):
    """What a row, an image, a sequence or a time step is scored by.

    Args:
        home: module and class.
        models: families and modalities of the estimators that offer it.
        summary: what it is, for help texts and tables.
        sequence_home: module and class of its form for sequences, where that is another.
        whole_home: module and class of its form for whole sequences, where that is another again.
    """

    home: str
    models: tuple[tuple[str, Modality], ...]
    summary: str
    sequence_home: str | None = None
    whole_home: str | None = None


class Statistic(NamedTuple):
    """What a group of rows is tested by.

    Args:
        home: module and function `(ModelOutputs) -> Statistic`.
        summary: what it is, for help texts and tables.
        needs: "latents" of the model; the "score" (the gradient of log p); "latents or score", the second of
            models without the first; or nothing.
        of_scores: whether anomaly scores alone are enough, as for groups of sequences.
    """

    home: str
    summary: str
    needs: Literal["latents", "score", "latents or score"] | None = None
    of_scores: bool = False


def criteria_of(family: str, modality: Modality) -> dict[str, str]:
    """Where each criterion that an estimator offers is loaded from, by its name.

    Args:
        family: of the model.
        modality: of the data.
    """
    return {
        name: (modality == "sequence" and entry.sequence_home) or entry.home
        for name, entry in CRITERIA.items()
        if (family, modality) in entry.models
    }


def home_for_unit(name: str, homes: Mapping[str, str], unit: Unit) -> str:
    """Where the form of a criterion for a unit of score is loaded from.

    Args:
        name: of the criterion.
        homes: what `criteria_of` gives.
        unit: what one score is of.
    """
    return (unit == "sequence" and CRITERIA[name].whole_home) or homes[name]


def load(home: str) -> Any:
    """The object at `module:name`."""
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


DETECTORS: dict[tuple[str, Modality], Detector] = {
    ("energy", "table"): Detector(
        "upland.detectors.table:EnergyDetector", {"row": "experts"}, ("multiscale", "reconstruction")
    ),
    ("flow", "table"): Detector("upland.detectors.table_latent:FlowDetector", {"row": "likelihood"}),
    ("vae", "table"): Detector("upland.detectors.table_latent:VAEDetector", {"row": "reconstruction"}),
    ("energy", "sequence"): Detector(
        "upland.detectors.sequence:SequenceEnergyDetector", {"step": "experts", "sequence": "experts"}
    ),
    ("flow", "sequence"): Detector(
        "upland.detectors.sequence_flow:SequenceFlowDetector",
        {"step": "likelihood_divergence", "sequence": "divergence"},
    ),
    ("energy", "image"): Detector("upland.detectors.image:ImageEnergyDetector", {"image": "experts"}),
    ("flow", "image"): Detector(
        "upland.detectors.image_flow:ImageFlowDetector",
        {"image": "divergence_complexity"},
        ("likelihood", "reconstruction"),
    ),
    ("vae", "image"): Detector("upland.detectors.image:ImageVAEDetector", {"image": "reconstruction"}),
}
"""The estimator of each family and modality."""

_Models = tuple[tuple[str, Modality], ...]

_ENERGIES: _Models = (("energy", "table"), ("energy", "sequence"), ("energy", "image"))
_LATENT_TABLES: _Models = (("flow", "table"), ("vae", "table"))
_LATENT_SEQUENCES: _Models = (("flow", "sequence"),)
_LATENT_IMAGES: _Models = (("flow", "image"), ("vae", "image"))
_VAES: _Models = (("vae", "table"), ("vae", "image"))

CRITERIA: dict[str, Criterion] = {
    "experts": Criterion(
        "upland.criteria.experts:Experts",
        _ENERGIES,
        "mean, closer to the maximum, of what several experts say, each in units of normal data",
        "upland.criteria.step_experts:StepExperts",
        "upland.criteria.whole.experts:WholeExperts",
    ),
    "multiscale": Criterion(
        "upland.criteria.multiscale:Multiscale",
        (("energy", "table"),),
        "cubic mean over noise scales of standardised distances to the denoised row and to training rows",
    ),
    "score_test": Criterion(
        "upland.criteria.score_test:ScoreTest",
        (("energy", "sequence"),),
        "Rao's score test on the biases of the model, two-sided",
    ),
    "max_channel": Criterion(
        "upland.criteria.max_channel:MaxChannel",
        (("energy", "sequence"),),
        "the largest smoothed squared residual of any channel",
    ),
    "reconstruction": Criterion(
        "upland.criteria.reconstruction:Reconstruction",
        (*_ENERGIES, *_VAES),
        "the squared reconstruction error",
        "upland.criteria.step_residuals:StepReconstruction",
    ),
    "energy": Criterion(
        "upland.criteria.energy:Energy",
        _ENERGIES,
        "the energy, in nats up to a constant; of a time step -log p given the steps before it",
        "upland.criteria.step_residuals:StepEnergy",
    ),
    "likelihood": Criterion(
        "upland.criteria.likelihood:Likelihood",
        (*_LATENT_TABLES, *_LATENT_SEQUENCES, *_LATENT_IMAGES),
        "-log p(x) or its bound, in nats; of a time step given the steps before it",
        "upland.criteria.step_latents:StepLikelihood",
    ),
    "typicality": Criterion(
        "upland.criteria.typicality:Typicality",
        (*_LATENT_TABLES, *_LATENT_IMAGES),
        "distance of -log p(x) from its mean among normal data, in nats",
    ),
    "divergence": Criterion(
        "upland.criteria.divergence:Divergence",
        (*_LATENT_TABLES, *_LATENT_SEQUENCES, *_LATENT_IMAGES),
        "KL divergence of the parts of one latent from those of normal data, standardised; of steps that of "
        "the latents over the past",
        "upland.criteria.step_latents:StepDivergence",
    ),
    "likelihood_divergence": Criterion(
        "upland.criteria.step_latents:StepLikelihoodDivergence",
        _LATENT_SEQUENCES,
        "-log p of a step beyond that of normal ones plus the divergence of the latents over the past",
    ),
    "complexity": Criterion(
        "upland.criteria.complexity:Complexity",
        _LATENT_IMAGES,
        "-log p(x) beyond the length that a lossless compressor needs, in nats",
    ),
    "divergence_complexity": Criterion(
        "upland.criteria.divergence_complexity:DivergenceComplexity",
        _LATENT_IMAGES,
        "mean of the divergence and of the squared, standardised complexity",
    ),
}
"""The criteria, by the names that users give."""

FEATURES: dict[str, str] = {
    "pixels": "upland.detectors.features.dictionary:PatchDictionary",
    "efficientnet-lite0": "upland.detectors.features.bundled:efficientnet_lite0",
}
"""What makes features of images, by the names that users give."""

STATISTICS: dict[str, Statistic] = {
    "auto": Statistic(
        "upland.groups.auto:auto", "what suits the model, put together", "latents or score", of_scores=True
    ),
    "divergence": Statistic(
        "upland.groups.divergence:divergence",
        "KL divergence of the group's latents from those of normal data",
        "latents",
    ),
    "geometric": Statistic(
        "upland.groups.sphericity:geometric", "how thin the ellipsoid of the group's latents is", "latents"
    ),
    "isotropy": Statistic(
        "upland.groups.isotropy:isotropy",
        "how far the directions of the group's latents are from uniform",
        "latents",
    ),
    "typicality": Statistic(
        "upland.groups.typicality:typicality",
        "distance of the mean energy from that of normal data",
        of_scores=True,
    ),
    "likelihood": Statistic("upland.groups.likelihood:likelihood", "the mean energy", of_scores=True),
    "projections": Statistic(
        "upland.groups.projections:projections",
        "Kolmogorov-Smirnov distance from normal data along random directions",
        of_scores=True,
    ),
    "mmd": Statistic("upland.groups.mmd:mmd", "maximum mean discrepancy from normal data"),
    "shift": Statistic("upland.groups.shift:shift", "distance of the mean row from that of normal data"),
    "stein": Statistic(
        "upland.groups.stein:stein", "Stein discrepancy by the model's gradient of log p", "score"
    ),
}
"""The statistics of groups, by the names that users give."""

FORMATS: dict[str, str] = {
    ".csv": "upland.io.csv",
    ".csv.gz": "upland.io.csv",
    ".csv.bz2": "upland.io.csv",
    ".csv.zst": "upland.io.csv",
    ".tsv": "upland.io.csv",
    ".tsv.gz": "upland.io.csv",
    ".tsv.bz2": "upland.io.csv",
    ".tsv.zst": "upland.io.csv",
    ".parquet": "upland.io.parquet",
    ".pq": "upland.io.parquet",
    ".arrow": "upland.io.arrow",
    ".feather": "upland.io.arrow",
    ".xlsx": "upland.io.excel",
}
"""The module that reads and writes files of rows, by the suffix of the file's name; it has a `FORMAT`."""
