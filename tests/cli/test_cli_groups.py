"""Groups on the command line: a line for each, what stands out in it, and every way to ask in vain."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import upland as library
from plant import SHIFTS, related, shifts, waves


@pytest.mark.parametrize("model", ["energy", "flow", "vae"])
def test_the_broken_shift_is_found(works, tmp_path, upland, model):
    done = upland("groups", works / f"{model}.safetensors", works / "new.csv", "--by", "shift")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    named = [line for line in lines if line and line[0].rstrip("*") in SHIFTS]
    assert [line[0] for line in named] == ["early", "late", "night", "broken*"]
    assert named[3][1] == "40"
    assert "dependence: " in done.out
    assert "1 of 4 shifts is anomalous (false discovery rate 5 %)" in done.words
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_flow_names_the_columns(works, upland_json):
    document = upland_json("groups", works / "flow.safetensors", works / "new.parquet", "--by", "shift")
    assert (document["groups"], document["flagged"], document["alpha"], document["control"]) == (
        4,
        1,
        0.05,
        "fdr",
    )
    assert document["kept_rows"] == 200
    broken = document["verdicts"][3]
    assert [verdict["group"] for verdict in document["verdicts"]] == SHIFTS
    assert (broken["group"], broken["size"], broken["is_anomaly"]) == ("broken", 40, True)
    assert broken["reason"] == "dependence"
    assert set(broken["columns"][:2]) == {"a", "b"}
    assert broken["smallest_p"] <= broken["p_value"] <= 0.05


def test_it_equals_the_library(works, tmp_path, upland):
    options = ("--by", "shift", "--statistic", "typicality", "--control", "false_alarm", "--alpha", "0.1")
    for name in ("g.csv", "g.parquet", "g.arrow"):
        done = upland(
            "groups", works / "energy.safetensors", works / "new.parquet", *options, "-o", tmp_path / name
        )
        assert done.code == 0, done.err
        assert f"wrote {tmp_path / name}" in done.words
    detector = library.load(works / "energy.safetensors")
    by_hand = detector.score_groups(shifts(), "shift", 0.1, "false_alarm", "typicality")
    written = pq.read_table(tmp_path / "g.parquet")
    assert written.column_names[:6] == ["group", "size", "statistic", "p_value", "is_anomaly", "reason"]
    assert written["group"].to_pylist() == list(by_hand.group)
    for name, field in {
        "size": "size",
        "p_value": "p_value",
        "is_anomaly": "flag",
        "reason": "reason",
    }.items():
        np.testing.assert_array_equal(written[name], getattr(by_hand, field))
    assert csv.read_csv(tmp_path / "g.csv")["group"].to_pylist() == SHIFTS


def test_of_many_groups_the_most_anomalous_are_shown(works, upland):
    done = upland("groups", works / "energy.safetensors", works / "new.csv", "--by", "shift", "--top", "1")
    assert done.code == 0, done.err
    assert "broken*" in done.out
    assert "early" not in done.out
    assert "the 1 most anomalous of 4, worst first" in done.words


def test_the_exit_code_tells(works, tmp_path, upland):
    model = works / "energy.safetensors"
    done = upland("groups", model, works / "new.csv", "--by", "shift", "--fail-on-anomaly", "-q")
    assert (done.code, done.out) == (10, "")
    csv.write_csv(shifts().slice(0, 80), tmp_path / "fine.csv")
    done = upland("groups", model, tmp_path / "fine.csv", "--by", "shift", "--fail-on-anomaly")
    assert done.code == 0, done.err
    assert "0 of 2 shifts are anomalous" in done.words


def test_an_output_is_not_replaced_unasked(works, tmp_path, upland):
    target = tmp_path / "g.csv"
    target.write_text("another")
    asked = ("groups", works / "energy.safetensors", works / "new.csv", "--by", "shift", "-o", target)
    done = upland(*asked)
    assert (done.code, target.read_text()) == (3, "another")
    assert upland(*asked, "--overwrite").code == 0
    assert csv.read_csv(target).num_rows == 4
    done = upland(*asked[:-1], works / "new.csv", "--overwrite")
    assert done.code == 3
    assert "is the input itself" in done.words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["energy", "new.csv", "--by", "crew"], "there is no column 'crew' to name groups by"),
        (["energy", "new.csv", "--by", "a"], "fit with --ignore a to name groups by it"),
        (
            ["energy", "new.csv", "--by", "shift", "--statistic", "divergence"],
            "fit with --model flow or --model vae",
        ),
        (["forgetful", "new.csv", "--by", "shift"], "fit with --keep-rows above"),
        (["energy", "nowhere.csv", "--by", "shift"], "nowhere.csv does not exist"),
    ],
)
def test_what_cannot_be_tested_is_said_in_one_sentence(works, upland, arguments, words):
    model, data, *options = arguments
    done = upland("groups", works / f"{model}.safetensors", works / data, *options)
    assert done.code == 1
    assert words in done.words
    assert len(done.err.strip().splitlines()) == 1
    done = upland("groups", works / f"{model}.safetensors", works / data, *options, "--json")
    assert words in json.loads(done.err)["error"]["message"]


@pytest.mark.parametrize("missing", ["", "NA"])
def test_rows_without_a_group_are_refused(works, tmp_path, upland, missing):
    text = (works / "new.csv").read_text().replace('"night"', missing)
    (tmp_path / "holes.csv").write_text(text)
    done = upland("groups", works / "energy.safetensors", tmp_path / "holes.csv", "--by", "shift")
    assert done.code == 1
    assert "40 of 160 rows have no group, the first is row 81" in done.words


def test_alpha_and_by_are_checked_first(works, upland):
    asked = ("groups", works / "energy.safetensors", works / "new.csv")
    done = upland(*asked, "--by", "shift", "--alpha", "5")
    assert (done.code, "--alpha must lie between 0 and 1" in done.words) == (2, True)
    done = upland(*asked)
    assert (done.code, "--by" in done.words) == (2, True)


def test_too_few_rows_to_compare_with(works, tmp_path, upland):
    csv.write_csv(pa.table(related(7, 0)), tmp_path / "few.csv")
    done = upland("fit", tmp_path / "few.csv", "-o", tmp_path / "m.safetensors", "--epochs", "2", "-q")
    assert done.code == 0, done.err
    done = upland("groups", tmp_path / "m.safetensors", works / "new.csv", "--by", "shift")
    assert done.code == 1
    assert "normal rows are kept" in done.words


def test_groups_of_one_cannot_be_flagged_by_few_rows_and_that_is_said(works, tmp_path, upland):
    numbered = shifts().append_column("part", pa.array(range(160)))
    csv.write_csv(numbered, tmp_path / "parts.csv")
    asked = ("groups", works / "energy.safetensors", tmp_path / "parts.csv", "--by", "part")
    done = upland(*asked, "--alpha", "0.001", "--control", "false_alarm")
    assert done.code == 0, done.err
    assert "160 of 160 groups cannot be flagged at alpha = 0.001" in done.words
    assert "0 of 160 parts are anomalous (false-alarm rate 0.1 %)" in done.words


def test_sequences(series, windows, tmp_path, upland, upland_json):
    done = upland("groups", series / "steps.safetensors", series / "new.csv", "--by", "pump")
    assert done.code == 1
    assert "groups of time steps are not tested" in done.words
    new = waves(40, seed=5)
    new[20:, :, 1] *= 1.6
    np.save(tmp_path / "new.npy", new)
    np.save(tmp_path / "labels.npy", np.repeat(["left", "right"], 20))
    asked = ("groups", windows / "model.safetensors", tmp_path / "new.npy", "--by")
    document = upland_json(*asked, tmp_path / "labels.npy")
    assert [verdict["group"] for verdict in document["verdicts"]] == ["left", "right"]
    assert document["verdicts"][1]["is_anomaly"]
    assert document["verdicts"][1]["reason"] is None
    done = upland(*asked, tmp_path / "labels.npy")
    assert "1 of 2 groups is anomalous" in done.words
    for by, words in {
        "pump": "there is no file pump",
        str(tmp_path / "new.npy"): "labels are (N,), one for each",
        str(series / "new.csv"): "labels are one column",
        str(windows / "normal.npy"): "labels are (N,), one for each",
    }.items():
        done = upland(*asked, by)
        assert done.code == 1
        assert words in done.words
    np.save(tmp_path / "short.npy", np.repeat(["left"], 20))
    assert "--by names 20" in upland(*asked, tmp_path / "short.npy").words


def test_groups_of_steps_are_counted_in_steps(series, tmp_path, upland, upland_json):
    model, names = tmp_path / "m", ("--time", "time", "--id", "pump", "--window", "16")
    fitted = upland(
        *("fit", series / "normal.csv", "-o", model, *names, "--model", "flow", "--epochs", "1"),
        *("--calibration", "split", "-q"),
    )
    assert fitted.code == 0, fitted.err
    asked = ("groups", model, series / "new.csv", "--by", "pump", "--alpha", "0.0001")
    done = upland(*asked)
    assert "steps" in done.out.split("p-value")[0]
    assert not any(word in done.words for word in ("sequences", " rows"))
    assert "normal steps kept to compare with" in done.words
    document = upland_json(*asked)
    assert (document["size_in"], document["verdicts"][0]["size"]) == ("steps", sizes_of(series / "new.csv"))


def sizes_of(path):
    """Rows of the first pump."""
    pumps = csv.read_csv(path).column("pump").to_pylist()
    return pumps.count(pumps[0])


def test_folders_of_images_are_groups(pictures, tmp_path, upland, upland_json):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    normal = [np.asarray(Image.open(path)) for path in sorted((pictures / "normal").iterdir())]
    for name, images in {"left": normal[:8], "right": [255 - image for image in normal[8:16]]}.items():
        (tmp_path / "new" / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "new" / name / f"{number}.png")
    asked = ("groups", pictures / "model.safetensors", tmp_path / "new", "--by")
    document = upland_json(*asked, "folder")
    assert [(v["group"], v["size"]) for v in document["verdicts"]] == [("left", 8), ("right", 8)]
    assert document["verdicts"][1]["is_anomaly"]
    assert document["verdicts"][1]["columns"][0].split()[0] in ("top", "middle", "bottom")
    assert "folders" in upland(*asked, "folder").words
    assert "grouped by its sub-folders, --by folder" in upland(*asked, "site").words
    Image.fromarray(normal[0]).save(tmp_path / "new" / "loose.png")
    done = upland(*asked, "folder")
    assert done.code == 1
    assert "1 of 17 images lie in no sub-folder" in done.words


@pytest.mark.parametrize("name", ["flow", "vae"])
def test_every_command_takes_the_other_models(works, tmp_path, upland, upland_json, name):
    model = tmp_path / "m.safetensors"
    options = ("--model", name, "--criterion", "typicality", "--epochs", "2", "--keep-rows", "50")
    document = upland_json("fit", works / "normal.csv", "-o", model, *options)["info"]
    assert (
        document["detector"]
        == type(library.load(model)).__name__
        == f"{name.title()}Detector".replace("VaeD", "VAED")
    )
    assert document["criterion"] == "typicality"
    assert document["kept_rows"] == {"reference": 50, "held_out": 50}
    shown = upland("info", model).words
    assert "kept rows reference 50, held out 50" in shown
    assert "window" not in shown
    done = upland("score", model, works / "new.csv", "--why", "-o", tmp_path / "s.csv")
    assert done.code == 0, done.err
    assert csv.read_csv(tmp_path / "s.csv").num_rows == 160
    done = upland("calibrate", model, works / "new.csv", "-o", tmp_path / "r.safetensors")
    assert done.code == 0, done.err
    document = upland_json("info", tmp_path / "r.safetensors")
    assert document["kept_rows"]["held_out"] == 50
    assert document["calibration"]["rows"] == 160


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--model", "flow", "--criterion", "reconstruction"],
            "choose from likelihood, typicality, divergence, or take --model energy or vae",
        ),
        (["--model", "vae", "--criterion", "multiscale"], "choose from reconstruction, likelihood"),
        (["--criterion", "divergence"], "or take --model flow or vae"),
        (["--model", "vae", "--time", "a"], "--model vae reads tables and images"),
        (["--model", "vae", "--modality", "sequence"], "--model vae reads tables and images"),
        (["--model", "tree"], "--model"),
    ],
)
def test_options_that_do_not_go_with_a_model(works, tmp_path, upland, options, words):
    done = upland("fit", works / "normal.csv", "-o", tmp_path / "m", *options)
    assert done.code == 2
    assert words in done.words
    assert not (tmp_path / "m").exists()
