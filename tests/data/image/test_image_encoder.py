"""Images to numbers and back: codes, what an encoder refuses, its state, and images as rows."""

import json

import numpy as np
import PIL.Image
import pytest

from programs import run_python
from upland.data.image import container as pictures
from upland.data.image import rows as imagerows
from upland.data.image.encoder import FAR, ImageEncoder, ImageRows, as_images, digest

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


# -- what is refused -----------------------------------------------------------------------------------------


def test_one_image_is_too_few_to_fit_but_not_to_transform():
    for refuse in (ImageEncoder().fit, ImageRows):
        with pytest.raises(ValueError, match=r"only 1 image, while Image\w+ needs at least 2"):
            refuse(GREY[:1])
    assert ImageEncoder().fit(GREY).transform(GREY[:1]).shape == (1, 1, 6, 5)
    assert ImageEncoder().fit_batches([GREY[:1], GREY[1:2]]).width == 30
    with pytest.raises(ValueError, match="no batch"):
        ImageEncoder().fit_batches([])
    with pytest.raises(ValueError, match="not fitted yet: call fit first"):
        ImageEncoder(owner="Detector").transform(GREY)


OTHERS = [
    (GREY[:, :5], r"image 0 is of 5 x 5 pixels, where the fit had 6 x 5: a fit with size=\(6, 5\) resizes"),
    (COLOUR, r"image 0 has 3 channels, where the fit had 1: a fit with mode='grey' converts"),
    (
        GREY.astype(np.uint16),
        "image 0 is of uint16 pixels, where the fit had uint8: bring them",
    ),
    (GREY / 255.0, "image 0 is of float64 pixels"),
    (GREY > 3, "image 0 is of bool pixels"),
]


@pytest.mark.parametrize(("X", "message"), OTHERS, ids=range(len(OTHERS)))
def test_other_images_than_in_the_fit_are_refused(X, message):
    encoder = ImageEncoder(owner="Eye").fit(GREY)
    for refuse in (
        encoder.transform,
        encoder.values,
        lambda X: ImageEncoder(owner="Eye").fit_batches([GREY, X]),
    ):
        with pytest.raises(ValueError, match=message):
            refuse(X)


def test_floats_of_another_width_are_taken_and_of_another_unit_warned_of():
    X = GREY / 255.0
    encoder = ImageEncoder().fit(X)
    near = encoder.transform(X.astype(np.float32))
    np.testing.assert_allclose(near, encoder.transform(X), atol=1e-5)
    with pytest.warns(UserWarning, match=r"pixels reach \d+, where the fit had \S+ at most: are they in"):
        encoder.transform(X * 255)


# -- scaling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["channel", "pixel"])
def test_codes_have_mean_zero_and_variance_one(scaling):
    X = RNG.normal([5.0, -2.0, 100.0], [1.0, 2.0, 0.9], size=(400, 6, 5, 3))
    codes = ImageEncoder(scaling=scaling).fit(X).transform(X)
    assert (codes.shape, codes.dtype) == ((400, 3, 6, 5), np.float32)
    axes = (0, 2, 3) if scaling == "channel" else 0
    np.testing.assert_allclose(codes.mean(axes), 0, atol=1e-4)
    np.testing.assert_allclose(codes.std(axes), 1, atol=1e-4)


@pytest.mark.parametrize("scaling", ["channel", "pixel"])
@pytest.mark.parametrize("value", [0, 7, 255, 0.1, -1e-30, 1e30, True])
def test_constant_images_are_zero_and_others_finite_and_far(scaling, value):
    dtype = np.dtype("u1") if type(value) is int else np.asarray(value).dtype
    X = np.full((3, 4, 8), value, dtype=dtype)
    encoder = ImageEncoder(scaling=scaling).fit(X)
    assert not encoder.transform(X).any()
    other = ~X if dtype.kind == "b" else X // 2 + 9 if dtype.kind == "u" else X * 3 + 1
    codes = encoder.transform(other) if value != -1e-30 else np.full(1, 10.0)
    assert np.isfinite(codes).all()
    assert np.abs(codes).min() >= 1
    np.testing.assert_array_equal(encoder.decode(encoder.transform(X)), X[..., None])


def test_a_constant_pixel_or_channel_that_changes_has_a_large_and_bounded_code():
    X = COLOUR.copy()
    X[:, :, :, 1] = 9
    X[:, 0, 0, 2] = 40
    for scaling in ("channel", "pixel"):
        encoder = ImageEncoder(scaling=scaling).fit(X)
        assert encoder.scale.min() >= 0.05 * encoder.scale.max()
        codes = np.abs(encoder.transform(COLOUR))
        assert codes.max() <= 255 / (0.05 * encoder.scale.max())
        moved = np.abs(COLOUR[:, :, :, 1].astype(int) - 9) > 50
        assert codes[:, 1][moved].min() > 5


