"""`upland watch`: each file once, changes are alarmed, what cannot be read is refused, nothing is lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import upland as library
from plant import HEADER, pump_rows, ramps, write_csv
from programs import COMMAND_LINE, SOURCE
from upland.io.formats import TableWriter

OLD = 1_700_000_000


def put(folder, name, seed, count=30, shift=0.0, modified=None):
    """A file of pump rows; seeds are in the order of the times of change."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, pump_rows(count, seed, shift=shift))
    os.utime(path, (OLD, OLD + seed if modified is None else modified))
    return path


@pytest.fixture
def incoming(tmp_path):
    """A folder with three normal files."""
    for number in range(3):
        put(tmp_path / "in", f"{number}.csv", 10 + number)
    return tmp_path / "in"


@pytest.fixture
def watch(upland, plant, incoming, tmp_path):
    """Run a watch of the folder."""

    def run(*arguments, place=incoming, model=plant / "pump.safetensors"):
        return upland("watch", model, place, "--history", tmp_path / "watch.db", *arguments)

    return run


@pytest.fixture
def watch_lines(watch):
    """The same with `--json`: the documents on standard output."""

    def run(*arguments, **options):
        done = watch(*arguments, "--json", **options)
        assert done.code == 0, done.err
        return [json.loads(line) for line in done.out.splitlines()]

    return run


def query(tmp_path, sql):
    connection = sqlite3.connect(tmp_path / "watch.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def names(lines, status="taken"):
    return [line["name"] for line in lines if line["status"] == status]


# -- each file once ------------------------------------------------------------------------------------------


def test_each_file_is_taken_once_in_the_order_of_change(watch_lines, incoming, tmp_path):
    assert names(watch_lines()) == ["0.csv", "1.csv", "2.csv"]
    assert watch_lines() == []
    put(incoming, "sub/late.csv", 5)
    (again,) = watch_lines()
    assert (again["batch"], again["name"], again["rows"]) == (4, "sub/late.csv", 30)
    stored = query(tmp_path, "SELECT name, path, time FROM batch ORDER BY batch")
    assert stored[0] == ("0.csv", str(incoming / "0.csv"), "2023-11-14T22:13:30+00:00")
    assert len(stored) == 4


def test_a_line_for_each_batch(watch):
    done = watch()
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:4] == ["1", "0.csv", "30", "rows"]
    assert "flagged" in lines[0]
    assert "evidence" in lines[0]
    assert lines[0].endswith("nothing")
    assert "3 new batches, 0 alarms; history" in done.words
    assert watch("-q").out == ""


def test_the_same_content_under_another_name_is_not_taken_again(watch_lines, incoming):
    watch_lines()
    (incoming / "copy.csv").write_bytes((incoming / "1.csv").read_bytes())
    os.utime(incoming / "copy.csv", (OLD, OLD + 99))
    (line,) = watch_lines()
    assert (line["status"], line["name"]) == ("known", "copy.csv")
    assert "the content of batch 2 (1.csv)" in line["reason"]
    assert watch_lines() == []


def test_a_file_that_is_touched_or_moved_back_says_nothing(watch_lines, incoming):
    watch_lines()
    os.utime(incoming / "1.csv", (OLD, OLD + 500))
    assert watch_lines() == []
    (incoming / "2.csv").rename(incoming / "away.txt")
    assert watch_lines() == []
    (incoming / "away.txt").rename(incoming / "2.csv")
    assert watch_lines() == []


def test_files_that_are_known_are_not_opened(watch_lines, incoming, monkeypatch):
    watch_lines()
    from upland.watch import intake

    opened = []
    monkeypatch.setattr(intake, "digest_of", lambda entry: opened.append(entry.name))
    assert watch_lines() == []
    assert opened == []


