"""Everything that is chosen by a name, and the module that it is loaded from.

Python, the command line, their messages and the tables of the documentation read these tables, so that a new
criterion, statistic, file format or estimator is one file and one line here. Nothing of upland is imported
until an entry is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, NamedTuple

Modality = Literal["table", "sequence", "image"]
Unit = Literal["row", "image", "sequence", "step"]
Family = Literal["energy", "flow", "vae"]

MODALITIES: dict[Modality, str] = {"table": "tables", "sequence": "sequences", "image": "images"}
"""The modalities of data, and their plural."""

FAMILIES: dict[str, str] = {
    "energy": "a deep energy trained by score matching",
    "flow": "a normalising flow, trained by its likelihood",
    "vae": "a variational auto-encoder",
}
"""The families of models."""


class Detector(NamedTuple):
    """An estimator.

    Args:
        home: module and class, as in `upland.detectors.table:EnergyDetector`.
        defaults: the criterion of each unit of score.
    """

    home: str
    defaults: dict[Unit, str]


class Criterion(NamedTuple):
    """What a row, an image, a sequence or a time step is scored by.

    Args:
        home: module and class.
        models: families and modalities of the estimators that offer it.
        summary: what it is, for help texts and tables.
    """

    home: str
    models: tuple[tuple[str, Modality], ...]
    summary: str


class Statistic(NamedTuple):
    """What a group of rows is tested by.

    Args:
        home: module and function `(ModelOutputs) -> Statistic`.
        summary: what it is, for help texts and tables.
        needs: "latents" of the model, the "score" (the gradient of log p), or nothing.
        of_scores: whether anomaly scores alone are enough, as for groups of sequences.
    """

    home: str
    summary: str
    needs: Literal["latents", "score"] | None = None
    of_scores: bool = False


def load(home: str) -> Any:
    """The object at `module:name`."""
    module, _, name = home.partition(":")
    return getattr(import_module(module), name)


DETECTORS: dict[tuple[str, Modality], Detector] = {
    ("energy", "table"): Detector("upland.detectors.table:EnergyDetector", {"row": "multiscale"}),
    ("flow", "table"): Detector("upland.detectors.table:FlowDetector", {"row": "likelihood"}),
    ("vae", "table"): Detector("upland.detectors.table:VAEDetector", {"row": "reconstruction"}),
    ("energy", "sequence"): Detector(
        "upland.detectors.sequence:SequenceEnergyDetector", {"step": "max_channel", "sequence": "score_test"}
    ),
    ("energy", "image"): Detector("upland.detectors.image:ImageEnergyDetector", {"image": "reconstruction"}),
    ("flow", "image"): Detector(
        "upland.detectors.image:ImageFlowDetector", {"image": "divergence_complexity"}
    ),
    ("vae", "image"): Detector("upland.detectors.image:ImageVAEDetector", {"image": "reconstruction"}),
}
"""The estimator of each family and modality."""

_ENERGIES = (("energy", "table"), ("energy", "image"))
_LATENT_TABLES = (("flow", "table"), ("vae", "table"))
_LATENT_IMAGES = (("flow", "image"), ("vae", "image"))
_VAES = (("vae", "table"), ("vae", "image"))

CRITERIA: dict[str, Criterion] = {
    "multiscale": Criterion(
        "upland.criteria.multiscale:Multiscale",
        (("energy", "table"),),
        "cubic mean over noise scales of standardised distances to the denoised row and to training rows",
    ),
    "reconstruction": Criterion(
        "upland.criteria.reconstruction:Reconstruction", (*_ENERGIES, *_VAES), "squared reconstruction error"
    ),
    "energy": Criterion("upland.criteria.energy:Energy", _ENERGIES, "the energy, in nats up to a constant"),
    "likelihood": Criterion(
        "upland.criteria.likelihood:Likelihood",
        (*_LATENT_TABLES, *_LATENT_IMAGES),
        "-log p(x) or its bound, in nats",
    ),
    "typicality": Criterion(
        "upland.criteria.typicality:Typicality",
        (*_LATENT_TABLES, *_LATENT_IMAGES),
        "distance of -log p(x) from its mean among normal data, in nats",
    ),
    "divergence": Criterion(
        "upland.criteria.divergence:Divergence",
        (*_LATENT_TABLES, *_LATENT_IMAGES),
        "KL divergence of the parts of one latent from those of normal data, standardised",
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

STATISTICS: dict[str, Statistic] = {}
"""The statistics of groups, by the names that users give."""

FORMATS: dict[str, str] = {
    ".csv": "upland.io.csv",
    ".csv.gz": "upland.io.csv",
    ".tsv": "upland.io.csv",
    ".tsv.gz": "upland.io.csv",
    ".parquet": "upland.io.parquet",
    ".pq": "upland.io.parquet",
    ".arrow": "upland.io.arrow",
    ".feather": "upland.io.arrow",
}
"""The module that reads and writes files of rows, by the suffix of the file's name; it has a `FORMAT`."""
