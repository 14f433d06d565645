"""Sequences and series as stored, and the two protocols they are measured in.

**One versus rest.** Each class of a set is normal in turn: its training sequences train, the whole test part
is scored, and a test sequence of another class is an anomaly. What is reported is the mean over classes.

**Telemetry.** Every series has its own detector. A channel of SMAP or MSL brings its own training part; a
series of NAB is trained on its first 15 %, the share that NAB itself calls the probationary period, and
scored on the rest. Training steps are used as they are, also where a label calls some of them anomalous. A
series whose scored part has no anomaly (or nothing else) cannot be ranked and is left out; so is SMAP's P-2,
which the source labels twice and differently, as other benchmarks do. There is no point adjustment: a step is
right or wrong by itself.

Everything is read from `sequences/` below the folder of data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SETS = ("NATOPS", "JapaneseVowels", "BasicMotions", "Epilepsy", "ItalyPowerDemand", "GunPoint")
COLLECTIONS = ("smap", "msl", "nab")
TWICE = "P_2"  # of SMAP
PROBATION = 0.15  # share of a NAB series that trains


@dataclass(frozen=True)
class SequenceSplit:
    """Training sequences (one class), test sequences, each (T_i, D), and test labels (1 = another class)."""

    train: list[Array]
    test: list[Array]
    labels: Labels


@dataclass(frozen=True)
class SequenceSet:
    """Both parts of a labelled set; a sequence is (T_i, D)."""

    train: list[Array]
    train_classes: NDArray[np.str_]
    test: list[Array]
    test_classes: NDArray[np.str_]

    @property
    def classes(self) -> list[str]:
        return sorted(set(self.train_classes.tolist()))

    def normal(self, name: str) -> SequenceSplit:
        """The split in which class `name` is normal."""
        rows = np.flatnonzero(self.train_classes == name)
        labels = (self.test_classes != name).astype(np.int64)
        return SequenceSplit([self.train[row] for row in rows], self.test, labels)


@dataclass(frozen=True)
class SeriesSplit:
    """The part that trains (T, D), the part that is scored, and the labels of its steps (1 = anomaly)."""

    train: Array
    test: Array
    labels: Labels

    @property
    def can_be_ranked(self) -> bool:
        return 0 < int(self.labels.sum()) < len(self.labels)


# -- one versus rest -----------------------------------------------------------------------------------------


def load_sequences(data: Path, name: str) -> SequenceSet:
    """One of `SETS`, each sequence at its own length."""
    with np.load(stored_in(data, name)) as stored:
        parts = []
        for part in ("train", "test"):
            lengths = stored.get(f"len_{part}")
            parts += [sequences_of(stored[f"x_{part}"], lengths), stored[f"y_{part}"].astype(str)]
    return SequenceSet(*parts)


def sequences_of(x: NDArray[np.float32], lengths: NDArray[np.int32] | None) -> list[Array]:
    """(N, T) or padded (N, C, T) to N arrays (T_i, C)."""
    wide = np.asarray(x, dtype=np.float64).reshape(len(x), -1, x.shape[-1]).transpose(0, 2, 1)
    if lengths is None:
        return list(wide)
    return [steps[:length] for steps, length in zip(wide, lengths, strict=True)]


def measures(labels: Labels, scores: Array) -> dict[str, float]:
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "auprc": float(average_precision_score(labels, scores)),
    }


# -- telemetry -----------------------------------------------------------------------------------------------


def load_collection(data: Path, name: str) -> Iterator[tuple[str, SeriesSplit]]:
    """Each series of one of `COLLECTIONS` but P-2, those that cannot be ranked included."""
    with np.load(stored_in(data, name)) as stored:
        if name == "nab":
            for series in named(stored, "__value"):
                yield series, probation(stored[f"{series}__value"], stored[f"{series}__label"])
        else:
            for series in (key for key in named(stored, "_train") if (name, key) != ("smap", TWICE)):
                parts = (stored[f"{series}_{part}"] for part in ("train", "test", "label"))
                yield series, series_split(*parts)


def named(stored: np.lib.npyio.NpzFile, suffix: str) -> list[str]:
    return [key.removesuffix(suffix) for key in stored if key.endswith(suffix)]


def probation(values: NDArray[np.float32], labels: NDArray[np.uint8]) -> SeriesSplit:
    """The first 15 % (rounded down) train; the rest is scored."""
    end = int(PROBATION * len(values))
    return series_split(values[:end], values[end:], labels[end:])


def series_split(
    train: NDArray[np.float32], test: NDArray[np.float32], labels: NDArray[np.uint8]
) -> SeriesSplit:
    steps = (np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (train, test))
    return SeriesSplit(*steps, labels.astype(np.int64))


def stored_in(data: Path, name: str) -> Path:
    path = data / "sequences" / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: benchmarks/README.md lists the sets")
    return path