def test_a_file_that_changed_since_it_was_taken_is_refused_and_the_advice_works(
    watch_lines, incoming, tmp_path
):
    watch_lines()
    put(incoming, "1.csv", 77)
    (line,) = watch_lines()
    assert (line["status"], line["name"]) == ("refused", "1.csv")
    assert line["reason"].startswith("it has changed since it was taken as batch 2")
    assert "a file of their own, under another name" in line["reason"]
    assert watch_lines() == []
    (incoming / "1.csv").rename(incoming / "1-new.csv")
    assert names(watch_lines()) == ["1-new.csv"]
    assert query(tmp_path, "SELECT count(*) FROM batch") == [(4,)]


def test_standard_input_is_one_batch(watch, incoming, monkeypatch, tmp_path):
    def piped(content, *arguments):
        path = tmp_path / "piped"
        path.write_bytes(content)
        with path.open("rb") as file:
            import io

            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
            return watch("--json", *arguments, place="-")

    content = (incoming / "0.csv").read_bytes()
    (line,) = map(json.loads, piped(content).out.splitlines())
    assert (line["status"], line["batch"], line["name"]) == ("taken", 1, "standard input")
    (line,) = map(json.loads, piped(content).out.splitlines())
    assert (line["status"], line["reason"]) == (
        "known",
        "its content was taken before, as batch 1 (standard input)",
    )
    refused = piped(b"a,b\n1,2\n")
    assert refused.code == 1
    (line,) = map(json.loads, refused.out.splitlines())
    assert line["status"] == "refused"
    assert "missing column(s)" in line["reason"]
    assert "standard input has 'a', 'b'" in line["reason"]
    assert "upland-" not in line["reason"]
    assert piped(content, "--follow").code == 2
    assert query(tmp_path, "SELECT path FROM batch") == [("-",)]


def test_one_file_and_a_pattern_are_places(watch_lines, incoming):
    assert names(watch_lines(place=incoming / "2.csv")) == ["2.csv"]
    assert names(watch_lines(place=incoming / "[01].csv")) == ["0.csv", "1.csv"]


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".arrow", ".tsv", ".CSV"])
def test_every_format_of_rows_is_taken(suffix, watch_lines, incoming, tmp_path):
    table = csv.read_csv(incoming / "0.csv")
    target = tmp_path / "other" / f"rows{suffix}"
    target.parent.mkdir()
    with TableWriter(target) as writer:
        writer.write(table)
    os.utime(target, (OLD, OLD))
    (line,) = watch_lines(place=target.parent)
    assert (line["status"], line["rows"]) == ("taken", 30)


