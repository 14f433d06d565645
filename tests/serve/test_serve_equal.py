"""A request gets the numbers of `assess`, whatever its body, the estimator, and what comes beside it."""

import asyncio
import base64
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import upland
from estimators import EXAMPLES, EXPERTS
from serving import ARROW, Client

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
TABLES = [label for label in EXAMPLES if getattr(upland, EXAMPLES[label].name).modality == "table"]
IMAGES = [label for label in EXAMPLES if getattr(upland, EXAMPLES[label].name).modality == "image"]
SERIES = ["SequenceEnergyDetector"]


def in_stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def in_file(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def in_parquet(table):
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def in_csv(table):
    sink = io.BytesIO()
    csv.write_csv(table, sink)
    return sink.getvalue()


def in_json(value):
    return json.dumps(value).encode()


BODIES = {
    "records": (lambda t: in_json(t.to_pylist()), "application/json"),
    "columns": (lambda t: in_json(t.to_pydict()), "application/json; charset=utf-8"),
    "split": (
        lambda t: in_json({"columns": t.column_names, "data": [list(r.values()) for r in t.to_pylist()]}),
        "application/json",
    ),
    "lines": (lambda t: b"\n".join(map(in_json, t.to_pylist())), "application/x-ndjson"),
    "csv": (in_csv, "text/csv"),
    "stream": (in_stream, ARROW),
    "file": (in_file, "application/vnd.apache.arrow.file"),
    "parquet": (in_parquet, "application/vnd.apache.parquet"),
}
"""Ways to send a table, and their content types."""


def check(reply, detector, rows, alpha=0.05):
    assert reply.status == 200, reply.document
    scores, p_values = detector.assess(rows)
    np.testing.assert_allclose(reply.column("anomaly_score"), scores, rtol=1e-7)
    np.testing.assert_array_equal(reply.column("p_value"), p_values)
    np.testing.assert_array_equal(reply.column("is_anomaly"), p_values <= alpha)


def arrow_of(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("label", [*TABLES, *SERIES])
def test_every_body_of_a_table_and_of_a_long_frame(stored, fitted, label, body):
    write, kind = BODIES[body]
    rows = EXAMPLES[label].new
    reply = Client(stored(label)).post("/score", write(arrow_of(rows)), kind)
    check(reply, fitted[label], rows)


@pytest.mark.parametrize("label", IMAGES)
def test_every_body_of_images(stored, fitted, label):
    pixels = EXAMPLES[label].new
    files = [png(image) for image in pixels]
    client = Client(stored(label))
    check(client.post("/score", pixels.tolist()), fitted[label], pixels)
    records = [{"image": base64.b64encode(file).decode()} for file in files]
    check(client.post("/score", records), fitted[label], pixels)
    check(client.post("/score", files[0], "image/png"), fitted[label], pixels[:1])
    form = client.ask("POST", "/score", files=[("image", ("a.png", file)) for file in files])
    check(form, fitted[label], pixels)
    check(
        client.post("/score", in_parquet(pa.table({"image": files})), BODIES["parquet"][1]),
        fitted[label],
        pixels,
    )
    structs = pa.table({"image": [{"bytes": file, "path": "nowhere"} for file in files]})
    check(client.post("/score", in_stream(structs), ARROW), fitted[label], pixels)


def png(image):
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "png")
    return sink.getvalue()


def test_rows_without_names_are_lists(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    upland.save(detector, tmp_path / "m.safetensors")
    client = Client(tmp_path / "m.safetensors")
    rows = rows[:4].copy()
    check(client.post("/score", rows.tolist()), detector, rows)
    rows[1, 1] = np.nan
    with pytest.warns(UserWarning, match="missing values"):
        check(
            client.post("/score", [[None if x != x else x for x in row] for row in rows.tolist()]),
            detector,
            rows,
        )


@pytest.mark.parametrize("shape", [(3, 20, 2), (40, 2)])
def test_sequences_as_arrays(tmp_path, shape):
    waves = np.sin(np.arange(20) / 3 + np.random.default_rng(0).uniform(0, 6, (40, 2, 1))).transpose(0, 2, 1)
    detector = upland.SequenceEnergyDetector(random_state=0, epochs=2, progress=False, hidden=(4,)).fit(waves)
    upland.save(detector, tmp_path / "m.safetensors")
    rows = np.random.default_rng(1).normal(size=shape)
    check(Client(tmp_path / "m.safetensors").post("/score", rows.tolist()), detector, rows)


@pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:5 calibration sequences")
def test_a_score_of_each_sequence_of_a_long_frame(tmp_path):
    example = EXAMPLES["SequenceEnergyDetector"]
    detector = example.fit(per="sequence")
    upland.save(detector, tmp_path / "m.safetensors")
    reply = Client(tmp_path / "m.safetensors").post("/score", in_csv(arrow_of(example.new)), "text/csv")
    check(reply, detector, example.new)
    assert reply.column("machine") == ["a", "b"]


@pytest.mark.parametrize("label", TABLES)
def test_the_protocol_gives_the_same(stored, fitted, label):
    rows = EXAMPLES[label].new
    inputs = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if name == "valve" else "FP64",
            "data": list(rows[name]),
        }
        for name in rows
    ]
    client = Client(stored(label))
    name = client.service.models.names[0]
    reply = client.post(f"/v2/models/{name}/infer", {"id": "of a client", "inputs": inputs})
    assert reply.status == 200, reply.document
    assert reply.document["id"] == "of a client"
    tensors = {tensor["name"]: tensor for tensor in reply.document["outputs"]}
    scores, p_values = fitted[label].assess(rows)
    assert [(t["datatype"], t["shape"]) for t in tensors.values()] == [
        ("FP64", [len(rows)]),
        ("FP64", [len(rows)]),
        ("BOOL", [len(rows)]),
    ]
    np.testing.assert_allclose(tensors["anomaly_score"]["data"], scores, rtol=1e-7)
    np.testing.assert_array_equal(tensors["p_value"]["data"], p_values)
    np.testing.assert_array_equal(tensors["is_anomaly"]["data"], p_values <= 0.05)


