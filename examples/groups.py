"""Has this shift gone off? A filling line: one shift logs a stuck clock, one fills a little too much."""

import numpy as np
import pyarrow as pa

import upland

generator = np.random.default_rng(0)


def bottles(count):
    """Temperature, speed of the line, viscosity and filling of bottles; viscosity follows temperature."""
    temperature = generator.normal(20, 3, count)
    speed = generator.normal(100, 10, count)
    viscosity = 50 - 0.8 * temperature + generator.normal(0, 1.5, count)
    filling = 500 - 0.1 * (speed - 100) + generator.normal(0, 1, count)
    return {"temperature": temperature, "speed": speed, "viscosity": viscosity, "filling": filling}


detector = upland.EnergyDetector(random_state=0).fit(pa.table(bottles(2_000)))

each, names = 40, ["mon early", "mon late", "tue early", "tue late", "wed early", "wed late"]
shifts = np.repeat(names, each)
new = bottles(shifts.size)
stuck, too_much = shifts == "tue late", shifts == "wed early"
new["viscosity"][stuck] = generator.permutation(new["viscosity"][stuck])  # real values, of other bottles
new["filling"][too_much] += 0.7  # millilitres; half a standard deviation
table = pa.table({**new, "shift": shifts})

found = detector.score_groups(table, "shift", alpha=0.05)  # false discovery rate 5 %
alone = detector.flag(table)
print("shift      rows  flagged one by one  p-value  made of")
for name, size, p, flag, kind, columns in zip(
    found.group, found.size, found.p_value, found.flag, found.kind, found.columns, strict=True
):
    made_of = f"{kind}: {columns[0]}, {columns[1]}" if flag else ""
    print(f"{name:9}  {size:4}  {alone[shifts == name].sum():18}  {p:7.3f}  {made_of}")
print(f"{found.flag.sum()} of {len(found.group)} shifts have gone off")