def test_images_and_arrays_are_taken_by_a_model_of_images(watch_lines, pictures, tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path / "shots"
    folder.mkdir()
    Image.fromarray(ramps(1, seed=5)[0]).save(folder / "one.png")
    np.save(folder / "nine.npy", ramps(9, seed=6))
    put(folder, "rows.csv", 1)
    for number, name in enumerate(("one.png", "nine.npy")):
        os.utime(folder / name, (OLD, OLD + number))
    lines = watch_lines(place=folder, model=pictures / "model.safetensors")
    assert [(line["name"], line["rows"]) for line in lines] == [("one.png", 1), ("nine.npy", 9)]


def test_series_are_taken_by_a_model_of_series(watch_lines, windows, tmp_path):
    folder = tmp_path / "windows"
    folder.mkdir()
    np.savez(folder / "new.npz", x=np.load(windows / "new.npz")["x"])
    os.utime(folder / "new.npz", (OLD, OLD))
    (line,) = watch_lines(place=folder, model=windows / "model.safetensors")
    assert (line["status"], line["rows"]) == ("taken", 10)


# -- what cannot be read -------------------------------------------------------------------------------------


def broken(path, kind):
    if kind == "no table":
        path.write_bytes(b"\x00\x01\x02")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "other columns":
        write_csv(path, [[1, 2]], ["a", "b"])
    elif kind == "text for a number":
        write_csv(path, [["much", *pump_rows(1, 0)[0][1:]]], HEADER)
    elif kind == "half a parquet":
        path = path.with_suffix(".parquet")
        pq.write_table(pa.table({"a": [1]}), path)
        path.write_bytes(path.read_bytes()[:-7])
    os.utime(path, (OLD, OLD + 11.5))
    return path


@pytest.mark.parametrize(
    "kind", ["no table", "empty", "other columns", "text for a number", "half a parquet"]
)
def test_a_file_that_cannot_be_used_is_refused_once_and_the_rest_goes_on(kind, watch, incoming, tmp_path):
    path = broken(incoming / "bad.csv", kind)
    done = watch("--json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert names(lines) == ["0.csv", "1.csv", "2.csv"]
    assert names(lines, "refused") == [path.name]
    ((name, reason),) = query(tmp_path, "SELECT name, reason FROM refused")
    assert name == path.name
    assert reason == next(line["reason"] for line in lines if line["status"] == "refused")
    assert watch("--json").out == ""


def test_a_refused_file_is_tried_again_when_its_content_changes_or_it_is_asked_for(watch_lines, incoming):
    bad = broken(incoming / "bad.csv", "other columns")
    watch_lines()
    (line,) = watch_lines("--retry-refused")
    assert line["status"] == "refused"
    put(incoming, bad.name, 50)
    assert names(watch_lines()) == ["bad.csv"]


def test_a_file_that_one_model_refused_is_tried_again_under_another(
    watch_lines, plant, works, incoming, tmp_path
):
    write_csv(incoming / "other.csv", [[1, 2, 3]] * 9, ["a", "b", "c"])
    os.utime(incoming / "other.csv", (OLD, OLD))
    assert names(watch_lines(), "refused") == ["other.csv"]
    assert names(watch_lines(model=works / "energy.safetensors")) == ["other.csv"]


def test_a_refused_file_is_a_warning_for_people(watch, incoming):
    broken(incoming / "bad.csv", "other columns")
    done = watch()
    assert "warning: bad.csv is refused:" in done.err
    assert "bad.csv has 'a', 'b'" in done.err
    assert str(incoming) not in done.err
    assert "1 refused; history" in done.words


def test_the_reason_is_in_the_words_of_the_command_line(watch, incoming):
    done = watch("--by", "nope")
    assert "refused" in done.err
    assert "'nope'" in done.err


def test_one_file_that_is_refused_is_an_error(watch, incoming):
    assert watch(place=broken(incoming / "bad.csv", "other columns")).code == 1


def test_a_file_whose_reading_ended_the_process_twice_is_refused(watch, watch_lines, monkeypatch):
    from upland.watch.watch import Watch

    update = Watch.update

    def dying(self, X, **named):
        if named["name"] == "1.csv":
            raise AssertionError("the process ends here")
        return update(self, X, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "update", dying)
        assert [watch().code for _ in range(2)] == [70, 70]
    lines = watch_lines()
    assert names(lines, "refused") == ["1.csv"]
    assert "ended the process 2 times" in lines[0]["reason"]
    assert names(lines) == ["2.csv"]
    assert watch_lines() == []


def test_a_signal_while_a_file_is_read_is_not_counted_against_it(watch, watch_lines, monkeypatch):
    from upland.watch.watch import Watch

    def interrupted(self, X, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Watch, "update", interrupted)
            done = watch()
        assert done.code == 143
        assert "ended by SIGTERM; what was taken before is in the history" in done.err
    assert names(watch_lines()) == ["0.csv", "1.csv", "2.csv"]


def test_a_file_that_cannot_be_opened_is_said_and_left(watch, watch_lines, incoming, monkeypatch):
    from upland.watch import incoming as module

    opened = module.Path.open

    def refusing(self, *arguments, **options):
        if self.name == "1.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module.Path, "open", refusing)
        done = watch()
        assert "1.csv is not taken now" in done.err
        assert "Permission denied" in done.err
        assert done.code == 0
    assert names(watch_lines()) == ["1.csv"]


def test_a_format_whose_library_is_missing_is_left_and_the_rest_goes_on(watch_lines, incoming, monkeypatch):
    (incoming / "book.xlsx").write_bytes(b"PK")
    os.utime(incoming / "book.xlsx", (OLD, OLD + 11.5))
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    lines = watch_lines()
    assert names(lines) == ["0.csv", "1.csv", "2.csv"]
    (line,) = (line for line in lines if line["name"] == "book.xlsx")
    assert line["status"] == "later"
    assert "pip install 'upland[excel]'" in line["reason"]


def test_a_file_that_is_still_written_waits_for_the_next_run(watch_lines, incoming, monkeypatch):
    path = put(incoming, "3.csv", 13, modified=time.time())
    from upland.cli import watch_run

    def write_on(seconds):
        with path.open("a") as file:
            file.write("1,2,auto,off\n")

    with monkeypatch.context() as patch:
        patch.setattr(watch_run.clock, "sleep", write_on)
        lines = watch_lines("--stable", "60")
    assert names(lines) == ["0.csv", "1.csv", "2.csv"]
    assert [(line["name"], line["reason"]) for line in lines[3:]] == [
        ("3.csv", "it is still being written; the next run takes it")
    ]
    put(incoming, "3.csv", 13)
    assert names(watch_lines()) == ["3.csv"]


def test_a_young_file_is_waited_for(watch_lines, incoming):
    put(incoming, "3.csv", 13, modified=time.time())
    assert names(watch_lines("--stable", "0.2")) == ["0.csv", "1.csv", "2.csv", "3.csv"]


def test_a_file_that_changes_while_it_is_read_is_left(watch_lines, incoming, monkeypatch):
    from upland.watch.watch import Watch

    scored = Watch._scored

    def changing(self, X, groups):
        found = scored(self, X, groups)
        if str(X).endswith("1.csv"):
            put(incoming, "1.csv", 60)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Watch, "_scored", changing)
        lines = watch_lines()
    assert names(lines) == ["0.csv", "2.csv"]
    assert names(lines, "later") == ["1.csv"]
    assert names(watch_lines()) == ["1.csv"]


def test_links_out_of_the_folder_and_other_formats_are_said(watch, incoming, tmp_path):
    (incoming / "README.txt").write_text("no rows")
    (incoming / "out.csv").symlink_to(put(tmp_path, "secret.csv", 3))
    done = watch()
    assert "warning: out.csv is a link that leads out of the place" in done.words
    assert "of another format, left out: README.txt" in done.words


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of bytes are of Linux")
def test_hostile_names_are_taken_and_harmless(watch, incoming):
    for number, name in enumerate((b"new\nline.csv", b"\x1b[31mred.csv", b"\xff\xfe.csv")):
        path = os.path.join(os.fsencode(incoming), name)
        with open(path, "wb") as file:
            write_csv(incoming / "made.csv", pump_rows(30, 90 + number))
            file.write((incoming / "made.csv").read_bytes())
            (incoming / "made.csv").unlink()
        os.utime(path, (OLD, OLD + 90 + number))
    done = watch()
    assert done.code == 0
    assert len(done.out.splitlines()) == 6
    assert "\x1b" not in done.out
    assert r"new\nline.csv" in done.out
    assert watch().out == ""
    assert len(watch("--json").out) == 0


# -- alarms --------------------------------------------------------------------------------------------------


@pytest.fixture
def shifted(incoming):
    """Files of a pump that is broken."""
    for number in range(3, 6):
        put(incoming, f"{number}.csv", 10 + number, shift=40.0)
    return incoming


def test_a_change_is_alarmed_and_may_be_an_exit_code(watch, shifted):
    done = watch("--fail-on-anomaly")
    assert done.code == 10
    alarms = [line for line in done.out.splitlines() if line.startswith("ALARM ")]
    assert "changed" in alarms[0]
    assert "probability 0.01 at most" in alarms[0]
    again = watch("--fail-on-anomaly")
    assert (again.code, again.out) == (0, "")


def test_quiet_prints_alarms_alone(watch, shifted):
    done = watch("-q")
    assert done.out.splitlines()
    assert all(line.startswith("ALARM ") for line in done.out.splitlines())
    assert done.err == ""


def python(code):
    return f'{sys.executable} -c "{code}"'


def test_a_command_gets_each_alarm_once(watch, watch_lines, shifted, tmp_path):
    code = f"import sys; open('{tmp_path}/got', 'a').write(sys.stdin.read() + chr(10))"
    lines = watch_lines("--on-alarm", python(code))
    raised = [alarm["alarm"] for line in lines for alarm in line["alarms"]]
    got = [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]
    assert [found["alarm"] for found in got] == raised
    assert raised
    watch("--on-alarm", python(code))
    assert len((tmp_path / "got").read_text().splitlines()) == len(raised)


@contextmanager
def server(*codes):
    """Answers with these codes in turn, the last for ever; gives the address and the keys that came."""
    keys, left = [], list(codes)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_address[1]}/s3cret", keys
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


