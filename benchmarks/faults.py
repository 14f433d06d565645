"""Planted faults: found in time or not, and in which channel; upland beside two peers in the same run.

Series are those of `benchmarks.normal_series`, faults and their sizes those of `benchmarks.planted`. A fault
is found if a step is flagged at alpha = .01 within the delay of its kind; its channel is named if the largest
share at the highest score of these flagged steps is right (of swapped channels, and of one that has lost its
relation and the one that it was most correlated with, either is). `false` counts the plantings whose normal
copy has a flagged step in the same window: what is found there may be by chance.

The peers see windows of 32 z-scored steps and score the last; both have conformal p-values from five blocks,
each scored by a model that was fitted without it, and name the channel with the largest residual.

    python -m benchmarks.faults --data DIR --output benchmarks/results/faults.json
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

import upland
from benchmarks import normal_series, peers, planted
from benchmarks.normal_series import Normal
from benchmarks.options import command, data_argument, parsed
from benchmarks.planted import Planting
from benchmarks.records import Records
from benchmarks.series import Array
from benchmarks.series_peers import INDEX_ROWS, WINDOW, Standard, windows
from upland.calibration.conformal import Calibration

ALPHA = 0.01
COUNT = {"pumps": 20, "one": 5, "many": 5}
"""Plantings of each kind, a series."""
FOLDS = 5
KEYS = ("group", "series", "seed", "method", "kind")


class Assessed(NamedTuple):
    """What a detector says of some pieces of series.

    Args:
        p_values: of each piece `(T,)`.
        scores: likewise.
        shares: of each piece `(T, D)`.
        kinds: of each piece what the highest episode in the window is called; None where nothing says so.
    """

    p_values: list[Array]
    scores: list[Array]
    shares: list[Array]
    kinds: list[str | None] | None = None


Assess = Callable[[Sequence[Array], Sequence[int]], Assessed]
"""Of pieces of series and the first step of each that is asked for."""


# -- upland --------------------------------------------------------------------------------------------------


def framed(pieces: Sequence[Array], columns: Sequence[str]) -> dict[str, Any]:
    """Pieces as a long frame."""
    values = np.concatenate(pieces)
    lengths = [len(piece) for piece in pieces]
    frame: dict[str, Any] = {name: values[:, c] for c, name in enumerate(columns)}
    frame["piece"] = np.repeat(np.arange(len(pieces)), lengths)
    frame["step"] = np.concatenate([np.arange(length) for length in lengths])
    return frame


def recurrent(normal: Normal, seed: int) -> Assess:
    """upland's detector of steps, with its defaults."""
    columns = {"id": "piece", "time": "step"}
    detector = upland.SequenceEnergyDetector(**columns, random_state=seed, progress=False)
    detector.fit(framed(normal.train, normal.columns))

    def assess(pieces: Sequence[Array], begins: Sequence[int]) -> Assessed:
        frame = framed(pieces, normal.columns)
        explained = upland.explain(detector, frame)
        order = [explained.columns.index(name) for name in normal.columns]
        cuts = np.cumsum([len(piece) for piece in pieces])[:-1]
        shares = np.asarray(explained.shares)[:, order]
        p_values = np.split(detector.p_values(frame), cuts)
        scores = np.split(shares.sum(axis=1), cuts)
        worst: list[Any] = [None] * len(pieces)
        for one in upland.episodes(detector, frame, alpha=ALPHA):
            number = int(one.series)
            best = worst[number]
            if int(one.end) >= begins[number] and (best is None or one.score > best.score):
                worst[number] = one
        kinds = [None if one is None else str(one.kind) for one in worst]
        return Assessed(p_values, scores, np.split(shares, cuts), kinds)

    return assess


# -- peers ---------------------------------------------------------------------------------------------------

Parts = Callable[[Array], Array]
"""Squared residuals of windows, `(N, 32 D) -> (N, 32 D)`."""


def by_components(rows: Array, seed: int) -> Parts:
    """PCA as in `series_peers`."""
    model = PCA(n_components=peers.PCA_SHARE, svd_solver="covariance_eigh").fit(rows)
    return lambda test: (test - model.inverse_transform(model.transform(test))) ** 2


def by_neighbour(rows: Array, seed: int) -> Parts:
    """The nearest of at most so many training windows."""
    if len(rows) > INDEX_ROWS:
        rows = rows[np.random.RandomState(seed).choice(len(rows), INDEX_ROWS, replace=False)]
    index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
    return lambda test: (test - rows[index.kneighbors(test)[1][:, 0]]) ** 2


