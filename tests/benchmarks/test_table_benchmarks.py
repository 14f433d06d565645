"""The benchmark on OddBench and families of mixed tables: halves, tasks, preparation, runner, the page."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.__main__ import plan
from benchmarks.table_tasks import Rows

from benchmarks import ablation_tables, report, report_tables, table_tasks, tables
from upland.models.experts import COUNTS, PARTS

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UPLAND_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not ((DATA / "oddbench").is_dir() and (DATA / "tables").is_dir()),
    reason=f"no oddbench, tables in {DATA}: name the folder of data in UPLAND_DATA",
)
HEADER = {"date": "today", "processor": "none", "cores": 1, "threads": "1", "python": "3", "versions": {}}


def mixed(rows=60, seed=0):
    """Numbers, whole numbers, words, missing cells, a constant, and a label of three values."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "number": draw.normal(size=rows),
        "whole": np.arange(rows),
        "word": draw.choice(["red", "green", "blue"], size=rows),
        "gaps": np.where(draw.random(rows) < 0.3, np.nan, draw.integers(0, 3, size=rows)),
        "constant": np.ones(rows),
        "label": np.repeat(["a", "b", "c"], [rows // 2, rows // 3, rows - rows // 2 - rows // 3]),
    })  # fmt: skip
    frame.loc[::7, "word"] = None
    return frame


@pytest.fixture
def data(tmp_path):
    """A folder with two OddBench sets and two families."""
    for name in ("oddbench", "tables"):
        (tmp_path / name).mkdir()
    for seed, name in enumerate(("first", "second")):
        draw = np.random.default_rng(seed)
        train, test = draw.normal(3, 2, size=(40, 3)), draw.normal(3, 2, size=(20 + seed, 3))
        test[:5] += 30
        labels = (np.arange(len(test)) < 5).astype(int)
        np.savez(tmp_path / "oddbench" / f"{name}.npz", train=train, test=test, test_labels=labels)
    mixed().to_parquet(tmp_path / "tables" / "colours.parquet")
    mixed(80, seed=1).drop(columns="label").to_parquet(tmp_path / "tables" / "plain.parquet")
    tasks = "family,kind,label\ncolours,class,a\ncolours,rare,c\nplain,swap,\n"
    (tmp_path / "tables" / "tasks.csv").write_text(tasks)
    return tmp_path


def tasks_of(data):
    return {task.name: task for task in table_tasks.family_tasks(data)}


def same(one, other):
    """Where cells are equal, missing ones being equal to each other."""
    one, other = one.reset_index(drop=True), other.reset_index(drop=True)
    return ((one == other).fillna(False) | (one.isna() & other.isna())).to_numpy(dtype=bool)


# -- halves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_halves_part_the_names_and_know_no_order(count):
    names = [f"set {i}" for i in range(count)]
    half = table_tasks.halves(names)
    assert list(half.values()).count("choose") == count // 2
    assert set(half) == set(names)
    assert half == table_tasks.halves([*reversed(names), *names])


def test_halves_are_those_of_seed_0():
    half = table_tasks.halves("abcdef")
    assert [name for name in "abcdef" if half[name] == "choose"] == ["c", "d", "f"]


def test_a_family_is_in_one_half(data):
    by_family = {(task.family, task.half) for task in table_tasks.family_tasks(data)}
    assert len(by_family) == 2
    assert {half for _, half in by_family} == set(table_tasks.HALVES)


@needs_data
def test_halves_of_the_collections():
    sets, families = table_tasks.oddbench_tasks(DATA), table_tasks.family_tasks(DATA)
    for tasks in (sets, families):
        chosen = {task.family for task in tasks if task.half == "choose"}
        assert len(chosen) == len({task.family for task in tasks}) // 2
        assert not chosen & {task.family for task in tasks if task.half == "confirm"}
    assert len({task.name for task in families}) == len(families)


# -- tasks ---------------------------------------------------------------------------------------------------


