"""What cannot be answered is refused in one shape, in the words of a client, and spoils nothing."""

import asyncio
import errno
import gzip
import io
import json
import logging
import re
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import upland
from estimators import EXAMPLES, EXPERTS
from serving import ARROW, Client
from upland.io import bounds

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
RIGHT = {"flow": 9.5, "pressure": 19.0, "valve": "open"}
PARQUET = "application/vnd.apache.parquet"


def wrong(**cells):
    return json.dumps(RIGHT | cells).encode()


GARBAGE = np.random.default_rng(0).bytes(10_000_000)
JSON = "application/json"
BODIES = {
    "empty": (b"", JSON, 400, "the body is empty: send a list of records"),
    "spaces": (b" \n ", JSON, 400, "the body is empty"),
    "10 MB of garbage": (GARBAGE, JSON, 400, "the body is no JSON"),
    "garbage as CSV": (GARBAGE, "text/csv", 422, "the body"),
    "garbage as Arrow": (GARBAGE, ARROW, 422, "the body cannot be read as Arrow"),
    "garbage as Parquet": (GARBAGE, PARQUET, 422, "the body cannot be read as Parquet"),
    "empty CSV": (b"", "text/csv", 400, "the body is empty"),
    "CSV without rows": (b"flow,pressure,valve\n", "text/csv", 422, "no rows"),
    "CSV with a bad cell": (
        b"flow,pressure,valve\n1,2,open\n1,x,open\n",
        "text/csv",
        422,
        "'pressure', row 2",
    ),
    "half an Arrow stream": (b"\xff\xff\xff\xff\x10\x00\x00\x00", ARROW, 422, "cannot be read as Arrow"),
    "unfinished JSON": (b'[{"flow": 1', JSON, 400, "line 1, column"),
    "no UTF-8": (b'{"flow": "\xff"}', JSON, 400, "the body is no JSON"),
    "half a surrogate pair": (wrong(valve="\udc00"), JSON, 400, "half of a surrogate pair"),
    "half a surrogate pair in a name": (b'{"\\uD800": 1}', JSON, 400, "half of a surrogate pair"),
    "half a surrogate pair in bytes": (b'{"\xed\xa0\x80": 1}', JSON, 400, "the body is no JSON"),
    "a NaN": (b'{"flow": NaN}', JSON, 400, "NaN is no value of JSON; a missing value is null"),
    "an Infinity": (b'{"flow": -Infinity}', JSON, 400, "-Infinity is no value of JSON"),
    "a huge number": (wrong(flow=1).replace(b"1,", b"1e999,"), JSON, 422, "'flow', row 1 holds a number"),
    "a whole number of 400 digits": (wrong(flow=10**400), JSON, 422, "too large"),
    "a number of 9000 digits": (b"[" + b"9" * 9000 + b"]", JSON, 400, "too many digits"),
    "deep lists": (b"[" * 100_000, JSON, 400, "nested too deeply"),
    "a number": (b"7", JSON, 422, "holds no rows"),
    "null": (b"null", JSON, 422, "holds no rows"),
    "no records": (b"[]", JSON, 422, "holds no rows"),
    "an empty record": (b"{}", JSON, 422, "without columns"),
    "a list of numbers": (b"[1, 2]", JSON, 422, "row 1 is no record"),
    "lists for a model with names": (b"[[1, 2, 3]]", JSON, 422, "the columns of the model have names"),
    "a lacking column": (b'{"flow": 1, "valve": "open"}', JSON, 422, "missing column(s): 'pressure'"),
    "records that differ": (
        b"[" + wrong() + b',{"flow": 1}]',
        JSON,
        422,
        "row 2 has other columns than row 1",
    ),
    "a record and a list": (b"[" + wrong() + b",[1]]", JSON, 422, "row 2 is no record"),
    "columns that differ": (b'{"flow": [1, 2], "valve": ["open"]}', JSON, 422, "columns differ in length"),
    "columns without rows": (b'{"flow": [], "valve": []}', JSON, 422, "the columns hold no rows"),
    "split without names": (b'{"columns": [1], "data": [[2]]}', JSON, 422, "names of the columns"),
    "split of other widths": (b'{"columns": ["flow"], "data": [[1, 2]]}', JSON, 422, "no list of 1 values"),
    "an object in a cell": (wrong(flow={"a": 1}), JSON, 422, "'flow', row 1 holds an object"),
    "a list in a cell": (wrong(flow=[1]), JSON, 422, "'flow', row 1 holds a list"),
    "text in a number": (wrong(flow="fast"), JSON, 422, "'flow', row 1 holds 'fast'"),
    "number in a category": (wrong(valve=1.5), JSON, 422, "column 'valve'"),
    "numbers and texts": (b'{"flow": [1, "a"], "valve": ["x", "y"]}', JSON, 422, "beside each other"),
    "an unknown type": (
        b"x",
        "application/x-tar",
        415,
        "unknown Content-Type 'application/x-tar'; known are",
    ),
    "what curl says": (b"x", "application/x-www-form-urlencoded", 415, "unknown Content-Type"),
    "an image": (b"x", "image/png", 415, "the model is of tables"),
    "a form": (b"x", "multipart/form-data; boundary=a", 415, "the model is of tables"),
}

