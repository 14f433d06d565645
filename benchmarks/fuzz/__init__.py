"""Mutated files: models and data that are damaged or forged, each loaded in a process that is watched."""