def on_windows(fit: Callable[[Array, int], Parts]) -> Callable[[Normal, int], Assess]:
    """A peer on windows, with cross-conformal p-values."""

    def fitted(normal: Normal, seed: int) -> Assess:
        standard = Standard(normal.steps)
        width = len(normal.columns)
        rows = np.concatenate([windows(standard(piece)) for piece in normal.train])
        folds = np.arange(len(rows)) * FOLDS // len(rows)
        models = [fit(rows[folds != fold], seed) for fold in range(FOLDS)]
        held = [model(rows[folds == fold]).sum(axis=1) for fold, model in enumerate(models)]
        calibration = Calibration(np.concatenate(held), folds)

        def assess(pieces: Sequence[Array], begins: Sequence[int]) -> Assessed:
            found = Assessed([], [], [])
            asked = [
                windows(standard(piece[begin - WINDOW + 1 :]))
                for piece, begin in zip(pieces, begins, strict=True)
            ]
            test = np.concatenate(asked)
            parts = np.stack([model(test) for model in models], axis=1)
            scores = parts.sum(axis=2)
            shares = parts.mean(axis=1).reshape(len(test), -1, width).sum(axis=1)
            cuts = np.cumsum([len(rows) for rows in asked])[:-1]
            for values, whole, empty in (
                (calibration.p_values(scores), found.p_values, 1.0),
                (scores.mean(axis=1), found.scores, 0.0),
                (shares, found.shares, 0.0),
            ):
                for part, begin in zip(np.split(values, cuts), begins, strict=True):
                    before = np.full((begin, *part.shape[1:]), empty)
                    whole.append(np.concatenate([before, part]))
            return found

        return assess

    return fitted


METHODS: dict[str, Callable[[Normal, int], Assess]] = {
    "upland": recurrent,
    "PCA": on_windows(by_components),
    "kNN": on_windows(by_neighbour),
}


# -- run -----------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the fits on the pumps")
    parser.add_argument("--other-seeds", nargs="+", type=int, default=[0], help="of those on real series")
    parser.add_argument("--series", nargs="+", help="names of series; all if left out")
    parser.add_argument("--count", type=int, help="plantings of each kind; 20 on the pumps, 5 on others")
    quick = {"seeds": [0], "series": ["pumps"], "count": 4}
    return parsed(parser, argv, "faults", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for normal in chain([normal_series.pumps()], normal_series.recorded(options.data)):
        if options.series is None or normal.name in options.series:
            count = options.count or COUNT[normal.group]
            faults = {kind: planted.planted(normal, kind, count) for kind in planted.KINDS}
            for seed in options.seeds if normal.group == "pumps" else options.other_seeds:
                for method in options.methods:
                    run(records, normal, faults, method, seed)
    return 0


def run(records: Records, normal: Normal, faults: dict[str, list[Planting]], method: str, seed: int) -> None:
    """The rows of a series and method that are not there yet."""
    key = {"group": normal.group, "series": normal.name, "seed": seed, "method": method}
    wanted = {kind: ones for kind, ones in faults.items() if ones}
    if all(records.find(**key, kind=kind) for kind in wanted):
        return
    begun = time.process_time()
    with warnings.catch_warnings():  # of resolution and of missing blocks; what is measured says it
        warnings.simplefilter("ignore")
        assess = METHODS[method](normal, seed)
        fitted = time.process_time()
        found = counted(assess, wanted)
    seconds = {"fit_seconds": fitted - begun, "score_seconds": time.process_time() - fitted}
    for kind, counts in found.items():
        if records.find(**key, kind=kind) is None:
            records.add({"benchmark": "faults", **key, "kind": kind, **counts, **seconds})
    show(key, found)


def counted(assess: Assess, faults: dict[str, list[Planting]]) -> dict[str, dict[str, Any]]:
    """Of each kind, how many are found and named, when, and what is called what."""
    every = [one for ones in faults.values() for one in ones]
    begins = [one.begin for one in every]
    with_fault = assess([one.values for one in every], begins)
    without = assess([one.normal for one in every], begins)
    found, done = {}, 0
    for kind, ones in faults.items():
        outcomes = [outcome(with_fault, done + i, one) for i, one in enumerate(ones)]
        false = [bool((without.p_values[done + i][one.begin :] <= ALPHA).any()) for i, one in enumerate(ones)]
        delays = [delay for delay, _ in outcomes if delay is not None]
        found[kind] = {
            "n": len(ones),
            "found": len(delays),
            "named": sum(named for _, named in outcomes),
            "false": sum(false),
            "delay": float(np.median(delays)) if delays else None,
            "plantings": "".join(
                "-" if delay is None else "+" if named else "." for delay, named in outcomes
            ),
        }
        if with_fault.kinds is not None:
            called = with_fault.kinds[done : done + len(ones)]
            found[kind]["called"] = dict(Counter(str(name) for name in called))
        done += len(ones)
    return found


def outcome(assessed: Assessed, number: int, one: Planting) -> tuple[int | None, bool]:
    """Steps until a step is flagged, None where none is; and whether the channel is named right."""
    flagged = np.flatnonzero(assessed.p_values[number][one.begin :] <= ALPHA)
    if not flagged.size:
        return None, False
    scores = assessed.scores[number][one.begin :][flagged]
    peak = one.begin + int(flagged[scores.argmax()])
    return int(flagged[0]), int(assessed.shares[number][peak].argmax()) in one.channels


def show(key: dict[str, Any], found: dict[str, dict[str, Any]]) -> None:
    print(f"{key['series']} seed {key['seed']} {key['method']}", flush=True)
    for kind, one in found.items():
        counts = f"found {one['found']:2} of {one['n']:2}, named {one['named']:2}, false {one['false']:2}"
        print(f"  {kind:14} {counts}  {one['plantings']}  {one.get('called', '')}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