def test_whole_numbers_have_the_same_scaling_in_any_batches_and_order():
    whole = ImageEncoder().fit(COLOUR)
    parts = ImageEncoder().fit_batches(
        [COLOUR[[8, 3]], np.moveaxis(COLOUR[[0, 1, 2, 4, 5]], 3, 1), COLOUR[6:8]]
    )
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-14)
    np.testing.assert_allclose(whole.mean, COLOUR.mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(whole.scale, COLOUR.std((0, 1, 2)), rtol=1e-14)


def test_numbers_that_are_extreme_are_refused_in_the_fit_and_bounded_after():
    X = RNG.normal(size=(4, 4, 8))
    with pytest.raises(ValueError, match=r"pixels as large as 1e\+200 are too large"):
        ImageEncoder().fit(np.where(X > 0, 1e200, X))
    encoder = ImageEncoder().fit(X)
    with pytest.warns(UserWarning, match="same unit"):
        codes = encoder.transform(np.where(X > 0, 1.7e308, -1.7e308))
    assert np.abs(codes).max() == FAR


def test_an_image_is_encoded_alone():
    encoder = ImageEncoder(scaling="pixel").fit(COLOUR)
    codes = encoder.transform(COLOUR)
    order = RNG.permutation(9)
    np.testing.assert_array_equal(encoder.transform(COLOUR[order]), codes[order])
    for row in range(9):
        np.testing.assert_array_equal(encoder.transform(COLOUR[row : row + 1]), codes[row : row + 1])


@pytest.mark.parametrize("at_once", [1, 200, 1 << 20])
def test_chunks_change_nothing(at_once, monkeypatch):
    encoder = ImageEncoder().fit(COLOUR)
    codes, known = encoder.transform(COLOUR), digest(as_images(COLOUR))
    monkeypatch.setattr(pictures, "AT_ONCE", at_once)
    np.testing.assert_array_equal(encoder.transform(COLOUR), codes)
    np.testing.assert_allclose(ImageEncoder().fit(COLOUR).scale, encoder.scale, rtol=1e-14)
    assert digest(as_images(COLOUR)) == known


def test_only_some_images_are_held_at_a_time(monkeypatch):
    monkeypatch.setattr(pictures, "AT_ONCE", 4 * 30)
    images = as_images(GREY)
    seen = []
    watched = pictures.replace(images, origin=lambda rows: (seen.append(len(rows)), images.origin(rows))[1])
    encoder = ImageEncoder().fit(watched)
    encoder.transform(watched)
    digest(watched)
    assert seen == [4, 4, 1] * 3


def test_sixty_thousand_images_take_little_more_than_their_codes():
    code = (
        "import tracemalloc, numpy as np\n"
        "from upland.data.image.encoder import ImageEncoder\n"
        "X = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), dtype=np.uint8)\n"
        "tracemalloc.start()\n"
        "encoder = ImageEncoder().fit(X)\n"
        "fit = tracemalloc.get_traced_memory()[1]\n"
        "tracemalloc.reset_peak()\n"
        "codes = encoder.transform(X)\n"
        "print(fit, tracemalloc.get_traced_memory()[1] - codes.nbytes)"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert max(map(int, done.stdout.split())) < 64 << 20


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 300, 2), (3, 700, 500, 3), (2, 4, 4, 4)])
def test_tiny_and_large_sizes(shape):
    X = RNG.integers(0, 256, shape, dtype=np.uint8)
    encoder = ImageEncoder(channels="last").fit(X)
    assert encoder.width == int(np.prod(shape[1:]))
    np.testing.assert_array_equal(encoder.decode(encoder.transform(X)).reshape(shape), X)


def test_what_is_decoded_stays_in_the_range_of_the_pixels():
    for X in (GREY, GREY.astype(np.uint16), GREY > 100):
        encoder = ImageEncoder().fit(X)
        far = encoder.decode(np.stack([np.full(encoder.shape, -50.0), np.full(encoder.shape, 1e4)]))
        top = 1 if X.dtype == bool else np.iinfo(X.dtype).max
        assert far.dtype == X.dtype
        assert far[0].max() == 0
        assert far[1].min() == top
    with pytest.raises(ValueError, match=r"codes must have the shape \(N, 1, 6, 5\), got \(6, 5\)"):
        encoder.decode(np.zeros((6, 5)))


