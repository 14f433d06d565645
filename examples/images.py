"""Pictures: fit on handwritten zeros, judge other digits, and show where a stroke was added."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import upland

digits = load_digits()
pictures = (digits.images * 15.9).astype(np.uint8)  # (1797, 8, 8)
zeros, others = pictures[digits.target == 0], pictures[digits.target != 0]
zeros = np.random.default_rng(0).permutation(zeros)  # they are in the order of their writers

detector = upland.EnergyDetector(calibration="split", random_state=0).fit(zeros[:140])
new = np.concatenate([zeros[140:], others])
truth = np.repeat([False, True], [len(zeros) - 140, len(others)])
scores, p = detector.assess(new)
print(f"taken for {detector.kind_}s; AUROC {roc_auc_score(truth, scores):.3f}")
print(
    f"flagged: {(p[truth] <= 0.05).mean():.0%} of the other digits, {(p[~truth] <= 0.05).mean():.0%} of zeros"
)

struck = zeros[150:151].copy()
struck[0, 2:5, 3] = 255  # a stroke through the hole of a zero
explanation = upland.explain(detector, struck)
print("\nthe picture, what was expected, and the heat of its score in percent:")
heat = explanation.heat()[0]
shown = (struck[0], explanation.expected[0, :, :, 0], np.rint(100 * heat / heat.sum()).astype(int))
for lines in zip(*shown, strict=True):
    print("   ".join(" ".join(f"{value:3d}" for value in line) for line in lines))
print("hottest:", explanation.top(1)[0][0].column)
