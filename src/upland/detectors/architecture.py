"""What every architecture of a model is: sizes as a fit resolved them, and how a model is built of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch

from upland.data.encoder import Encoder
from upland.models.base import EnergyModel


@dataclass(frozen=True)
class Architecture(ABC):
    """The sizes of a model: abstract, one method to write.

    Attributes:
        name: in a saved file.
        model_type: of what `build` makes, for criteria that ask for one.
        own: whether the model is the user's own module.
        in_closed_form: whether the model is fitted at once, from its initial rows, without training.
        leaves_out: whether one in closed form leaves out a tenth of the rows that it may see, for criteria
            and statistics to be fitted on.
        of: families and modalities of the estimators that have it.
    """

    name: ClassVar[str]
    model_type: ClassVar[type] = EnergyModel
    own: ClassVar[bool] = False
    in_closed_form: ClassVar[bool] = False
    leaves_out: ClassVar[bool] = False
    of: ClassVar[tuple[tuple[str, str], ...]]

    @abstractmethod
    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A model with fresh weights.

        Args:
            encoder: fitted.
            generator: source of the weights; None draws from torch's own.
        """

    def resolved(self, encoder: Encoder) -> Self:
        """The same with what goes by the encoded data.

        Args:
            encoder: fitted.
        """
        return self

    def of_classes(self, names: tuple[str, ...]) -> Architecture:
        """The same for normal data of several classes.

        Args:
            names: of the classes.

        Raises:
            ValueError: there is no such model.
        """
        raise ValueError("classes are of upland's own flow of images: leave model out")

    def to_json(self) -> dict[str, Any]:
        """Name and sizes as plain data."""
        plain = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }
        return {"name": self.name, **plain}
