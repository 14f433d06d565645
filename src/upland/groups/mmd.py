r"""The squared maximum mean discrepancy from normal rows (Gretton et al. 2012).

|mean phi - reference mean|^2 in random Fourier features phi of a Gaussian kernel (Rahimi and Recht 2007),
whose bandwidth is the median distance between normal rows.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.coordinates import Space, flat, gaussian_matrix, median_distance, product, space_of
from upland.groups.outputs import ModelOutputs


@dataclass
class MeanDiscrepancy(Statistic):
    """The squared maximum mean discrepancy from normal rows.

    Args:
        space: "latents" or "points".
        frequencies: random ones, each a cosine and a sine.
    """

    space: Space = "latents"
    frequencies: int = 128

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """Frequencies of the kernel and the mean embedding of normal rows.

        Args:
            outputs: of normal rows.
        """
        x = flat(outputs, self.space)
        frequencies = gaussian_matrix(x.shape[1], self.frequencies) / median_distance(x)
        return {"frequencies": frequencies, "mean": self._embedded(x, frequencies).mean(0)}

    def _embedded(self, x: Tensor, frequencies: Tensor) -> Tensor:
        angle = product(
            x, frequencies
        ).numpy()  # NumPy's last bit does not depend on the position, PyTorch's does
        waves = np.concatenate([np.cos(angle), np.sin(angle)], 1)
        return torch.from_numpy(waves) / math.sqrt(self.frequencies)

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Cosines and sines: `(N, 2 M)`."""
        return self._embedded(flat(outputs, self.space), self.fitted["frequencies"])

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """|mean - reference mean|^2: `(G, 2 M)`, `(G,)` -> `(G,)`."""
        return (means - self.fitted["mean"]).square().sum(-1)


def mmd(outputs: ModelOutputs) -> MeanDiscrepancy:
    """Of the latents where the model has them, otherwise of the encoded rows.

    Args:
        outputs: of some rows.
    """
    return MeanDiscrepancy(space_of(outputs))
