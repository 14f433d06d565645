"""`upland refine`: labelled rows from a file, in the words of the command line."""

import pytest

import upland as library
from plant import HEADER, pump_rows, write_csv
from upland.io.formats import open_source

LABELS = [1] * 6 + [0] * 20


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A folder with a model of the default's and labelled rows, of which six are broken; read only."""
    folder = tmp_path_factory.mktemp("refine")
    write_csv(folder / "normal.csv", pump_rows(600, seed=0))
    library.save(
        library.EnergyDetector(random_state=0, progress=False).fit(folder / "normal.csv"),
        folder / "model.safetensors",
    )
    for name, labels in {"labelled": LABELS, "words": ["yes"] * 6 + ["no"] * 20, "normals": [0] * 26}.items():
        rows = pump_rows(6, seed=2, shift=3.0) + pump_rows(20, seed=1)
        write_csv(
            folder / f"{name}.csv",
            [[*row, label] for row, label in zip(rows, labels, strict=True)],
            [*HEADER, "broken"],
        )
    return folder


def test_a_refined_model_is_that_of_the_library(works, tmp_path, upland_json):
    target = tmp_path / "refined.safetensors"
    found = upland_json(
        "refine", works / "model.safetensors", works / "labelled.csv", "--label", "broken", "-o", target
    )
    rows = open_source(works / "labelled.csv").read()
    expected = library.load(works / "model.safetensors").refine(rows.drop_columns(["broken"]), LABELS)
    refined = library.load(target)
    assert (refined.anomaly_score(rows) == expected.anomaly_score(rows)).all()
    assert (refined.p_values(rows) == expected.p_values(rows)).all()
    assert found["info"]["refinement"][0]["anomalies"] == 6
    assert found["info"]["calibration"]["rows"] < 120


def test_in_place_and_said_by_info(works, tmp_path, upland):
    model = tmp_path / "model.safetensors"
    model.write_bytes((works / "model.safetensors").read_bytes())
    assert "refinement" not in upland("info", model).out
    done = upland("refine", model, works / "labelled.csv", "--label", "broken", "--in-place")
    assert done.code == 0, done.err
    assert "anomalies 6, normals 20" in " ".join(upland("info", model).out.split())


@pytest.mark.parametrize(
    ("data", "label", "words"),
    [
        ("words", "broken", "labels must be 1 for anomalies and 0 for normal rows; row 1 has 'yes'"),
        ("normals", "broken", "no row is labelled an anomaly: label one with 1 at least"),
        ("labelled", "fault", "there is no column 'fault' of labels; the table has 'flow'"),
        ("labelled", HEADER[0], f"is a feature of this detector: fit with --ignore {HEADER[0]}"),
    ],
)
def test_labels_that_are_none_are_refused(works, tmp_path, upland, data, label, words):
    target = tmp_path / "refined.safetensors"
    done = upland(
        "refine", works / "model.safetensors", works / f"{data}.csv", "--label", label, "-o", target
    )
    assert done.code == 1
    assert words in done.words
    assert not target.exists()


def test_other_models_are_refused_and_the_advice_works(works, tmp_path, upland):
    flow, energy, target = (tmp_path / f"{name}.safetensors" for name in ("flow", "energy", "refined"))
    given = (works / "labelled.csv", "--label", "broken", "-o", target)
    assert upland("fit", works / "normal.csv", "-o", flow, "--model", "flow", "--epochs", "1", "-q").code == 0
    done = upland("refine", flow, *given)
    assert done.code == 1
    assert "the model is a flow" in done.words
    assert "fit a table with --model energy" in done.words
    assert upland("fit", works / "normal.csv", "-o", energy, "--model", "energy", "-q").code == 0
    assert upland("refine", energy, *given).code == 0


def test_where_it_goes_must_be_said(works, tmp_path, upland):
    done = upland("refine", works / "model.safetensors", works / "labelled.csv", "--label", "broken")
    assert done.code == 2
    assert "either -o FILE or --in-place" in done.words


def test_models_of_segments_are_refused_and_the_advice_works(works, tmp_path, upland):
    rows = pump_rows(600, seed=0)
    write_csv(
        tmp_path / "normal.csv",
        [[*row, number % 2] for number, row in enumerate(rows)],
        [*HEADER, "hall"],
    )
    model, target = tmp_path / "halls.safetensors", tmp_path / "refined.safetensors"
    labelled = pump_rows(6, seed=2, shift=3.0) + pump_rows(20, seed=1)
    write_csv(
        tmp_path / "labelled.csv",
        [[*row, number % 2, label] for number, (row, label) in enumerate(zip(labelled, LABELS, strict=True))],
        [*HEADER, "hall", "broken"],
    )
    given = (model, tmp_path / "labelled.csv", "--label", "broken", "-o", target)
    assert upland("fit", tmp_path / "normal.csv", "-o", model, "--by", "hall", "-q").code == 0
    done = upland("refine", *given)
    assert done.code == 1
    assert "a detector of segments cannot be refined: fit a model without --by" in done.words
    assert not target.exists()
    assert upland("fit", tmp_path / "normal.csv", "-o", model, "--overwrite", "-q").code == 0
    assert upland("refine", *given).code == 0
