"""Two error rates: false alarms among normal parts, and false discoveries among the flagged ones."""

import numpy as np

import upland


def parts(count, generator, wear=0.0):
    """Five measurements of a machined part that share two causes; wear shifts one of them."""
    causes = generator.normal(size=(count, 2))
    loadings = np.array([[1.0, 0.5, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, -1.0, 0.5]])
    measured = causes @ loadings + 0.1 * generator.normal(size=(count, 5))
    measured[:, 3] += wear
    return measured


generator = np.random.default_rng(0)
detector = upland.EnergyDetector(random_state=0).fit(parts(4_000, generator))

good, worn = parts(1_900, generator), parts(100, generator, wear=2.0)
batch, is_worn = np.vstack([good, worn]), np.repeat([False, True], [1_900, 100])

print("rate controlled    alpha  flagged  worn found  good parts flagged")
for control in ("false_alarm", "fdr"):
    for alpha in (0.05, 0.1):
        flags = detector.flag(batch, alpha=alpha, control=control)
        found, wrong = int(flags[is_worn].sum()), int(flags[~is_worn].sum())
        print(f"{control:17s}  {alpha:5.2f}  {flags.sum():7d}  {found:10d}  {wrong:18d}")

print()
print("false_alarm: about alpha of the good parts are flagged, however many are worn.")
print("fdr: about alpha of the flagged parts are good.")

no_worn = detector.flag(parts(2_000, generator), alpha=0.1, control="fdr")
print(f"without worn parts fdr flags {no_worn.sum()} of 2000 parts")

# The same from p-values of any origin, for example of several detectors or days.
together = upland.benjamini_hochberg(detector.p_values(batch), alpha=0.1)
print(
    "the same flags from p-values:", np.array_equal(together, detector.flag(batch, alpha=0.1, control="fdr"))
)
