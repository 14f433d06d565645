"""Group anomaly detection: two of six shifts of a filling line are anomalous."""

import numpy as np
import pyarrow as pa

import upland

generator = np.random.default_rng(0)


def bottles(count):
    """Temperature, speed of the line, viscosity and filling of bottles; viscosity depends on temperature."""
    temperature = generator.normal(20, 3, count)
    speed = generator.normal(100, 10, count)
    viscosity = 50 - 0.8 * temperature + generator.normal(0, 1.5, count)
    filling = 500 - 0.1 * (speed - 100) + generator.normal(0, 1, count)
    return {"temperature": temperature, "speed": speed, "viscosity": viscosity, "filling": filling}


detector = upland.EnergyDetector(random_state=0).fit(pa.table(bottles(2_000)))

each, names = 40, ["mon early", "mon late", "tue early", "tue late", "wed early", "wed late"]
shifts = np.repeat(names, each)
new = bottles(shifts.size)
shuffled, too_full = shifts == "tue late", shifts == "wed early"
new["viscosity"][shuffled] = generator.permutation(new["viscosity"][shuffled])  # values of other bottles
new["filling"][too_full] += 0.7  # millilitres; half a standard deviation
table = pa.table({**new, "shift": shifts})

found = detector.score_groups(table, "shift", alpha=0.05)  # false discovery rate 5 %
row_flags = detector.flag(table)
print("shift      rows  rows flagged  p-value  reason")
for name, size, p, flag, reason, columns in zip(
    found.group, found.size, found.p_value, found.flag, found.reason, found.columns, strict=True
):
    words = f"{reason}: {columns[0]}, {columns[1]}" if flag else ""
    print(f"{name:9}  {size:4}  {row_flags[shifts == name].sum():12}  {p:7.3f}  {words}")
print(f"{found.flag.sum()} of {len(found.group)} shifts are anomalous")