def test_what_an_encoder_tells_of_itself():
    encoder = ImageEncoder().fit(COLOUR)
    assert (encoder.modality, encoder.width, encoder.shape, encoder.named) == ("image", 90, (3, 6, 5), False)
    assert encoder.inputs == ("red", "green", "blue")
    assert encoder.describe()[0] == {"name": "red", "kind": "uint8, 6 x 5"}
    assert ImageEncoder(channels="last").fit(np.zeros((2, 5, 5, 4))).inputs[3] == "alpha"


# -- levels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "levels"), [(np.uint8, 256), (np.uint16, 65536), (bool, 2)], ids=["8 bits", "16 bits", "bool"]
)
def test_levels_divide_an_interval_of_length_one(dtype, levels):
    X = (
        np.arange(levels).reshape(2, -1, 2).astype(dtype)
        if levels > 2
        else np.array([[[0, 1]] * 2] * 2, dtype)
    )
    encoder = ImageEncoder(scaling="levels").fit(X)
    codes = encoder.transform(X)
    np.testing.assert_array_equal(codes[:, 0], (X.astype(np.float64) + 0.5) / levels - 0.5)
    assert encoder.bin == 1 / levels
    assert codes.max() == -codes.min() == 0.5 - encoder.bin / 2
    np.testing.assert_array_equal(encoder.decode(codes)[..., 0], X)
    noise = (RNG.random(codes.shape) - 0.5) * encoder.bin * 0.999
    np.testing.assert_array_equal(encoder.decode(codes + noise)[..., 0], X)
    other = ImageEncoder(scaling="levels").fit(X[::-1, :2])
    np.testing.assert_array_equal((other.mean, other.scale), (encoder.mean, encoder.scale))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_levels_of_floats_are_those_of_the_bytes_that_they_were(low, high):
    X = np.random.default_rng(1).integers(0, 256, (9, 6, 5, 3), dtype=np.uint8)
    expected = ImageEncoder(scaling="levels").fit(X).transform(X)
    floats = X / 255 * (high - low) + low
    encoder = ImageEncoder(scaling="levels").fit(floats)
    np.testing.assert_allclose(encoder.transform(floats), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(encoder.decode(encoder.transform(floats)), floats, rtol=0, atol=1e-4)
    assert encoder.bin == 1 / 256


def test_levels_of_floats_of_another_range_reach_from_the_least_to_the_greatest():
    X = np.linspace(-30, 900, 90).reshape(3, 6, 5)
    codes = (encoder := ImageEncoder(scaling="levels").fit(X)).transform(X)
    np.testing.assert_allclose([codes.min(), codes.max()], [-0.5 + 1 / 512, 0.5 - 1 / 512], rtol=1e-5)
    np.testing.assert_allclose(encoder.decode(codes)[..., 0], X, rtol=1e-4, atol=1e-3)
    same = ImageEncoder(scaling="levels").fit(np.full((2, 4, 4), 700.0))
    assert np.abs(same.transform(np.full((2, 4, 4), 700.0))).max() <= 0.5
    with pytest.raises(ValueError, match="too large"):
        ImageEncoder(scaling="levels").fit(np.array([[[-1.7e308, 1.7e308]] * 2] * 2))


def test_a_step_has_a_width_with_levels_only():
    with pytest.raises(ValueError, match="scaling='pixel' one step of a pixel has no width"):
        _ = ImageEncoder(scaling="pixel").fit(GREY).bin
    with pytest.raises(ValueError, match="not fitted yet"):
        _ = ImageEncoder(scaling="levels").bin


# -- persistence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoder",
    [
        ImageEncoder().fit(COLOUR),
        ImageEncoder(scaling="pixel", size=(4, 7), mode="grey", channels="last", owner="Eye").fit(COLOUR),
        ImageEncoder(scaling="pixel").fit(COLOUR / 3.0),
        ImageEncoder(scaling="levels").fit(COLOUR),
        ImageEncoder(scaling="levels").fit(COLOUR / 3.0),
    ],
    ids=["plain", "full", "floats", "levels", "levels of floats"],
)
def test_state_round_trip_is_exact(encoder):
    manifest, tensors = encoder.to_state()
    again = ImageEncoder.from_state(json.loads(json.dumps(manifest)), tensors)
    X = (COLOUR / 3.0) if encoder.dtype == np.float64 else COLOUR
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))
    assert again.to_state()[0] == manifest
    assert (again.shape, again.size, again.dtype) == (encoder.shape, encoder.size, encoder.dtype)


