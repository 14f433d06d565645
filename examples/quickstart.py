"""From normal rows to judged rows: fit, score, flag, explain, save."""

import numpy as np
from sklearn.datasets import load_wine
from sklearn.metrics import roc_auc_score

import upland

wine = load_wine()
rows = wine.data
is_odd = wine.target == 2  # two cultivars are normal, the third is the stranger

order = np.random.default_rng(0).permutation(np.flatnonzero(~is_odd))
normal, held_out = rows[order[:100]], rows[order[100:]]
new = np.vstack([held_out, rows[is_odd]])
truth = np.repeat([False, True], [len(held_out), int(is_odd.sum())])

detector = upland.EnergyDetector(random_state=0).fit(normal)
scores = detector.anomaly_score(new)  # higher is worse
flags = detector.flag(new, alpha=0.05)  # at most 5 % false alarms are asked for

print(f"flagged: {flags[~truth].sum()} of {(~truth).sum()} normal rows")
print(f"flagged: {flags[truth].sum()} of {truth.sum()} odd rows")
print(f"AUROC {roc_auc_score(truth, scores):.3f}")

strangest = int(np.argmax(scores))
print(f"row {strangest}: p = {detector.p_values(new)[strangest]:.3f}")
for reason in upland.explain(detector, new[[strangest]]).top(3)[0]:
    name = wine.feature_names[int(reason.column[1:])]  # an array's columns are called x0, x1, ...
    print(f"  {name}: {reason.part:.0%} of the score, {reason.value:.3g}, expected {reason.expected:.3g}")

upland.save(detector, "wine.safetensors")
again = upland.load("wine.safetensors")
print("the same scores after loading:", np.array_equal(scores, again.anomaly_score(new)))
