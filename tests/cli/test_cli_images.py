"""Images on the command line: one row an image, the contributing region, heat maps as PNG files."""

import numpy as np
import pyarrow.csv as csv
import pytest

import upland as library
from upland.explanation import ImageExplanation
from upland.scoring.regions import regions

FAST = ("--epochs", "1", "--calibration", "split")


def test_fit_on_a_folder(pictures, tmp_path, upland, upland_json):
    document = upland_json("fit", pictures / "normal", "-o", tmp_path / "m", *FAST)["info"]
    assert (document["modality"], document["rows"], document["calibration"]["of"]) == ("image", 110, "image")
    shown = upland("info", tmp_path / "m").words
    for words in ("modality image", "images 110", "uint8, 12 x 12: grey", "scores are of images"):
        assert words in shown
    assert "window" not in shown


def test_fit_brings_images_to_a_size_and_mode(pictures, tmp_path, upland):
    options = ("--size", "8x6", "--mode", "rgb", "--modality", "image")
    done = upland("fit", pictures / "normal", "-o", tmp_path / "m", *FAST, *options, "-q")
    assert done.code == 0, done.err
    assert library.load(tmp_path / "m").encoder_.shape == (3, 8, 6)


def test_fit_leaves_out_what_a_mask_marks(pictures, tmp_path, upland, upland_json):
    from PIL import Image

    mask = np.zeros((12, 12), dtype=np.uint8)
    mask[2:4, 8:10] = 255  # where the odd ones are odd
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ("--ignore", tmp_path / "mask.png", *FAST)
    document = upland_json("fit", pictures / "normal", "-o", tmp_path / "m", *options)["info"]
    assert document["columns"] == [{"name": "grey", "kind": "uint8, 12 x 12, 4 pixels ignored"}]
    assert "4 pixels ignored" in upland("info", tmp_path / "m").words
    scored = upland_json("score", tmp_path / "m", pictures / "new", "--top", "10")
    assert scored["flagged"] < 2
    for row in scored["most_anomalous"]:
        assert all(part["column"] != "rows 2-3, columns 8-9 (top right)" for part in row["reason"])
    small = ("--size", "6x6", *options)
    assert upland("fit", pictures / "normal", "-o", tmp_path / "n", *small, "-q").code == 0
    assert library.load(tmp_path / "n").encoder_.ignored.shape == (6, 6)
    wrong = ("--ignore", pictures / "rows.csv", *FAST)
    assert upland("fit", pictures / "normal", "-o", tmp_path / "o", *wrong).code == 1


