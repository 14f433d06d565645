"""Alarms are delivered, each once, whatever fails in between."""

import base64
import json
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from upland.watch import deliveries
from upland.watch.channels import Channel, Command, Failed, Webhook
from upland.watch.deliveries import ALL_TRIES, LEASE, TRIES, Deliveries
from upland.watch.history import History

BATCH = "INSERT INTO batch VALUES (1, 'd1', 'a.csv', '/in/a.csv', '2026-01-01', 1, 9, 3, .1, 9, 0, 0, "
BATCH += "1, 1, 1, 1, 'retrain', '')"


@pytest.fixture
def history(tmp_path):
    with History(tmp_path / "watch.db") as opened:
        with opened.write() as connection:
            connection.execute(BATCH)
        yield opened


def raise_alarm(history, number, *channels):
    with history.write() as connection:
        connection.execute(
            "INSERT INTO alarm VALUES (?, 1, 1, 'changed', NULL, 7.5, 4.6, 1, 'retrain', 'It changed.')",
            (number,),
        )
        for channel in channels:
            connection.execute("INSERT INTO delivery VALUES (?, ?, 'waiting', 0, 0, NULL)", (number, channel))


def rows(history):
    with history.read() as connection:
        return connection.execute(
            "SELECT alarm, status, attempts, error FROM delivery ORDER BY alarm"
        ).fetchall()


class Recorder(Channel):
    """Keeps what it is given; fails as long as `faults` holds something."""

    name = "recorder"

    def __init__(self, faults=()):
        self.faults, self.got, self.stopped = list(faults), [], False
        self.hold = None

    def send(self, key, kind, body):
        self.got.append((key, kind, json.loads(body)))
        if self.hold is not None:
            self.hold.wait(20)
        if self.faults:
            raise self.faults.pop(0)

    def stop(self):
        self.stopped = True
        if self.hold is not None:
            self.hold.set()


@pytest.fixture
def quick(monkeypatch):
    """No waiting: the backoff is counted, not slept."""
    slept = []
    monkeypatch.setattr(deliveries.Deliveries, "_backoff", lambda self, tries: slept.append(tries) or 0.0)
    return slept


def deliver(history, *channels, seconds=20.0):
    notes = []
    left = Deliveries(history, channels, notes.append).close(seconds)
    return left, notes


# -- the table -----------------------------------------------------------------------------------------------


def test_each_alarm_is_sent_once_in_the_order_of_their_numbers(history):
    channel = Recorder()
    for number in (1, 2, 3):
        raise_alarm(history, number, "recorder")
    assert deliver(history, channel) == (0, [])
    assert [found["alarm"] for _, _, found in channel.got] == [1, 2, 3]
    assert len({key for key, _, _ in channel.got}) == 3
    assert deliver(history, channel) == (0, [])
    assert len(channel.got) == 3
    assert rows(history) == [(number, "delivered", 1, None) for number in (1, 2, 3)]


def test_what_is_sent_is_the_alarm_and_its_batch(history):
    channel = Recorder()
    raise_alarm(history, 1, "recorder")
    deliver(history, channel)
    ((key, kind, found),) = channel.got
    assert kind == "changed"
    assert found == {
        **{"key": key, "alarm": 1, "kind": "changed", "subject": None, "since": 1, "action": "retrain"},
        **{"text": "It changed.", "log_value": 7.5, "log_threshold": 4.6},
        "batch": {"batch": 1, "name": "a.csv", "time": "2026-01-01", "rows": 9, "flagged": 3},
    }


def test_an_alarm_raised_later_is_sent_at_once(history):
    channel = Recorder()
    running = Deliveries(history, [channel], pytest.fail)
    raise_alarm(history, 1, "recorder")
    running.wake()
    end = time.monotonic() + 4  # less than between two checks
    while rows(history)[0][1] != "delivered" and time.monotonic() < end:
        time.sleep(0.01)
    assert rows(history) == [(1, "delivered", 1, None)]
    assert running.close(5) == 0


def test_what_fails_is_tried_again_with_the_same_key(history, quick):
    channel = Recorder([Failed("no"), Failed("no")])
    raise_alarm(history, 1, "recorder")
    left, notes = deliver(history, channel)
    assert left == 0
    assert len({key for key, _, _ in channel.got}) == 1
    assert len(channel.got) == 3
    assert quick == [1, 2]
    assert notes == ["recorder: alarm 1 was not delivered: no; it is tried again"] * 2
    assert rows(history) == [(1, "delivered", 3, None)]


