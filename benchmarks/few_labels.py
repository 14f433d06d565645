"""A few labelled rows: `EnergyDetector.refine` beside methods that learn from labels.

The tasks are those of `tables`. Of the test rows some anomalies (1, 5, 20) and 20 normal rows are drawn and
labelled, the smaller numbers within the larger; all others are scored. A task with fewer than ten other
anomalies or normal rows is left out for that number. Every method has the training rows (all normal) and the
same labelled rows.

* *upland*: without labels; *upland refine*: the same detector, refined
* *boosting*: after XGBOD (Zhao and Hryniewicki, 2018): gradient boosting on the features and on the scores of
  kNN, LOF, IForest, OC-SVM, PCA and upland, fitted on half of the training rows; the other half is normal
* *DevNet*: after Pang et al. (KDD 2019), our own implementation: a net whose scores of normal rows are near
  the mean of a normal distribution, and those of labelled anomalies at least 5 of its deviations above

*false alarms* (upland alone) is the share of normal test rows with p <= alpha.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks import peers, protocols
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.peers import Array
from benchmarks.protocols import Labels
from benchmarks.records import Records
from benchmarks.table_tasks import COLLECTIONS, HALVES, Rows, Task, as_numbers
from benchmarks.tables import chosen
from benchmarks.upland_methods import energy_detector

KEYS = ("collection", "task", "seed", "anomalies", "method")
QUICK = {"seeds": [0], "most_sets": 2, "anomalies": [5]}
NORMALS = 20
OTHERS = 10  # anomalies and normal rows that must be left to score
ALPHAS = (0.05, 0.01)


class Known(NamedTuple):
    """Labelled rows, by their numbers among the test rows, and the others."""

    labelled: Labels
    others: Labels


class Found(NamedTuple):
    """Scores of the other rows, and p-values where there are some."""

    scores: Array
    p_values: Array | None = None


Method = Callable[[Known], Found]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--anomalies", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=["oddbench"])
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=list(HALVES))
    sets_arguments(parser)
    return parsed(parser, argv, "few_labels", QUICK)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for seed in options.seeds:
        for name in options.collections:
            for task in chosen(COLLECTIONS[name], options):
                run_task(records, task, seed, options.anomalies, options.methods)
    return 0


def run_task(records: Records, task: Task, seed: int, numbers: list[int], methods: list[str]) -> None:
    """Every method that has no row yet on one task and seed."""
    rows = task.rows(seed)
    draws = {count: known for count in numbers if (known := drawn(rows.labels, count, seed)) is not None}
    for name in methods:
        place = {"collection": task.collection, "task": task.name, "seed": seed}
        missing = [n for n in draws if records.find(**place, anomalies=n, method=name) is None]
        if not missing:
            continue
        method = METHODS[name](rows, seed)
        for count in missing:
            known = draws[count]
            found = method(known)
            labels = rows.labels[known.others]
            auroc, auprc, _ = protocols.adbench_measures(labels, found.scores).values()
            key = place | {"anomalies": count, "method": name}
            about = {"benchmark": "few labels", "half": task.half, "kind": task.kind, "family": task.family}
            measures = {"auroc": round(auroc, 6), "auprc": round(auprc, 6)}
            records.add(about | key | measures | false_alarms(labels, found.p_values))
            print(f"{task.name:30} seed {seed}  {count:2} anomalies  {name:14} AUROC {auroc:.4f}", flush=True)


def drawn(labels: Labels, anomalies: int, seed: int) -> Known | None:
    """The labelled rows, anomalies first; None where too few others are left."""
    generator = np.random.default_rng([seed, 1])
    anomalous, normal = (generator.permutation(np.flatnonzero(labels == one)) for one in (1, 0))
    if len(anomalous) < anomalies + OTHERS or len(normal) < NORMALS + OTHERS:
        return None
    labelled = np.concatenate([anomalous[:anomalies], normal[:NORMALS]])
    return Known(labelled, np.setdiff1d(np.arange(len(labels)), labelled))


def false_alarms(labels: Labels, p_values: Array | None) -> dict[str, float]:
    """The share of normal rows with p <= alpha."""
    if p_values is None:
        return {}
    return {f"false_alarms_{alpha}": float((p_values[labels == 0] <= alpha).mean()) for alpha in ALPHAS}


def _part(table: Any, which: Labels) -> Any:
    return table[which] if isinstance(table, np.ndarray) else table.iloc[which]


# -- methods -------------------------------------------------------------------------------------------------


def unlabelled(rows: Rows, seed: int) -> Method:
    """upland's default."""
    from upland import EnergyDetector

    detector = EnergyDetector(random_state=seed, progress=False).fit(rows.train)
    return lambda known: Found(*detector.assess(_part(rows.test, known.others)))


