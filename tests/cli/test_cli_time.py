"""Context columns, the calendar and sampling on the command line."""

import re

import numpy as np
import pandas as pd
import pytest

from upland.cli import long_series

FAST = ("--epochs", "2", "--calibration", "split", "--window", "20", "-q")


def plant(path, count=400, step="5min", seed=0):
    rng = np.random.default_rng(seed)
    set_point = np.repeat(rng.choice([20.0, 30.0], count // 20 + 1), 20)[:count]
    times = pd.date_range("2026-03-02", periods=count, freq=step)
    columns = {"time": times, "set_point": set_point, "flow": set_point + rng.normal(0, 0.3, count)}
    pd.DataFrame(columns | {"power": rng.normal(size=count)}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("time") / "normal.csv")


def test_what_info_says_of_a_flow_of_steps(data, tmp_path, upland):
    options = ("--time", "time", "--context", "set_point", "--calendar", "--model", "flow")
    options += ("--smoothing", "7")
    assert upland("fit", data, "-o", tmp_path / "m", *options, "--keep-rows", "50", *FAST).code == 0
    words = upland("info", tmp_path / "m").words
    assert "context (set_point), calendar True" in words
    assert "smoothing 7" in words
    assert re.search("kept steps reference [1-9][0-9]*, held out [1-9]", words)
    assert "prior" not in words
    plain = upland("fit", data, "-o", tmp_path / "n", "--time", "time", "--context", "set_point", *FAST)
    assert plain.code == 0
    assert not any(word in upland("info", tmp_path / "n").words for word in ("prior", "kept"))


def test_context_is_named_in_the_model_and_never_in_reasons(data, tmp_path, upland):
    model, new = tmp_path / "m", plant(tmp_path / "new.csv", seed=1)
    options = ("--time", "time", "--context", "set_point", "--calendar", "--smoothing", "5")
    assert upland("fit", data, "-o", model, *options, *FAST).code == 0
    assert "smoothing 5" in upland("info", model).words
    assert "1 numeric context: set_point" in upland("info", model).words
    done = upland("score", model, new, "-o", tmp_path / "scored.csv", "--why")
    assert done.code == 0
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert list(scored.columns[:4]) == ["time", "set_point", "flow", "power"]
    assert not scored["reason"].str.contains("set_point").any()
    assert scored["reason"].str.contains(r"expected -?[\d.]+ to -?[\d.]+").all()


def test_another_sampling_than_that_of_the_fit_is_said(data, tmp_path, upland):
    model, slower = tmp_path / "m", plant(tmp_path / "slower.csv", step="15min")
    assert upland("fit", data, "-o", model, "--time", "time", *FAST).code == 0
    assert "typically 15 min apart, those of the fit were 5 min" in upland("score", model, slower).words


@pytest.mark.parametrize("regular", [True, False], ids=["regular", "irregular"])
def test_it_is_said_of_long_files_and_of_irregular_steps_too(regular, data, tmp_path, upland, monkeypatch):
    monkeypatch.setattr(long_series, "LONG", 1)
    monkeypatch.setattr(long_series, "LONG_TEXT", 1)
    model, rows = tmp_path / "m", pd.read_csv(data)
    if not regular:
        seconds = np.random.default_rng(0).exponential(300, len(rows)).cumsum().round(3)
        rows["time"] = pd.Timestamp("2026-03-02") + pd.to_timedelta(seconds, unit="s")
    rows.to_csv(tmp_path / "fit.csv", index=False)
    plant(tmp_path / "slower.csv", step="90min")
    assert upland("fit", tmp_path / "fit.csv", "-o", model, "--time", "time", *FAST).code == 0
    words = upland("score", model, tmp_path / "slower.csv").words
    those = "5 min:" if regular else "between "
    assert words.count(f"typically 1.5 h apart, those of the fit were {those}") == 1
    assert "apart" not in upland("score", model, tmp_path / "fit.csv").words


@pytest.mark.parametrize("option", [("--context", "flow"), ("--calendar",), ("--smoothing", "4")])
def test_they_are_options_of_sequences(option, data, tmp_path, upland):
    done = upland("fit", data, "-o", tmp_path / "m", *option, "-q")
    assert done.code == 2
    assert f"{option[0]} is for sequences" in done.words


def test_messages_name_the_flag_the_time_column_and_the_context(data, tmp_path, upland):
    model, lacking = tmp_path / "m", tmp_path / "lacking.csv"
    options = ("--time", "time", "--context", "set_point")
    assert "--calendar needs dates" in upland("fit", data, "-o", model, "--id", "power", "--calendar").words
    done = upland("fit", data, "-o", model, *options, "--context", "time")
    assert "--context names 'time', which is the time column: leave it out of --context" in done.words
    assert upland("fit", data, "-o", model, *options, *FAST).code == 0
    pd.read_csv(data).drop(columns="set_point").to_csv(lacking, index=False)
    words = upland("score", model, lacking).words
    assert "missing column(s): 'set_point' (context of the fit: 'set_point'); " in words
    assert "lacking.csv has 'time', 'flow', 'power'" in words


def test_one_block_is_one(data, tmp_path, upland):
    model = tmp_path / "m"
    assert upland("fit", data, "-o", model, "--time", "time", *FAST).code == 0
    pd.read_csv(data).head(3).to_csv(tmp_path / "few.csv", index=False)
    assert "and here is 1 block" in upland("score", model, tmp_path / "few.csv").words
