"""The detectors: which model goes with which objective, criterion and encoder. The contract is
`upland.detection`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from upland.criteria.points import CRITERIA, Criterion
from upland.data.tables import TableEncoder
from upland.detection import Detector
from upland.fitting import Recipe, as_energy
from upland.models.base import EnergyModel, ModuleEnergy
from upland.models.energies import DenseEnergy
from upland.objectives import OBJECTIVES


class EnergyDetector(Detector):
    """Anomaly detection by a deep energy trained by score matching (DSEBM, Zhai et al., ICML 2016).

    Args:
        hidden: units of each softplus layer of the dense energy.
        noise: sigma of the score matching, in standard deviations of a column; "auto" takes one and a half
            times the typical distance per dimension between neighbours among the training rows, within 0.1
            to 1.
        objective: "denoising" or "sliced" score matching.
        criterion: "reconstruction", |x - f(x)|^2, or "energy", E / sigma^2 in nats.
        calibration: "split" holds out a fifth of the rows and gives exact p-values; "cross" fits five folds;
            "auto" splits from 500 rows.
        contamination: sets scikit-learn's `offset_`: "auto" from the calibration at alpha = 0.05, a number
            as a quantile of the training scores.
        epochs: passes over the training rows; None chooses by their number.
        batch_size: rows of a training step at most.
        learning_rate: of Adam at its highest.
        patience: looks (20 in a training) at the held-out loss without improvement before it ends.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        model: a module of your own from `(N, D)` encoded rows to `(N,)` energies, or a function that makes
            one for a width D; None is the dense energy.
        device: "auto", "cpu", "cuda" or any torch device.
        progress: whether to show a bar; "auto" shows one on a terminal.
        random_state: seed or NumPy RandomState; with a seed two fits are equal bit for bit.

    Attributes:
        calibration_: the held-out scores and the p-values that follow.
        members_: encoder, model, noise and history of each member.
        criterion_: the criterion that `calibration_` and `offset_` are of.
        n_samples_fit_: number of rows that the fit was given, those held out among them.
        offset_: scikit-learn's threshold: `decision_function = score_samples - offset_`.

    Example:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(200, 3))
        >>> detector = upland.EnergyDetector(random_state=0).fit(rows)
        >>> detector.flag(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]])).tolist()
        [False, True]
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64, 64),
        noise: float | Literal["auto"] = "auto",
        objective: Literal["denoising", "sliced"] = "denoising",
        criterion: Literal["reconstruction", "energy"] = "reconstruction",
        calibration: Literal["auto", "split", "cross"] = "auto",
        contamination: float | Literal["auto"] = "auto",
        epochs: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        patience: int = 5,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        model: nn.Module | Callable[[int], nn.Module] | None = None,
        device: str = "auto",
        progress: bool | Literal["auto"] = "auto",
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.noise = noise
        self.objective = objective
        self.criterion = criterion
        self.calibration = calibration
        self.contamination = contamination
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.categorical = categorical
        self.ignore = ignore
        self.model = model
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def _criterion(self) -> Criterion:
        criterion: Criterion = _one_of(CRITERIA, self.criterion, "criterion")
        return criterion

    def _recipe(self, seed: int) -> Recipe:
        self._criterion()
        _check_numbers(self)
        return Recipe(
            build=self.build_model,
            objective=_one_of(OBJECTIVES, self.objective, "objective"),
            noise="auto" if isinstance(self.noise, str) else float(self.noise),
            encoder=TableEncoder(categorical=self.categorical, ignore=self.ignore, owner=type(self).__name__),
            epochs=None if self.epochs is None else int(self.epochs),
            batch_size=int(self.batch_size),
            learning_rate=float(self.learning_rate),
            patience=int(self.patience),
            device=_device(self.device),
            seed=seed,
        )

    def build_model(self, width: int, generator: torch.Generator | None = None) -> EnergyModel:
        """A model for encoded rows of a width, with fresh weights.

        Args:
            width: number of encoded inputs, D.
            generator: source of the weights of upland's own model.
        """
        if self.model is None:
            return DenseEnergy(width, tuple(self.hidden), generator)
        made = as_energy(self.model, width)
        if not any(weight.requires_grad for weight in made.parameters()):
            raise ValueError(f"model has no weights that can be trained: {type(made).__name__}")
        return made if isinstance(made, EnergyModel) else ModuleEnergy(made)


def _one_of(table: dict[str, Any], name: str, argument: str) -> Any:
    if name not in table:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, table))}, got {name!r}")
    return table[name]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {name!r} cannot be used: {error}") from None
    return device


def _check_numbers(detector: EnergyDetector) -> None:
    hidden: Any = detector.hidden
    if isinstance(hidden, str) or not isinstance(hidden, Sequence | np.ndarray):
        raise ValueError(
            f"hidden must be a sequence of layer widths, as in hidden=(64, 64, 64), got {detector.hidden!r}"
        )
    if not (detector.model is None or isinstance(detector.model, nn.Module) or callable(detector.model)):
        raise ValueError(
            f"model must be a torch module, or a function that makes one for a width, got {detector.model!r}"
        )
    whole: dict[str, Any] = {"batch_size": detector.batch_size, "patience": detector.patience}
    if detector.epochs is not None:
        whole["epochs"] = detector.epochs
    whole |= {f"hidden[{i}]": units for i, units in enumerate(detector.hidden)}
    for name, value in whole.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    positive: dict[str, Any] = {"learning_rate": detector.learning_rate, "noise": detector.noise}
    for name, number in positive.items():
        if name == "noise" and number == "auto":
            continue
        if not isinstance(number, Real) or not 0 < float(number) < np.inf:
            raise ValueError(f"{name} must be a positive number, got {number!r}")
    if not len(detector.hidden):
        raise ValueError("hidden must name at least one layer, as in hidden=(64, 64, 64)")
