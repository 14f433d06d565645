"""Sequences of time steps: one container, windows, encoding."""
