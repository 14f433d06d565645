"""Laws of the model file: what goes in comes out bit for bit, and nothing else is ever taken for it."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save, save_file

from upland.io import modelfile
from upland.io.modelfile import TensorFileError, read_bytes, read_tensors, tensors_of, write_tensors

TENSORS = {
    "weights": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    "scores": np.array([0.0, -0.0, np.inf, np.nan, 1e-300]),
    "mask": np.array([True, False]),
    "count": np.array(7, dtype=np.int64),
    "nothing": np.zeros((0, 3), dtype=np.uint8),
}
MANIFEST = {"kind": "example", "columns": ["a", "ß", "\ud800"], "nested": {"x": 0.1, "none": None}}


@pytest.fixture
def path(tmp_path):
    write_tensors(tmp_path / "model.safetensors", TENSORS, MANIFEST)
    return tmp_path / "model.safetensors"


def refusal(path) -> TensorFileError:
    """The error, which is the same for the file and for its bytes in memory."""
    with pytest.raises(TensorFileError) as caught:
        read_tensors(path)
    assert str(caught.value).startswith(str(path))
    if path.is_file():
        with pytest.raises(TensorFileError) as by_bytes:
            tensors_of(path.read_bytes(), path)
        assert by_bytes.value.reason == caught.value.reason
        assert by_bytes.value.reason == "corrupted" or str(by_bytes.value) == str(caught.value)
    return caught.value


def same(found, tensors):
    """Whether tensors are equal to the last bit, and may be written to."""
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in found.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in tensors.items()
    }
    return all(tensor.flags.writeable for tensor in found.values())


def test_round_trip_is_bit_equal(path):
    for tensors, manifest in (read_tensors(path), tensors_of(read_bytes(path), path)):
        assert manifest == MANIFEST
        assert same(tensors, TENSORS)


numbers = hnp.arrays(
    dtype=st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.uint16, np.bool_]),
    shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    tensors=st.dictionaries(st.text(max_size=5), numbers, max_size=3),
    manifest=st.dictionaries(st.text(), plain),
)
def test_any_tensors_and_manifest_come_back(tmp_path_factory, tensors, manifest):
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    write_tensors(path, tensors, manifest)
    for again, plain_values in (read_tensors(path), tensors_of(read_bytes(path), path)):
        assert plain_values == manifest
        assert same(again, tensors)


def test_strided_and_big_endian_arrays_keep_their_values(tmp_path):
    grid = np.arange(12.0).reshape(3, 4)
    write_tensors(
        tmp_path / "t", {"turned": grid.T, "sparse": grid[::2, ::-1], "big": grid.astype(">f4")}, {}
    )
    tensors, _ = read_tensors(tmp_path / "t")
    np.testing.assert_array_equal(tensors["turned"], grid.T)
    np.testing.assert_array_equal(tensors["sparse"], grid[::2, ::-1])
    np.testing.assert_array_equal(tensors["big"], grid)


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    write_tensors(tmp_path / "again", dict(reversed(TENSORS.items())), dict(reversed(MANIFEST.items())))
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_refused(path):
    data = path.read_bytes()
    header_end = 8 + int.from_bytes(data[:8], "little")
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        allowed = {"corrupted"}
        if position < header_end:  # a changed length or offset looks cut off, a changed key looks foreign
            allowed |= {"truncated", "foreign"}
        assert refusal(path).reason in allowed


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert refusal(path).reason == ("truncated" if length else "empty")


def test_added_bytes_are_refused(path):
    path.write_bytes(path.read_bytes() + b"\0")
    assert refusal(path).reason == "corrupted"


LENGTHS = [0, 1, 2, 7, 1 << 10, 1 << 26, (1 << 26) + 1, 10**8, 10**8 + 1, 1 << 31, 1 << 62, (1 << 64) - 1]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_forged_length_of_the_header_is_refused(path, length):
    data = path.read_bytes()
    for forged in (data, data[:9]):
        path.write_bytes(length.to_bytes(8, "little") + forged[8:])
        assert refusal(path).reason in {"corrupted", "truncated", "foreign"}


ONE = '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
FORGED = {
    "no object": "[]",
    "offsets beyond the end": '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}',
    "offsets backwards": '{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
    "negative offsets": '{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
    "another size": '{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
    "a huge shape": '{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}',
    "no such type": '{"w":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}',
    "a type that is not written": '{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}',
    "a type of eight bits": '{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}',
    "metadata of numbers": '{"__metadata__":{"upland":7},' + ONE[1:],
    "metadata that is a list": '{"__metadata__":["upland"],' + ONE[1:],
    "a name twice": ONE[:-1] + "," + ONE[1:],
    "no text": '{"w',
}


@pytest.mark.parametrize("case", FORGED)
@pytest.mark.parametrize("ours", [False, True])
def test_a_forged_header_is_refused(path, case, ours):
    text = FORGED[case]
    if ours and text.startswith('{"w"'):
        text = '{"__metadata__":{"upland":"{}"},' + text[1:]
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(4))
    assert refusal(path).reason in {"corrupted", "truncated", "foreign"}


FOREIGN = {
    "csv": b"a,b\n1,2\n" * 20,
    "pickle": pickle.dumps({"weights": [1.0] * 50}),
    "zip": b"PK\x03\x04" + bytes(60),
    "short text": b"hi",
    "a line": b"hello\n",
    "text and a brace": b'weights {"a": 1}',
    "json": b'{"kind": "example", "rows": 12345}',
    "safetensors": save({"w": np.eye(3)}, {"author": "another program"}),
    "safetensors without metadata": save({"w": np.eye(3)}),
    "noise": np.random.default_rng(0).bytes(500),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_refused(tmp_path, kind):
    (tmp_path / "file").write_bytes(FOREIGN[kind])
    assert refusal(tmp_path / "file").reason == "foreign"


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    (tmp_path / "file").write_bytes(pickle.dumps(Trap()))
    assert "pickle" in str(refusal(tmp_path / "file"))


def test_a_newer_format_is_distinguished_from_a_corrupted_file(path, monkeypatch):
    monkeypatch.setattr(modelfile, "FORMAT", 3)
    write_tensors(path, TENSORS, MANIFEST)
    monkeypatch.undo()
    error = refusal(path)
    assert error.reason == "newer"
    assert "written by a newer upland: format 3, this one reads up to 2" in str(error)


def test_a_format_before_the_first_release_is_refused_by_name(path, monkeypatch):
    monkeypatch.setattr(modelfile, "FORMAT", 1)
    write_tensors(path, TENSORS, MANIFEST)
    monkeypatch.undo()
    error = refusal(path)
    assert error.reason == "older"
    assert "is of format 1 of an unreleased upland 0.1: fit again" in str(error)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": "1", "manifest": {}}', "[" * 100_000]
)
def test_a_broken_manifest_is_refused(tmp_path, text):
    save_file({"w": np.eye(3)}, tmp_path / "file", {"upland": text})
    assert refusal(tmp_path / "file").reason == "corrupted"


def test_a_changed_manifest_is_refused(path):
    data = path.read_bytes()
    assert data.count(b"example") == 1
    path.write_bytes(data.replace(b"example", b"exempla"))
    assert refusal(path).reason == "corrupted"


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*absent"):
        read_tensors(tmp_path / "absent")
    assert refusal(tmp_path).reason == "directory"


@pytest.mark.parametrize(
    ("tensors", "manifest", "error"),
    [
        ({"names": np.array(["a"])}, {}, TypeError),
        ({"objects": np.array([None])}, {}, TypeError),
        ({"complex": np.array([1j])}, {}, TypeError),
        ({}, {"when": np.datetime64("2026-01-01")}, TypeError),
        ({}, {"x": float("nan")}, ValueError),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_no_file(tmp_path, tensors, manifest, error):
    with pytest.raises(error):
        write_tensors(tmp_path / "model", tensors, manifest)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="exists already"):
        write_tensors(path, {}, {}, overwrite=False)
    assert path.read_bytes() == before
    write_tensors(path, {}, {"new": True})
    assert read_tensors(path) == ({}, {"new": True})


def test_a_failed_write_leaves_the_old_file_and_no_rest(path, monkeypatch):
    before = path.read_bytes()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_tensors(path, TENSORS, MANIFEST)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_tensors(tmp_path / "absent" / "model", {}, {})


def test_the_header_is_plain_json_for_other_readers(path):
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    envelope = json.loads(header["__metadata__"]["upland"])
    assert envelope["format"] == 2
    assert envelope["manifest"] == MANIFEST
    assert len(envelope["sha256"]) == 64
