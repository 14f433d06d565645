"""Tasks of two collections of tables, and the halves in which choices are made and confirmed.

**OddBench** (`oddbench/<name>.npz`): real tables with real anomalies. Training and test rows are given; the
features are standardised with the mean and deviation of the training rows.

**Families** (`tables/<family>.parquet`, `tables/tasks.csv`): tables of numbers, words and missing cells. A
family has one task or several, of one of three kinds:

* `class`: rows whose column `label` has the task's value are normal, all others anomalous
* `rare`: rows whose column `label` has the task's value are anomalous, all others normal
* `swap`: every row is normal; one to three cells of an anomalous row come from other test rows

Rows are drawn by the seed. Half of the normal rows train, at most 2,000. The test has the other normal rows
and the anomalous ones, at most 2,000 of each (no rare class has as many). Of `swap`, half of the test rows
keep their cells; in every other one, one, two or three columns (each number as often) are drawn among those
in which the test rows differ, and each takes the value of a test row drawn among those with another value
there (a missing cell counts as a value). No features, of no method, are: the column `label`; a column that
has no value in any training row; and names and free text, a column of words with more than half of the values
in the training rows distinct.

**Halves**: names are sorted and permuted with seed 0; the first half is for choosing, the rest for
confirming. A family is in one half with all its tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks import protocols
from benchmarks.protocols import Labels, Split, standardised

if TYPE_CHECKING:
    from pandas import DataFrame, Series

HALVES = ("choose", "confirm")
FOLDERS = {"oddbench": "oddbench", "families": "tables"}
LABEL = "label"
MOST = 2000  # rows that train; normal rows of the test; anomalous rows of the test
MOST_CELLS = 3  # that are replaced in a row
NUMBERS = "iuf"  # kinds of types
MISSING = "(missing)"


@dataclass(frozen=True)
class Rows:
    """Training rows (normal only), test rows, and the test labels (1 = anomaly), as the table has them."""

    train: Any
    test: Any
    labels: Labels


@dataclass(frozen=True)
class Task:
    """One task: where it comes from, and its rows by seed."""

    collection: str
    half: str
    kind: str
    family: str
    name: str
    is_fixed: bool
    """Whether every seed has the same rows."""
    rows: Callable[[int], Rows]


def halves(names: Iterable[str]) -> dict[str, str]:
    """The half of each name of a collection: "choose" or "confirm"."""
    ordered = sorted(set(names))
    permuted = [ordered[i] for i in np.random.default_rng(0).permutation(len(ordered))]
    return {name: HALVES[i >= len(permuted) // 2] for i, name in enumerate(permuted)}


# -- OddBench ------------------------------------------------------------------------------------------------


def oddbench_tasks(data: Path) -> list[Task]:
    """A task for each OddBench set in `data`, from small files to large ones."""
    files = sorted((data / FOLDERS["oddbench"]).glob("*.npz"), key=_size)
    if not files:
        raise FileNotFoundError(f"no OddBench set (*.npz) in {data / FOLDERS['oddbench']}")
    half = halves(file.stem for file in files)
    return [
        Task("oddbench", half[file.stem], "real", file.stem, file.stem, is_fixed=True, rows=_given(file))
        for file in files
    ]


def _given(file: Path) -> Callable[[int], Rows]:
    def rows(seed: int) -> Rows:
        with np.load(file) as stored:
            train, test = (np.asarray(stored[part], dtype=np.float64) for part in ("train", "test"))
            split = standardised(Split(train, test, stored["test_labels"].astype(np.int64)))
        return Rows(split.train, split.test, split.labels)

    return rows


# -- ADBench -------------------------------------------------------------------------------------------------


def adbench_tasks(data: Path) -> list[Task]:
    """A task for each ADBench set in `data` that the one-class protocol leaves as it is, small ones first."""
    names = protocols.adbench_names(data)
    plain = [name for name in names if not protocols.is_resampled(len(protocols.load_adbench(data, name)[1]))]
    half = halves(plain)
    return [Task("adbench", half[name], "real", name, name, True, _one_class(data, name)) for name in plain]


def _one_class(data: Path, name: str) -> Callable[[int], Rows]:
    def rows(seed: int) -> Rows:
        split = protocols.adbench_split(*protocols.load_adbench(data, name), seed)
        return Rows(split.train, split.test, split.labels)

    return rows


# -- families ------------------------------------------------------------------------------------------------


def family_tasks(data: Path) -> list[Task]:
    """Every task of every family in `data`, from small files to large ones."""
    import pandas as pd

    folder = data / FOLDERS["families"]
    listed = folder / "tasks.csv"
    if not listed.exists():
        raise FileNotFoundError(f"no list of tasks {listed}")
    lines = pd.read_csv(listed, dtype=str, keep_default_na=False)
    half = halves(lines["family"])
    tasks = [
        Task(
            "families", half[family], kind, family, " ".join(filter(None, (family, kind, label))), False, rows
        )
        for family, kind, label in lines[["family", "kind", "label"]].itertuples(index=False)
        for rows in [_drawn(folder / f"{family}.parquet", kind, label)]
    ]
    return sorted(tasks, key=lambda task: _size(folder / f"{task.family}.parquet"))


def _drawn(file: Path, kind: str, label: str) -> Callable[[int], Rows]:
    def rows(seed: int) -> Rows:
        import pandas as pd

        frame = pd.read_parquet(file)
        features = frame.drop(columns=LABEL, errors="ignore")
        if kind == "swap":
            return swap_rows(features, seed)
        has_label = (frame[LABEL] == label).to_numpy(dtype=bool)
        return class_rows(features, has_label if kind == "rare" else ~has_label, seed)

    return rows


def class_rows(features: DataFrame, is_anomalous: NDArray[np.bool_], seed: int) -> Rows:
    """Rows of a task whose anomalies are marked."""
    order = np.random.default_rng(seed).permutation(len(features))
    normal, anomalous = order[~is_anomalous[order]], order[is_anomalous[order]][:MOST]
    half = len(normal) // 2
    test = np.concatenate([normal[half:][:MOST], anomalous])
    train = with_features(features.iloc[normal[:half][:MOST]])
    return Rows(train, features.iloc[test][list(train.columns)], is_anomalous[test].astype(np.int64))


def swap_rows(features: DataFrame, seed: int) -> Rows:
    """Rows of a task whose anomalies are made: cells of the second half of the test rows are replaced."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(features))
    half = len(order) // 2
    train = with_features(features.iloc[order[:half][:MOST]])
    test = features[list(train.columns)].iloc[order[half:][: 2 * MOST]].reset_index(drop=True)
    kept = len(test) - len(test) // 2
    labels = np.repeat([0, 1], [kept, len(test) - kept])
    return Rows(train, swapped(test, range(kept, len(test)), generator), labels)