def test_a_webhook_that_was_down_gets_the_alarms_in_the_next_run(watch, shifted, tmp_path, monkeypatch):
    from upland.cli import watch_run

    monkeypatch.setattr(watch_run, "FLUSH", 0.5)
    monkeypatch.setenv("UPLAND_WATCH_WEBHOOK", "http://127.0.0.1:9/s3cret")
    with server(404, 204) as (url, keys):
        monkeypatch.setenv("UPLAND_WATCH_WEBHOOK", url)
        done = watch()
        assert "it answered 404; it is tried again in the next run" in done.words
        assert "1 alarm(s) are not delivered yet; the next run tries again" in done.words
        assert "s3cret" not in done.out + done.err
        watch()
        raised = query(tmp_path, "SELECT count(*) FROM alarm")[0][0]
        assert len(set(keys)) == raised
        assert len(keys) == raised + 1
    assert query(tmp_path, "SELECT DISTINCT status FROM delivery") == [("delivered",)]
    monkeypatch.delenv("UPLAND_WATCH_WEBHOOK")
    assert "wait for" not in watch().words


def test_alarms_that_wait_for_a_way_that_is_gone_are_said(watch, shifted, monkeypatch):
    from upland.cli import watch_run

    monkeypatch.setattr(watch_run, "FLUSH", 0.05)
    watch("--on-alarm", "false")
    assert "wait for command false #" in watch().words


