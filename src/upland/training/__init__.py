"""Fitting a model: objectives, the loop, the optimiser, how long, checkpoints, progress."""