def test_a_run_gives_up_and_the_next_tries_again(history, quick):
    channel = Recorder([Failed("no")] * (TRIES + 1))
    raise_alarm(history, 1, "recorder")
    left, notes = deliver(history, channel)
    assert left == 1
    assert rows(history) == [(1, "failed", TRIES, "no")]
    assert notes[-1].endswith("it is tried again in the next run")
    assert deliver(history, channel)[0] == 0
    assert rows(history) == [(1, "delivered", TRIES + 2, None)]


def test_in_all_there_is_an_end(history, quick):
    raise_alarm(history, 1, "recorder")
    with history.write() as connection:
        connection.execute("UPDATE delivery SET attempts = ?", (ALL_TRIES - 1,))
    channel = Recorder([Failed("no")] * 9)
    for _ in range(3):
        assert deliver(history, channel)[0] == 1
    assert len(channel.got) == 1


def test_what_makes_no_sense_again_waits_for_the_next_run(history):
    channel = Recorder([Failed("it answered 404", again=False)])
    raise_alarm(history, 1, "recorder")
    assert deliver(history, channel)[0] == 1
    assert deliver(history, channel)[0] == 0
    assert len(channel.got) == 2


def test_a_failure_of_one_alarm_does_not_keep_the_others(history):
    channel = Recorder([Failed("no", again=False)])
    for number in (1, 2):
        raise_alarm(history, number, "recorder")
    assert deliver(history, channel)[0] == 1
    assert [row[1] for row in rows(history)] == ["failed", "delivered"]


def test_two_watchers_send_each_alarm_once(history, tmp_path):
    sent, lock = [], threading.Lock()

    class Counted(Recorder):
        def send(self, key, kind, body):
            with lock:
                sent.append(key)

    for number in range(1, 41):
        raise_alarm(history, number, "recorder")
    others = [History(tmp_path / "watch.db") for _ in range(3)]
    running = [Deliveries(other, [Counted()], pytest.fail) for other in others]
    assert [one.close(30) for one in running][-1] == 0
    assert len(sent) == len(set(sent)) == 40
    for other in others:
        other.close()


def test_an_alarm_that_is_being_sent_is_nobody_elses_until_the_lease_is_over(history):
    holding, other = Recorder(), Recorder()
    holding.hold = threading.Event()
    raise_alarm(history, 1, "recorder")
    running = Deliveries(history, [holding], pytest.fail)
    while not holding.got:
        time.sleep(0.01)
    assert Deliveries(history, [other], pytest.fail).close(0.1) == 1
    assert other.got == []
    later = time.time() + LEASE + 1  # whoever held it has ended: nobody knows whether it arrived
    assert Deliveries(history, [other], pytest.fail, now=lambda: later).close(5) == 0
    holding.hold.set()
    assert running.close(5) == 0
    assert [key for key, _, _ in other.got] == [key for key, _, _ in holding.got]
    assert rows(history) == [(1, "delivered", 2, None)]


def test_a_clock_that_was_put_back_does_not_keep_an_alarm(history):
    raise_alarm(history, 1, "recorder")
    with history.write() as connection:
        connection.execute("UPDATE delivery SET next_attempt = ?", (time.time() + 1e6,))
    channel = Recorder()
    assert deliver(history, channel) == (0, [])
    assert len(channel.got) == 1


def test_closing_does_not_wait_for_a_channel_that_hangs(history):
    channel = Recorder()
    channel.hold = threading.Event()
    raise_alarm(history, 1, "recorder")
    running = Deliveries(history, [channel], lambda note: None)
    while not channel.got:
        time.sleep(0.01)
    before = time.monotonic()
    running.close(0.05)
    assert time.monotonic() - before < 10
    assert channel.stopped


def test_a_channel_that_hangs_does_not_keep_another(history):
    hanging, other = Recorder(), Recorder()
    hanging.hold, other.name = threading.Event(), "other"
    raise_alarm(history, 1, "recorder", "other")
    running = Deliveries(history, [hanging, other], lambda note: None)
    while not other.got:
        time.sleep(0.01)
    running.close(0.05)


def test_the_backoff_doubles_up_to_its_end(history):
    running = Deliveries(history, [], pytest.fail, jitter=lambda: 0.0)
    assert [running._backoff(tries) for tries in (1, 2, 3, 8, 9, 10)] == [1, 2, 4, 128, 256, 300]
    assert Deliveries(history, [], pytest.fail, jitter=lambda: 1.0)._backoff(3) == 2