def test_the_protocol_takes_images_and_sequences(stored, fitted):
    pixels = EXAMPLES["ImageEnergyDetector"].new
    client = Client(stored("ImageEnergyDetector"))
    tensor = {
        "name": "image",
        "shape": list(pixels.shape),
        "datatype": "UINT8",
        "data": pixels.ravel().tolist(),
    }
    reply = client.post(f"/v2/models/{client.service.models.names[0]}/infer", {"inputs": [tensor]})
    data = reply.document["outputs"][0]["data"]
    np.testing.assert_allclose(data, fitted["ImageEnergyDetector"].anomaly_score(pixels), rtol=1e-7)


@pytest.mark.parametrize("label", [*TABLES, *IMAGES])
def test_requests_that_come_together_are_scored_as_each_alone(stored, fitted, label):
    rows = EXAMPLES[label].new
    singles = [
        rows.iloc[n : n + 1] if isinstance(rows, pd.DataFrame) else rows[n : n + 1] for n in range(len(rows))
    ]
    bodies = [
        in_json(one.to_dict("records") if isinstance(one, pd.DataFrame) else one.tolist()) for one in singles
    ]
    client, headers = Client(stored(label)), {"content-type": "application/json"}
    calls = [("POST", "/score", {"content": body, "headers": headers}) for body in bodies]
    replies = asyncio.run(client.asks(calls))
    for reply, one in zip(replies, singles, strict=True):
        check(reply, fitted[label], one)
    text = client.get("/metrics").content.decode()
    assert "upland_batch_requests_sum" in text
    assert batches(client) < len(calls)


def batches(client):
    """How many calls the requests of an application were scored in."""
    return client.service.metrics.registry.get_sample_value("upland_batch_requests_count")


MIXED = [
    {"flow": 9.5, "pressure": 19.2, "valve": "open"},
    {"flow": 10, "pressure": 20, "valve": "shut"},
    {"flow": 2**60, "pressure": 20.5, "valve": "open"},
    {"pressure": 19.0, "flow": 9.5, "valve": "new"},
    {"flow": 9.5, "pressure": 19.0, "valve": "open", "more": [1]},
    {"flow": 9.5, "pressure": "19.0", "valve": "open"},
    {"flow": None, "pressure": 19.0, "valve": None},
    {"flow": 9.5, "pressure": "x", "valve": "open"},
    {"flow": 9.5, "valve": "open"},
    {"flow": True, "pressure": 1.5, "valve": "open"},
    [{"flow": 1.5, "pressure": 2, "valve": "shut"}, {"flow": None, "pressure": 2.5, "valve": None}],
]
"""Records of every kind of cell; some cannot be scored."""


@pytest.mark.filterwarnings("ignore:missing values")
def test_what_cannot_be_scored_spoils_nothing_beside_it(stored):
    client, headers = Client(stored(EXPERTS)), {"content-type": "application/json"}
    alone = [client.post("/score", body) for body in MIXED]
    assert {reply.status for reply in alone} == {200, 422}
    calls = [("POST", "/score", {"content": in_json(body), "headers": headers}) for body in MIXED * 3]
    for reply, expected in zip(asyncio.run(client.asks(calls)), alone * 3, strict=True):
        assert reply.status == expected.status
        if reply.status == 200:
            np.testing.assert_allclose(
                reply.column("anomaly_score"), expected.column("anomaly_score"), rtol=1e-7
            )
            assert reply.column("p_value") == expected.column("p_value")
        else:
            assert reply.error == expected.error


def test_many_rows_are_scored_apart_and_equal(stored, fitted):
    rows = pd.concat([EXAMPLES[EXPERTS].new] * 4)
    client = Client(stored(EXPERTS), batch_rows=16)
    check(client.post("/score", rows.to_dict("records")), fitted[EXPERTS], rows)
    assert batches(client) == 0


def test_alpha_and_reasons(stored, fitted):
    rows = EXAMPLES[EXPERTS].new
    client = Client(stored(EXPERTS), alpha=0.2)
    check(client.post("/score", rows.to_dict("records")), fitted[EXPERTS], rows, alpha=0.2)
    reply = client.post("/score?alpha=0.5&explain=2", rows.to_dict("records"))
    check(reply, fitted[EXPERTS], rows, alpha=0.5)
    expected = upland.Scorer(stored(EXPERTS), alpha=0.5, explain=2)(arrow_of(rows))
    assert reply.column("reason") == expected["reason"].to_pylist()


def test_an_answer_in_arrow(client, fitted):
    rows = EXAMPLES[EXPERTS].new
    reply = client.post("/score", rows.to_dict("records"), headers={"accept": ARROW})
    assert reply.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(reply.content).read_all()
    assert table.column_names == ["anomaly_score", "p_value", "is_anomaly"]
    np.testing.assert_allclose(table["anomaly_score"], fitted[EXPERTS].anomaly_score(rows), rtol=1e-7)
    assert json.loads(table.schema.metadata[b"alpha"]) == 0.05
