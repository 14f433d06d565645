"""From anomaly scores to p-values and flags."""