def test_a_history_that_is_locked_for_a_while_only_delays(history, tmp_path, monkeypatch):
    monkeypatch.setattr(deliveries, "IDLE", 0.02)
    raise_alarm(history, 1, "recorder")
    impatient = History(tmp_path / "watch.db", wait=0.01)
    channel, notes = Recorder(), []
    running = Deliveries(impatient, [channel], notes.append)
    assert running.close(10) == 0
    raise_alarm(history, 2, "recorder")
    blocker = sqlite3.connect(tmp_path / "watch.db", isolation_level=None)
    running = Deliveries(impatient, [channel], notes.append)
    blocker.execute("BEGIN IMMEDIATE")
    while not notes and len(channel.got) < 2:
        time.sleep(0.01)
    blocker.execute("COMMIT")
    blocker.close()
    assert running.close(10) == 0
    assert len(channel.got) == 2
    assert rows(history)[1][1] == "delivered"
    impatient.close()


# -- webhooks ------------------------------------------------------------------------------------------------


class Server:
    """A server that answers with codes in turn, the last one for ever."""

    def __init__(self, *codes, headers=()):
        self.codes, self.headers, self.requests = list(codes), dict(headers), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((self.path, dict(self.headers), body))
                code = outer.codes.pop(0) if len(outer.codes) > 1 else outer.codes[0]
                if code == 0:  # nothing: the connection is closed
                    self.close_connection = True
                    return
                self.send_response(code)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):
                outer.requests.append((self.path, {}, b"GET"))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?token=s3cret"


@contextmanager
def serving(*codes, **options):
    found = Server(*codes, **options)
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("faults", [(500, 503), (0, 429), (408, 502)])
def test_a_webhook_that_fails_twice_gets_the_alarm_with_one_key(faults, history, quick):
    with serving(*faults, 204) as server:
        channel = Webhook(server.url)
        raise_alarm(history, 1, channel.name)
        assert deliver(history, channel)[0] == 0
    assert [path for path, _, _ in server.requests] == ["/hook?token=s3cret"] * 3
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.requests}) == 1
    headers, body = server.requests[-1][1:]
    assert headers["Content-Type"] == "application/json"
    assert headers["Upland-Alarm"] == "changed"
    assert json.loads(body)["key"] == headers["Idempotency-Key"]
    assert rows(history) == [(1, "delivered", 3, None)]


@pytest.mark.parametrize(
    ("code", "again"), [(400, False), (401, False), (404, False), (408, True), (429, True), (500, True)]
)
def test_which_answers_are_tried_again(code, again):
    with serving(code) as server, pytest.raises(Failed, match=f"it answered {code}") as failed:
        Webhook(server.url).send("k", "changed", b"{}")
    assert failed.value.again == again


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("999999", 300.0), ("soon", None), ("-1", None)])
def test_the_other_side_may_ask_for_time(header, seconds):
    with serving(503, headers={"Retry-After": header}) as server, pytest.raises(Failed) as failed:
        Webhook(server.url).send("k", "changed", b"{}")
    assert failed.value.after == seconds


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code):
    with (
        serving(204) as other,
        serving(code, headers={"Location": other.url}) as server,
        pytest.raises(Failed, match=r"it redirects to http://127\.0\.0\.1:\d+ \(") as failed,
    ):
        Webhook(server.url).send("k", "changed", b"{}")
    assert other.requests == []
    assert not failed.value.again
    assert "s3cret" not in str(failed.value)


def test_a_password_in_the_address_is_a_header():
    with serving(204) as server:
        Webhook(server.url.replace("http://", "http://an%40a:p%3Aw@")).send("k", "changed", b"{}")
    given = server.requests[0][1]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(given) == b"an@a:p:w"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/s3cret", "http://no-such-host.invalid/s3cret"])
def test_an_address_that_cannot_be_reached_is_tried_again(url):
    with pytest.raises(Failed, match="it cannot be reached") as failed:
        Webhook(url, timeout=5).send("k", "changed", b"{}")
    assert failed.value.again
    assert "s3cret" not in str(failed.value)


