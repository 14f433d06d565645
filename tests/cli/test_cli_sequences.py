"""Long series and arrays on the command line: each step or each sequence, in the user's own order."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import upland as library
from upland.cli.rendering import _with_kind
from upland.cli.results import Finding
from upland.explanation import Reason
from upland.scoring.episodes import episodes_of, most_anomalous

FAST = ("--epochs", "2", "--calibration", "split")
LONG = ("--time", "time", "--id", "pump", "--window", "16")


# -- fit -----------------------------------------------------------------------------------------------------


def test_fit_on_a_long_table(series, tmp_path, upland_json, upland):
    model = tmp_path / "m"
    document = upland_json("fit", series / "normal.csv", "-o", model, *LONG, "--stride", "8", *FAST)["info"]
    assert (document["modality"], document["calibration"]["of"]) == ("sequence", "step")
    assert [column["name"] for column in document["columns"]] == ["flow", "pressure"]
    parameters = library.load(model).get_params()
    assert (parameters["time"], parameters["id"], parameters["window"], parameters["stride"]) == (
        "time",
        "pump",
        16,
        8,
    )
    shown = upland("info", model)
    for words in ("modality sequence", "window 16", "scores are of steps", "scored together", "windows"):
        assert words in shown.words
    assert "pool" not in shown.words


def test_fit_on_arrays_goes_by_their_shape(windows, tmp_path, upland_json):
    document = upland_json("fit", windows / "normal.npy", "-o", tmp_path / "m", *FAST)["info"]
    assert (document["modality"], document["calibration"]["of"]) == ("sequence", "sequence")
    np.save(tmp_path / "long.npy", np.sin(np.arange(200.0))[:, None])
    document = upland_json(
        "fit", tmp_path / "long.npy", "-o", tmp_path / "n", "--modality", "sequence", "--window", "20", *FAST
    )["info"]
    assert (document["modality"], document["calibration"]["of"]) == ("sequence", "step")


def test_fit_is_the_library_s_fit(series, tmp_path, upland):
    assert upland("fit", series / "normal.csv", "-o", tmp_path / "m", *LONG, *FAST, "-q").code == 0
    by_hand = library.SequenceEnergyDetector(
        time="time", id="pump", window=16, calibration="split", epochs=2, random_state=0, progress=False
    ).fit(series / "normal.csv")
    table = csv.read_csv(series / "new.csv")
    np.testing.assert_array_equal(
        library.load(tmp_path / "m").anomaly_score(table), by_hand.anomaly_score(table)
    )


# -- score: steps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_steps_come_back_in_the_rows_own_order(name, series, tmp_path, upland):
    detector, target = library.load(series / "steps.safetensors"), tmp_path / "s.parquet"
    done = upland("score", series / "steps.safetensors", series / name, "-o", target, "--why")
    assert done.code == 0, done.err
    scored, table = pq.read_table(target), pq.read_table(series / "new.parquet")
    assert scored.column_names == [*table.column_names, "anomaly_score", "p_value", "is_anomaly", "reason"]
    assert scored["pump"].to_pylist() == table["pump"].to_pylist()
    np.testing.assert_allclose(scored["anomaly_score"], detector.anomaly_score(table), rtol=1e-9)
    np.testing.assert_allclose(scored["p_value"], detector.p_values(table))
    np.testing.assert_array_equal(scored["is_anomaly"], detector.flag(table))
    explained = library.explain(detector, table).top(1)
    assert all(
        text.startswith(reasons[0].column)
        for text, reasons in zip(scored["reason"].to_pylist(), explained, strict=True)
    )


def test_every_cell_of_a_csv_stays_as_it_is(series, tmp_path, upland, monkeypatch):
    monkeypatch.setattr("upland.cli.sequences.AT_ONCE", 7)  # rows go by in many batches
    done = upland("score", series / "steps.safetensors", series / "new.csv", "-o", tmp_path / "s.csv")
    assert done.code == 0, done.err
    before = (series / "new.csv").read_text().replace('"', "").splitlines()
    after = (tmp_path / "s.csv").read_text().splitlines()
    assert [line.rsplit(",", 3)[0] for line in after] == before


def test_the_summary_names_the_pump_and_the_time(series, upland, upland_json):
    done = upland("score", series / "steps.safetensors", series / "new.csv", "--top", "3")
    assert done.code == 0, done.err
    assert "240 steps flagged" in done.out
    assert "episode" in done.out
    first = next(line for line in done.out.splitlines() if "*" in line)
    assert first.split()[0] == "b*"
    assert "2026-03-02 08:40" in first
    assert max(map(len, done.out.splitlines())) <= 80
    document = upland_json("score", series / "steps.safetensors", series / "new.csv", "--top", "3")
    assert (document["modality"], document["unit"], document["steps"], document["sequences"]) == (
        "sequence",
        "step",
        240,
        3,
    )
    worst = document["most_anomalous"][0]
    assert (worst["sequence"], worst["start"]) == ("b", "2026-03-02 08:40:00")
    assert "2026-03-02 08:49:00" <= worst["end"] <= "2026-03-02 08:54:00"
    assert worst["start"] <= worst["peak"] <= worst["end"]
    assert 10 <= worst["steps"] <= 15
    assert worst["reason"][0]["column"] in ("pressure", "flow")
    assert len(document["most_anomalous"]) == 3


@pytest.mark.parametrize(("control", "alpha"), [("false_alarm", 0.1), ("fdr", 0.6)])
def test_flags_are_those_of_the_library(control, alpha, series, tmp_path, upland_json):
    options = ("--control", control, "--alpha", alpha)
    document = upland_json(
        "score", series / "steps.safetensors", series / "new.parquet", "-o", tmp_path / "s.parquet", *options
    )
    detector = library.load(series / "steps.safetensors")
    flags = detector.flag(pq.read_table(series / "new.parquet"), alpha=alpha, control=control)
    np.testing.assert_array_equal(pq.read_table(tmp_path / "s.parquet")["is_anomaly"], flags)
    assert document["flagged"] == flags.sum() >= 8


def test_reasons_do_not_depend_on_what_else_is_explained(series, tmp_path, upland_json):
    few = upland_json("score", series / "steps.safetensors", series / "new.csv", "--top", "1")
    detector = library.load(series / "steps.safetensors")
    table = csv.read_csv(series / "new.csv")
    worst = few["most_anomalous"][0]
    row = (
        table["time"].to_pylist().index(next(t for t in table["time"].to_pylist() if str(t) == worst["peak"]))
    )
    rows = [
        n
        for n, (pump, time) in enumerate(
            zip(table["pump"].to_pylist(), table["time"].to_pylist(), strict=True)
        )
        if pump == worst["sequence"] and time == table["time"][row].as_py()
    ]
    expected = library.explain(detector, table).top(1)[rows[0]][0]
    assert worst["reason"][0]["column"] == expected.column
    np.testing.assert_allclose(worst["reason"][0]["share"], expected.share, rtol=1e-9)


def test_extra_columns_go_through_and_clashing_ones_are_refused(series, tmp_path, upland):
    table = csv.read_csv(series / "new.csv")
    csv.write_csv(table.append_column("note", pa.array(["x"] * table.num_rows)), tmp_path / "n.csv")
    once = tmp_path / "once.csv"
    done = upland("score", series / "steps.safetensors", tmp_path / "n.csv", "-o", once)
    assert done.code == 0
    assert "carried through: note" in done.words
    done = upland("score", series / "steps.safetensors", once, "-o", tmp_path / "twice.csv")
    assert done.code == 1
    assert "--replace-columns" in done.words
    done = upland("score", series / "steps.safetensors", once, "-o", tmp_path / "t.csv", "--replace-columns")
    assert done.code == 0
    assert (tmp_path / "t.csv").read_text() == once.read_text()


def test_one_long_array_comes_back_step_by_step(tmp_path, upland, upland_json):
    series = np.sin(np.arange(400) / 3)[:, None]
    np.save(tmp_path / "normal.npy", series[:300])
    new = series[300:].copy()
    new[60] = 4.0
    np.save(tmp_path / "new.npy", new)
    options = ("--modality", "sequence", "--window", "20", "--epochs", "60", "--criterion", "reconstruction")
    assert upland("fit", tmp_path / "normal.npy", "-o", tmp_path / "m", *options, "-q").code == 0
    document = upland_json("score", tmp_path / "m", tmp_path / "new.npy", "-o", tmp_path / "s.csv", "--why")
    scored = csv.read_csv(tmp_path / "s.csv")
    assert scored["step"].to_pylist() == list(range(100))
    worst = document["most_anomalous"][0]
    assert worst["sequence"] is None
    assert worst["start"] <= 60 <= worst["end"]
    assert int(np.argmax(scored["anomaly_score"])) == worst["peak"]


# -- score: whole sequences ----------------------------------------------------------------------------------


def test_each_sequence_of_an_array_has_one_row(windows, tmp_path, upland, upland_json):
    model = windows / "model.safetensors"
    document = upland_json(
        "score", model, windows / "new.npz", "-o", tmp_path / "s.csv", "--why", "--top", "2"
    )
    scored = csv.read_csv(tmp_path / "s.csv")
    assert scored.column_names == ["sequence", "anomaly_score", "p_value", "is_anomaly", "reason"]
    assert scored["sequence"].to_pylist() == list(range(10))
    np.testing.assert_allclose(
        scored["anomaly_score"], library.load(model).anomaly_score(np.load(windows / "new.npz")["x"])
    )
    assert (document["unit"], document["sequences"], document["extra_columns"]) == ("sequence", 10, [])
    worst = document["most_anomalous"][0]
    assert (worst["sequence"], worst["reason"][0]["column"]) == (9, "x1 at 7")
    assert scored["reason"][9].as_py().startswith("x1 at 7")
    done = upland("score", model, windows / "new.npz", "--top", "2")
    assert "of 10 sequences flagged" in done.words
    assert " 9*" in f" {done.out}"


def test_per_sequence_of_a_long_table(series, tmp_path, upland, upland_json):
    model = series / "whole.safetensors"
    document = upland_json("score", model, series / "new.csv", "-o", tmp_path / "s.csv", "--why")
    scored = csv.read_csv(tmp_path / "s.csv")
    assert sorted(scored["pump"].to_pylist()) == ["a", "b", "c"]
    worst = document["most_anomalous"][0]
    assert (document["unit"], worst["sequence"]) == ("sequence", "b")
    assert " at 2026-03-02T08:4" in worst["reason"][0]["column"]


def test_calibrate_takes_sequences(series, windows, tmp_path, upland):
    for folder, model, fresh in (
        (series, "steps.safetensors", "normal.csv"),
        (windows, "model.safetensors", "normal.npy"),
    ):
        target = tmp_path / model
        done = upland("calibrate", folder / model, folder / fresh, "-o", target)
        assert done.code == 0, done.err
        old, new = library.load(folder / model), library.load(target)
        assert new.calibration_.size > old.calibration_.size
        assert new.calibration_.method == "split"


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "code", "words"),
    [
        ("series/normal.csv", ("--time", "hour"), 1, "'hour' names a column that is not in the table"),
        ("series/normal.csv", ("--time", "hour"), 1, "--time hour"),
        ("series/normal.csv", ("--time", "time"), 1, "name the column that identifies sequences"),
        ("series/normal.csv", ("--window", "9"), 2, "name its time column with --time"),
        ("series/normal.csv", ("--modality", "table", "--id", "pump"), 2, "say --modality sequence"),
        (
            "series/normal.csv",
            ("--modality", "image"),
            2,
            "a file of rows, --modality table or --modality sequence does",
        ),
        ("series/normal.csv", ("--size", "8x8"), 2, "--size is for images"),
        ("series/normal.csv", (*LONG, "--stride", "17"), 1, "--stride 17 must not exceed --window 16"),
        ("series/normal.csv", (*LONG[:4], "--window", "999"), 1, "--window 999 is longer"),
        ("windows/normal.npy", ("--time", "t"), 2, "an array: leave --time out"),
        ("windows/normal.npy", ("--modality", "table"), 2, "--modality sequence or --modality image does"),
        ("windows/absent.npy", (), 1, "does not exist"),
        ("windows/absent.npy", ("--size", "8by8"), 2, "such as 28x28"),
        ("windows/flat.npy", (), 1, "say --modality sequence if it is one long series of 9 steps"),
    ],
)
def test_fit_refuses_what_does_not_go_together(name, options, code, words, series, windows, tmp_path, upland):
    folder, file = name.split("/")
    place = tmp_path if file == "flat.npy" else {"series": series, "windows": windows}[folder]
    np.save(tmp_path / "flat.npy", np.zeros((9, 2)))
    if words.startswith("'hour'"):
        words = "hour names a column that is not in the table"
    done = upland("fit", place / file, "-o", tmp_path / "m", *FAST, *options)
    assert done.code == code, done.words
    assert words in done.words
    assert len([line for line in done.err.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "m").exists()


def test_score_refuses_data_of_another_kind(series, windows, plant, tmp_path, upland):
    done = upland("score", series / "steps.safetensors", tmp_path)
    assert (done.code, "the model is of sequences" in done.words) == (1, True)
    done = upland("score", series / "steps.safetensors", windows / "new.npz", "--maps", tmp_path / "h")
    assert (done.code, "--maps is for images" in done.words) == (2, True)
    done = upland("score", plant / "pump.safetensors", windows / "new.npz")
    assert (done.code, "the model is of tables, but" in done.words) == (1, True)
    assert upland("score", series / "steps.safetensors", tmp_path / "absent.npy").code == 1
    twice = csv.read_csv(series / "new.csv")
    csv.write_csv(pa.concat_tables([twice, twice.slice(0, 1)]), tmp_path / "twice.csv")
    done = upland("score", series / "steps.safetensors", tmp_path / "twice.csv", "--json")
    assert done.code == 1
    assert "2 rows have the time stamp" in json.loads(done.err)["error"]["message"]


# -- episodes ------------------------------------------------------------------------------------------------


def test_neighbouring_flags_of_one_sequence_are_one_episode():
    scores = np.array([0, 5, 9, 1, 0, 0, 0, 3, 3, 0.0])
    owners = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    found = episodes_of(scores > 2, owners, scores)
    assert [part.tolist() for part in found] == [[1, 7, 8], [2, 7, 8], [2, 7, 8]]
    assert episodes_of(scores > 99, owners, scores).peaks.size == 0


def test_a_gap_of_a_few_steps_does_not_part_an_episode():
    flags = np.array([1, 0, 0, 1, 0, 0, 0, 1], dtype=bool)
    found = episodes_of(flags, np.zeros(8, dtype=int), np.arange(8.0))
    assert [part.tolist() for part in found] == [[0, 7], [3, 7], [3, 7]]


def test_quiet_steps_fill_up_and_keep_their_distance():
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0.0])
    owners = np.zeros(10, dtype=int)
    worst = most_anomalous(episodes_of(scores > 8, owners, scores), owners, scores, 3)
    assert worst.peaks.tolist() == [0, 4, 8]
    assert most_anomalous(episodes_of(scores > 8, owners, scores), owners, scores, 1).peaks.tolist() == [0]
    other = most_anomalous(episodes_of(scores > 8, owners, scores), np.arange(10), scores, 3)
    assert other.peaks.tolist() == [0, 1, 2]


# -- p-values of episodes ------------------------------------------------------------------------------------


def test_episodes_have_the_p_values_of_the_library(series, upland_json, upland):
    model, data = series / "steps.safetensors", series / "new.csv"
    document = upland_json("score", model, data, "--top", "4", "--alpha", "0.1")
    detector = library.load(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = library.episodes(detector, csv.read_csv(data), alpha=0.1)
    shown = [one for one in document["most_anomalous"] if one["is_anomaly"]]
    assert len(shown) == min(len(found), 4)
    for one, expected in zip(shown, found.worst(4), strict=True):
        assert (one["sequence"], one["steps"], one["p_value"]) == (
            expected.series,
            expected.steps,
            expected.step_p_value,
        )
        assert one["episode_p_value"] == expected.p_value
        assert one["confidence"] == expected.confidence
        assert one["expected_false"] == expected.expected_false
        assert [part["column"] for part in one["channels"]] == [part.column for part in expected.channels]
        assert one["kind"] == expected.kind
        assert [part["part"] for part in one["channels"]] == pytest.approx(
            [part.part for part in expected.channels]
        )
    blocks = document["blocks"]
    assert (blocks["length"], blocks["searched"]) == (detector.blocks_.length, found.searched)
    done = upland("score", model, data, "--top", "2")
    assert f"{detector.blocks_.count} held-out block" in done.words
    assert "episode's" in done.out


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("flow", "flow: level shift\nflow 60% (9, expected 1)"),
        ("vib", "flow 60% (9, expected 1)\nof the whole episode vib 52%: level shift"),
    ],
)
def test_a_kind_is_said_of_the_channel_of_its_episode(first, words):
    reasons = (Reason("flow", 6.0, 0.6, 9.0, 1.0),)
    details = {"channels": [{"column": first, "part": 0.52}], "kind": "level shift"}
    found = Finding("m1", 6.0, 0.01, True, reasons, details)
    assert "\n".join(_with_kind(found, ["flow 60% (9, expected 1)"])) == words


def test_a_level_by_blocks_bounds_false_alarms(series, upland_json, upland):
    model, data = series / "steps.safetensors", series / "new.csv"
    document = upland_json("alarms", model, data, "--budget", "200 per 1000", "--by-blocks")
    detector = library.load(model)
    found = library.alarms(detector, csv.read_csv(data), merge=detector.blocks_.length)
    assert document["alpha"] == found.within("200 per 1000", by="blocks").alpha
    assert document["rule"] == found.rule
    assert document["false_alarms_by_blocks"] == found.false_alarms(document["alpha"])
    done = upland("alarms", model, data, "--budget", "200 per 1000", "--by-blocks")
    assert "falsely flagged steps: " in done.words
    assert "false alarms: " not in done.words
    assert "false alarms by" in done.words
    assert "where those at most a block apart count once" in done.words
    done = upland("alarms", model, data, "--by-blocks")
    assert done.code == 2
    assert "--by-blocks says how a --budget chooses" in done.err.replace("\n", " ")