def test_oddbench_is_standardised_by_its_training_rows(data):
    tasks = table_tasks.oddbench_tasks(data)
    assert [task.name for task in tasks] == ["first", "second"]
    rows = tasks[1].rows(0)
    np.testing.assert_allclose(rows.train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(rows.train.std(axis=0), 1)
    assert rows.labels.sum() == 5
    assert rows.test[:5].min() > rows.test[5:].max()
    assert np.array_equal(rows.test, tasks[1].rows(9).test)


@pytest.mark.parametrize(("name", "normal"), [("colours class a", {"a"}), ("colours rare c", {"a", "b"})])
def test_the_label_says_what_is_normal(data, name, normal):
    whole, rows = mixed(), tasks_of(data)[name].rows(0)
    assert "label" not in rows.train
    assert set(whole["label"][rows.train["whole"]]) == normal
    assert np.array_equal(~whole["label"][rows.test["whole"]].isin(normal), rows.labels == 1)
    numbers = [*rows.train["whole"], *rows.test["whole"]]
    assert sorted(numbers) == list(range(len(whole)))
    assert len(rows.train) == whole["label"].isin(normal).sum() // 2


def test_rows_are_drawn_by_the_seed_and_capped(data, monkeypatch):
    task = tasks_of(data)["colours class a"]
    first, again, other = (task.rows(seed).train["whole"].tolist() for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)
    monkeypatch.setattr(table_tasks, "MOST", 4)
    few = task.rows(0)
    assert len(few.train) == 4
    assert few.labels.tolist() == [0] * 4 + [1] * 4


def test_swapped_rows_differ_in_one_to_three_cells_of_other_rows(data):
    whole, rows = mixed(80, seed=1).drop(columns="label"), tasks_of(data)["plain swap"].rows(0)
    order = np.random.default_rng(0).permutation(80)
    assert rows.train["whole"].tolist() == order[:40].tolist()
    assert rows.labels.tolist() == [0] * 20 + [1] * 20
    assert rows.test.dtypes.equals(rows.train.dtypes)
    original = whole.iloc[order[40:]]
    changed = ~same(original, rows.test)
    assert not changed[:20].any()
    counts = changed[20:].sum(axis=1)
    assert set(counts) == {1, 2, 3}
    assert not changed[:, list(whole.columns).index("constant")].any()
    for i, name in enumerate(whole.columns):
        there = {None if pd.isna(value) else value for value in original[name]}
        assert {None if pd.isna(value) else value for value in rows.test[name][changed[:, i]]} <= there
    assert changed[:, list(whole.columns).index("gaps")].any()


@pytest.mark.parametrize("make", [table_tasks.class_rows, lambda x, _, seed: table_tasks.swap_rows(x, seed)])
def test_columns_without_values_and_names_are_no_features(make):
    frame = mixed().drop(columns="label")
    whole = frame.assign(nothing=np.nan, name=[f"row {i}" for i in range(60)], half=frame["word"])
    rows = make(whole, np.arange(60) >= 50, 0)
    assert list(rows.train.columns) == list(rows.test.columns) == [*frame.columns, "half"]


def test_a_value_in_the_test_alone_makes_no_feature():
    frame = mixed()
    is_other = (frame.pop("label") != "a").to_numpy()
    frame["shut"] = np.where(is_other, 1.0, np.nan)
    assert "shut" not in table_tasks.class_rows(frame, is_other, 0).test
    assert "shut" in table_tasks.class_rows(frame, ~is_other, 0).test


def test_a_table_with_few_columns_that_vary_can_be_swapped():
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "constant": [0, 0, 0, 0]})
    made = table_tasks.swapped(frame, range(2, 4), np.random.default_rng(0))
    assert made["constant"].tolist() == [0] * 4
    assert made["x"].tolist()[:2] == [1, 2]
    assert all(value in {1, 2, 3, 4} - {old} for value, old in zip(made["x"][2:], (3, 4), strict=True))