PYTHON = re.compile(
    r"\bX\b|[a-z]Detector reads|\bdtype\b|\b(pandas|polars|torch|astype)\b|(?<![?&\w])\w+=|Python|features\b"
)
"""What only Python says."""


def check(reply, status, words):
    assert reply.status == status, reply.document
    assert words in reply.error
    assert set(reply.document) == {"error", "code", "status", "request_id"}
    assert reply.document["status"] == status
    assert reply.document["request_id"] == reply.headers["x-request-id"]
    text = reply.content.decode()
    for secret in (tempfile.gettempdir(), ".py", "Traceback", "upland-serve", "--", "body.", "safetensors"):
        assert secret not in text
    assert len(text) < 2000
    assert not PYTHON.search(reply.error), f"this is Python, not a client's words: {reply.error}"


@pytest.mark.filterwarnings("ignore:X has feature names")
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_scored(client, name):
    data, kind, status, words = BODIES[name]
    check(client.post("/score", data, kind), status, words)
    assert client.post("/score", RIGHT).status == 200


def bomb_in_parquet():
    sink = io.BytesIO()
    rows = pa.table({"flow": np.zeros(1), "pressure": np.zeros(1), "valve": ["x" * 4_000_000]})
    parquet.write_table(rows, sink, compression="gzip")
    return sink.getvalue()


def bomb_in_arrow():
    sink = pa.BufferOutputStream()
    rows = pa.table({"flow": np.zeros(300_000), "pressure": np.zeros(300_000)})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(("bomb", "kind"), [(bomb_in_parquet, PARQUET), (bomb_in_arrow, ARROW)])
def test_a_decompression_bomb(client, monkeypatch, bomb, kind):
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 20)  # so that a small one does
    check(client.post("/score", bomb(), kind), 413, "as those of a decompression bomb do")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/score?alpha=0", "alpha is a rate between 0 and 1, not '0'"),
        ("/score?alpha=nan", "alpha is a rate"),
        ("/score?alpha=a", "alpha is a rate"),
        ("/score?explain=-1", "explain is how many reasons"),
        ("/score?explain=1.5", "explain is how many reasons"),
        ("/groups", "by names the column"),
        ("/groups?by=flow", "flow"),
        ("/groups?by=valve&statistic=size", "statistic must be one of"),
        ("/groups?by=hall", "hall"),
        ("/next?series=a", "the model is of tables: only a model of sequences"),
        ("/next", "series is the id of a series"),
        (f"/next?series={'a' * 201}", "series is the id of a series"),
        ("/next?series=a&after=%C2%B2", "after is how many steps"),
        (f"/next?series=a&after={'1' * 5000}", "after is how many steps"),
        ("/score?explain=%C2%B2", "explain is how many reasons"),
        ("/next?series=a&after=-1", "after is how many steps"),
    ],
)
def test_a_query_that_is_not_understood(client, path, words):
    check(client.post(path, [RIGHT] * 3), 422, words)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/models/other/score", 404, "there is no such model; there are: experts"),
        ("/v2/models/other/infer", 404, "there is no such model"),
        ("/v2/models/experts/versions/1/infer", 404, "there is no such version"),
        ("/scores", 404, "there is no such address"),
        ("/v2", 405, "does not take this method"),
    ],
)
def test_an_address_that_there_is_not(client, path, status, words):
    check(client.post(path, RIGHT), status, words)