def refined(rows: Rows, seed: int) -> Method:
    """upland's default, refined; every call takes the place of the one before."""
    from upland import EnergyDetector

    detector = EnergyDetector(random_state=seed, progress=False).fit(rows.train)

    def found(known: Known) -> Found:
        detector.refine(_part(rows.test, known.labelled), rows.labels[known.labelled])
        return Found(*detector.assess(_part(rows.test, known.others)))

    return found


def boosting(rows: Rows, seed: int) -> Method:
    """Gradient boosting on features and on scores of detectors without labels."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    numbers = as_numbers(rows)
    order = np.random.default_rng([seed, 2]).permutation(len(numbers.train))
    fitted, normal = np.array_split(order, 2)
    pool = [peers.PEERS[name] for name in ("kNN", "LOF", "IForest", "OCSVM", "PCA")]
    scores = [fit(numbers.train[fitted], seed) for fit in (*pool, energy_detector)]
    parts = (numbers.train[normal], numbers.test)
    inputs = [np.column_stack([part, *(score(part) for score in scores)]) for part in parts]

    def found(known: Known) -> Found:
        x = np.concatenate([inputs[0], inputs[1][known.labelled]])
        y = np.concatenate([np.zeros(len(normal)), rows.labels[known.labelled]])
        model = HistGradientBoostingClassifier(class_weight="balanced", min_samples_leaf=5, random_state=seed)
        return Found(model.fit(x, y).decision_function(inputs[1][known.others]))

    return found


def devnet(rows: Rows, seed: int, steps: int = 500, batch: int = 128) -> Method:
    """A net of 20 units by the deviation loss, half of each batch anomalies; RMSprop as published."""
    import torch

    numbers = as_numbers(rows)
    train, test = (torch.tensor(part, dtype=torch.float32) for part in (numbers.train, numbers.test))

    def found(known: Known) -> Found:
        generator = torch.Generator().manual_seed(seed)
        labelled = torch.from_numpy(known.labelled)
        is_anomaly = torch.from_numpy(rows.labels[known.labelled] == 1)
        anomalies, normal = test[labelled[is_anomaly]], torch.cat([train, test[labelled[~is_anomaly]]])
        first = torch.randn(train.shape[1], 20, generator=generator) / train.shape[1] ** 0.5
        last = torch.randn(20, 1, generator=generator) / 20**0.5
        weights = [first, torch.zeros(20), last, torch.zeros(1)]
        for weight in weights:
            weight.requires_grad_()
        optimiser = torch.optim.RMSprop(weights, lr=1e-3, weight_decay=1e-2)

        def score(x: torch.Tensor) -> torch.Tensor:
            return (torch.relu(x @ weights[0] + weights[1]) @ weights[2] + weights[3])[:, 0]

        for _ in range(steps):
            draws = [
                torch.randint(len(part), (batch // 2,), generator=generator) for part in (anomalies, normal)
            ]
            reference = torch.randn(5000, generator=generator)
            deviations = [
                (score(part[draw]) - reference.mean()) / reference.std()
                for part, draw in zip((anomalies, normal), draws, strict=True)
            ]
            loss = (5 - deviations[0]).clamp(min=0).mean() + deviations[1].abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return Found(score(test[torch.from_numpy(known.others)]).double().numpy())

    return found


METHODS: dict[str, Callable[[Rows, int], Method]] = {
    "upland": unlabelled,
    "upland refine": refined,
    "boosting": boosting,
    "DevNet": devnet,
}


if __name__ == "__main__":
    sys.exit(main())
