"""What the library advises, in Python's form from Python and as options from the command line."""

import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland as library
from plant import HEADER, pump_rows, ramps, waves, write_csv

FAST = ("--epochs", "1", "--calibration", "split")


def table(column, *values, count=300):
    rows = [[*row, values[n % len(values)]] for n, row in enumerate(pump_rows(count, 4))]
    return lambda path: write_csv(path.with_suffix(".csv"), rows, [*HEADER, column])


def empty_column(path):
    return write_csv(path.with_suffix(".csv"), [[a, "", c, d] for a, _, c, d in pump_rows(40, 4)])


def stray_text(path):
    rows = pump_rows(40, 4)
    rows[3][0] = "n.a."
    return write_csv(path.with_suffix(".csv"), rows)


def lists(path):
    target = path.with_suffix(".parquet")
    pq.write_table(pa.table({"flow": [1.0, 2.0, 3.0], "spectrum": [[1], [2], [3]]}), target)
    return target


def array(*shape):
    def make(path):
        np.save(path.with_suffix(".npy"), waves(shape[0], 0)[:, : shape[1]])
        return path.with_suffix(".npy")

    return make


def one_series(steps):
    def make(path):
        np.save(path.with_suffix(".npy"), np.arange(float(steps))[:, None])
        return path.with_suffix(".npy")

    return make


def images(*pixels):
    def make(path):
        Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
        path.mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(path / f"{number}.png")
        return path

    return make


GREY, SMALL = ramps(2, seed=0), np.full((5, 5), 9, np.uint8)
COLOUR = np.zeros((12, 12, 3), np.uint8)

# data, arguments, what Python says, what the command line says
TO_FIT = {
    "label": (
        table("label", "normal", "attack"),
        {},
        "ignore=['label'] leaves it out; categorical=['label'] uses it",
        "--ignore label leaves it out; --categorical label uses it",
    ),
    "free text": (
        table("my note", *(f"seen by {n}" for n in range(300))),
        {},
        "ignore=['my note'] leaves it out; categorical=['my note'] uses it",
        "--ignore 'my note' leaves it out; --categorical 'my note' uses it",
    ),
    "no value": (empty_column, {}, "leave it out (ignore=['pressure'])", "leave it out (--ignore pressure)"),
    "mixture": (stray_text, {}, "name it, categorical=['flow']", "name it, --categorical flow"),
    "type": (lists, {}, "leave it out (ignore=['spectrum'])", "leave it out (--ignore spectrum)"),
    "time": (table("t", 1), {"time": "hour"}, "time='hour' names a column", "--time hour names a column"),
    "id": (table("t", 1), {"id": "my pump"}, "id='my pump' names a column", "--id 'my pump' names a column"),
    "stride": (
        array(20, 12),
        {"window": 4, "stride": 5},
        "stride=5 must not exceed window=4",
        "--stride 5 must not exceed --window 4",
    ),
    "stride alone": (array(110, 12), {"stride": 2}, "stride=2 needs a window", "--stride 2 needs a window"),
    "long stride": (
        one_series(400),
        {"modality": "sequence", "stride": 50},
        "stride=50 exceeds the window of 40 steps",
        "--stride 50 exceeds the window of 40 steps",
    ),
    "long window": (array(20, 12), {"window": 99}, "window=99 is longer", "--window 99 is longer"),
    "few windows": (
        one_series(20),
        {"modality": "sequence", "window": 20},
        "windows with window=20: window=4 would do",
        "windows with --window 20: --window 4 would do",
    ),
    "sizes": (
        images(GREY[0], SMALL),
        {},
        "size=(H, W) resizes them, as size=(12, 12)",
        "--size HxW resizes them, as --size 12x12",
    ),
    "colours": (
        images(GREY[0], COLOUR),
        {},
        "mode='grey' or mode='rgb' converts them",
        "--mode grey or --mode rgb converts them",
    ),
    "criterion of kept rows": (
        table("load", 1, 2, count=8),
        {"family": "flow", "criterion": "divergence"},
        "use criterion='likelihood' to do without",
        "use --criterion likelihood to do without",
    ),
    "a counter": (
        table("number", *range(300)),
        {},
        "leave it out (ignore=['number'])",
        "leave it out (--ignore number)",
    ),
}


def said_in_python(data, family="energy", **arguments):
    """The error of a fit, or its warnings."""
    whole = np.load(data) if data.suffix == ".npy" else data
    options = {"calibration": "split", "epochs": 1, "progress": False, **arguments}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            library.detector_for(whole, family, **options).fit(whole)
        except (TypeError, ValueError) as error:
            return str(error)
    return " ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("case", TO_FIT)
def test_what_a_fit_advises(case, tmp_path, upland):
    make, arguments, python, shell = TO_FIT[case]
    data = make(tmp_path / "data")
    assert python in said_in_python(data, **arguments)
    options = [text for name, value in arguments.items() for text in (f"--{name}", value)]
    options = ["--model" if text == "--family" else text for text in options]
    assert shell in upland("fit", data, "-o", tmp_path / "m", *FAST, *options).words


@pytest.mark.parametrize(
    ("pixels", "python", "shell"),
    [
        ([SMALL], "a fit with size=(12, 12) resizes", "a fit with --size 12x12 resizes"),
        ([COLOUR], "a fit with mode='grey' converts", "a fit with --mode grey converts"),
    ],
)
def test_what_scoring_images_advises(pixels, python, shell, pictures, tmp_path, upland):
    data, model = images(*pixels)(tmp_path / "data"), pictures / "model.safetensors"
    with pytest.raises(ValueError) as refused:
        library.load(model).anomaly_score(data)
    assert python in str(refused.value)
    assert shell in upland("score", model, data).words


@pytest.mark.parametrize(
    ("name", "by", "statistic", "python", "shell"),
    [
        ("energy", "a", "auto", "fit with ignore=['a'] to name", "fit with --ignore a to name"),
        ("forgetful", "shift", "auto", "fit with keep_rows above", "fit with --keep-rows above"),
        (
            "energy",
            "shift",
            "divergence",
            "fit with a FlowDetector or a VAEDetector, or use one of the statistics 'auto'",
            "fit with --model flow or --model vae, or use one of the statistics 'auto'",
        ),
    ],
)
def test_what_a_test_of_groups_advises(name, by, statistic, python, shell, works, upland):
    model = works / f"{name}.safetensors"
    with pytest.raises((ValueError, TypeError)) as refused:
        library.load(model).score_groups(works / "new.csv", by, statistic=statistic)
    assert python in str(refused.value)
    assert shell in upland("groups", model, works / "new.csv", "--by", by, "--statistic", statistic).words


@pytest.mark.filterwarnings("ignore:time steps depend on each other")
def test_what_groups_of_steps_advise(tmp_path, upland):
    data = array(40, 12)(tmp_path / "normal")
    np.save(tmp_path / "labels.npy", np.repeat(["a", "b"], 20))
    assert upland("fit", data, "-o", tmp_path / "m", "--per", "step", *FAST, "-q").code == 0
    with pytest.raises(ValueError, match="fit with per='sequence'"):
        library.load(tmp_path / "m").score_groups(np.load(data), np.load(tmp_path / "labels.npy"))
    done = upland("groups", tmp_path / "m", data, "--by", tmp_path / "labels.npy")
    assert "fit with --per sequence" in done.words
