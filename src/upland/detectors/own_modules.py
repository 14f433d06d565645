"""Modules of the user's own as architectures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from upland.data.encoder import Encoder
from upland.detectors.architecture import Architecture
from upland.models.base import EnergyModel, Latent, ModuleEnergy, Variational
from upland.models.recurrent import RecurrentEnergy
from upland.models.recurrent_flow import RecurrentFlow
from upland.models.sequential import SequenceModel


@dataclass(frozen=True)
class OwnModule(Architecture):
    """A module of the user's own.

    Args:
        module: the module, or a function that makes one for a width D or a shape (C, H, W).
    """

    module: nn.Module | Callable[[Any], nn.Module] | None
    name: ClassVar[str] = "own module"
    of: ClassVar[tuple[tuple[str, str], ...]] = (("energy", "table"), ("energy", "image"))
    own: ClassVar[bool] = True

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A copy of the module, or what the function makes.

        Raises:
            ValueError: it has no weights that can be trained, or is no model of such data.
        """
        assert self.module is not None
        size = encoder.shape if encoder.modality == "image" else encoder.width
        own = self.module
        made = copy.deepcopy(own) if isinstance(own, nn.Module) else _seeded(own, size, generator)
        if not isinstance(made, nn.Module):
            raise ValueError(f"model must make a torch module, but made {made!r}")
        if not any(weight.requires_grad for weight in made.parameters()):
            raise ValueError(f"model has no weights that can be trained: {type(made).__name__}")
        self.check(made)
        if isinstance(made, SequenceModel) and made.width != encoder.width:
            raise ValueError(
                f"each step has {encoder.width} encoded channel(s), and the model takes {made.width}"
            )
        if isinstance(made, SequenceModel) and made.context_width != encoder.context_width:
            wanted, text = encoder.context_width, f"the model takes {made.context_width}: make one with"
            raise ValueError(f"each step has {wanted} context input(s), and {text} context_width={wanted}")
        if any(weight.dtype != torch.float32 for weight in made.parameters()):
            made.float()  # encoded rows are float32, whatever dtype the program makes modules with
        return made if isinstance(made, EnergyModel) else ModuleEnergy(made)

    def check(self, made: nn.Module) -> None:
        """Refuse a module that the estimator cannot use; any will do for an energy.

        Args:
            made: the module.
        """

    def to_json(self) -> dict[str, Any]:
        """The name alone: a file holds weights, no code."""
        return {"name": self.name}


def _seeded(make: Callable[[Any], nn.Module], size: Any, generator: torch.Generator | None) -> nn.Module:
    """What a function makes, with torch's own source of randomness in the state of the generator and put back
    afterwards, so that with a seed two fits are equal.
    """
    if generator is None:
        return make(size)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator.get_state())
        return make(size)


@dataclass(frozen=True)
class OwnRecurrent(OwnModule):
    """A recurrent energy of the user's own."""

    name: ClassVar[str] = "own recurrent energy"
    of = (("energy", "sequence"),)
    model_type: ClassVar[type] = RecurrentEnergy

    def check(self, made: nn.Module) -> None:
        """Refuse what is no `RecurrentEnergy`; raises ValueError.

        Args:
            made: the module.
        """
        if not isinstance(made, RecurrentEnergy):
            raise ValueError(f"a model of sequences must be a RecurrentEnergy, got {type(made).__name__}")


@dataclass(frozen=True)
class OwnSequenceFlow(OwnModule):
    """A recurrent flow of the user's own."""

    name: ClassVar[str] = "own recurrent flow"
    of = (("flow", "sequence"),)
    model_type: ClassVar[type] = RecurrentFlow

    def check(self, made: nn.Module) -> None:
        """Refuse what is no `RecurrentFlow`; raises ValueError.

        Args:
            made: the module.
        """
        if not isinstance(made, RecurrentFlow):
            raise ValueError(f"a flow of sequences must be a RecurrentFlow, got {type(made).__name__}")


@dataclass(frozen=True)
class OwnLatent(OwnModule):
    """A likelihood with latents of the user's own."""

    name: ClassVar[str] = "own likelihood"
    of = (
        *(("flow", "table"), ("flow", "image")),
        *(("vae", "table"), ("vae", "image")),
    )
    model_type: ClassVar[type] = Variational  # an energy with latents

    def check(self, made: nn.Module) -> None:
        """Refuse what has no latents; raises ValueError.

        Args:
            made: the module.
        """
        if not (isinstance(made, EnergyModel) and isinstance(made, Latent)):
            raise ValueError(
                f"model must be a likelihood with latents (upland.models.base), got {type(made).__name__}"
            )
