"""A fit that can go on where it stopped: one file, written at every check of the held-out loss.

It holds each member's weights, best weights, optimiser state and losses, the seed, and what the fit was
started with; a fit started with anything else is refused rather than mixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upland.data.rows import NormalRows
from upland.io.modelfile import read_tensors, write_tensors
from upland.training.loop import Training


class Checkpoint:
    """The file of one fit.

    Args:
        path: where it is, or will be.
        fit: what the fit was started with (`identity_of`); the file of another fit is refused.

    Raises:
        FileNotFoundError: there is no folder to write it into.
        ValueError: the file belongs to another fit, or is no upland file.
    """

    def __init__(self, path: str | Path, fit: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._fit = json.loads(json.dumps(fit, default=str))
        self._seed: int | None = None
        self._members: dict[str, Any] = {}
        self._tensors: dict[str, Any] = {}
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"cannot keep a checkpoint at {self.path}: there is no folder {self.path.parent}"
            )
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        tensors, manifest = read_tensors(self.path)
        if manifest.get("content") != "checkpoint":
            raise ValueError(f"{self.path} is an upland file, but no checkpoint: name another file")
        other = _differing(self._fit, manifest["fit"])
        if other:
            raise ValueError(_of_another_fit(self.path, other))
        self._seed, self._members, self._tensors = manifest["seed"], manifest["members"], tensors

    def seed(self, fresh: int) -> int:
        """The seed of the fit that was begun, or the fresh one where none was."""
        if self._seed is None:
            self._seed = fresh
        return self._seed

    def resume(self, number: int, training: Training) -> None:
        """Put a member's training where it was; raises ValueError where its model was another."""
        if str(number) not in self._members:
            return
        plain = dict(self._members[str(number)])
        if plain.pop("model", None) != str(training.model):
            raise ValueError(_of_another_fit(self.path, ["model"]))
        prefix = f"{number}/"
        arrays = {k.removeprefix(prefix): v for k, v in self._tensors.items() if k.startswith(prefix)}
        training.restore(arrays, plain)

    def save(self, number: int, training: Training) -> None:
        """Write a member's state, and all that was there, as one file that replaces the last."""
        arrays, plain = training.to_state()
        self._members[str(number)] = plain | {"model": str(training.model)}
        self._tensors |= {f"{number}/{name}": value for name, value in arrays.items()}
        manifest = {"content": "checkpoint", "fit": self._fit, "seed": self._seed, "members": self._members}
        write_tensors(self.path, self._tensors, manifest)


def _of_another_fit(path: Path, parts: Sequence[str]) -> str:
    return (
        f"{path} is the checkpoint of another fit (other {', '.join(parts)}): delete it or name another file"
    )


def identity_of(rows: NormalRows, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one fit from another: the rows' number, names and values, and the constructor's arguments.

    Of rows in memory every value counts; of a file beyond memory, some thousands spread over it.
    """
    return {
        "rows": rows.n_rows,
        "columns": list(rows.names),
        "values": rows.digest(),
        "settings": dict(settings),
    }


def _differing(fit: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What is different: "rows", "columns", "values", or the names of arguments."""
    parts = [key for key in ("rows", "columns", "values") if found.get(key) != fit[key]]
    there = found.get("settings", {})
    names = sorted({*fit["settings"], *there})
    parts += [name for name in names if there.get(name) != fit["settings"].get(name)]
    return parts
