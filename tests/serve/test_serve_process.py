"""A server process: its start, its end, its workers, and clients that do not behave."""

import asyncio
import itertools
import os
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from serving import metric, server

ROW = {"flow": 9.5, "pressure": 19.0, "valve": "open"}


@pytest.fixture(scope="module")
def running(stored, tmp_path_factory):
    """A server of a model file that tests may change."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(stored(EXPERTS), folder / "m.safetensors")
    (folder / "keys").write_text("# of the tests\nsecret\n\n")
    options = ("--api-key-file", "keys", "--reload", "0.2", "--timeout", "3", "--access-log", "--state", "s")
    with server(folder, "m.safetensors", *options) as found:
        found.folder = folder
        yield found


KEY = {"authorization": "Bearer secret"}


def raw(running, data, wait=30.0):
    """What a connection answers until it is closed; raises TimeoutError where it stays open."""
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(data)
        parts = []
        with suppress(ConnectionResetError):  # it is closed, and not all was read
            while part := connection.recv(65_536):
                parts.append(part)
        return b"".join(parts)


def test_it_answers_at_loopback_and_logs_lines_of_json(running):
    reply = httpx.post(f"{running.url}/score", json=ROW, headers=KEY | {"x-request-id": "of-the-test"})
    assert reply.status_code == 200
    assert reply.headers["x-request-id"] == "of-the-test"
    assert "server" not in reply.headers
    assert running.logged("listening")["host"] == "127.0.0.1"
    line = running.logged("request")
    assert (line["path"], line["status"], line["request_id"]) == ("/score", 200, "of-the-test")
    assert "secret" not in running.log.read_text()


def test_a_changed_file_is_loaded(running, fitted):
    before = httpx.post(f"{running.url}/score", json=ROW, headers=KEY).json()["version"]
    upland.save(fitted["EnergyDetector"], running.folder / "m.safetensors")
    assert running.logged("model reloaded")["before"] == before
    assert httpx.post(f"{running.url}/score", json=ROW, headers=KEY).json()["version"] != before
    (running.folder / "m.safetensors").write_bytes(b"no model")
    assert "m.safetensors" in running.logged("the changed model file is not used")["reason"]
    assert httpx.post(f"{running.url}/score", json=ROW, headers=KEY).status_code == 200


HALF = b"POST /score HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret\r\ncontent-length: 100\r\n\r\n{"


MISBEHAVED = {
    b"no HTTP at all\r\n\r\n": b"400",
    b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 200_000: b"",
    b"": b"",
    b"GET / HTTP/1.1\r\nhost: a\r\n": b"",
    HALF: b"408 Request Timeout",
    HALF.replace(b"100", b"99999999"): b" 413 ",
}
"""What a client sends before it does nothing more, and what it is answered at the end."""


def test_a_client_that_does_not_behave_is_let_go(running):
    with ThreadPoolExecutor(len(MISBEHAVED)) as clients:
        answers = clients.map(lambda data: raw(running, data), MISBEHAVED)
        for words, answer in zip(MISBEHAVED.values(), answers, strict=True):
            assert words in answer
    assert httpx.get(f"{running.url}/v2/health/live").status_code == 200


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium, a Debian package")
def test_a_browser_shows_the_addresses(running, tmp_path):
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom")
    command = ["chromium", *options, "--virtual-time-budget=5000", f"{running.url}/docs"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    for path in ("/models/{name}/score", "/v2/health/ready", "/next"):
        assert f'<span class="path">{path}</span>' in page
    assert '<div id="models" class="soft">The models are shown with a key.</div>' in page


def test_a_client_that_leaves_is_counted(running):
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(HALF)
        running.pause(0.2)
    running.pause(0.3)
    text = httpx.get(f"{running.url}/metrics", headers=KEY).text
    assert metric(text, "upland_disconnects_total") == 1


def test_many_idle_connections_keep_nobody_waiting(running):
    host, port = running.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(300)]
    try:
        for connection in idle[:100]:
            connection.sendall(HALF)
        assert httpx.post(f"{running.url}/score", json=ROW, headers=KEY).status_code == 200
    finally:
        for connection in idle:
            connection.close()


def test_at_the_end_every_request_that_was_taken_is_answered(running):
    """Requests keep coming while the server drains; what it has taken, it answers, and all of it with 200."""
    numbers = itertools.count()

    async def ask(client, found):
        while True:
            name = f"end-{next(numbers)}"
            try:
                reply = await client.post("/score", json=ROW, headers=KEY | {"x-request-id": name})
            except httpx.TransportError:  # it listens no more, or has just stopped to
                return
            found[name] = (reply.status_code, reply.headers.get("connection"))

    async def all_of_it():
        found = {}
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            tasks = [asyncio.create_task(ask(client, found)) for _ in range(8)]
            await asyncio.sleep(0.5)
            running.process.send_signal(signal.SIGTERM)
            ready = await client.get("/v2/health/ready")
            while ready.status_code == 200:
                ready = await client.get("/v2/health/ready")
            await asyncio.gather(*tasks)
        return found, ready

    found, ready = asyncio.run(all_of_it())
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    assert {status for status, _ in found.values()} == {200}
    assert {"close", None} == {connection for _, connection in found.values()}
    assert running.process.wait(timeout=20) == 0
    taken = [line["request_id"] for line in running.lines() if line["message"] == "request"]
    assert {name for name in taken if name.startswith("end-")} == set(found)
    messages = [line["message"] for line in running.lines()]
    assert messages.index("draining") < messages.index("ended: every request was answered")
    assert messages[-1] == "ended: every request was answered"


def test_a_worker_that_is_killed_is_replaced_and_series_go_on(tmp_path):
    """The others answer meanwhile, and go on with its series; a request that it had taken may be lost."""
    example = EXAMPLES["SequenceEnergyDetector"]
    detector = example.fit()
    upland.save(detector, tmp_path / "m.safetensors")
    rows = example.new[example.new["machine"] == "a"]
    scores, failed = [], 0
    with server(tmp_path, "m.safetensors", "--state", "s.sqlite", "--drain", "0.1", workers=2) as found:
        pids = {line["pid"] for line in found.lines() if line["message"] == "ready"}
        assert len(pids) == 2
        for number, row in enumerate(rows.to_dict("records")):
            if number == 10:
                os.kill(pids.pop(), signal.SIGKILL)
            try:  # a connection for each step
                reply = httpx.post(f"{found.url}/next?series=a&after={number}", json=row)
            except httpx.TransportError:
                failed += 1
                reply = httpx.post(f"{found.url}/next?series=a&after={number}", json=row)
            scores.append(reply.json()["results"][0]["anomaly_score"])
        found.logged("ready", 3)
        assert found.end() == 0
    assert failed <= 1
    assert scores == pytest.approx(detector.anomaly_score(rows).tolist(), rel=1e-7)
    assert [line["message"] for line in found.lines()].count("ended: every request was answered") >= 2
