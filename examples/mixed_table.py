"""A table with numbers, categories, dates, missing values, and a column to ignore."""

import numpy as np
import pandas as pd

import upland


def shipments(rows, generator):
    """Parcels whose price depends on weight and service; some weights are missing."""
    weight = generator.gamma(2.0, 2.0, rows)
    service = generator.choice(["economy", "standard", "express"], rows, p=[0.5, 0.3, 0.2])
    rate = pd.Series(service).map({"economy": 1.0, "standard": 2.0, "express": 4.0}).to_numpy()
    return pd.DataFrame(
        {
            "parcel": np.arange(rows),
            "sent": pd.Timestamp("2026-03-02") + pd.to_timedelta(generator.uniform(0, 28, rows), unit="D"),
            "weight": np.where(generator.random(rows) < 0.05, np.nan, weight),
            "service": service,
            "insured": generator.random(rows) < 0.3,
            "price": 3.0 + rate * weight + generator.normal(0, 0.2, rows),
        }
    )


generator = np.random.default_rng(0)
normal = shipments(2_000, generator)
detector = upland.EnergyDetector(ignore=["parcel"], dates="parts", random_state=0).fit(normal)

new = shipments(500, generator)
new.loc[0, ["weight", "service", "price"]] = [2.0, "economy", 60.0]  # far too expensive
new.loc[1, "service"] = "drone"  # never seen before
new = new[new.columns[::-1]]  # the order of columns does not matter

new["p_value"] = detector.p_values(new)
explanation = upland.explain(detector, new)
print(f"{(new.p_value <= 0.05).mean():.1%} of the rows have a p-value of 0.05 or less")

for position in np.argsort(detector.anomaly_score(new))[::-1][:3]:
    row = new.iloc[position]
    reason = explanation.top(1)[position][0]
    print(
        f"parcel {row.parcel}: p = {row.p_value:.4f}, "
        f"{reason.column} is {reason.value}, expected {reason.expected} ({reason.part:.0%} of the score)"
    )
