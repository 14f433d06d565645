"""How far a group's mean energy is from that of normal rows (Nalisnick et al. 2019)."""

from dataclasses import dataclass

from torch import Tensor

from upland.groups.likelihood import Likelihood
from upland.groups.outputs import ModelOutputs


@dataclass
class Typicality(Likelihood):
    """How far a group's mean energy is from that of normal rows, in nats, on either side."""

    positive = True

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """The mean energy of normal rows.

        Args:
            outputs: of normal rows.
        """
        return {"mean": self.features(outputs).mean(0)}

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """|mean E - reference mean|: `(G, 1)`, `(G,)` -> `(G,)`."""
        return (means - self.fitted["mean"])[:, 0].abs()


def typicality(outputs: ModelOutputs) -> Typicality:
    """The statistic, which suits every model.

    Args:
        outputs: of some rows.
    """
    return Typicality()
