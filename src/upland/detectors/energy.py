"""The detectors: which model goes with which objective, criterion and encoder. The contract is
`upland.detectors.base`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from upland.data.encoder import Encoder
from upland.data.encoder import Kind as KindName
from upland.data.image.encoder import ImageRows
from upland.data.rows import NormalRows
from upland.data.sequence.windows import SequenceRows
from upland.detectors.arguments import check_numbers, device_of, one_of
from upland.detectors.base import Detector
from upland.detectors.fitting import SPLIT_FROM, Recipe, as_energy, length
from upland.detectors.kinds import COMBINED, ENERGY, RECONSTRUCTION, Kind, Per, Pictures, Tables
from upland.detectors.sequencing import Series
from upland.io.advice import Advice, Argument
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.convolutional import ConvolutionalEnergy
from upland.models.energies import DenseEnergy
from upland.models.multiscale import PRIORS, SCALES, MultiscaleEnergy
from upland.models.recurrent import RecurrentEnergy
from upland.training.objectives import OBJECTIVES, conditional
from upland.training.schedule import (
    Plan,
    few_places,
    fixed_length,
    kernel_draws,
    kernel_places,
    multiscale_length,
)

CriterionName = Literal["auto", "combined", "reconstruction", "energy", "score_test", "worst_channel"] | None

NETS = 2
"""Nets of a table's ensemble where one member calibrates."""
SMALL_IMAGE = 4_096
"""Values of an image up to which dense layers see its pixels without convolutions below."""


PLANS = {
    "table": Plan(0, 128, 1e-3),
    "scales": Plan(0, 128, 2e-3, 1.0),
    "sequence": Plan(250, 16, 1e-3),
    "series": Plan(500, 16, 4e-3),
    "image": Plan(300, 128, 1e-3, 1.0),
}


