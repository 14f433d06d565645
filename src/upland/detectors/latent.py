"""Detectors whose models have latents: flows and VAEs. The contract is `upland.detectors.base`'s."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from upland.criteria.judges import (
    FLOW_IMAGES,
    FLOW_TABLES,
    LEAST_STANDARD,
    NEED_ROWS,
    VAE_IMAGES,
    VAE_TABLES,
)
from upland.data.encoder import Encoder
from upland.data.encoder import Kind as KindName
from upland.data.image.encoder import ImageEncoder, ImageRows
from upland.data.rows import NormalRows
from upland.detectors.arguments import check_numbers, device_of
from upland.detectors.base import Detector
from upland.detectors.fitting import Recipe, as_energy, length
from upland.detectors.kinds import Judge, Kind, Pictures, Tables
from upland.io.advice import Advice, Argument
from upland.models.base import EnergyModel, Latent
from upland.models.flow import table_flow
from upland.models.glow import Glow
from upland.models.vae import convolutional_vae, dense_vae
from upland.training.objectives import LIKELIHOODS
from upland.training.schedule import Plan, few_places, fixed_length, likelihood_length

FLOW_PLANS = {
    "table": Plan(0, 128, 3e-3, "auto", 0.5, 0.05),
    "image": Plan(3_000, 32, 2e-3, "bin"),
}
VAE_PLANS = {"table": Plan(0, 128, 1e-3), "image": Plan(2_000, 64, 1e-3, "bin")}


LEAST_ROWS = 12
"""Normal rows or images from which criteria that compare with kept ones have enough of them."""


class LatentDetector(Detector):
    """What flows and VAEs have in common: abstract."""

    plans: ClassVar[Mapping[str, Plan]]
    objectives: ClassVar[Mapping[str, str]]
    judges: ClassVar[Mapping[str, Mapping[str, Judge]]]

    noise: float | Literal["auto"]
    epochs: int | None
    batch_size: int | None
    learning_rate: float | None
    patience: int
    categorical: Sequence[str | int]
    ignore: Sequence[str | int]
    size: tuple[int, int] | None
    mode: Literal["grey", "rgb"] | None
    keep_rows: int
    model: Any
    device: str

    def _kind(self, name: KindName) -> Kind:
        owner = type(self).__name__
        if name == "sequence":
            raise ValueError(
                f"{owner} reads tables and images; for sequences use EnergyDetector, or give each window of "
                "a series as one row of a table"
            )
        if name == "image":
            return Pictures(self.judges["image"], owner, self.size, self.mode, "levels")
        return Tables(self.judges["table"], owner, self.categorical, self.ignore)

    def _settle(self, rows: NormalRows) -> None:
        """Refuse, before any training, a criterion that too few rows are kept for."""
        kind = self._kind("image" if isinstance(rows, ImageRows) else "table")
        by = kind.by(self._criterion(kind), kind.units[0])
        check_numbers(self.get_params(deep=False))
        if by in NEED_ROWS and (int(self.keep_rows) < LEAST_STANDARD or rows.n_rows < LEAST_ROWS):
            raise ValueError(
                Advice(
                    f"criterion {by!r} compares with normal {kind.units[0]}s kept with the model, "
                    "and it takes ",
                    Argument("keep_rows"),
                    f" of at least {LEAST_STANDARD} and {LEAST_ROWS} normal {kind.units[0]}s: say ",
                    Argument("criterion", "likelihood"),
                    " to do without",
                )
            )

    def _recipe(self, seed: int, kind: Kind) -> Recipe:
        self._criterion(kind)
        check_numbers(self.get_params(deep=False))
        plan = self.plans[kind.name]
        return Recipe(
            build=self.build_model,
            objective=LIKELIHOODS[self.objectives[kind.name]],
            noise=plan.noise if isinstance(self.noise, str) else float(self.noise),
            spacings=plan.spacings,
            noise_least=plan.noise_least,
            encoder=kind.encoder(),
            refer=kind.refer,
            keeps=int(self.keep_rows),
            places=few_places,
            length=partial(fixed_length, plan.steps) if plan.steps else self._table_length,
            epochs=None if self.epochs is None else int(self.epochs),
            batch_size=int(self.batch_size or plan.batch_size),
            learning_rate=float(self.learning_rate or plan.learning_rate),
            patience=int(self.patience),
            device=device_of(self.device),
            seed=seed,
        )

    def build_model(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A model for what an encoder makes of the data, with fresh weights.

        Args:
            encoder: fitted.
            generator: source of the weights of upland's own model.

        Raises:
            ValueError: the user's own model has no weights, or no latents.
        """
        if self.model is None:
            return self._own(encoder, generator)
        made = as_energy(self.model, encoder.shape if isinstance(encoder, ImageEncoder) else encoder.width)
        if not any(weight.requires_grad for weight in made.parameters()):
            raise ValueError(f"model has no weights that can be trained: {type(made).__name__}")
        if not (isinstance(made, EnergyModel) and isinstance(made, Latent)):
            raise ValueError(
                f"model must be a likelihood with latents (upland.models.base), got {type(made).__name__}"
            )
        return made

    def _table_length(self, rows: int, width: int, a_pass: int) -> int:
        """Steps of a training on a table."""
        return length(rows, width, a_pass)

    @abstractmethod
    def _own(self, encoder: Encoder, generator: torch.Generator | None) -> EnergyModel:
        """Upland's own model for the kind of data."""