def test_an_answer_that_nobody_can_give(client):
    check(client.post("/score", RIGHT, headers={"accept": "text/html"}), 406, "answers are application/json")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ([], 'an object with a list of tensors, "inputs"'),
        ({"inputs": []}, "list of tensors"),
        ({"inputs": [1]}, "an input is an object"),
        ({"inputs": [{"name": "flow"}]}, "no datatype of the protocol"),
        ({"inputs": [{"name": "flow", "datatype": "FP64", "shape": [2], "data": [1]}]}, "takes 2"),
        ({"inputs": [{"name": "flow", "datatype": "FP64", "shape": [-1], "data": [1]}]}, '"shape" is'),
        ({"inputs": [{"name": "flow", "datatype": "FP64", "shape": [1], "data": 1}]}, '"data" is a list'),
        (
            {"inputs": [{"name": "flow", "datatype": "FP64", "shape": [1], "data": ["a"]}]},
            "not of the type",
        ),
        ({"inputs": [{"name": "flow", "datatype": "INT8", "shape": [1], "data": [300]}]}, "outside of INT8"),
        (
            {"inputs": [{"name": "flow", "datatype": "BOOL", "shape": [1], "data": [1]}]},
            "not of the type",
        ),
        (
            {"inputs": [{"name": "flow", "datatype": "FP64", "shape": [2], "data": [[1], 2]}]},
            "beside each other",
        ),
        ({"inputs": 2 * [{"name": "flow", "datatype": "FP64", "shape": [1], "data": [1]}]}, "two inputs"),
    ],
)
def test_an_inference_request_that_is_none(client, request_, words):
    check(client.post("/v2/models/experts/infer", request_), 400, words)


def tensors(count=1, **cells):
    kinds = {"flow": "FP64", "pressure": "FP64", "valve": "BYTES"}
    found = RIGHT | cells
    return [
        {"name": name, "datatype": kind, "shape": [count], "data": [found[name]] * count}
        for name, kind in kinds.items()
    ]


def test_the_protocol_s_outputs_parameters_and_id(client):
    asked = {"id": "7", "outputs": [{"name": "p_value"}], "parameters": {"alpha": 0.5, "explain": 1}}
    reply = client.post("/v2/models/experts/infer", asked | {"inputs": tensors()})
    assert [tensor["name"] for tensor in reply.document["outputs"]] == ["p_value"]
    reply = client.post("/v2/models/experts/infer", {"parameters": {"explain": 1}, "inputs": tensors()})
    assert reply.document["outputs"][-1]["datatype"] == "BYTES"
    wrong_ones = {"outputs": [{"name": "colour"}]}, {"outputs": 7}, {"parameters": 7}
    for more, words in zip(
        wrong_ones, ("no output 'colour'", '"outputs" is', '"parameters" is'), strict=True
    ):
        check(client.post("/v2/models/experts/infer", {"inputs": tensors()} | more), 400, words)


def test_what_a_model_takes_is_what_it_says(client):
    described = client.get("/v2/models/experts").document
    assert [(one["name"], one["datatype"]) for one in described["inputs"]] == [
        ("flow", "FP64"),
        ("pressure", "FP64"),
        ("valve", "BYTES"),
    ]
    inputs = [
        {"name": one["name"], "datatype": one["datatype"], "shape": [1], "data": [RIGHT[one["name"]]]}
        for one in described["inputs"]
    ]
    version = described["versions"][0]
    reply = client.post(f"/v2/models/experts/versions/{version}/infer", {"inputs": inputs})
    assert [one["name"] for one in reply.document["outputs"]] == [one["name"] for one in described["outputs"]]
    assert client.get("/v2/models/experts/ready").document == {"name": "experts", "ready": True}
    assert client.get("/v2").document["extensions"] == []


# -- limits -----------------------------------------------------------------------------------------------


def test_limits_of_bytes_and_rows(stored):
    client = Client(stored(EXPERTS), body_bytes=3000, rows=20)
    check(client.post("/score", [RIGHT] * 100), 413, "larger than 3,000 bytes")
    check(client.post("/score", [RIGHT] * 21), 413, "may hold 20 rows, and this one holds 21")
    csv = b"flow,pressure,valve\n" + b"1,2,open\n" * 21
    check(client.post("/score", csv, "text/csv"), 413, "may hold 20 rows")
    check(client.post("/v2/models/experts/infer", {"inputs": tensors(21)}), 413, "may hold 20 rows")
    assert client.post("/score", [RIGHT] * 20).status == 200


