"""Files of arrays: one array is taken, nothing is unpickled, and no header is believed."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from upland.data.image.encoder import as_images
from upland.io import bounds
from upland.io.arrays import read_array, shape_in

GREY = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)


def test_array_files_with_no_choice_objects_or_damage_are_refused(tmp_path):
    np.savez(tmp_path / "parts.npz", train=GREY[None], test=GREY[None])
    with pytest.raises(
        ValueError, match=r"parts.npz must hold one array, or one called images, X, x; it holds train, test"
    ):
        as_images(tmp_path / "parts.npz")
    np.save(tmp_path / "objects.npy", np.array([GREY, "a"], dtype=object))
    np.savez(tmp_path / "objects.npz", np.array([GREY, "a"], dtype=object))
    for name in ("poor.npy", "poor.npz"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    for name in ("objects.npy", "objects.npz", "poor.npy", "poor.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as arrays of numbers"):
            as_images(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent.npz"):
        as_images(tmp_path / "absent.npz")


@pytest.mark.parametrize("name", ["X.npy", "X.npz", "packed.npz"])
@pytest.mark.parametrize("dtype", ["u1", "<f8", ">f4", "?"])
def test_an_array_comes_back_to_the_bit(tmp_path, name, dtype):
    array = np.random.default_rng(0).integers(0, 2, (4, 3, 2)).astype(dtype)
    save = {"X.npy": np.save, "X.npz": np.savez, "packed.npz": np.savez_compressed}[name]
    save(tmp_path / name, array)
    found = read_array(tmp_path / name)
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert shape_in(tmp_path / name) == (array.shape, array.dtype)


def test_the_named_array_of_several_is_taken(tmp_path):
    np.savez(tmp_path / "parts.npz", other=np.zeros(3), x=np.ones(2), X=np.full(4, 7.0))
    assert read_array(tmp_path / "parts.npz").tolist() == [7.0] * 4
    np.savez(tmp_path / "parts.npz", a=np.zeros(3), b=np.zeros(3))
    assert shape_in(tmp_path / "parts.npz") == ((), np.dtype(object))


@pytest.mark.parametrize("name", ["large.npy", "large.npz"])
def test_a_header_that_announces_more_than_the_file_holds_is_refused(tmp_path, name):
    header = io.BytesIO()
    announced = {"descr": "<f8", "fortran_order": False, "shape": (1 << 28,)}  # 2 GB
    np.lib.format.write_array_header_1_0(header, announced)
    (tmp_path / "large.npy").write_bytes(header.getvalue() + bytes(80))
    with zipfile.ZipFile(tmp_path / "large.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(80))
    tracemalloc.start()
    with pytest.raises(ValueError, match=f"{name} cannot be read as arrays of numbers, it is damaged"):
        read_array(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


SHAPES = [(-1, 3), (2, -3), (-(2**62), 2), (2**62, 0), (2**62, 2**62), (2**40, 3), (3, 2**31)]
HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3, ",
    "{'descr': '<f8', 'fortran_order': 1, 'shape': (3, 2), }",
    "{'descr': ['<f8', 3], 'fortran_order': False, 'shape': (3, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 'a'), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 3, }",
    "[" * 5000,
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (3, 2), }",
]


def headed(folder, name, header):
    """A file of NumPy's with a header of one's own, and 48 bytes."""
    text = header.encode().ljust(118 + 64 * (len(header) // 64 + 1) - 10 - 118 % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(48)
    if name.endswith(".npy"):
        (folder / name).write_bytes(data)
    else:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("X.npy", data)
    return folder / name


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("read", [read_array, shape_in, as_images])
@pytest.mark.parametrize(
    "header",
    [*(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}" for shape in SHAPES), *HEADERS],
    ids=lambda header: header[-24:],
)
def test_headers_that_are_not_as_they_must_be_are_refused(tmp_path, name, read, header):
    with pytest.raises(ValueError, match=f"{name} cannot be read as arrays of numbers, it is damaged"):
        read(headed(tmp_path, name, header))


def test_an_archive_that_becomes_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 16)
    np.savez_compressed(tmp_path / "x.npz", X=np.zeros((1 << 18, 2)))
    with pytest.raises(ValueError, match=r"x.npz holds .* decompression bomb do: .*numpy.savez"):
        read_array(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", X=np.zeros((1 << 18, 2)))
    assert read_array(tmp_path / "x.npz").shape == (1 << 18, 2)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("read", [read_array, shape_in])
def test_a_pipe_is_not_read_for_ever(tmp_path, name, read):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is no file: a pipe"):
        read(tmp_path / name)