def with_features(train: DataFrame) -> DataFrame:
    """The training rows without columns that have no value, or words of which more than half are distinct."""
    values, distinct = train.notna().sum(), train.nunique()
    is_text = np.array([dtype.kind not in NUMBERS for dtype in train.dtypes], dtype=bool)
    return train.loc[:, (values > 0) & ~(is_text & (distinct > values / 2))]


def swapped(frame: DataFrame, rows: Sequence[int], generator: np.random.Generator) -> DataFrame:
    """The frame with one to three cells of each of `rows` replaced by other rows' values in that column."""
    codes = np.stack([_codes(frame[name]) for name in frame.columns], axis=1)
    varied = np.flatnonzero((codes != codes[0]).any(axis=0))
    source = np.tile(np.arange(len(frame))[:, None], codes.shape[1])  # the row from which each cell comes
    for row in rows:
        count = min(int(generator.integers(1, MOST_CELLS + 1)), len(varied))
        for column in generator.choice(varied, count, replace=False):
            source[row, column] = generator.choice(np.flatnonzero(codes[:, column] != codes[row, column]))
    columns = {name: frame[name].array.take(source[:, i]) for i, name in enumerate(frame.columns)}
    return type(frame)(columns)


def _codes(column: Series) -> NDArray[np.int64]:
    """A whole number for each distinct value; -1 = missing."""
    import pandas as pd

    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def _size(file: Path) -> tuple[int, str]:
    return file.stat().st_size, file.name


COLLECTIONS: dict[str, Callable[[Path], list[Task]]] = {"oddbench": oddbench_tasks, "families": family_tasks}


def found(data: Path) -> list[str]:
    """The collections whose folder is in `data`."""
    names = [name for name in COLLECTIONS if (data / FOLDERS[name]).is_dir()]
    if not names:
        raise FileNotFoundError(f"neither {' nor '.join(f'{name}/' for name in FOLDERS.values())} in {data}")
    return names


# -- preparation for peers -----------------------------------------------------------------------------------


def as_numbers(rows: Rows) -> Rows:
    """The rows for detectors that take numbers alone: arrays as they are, tables by a usual preparation.

    All of it is fitted on the training rows. Numbers: a missing one is the column's median. Words: a column
    for each that occurs twice or more, and one for all others, those that no training row has among them; a
    missing one is a word of its own. All columns are standardised; a constant one is only centred.
    """
    if isinstance(rows.train, np.ndarray):
        return rows
    numeric = [name for name in rows.train.columns if rows.train[name].dtype.kind in NUMBERS]
    words = [name for name in rows.train.columns if name not in numeric]
    encoder = OneHotEncoder(min_frequency=2, handle_unknown="infrequent_if_exist", sparse_output=False)
    prepared = make_pipeline(
        ColumnTransformer([
            ("numbers", SimpleImputer(strategy="median", keep_empty_features=True), numeric),
            ("words", encoder, words),
        ]),
        StandardScaler(),
    )  # fmt: skip
    train, test = (_missing_as_word(part, words) for part in (rows.train, rows.test))
    return Rows(prepared.fit_transform(train), prepared.transform(test), rows.labels)


def _missing_as_word(frame: DataFrame, words: Sequence[str]) -> DataFrame:
    return frame.assign(**{name: frame[name].astype(object).fillna(MISSING) for name in words})
