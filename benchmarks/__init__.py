"""Benchmarks against published tables and against peers in the same run; not part of the wheel."""