def test_a_body_without_a_length_is_counted(stored):
    client = Client(stored(EXPERTS), body_bytes=3000)

    async def endless():
        for _ in range(10):
            yield b" " * 1000

    check(client.ask("POST", "/score", content=endless(), headers={"content-type": JSON}), 413, "larger than")


def test_a_compressed_body_is_refused(client):
    for way, data in (("gzip", gzip.compress(wrong())), ("deflate", zlib.compress(wrong()))):
        check(
            client.post("/score", data, JSON, headers={"content-encoding": way}),
            415,
            "without Content-Encoding",
        )


def test_beyond_the_queue_a_client_is_asked_to_wait(stored):
    client = Client(stored(EXPERTS), queue=4, batch_seconds=0)
    headers, body = {"content-type": JSON}, wrong()
    calls = [("POST", "/score", {"content": body, "headers": headers})] * 40
    replies = asyncio.run(client.asks(calls))
    refused = [reply for reply in replies if reply.status != 200]
    assert 0 < len(refused) < 40
    for reply in refused:
        check(reply, 429, "4 requests wait")
        assert int(reply.headers["retry-after"]) >= 1
    assert client.post("/score", RIGHT).status == 200
    assert client.service.waiting == 0


def test_what_takes_too_long_is_given_up(stored, monkeypatch):
    client = Client(stored(EXPERTS), seconds=0.2)
    detector = next(iter(client.service.models)).detector
    monkeypatch.setattr(type(detector), "assess", lambda self, X: time.sleep(0.6))
    check(client.post("/score", RIGHT), 504, "no result within 0.2 s")
    monkeypatch.undo()
    time.sleep(0.6)
    assert client.post("/score", RIGHT).status == 200


def test_a_body_that_does_not_come_is_given_up(stored):
    client = Client(stored(EXPERTS), seconds=0.2)

    async def half():
        yield b'{"flow"'
        await asyncio.sleep(5)

    check(client.ask("POST", "/score", content=half(), headers={"content-type": JSON}), 408, "within 0.2 s")


def test_an_error_inside_is_logged_and_not_shown(stored, monkeypatch, caplog):
    client = Client(stored(EXPERTS))
    detector = next(iter(client.service.models)).detector

    def fail(self, X):
        raise RuntimeError("secret of /etc/upland.py")

    monkeypatch.setattr(type(detector), "assess", fail)
    with caplog.at_level(logging.ERROR):
        reply = client.post("/score", RIGHT)
    check(reply, 500, "an error inside the server")
    record = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.request_id == reply.document["request_id"]
    assert "secret" in str(record.exc_info[1])


# -- keys -------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_where_there_is_one(stored):
    client = Client(stored(EXPERTS), keys=("first", "zweiter-schlüssel"))
    for headers in (
        {},
        {"authorization": "Bearer firs"},
        {"authorization": "first"},
        {"authorization": "Basic first"},
        {"x-api-key": ""},
    ):
        reply = client.post("/score", RIGHT, headers=headers)
        check(reply, 401, "Authorization: Bearer KEY")
        assert reply.headers["www-authenticate"] == "Bearer"
    for headers in ({"authorization": "Bearer first"}, {"x-api-key": "first"}):
        assert client.post("/score", RIGHT, headers=headers).status == 200
    for path in ("/metrics", "/models", "/v2", "/v2/models/experts"):
        assert client.get(path).status == 401
    for path in ("/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"):
        assert client.get(path).status == 200
        assert "experts" not in client.get(path).content.decode()


# -- images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "status", "words"),
    [
        (b"", "image/png", 400, "the body is empty"),
        (b"no image", "image/png", 422, "image 0 cannot be read, it is damaged or no image"),
        ([{"image": "/etc/hostname"}], None, 422, "no text in base64"),
        ([{"image": "aGVsbG8="}], None, 422, "image 0 cannot be read"),
        ([{"image": 7}], None, 422, "no text in base64"),
        ([{"picture": "aGVsbG8="}], None, 422, "the model is of images"),
        (b"image\n/etc/hostname\n", "text/csv", 422, "holds no bytes of an image"),
        ([[[1.5] * 8] * 8], None, 422, "where the fit had uint8"),
        ([[[300] * 8] * 8], None, 422, "from 0 to 255"),
        ([[[1] * 7] * 8], None, 422, "where the fit had 8 x 8"),
        ([[1, 2]], None, 422, "(N, H, W)"),
        (b"no form", "multipart/form-data; boundary=x", 400, "no form that can be read"),
        (b"no form", "multipart/form-data", 400, "no form that can be read"),
    ],
)
def test_what_is_no_image(stored, data, kind, status, words):
    client = Client(stored("ImageEnergyDetector"))
    check(client.post("/score", data, kind), status, words)


