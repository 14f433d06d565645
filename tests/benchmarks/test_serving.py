"""The faults of `benchmarks.serving`, with little of each: every one ends, and what was taken is answered."""

import asyncio
import json

import numpy as np
import pyarrow as pa
import pytest
from benchmarks.serving_faults import FAULTS, OF_SEVERAL, SHORT, Case
from benchmarks.serving_process import named, record
from benchmarks.serving_soak import slope

import upland

COLUMNS = ("x0", "x1", "x2")


def fitted(seed):
    rows = np.random.default_rng(seed).normal(size=(200, len(COLUMNS)))
    arguments = {"epochs": 1, "n_nets": 1, "hidden": [4], "random_state": seed, "progress": False}
    return upland.EnergyDetector(**arguments).fit(pa.table(named(rows)))


def case_in(folder):
    for seed, name in enumerate(("model", "other")):
        upland.save(fitted(seed), folder / f"{name}.safetensors")
    return Case(folder, COLUMNS, SHORT)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What became of each fault of one server; the last ends it."""
    case = case_in(tmp_path_factory.mktemp("faults"))
    with case.server() as server:
        return {name: asyncio.run(fault(case, server)) for name, fault in FAULTS.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_requests_beside_a_fault_are_answered(found, name):
    row = found[name]
    assert row["answered"] > 0
    assert row["lost"] == row["hung"] == row["connections_refused"] == 0
    assert row["answered"] == row["sent"]


def test_slow_clients_are_let_go(found):
    row = found["slow heads and bodies"]
    assert row["slow_408"] + row["slow_closed"] == row["slow"]  # a byte on its way may reset a connection
    assert row["slow_408"] > 0


def test_of_half_open_bodies_nothing_stays(found):
    row = found["half-open bodies"]
    assert row["left"] == 8 * SHORT.clients
    assert row["waiting_after"] == 0
    assert row["sockets_after"] < SHORT.clients


def test_many_connections_are_served_at_a_time(found):
    assert found["many connections"]["status_200"] == SHORT.connections


def test_what_is_over_the_queue_learns_when_to_try_again(found):
    row = found["a full queue"]
    assert row["with_retry_after"] == row["status_429"] > 0
    assert row["status_200"] + row["status_429"] == SHORT.connections
    assert row["status_after"] == 200


def test_garbage_is_refused_as_a_fault_of_the_client(found):
    row = found["garbage"]
    statuses = {int(name.removeprefix("garbage_")) for name in row if name.startswith("garbage_")}
    assert statuses <= {400, 413, 415, 422}
    assert row["bodies"] == sum(row[f"garbage_{status}"] for status in statuses)


def test_an_answer_is_of_one_model_whatever_is_loaded_meanwhile(found):
    row = found["reloads"]
    assert row["reloads"] >= 2
    assert row["versions"] == 2
    assert row["mixed"] == 0


def test_a_damaged_file_leaves_the_model_that_was_loaded(found):
    assert found["a damaged model file"]["ready_after"] == 200


def test_a_full_disk_is_said_and_only_the_step_is_refused(found):
    row = found["a full disk"]
    assert row["refusal"] == 507
    assert row["score_after"] == row["ready_after"] == 200


def test_at_sigterm_what_was_taken_is_answered(found):
    assert found["SIGTERM"]["exit_status"] == 0


def test_a_killed_worker_takes_only_what_it_had(tmp_path):
    case = case_in(tmp_path)
    with case.server(workers=2) as server:
        killed, ended = (asyncio.run(fault(case, server)) for fault in OF_SEVERAL.values())
    assert killed["lost"] <= SHORT.clients
    assert killed["hung"] == killed["connections_refused"] == 0
    assert killed["status_200"] == killed["answered"] > 0
    assert ended["lost"] == ended["hung"] == 0
    assert ended["exit_status"] == 0


# -- what the figures are made of ----------------------------------------------------------------------------


def test_a_slope_is_that_of_the_memory_and_its_interval_holds_it():
    times = np.arange(0, 600, 5.0)
    noise = np.random.default_rng(0).normal(size=len(times))
    found = slope(times, 500 + 36 * times / 3600 + 0.1 * noise)
    assert found["slope_low"] < 36 < found["slope_high"]
    assert found["slope_low"] > 0
    assert found["slope_percent_an_hour"] == pytest.approx(7.2, rel=0.1)
    flat = slope(times, 500 + noise)
    assert flat["slope_low"] < 0 < flat["slope_high"]


def test_a_request_of_one_row_is_json():
    assert json.loads(record({"a": np.float64(0.5)})) == {"a": 0.5}
