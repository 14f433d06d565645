"""Some mutated files of data: each is refused by a documented error, or every row gets a finite score."""

import numpy as np
import pytest
from benchmarks.fuzz import data


def test_mutated_files_are_refused_or_scored():
    records = data.run(200, seed=1)
    assert [record for record in records if record["outcome"] not in data.GOOD] == []
    assert {record["kind"] for record in records} == set(data.FORMS)
    assert sum(record["outcome"] == "read" for record in records) > 30
    assert max(record["mib"] for record in records) << 20 < data.MEMORY


@pytest.mark.parametrize("form", data.FORMS)
def test_a_seed_gives_the_same_files(form):
    one, same, other = (data.mutant(form, np.random.default_rng([0, seed])) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "sys.exit(3)"])
def test_a_worker_that_dies_is_a_crash_of_its_file(monkeypatch, end):
    """The harness sees what it looks for: one file of three kills its worker."""
    program = (
        "import os, sys, json\n"
        "for number in map(int, sys.stdin.readline().split()):\n"
        f"    if number == 1: {end}\n"
        "    print(json.dumps({'end': 'read'}), flush=True)\n"
    )
    started = data._started
    monkeypatch.setattr(data, "_started", lambda command: started([command[0], "-c", program]))
    assert [outcome["end"] for _, outcome in data._outcomes(range(3), 0)] == ["read", "crash", "read"]