SEQUENCE = EXAMPLES["SequenceEnergyDetector"].new.to_dict("records")


def changed(**cells):
    return [row | cells for row in SEQUENCE]


def without(name):
    return [{key: value for key, value in row.items() if key != name} for row in SEQUENCE]


@pytest.mark.parametrize(
    ("path", "data", "words"),
    [
        ("/score", without("time"), "the model's time 'time' names a column that is not in the table"),
        ("/score", without("machine"), "the model's id 'machine' names a column"),
        ("/score", SEQUENCE * 2, "occur more than once"),
        ("/score", changed(time=None), "every step needs its time stamp"),
        ("/score", changed(time="noon"), "'noon'"),
        ("/score", changed(wave="x"), "column 'wave', row 1 holds 'x'"),
        ("/score", [[[1, 2]]], "the data have 2 columns, and the model takes 3"),
        ("/next?series=a", {"wave": 1}, "missing column(s): 'load', 'mode'"),
        ("/next?series=a", [[1, 2]], "the data have 2 columns, and the model takes 3"),
        ("/groups?by=machine", SEQUENCE, "the model is of sequences"),
    ],
)
def test_what_is_no_sequence(stored, path, data, words):
    check(Client(stored("SequenceEnergyDetector")).post(path, data), 422, words)


def test_infinity_in_a_file_is_refused(client):
    rows = pa.table({"flow": [1.0, np.inf], "pressure": [2.0, 2.0], "valve": ["open", "shut"]})
    sink = io.BytesIO()
    parquet.write_table(rows, sink)
    check(client.post("/score", sink.getvalue(), PARQUET), 422, "column 'flow' holds infinity")


def test_no_file_of_the_server_is_opened(stored, tmp_path):
    Image.fromarray(EXAMPLES["ImageEnergyDetector"].new[0]).save(tmp_path / "there.png")
    client = Client(stored("ImageEnergyDetector"))
    place = str(tmp_path / "there.png")
    for column in ([place], [{"path": place}], [{"bytes": None, "path": place}]):
        sink = io.BytesIO()
        parquet.write_table(pa.table({"image": column}), sink)
        check(client.post("/score", sink.getvalue(), PARQUET), 422, "holds no bytes of an image")


def test_two_models_of_one_name_are_refused(stored, tmp_path):
    upland.save(EXAMPLES[EXPERTS].fit(), tmp_path / "experts.safetensors")
    with pytest.raises(ValueError, match="two model files are named experts"):
        Client(stored(EXPERTS), tmp_path / "experts.safetensors")


def test_of_several_models_one_is_named(stored):
    client = Client(stored(EXPERTS), stored("EnergyDetector"))
    check(client.post("/score", RIGHT), 404, "this server has several models: use /models/NAME/score")
    for name in ("experts", "EnergyDetector"):
        assert client.post(f"/models/{name}/score", RIGHT).document["model"] == name