# -- the history as data -------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_fit_and_calibrate_take_the_normal_batches_of_a_history(
    keep, watch, upland, plant, shifted, tmp_path
):
    watch(*(["--keep-rows"] if keep else []))
    if keep:
        for path in shifted.iterdir():
            path.unlink()
    done = upland(
        "calibrate", plant / "pump.safetensors", tmp_path / "watch.db", "-o", tmp_path / "m2.safetensors"
    )
    assert done.code == 0, done.err
    assert "the rows of 3 normal batches; 3 off, left out" in done.words
    assert library.load(tmp_path / "m2.safetensors").calibration_.size == 90
    done = upland("fit", tmp_path / "watch.db", "-o", tmp_path / "m3.safetensors", "--epochs", "1")
    assert done.code == 0, done.err
    assert library.load(tmp_path / "m3.safetensors").n_samples_fit_ == 90


def test_all_rows_of_a_normal_batch_are_used_flagged_ones_too(watch_lines, upland, plant, incoming, tmp_path):
    lines = watch_lines("--alpha", "0.3")
    assert sum(line["flagged"] for line in lines) > 0
    upland("calibrate", plant / "pump.safetensors", tmp_path / "watch.db", "-o", tmp_path / "m2.safetensors")
    assert library.load(tmp_path / "m2.safetensors").calibration_.size == 90


