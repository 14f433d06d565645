"""Training: objectives, the loop, the optimiser, the schedule, checkpoints, progress."""