def test_a_full_disk_is_said_and_rows_in_json_need_none(stored, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    client = Client(stored(EXPERTS))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        text = b"flow,pressure,valve\n9.5,19,open\n"
        check(client.post("/score", text, "text/csv"), 507, "send JSON, or try later")
        assert client.post("/score", RIGHT).status == 200
    assert client.post("/score", text, "text/csv").status == 200


# -- numbers and texts of a client ------------------------------------------------------------------------

HUGE = "1" + "0" * 400


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """An application with one model of an array of three columns."""
    path = tmp_path_factory.mktemp("arrays") / "arrays.safetensors"
    rows = np.random.default_rng(0).normal(size=(200, 3))
    upland.save(EXAMPLES[EXPERTS].make(categorical=[]).fit(rows), path)
    return Client(path)


def infer_text(text, **cells):
    """An inference request of one tensor for a model of three columns, as text, since Python has no 1e999."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": [1.0, 2.0, 3.0]} | cells
    return ('{"inputs": [' + json.dumps(tensor) + "]" + (text and ", " + text) + "}").encode()


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (infer_text('"parameters": {"explain": 1e999}'), 422, "explain is how many reasons"),
        (infer_text('"parameters": {"explain": 2.7}'), 422, "not '2.7'"),
        (infer_text('"parameters": {"explain": true}'), 422, "not 'True'"),
        (infer_text(f'"parameters": {{"explain": {HUGE}}}'), 422, "explain is how many reasons"),
        (infer_text(f'"parameters": {{"alpha": {HUGE}}}'), 422, "alpha is a rate"),
        (infer_text('"parameters": {"alpha": true}'), 422, "alpha is a rate"),
        (infer_text('"parameters": []'), 400, '"parameters" is an object'),
        (infer_text('"id": "\\ud800"'), 400, "half of a surrogate pair"),
        (infer_text("", name="\ud800"), 400, "half of a surrogate pair"),
        (infer_text("", name="\udc00", datatype=1), 400, "half of a surrogate pair"),
        (infer_text('"id": 7'), 400, '"id" is a text'),
        (infer_text('"id": {}'), 400, '"id" is a text'),
        (infer_text('"outputs": {}'), 400, '"outputs" is'),
        (infer_text('"outputs": ""'), 400, '"outputs" is'),
        (infer_text("", shape=[1] * 65, data=[1]), 400, '"shape" is'),
        (infer_text("", shape=[10**25, 0], data=[]), 400, '"shape" is'),
        (infer_text("", shape=[10**17, 0], data=[]), 422, "no values"),
        (infer_text("", shape=["1", 3]), 400, '"shape" is'),
        (infer_text("", data=[10**400, 2, 3]), 422, "too large"),
        (infer_text("", data=[10**400, None, 3]), 422, "too large"),
        (infer_text("", datatype="FP16", data=[1e300, 2, 3]), 422, "too large"),
        (infer_text("", datatype="BYTES", data=["1.5", "2", "2"]), 422, "numbers alone"),
        (infer_text("", datatype="BYTES", data=["1.5", None, "2"]), 422, "numbers alone"),
        (infer_text("", datatype="BOOL", data=[True, None, False]), 422, "numbers alone"),
        (infer_text("", shape=[2, 3], data=[[1, 2, 3, 4], [5, 6]]), 400, "do not have its shape [2, 3]"),
        (infer_text("", shape=[2, 3], data=[[1, 2], [3, 4], [5, 6]]), 400, "do not have its shape"),
        (infer_text("", shape=[2, 3], data=[[[1], [2], [3]], [[4], [5], [6]]]), 400, "do not have its shape"),
        (infer_text("", shape=[1, 3, 1], data=[[1, 2, 3]]), 400, "do not have its shape"),
    ],
)
def test_numbers_and_texts_of_an_inference_request(arrays, data, status, words):
    check(arrays.post("/v2/models/arrays/infer", data, JSON), status, words)


@pytest.mark.parametrize("beside", ["null", "1.5", "2", "18446744073709551616"])
@pytest.mark.parametrize("cell", ['"1.5"', '""', "true", "[1]", "{}", HUGE, "1e999"])
def test_what_is_no_number_stays_none_beside_others(arrays, cell, beside):
    for row in (f"[[{cell}, {beside}, 2]]", f"[[2, 3, 4], [2, {beside}, {cell}]]"):
        reply = arrays.post("/score", row.encode(), JSON)
        check(reply, 422, "")
        assert re.search("numbers alone|too large|differ in length", reply.error)


@pytest.mark.parametrize(
    "quality", ["\u00b2", "1\u00b2", "", "x", "nan", "-1", "1" * 5000, "1e999", ".", "\u00bd"]
)
def test_a_quality_that_is_no_number_accepts_nothing(client, quality):
    accept = f"application/json;q={quality}".encode("latin-1")
    reply = client.post("/score", RIGHT, headers={"accept": accept})
    check(reply, 406, "answers are application/json")


def test_nested_data_of_the_tensor_s_shape_and_an_id_are_as_they_were(arrays):
    rows = [[1.0, 2.5, 3.0], [4, 5, 6]]
    replies = [
        arrays.post(
            "/v2/models/arrays/infer",
            infer_text('"id": "\\ud83d\\ude00"', shape=[2, 3], data=data),
            JSON,
        )
        for data in (rows, [*rows[0], *rows[1]])
    ]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].document == replies[1].document
    assert replies[0].document["id"] == "\U0001f600"
