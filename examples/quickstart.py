"""Fit on normal rows, score new ones, flag, explain, save and load."""

import numpy as np
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score

import upland

wine = load_wine()
is_anomaly = wine.target == 2  # two cultivars are normal, the third is anomalous

order = np.random.default_rng(0).permutation(np.flatnonzero(~is_anomaly))
normal, held_out = wine.data[order[:100]], wine.data[order[100:]]
new = np.vstack([held_out, wine.data[is_anomaly]])
truth = np.repeat([False, True], [len(held_out), int(is_anomaly.sum())])

detector = upland.EnergyDetector(random_state=0).fit(normal)
scores = detector.anomaly_score(new)  # higher is more anomalous
flags = detector.flag(new, alpha=0.05)  # at a false-alarm rate of 5 %

print(f"flagged: {flags[~truth].sum()} of {(~truth).sum()} normal rows")
print(f"flagged: {flags[truth].sum()} of {truth.sum()} anomalous rows")
print(f"AUROC {roc_auc_score(truth, scores):.3f}")

worst = int(np.argmax(scores))
print(f"row {worst}: p = {detector.p_values(new)[worst]:.3f}")
for reason in upland.explain(detector, new[[worst]]).top(3)[0]:
    name = wine.feature_names[int(reason.column[1:])]  # the columns of an array are x0, x1, ...
    print(f"  {name}: {reason.part:.0%} of the score, {reason.value:.3g}, expected {reason.expected:.3g}")

upland.save(detector, "wine.safetensors")
again = upland.load("wine.safetensors")
print("the same scores after loading:", np.array_equal(scores, again.anomaly_score(new)))
