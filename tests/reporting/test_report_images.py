"""The report of images: the fault is in the gallery, pictures are small, whatever the images are like."""

import io
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

import normals
import upland
from htmlpages import check_page
from normals import slopes
from upland.io.heatmaps import reduced_heat, reduced_pixels
from upland.reporting import html, images
from upland.reporting.images import MOST, NORMAL, PICTURES, SIDES, Small
from upland.reporting.page import Gallery, Table
from upland.reporting.report import report

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
HOSTILE = "<img src=x onerror=alert(1)>'&.png"
PATCH = (slice(2, 4), slice(4, 6))


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
    """Pages without the scripts that draw, which take a second each; `test_screenshots` has them."""
    monkeypatch.setattr(html, "_vega", lambda: "")


def fitted(pictures, **options):
    return normals.small(upland.ImageEnergyDetector, **{"epochs": 20} | options).fit(pictures)


@pytest.fixture(scope="module")
def detector():
    return fitted(slopes(120))


def spoilt(count=30, seed=7):
    """Normal images, and one with a bright patch."""
    pictures = slopes(count, seed=seed)
    pictures[11][PATCH] = 255
    return pictures


def section(page, *titles):
    return next(part for part in page.sections if part.title in titles)


def pictures_of(page, *titles):
    return next(part for part in section(page, *titles).parts if isinstance(part, Gallery)).pictures


def table(page):
    return next(part for part in section(page, "Images").parts if isinstance(part, Table))


def opened(png):
    with PIL.Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA")).astype(int)


def test_the_fault_is_found_from_the_page_alone(detector):
    found = report(detector, spoilt())
    page = found.page
    assert "image 11" in page.summary[1]
    (worst, *_) = pictures_of(page, "The most anomalous images")
    assert worst.caption.startswith("image 11: score ")
    np.testing.assert_array_equal(opened(worst.png)[:, :, 0], spoilt()[11])
    heat = opened(worst.overlay)
    assert heat.shape[:2] == opened(worst.png).shape[:2]
    (explained,) = upland.explain(detector, spoilt()[11:12]).heat()
    cover = heat[:, :, 3].ravel()[np.argsort(explained, axis=None)]
    assert (np.diff(cover) >= 0).all()  # more heat is never covered less
    assert cover[-1] > 200
    assert cover[0] < 20
    rows, columns = (set(range(*map(int, text.split("-")))) for text in _sides(table(page).rows[0][1][0]))
    assert rows & {2, 3}
    assert columns & {4, 5}
    check_page(found.html)


def _sides(region):
    """The numbers in `rows 2-3, columns 4-5 (60%)`."""
    first, second = region.split(" (")[0].split(", ")
    return first.removeprefix("rows "), second.removeprefix("columns ")


def test_the_page_agrees_with_the_detector(detector):
    pictures = spoilt()
    scores, p_values = detector.assess(pictures)
    found = report(detector, pictures)
    assert (found.count, found.flagged) == (30, int((p_values <= 0.05).sum()))
    shown = {row[0]: row[2:] for row in table(found.page).rows}
    for name, (score, p_value, flagged) in shown.items():
        number = int(name.split()[1])
        assert (score, p_value) == (scores[number], p_values[number])
        assert flagged == ("yes" if p_value <= 0.05 else "no")
    listed = [row[2] for row in table(found.page).rows]
    assert listed == sorted(listed, reverse=True)
    assert max(scores) == listed[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_depth_have_pictures_of_8_bits(dtype, channels):
    shades = slopes(40, channels=channels).astype(np.float64)
    pictures = shades > 120 if dtype == "bool" else (shades * (200 if dtype == "uint16" else 1)).astype(dtype)
    found = report(fitted(pictures, epochs=1), pictures, alpha=0.5)
    for picture in pictures_of(found.page, "The most anomalous images", "The images with the highest scores"):
        values = opened(picture.png)
        assert values.shape[:2] == pictures.shape[1:3]
        assert values[:, :, :3].max() > values[:, :, :3].min()
    check_page(found.html)


def test_one_image(detector):
    found = report(detector, slopes(1, seed=3))
    assert found.count == 1
    assert "1 image" in found.page.summary[0] or found.page.summary[0].startswith("The image is not flagged")
    assert not any(part.title == "Normal images" for part in found.page.sections)
    check_page(found.html)


def test_all_and_none_flagged(detector):
    every = report(detector, 255 - slopes(40) // 8)
    assert every.flagged == 40
    assert "40 of 40 images (100.0%) are flagged" in every.page.summary[0]
    assert len(pictures_of(every.page, "The most anomalous images")) == PICTURES
    assert not any(part.title == "Normal images" for part in every.page.sections)
    none = report(detector, slopes(40, seed=5), alpha=1e-9)
    assert none.page.summary[0].startswith("None of the 40 images is flagged")
    assert section(none.page, "The images with the highest scores")
    assert len(pictures_of(none.page, "Normal images")) == NORMAL
    for found in (every, none):
        check_page(found.html)


def test_normal_images_stay_pale(detector):
    page = report(detector, spoilt()).page
    worst = opened(pictures_of(page, "The most anomalous images")[0].overlay)[:, :, 3]
    for picture in pictures_of(page, "Normal images"):
        assert opened(picture.overlay)[:, :, 3].max() < worst.max()


def test_names_of_files_are_text(detector, tmp_path):
    for number, picture in enumerate(spoilt(14)):
        name = HOSTILE if number == 11 else f"{number}.png"
        PIL.Image.fromarray(picture).save(tmp_path / name, format="PNG")
    found = report(detector, tmp_path)
    assert pictures_of(found.page, "The most anomalous images")[0].caption.startswith(HOSTILE)
    assert HOSTILE in check_page(found.html).text


@pytest.mark.parametrize("asked", ["by", "time"])
def test_groups_and_times_are_of_tables(detector, asked):
    with pytest.raises(ValueError, match="rows of a table, and the model is of images"):
        report(detector, slopes(3), **{asked: "site"})


def test_only_those_that_are_shown_are_explained(detector, monkeypatch):
    explained = []
    each = images._each
    monkeypatch.setattr(images, "_each", lambda rows, found: explained.append(rows.size) or each(rows, found))
    report(detector, np.concatenate([255 - slopes(40) // 8, slopes(400, seed=9)]), top=10)
    assert sum(explained) == 10 + NORMAL


def test_pictures_of_large_images_are_few_bytes_together():
    generator = np.random.default_rng(0)
    small = []
    for number in range(PICTURES + NORMAL):
        noise = generator.integers(0, 256, (600, 400, 3), dtype=np.uint8)
        heat = generator.random((600, 400))
        small.append(Small(number, reduced_pixels(noise, SIDES[0]), reduced_heat(heat, SIDES[0]), []))
    values = np.ones(len(small))
    found = SimpleNamespace(name=lambda number: f"image {number}", scores=values, p_values=values)
    pictures = images._pictures(found, small, 1.0)
    sides = {opened(part).shape[:2] for one in pictures for part in (one.png, one.overlay)}
    assert sides in [{(side, round(side / 1.5))} for side in SIDES]
    assert sum(len(one.png) + len(one.overlay) for one in pictures) <= MOST