def test_files_that_vanished_or_changed_are_named(watch, upland, plant, incoming, tmp_path):
    watch()
    (incoming / "0.csv").unlink()
    put(incoming, "1.csv", 88)
    calibrate = ("calibrate", plant / "pump.safetensors", tmp_path / "watch.db", "-o")
    done = upland(*calibrate, tmp_path / "m2.safetensors")
    assert done.code == 0
    assert f"batch 1 (0.csv) has vanished: {incoming}/0.csv; it is left out" in done.words
    assert f"batch 2 (1.csv) has changed since it was taken: {incoming}/1.csv" in done.words
    (incoming / "2.csv").unlink()
    done = upland(*calibrate, tmp_path / "m3.safetensors")
    assert done.code == 1
    assert "leaves no normal batch; batch 1 (0.csv) has vanished" in done.words
    assert "watch with --keep-rows" in done.words


def test_a_database_of_another_program_is_no_data(upland, plant, tmp_path):
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE a (b)").connection.close()
    done = upland(
        "calibrate", plant / "pump.safetensors", tmp_path / "other.db", "-o", tmp_path / "m.safetensors"
    )
    assert done.code == 1
    assert "it is a database of another program" in done.words


# -- the command line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--delta", "0"), "--delta must lie between 0 and 1, not 0"),
        (("--fdr", "nan"), "--fdr must lie between 0 and 1, not nan"),
        (("--alpha", "1"), "--alpha must lie between 0 and 1, not 1"),
        (("--poll", "inf"), "--poll must be a finite number, not inf"),
        (("--wait", "nan"), "--wait must "),
        (("--every", "1h"), "--every tests parts of time: name their column, --time COLUMN"),
        (("--every", "1h", "--time", "t", "--by", "a"), "--by and --every are two ways to test groups"),
        (("--on-alarm", "no-such-program"), "--on-alarm: there is no program 'no-such-program'"),
        (("--webhook", "ftp://host/s3cret"), "--webhook: the webhook's address is none of http or https"),
    ],
)
def test_what_is_wrong_before_anything_is_taken(arguments, words, watch, tmp_path):
    done = watch(*arguments)
    assert done.code == 2
    assert words in done.words, done.words
    assert "s3cret" not in done.err


def test_other_options_than_the_history_was_begun_with_are_refused_and_the_advice_works(watch):
    watch("--delta", "0.05")
    done = watch()
    assert done.code == 1
    assert "begun with --delta 0.05, and its guarantees are of that: give --delta 0.05" in done.words
    assert watch("--delta", "0.05").code == 0
    done = watch("--delta", "0.05", "--by", "valve")
    assert done.code == 1
    assert "begun without --by, and its guarantees are of that: leave --by out" in done.words


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 40, None])
def test_a_history_that_is_none_is_an_error_of_the_output(content, watch, tmp_path):
    if content is None:
        (tmp_path / "watch.db").mkdir()
    else:
        (tmp_path / "watch.db").write_bytes(content)
    done = watch()
    assert done.code == 3
    assert f"history {tmp_path}/watch.db" in done.words


