"""The memory of a server over time, under requests of every kind."""

from __future__ import annotations

import argparse

from benchmarks.records import Records


def soak(records: Records, options: argparse.Namespace) -> None:
    """TODO."""
