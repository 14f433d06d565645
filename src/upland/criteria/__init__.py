"""Floor 3: criteria, from a model and inputs to one anomaly score each."""