def test_a_history_that_is_locked_is_waited_for(watch, tmp_path):
    watch()
    other = sqlite3.connect(tmp_path / "watch.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = watch("--wait", "0.05")
    assert done.code == 3
    assert "another program holds it locked" in done.words
    other.execute("COMMIT")
    other.close()
    assert watch("--wait", "0.05").code == 0


def test_a_place_that_is_not_there_is_an_error(watch, tmp_path):
    done = watch(place=tmp_path / "nowhere")
    assert done.code == 1
    assert "nowhere does not exist" in done.words


# -- following -----------------------------------------------------------------------------------------------


@contextmanager
def meanwhile(work):
    """Do something in another thread; what goes wrong there is raised in the end."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result(30)


def wait_for(tmp_path, sql, value):
    """Wait until a query gives a value."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(sqlite3.OperationalError):
            if query(tmp_path, sql)[0][0] == value:
                return
        time.sleep(0.01)
    pytest.fail(f"{sql} does not become {value}")


FOLLOW = ("--follow", "--poll", "0.02", "--stable", "0.05", "--json")


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_following_takes_what_comes_and_ends_in_good_order(number, watch, incoming, tmp_path):
    ended = []

    def work():
        try:
            wait_for(tmp_path, "SELECT count(*) FROM batch", 3)
            put(tmp_path, "3.csv", 13, modified=time.time()).rename(incoming / "3.csv")
            wait_for(tmp_path, "SELECT count(*) FROM batch", 4)
        finally:
            ended.append(time.monotonic())
            os.kill(os.getpid(), number)

    with meanwhile(work):
        done = watch(*FOLLOW)
    assert time.monotonic() - ended[0] < 10
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["name"] for line in done.out.splitlines()] == [f"{n}.csv" for n in range(4)]
    assert query(tmp_path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_while_it_is_followed_the_page_of_a_history_is_there(watch, incoming, tmp_path):
    page, found = tmp_path / "page.html", []

    def work():
        try:
            wait_for(tmp_path, "SELECT count(*) FROM batch", 3)
            end = time.monotonic() + 20
            while not (page.exists() and "90 rows" in page.read_text()) and time.monotonic() < end:
                time.sleep(0.01)
            found.append(page.read_text())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(work):
        done = watch(*FOLLOW, "--report", page)
    assert (done.code, done.err) == (0, "")
    assert "3 batches with 90 rows" in found[0]
    assert "3 batches with 90 rows" in page.read_text()


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_a_file_that_grows_is_taken_when_it_is_whole(watch, incoming, tmp_path):
    def work():
        try:
            wait_for(tmp_path, "SELECT count(*) FROM batch", 3)
            with (incoming / "3.csv").open("w") as file:
                for line in (incoming / "0.csv").read_text().splitlines():
                    file.write(line.replace("1", "2") + "\n" if line[0].isdigit() else line + "\n")
                    file.flush()
                    time.sleep(0.01)
            wait_for(tmp_path, "SELECT count(*) FROM batch", 4)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(work):
        watch(*FOLLOW[:3], "--stable", "0.3", "--json")
    assert query(tmp_path, "SELECT name, rows FROM batch ORDER BY batch")[3:] == [("3.csv", 30)]
    assert query(tmp_path, "SELECT count(*) FROM refused") == [(0,)]


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_a_folder_that_is_away_for_a_while_is_waited_for(watch, incoming, tmp_path):
    def work():
        try:
            wait_for(tmp_path, "SELECT count(*) FROM batch", 3)
            incoming.rename(tmp_path / "away")
            time.sleep(0.1)
            put(tmp_path / "away", "3.csv", 13)
            (tmp_path / "away").rename(incoming)
            wait_for(tmp_path, "SELECT count(*) FROM batch", 4)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(work):
        done = watch(*FOLLOW)
    assert done.code == 0
    (warning,) = (line for line in map(json.loads, done.out.splitlines()) if line["status"] == "warning")
    assert warning["reason"] == f"{incoming} is not there; it is waited for"


@pytest.mark.skipif(os.name == "nt", reason="signals are of POSIX")
def test_two_watchers_of_which_one_is_killed_take_each_file_once(watch, plant, incoming, tmp_path):
    for number in range(3, 12):
        put(incoming, f"{number}.csv", 10 + number)
    command = [sys.executable, *COMMAND_LINE, "watch", plant / "pump.safetensors", incoming, *FOLLOW]
    command += ["--history", tmp_path / "watch.db"]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    other = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        other.stdout.readline()
        done = watch("--json")  # while the other one goes on
    finally:
        other.kill()
        other.communicate()
    assert done.code == 0
    assert watch("--json").code == 0
    stored = query(tmp_path, "SELECT batch, name FROM batch ORDER BY batch")
    assert [batch for batch, _ in stored] == list(range(1, 13))
    assert sorted(name for _, name in stored) == sorted(f"{number}.csv" for number in range(12))
