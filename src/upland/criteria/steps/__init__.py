"""The experts that score a time step, each by another aspect of its past."""