DEPTHS = {
    "16-bit PNG": (".png", lambda x: 257 * x.astype(np.uint16), {}),
    "12 of 16 bits": (".tif", lambda x: 16 * x.astype(np.uint16), {"compression": "tiff_lzw"}),
    "float TIFF": (".tiff", lambda x: x.astype(np.float32) / 255 - 0.5, {}),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_pictures_all_the_way(depth, pictures, tmp_path, upland, upland_json):
    """Fit, score, heat maps and report; the same are found as with 8 bits, and a mixture is refused."""
    from PIL import Image

    suffix, deepened, options = DEPTHS[depth]
    for folder in ("normal", "new"):
        (tmp_path / folder).mkdir()
        for path in (pictures / folder).iterdir():
            deep = deepened(np.asarray(Image.open(path)))
            Image.fromarray(deep).save(tmp_path / folder / f"{path.stem}{suffix}", **options)
    upland_json("fit", tmp_path / "normal", "-o", tmp_path / "m", *FAST)
    call = ("score", tmp_path / "m", tmp_path / "new", "--maps", tmp_path / "heat", "--top", "2", "--why")
    worst = upland_json(*call)["most_anomalous"]
    assert {row["image"] for row in worst} == {f"odd-8{suffix}", f"odd-9{suffix}"}
    assert all(row["reason"][0]["column"] == "rows 2-3, columns 8-9 (top right)" for row in worst)
    for path in (tmp_path / "heat").glob("*_odd-*.png"):
        shown = np.asarray(Image.open(path))[:, :256].astype(int)
        assert (shown.min(), shown.max()) == (0, 255)
    report = upland("report", tmp_path / "m", tmp_path / "new", "-o", tmp_path / "report.html")
    assert report.code == 0, report.err
    (tmp_path / "new" / "old.png").write_bytes((pictures / "new" / "odd-8.png").read_bytes())
    mixed = upland("score", tmp_path / "m", tmp_path / "new")
    assert mixed.code == 1
    assert "images of several depths:" in mixed.words
    other = upland("score", tmp_path / "m", pictures / "new")
    assert other.code == 1
    assert "bring them to the same depth" in other.words


def test_each_image_has_one_row(pictures, tmp_path, upland_json):
    model = pictures / "model.safetensors"
    document = upland_json("score", model, pictures / "new", "-o", tmp_path / "s.csv", "--why", "--top", "2")
    scored = csv.read_csv(tmp_path / "s.csv")
    assert scored.column_names == ["image", "anomaly_score", "p_value", "is_anomaly", "reason"]
    names = [f"odd-{n}.png" for n in (8, 9)] + [f"ramp-{n}.png" for n in range(8)]
    assert scored["image"].to_pylist() == names
    np.testing.assert_allclose(
        scored["anomaly_score"], library.load(model).anomaly_score(pictures / "new"), rtol=1e-9
    )
    assert (document["modality"], document["unit"], document["images"], document["maps"]) == (
        "image",
        "image",
        10,
        0,
    )
    assert sorted(row["image"] for row in document["most_anomalous"]) == ["odd-8.png", "odd-9.png"]
    for row in document["most_anomalous"]:
        assert row["reason"][0]["column"] == "rows 2-3, columns 8-9 (top right)"
        assert row["reason"][0]["value"] == 255
        assert row["reason"][0]["expected"] < 220
    assert all(scored["reason"][n].as_py().startswith("rows 2-3, columns 8-9 (top right)") for n in (0, 1))


def test_arrays_are_numbered_and_batches_do_not_matter(pictures, tmp_path, upland_json, monkeypatch):
    model = pictures / "model.safetensors"
    whole = upland_json("score", model, pictures / "new.npy", "-o", tmp_path / "a.csv", "--why")
    monkeypatch.setattr("upland.cli.images.AT_ONCE", 1)
    parts = upland_json("score", model, pictures / "new.npy", "-o", tmp_path / "b.csv", "--why")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert whole["most_anomalous"] == parts["most_anomalous"]
    assert csv.read_csv(tmp_path / "a.csv")["image"].to_pylist() == list(range(10))


def test_the_summary(pictures, upland):
    done = upland("score", pictures / "model.safetensors", pictures / "new", "--top", "3")
    assert done.code == 0, done.err
    assert "odd-8.png*" in done.out
    assert "of 10 images flagged" in done.words
    assert "rows 2-3" in done.words
    assert max(map(len, done.out.splitlines())) <= 80
    one = upland("score", pictures / "model.safetensors", pictures / "new" / "odd-8.png", "--fail-on-anomaly")
    assert one.code == 10
    assert "1 of 1 image flagged" in one.words


def test_names_are_shown_as_they_are(pictures, tmp_path, upland):
    name = "[b] :cat: 7.png"
    (tmp_path / name).write_bytes((pictures / "new" / "odd-8.png").read_bytes())
    done = upland("score", pictures / "model.safetensors", tmp_path, "--maps", tmp_path / "h" / "i")
    assert (done.code, "the folder of the images themselves" in done.words) == (3, True)
    heat = tmp_path.parent / f"{tmp_path.name}-heat"
    done = upland("score", pictures / "model.safetensors", tmp_path, "--maps", heat)
    assert f"{name}*" in done.out
    assert [path.name for path in heat.iterdir()] == ["0001_b_cat_7.png"]


def test_maps_are_of_the_most_anomalous_and_named_by_rank(pictures, tmp_path, upland):
    from PIL import Image

    heat, model = tmp_path / "deep" / "heat", pictures / "model.safetensors"
    done = upland("score", model, pictures / "new", "--maps", heat, "--top", "2", "--alpha", "0.08")
    assert done.code == 0, done.err
    names = sorted(path.name for path in heat.iterdir())
    assert f"wrote {len(names)} heat map(s)" in done.words
    assert 2 <= len(names) < 10
    assert {name[5:] for name in names[:2]} == {"odd-8.png", "odd-9.png"}
    assert [name[:4] for name in names[:2]] == ["0001", "0002"]
    picture = np.asarray(Image.open(heat / names[0])).astype(int)
    side = (picture.shape[1] - 8) // 2
    red = picture[:, side + 8 :, 0] - picture[:, side + 8 :, 2]  # grey has none
    y, x = np.unravel_index(int(red.argmax()), red.shape)
    assert (y * 12 // side, x * 12 // side) in [(2, 8), (2, 9), (3, 8), (3, 9)]


def test_maps_of_all_are_not_written_over_unasked(pictures, tmp_path, upland, upland_json):
    heat, model = tmp_path / "heat", pictures / "model.safetensors"
    document = upland_json("score", model, pictures / "new.npy", "--maps", heat, "--all-maps")
    assert document["maps"] == 10
    assert {path.name[5:] for path in heat.iterdir()} == {f"image_{n}.png" for n in range(10)}
    before = {path: path.read_bytes() for path in heat.iterdir()}
    done = upland("score", model, pictures / "new.npy", "--maps", heat)
    assert done.code == 3
    assert "--overwrite" in done.words
    assert {path: path.read_bytes() for path in heat.iterdir()} == before
    done = upland("score", model, pictures / "new.npy", "--maps", heat, "--all-maps", "--overwrite")
    assert done.code == 0


@pytest.mark.parametrize(
    ("data", "options", "code", "words"),
    [
        ("new", ("--all-maps",), 2, "say where with --maps DIR"),
        ("new", ("--maps", "new"), 3, "in the folder of the images themselves"),
        ("new", ("--maps", "model.safetensors"), 3, "it is a file"),
        ("small", (), 1, "a fit with --size 12x12 resizes"),
        ("mixed", (), 1, "--size HxW resizes them"),
        ("broken", (), 1, "odd-8.png"),
        ("model.safetensors", (), 1, "the model is of images"),
        ("absent", (), 1, "no such file or folder"),
    ],
)
def test_score_refuses(data, options, code, words, pictures, tmp_path, upland, monkeypatch):
    from PIL import Image

    for name, sides in {"small": (5, 5), "mixed": (12, 13)}.items():
        (tmp_path / name).mkdir()
        for side in sides:
            Image.fromarray(np.full((side, side), len(name) + side, np.uint8)).save(
                tmp_path / name / f"{side}-{name}.png"
            )
    (tmp_path / "broken").mkdir()
    whole = (pictures / "new" / "odd-8.png").read_bytes()
    (tmp_path / "broken" / "odd-8.png").write_bytes(whole[:60])
    (tmp_path / "new").symlink_to(pictures / "new")
    (tmp_path / "model.safetensors").write_bytes((pictures / "model.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    data = "rows.csv" if data == "model.safetensors" else data
    (tmp_path / "rows.csv").write_text("a\n1\n")
    done = upland("score", "model.safetensors", data, "-o", "s.csv", *options)
    assert done.code == code, done.words
    assert words in done.words
    assert not (tmp_path / "s.csv").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--window", "4"), 2, "--window is for sequences"),
        (("--time", "t"), 2, "leave --time out"),
        (("--modality", "table"), 2, "--modality image does"),
        (("--ignore", "x"), 1, "x does not exist"),
        (("--ignore", "a.png", "--ignore", "b.png"), 2, "--ignore names one file for images"),
        (("--categorical", "x"), 2, "--categorical names a column"),
        (("--size", "1x9"), 1, "at least 2"),
        (("--size", "x9"), 2, "28x28"),
    ],
)
def test_fit_refuses(options, code, words, pictures, tmp_path, upland):
    done = upland("fit", pictures / "normal", "-o", tmp_path / "m", *FAST, *options)
    assert done.code == code, done.words
    assert words in done.words


def test_without_pillow_maps_say_what_to_install(pictures, tmp_path, upland, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    done = upland("score", pictures / "model.safetensors", pictures / "new.npy", "--maps", tmp_path / "h")
    assert done.code == 1
    assert "upland[images]" in done.words
    assert upland("score", pictures / "model.safetensors", pictures / "new.npy", "-q").code == 0


def test_calibrate_takes_images(pictures, tmp_path, upland):
    done = upland("calibrate", pictures / "model.safetensors", pictures / "normal", "-o", tmp_path / "m")
    assert done.code == 0, done.err
    assert library.load(tmp_path / "m").calibration_.size == 110


def test_regions_do_not_overlap_and_add_up():
    shares = np.zeros((1, 21, 14, 3))
    shares[0, 3:6, 4:6, 1] = 2.0
    shares[0, 18:, 12:, 0] = 1.0
    values = np.broadcast_to(np.array([10, 20, 30], np.uint8), shares.shape)
    found = regions(ImageExplanation(shares, values, values + 1), 3)[0]
    assert [reason.column for reason in found] == [
        "rows 3-5, columns 4-5 (top left)",
        "rows 18-20, columns 12-13 (bottom right)",
    ]
    assert [reason.share for reason in found] == [12.0, 6.0]
    assert sum(reason.part for reason in found) == pytest.approx(1.0)
    assert found[0].value == (10.0, 20.0, 30.0)
    assert regions(ImageExplanation(0 * shares, values, values), 3) == [[]]


def colours(x):
    """Features of one's own: the mean of each channel."""
    return x.mean((2, 3))


@pytest.mark.parametrize("command", ["info", "score", "report", "export"])
def test_a_model_with_features_of_ones_own_is_refused(command, pictures, tmp_path, upland):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    detector = library.ImageEnergyDetector(features=colours, random_state=0, progress=False).fit(images)
    library.save(detector, tmp_path / "m")
    np.save(tmp_path / "new.npy", images)
    more = {"score": [tmp_path / "new.npy"], "report": [tmp_path / "new.npy", "-o", tmp_path / "r.html"]}
    more["export"] = ["-o", tmp_path / "m.onnx"]
    done = upland(command, tmp_path / "m", *more.get(command, []))
    assert done.code == 1
    assert "was fitted with features of your own" in done.words