def test_a_folder_without_the_collections_is_refused(tmp_path, data):
    assert table_tasks.found(data) == ["oddbench", "families"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"neither oddbench/ nor tables/ in .*empty"):
        table_tasks.found(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no OddBench set"):
        table_tasks.oddbench_tasks(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"no list of tasks .*tasks.csv"):
        table_tasks.family_tasks(tmp_path / "empty")


# -- preparation ---------------------------------------------------------------------------------------------


def test_peers_get_medians_and_words_by_training_rows():
    train = pd.DataFrame({"x": [0.0, 1, 2, 9, np.nan], "word": ["a", "a", None, None, "once"]})
    train["none"] = np.nan
    test = pd.DataFrame({"x": [np.nan, 9], "word": ["never", None], "none": [1.0, np.nan]})
    numbers = table_tasks.as_numbers(Rows(train, test, np.zeros(2, dtype=int)))
    filled = np.array([0, 1, 2, 9, 1.5])
    np.testing.assert_allclose(numbers.train[:, 0], (filled - filled.mean()) / filled.std())
    np.testing.assert_allclose(numbers.test[:, 0], (np.array([1.5, 9]) - filled.mean()) / filled.std())
    assert numbers.train.shape == (5, 5)  # x, none, missing, a, others
    assert np.array_equal(numbers.train[4, 2:], numbers.test[0, 2:])  # once and never are one
    assert np.array_equal(numbers.train[2, 2:], numbers.test[1, 2:])  # missing is a word
    assert np.isfinite(numbers.test).all()
    other = table_tasks.as_numbers(Rows(train, test[:1], np.zeros(1, dtype=int)))
    assert np.array_equal(other.train, numbers.train)


def test_arrays_stay_as_they_are():
    rows = Rows(np.ones((3, 2)), np.ones((2, 2)), np.zeros(2, dtype=int))
    assert table_tasks.as_numbers(rows) is rows


# -- the command ---------------------------------------------------------------------------------------------


def call(data, *more):
    output = data / "tables.json"
    given = ["--data", str(data), "--output", str(output), *more]
    assert tables.main(given) == 0
    return json.loads(output.read_text())["rows"]


def test_the_command_goes_on_where_it_stopped(data):
    first = call(data, "--methods", "kNN", "PCA", "--seeds", "0", "--halves", "choose")
    assert {row["half"] for row in first} == {"choose"}
    rows = call(data, "--methods", "kNN", "PCA", "--seeds", "0", "1")
    assert rows[: len(first)] == first
    keys = [tuple(row[key] for key in tables.KEYS) for row in rows]
    assert len(set(keys)) == len(keys) == 5 * 2 * 2
    assert {row["kind"] for row in rows} == {"real", "class", "rare", "swap"}
    assert all(row["auroc"] == 1 for row in rows if row["collection"] == "oddbench")
    *before, last = call(data, "--methods", "kNN", "--sets", "plain")
    assert before == rows
    assert (last["task"], last["seed"]) == ("plain swap", 2)


def test_what_no_seed_changes_is_run_once(data, monkeypatch):
    fitted = []

    def counted(train, seed):
        fitted.append((train.shape, seed))
        return lambda test: np.zeros(len(test))

    monkeypatch.setitem(tables.METHODS, "kNN", counted)
    rows = call(data, "--methods", "kNN", "--seeds", "0", "1")
    assert len(rows) == 10
    assert [seed for _, seed in fitted[1:]] == [0, 0, 0, 0, 0, 1, 1, 1]  # the first is the warming up


def test_upland_gets_the_table_and_peers_get_numbers(data, monkeypatch):
    seen = {}

    def keep(name):
        return lambda train, seed: seen.update({name: train}) or (lambda test: np.arange(len(test)))

    for name in ("upland", "IForest"):
        monkeypatch.setitem(tables.METHODS, name, keep(name))
    call(data, "--methods", "upland", "IForest", "--collections", "families", "--seeds", "0")
    assert isinstance(seen["upland"], pd.DataFrame)
    assert seen["upland"].isna().any().any()
    assert isinstance(seen["IForest"], np.ndarray)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of so few rows
@pytest.mark.parametrize("method", ["upland", "upland paper"])
def test_the_detector_takes_the_tables(data, method):
    rows = call(data, "--methods", method, "--seeds", "0", "--collections", "families")
    assert len(rows) == 3
    assert all(0 <= row["auroc"] <= 1 for row in rows)


def test_it_is_part_of_the_whole_where_there_is_data(data):
    assert plan(data, quick=True)["tables"] == ["tables", "--quick", "--data", str(data)]
    assert "tables" not in plan(None, quick=True)
    named = [name for run in plan(data, quick=False).values() if run[0] == "tables" for name in run[4:]]
    assert named == [*tables.TABLE_UPLAND, *tables.TABLE_EARLIER, *tables.TABLE_PEERS]
    assert set(named) <= set(tables.METHODS)


# -- ablation ------------------------------------------------------------------------------------------------


def test_every_part_is_left_out_and_alone():
    parts = {
        name: set(given["parts"]) for name, given in ablation_tables.VARIANTS.items() if "parts" in given
    }
    energies = set(PARTS) - set(COUNTS)  # parts that count values are not used by themselves
    assert {name for name, there in parts.items() if len(there) == 1} == {
        f"{name} alone" for name in energies
    }
    for name in PARTS:
        assert parts[f"without {name}"] == set(PARTS) - {name}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of so few rows
def test_ablation_goes_on(data):
    write = ["--data", str(data), "--output", str(data / "ablation.json"), "--collections", "families"]
    assert ablation_tables.main([*write, "--variants", "default", "--sets", "plain"]) == 0
    assert ablation_tables.main([*write, "--variants", "default", "conditional alone"]) == 0
    rows = json.loads((data / "ablation.json").read_text())["rows"]
    names = [task.name for task in table_tasks.family_tasks(data)]
    found = [(row["task"], row["variant"]) for row in rows]
    assert found[0] == ("plain swap", "default")
    both = ("conditional alone", "default")
    assert sorted(found) == [(name, one) for name in sorted(names) for one in both]
    assert {row["benchmark"] for row in rows} == {"ablation tables"}


def test_adbench_is_without_sets_that_are_drawn(tmp_path):
    (tmp_path / "adbench").mkdir()
    for name, count in (("few", 900), ("many", 1000)):
        x, y = np.random.default_rng(0).normal(size=(count, 2)), np.arange(count) < 50
        np.savez(tmp_path / "adbench" / f"{name}.npz", X=x, y=y)
    (task,) = table_tasks.adbench_tasks(tmp_path)
    assert (task.name, task.is_fixed, task.rows(0).labels.sum()) == ("many", True, 50)


def test_page_of_the_ablation_of_parts():
    rows = [
        {**row("", f"{task} x", value, half=half), "benchmark": "ablation tables", "variant": variant}
        for half in ("choose", "confirm")
        for variant, values in {"default": (0.5, 0.75), "fast": (0.75, 0.5), "part": (0.5,)}.items()
        for task, value in zip("fg", values, strict=False)
    ]
    page = report.report([{"header": HEADER, "rows": rows}])
    assert "| variant | families, choose | families, confirm | s |" in page
    assert "| default | 62.5 / 31.2 | 62.5 / 31.2 | 1.00 |" in page
    assert "| fast | +0.00 ± 25.00 / +0.00 |" in page
    assert "| part |  |  | 1.00 |" in page


# -- the page ------------------------------------------------------------------------------------------------


def row(method, task, auroc, seed=0, kind="class", half="choose"):
    family = task.split()[0]
    place = {"benchmark": "tables", "collection": "families", "half": half, "kind": kind, "family": family}
    values = {"auroc": auroc, "auprc": auroc / 2, "fit_seconds": 1.0, "score_seconds": 0.25}
    return {**place, "task": task, "seed": seed, "method": method, **values}


def test_page_counts_a_family_once():
    means = {"f 1": (0.5, 0.6), "f 2": (0.7, 0.6), "g 1": (0.8, 0.9)}
    rows = [
        row(name, task, both[i]) for task, both in means.items() for i, name in enumerate(("kNN", "upland"))
    ]
    page = report.report([{"header": HEADER, "rows": rows}])
    assert "### Families of mixed tables, half for choosing: 2 families, 3 tasks" in page
    assert "| kNN | 70.00 | 35.00 |  |  | 1.75 | 1.00 | 0.25 | 1 |" in page  # ranks 2, 1 of f, 2 of g
    assert "| upland | 75.00 | 37.50 | +5.00 ± 5.00 | +2.50 ± 2.50 | 1.25 | 1.00 | 0.25 | 1 |" in page
    assert page.index("| upland | 75.00") < page.index("| kNN | 70.00")
    assert "half for confirming" not in page
    assert "| f 2 | choose | 70.0 | 60.0 |" in page


def test_page_compares_at_the_same_seeds_and_leaves_out_parts():
    rows = [row("kNN", "f 1", 0.4 + 0.2 * seed, seed) for seed in (0, 1)]
    rows += [row("upland", "f 1", 0.5, 0), row("half run", "f 1", 0.5, 0)]
    rows += [row("kNN", "g 1", 0.5, seed) for seed in (0, 1)] + [row("upland", "g 1", 0.5, 0)]
    page = report_tables.tables(rows)
    assert "| kNN | 50.00 ± 7.07 |" in page
    assert "| upland | 50.00 | 25.00 | +5.00 ± 5.00 |" in page
    assert "Without a seed that has every task: half run." in page


def test_page_has_both_halves_and_each_kind():
    rows = [row("kNN", "f rare", 0.5, kind="rare"), row("kNN", "g swap", 0.75, kind="swap", half="confirm")]
    rows += [row("PCA", "f rare", 0.75, kind="rare"), row("PCA", "g swap", 0.5, kind="swap", half="confirm")]
    page = report_tables.tables(rows)
    assert all(f"{name}: 1 sets" in page for name in ("half for choosing", "half for confirming"))
    assert "both halves: 2 sets" in page
    assert "| PCA | 75.0 | 37.5 | +25.00 | 1.00 | 50.0 | 25.0 | -25.00 | 2.00 |" in page
