"""A sensor series: fit on a normal week, score a day, then the same step by step."""

import numpy as np
import pandas as pd

import upland


def machine(begin, hours, generator):
    """A row every ten minutes: temperature follows the load slowly, vibration at once."""
    steps = 6 * hours
    load = 50 + 15 * np.sin(2 * np.pi * np.arange(steps) / 36) + generator.normal(0, 2, steps)
    smoothed = pd.Series(load).ewm(alpha=0.2).mean().to_numpy()
    return pd.DataFrame(
        {
            "time": pd.date_range(begin, periods=steps, freq="10min"),
            "load": load,
            "temperature": 20 + 0.6 * smoothed + generator.normal(0, 0.5, steps),
            "vibration": 1 + 0.02 * load + generator.normal(0, 0.05, steps),
        }
    )


generator = np.random.default_rng(0)
normal = machine("2026-03-02", 168, generator)
day = machine("2026-03-10", 24, generator)
day.loc[50:73, "temperature"] = day.temperature[50]  # a stuck sensor: every single value is normal

# Faults of interest last an hour or more: smooth over about that long (the default is longer).
detector = upland.SequenceEnergyDetector(time="time", smoothing=6, random_state=0).fit(normal)
flags = detector.flag(day, alpha=0.01)  # one flag a row
print(f"flagged: {flags[50:74].sum()} of 24 steps of the fault")
print(f"{flags[:50].sum()} of 50 before it: near the start there is little past")
print(f"and {flags[74:].sum()} of {len(day) - 74} after it: a smoothed score falls slowly")

worst = int(np.argmax(detector.anomaly_score(day)))
reason = upland.explain(detector, day).top(1)[worst][0]
print(f"worst at {day.time[worst]:%H:%M}: {reason.column}, {reason.part:.0%} of the score")

state, streamed = None, []
for row in day.to_dict("records"):  # streaming, in constant time
    score, p_value, state = detector.score_next(state, row)
    streamed.append(score)
print("streaming equals the pass over the day:", np.allclose(streamed, detector.anomaly_score(day)))