def test_an_address_that_keeps_silent_is_given_up():
    with serving(204) as server:
        server.server.shutdown()  # it listens, and does not answer
        with pytest.raises(Failed, match="silent") as failed:
            Webhook(server.url, timeout=0.1).send("k", "changed", b"{}")
        threading.Thread(target=server.server.serve_forever, args=(0.01,), daemon=True).start()
    assert failed.value.again


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/s3cret", "file:///etc/passwd", "host/s3cret", "http://", "http://host:s3cret/x", ""),
        *(
            "http://ho st/s3cret",
            "http://host/\r\nX: s3cret",
            "http://höst/",
            "http://[::1/s3cret",
            "data:,x",
        ),
    ],
)
def test_an_address_of_anything_else_is_refused_without_repeating_it(url):
    with pytest.raises(
        ValueError, match=r"the webhook's address .*http://host/path or https://host/path"
    ) as error:
        Webhook(url)
    assert "s3cret" not in str(error.value)


def test_a_proxy_is_that_of_the_environment(monkeypatch):
    with serving(204) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.split("/hook")[0])
        Webhook("http://elsewhere.invalid/hook").send("k", "changed", b"{}")
    assert proxy.requests[0][0] == "http://elsewhere.invalid/hook"


def test_no_secret_is_in_the_history(history, tmp_path, quick):
    with serving(500) as server:
        channel = Webhook(server.url.replace("http://", "http://user:passw0rd@"))
        raise_alarm(history, 1, channel.name)
        _, notes = deliver(history, channel)
    history.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for text in (stored, str(notes).encode(), channel.name.encode()):
        assert b"s3cret" not in text
        assert b"passw0rd" not in text
    assert channel.name.startswith("webhook http://127.0.0.1:")


def test_addresses_of_one_host_are_channels_of_their_own():
    assert Webhook("http://host/a").name != Webhook("http://host/b").name
    assert Webhook("http://host/a").name == Webhook("http://host/a").name


# -- commands ------------------------------------------------------------------------------------------------


def python(code, *arguments):
    return " ".join([sys.executable, "-c", f"'{code}'", *arguments])


def test_a_command_gets_the_alarm_and_no_shell(history, tmp_path, monkeypatch):
    monkeypatch.setenv("UPLAND_WATCH_WEBHOOK", "http://host/s3cret")
    code = "import os, sys; got = sys.argv[2:], dict(os.environ), sys.stdin.read(); "
    code += "open(sys.argv[1], 'w').write(repr(got))"
    command = Command(f'{sys.executable} -c "{code}" {tmp_path}/out "$(touch {tmp_path}/shell)" a;b')
    raise_alarm(history, 1, command.name)
    assert deliver(history, command) == (0, [])
    arguments, environment, document = eval((tmp_path / "out").read_text())
    assert arguments == [f"$(touch {tmp_path}/shell)", "a;b"]
    assert not (tmp_path / "shell").exists()
    assert environment["UPLAND_ALARM"] == "changed"
    assert environment["UPLAND_ALARM_KEY"] == json.loads(document)["key"]
    assert "s3cret" not in str(environment)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "it ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
    ],
)
def test_a_command_that_fails_is_tried_again(code, reason):
    with pytest.raises(Failed, match=reason) as failed:
        Command(python(code)).send("k", "changed", b"{}")
    assert failed.value.again


def test_a_command_that_does_not_end_is_ended_with_what_it_started(tmp_path):
    pids = tmp_path / "pids"
    command = Command(f"sh -c 'sleep 300 & echo $! > {pids}; wait'", timeout=0.5)
    with pytest.raises(Failed, match=r"it did not end within 0\.5 seconds"):
        command.send("k", "changed", b"{}")
    import os

    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(int(pids.read_text()), 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("what the command started still runs")


def test_a_shell_is_named_by_those_who_want_one(tmp_path):
    Command(f"sh -c 'cat > {tmp_path}/out'").send("k", "changed", b"{}")
    assert (tmp_path / "out").read_text() == "{}"


def test_a_command_that_does_not_read_is_no_fault():
    Command("true").send("k", "changed", b"x" * 1_000_000)


def test_a_command_under_way_ends_with_the_watch():
    command, failed = Command("sleep 300"), []

    def send():
        try:
            command.send("k", "changed", b"{}")
        except Failed as error:
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    while command._process is None:
        time.sleep(0.01)
    command.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert "SIGKILL" in str(failed[0])
    with pytest.raises(Failed, match="the watch ended"):
        command.send("k", "changed", b"{}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty: name a program"),
        ("   ", "is empty: name a program"),
        ("mail 'x", "has a quote that does not end"),
        ("no-such-program x", "there is no program 'no-such-program'"),
        ("echo x | mail", None),
    ],
)
def test_a_command_that_cannot_be_run_is_refused_at_once(text, words):
    if words is None:
        Command(text)  # the sign is an argument
        return
    with pytest.raises(ValueError, match=words):
        Command(text)
