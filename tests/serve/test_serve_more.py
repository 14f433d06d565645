"""Groups, reasons, next steps, metrics, models that change, and the page."""

import asyncio
import json
import shutil
import sqlite3
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from normals import waves
from serving import ARROW, Client, metric
from upland.serve.metrics import MEMORY, Counts, FlagRate
from upland.serve.page import HEADERS

SERIES = "SequenceEnergyDetector"


def lots(count=40):
    rows = pd.concat([EXAMPLES[EXPERTS].new] * 2, ignore_index=True)[:count]
    return rows.assign(lot=np.repeat(["a", "b"], count // 2), hall=["x", "y"] * (count // 2))


@pytest.mark.parametrize("by", [["lot"], ["lot", "hall"]])
def test_verdicts_on_groups_are_those_of_the_library(client, fitted, by):
    rows = lots()
    path = "/groups?alpha=0.2&" + "&".join(f"by={name}" for name in by)
    reply = client.post(path, rows.to_dict("records"))
    assert reply.status == 200, reply.document
    found = fitted[EXPERTS].score_groups(rows, by[0] if len(by) == 1 else tuple(by), 0.2)
    np.testing.assert_array_equal(reply.column("p_value"), found.p_value)
    np.testing.assert_array_equal(reply.column("is_anomaly"), found.flag)
    assert reply.column("size") == found.size.tolist()
    assert len(reply.column("group")) == len(found.group)
    in_arrow = client.post(path, rows.to_dict("records"), headers={"accept": ARROW})
    assert pa.ipc.open_stream(in_arrow.content).read_all()["size"].to_pylist() == found.size.tolist()


@pytest.mark.parametrize("label", EXAMPLES)
def test_reasons_are_those_of_the_library(stored, fitted, label):
    rows = EXAMPLES[label].new
    body = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows.tolist()
    reply = Client(stored(label)).post("/explain?explain=2", body)
    assert reply.status == 200, reply.document
    assert len(reply.column("reasons")) == len(rows)
    if label.startswith("Image"):  # regions
        assert {tuple(one) for row in reply.column("reasons") for one in row} == {
            ("column", "share", "part", "value", "expected", "low", "high", "has_expected")
        }
        return
    for row, top in zip(reply.column("reasons"), upland.explain(fitted[label], rows).top(2), strict=True):
        assert [one["column"] for one in row] == [reason.column for reason in top]
        np.testing.assert_allclose([one["share"] for one in row], [reason.share for reason in top], rtol=1e-6)


# -- next steps -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pump(tmp_path_factory):
    """A detector of long series, and its file."""
    path = tmp_path_factory.mktemp("pump") / "pump.safetensors"
    detector = EXAMPLES[SERIES].fit()
    upland.save(detector, path)
    return detector, path


def steps_of(machine):
    rows = EXAMPLES[SERIES].new
    return rows[rows["machine"] == machine].to_dict("records")


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_steps_one_by_one_are_the_series_at_once(pump, kept, tmp_path):
    detector, path = pump
    state = tmp_path / "states.sqlite" if kept == "file" else None
    client = Client(path, state=state)
    whole, p_whole = detector.assess(EXAMPLES[SERIES].new)
    found = {"a": [], "b": []}
    for first, last in ((0, 1), (1, 2), (2, 7), (7, 30)):  # of both in turn, one step or several
        for machine in found:
            if kept == "file":
                client.service.close()
                client = Client(path, state=state)  # as after a restart
            rows = steps_of(machine)[first:last]
            reply = client.post(
                f"/next?series={machine}&after={first}", rows[0] if last == first + 1 else rows
            )
            assert reply.status == 200, reply.document
            assert reply.column("step") == list(range(first + 1, last + 1))
            found[machine] += reply.document["results"]
    records = found["a"] + found["b"]
    np.testing.assert_allclose([one["anomaly_score"] for one in records], whole, rtol=1e-7)
    np.testing.assert_array_equal([one["p_value"] for one in records], p_whole)
    np.testing.assert_array_equal([one["is_anomaly"] for one in records], p_whole <= 0.05)


def test_a_step_that_was_sent_twice_is_seen(pump):
    client = Client(pump[1])
    row, path = steps_of("a")[0], "/next?series=a&after=0"
    assert client.post(path, row).status == 200
    reply = client.post(path, row)
    assert (reply.status, reply.error) == (409, "1 steps of this series were seen, not 0")
    assert client.ask("DELETE", "/next?series=a").document["forgotten"] is True
    assert client.ask("DELETE", "/next?series=a").document["forgotten"] is False
    assert client.post(path, row).status == 200


def test_a_wrong_step_leaves_the_state(pump):
    client, (first, second, *_) = Client(pump[1]), steps_of("a")
    client.post("/next?series=a", first)
    expected = Client(pump[1])
    expected.post("/next?series=a", first)
    for wrong in ({"wave": 1.0}, second | {"load": "much"}, [second, second | {"load": "much"}]):
        assert client.post("/next?series=a", wrong).status == 422
    reply, right = client.post("/next?series=a", second), expected.post("/next?series=a", second)
    assert reply.document["results"] == right.document["results"]
    assert reply.column("step") == [2]


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_states_are_bounded(pump, kept, tmp_path):
    client = Client(pump[1], series=3, state=tmp_path / "s" if kept == "file" else None)
    row = steps_of("a")[0]
    for name in "abcda":
        assert client.post(f"/next?series={name}", row).column("step") == [1]  # the a before was let go
    assert len(client.service.states) == 3
    assert client.post("/next?series=d", row).column("step") == [2]
    assert metric(client.get("/metrics").content.decode(), "upland_series") == 3


def test_several_workers_need_a_file(pump):
    reply = Client(pump[1], workers=2).post("/next?series=a", steps_of("a")[0])
    assert (reply.status, reply.document["code"]) == (503, "unavailable")
    assert "no file for the states" in reply.error


def test_the_protocol_takes_a_long_frame(pump):
    detector, path = pump
    client, rows = Client(path), EXAMPLES[SERIES].new
    described = client.get("/v2/models/pump").document["inputs"]
    assert [one["name"] for one in described] == ["machine", "time", "wave", "load", "mode"]
    described[1]["datatype"] = "INT64"  # what the fit had, dates or numbers
    inputs = [one | {"shape": [len(rows)], "data": rows[one["name"]].tolist()} for one in described]
    reply = client.post("/v2/models/pump/infer", {"inputs": inputs})
    assert reply.status == 200, reply.document
    np.testing.assert_allclose(reply.document["outputs"][0]["data"], detector.anomaly_score(rows), rtol=1e-7)


def test_steps_without_names(tmp_path):
    detector = upland.SequenceEnergyDetector(hidden=(4,), epochs=2, random_state=0, progress=False).fit(
        waves(40)
    )
    upland.save(detector, tmp_path / "m.safetensors")
    client, rows, state = Client(tmp_path / "m.safetensors"), waves(1, seed=3)[0], None
    for row in rows:
        expected = detector.score_next(state, row)
        state = expected.state
        reply = client.post("/next?series=w", [row.tolist()])
        np.testing.assert_allclose(reply.column("anomaly_score"), [expected.anomaly_score], rtol=1e-9)


def test_a_state_that_is_damaged_is_named(pump, tmp_path):
    client, row = Client(pump[1], state=tmp_path / "s"), steps_of("a")[0]
    client.post("/next?series=a", row)
    with sqlite3.connect(tmp_path / "s") as file:
        file.execute("UPDATE series SET state = x'00'")
    file.close()
    reply = client.post("/next?series=a", row)
    assert reply.status == 409
    assert "forget it" in reply.error
    client.ask("DELETE", "/next?series=a")
    assert client.post("/next?series=a", row).column("step") == [1]


def test_a_file_that_is_no_database_is_refused(pump, tmp_path):
    (tmp_path / "s").write_text("no database at all, whatever it is called")
    with pytest.raises(ValueError, match="cannot keep the states of series"):
        Client(pump[1], state=tmp_path / "s")


# -- metrics ----------------------------------------------------------------------------------------------


def test_metrics_count_what_was_answered(stored, fitted):
    client, rows = Client(stored(EXPERTS), alpha=0.2), EXAMPLES[EXPERTS].new
    records = rows.to_dict("records")
    client.post("/score", records)
    client.post("/score", records[0])
    client.post("/score", {"flow": 1})
    client.get("/nowhere")
    text = client.get("/metrics").content.decode()
    scores, p = fitted[EXPERTS].assess(rows)
    p = np.append(p, p[0])
    labels = {"model": "experts"}
    assert metric(text, "upland_rows_total", **labels) == 21
    assert metric(text, "upland_flagged_rows_total", **labels) == (p <= 0.2).sum()
    for bound in (0.1, 0.5, 1.0):
        assert metric(text, "upland_p_value_bucket", **labels, le=f"{bound:g}") == (p <= bound).sum()
    assert metric(text, "upland_anomaly_score_count", **labels) == 21
    assert metric(text, "upland_anomaly_score_sum", **labels) == pytest.approx(scores.sum() + scores[0])
    assert metric(text, "upland_flag_rate", **labels) == pytest.approx((p <= 0.2).mean(), abs=0.001)
    assert metric(text, "upland_requests_total", route="score", status="200") == 2
    assert metric(text, "upland_requests_total", route="score", status="422") == 1
    assert metric(text, "upland_requests_total", route="none", status="404") == 1
    assert metric(text, "upland_request_seconds_count", route="score") == 3
    assert metric(text, "upland_queue_length") == 0
    assert metric(text, "upland_model_info", **labels) == 1


def test_counts_are_those_of_a_histogram():
    values = np.random.default_rng(0).normal(size=1000)
    counts = Counts(np.array([-1.0, 0.0, 1.0]))
    for part in np.array_split(values, 7):
        counts.add(part)
    assert counts.buckets() == [
        ("-1", (values <= -1).sum()),
        ("0", (values <= 0).sum()),
        ("1", (values <= 1).sum()),
        ("+Inf", 1000),
    ]
    assert counts.total == pytest.approx(values.sum())


def test_the_flag_rate_forgets_and_its_z_is_standard():
    """Over many servers z has variance 1 among normal rows, in whatever batches; a fault drives it up."""
    generator, alpha, calibration = np.random.default_rng(0), 0.05, 999
    found = []
    for _ in range(400):
        threshold = generator.beta(50, 950)  # the rate that 999 calibration rows keep
        rate = FlagRate(alpha, calibration)
        for size in (1, 500, 2499):
            rate.add(generator.random(size) < threshold)
        found.append(rate.z)
    assert abs(np.mean(found)) < 0.2
    assert np.std(found) == pytest.approx(1, abs=0.12)
    rate.add(np.ones(2 * MEMORY, dtype=bool))
    assert rate.rate > 0.85
    assert rate.z > 50


# -- models that change -----------------------------------------------------------------------------------


def test_a_changed_file_is_loaded_and_a_bad_one_is_not(stored, fitted, tmp_path, caplog):
    path = tmp_path / "m.safetensors"
    shutil.copy(stored(EXPERTS), path)
    client, row = Client(path), EXAMPLES[EXPERTS].new[:1].to_dict("records")
    models, metrics = client.service.models, client.service.metrics
    before = client.post("/score", row).document
    models.renew(metrics.reloaded)
    assert client.post("/score", row).document == before
    upland.save(fitted["EnergyDetector"], path)
    models.renew(metrics.reloaded)
    after = client.post("/score", row).document
    assert after["version"] != before["version"]
    np.testing.assert_allclose(
        after["results"][0]["anomaly_score"],
        fitted["EnergyDetector"].anomaly_score(EXAMPLES[EXPERTS].new[:1]),
    )
    path.write_bytes(b"no model")
    models.renew(metrics.reloaded)
    models.renew(metrics.reloaded)  # it is tried once
    path.unlink()
    models.renew(metrics.reloaded)
    assert client.post("/score", row).document == after
    text = client.get("/metrics").content.decode()
    assert metric(text, "upland_reloads_total", model="m", result="loaded") == 1
    assert metric(text, "upland_reloads_total", model="m", result="refused") == 1
    assert [record.message for record in caplog.records].count("the changed model file is not used") == 1


def test_no_request_is_lost_while_a_model_changes(stored, tmp_path):
    path = tmp_path / "m.safetensors"
    shutil.copy(stored(EXPERTS), path)
    client, stop, asked = Client(path), threading.Event(), threading.Semaphore(0)
    names = [stored("EnergyDetector"), stored(EXPERTS)]

    def change():
        for turn in range(6):
            shutil.copy(names[turn % 2], tmp_path / "new")
            (tmp_path / "new").replace(path)
            client.service.models.renew(client.service.metrics.reloaded)
            asked.acquire(timeout=60)  # until requests have come since
        stop.set()

    thread = threading.Thread(target=change)
    thread.start()
    body = json.dumps(EXAMPLES[EXPERTS].new[:1].to_dict("records")).encode()
    calls = [("POST", "/score", {"content": body, "headers": {"content-type": "application/json"}})] * 20
    statuses, versions = set(), {}
    while not stop.is_set():
        for reply in asyncio.run(client.asks(calls)):
            statuses.add(reply.status)
            versions.setdefault(reply.document["version"], set()).add(reply.column("anomaly_score")[0])
        asked.release()
    thread.join()
    assert statuses == {200}
    assert len(versions) == 2
    for scores in versions.values():
        assert np.ptp(list(scores)) < 1e-7


# -- the page ---------------------------------------------------------------------------------------------


def test_the_page_asks_no_other_host(client):
    reply = client.get("/docs")
    text = reply.content.decode()
    assert reply.headers["content-type"].startswith("text/html")
    assert "://" not in text
    assert "default-src 'none'" in HEADERS["content-security-policy"]
    assert reply.headers["content-security-policy"] == HEADERS["content-security-policy"]


def test_the_description_names_every_address_once(client):
    about = client.get("/openapi.json").document
    assert about["openapi"].startswith("3.")
    ids = [one["operationId"] for verbs in about["paths"].values() for one in verbs.values()]
    assert len(ids) == len(set(ids)) >= 17
    for path, verbs in about["paths"].items():
        for one in verbs.values():
            assert one["description"], path
            given = one.get("parameters", [])
            declared = {parameter["name"] for parameter in given if parameter["in"] == "path"}
            assert declared == {part.strip("{}") for part in path.split("/") if part.startswith("{")}
    assert "application/vnd.apache.parquet" in about["paths"]["/score"]["post"]["requestBody"]["content"]
