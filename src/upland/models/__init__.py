"""Models: torch modules that give energies. No files, no NumPy, no optimiser, no column names."""
