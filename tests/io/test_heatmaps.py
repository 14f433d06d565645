"""Heat maps: the picture beside its heat, of every depth and size."""

import io

import numpy as np
import PIL.Image
import pytest

from upland.io.heatmaps import (
    LEAST_WIDTH,
    png_of_heat,
    png_of_pixels,
    reduced_heat,
    reduced_pixels,
    write_heat_map,
)
from upland.io.replace import WriteError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5), dtype=np.uint16)


def written(path, *arguments):
    write_heat_map(path, *arguments)
    with PIL.Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image).astype(int)


def test_a_heat_map_has_the_picture_on_the_left_and_the_heat_on_the_right(tmp_path):
    heat = np.zeros((6, 5))
    heat[2, 3] = 4.0
    found = written(tmp_path / "map.png", COLOUR, heat, 4.0)
    times = 52  # the least whole number that makes 5 pixels at least 256
    assert LEAST_WIDTH == 256
    assert found.shape == (6 * times, 2 * 5 * times + 8, 3)
    left, right = found[::times, : 5 * times : times], found[::times, 5 * times + 8 :: times]
    np.testing.assert_array_equal(left, COLOUR)
    cold = heat == 0
    assert (right[cold].max(axis=1) == right[cold].min(axis=1)).all()
    red, green, blue = right[2, 3]
    assert red > 150 > 60 > max(green, blue)


def test_more_heat_is_darker_redder_and_never_beyond_the_top(tmp_path):
    heat = np.linspace(0.05, 1.0, 20)[None].repeat(2, axis=0)
    image = np.full((2, 20), 255, dtype=np.uint8)
    found = written(tmp_path / "map.png", image, heat, 1.0)[0, 20 * 13 + 8 :: 13]
    assert (np.diff(found[:, 1]) <= 0).all()
    assert (found[:, 0] >= found[:, 1]).all()
    beyond = written(tmp_path / "map.png", image, heat * 100, 1.0)[0, -1]
    np.testing.assert_array_equal(beyond, found[-1])


@pytest.mark.parametrize(
    "image",
    [GREY, GREY > 90, DEEP, GREY / 9.0, np.zeros((6, 5)), GREY[..., None], np.dstack([COLOUR, GREY])],
)
def test_images_of_every_depth_are_shown(tmp_path, image):
    found = written(tmp_path / "map.png", image, np.zeros((6, 5)), 1.0)
    assert found.shape == (312, 528, 3)
    assert (found[:, :260].max() > 200) == image.any()


def test_large_images_stay_as_they_are_and_narrow_ones_bounded(tmp_path):
    assert written(tmp_path / "a.png", np.zeros((300, 400)), np.zeros((300, 400)), 1.0).shape == (300, 808, 3)
    assert written(tmp_path / "b.png", np.zeros((2000, 2)), np.zeros((2000, 2)), 1.0).shape == (4000, 16, 3)


@pytest.mark.parametrize(
    ("image", "heat", "top", "message"),
    [
        (GREY, GREY[:2], 1.0, r"image \(H, W\) or \(H, W, C\) and its heat \(H, W\).*\(6, 5\) and \(2, 5\)"),
        (GREY[0], GREY[0], 1.0, "are wanted"),
        (np.zeros((6, 5, 2)), GREY, 1.0, "are wanted"),
        (GREY, GREY - 300.0, 1.0, "heat must be finite and not negative"),
        (GREY, GREY * np.nan, 1.0, "heat must be finite"),
        (GREY, GREY, 0.0, "top must be a positive number"),
        (GREY, GREY, np.inf, "top must be a positive number"),
    ],
)
def test_heat_maps_that_make_no_sense_are_refused(tmp_path, image, heat, top, message):
    with pytest.raises(ValueError, match=message):
        write_heat_map(tmp_path / "map.png", image, heat, top)


def test_a_heat_map_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "map.png"
    write_heat_map(path, GREY, GREY, 255.0)
    before = path.read_bytes()

    def full(self, data):
        raise WriteError(28, "No space left on device", str(self._path))

    monkeypatch.setattr("upland.io.replace._NamedFile.write", full)
    with pytest.raises(WriteError, match=r"No space left on device: .*map.png"):
        write_heat_map(path, GREY, GREY / 2, 255.0)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("map.png", before)]


def decoded(png):
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGBA")).astype(int)


@pytest.mark.parametrize("shape", [(6, 5, 1), (6, 5, 3), (6, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_a_picture_that_is_small_enough_keeps_its_pixels(shape, dtype):
    image = RNG.integers(0, 2 if dtype is bool else 256, shape).astype(dtype)
    small = reduced_pixels(image, 8)
    assert (small.dtype, small.shape) == (np.uint8, (6, 5, 1 if shape[2] == 1 else 3))
    if dtype is np.uint8:
        np.testing.assert_array_equal(small, image[:, :, :3])
    np.testing.assert_array_equal(decoded(png_of_pixels(small))[:, :, : small.shape[2]], small)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(100, 50, (20, 10)), (3, 300, (1, 20)), (21, 20, (20, 19))]
)
def test_a_larger_one_is_brought_to_the_side(height, width, size):
    assert reduced_pixels(np.full((height, width, 3), 7, dtype=np.uint8), 20).shape == (*size, 3)
    small = reduced_heat(np.full((height, width), 2.0), 20)
    assert small.shape == size
    np.testing.assert_allclose(small, 2.0)


def test_heat_over_a_picture_is_clear_where_there_is_none_and_more_is_covered_more():
    heat = np.linspace(-0.2, 1.5, 200)[None]
    red, green, blue, cover = np.moveaxis(decoded(png_of_heat(heat, 1.0)), 2, 0)[:, 0]
    assert (cover[heat[0] <= 0] == 0).all()
    assert (np.diff(cover) >= 0).all()
    assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue)[heat[0, 1:] > 0.1] <= 1e-9).all()
    assert len(set(map(tuple, np.stack([red, green, blue, cover], axis=1)[heat[0] >= 1]))) == 1