class FlowDetector(LatentDetector):
    """Anomaly detection by a normalising flow: a likelihood with latents (KLODS, arXiv 2002.03328).

    Args:
        layers: couplings of the flow of a table.
        levels: scales of the Glow of images; None goes by their size.
        depth: steps of each scale.
        hidden: units of a table's couplings, or filters of images' (one number); "auto" goes by the kind.
        noise: added to the encoded rows in training: for tables the standard deviation of a Gaussian in those
            of a column, for images the width of uniform noise; "auto" is half the typical distance between
            neighbours, within 0.05 to 1, for images one step of their pixels.
        criterion: "likelihood", -log p(x) in nats; "typicality", its distance from the mean of normal data;
            "divergence", the KL of one latent's parts from normal ones; for images also "complexity", nats
            beyond those of a compressor, and "combined"; "auto" is likelihood for tables and combined for
            images.
        calibration: "split" holds out a fifth of the rows and gives exact p-values; "cross" fits five folds;
            "auto" splits from 500 rows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at alpha = 0.05, a number
            as a quantile of the training scores.
        epochs: passes over the training rows; None chooses by their number.
        batch_size: rows or images of a training step at most; None goes by the kind of data.
        learning_rate: of Adam at its highest; None goes by the kind of data.
        patience: looks (20 in a training) at the held-out loss without improvement before it ends.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out, such as the one that names groups.
        kind: what the data are: "table", "image"; "auto" looks.
        id: no use here: for sequences there is EnergyDetector.
        time: no use here: for sequences there is EnergyDetector.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        keep_rows: normal rows or images of each of three sorts (two to learn from, one to compare with) that
            are kept with the model for verdicts on groups and for criteria that need them; 0 keeps none.
        model: a module of your own, a `LikelihoodModel` with `Latent` of `upland.models.base`, or a function
            that makes one for a width D, or shape (C, H, W). None is upland's own flow.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        calibrations_: the held-out scores and the p-values that follow; `calibration_` is the one of `unit_`.
        members_: encoder, model, noise and history of each member.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        kind_: what the data were taken for.
        n_samples_fit_: number of rows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        unit_: what one score is of: "row" or "image".

    Example:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.FlowDetector(random_state=0, epochs=5).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    plans = FLOW_PLANS
    objectives: ClassVar[Mapping[str, str]] = {"table": "likelihood", "image": "dequantised"}
    judges: ClassVar[Mapping[str, Mapping[str, Judge]]] = {"table": FLOW_TABLES, "image": FLOW_IMAGES}

    def __init__(
        self,
        layers: int = 4,
        levels: int | None = None,
        depth: int = 8,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        criterion: Literal[
            "auto", "likelihood", "typicality", "divergence", "complexity", "combined"
        ] = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        kind: Literal["auto", "table", "image"] = "auto",
        id: str | int | None = None,
        time: str | int | None = None,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.layers, self.levels, self.depth = layers, levels, depth
        self.hidden = hidden
        self.noise = noise
        self.criterion = criterion
        self.calibration = calibration
        self.contamination = contamination
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.categorical = categorical
        self.ignore = ignore
        self.kind = kind
        self.id, self.time = id, time
        self.size, self.mode = size, mode
        self.keep_rows = keep_rows
        self.model = model
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def _table_length(self, rows: int, width: int, a_pass: int) -> int:
        return likelihood_length(rows, width, a_pass)

    def _own(self, encoder: Encoder, generator: torch.Generator | None) -> EnergyModel:
        if isinstance(encoder, ImageEncoder):
            levels, (filters, *_) = self.levels, _sizes(self.hidden, (32,))
            scales, tones = None if levels is None else int(levels), min(256, round(1 / encoder.bin))
            return Glow(encoder.shape, scales, int(self.depth), filters, tones, generator)
        hidden = _sizes(self.hidden, (128, 128))
        return table_flow(encoder.width, int(self.layers), hidden, generator=generator)


class VAEDetector(LatentDetector):
    """Anomaly detection by a variational auto-encoder: an energy (-ELBO), a latent, a reconstruction.

    Args:
        hidden: units of each layer of a table's encoder, or filters of the convolutions of images, each of
            which halves the sides; "auto" goes by the kind of data.
        latent: numbers of a latent; "auto" goes by the kind of data.
        noise: standard deviation of the Gaussian noise added to the encoded rows in training; "auto" is one
            and a half times the typical distance between neighbours, for images one step of their pixels.
        criterion: "reconstruction", |x - g(mu)|^2; "likelihood", -ELBO in nats; "typicality", its distance
            from the mean of normal data; "divergence", the KL of one latent's parts from normal ones; for
            images also "complexity" and "combined"; "auto" is reconstruction.
        calibration: "split" holds out a fifth of the rows and gives exact p-values; "cross" fits five folds;
            "auto" splits from 500 rows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at alpha = 0.05, a number
            as a quantile of the training scores.
        epochs: passes over the training rows; None chooses by their number.
        batch_size: rows or images of a training step at most; None goes by the kind of data.
        learning_rate: of Adam at its highest; None goes by the kind of data.
        patience: looks (20 in a training) at the held-out loss without improvement before it ends.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out, such as the one that names groups.
        kind: what the data are: "table", "image"; "auto" looks.
        id: no use here: for sequences there is EnergyDetector.
        time: no use here: for sequences there is EnergyDetector.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        keep_rows: normal rows or images of each of three sorts (two to learn from, one to compare with) that
            are kept with the model for verdicts on groups and for criteria that need them; 0 keeps none.
        model: a module of your own, a `Variational` of `upland.models.base`, or a function that makes one for
            a width D, or shape (C, H, W). None is upland's own VAE.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        calibrations_: the held-out scores and the p-values that follow; `calibration_` is the one of `unit_`.
        members_: encoder, model, noise and history of each member.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        kind_: what the data were taken for.
        n_samples_fit_: number of rows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        unit_: what one score is of: "row" or "image".

    Example:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.VAEDetector(random_state=0, epochs=5).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    plans = VAE_PLANS
    objectives: ClassVar[Mapping[str, str]] = {"table": "evidence", "image": "evidence"}
    judges: ClassVar[Mapping[str, Mapping[str, Judge]]] = {"table": VAE_TABLES, "image": VAE_IMAGES}

    def __init__(
        self,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        latent: int | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        criterion: Literal[
            "auto", "reconstruction", "likelihood", "typicality", "divergence", "complexity", "combined"
        ] = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        kind: Literal["auto", "table", "image"] = "auto",
        id: str | int | None = None,
        time: str | int | None = None,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.hidden, self.latent = hidden, latent
        self.noise = noise
        self.criterion = criterion
        self.calibration = calibration
        self.contamination = contamination
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.categorical = categorical
        self.ignore = ignore
        self.kind = kind
        self.id, self.time = id, time
        self.size, self.mode = size, mode
        self.keep_rows = keep_rows
        self.model = model
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def _own(self, encoder: Encoder, generator: torch.Generator | None) -> EnergyModel:
        latent = None if isinstance(self.latent, str) else int(self.latent)
        if isinstance(encoder, ImageEncoder):
            return convolutional_vae(encoder.shape, _sizes(self.hidden, (32, 64)), latent or 32, generator)
        few = max(1, min(8, encoder.width // 2))
        return dense_vae(encoder.width, _sizes(self.hidden, (64, 64)), latent or few, generator)


def _sizes(told: Sequence[int] | str, usual: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes that are told, or the usual ones."""
    return usual if isinstance(told, str) else tuple(int(size) for size in told)