def broken(**change):
    manifest, tensors = ImageEncoder(scaling="pixel").fit(GREY).to_state()
    return {**manifest, **{k: v for k, v in change.items() if k in manifest or k == "odd"}}, {
        **tensors,
        **{k: v for k, v in change.items() if k in tensors},
    }


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (({}, {}), "not the state of an ImageEncoder"),
        (broken(odd=1), r"\['odd'\] are unknown or lacking"),
        ((broken()[0], {}), r"\['mean', 'scale'\] are unknown or lacking"),
        (broken(format=2), "format is 2; this version reads 1: update upland"),
        (broken(shape=[6, 5]), "shape is"),
        (broken(shape=[6, 5, 2]), "shape is"),
        (broken(shape="6"), "shape is '6'"),
        (broken(shape=[6, 6, 1]), r"float64 of shape \(6, 6, 1\)"),
        (broken(dtype="int64"), "dtype is 'int64'"),
        (broken(dtype="uint"), "dtype is 'uint'"),
        (broken(largest=float("nan")), "greatest value is nan"),
        (broken(largest="9"), "greatest value is '9'"),
        (broken(scaling="bits"), "scaling cannot be bits"),
        (broken(mean=np.zeros((6, 5, 1), np.float32)), "float64"),
        (broken(scale=np.zeros((6, 5, 1))), "scale positive"),
        (broken(mean=np.full((6, 5, 1), np.nan)), "finite"),
    ],
)
def test_what_is_no_state_is_refused(state, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder.from_state(*state)


# -- rows ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["array", "folder", "folder on the disk"])
def rows(request, tmp_path, monkeypatch):
    if request.param == "folder on the disk":
        monkeypatch.setattr(imagerows, "BYTES_IN_MEMORY", 9 * 90 * 4 - 1)
    found = ImageRows(COLOUR if request.param == "array" else files_of(COLOUR, tmp_path)[0].parent)
    assert found.in_memory is (request.param != "folder on the disk")
    return found


def test_rows_are_taken_by_number(rows):
    assert (rows.n_rows, rows.names) == (9, ["red", "green", "blue"])
    taken = rows.take(np.array([0, 3, 8]))
    np.testing.assert_array_equal(taken.take([0, 1, 2]), COLOUR[[0, 3, 8]])
    assert taken.names in (None, ("img0.png", "img3.png", "img8.png"))


@pytest.mark.parametrize("size", [1, 4, 6, 100])
def test_a_pass_has_each_image_once_in_an_order_of_its_generator(rows, size):
    skip = np.array([2, 5, 6])

    def order(seed):
        parts = list(rows.shuffled(np.random.default_rng(seed), skip, size))
        assert all(len(part) == size for part in parts[:-1])
        return [int(row) for part in parts for row in part.rows]

    assert sorted(order(0)) == [0, 1, 3, 4, 7, 8]
    assert order(0) == order(0) != order(1)


def test_batches_of_a_pass_are_bounded_in_memory(monkeypatch):
    monkeypatch.setattr(imagerows, "BYTES_OF_BATCH", 4 * 90 * 2)
    parts = list(ImageRows(COLOUR).shuffled(np.random.default_rng(0), np.array([], dtype=np.int64), 8))
    assert [len(part) for part in parts] == [2, 2, 2, 2, 1]


def test_files_are_read_once_if_they_fit_and_when_they_are_taken_if_not(tmp_path, monkeypatch):
    paths = files_of(COLOUR, tmp_path)
    held = ImageRows(tmp_path)
    monkeypatch.setattr(imagerows, "BYTES_IN_MEMORY", 0)
    left = ImageRows(tmp_path)
    assert held.digest() == left.digest() == ImageRows(COLOUR).digest()
    monkeypatch.setattr(imagerows, "FILE_ROWS", 3)
    assert left.digest() == digest(as_images(COLOUR[[0, 4, 8]]))
    PIL.Image.fromarray(255 - COLOUR[4]).save(paths[4])
    np.testing.assert_array_equal(held.take(np.array([4])).take([0])[0], COLOUR[4])
    np.testing.assert_array_equal(left.take(np.array([4])).take([0])[0], 255 - COLOUR[4])
    assert left.digest() != held.digest()


def test_digests_differ_with_pixels_shapes_and_depths():
    other = COLOUR.copy()
    other[8, 5, 4, 2] ^= 1
    kinds = [COLOUR, other, COLOUR[:8], COLOUR.astype(np.uint16), COLOUR.astype(np.float32), COLOUR[:, :5]]
    assert len({digest(as_images(X)) for X in kinds}) == len(kinds)
    assert digest(as_images(COLOUR.astype(">u2"))) == digest(as_images(COLOUR.astype(np.uint16)))
