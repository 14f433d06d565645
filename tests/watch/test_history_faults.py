"""A watcher that is killed, two at once, a full disk: as `benchmarks/watching_faults.py`, with fewer."""

import pytest
from benchmarks.watching_faults import OPTIONS, full_disk, killed, stream, together


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return stream(tmp_path_factory.mktemp("stream"), 14)


def test_a_watcher_that_is_killed_leaves_the_state_before_a_batch_or_after_it(files, tmp_path):
    found = killed(files, tmp_path, 15, OPTIONS["rows"])
    assert found["kills"] == 15
    assert found["killed_within"] > 0
    assert (found["broken_after_kill"], found["different_at_end"]) == (0, 0)


def test_two_watchers_lose_nothing_and_take_nothing_twice(files, tmp_path):
    found = together(files, tmp_path, 2, OPTIONS["rows"])
    assert {name: found[name] for name in ("failed", "lost", "taken_twice", "different")} == dict.fromkeys(
        ("failed", "lost", "taken_twice", "different"), 0
    )


@pytest.mark.parametrize("options", ["rows", "kept"])
def test_a_full_disk_is_said_and_nothing_is_lost(files, tmp_path, options):
    found = full_disk(files, tmp_path, 6, OPTIONS[options])
    assert found["full"] >= 5
    assert (found["broken"], found["other_errors"], found["different"]) == (0, 0, 0)
