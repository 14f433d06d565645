"""The file of a history: made, opened again, migrated, refused with a sentence where it cannot be used."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from benchmarks.watching_faults import child

import upland
from upland.watch import history as module
from upland.watch.history import History, HistoryError
from upland.watch.schema import APPLICATION, MIGRATIONS
from upland.watch.states import packed
from watched import numbers, plain_detector, rows_of


def reason_of(path, **options):
    with pytest.raises(HistoryError) as caught:
        History(path, **options)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_a_history_is_made_and_opened_again(tmp_path):
    path = tmp_path / "h.db"
    for _ in range(2):
        with History(path) as history, history.read() as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
            assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)


def test_several_may_make_a_history_at_once(tmp_path):
    for number in range(10):
        path = tmp_path / f"{number}.db"
        processes = [child(lambda path=path: History(path).close()) for _ in range(3)]
        assert [os.waitpid(process, 0)[1] for process in processes] == [0, 0, 0]


def test_what_is_no_history_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    (tmp_path / "text.db").write_text("batch,rows\n" * 200)
    assert reason_of(tmp_path / "other.db") == "foreign"
    assert reason_of(tmp_path / "text.db") == "foreign"
    assert reason_of(tmp_path) == "foreign"
    assert reason_of(tmp_path / "no" / "folder.db") == "missing"
    assert reason_of(tmp_path / "absent.db", create=False) == "missing"
    assert not (tmp_path / "absent.db").exists()
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "h.db"
    History(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    assert reason_of(path) == "newer"
    assert path.read_bytes() == before


@pytest.mark.parametrize("at", [100, 4096, 3 * 4096])
def test_a_damaged_history_is_refused_or_says_so(tmp_path, at):
    path = tmp_path / "h.db"
    with upland.Watch(plain_detector(), path) as watch:
        for seed in range(4):
            watch.update(numbers(50, seed))
    data = bytearray(path.read_bytes())
    data[at : at + 2000] = os.urandom(2000)
    path.write_bytes(data)
    with pytest.raises(HistoryError) as caught, upland.Watch(plain_detector(), path) as watch:
        for seed in range(6):
            watch.update(numbers(50, seed))
        with watch.history.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            raise HistoryError(path, "corrupted", "only what is not used is damaged")
    assert caught.value.reason == "corrupted"


def test_a_damaged_state_is_a_sentence(tmp_path):
    path = tmp_path / "h.db"
    with upland.Watch(plain_detector(), path) as watch:
        watch.update(numbers(50, 0))
    for blob in (b"", b"x" * 50, rows_of(path, "SELECT arrays FROM state")[0][0][:-9], packed({})):
        with upland.Watch(plain_detector(), path) as watch:
            with watch.history.write() as connection:
                connection.execute("UPDATE state SET arrays = ?", (blob,))
            with pytest.raises(HistoryError, match="state") as caught:
                watch.update(numbers(50, 1))
            assert caught.value.reason == "corrupted"
    assert rows_of(path, "SELECT count(*) FROM batch") == [(1,)]


def test_a_locked_history_is_waited_for_and_then_refused(tmp_path):
    path = tmp_path / "h.db"
    detector = plain_detector()
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as other:
        with upland.Watch(detector, History(path, wait=0.05)) as watch:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(HistoryError, match="another program") as caught:
                watch.update(numbers(20, 0))
            assert caught.value.reason == "locked"
            other.execute("COMMIT")
            assert watch.update(numbers(20, 0)).batch == 1
        with upland.Watch(detector, History(path, wait=30)) as watch:
            other.execute("BEGIN IMMEDIATE")
            ends = threading.Timer(0.2, other.execute, ["COMMIT"])
            ends.start()
            assert watch.update(numbers(20, 1)).batch == 2
            ends.join()


def test_readers_do_not_wait_for_a_writer(tmp_path):
    with History(tmp_path / "h.db") as one, History(tmp_path / "h.db", wait=0) as two, one.write() as writing:
        writing.execute("INSERT INTO setting VALUES ('by', 'null')")
        with two.read() as reading:
            assert reading.execute("SELECT count(*) FROM setting").fetchone() == (0,)


def in_a_process(call):
    """Do something in a process of its own, which is no administrator; returns its exit status."""

    def run():
        if os.getuid() == 0:
            os.setuid(65534)
        call()

    return os.waitstatus_to_exitcode(os.waitpid(child(run), 0)[1])


def test_a_history_that_may_not_be_written_says_so():
    with TemporaryDirectory() as folder:  # that of the test is not everybody's
        path = Path(folder, "h.db")
        History(path).close()
        path.chmod(0o444)
        path.parent.chmod(0o755)

        def write():
            with (
                pytest.raises(HistoryError) as caught,
                History(path) as history,
                history.write() as connection,
            ):
                connection.execute("INSERT INTO setting VALUES ('x', '1')")
            assert caught.value.reason == "read-only", caught.value

        assert in_a_process(write) == 0


def test_an_older_schema_is_migrated_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "h.db"
    with History(path) as history, history.write() as connection:
        connection.execute("INSERT INTO setting VALUES ('by', 'null')")
    later = (*MIGRATIONS, "ALTER TABLE setting ADD COLUMN note TEXT; UPDATE setting SET note = 'was here'")
    monkeypatch.setattr(module, "MIGRATIONS", (*later, "UPDATE nothing SET x = 1"))
    assert reason_of(path) == "other"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("SELECT * FROM setting").fetchall() == [("by", "null")]
    monkeypatch.setattr(module, "MIGRATIONS", later)
    with History(path) as history, history.read() as connection:
        assert connection.execute("SELECT * FROM setting").fetchall() == [("by", "null", "was here")]


def test_a_transaction_that_fails_leaves_nothing(tmp_path):
    with History(tmp_path / "h.db") as history:
        with pytest.raises(ZeroDivisionError), history.write() as connection:
            connection.execute("INSERT INTO setting VALUES ('by', 'null')")
            raise ZeroDivisionError
        with history.read() as connection:
            assert connection.execute("SELECT count(*) FROM setting").fetchone() == (0,)


def test_a_forked_process_has_its_own_connection(tmp_path):
    with History(tmp_path / "h.db") as history:
        process = os.fork()
        if process == 0:
            with history.write() as connection:
                connection.execute("INSERT INTO setting VALUES ('by', 'null')")
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0
        with history.write() as connection:
            assert connection.execute("SELECT name FROM setting").fetchall() == [("by",)]


def test_only_what_must_outlive_a_loss_of_power_waits_for_the_disk(tmp_path):
    def level(connection):
        return connection.execute("PRAGMA synchronous").fetchone()[0]

    normal, full = 1, 2
    with History(tmp_path / "watch.db") as history:
        with history.write() as connection:
            assert level(connection) == full
        with history.write(durable=False) as connection:
            assert level(connection) == normal
        with pytest.raises(RuntimeError), history.write(durable=False):
            raise RuntimeError
        with history.write() as connection:
            assert level(connection) == full
