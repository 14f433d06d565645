"""Picture files: every kind comes to what a person sees, in the order of names; what is broken is named."""

import os
import socket
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from upland.data.image.encoder import ImageEncoder, ImageRows, as_images
from upland.io import images as imagefiles
from upland.io.colours import recoloured
from upland.io.heatmaps import write_heat_map

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 5), dtype=np.uint16)


def saved(path, pixels=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    image.save(path, **options)
    return path


def pixels_of(X, **options):
    images = as_images(X, **options)
    return images.take(np.arange(len(images)))


# -- folders -------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_natural_order_of_its_names(tmp_path):
    names = ["img10.png", "img2.PNG", "b/img3.png", "b/img20.png", "a/z.tiff", "Img1.jpg", "img2a.bmp"]
    for number, name in enumerate(names):
        saved(tmp_path / name, np.full((4, 4), number, dtype=np.uint8))
    for name in (".hidden.png", ".git/x.png", "labels.csv", "b/notes.txt", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    images = as_images(tmp_path)
    order = ["Img1.jpg", "a/z.tiff", "b/img3.png", "b/img20.png", "img2.PNG", "img2a.bmp", "img10.png"]
    assert list(images.names) == order
    found = [names.index(name) for name in order]
    np.testing.assert_allclose(images.take(np.arange(7))[:, 0, 0, 0], found, atol=1)  # one is a JPEG
    assert images.select([6, 0]).names == ("img10.png", "Img1.jpg")


def test_names_of_lists_and_of_a_single_file(tmp_path):
    path = saved(tmp_path / "a" / "one.png")
    assert as_images(path).names == ("one.png",)
    assert as_images(str(path)).shape == (6, 5, 1)
    assert as_images([path, path]).names == (str(path), str(path))
    with PIL.Image.open(path) as image:
        assert as_images([image]).names is None


def test_deeper_folders_are_left_out_with_a_warning(tmp_path):
    saved(tmp_path / "a" / "one.png")
    saved(tmp_path / "a" / "deep" / "two.png")
    with pytest.warns(UserWarning, match=r"read one level deep: left out are 1 deeper folders.*deep"):
        assert len(as_images(tmp_path)) == 1


def test_folders_without_images_are_refused_with_what_they_hold(tmp_path):
    with pytest.raises(ValueError, match="holds no images: it is empty"):
        as_images(tmp_path)
    for name in ("a.csv", "b.csv", "README"):
        (tmp_path / name).touch()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    saved(tmp_path / "deep" / "deeper" / "x.png")
    message = "holds no images: it holds 2 .csv, 1 without suffix, 1 folder; images are .bmp, .gif, .jpeg"
    with pytest.raises(ValueError, match=message):
        as_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent: there is no such file or folder"):
        as_images(tmp_path / "absent")


# -- kinds of pictures ---------------------------------------------------------------------------------------


def palette():
    return PIL.Image.fromarray(COLOUR // 64 * 64).quantize(200)


KINDS = {
    "grey": (PIL.Image.fromarray(GREY), GREY[..., None]),
    "colour": (PIL.Image.fromarray(COLOUR), COLOUR),
    "16 bits": (PIL.Image.fromarray(DEEP), DEEP[..., None]),
    "1 bit": (PIL.Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0).astype(np.uint8)[..., None]),
    "palette": (palette(), np.asarray(palette().convert("RGB"))),
    "opaque": (PIL.Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 255)])), COLOUR),
    "grey and opaque": (
        PIL.Image.merge("LA", [PIL.Image.fromarray(GREY), PIL.Image.new("L", (5, 6), 255)]),
        GREY[..., None],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_png(kind, tmp_path):
    image, pixels = KINDS[kind]
    for X in (saved(tmp_path / "x.png", image), [image], [PIL.Image.open(tmp_path / "x.png")]):
        found = pixels_of(X)
        np.testing.assert_array_equal(found, pixels[None])
        assert found.dtype == pixels.dtype
        assert as_images(X).shape == pixels.shape


@pytest.mark.parametrize(
    ("name", "image", "pixels"),
    [
        ("x.tif", PIL.Image.fromarray(GREY / np.float32(7)), (GREY / np.float32(7))[..., None]),
        ("x.tif", PIL.Image.fromarray(DEEP), DEEP[..., None]),
        ("x.pgm", PIL.Image.fromarray(DEEP), DEEP[..., None]),
        ("x.ppm", PIL.Image.fromarray(COLOUR), COLOUR),
        ("x.gif", PIL.Image.fromarray(GREY), np.dstack([GREY] * 3)),
    ],
)
def test_other_files(tmp_path, name, image, pixels):
    found = pixels_of(saved(tmp_path / name, image))
    np.testing.assert_array_equal(found.squeeze(), pixels.squeeze() if found.shape[3] == 1 else pixels)
    assert found.dtype == pixels.dtype


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colours_become_rgb(tmp_path, mode):
    flat = PIL.Image.new("RGB", (8, 8), (200, 90, 40))
    found = pixels_of(saved(tmp_path / "x.jpg", flat.convert(mode), quality=100))
    assert found.shape == (1, 8, 8, 3)
    np.testing.assert_allclose(found[0, 4, 4], [200, 90, 40], atol=4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied(tmp_path, suffix, orientation):
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:8, :8], pixels[8:, :8], pixels[:8, 16:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0}
    path = saved(tmp_path / f"x{suffix}", pixels, exif=exif, **options)
    with PIL.Image.open(path) as image:
        seen = np.asarray(PIL.ImageOps.exif_transpose(image).convert("RGB"))
    assert seen.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    for X in (path, [PIL.Image.open(path)]):
        assert as_images(X).shape == seen.shape
        np.testing.assert_array_equal(pixels_of(X)[0], seen)


def test_alpha_is_dropped_with_one_warning_where_it_hides_anything(tmp_path):
    clear = np.dstack([COLOUR, np.where(GREY > 50, 255, 7).astype(np.uint8)])
    for number in range(3):
        saved(tmp_path / f"{number}.png", clear)
    with pytest.warns(UserWarning, match="alpha is left out: 0.png is not all opaque") as seen:
        found = pixels_of(tmp_path)
    assert len(seen) == 1
    np.testing.assert_array_equal(found, np.stack([COLOUR] * 3))
    grey = PIL.Image.merge("LA", [PIL.Image.fromarray(GREY), PIL.Image.fromarray(GREY)])
    with pytest.warns(UserWarning, match="alpha is left out: image 0"):
        np.testing.assert_array_equal(pixels_of([grey])[0, :, :, 0], GREY)
    holes = saved(tmp_path / "holes" / "x.png", palette(), transparency=bytes([0] * 200))
    with pytest.warns(UserWarning, match="alpha is left out: x.png"):
        assert pixels_of(holes).shape == (1, 6, 5, 3)
    assert pixels_of(clear[None], channels="last").shape == (1, 6, 5, 4)


# -- what is refused -----------------------------------------------------------------------------------------


def test_mixed_folders_are_refused_by_name_and_converted_on_demand(tmp_path):
    saved(tmp_path / "a.png", GREY)
    saved(tmp_path / "b.png", GREY[:4])
    with pytest.raises(
        ValueError, match=r"several sizes: a.png is 6 x 5, b.png is 4 x 5.*size=\(H, W\).*size=\(6, 5\)"
    ):
        ImageRows(tmp_path)
    assert ImageRows(tmp_path, size=(6, 5)).n_rows == 2
    saved(tmp_path / "b.png", COLOUR)
    with pytest.raises(ValueError, match=r"several colours: a.png is grey, b.png is colour.*mode='grey'"):
        ImageEncoder().fit(tmp_path)
    assert ImageEncoder(mode="grey").fit(tmp_path).shape == (1, 6, 5)
    assert ImageEncoder(mode="rgb").fit(tmp_path).shape == (3, 6, 5)
    saved(tmp_path / "b.png", DEEP)
    with pytest.raises(ValueError, match=r"several depths: a.png is uint8, b.png is uint16"):
        as_images(tmp_path, mode="grey")
    saved(tmp_path / "b.png", GREY[:1])
    with pytest.raises(ValueError, match=r"b.png is of 1 x 5 pixels: at least 2 x 2"):
        as_images(tmp_path, size=(6, 5))


def test_files_of_another_shape_than_in_the_fit_are_named(tmp_path):
    saved(tmp_path / "wide.png", RNG.integers(0, 256, (6, 9), dtype=np.uint8))
    encoder = ImageEncoder(owner="EnergyDetector").fit(np.stack([GREY, GREY[::-1]]))
    with pytest.raises(ValueError, match=r"wide.png is of 6 x 9 pixels, where the fit had 6 x 5"):
        encoder.transform(tmp_path)
    assert ImageEncoder(size=(6, 5)).fit(np.stack([GREY, GREY])).transform(tmp_path).shape == (1, 1, 6, 5)


BROKEN = {
    "empty": lambda data: b"",
    "text": lambda data: b"no image at all",
    "half": lambda data: data[: len(data) // 2],
    "head": lambda data: data[:30],
    "noise": lambda data: data[:45] + bytes(255 - byte for byte in data[45:]),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("how", ["empty", "text", "half", "head"])
def test_broken_files_are_refused_by_name(tmp_path, how, suffix):
    saved(tmp_path / "good.png", COLOUR.repeat(20, axis=0).repeat(20, axis=1))
    path = saved(tmp_path / f"poor{suffix}", RNG.integers(0, 256, (120, 100, 3), dtype=np.uint8))
    path.write_bytes(BROKEN[how](path.read_bytes()))
    with pytest.raises(ValueError, match=f"poor{suffix} cannot be read, it is damaged or no image"):
        pixels_of(tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_ends_in_another_error(tmp_path, seed):
    """Changed bytes give an error that names the file, or pixels where the format cannot tell."""
    generator = np.random.default_rng(seed)
    suffix = [".png", ".jpg", ".tif", ".gif"][seed % 4]
    path = saved(tmp_path / f"poor{suffix}", generator.integers(0, 256, (20, 30), dtype=np.uint8))
    data = bytearray(path.read_bytes())
    for position in generator.integers(0, len(data), 12):
        data[position] = generator.integers(256)
    path.write_bytes(bytes(data))
    named = True
    try:
        pixels_of(path)
    except ValueError as error:
        named = "poor" in str(error)
    assert named


def test_pictures_of_several_frames_are_refused(tmp_path):
    frames = [PIL.Image.fromarray(GREY), PIL.Image.fromarray(GREY[::-1])]
    for name in ("x.gif", "x.tif"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=f"{name} holds 2 frames: save each as a file of its own"):
            as_images(path)


def tiff(path, pixels, planes=1):
    """A TIFF without compression of any dtype: Pillow writes few of those that there are."""
    height, width, channels = pixels.shape
    data = np.ascontiguousarray(pixels.transpose(2, 0, 1) if planes == 2 else pixels).tobytes()
    size, parts = pixels.dtype.itemsize, channels if planes == 2 else 1
    tags = {256: [width], 257: [height], 258: [8 * size] * channels, 259: [1]}
    tags |= {
        262: [2 if channels == 3 else 1],
        273: [8 + n * len(data) // parts for n in range(parts)],
        277: [channels],
        278: [height],
    }
    tags |= {279: [len(data) // parts] * parts, 284: [planes]}
    tags[339] = [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * channels
    at = 8 + len(data)
    entries, beyond = b"", at + 2 + 12 * len(tags) + 4
    behind = b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += packed if len(values) == 1 else struct.pack("<I", beyond + len(behind))
        behind += packed if len(values) > 1 else b""
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, at) + data + directory + behind)
    return path


def png16(path, pixels):
    """A PNG of 16 bits in colour, which Pillow does not write."""
    height, width, channels = pixels.shape

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def ppm16(path, pixels):
    path.write_bytes(b"P6 5 6 65535\n" + pixels.astype(">u2").tobytes())
    return path


DEEP_COLOUR = RNG.integers(0, 65536, (6, 5, 3), dtype=np.uint16)


@pytest.mark.parametrize(("write", "name"), [(tiff, "x.tif"), (png16, "x.png"), (ppm16, "x.ppm")])
def test_colour_of_16_bits_is_read_as_8_with_a_warning(write, name, tmp_path):
    write(tmp_path / name, DEEP_COLOUR)
    message = f"colour of 16 bits is read as 8 bits in 1 of 1 files, as in {name}: arrays keep all bits"
    with pytest.warns(UserWarning, match=message):
        found = pixels_of(tmp_path)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[0], DEEP_COLOUR / 257, atol=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_images(DEEP_COLOUR[None]).dtype == np.uint16
        as_images(saved(tmp_path / "8" / "x.png", COLOUR))
        as_images(tiff(tmp_path / "8" / "y.tif", COLOUR))
        as_images(tiff(tmp_path / "8" / "z.tif", COLOUR, planes=2))
        as_images(saved(tmp_path / "8" / "w.ppm", COLOUR))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint64])
def test_a_tiff_of_another_type_is_refused_with_those_that_are_read(dtype, tmp_path):
    path = tiff(tmp_path / "x.tif", GREY[..., None].astype(dtype))
    for X in (path, [path.read_bytes()]):
        with pytest.raises(ValueError, match=r"no image of a type that is read: save it as grey of 8 or 16"):
            as_images(X)


def test_what_pillow_reads_wrong_is_refused(tmp_path):
    np.testing.assert_array_equal(pixels_of(tiff(tmp_path / "x.tif", COLOUR, planes=2))[0], COLOUR)
    with pytest.raises(ValueError, match=r"y\.tif has planes of 16 bits, one a colour: save it as"):
        as_images(tiff(tmp_path / "y.tif", DEEP_COLOUR, planes=2))
    with pytest.raises(ValueError, match=r"z\.tif holds values of 8 bits with a sign: save it from 0 to 255"):
        as_images(tiff(tmp_path / "z.tif", GREY[..., None].astype(np.int8)))
    for dtype in (np.int16, np.int32, np.uint32):
        with pytest.raises(ValueError, match=r"mode 'I', which is not supported: save it as grey of 16 bits"):
            as_images(tiff(tmp_path / "w.tif", GREY[..., None].astype(dtype)))


def test_rare_kinds_are_refused(tmp_path):
    path = saved(tmp_path / "x.tif", PIL.Image.fromarray(GREY.astype(np.int32)))
    with pytest.raises(ValueError, match=r"x.tif is of Pillow's mode 'I', which is not supported"):
        as_images(path)
    with pytest.raises(ValueError, match=r"image 0 is of Pillow's mode 'LAB'"):
        as_images([PIL.Image.new("LAB", (4, 4))])
    spoiled = GREY / np.float32(7)
    spoiled[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"y.tif has pixels that are NaN or infinite"):
        pixels_of(saved(tmp_path / "y.tif", spoiled))


@pytest.mark.parametrize("most", [20, 10])
def test_a_bomb_is_refused_by_name(tmp_path, monkeypatch, most):
    """Pillow warns from its limit on and refuses from twice as much."""
    path = saved(tmp_path / "bomb.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(ValueError, match=f"bomb.png has more than the {most} pixels that Pillow reads"):
        as_images(path)


def test_a_file_that_changes_or_goes_is_named(tmp_path):
    path = saved(tmp_path / "x.png")
    images = as_images(path)
    saved(path, COLOUR)
    with pytest.raises(ValueError, match=r"x.png has changed: it was 6 x 5 of 1 channels.*is 6 x 5 of 3"):
        images.take([0])
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"x.png: there is no such file"):
        images.take([0])
    with pytest.raises(FileNotFoundError, match=r"gone.png: there is no such file"):
        as_images([tmp_path / "gone.png"])


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png")

    def forbidden(*arguments, **options):
        raise PermissionError

    monkeypatch.setattr("builtins.open", forbidden)  # the superuser may read everything
    with pytest.raises(PermissionError, match=r"x.png: no permission to read it"):
        as_images(path)


def test_without_pillow_files_are_refused_with_what_to_install(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for use in (as_images, lambda path: write_heat_map(path, GREY, GREY, 1.0)):
        with pytest.raises(ImportError, match=r"pip install 'upland\[images\]'"):
            use(path)
    assert as_images(GREY[None]).shape == (6, 5, 1)


# -- hostile and unlucky folders -----------------------------------------------------------------------------


def piped(path):
    os.mkfifo(path)


def dead(path):
    path.symlink_to(path.parent / "nowhere")


def plugged(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (piped, "it is a pipe, a device or a socket"),
        (dead, "it is a link that leads nowhere"),
        (plugged, "it is a pipe, a device or a socket"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a pipe, a device or a socket"),
    ],
)
def test_what_is_no_file_is_named_and_never_read(tmp_path, monkeypatch, make, message):
    saved(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path("b.png"))
    with pytest.warns(UserWarning, match=f"1 of the pictures in .* left out, the first is b.png: {message}"):
        assert as_images(tmp_path).names == ("a.png",)
    with pytest.raises((ValueError, FileNotFoundError), match=r"b.png"):
        as_images([tmp_path / "b.png"])


@pytest.mark.parametrize("suffix", sorted(imagefiles.OTHERS))
def test_pictures_of_other_formats_are_named(tmp_path, suffix):
    saved(tmp_path / "a.png")
    (tmp_path / f"b{suffix}").write_bytes(b"some picture")
    with pytest.warns(
        UserWarning, match=rf"the first is b\{suffix}: \{suffix} files are not read, save them as"
    ):
        assert len(as_images(tmp_path)) == 1


def test_files_that_are_no_pictures_are_left_out_without_a_word(tmp_path):
    saved(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("a,b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(as_images(tmp_path)) == 1


def test_an_image_of_too_many_pixels_is_refused_with_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(imagefiles, "MOST_PIXELS", 20)
    with pytest.raises(ValueError, match=r"x.png has 30 pixels; at most 20 are read: make it smaller"):
        as_images(saved(tmp_path / "x.png"))


def test_grey_from_colour_takes_little_memory():
    pixels = np.broadcast_to(np.array([200, 90, 40], dtype=np.uint8), (1, 2000, 2000, 3))
    whole = np.ascontiguousarray(pixels)
    tracemalloc.start()
    grey = recoloured(whole, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * whole.nbytes
    assert grey.shape == (1, 2000, 2000, 1)
    assert np.unique(grey).tolist() == [round(0.299 * 200 + 0.587 * 90 + 0.114 * 40)]


def test_a_format_whose_reading_runs_a_program_is_no_image(tmp_path, monkeypatch):
    """PostScript, which Pillow gives to Ghostscript."""
    import PIL.EpsImagePlugin

    def called(*arguments, **options):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", called)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_bytes(text)
    for images in ([text], [tmp_path / "x.png"]):
        with pytest.raises(ValueError, match="damaged or no image"):
            as_images(images)
