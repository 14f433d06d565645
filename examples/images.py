"""Images: fit on handwritten zeros, score other digits, and show where a spot was added."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

import upland

digits = load_digits()
images = (digits.images * 15.9).astype(np.uint8)  # (1797, 8, 8)
zeros, others = images[digits.target == 0], images[digits.target != 0]
zeros = np.random.default_rng(0).permutation(zeros)  # they are sorted by writer

detector = upland.ImageEnergyDetector(calibration="split", random_state=0).fit(zeros[:140])
new = np.concatenate([zeros[140:], others])
truth = np.repeat([False, True], [len(zeros) - 140, len(others)])
scores, p_values = detector.assess(new)
flags = p_values <= 0.05
print(f"AUROC {roc_auc_score(truth, scores):.3f}")
print(f"flagged: {flags[truth].mean():.0%} of the other digits, {flags[~truth].mean():.0%} of the zeros")

spotted = zeros[150:151].copy()
spotted[0, 6:, 6:] = 255
explanation = upland.explain(detector, spotted)
print("\nimage, expected image, and heat map in percent of the score:")
heat = explanation.heat()[0]
shown = (spotted[0], explanation.expected[0, :, :, 0], np.rint(100 * heat / heat.sum()).astype(int))
for lines in zip(*shown, strict=True):
    print("   ".join(" ".join(f"{value:3d}" for value in line) for line in lines))
print("largest contribution:", explanation.top(1)[0][0].column)
