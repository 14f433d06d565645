"""Floor 2: models. Torch only: no files, no optimiser, no column names."""
