"""Images however a user holds them: every way gives the same pixels; what is no image is refused by name."""

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import run_python
from upland.data.image.encoder import ImageEncoder, ImageRows, as_images, digest, is_image_input

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 6, 5, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (9, 6, 5), dtype=np.uint8)


def files_of(images, folder, suffix=".png"):
    """The images as files whose natural order is their own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"img{number}{suffix}" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        PIL.Image.fromarray(image).save(path)
    return paths


def pixels_of(X, **options):
    images = as_images(X, **options)
    return images.take(np.arange(len(images)))


# -- every way to hold images --------------------------------------------------------------------------------


WAYS = {
    "channels last": lambda x, folder: x,
    "channels first": lambda x, folder: np.moveaxis(x, 3, 1),
    "tensor": lambda x, folder: torch.from_numpy(x),
    "tensor first": lambda x, folder: torch.from_numpy(x).permute(0, 3, 1, 2),
    "list of arrays": lambda x, folder: list(x),
    "list of tensors": lambda x, folder: list(torch.from_numpy(np.moveaxis(x, 3, 1))),
    "list of Pillow images": lambda x, folder: [PIL.Image.fromarray(image) for image in x],
    "list of paths": lambda x, folder: files_of(x, folder / "some"),
    "list of text": lambda x, folder: [str(path) for path in files_of(x, folder / "some")],
    "folder": lambda x, folder: files_of(x, folder / "some")[0].parent,
    "folder of bitmaps": lambda x, folder: str(files_of(x, folder / "some", ".BMP")[0].parent),
    "folder of TIFFs": lambda x, folder: files_of(x, folder / "some", ".tif")[0].parent,
    "npy": lambda x, folder: (np.save(folder / "x.npy", x), folder / "x.npy")[1],
    "npz": lambda x, folder: (np.savez(folder / "x.npz", anything=x), folder / "x.npz")[1],
    "npz beside labels": lambda x, folder: (
        np.savez_compressed(folder / "x.npz", y=np.zeros(9), images=x),
        folder / "x.npz",
    )[1],
    "looked at": lambda x, folder: as_images(x),
    "other end": lambda x, folder: x[::-1][::-1],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_pixels_and_codes(way, tmp_path):
    X = WAYS[way](COLOUR, tmp_path)
    np.testing.assert_array_equal(pixels_of(X), COLOUR)
    encoder = ImageEncoder().fit(COLOUR)
    np.testing.assert_array_equal(ImageEncoder().fit(X).transform(COLOUR), encoder.transform(X))
    assert digest(as_images(X)) == digest(as_images(COLOUR))
    rows = ImageRows(X)
    assert (rows.n_rows, rows.names, rows.in_memory) == (9, ["red", "green", "blue"], True)
    np.testing.assert_array_equal(
        encoder.transform(rows.take(np.array([7, 2]))), encoder.transform(COLOUR[[7, 2]])
    )


@pytest.mark.parametrize(
    "make", [lambda x: x, lambda x: x[..., None], lambda x: x[:, None], list, torch.from_numpy, tuple]
)
def test_every_way_to_hold_grey_images(make):
    np.testing.assert_array_equal(pixels_of(make(GREY)), GREY[..., None])


@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.uint16, np.float16, np.float32, np.float64, ">u2", ">f4"]
)
def test_every_depth_is_kept_and_comes_back(dtype):
    X = (GREY > 100) if dtype is bool else GREY.astype(dtype)
    images = as_images(X)
    assert images.dtype == np.dtype(dtype).newbyteorder("=")
    assert images.take([3]).dtype == images.dtype
    encoder = ImageEncoder().fit(X)
    back = encoder.decode(encoder.transform(X))
    assert back.dtype == images.dtype == encoder.dtype
    np.testing.assert_allclose(back.astype(float), X[..., None].astype(float), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(encoder.values(X), X[..., None])


@given(
    n=st.integers(1, 3),
    sides=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    channels=st.sampled_from([1, 3, 4]),
)
@settings(deadline=None, max_examples=60)
def test_the_channels_are_found_wherever_they_are(n, sides, channels):
    last = np.arange(n * sides[0] * sides[1] * channels, dtype=np.float32).reshape(n, *sides, channels)
    first = np.moveaxis(last, 3, 1)
    for X, axis, beside in ((last, "last", sides[0]), (first, "first", sides[1])):
        np.testing.assert_array_equal(pixels_of(X, channels=axis), last)
        if beside in (1, 3, 4):
            with pytest.raises(
                ValueError, match=r"can be \(N, C, H, W\) or \(N, H, W, C\): give the former as"
            ):
                as_images(X)
        else:
            np.testing.assert_array_equal(pixels_of(X), last)


def test_images_by_number():
    images = as_images(COLOUR)
    assert (len(images), images.shape, images.names) == (9, (6, 5, 3), None)
    assert repr(images) == "<9 images of 6 x 5, 3 channels, uint8>"
    np.testing.assert_array_equal(images.take([4, 4, 0]), COLOUR[[4, 4, 0]])
    some = images.select([8, 1, 5]).select(np.array([2, 0]))
    np.testing.assert_array_equal(some.take([0, 1]), COLOUR[[5, 8]])
    assert [some.label(0), some.label(1)] == ["image 5", "image 8"]
    assert images.take(np.array([], dtype=np.int64)).shape == (0, 6, 5, 3)
    for rows, message in (
        ([9], "between 0 and 8, got 9"),
        ([-1], "between 0 and 8"),
        ([0.5], "whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            images.take(rows)


# -- what is no image ----------------------------------------------------------------------------------------


def floats(*shape):
    return np.zeros(shape)


spoiled = floats(5, 4, 8)
spoiled[3, 0, 0] = np.nan
endless = floats(5, 4, 8)
endless[2, 1, 1] = -np.inf

REFUSED = [
    (floats(8), ValueError, r"shape \(8,\): images are \(N, H, W\), \(N, H, W, C\) or \(N, C, H, W\)"),
    (floats(8, 8), ValueError, r"one grey image: images are X\[None\]"),
    (floats(64, 48, 3), ValueError, r"looks like one colour image: it is X\[None\].*X\[:, None\]"),
    (floats(2, 5, 8, 8), ValueError, "no axis of channels"),
    (floats(2, 3, 8, 3), ValueError, "channels='first' or 'last'"),
    (floats(1, 2, 3, 8, 8), ValueError, "images are"),
    (floats(0, 8, 8), ValueError, r"no images in an array of shape \(0, 8, 8\)"),
    ([], ValueError, "no images in an empty list"),
    (floats(5, 1, 8), ValueError, "1 x 8 pixels: at least 2 x 2"),
    (floats(5, 1, 1, 8), ValueError, "1 x 8 pixels: at least 2 x 2"),
    (GREY.astype(np.int64), TypeError, r"dtype int64.*X.astype\(np.uint8\)"),
    (GREY.astype(np.int8), TypeError, "dtype int8"),
    (GREY.astype(complex), ValueError, "Complex data not supported"),
    (GREY.astype(object), TypeError, "dtype object.*those of several sizes a list"),
    (GREY.astype(str), TypeError, "dtype <U"),
    (np.ma.masked_array(GREY), TypeError, "masked arrays"),
    (np.array(["a"], dtype=object), TypeError, "dtype object"),
    (None, TypeError, "dtype object"),
    ([[1.0, 2.0]], ValueError, r"image 0 of a list has the shape \(2,\)"),
    ([[[1.0], [1.0, 2.0]]], ValueError, "these are no images"),
    ([GREY[0], GREY[1].astype(np.uint16)], ValueError, "several depths: image 0 is uint8, image 1 is uint16"),
    (
        [GREY[0], GREY[1], GREY[2, :4]],
        ValueError,
        r"several sizes: image 0 is 6 x 5, image 2 is 4 x 5 \(1 of 3.*size=\(6, 5\)",
    ),
    ([COLOUR[0], GREY[1]], ValueError, "several colours: image 0 is colour, image 1 is grey.*mode='grey'"),
    ([GREY[0], "a.png"], TypeError, "image 1 is a str, image 0 a ndarray"),
    ([PIL.Image.fromarray(GREY[0]), GREY[0]], TypeError, "image 0 is a Image, image 1 a ndarray"),
    ([GREY[0], GREY[0].astype(int)], TypeError, "image 1 is an array of dtype int64"),
    (PIL.Image.fromarray(GREY[0]), TypeError, "single Pillow image: put it in a list"),
    (spoiled, ValueError, "image 3 has pixels that are NaN or infinite"),
    (endless, ValueError, "image 2 has pixels that are NaN or infinite"),
    (torch.zeros(2, 8, 8, dtype=torch.int32), TypeError, "dtype int32"),
]


@pytest.mark.parametrize(("X", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_image_is_refused_in_fit_and_transform(X, error, message):
    with pytest.raises(error, match=message):
        ImageEncoder().fit(X)
    with pytest.raises(error, match=message):
        ImageEncoder().fit(floats(2, 4, 8)).transform(X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, r"size must be \(height, width\) of at least 2 pixels each, got 8"),
        ({"size": (8,)}, "size must be"),
        ({"size": (8, 1)}, "size must be"),
        ({"size": (8.0, 8)}, "size must be"),
        ({"mode": "L"}, "mode must be 'grey', 'rgb' or None, got 'L'"),
        ({"channels": "middle"}, "channels must be 'first', 'last' or None"),
        ({"scaling": "none"}, "scaling must be one of contrast, channel, pixel, levels, got 'none'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder(**arguments)


def test_channels_that_are_given_must_be_there():
    with pytest.raises(ValueError, match="has 6 channels with channels='first'"):
        as_images(COLOUR, channels="first")


# -- size and colour -----------------------------------------------------------------------------------------


def test_a_size_resizes_arrays_and_files_alike(tmp_path):
    folder = files_of(COLOUR, tmp_path / "some")[0].parent
    small = pixels_of(COLOUR, size=(3, 4))
    assert (small.shape, small.dtype) == ((9, 3, 4, 3), np.uint8)
    np.testing.assert_array_equal(pixels_of(folder, size=[3, 4]), small)
    np.testing.assert_array_equal(pixels_of(list(COLOUR), size=(3, 4)), small)
    np.testing.assert_array_equal(pixels_of(as_images(folder), size=(3, 4)), small)
    np.testing.assert_allclose(small.mean(), COLOUR.mean(), rtol=0.05)


def test_files_and_arrays_of_several_sizes_are_brought_to_one(tmp_path):
    mixed = [COLOUR[0], COLOUR[1, :5], COLOUR[2, :, :3]]
    images = as_images(mixed, size=(6, 5))
    np.testing.assert_array_equal(images.take([0])[0], COLOUR[0])
    np.testing.assert_array_equal(pixels_of(files_of(mixed, tmp_path), size=(6, 5)), images.take([0, 1, 2]))
    encoder = ImageEncoder(size=(6, 5)).fit(mixed)
    assert encoder.shape == (3, 6, 5)
    assert encoder.transform([COLOUR[5, :, :2]]).shape == (1, 3, 6, 5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("size", [(2, 2), (30, 40)])
def test_flat_images_stay_flat_in_any_size_and_colour(dtype, size):
    X = np.ones((2, 7, 8, 3), dtype=dtype) * dtype(1)
    for mode, channels in ((None, 3), ("grey", 1), ("rgb", 3)):
        found = pixels_of(X, size=size, mode=mode)
        assert (found.shape, found.dtype) == ((2, *size, channels), dtype)
        assert (found == dtype(1)).all()


def test_a_mode_converts_what_is_mixed(tmp_path):
    mixed = [COLOUR[0], GREY[1], np.dstack([COLOUR[2], GREY[2]])]
    grey, colour = pixels_of(mixed, mode="grey"), pixels_of(mixed, mode="rgb")
    assert (grey.shape, colour.shape) == ((3, 6, 5, 1), (3, 6, 5, 3))
    np.testing.assert_array_equal(colour[2], COLOUR[2])
    np.testing.assert_array_equal(colour[1], np.dstack([GREY[1]] * 3))
    np.testing.assert_allclose(grey[0, :, :, 0], PIL.Image.fromarray(COLOUR[0]).convert("L"), atol=1)
    files = files_of(mixed[:2], tmp_path)
    np.testing.assert_array_equal(pixels_of(files, mode="grey"), grey[:2])
    assert ImageEncoder(mode="grey").fit(mixed).inputs == ("grey",)


# -- what images are ------------------------------------------------------------------------------------


def test_what_looks_like_images(tmp_path):
    paths = files_of(GREY, tmp_path / "some")
    np.save(tmp_path / "images.npy", GREY)
    np.save(tmp_path / "table.npy", np.zeros((4, 3)))
    np.savez(tmp_path / "images.npz", y=np.zeros(9), X=GREY)
    np.savez(tmp_path / "parts.npz", a=GREY, b=GREY)
    pillow = PIL.Image.fromarray(GREY[0])
    yes = [
        COLOUR,
        COLOUR / 2,
        torch.zeros(2, 1, 8, 8),
        GREY,
        GREY.astype(np.uint16),
        GREY > 3,
        torch.from_numpy(GREY),
    ]
    yes += [
        tmp_path,
        str(tmp_path),
        paths[0],
        str(paths[0]),
        paths,
        [str(paths[0])],
        [pillow],
        as_images(GREY),
    ]
    yes += [list(GREY), list(COLOUR / 2), tmp_path / "images.npy", str(tmp_path / "images.npz"), "absent.JPG"]
    no = [
        GREY / 2,
        GREY.astype(int),
        GREY[0],
        GREY.astype(object),
        None,
        3,
        "table.csv",
        tmp_path / "absent.npy",
    ]
    no += [[], [[1.0, 2.0]], ["a", "b"], list(GREY / 2), torch.zeros(3, 4, 5), {"a": [1]}, pillow]
    no += [tmp_path / "table.npy", tmp_path / "parts.npz", "absent", tmp_path / "absent.npy"]
    assert [X for X in yes if not is_image_input(X)] == []
    assert [X for X in no if is_image_input(X)] == []


def test_neither_torch_nor_pillow_is_imported_for_arrays():
    code = (
        "import sys, numpy as np\n"
        "from upland.data.image.encoder import ImageEncoder\n"
        "ImageEncoder().fit(np.zeros((2, 4, 8)))\n"
        "print('torch' in sys.modules, 'PIL' in sys.modules)"
    )
    done = run_python("-c", code)
    assert done.stdout.split() == ["False", "False"], done.stderr
