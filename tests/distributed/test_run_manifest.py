"""The lines that say what of a run is done."""

import json

import pytest

from upland.distributed.manifest import FOLDER, Manifest


def lines(output):
    return (output / FOLDER / "manifest.jsonl").read_text().splitlines()


def test_what_was_noted_is_known_again(tmp_path):
    with Manifest(tmp_path) as manifest:
        assert manifest.run is None
        manifest.start({"alpha": 0.1})
        manifest.add("begun", partition="a")
        manifest.add("scored", partition="a", rows=3)
        manifest.add("cut", cut=0.01)
        manifest.add("done", partition="a", rows=3)
    with Manifest(tmp_path) as manifest:
        assert (manifest.run, manifest.begun, manifest.cut) == ({"alpha": 0.1}, {"a"}, 0.01)
        assert manifest.scored["a"]["rows"] == manifest.done["a"]["rows"] == 3
        manifest.start({"alpha": 0.2})
        assert (manifest.begun, manifest.done, manifest.cut) == (set(), {}, None)
    assert [json.loads(line)["kind"] for line in lines(tmp_path)] == ["run"]


def test_a_line_that_is_cut_off_does_not_count(tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.start({})
        manifest.add("done", partition="a")
    path = tmp_path / FOLDER / "manifest.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "done", "parti')
    with Manifest(tmp_path) as manifest:
        assert set(manifest.done) == {"a"}
        manifest.add("done", partition="b")
    with Manifest(tmp_path) as manifest:
        assert set(manifest.done) == {"a", "b"}


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"kind": "done"}', '{"kind": "other"}', "{}", "1"])
def test_a_line_of_another_program_is_refused(line, tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.start({})
    path = tmp_path / FOLDER / "manifest.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(
        ValueError, match=r"manifest.jsonl: line 2 is not one that upland writes: name another"
    ):
        Manifest(tmp_path).__enter__()


def test_one_program_at_a_time(tmp_path):
    with (
        Manifest(tmp_path),
        pytest.raises(FileExistsError, match="is being written by another program: choose another folder"),
    ):
        Manifest(tmp_path).__enter__()
    with Manifest(tmp_path) as manifest:
        assert manifest.run is None