class EnergyDetector(Detector):
    """Anomaly detection by a deep energy trained by score matching (DSEBM, Zhai et al., ICML 2016).

    Args:
        hidden: units of each dense softplus layer; "auto" goes by the kind of data.
        noise: sigma of the score matching, in standard deviations of a column; "auto" trains tables at all
            scales from 0.05 to 1.5 at once and scores at three of them; where there is one scale only
            (sequences, sliced score matching, a model of your own) it is one and a half times the typical
            distance per dimension between neighbours among the training rows, within 0.1 to 1; for images a
            share 1 / 6.5 of the norm of a typical one.
        prior: what the energy of a table stands on: "kernel", training rows, which stay in the model (some
            thousands at most, of each member); "mixture", the means of up to 64 clusters of them and some
            values of each column; "centre", the paper's single centre; "auto" is the kernel.
        members: nets of a table's energy that are trained together; "auto" is two, one in each fold of a
            cross calibration. `EnergyDetector(noise=0.5, prior="centre", members=1)` is the paper's model.
        objective: "denoising" or "sliced" score matching.
        criterion: "combined" (tables), the cubic mean over scales of noise, and over views of the prior, of
            how much further a row is from where it is denoised to, and from training rows, than normal rows
            are, in their standard deviations; "reconstruction", |x - f(x)|^2; "energy", E / sigma^2 in nats
            (over several scales the mean of E, in sigma^2 nats); for sequences "score_test", how far they
            pull the model's biases, and "worst_channel", the smoothed residual of the strangest channel;
            "auto" or None is combined for tables, reconstruction for images and the paper's model, the score
            test for whole sequences and the worst channel for steps. All but the score test are one-sided:
            what is calmer than normal, as a sensor that is stuck, passes.
        calibration: "split" holds out a fifth of the rows and gives exact p-values; "cross" fits five folds;
            "auto" splits from 500 rows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at alpha = 0.05, a number
            as a quantile of the training scores. It is of the fit's unit: `predict` on the other one (steps
            after a fit on sequences, or sequences after steps) goes by the calibration at alpha = 0.05.
        epochs: passes over the training rows; None chooses by their number.
        batch_size: rows, images or sequences of a training step at most; None is 128, of sequences 16.
        learning_rate: of Adam at its highest; None goes by the kind of data, 0.001 for tables.
        patience: looks (20 in a training) at the held-out loss without improvement before it ends.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        kind: what the data are: "table", "sequence", "image"; "auto" looks: three dimensions of floats or a
            time column are sequences, three of uint8, four, or a folder of pictures are images.
        id: the column of a long frame that tells its sequences apart.
        time: the column of a long frame that orders the steps of a sequence.
        window: steps of the windows that long series are cut into to train on; None cuts nothing.
        stride: steps from one window to the next; None is the window itself.
        per: what one score is of, "sequence" or "step"; "auto" is a sequence for arrays `(N, T, D)` and
            lists, a time step for long frames and one long series.
        smoothing: steps, about, that the score of a step in a long series is smoothed over; with 1 it falls
            back at once after a fault; "auto" is a window of the training.
        frame: time steps that are judged together; 1 is the paper's recurrent model; "auto" is a quarter of a
            whole sequence, and 16 steps of a long series.
        cell: the recurrent net: "lstm", "gru" or "rnn".
        filters: of each convolution below the dense layers; "auto" is none up to 4,096 values an image, then
            (16, 32).
        kernel: side of a filter, an odd number.
        pool: what follows a convolution, "average" or "max"; "none" moves two places at a time instead.
        centres: centres of the first term of an image's energy; 1 is the paper's.
        size: (height, width) to bring images to; None refuses images of another size than the first.
        mode: "grey" or "rgb" to bring images to; None refuses a mixture.
        keep_rows: normal rows or images of each of three sorts (two to learn from, one to compare with) that
            are kept with the model for verdicts on groups; 0 keeps none of these, nor does any model of
            sequences; what `prior` keeps is besides.
        model: a module of your own from `(N, D)` encoded rows, or `(N, C, H, W)` images, to `(N,)` energies,
            or a function that makes one for a width D, or shape (C, H, W); for sequences a RecurrentEnergy.
            None is upland's own energy for the kind of data.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        calibrations_: the held-out scores of each unit (rows, images, sequences, steps) and the p-values that
            follow; `calibration_` is the one of `unit_`.
        members_: encoder, model, noise and history of each member.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        frame_: time steps that are judged together (sequences only).
        kind_: what the data were taken for.
        nets_: nets in each member of a multi-scale energy of a table; 0 for every other model.
        smoothing_: steps that the score of a step is smoothed over (sequences only).
        window_: steps of the windows that long series were cut into (sequences only).
        n_samples_fit_: number of rows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.
        params_: the constructor's arguments as the fit found them; those that decide the model are saved.
        unit_: what one score is of: "row", "image", "sequence" or "step".

    Example:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    nets_: int = 0
    frame_: int
    window_: int | None
    smoothing_: int

    def __init__(
        self,
        hidden: Sequence[int] | Literal["auto"] = "auto",
        noise: float | Literal["auto"] = "auto",
        prior: Literal["auto", "kernel", "mixture", "centre"] = "auto",
        members: int | Literal["auto"] = "auto",
        objective: Literal["denoising", "sliced"] = "denoising",
        criterion: CriterionName = "auto",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int = 5,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        kind: Literal["auto", "table", "sequence", "image"] = "auto",
        id: str | int | None = None,
        time: str | int | None = None,
        window: int | Literal["auto"] | None = "auto",
        stride: int | None = None,
        per: Per = "auto",
        smoothing: int | Literal["auto"] = "auto",
        frame: int | Literal["auto"] = "auto",
        cell: Literal["lstm", "gru", "rnn"] = "lstm",
        filters: Sequence[int] | Literal["auto"] = "auto",
        kernel: int = 5,
        pool: Literal["average", "max", "none"] = "average",
        centres: int = 1_024,
        size: tuple[int, int] | None = None,
        mode: Literal["grey", "rgb"] | None = None,
        keep_rows: int = 2_000,
        model: nn.Module | Callable[[Any], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.hidden, self.noise = hidden, noise
        self.prior, self.members = prior, members
        self.objective = objective
        self.criterion = criterion
        self.calibration = calibration
        self.contamination = contamination
        self.epochs, self.batch_size = epochs, batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.categorical, self.ignore = categorical, ignore
        self.kind = kind
        self.id, self.time = id, time
        self.window, self.stride = window, stride
        self.per = per
        self.smoothing = smoothing
        self.frame = frame
        self.cell = cell
        self.filters, self.kernel, self.pool, self.centres = filters, kernel, pool, centres
        self.size, self.mode = size, mode
        self.keep_rows = keep_rows
        self.model = model
        self.device, self.progress = device, progress
        self.random_state = random_state

    def _kind(self, name: KindName) -> Kind:
        owner = type(self).__name__
        judges = {"reconstruction": RECONSTRUCTION, "energy": ENERGY}
        if name == "table" and vars(self).get("nets_", self._is_multiscale()):
            judges = {"combined": COMBINED, **judges}
        if name == "image":
            return Pictures(judges, owner, self.size, self.mode)
        if name == "sequence":
            return Series(
                self.id,
                self.time,
                self.window,
                self.stride,
                one_of({"auto": "auto", "sequence": "sequence", "step": "step"}, self.per, "per"),
                vars(self).get("smoothing_", 1),
                self.categorical,
                self.ignore,
                owner,
                vars(self).get("window_"),
            )
        return Tables(judges, owner, self.categorical, self.ignore)

    def _recipe(self, seed: int, kind: Kind) -> Recipe:
        self._criterion(kind)
        check_numbers(self.get_params(deep=False))
        scales = kind.name == "table" and self.nets_ > 0
        plan = PLANS[
            "series" if kind.name == "sequence" and self.window_ else "scales" if scales else kind.name
        ]
        return Recipe(
            build=self.build_model,
            objective=conditional if scales else one_of(OBJECTIVES, self.objective, "objective"),
            noise=1.0 if scales else self._noise(plan),
            spacings=plan.spacings,
            noise_least=plan.noise_least,
            encoder=kind.encoder(),
            refer=kind.refer,
            keeps=int(self.keep_rows),
            places=kernel_draws if scales else few_places,
            length=self._length(kind, plan),
            epochs=None if self.epochs is None else int(self.epochs),
            batch_size=int(self.batch_size or plan.batch_size),
            learning_rate=float(self.learning_rate or plan.learning_rate),
            patience=int(self.patience),
            device=device_of(self.device),
            seed=seed,
        )

    def _length(self, kind: Kind, plan: Plan) -> Callable[[int, int, int], int]:
        if kind.name != "table":
            return partial(fixed_length, plan.steps)
        return multiscale_length if self.nets_ else length

    def _is_multiscale(self) -> bool:
        """Whether a table's model is the multi-scale energy: not with another objective or model, nor where
        it is the paper's.
        """
        paper = not isinstance(self.noise, str) and self.prior == "centre" and self.members == 1
        return self.model is None and self.objective == "denoising" and not paper

    def _check_ensemble(self, kind: KindName) -> None:
        """Refuse a prior or members that the model has none of."""
        one_of(dict.fromkeys(("auto", *PRIORS)), self.prior, "prior")
        told = {"prior": self.prior not in ("auto", "centre"), "members": self.members not in ("auto", 1)}
        if kind == "table" and self._is_multiscale():
            return
        if wrong := [name for name, is_told in told.items() if is_told]:
            raise ValueError(
                Advice(
                    Argument(wrong[0], getattr(self, wrong[0])),
                    " is for tables, with the objective 'denoising' and upland's own model: leave it 'auto'",
                )
            )

    def _noise(self, plan: Plan) -> float | Literal["auto", "bin"]:
        return plan.noise if isinstance(self.noise, str) else float(self.noise)

    def _settle(self, rows: NormalRows) -> None:
        """Choose the model of a table, and the frame by the length of what is trained on; what an earlier fit
        chose goes.
        """
        check_numbers(self.get_params(deep=False))
        for chosen in ("frame_", "window_", "smoothing_", "nets_"):
            self.__dict__.pop(chosen, None)
        images = isinstance(rows, ImageRows)
        name: KindName = "sequence" if isinstance(rows, SequenceRows) else "image" if images else "table"
        self._check_ensemble(name)
        folds = self.calibration == "cross" or (self.calibration == "auto" and rows.n_rows < SPLIT_FROM)
        nets = (1 if folds else NETS) if isinstance(self.members, str) else int(self.members)
        self.nets_ = nets if name == "table" and self._is_multiscale() else 0
        if isinstance(rows, SequenceRows):
            self.frame_ = rows.frame() if isinstance(self.frame, str) else int(self.frame)
            self.window_ = rows.window_
            told = None if isinstance(self.smoothing, str) else int(self.smoothing)
            self.smoothing_ = told or self.window_ or self.frame_

    def build_model(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A model for what an encoder makes of the data, with fresh weights.

        Args:
            encoder: fitted.
            generator: source of the weights of upland's own model.
        """
        if self.model is not None:
            return self._own_model(self.model, encoder)
        if encoder.kind == "image":
            return self._convolutional(encoder, generator)
        if encoder.kind == "sequence":
            return self._recurrent(encoder, generator)
        if self.nets_:
            return self._multiscale(encoder, generator)
        hidden = (64, 64, 64) if isinstance(self.hidden, str) else tuple(self.hidden)
        return DenseEnergy(encoder.width, hidden, generator)

    def _multiscale(self, encoder: Encoder, generator: torch.Generator | None) -> MultiscaleEnergy:
        return MultiscaleEnergy(
            encoder.width,
            (128, 128) if isinstance(self.hidden, str) else tuple(self.hidden),
            self.nets_,
            SCALES if isinstance(self.noise, str) else (float(self.noise),),
            "kernel" if self.prior == "auto" else self.prior,
            kernel_places(encoder.width),
            generator,
        )

    def _convolutional(self, encoder: Encoder, generator: torch.Generator | None) -> ConvolutionalEnergy:
        small = math.prod(encoder.shape) <= SMALL_IMAGE
        filters = (() if small else (16, 32)) if isinstance(self.filters, str) else tuple(self.filters)
        hidden = (256, 256) if isinstance(self.hidden, str) else tuple(self.hidden)
        return ConvolutionalEnergy(
            encoder.shape,
            filters,
            int(self.kernel),
            self.pool,
            hidden,
            centres=int(self.centres),
            spread=float(self._noise(PLANS["image"])),
            generator=generator,
        )

    def _recurrent(self, encoder: Encoder, generator: torch.Generator | None) -> RecurrentEnergy:
        hidden = (64, 64) if isinstance(self.hidden, str) else tuple(self.hidden)
        return RecurrentEnergy(encoder.width, hidden, frame=self.frame_, cell=self.cell, generator=generator)

    def _own_model(self, own: Any, encoder: Encoder) -> EnergyModel:
        made = as_energy(own, encoder.shape if encoder.kind == "image" else encoder.width)
        if not any(weight.requires_grad for weight in made.parameters()):
            raise ValueError(f"model has no weights that can be trained: {type(made).__name__}")
        if encoder.kind == "sequence" and not isinstance(made, RecurrentEnergy):
            raise ValueError(f"a model of sequences must be a RecurrentEnergy, got {type(made).__name__}")
        return made if isinstance(made, EnergyModel) else ModuleEnergy(made)
