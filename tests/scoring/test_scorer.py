"""Laws of the `Scorer`: every estimator, every container."""

import copy
import os
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import upland
from scorers import (
    ADDED_TYPES,
    ARRAY,
    ARRAYS,
    CONTAINERS,
    NAMES,
    SEGMENTED,
    STEPS,
    WHOLE,
    as_pandas,
    file_of,
    frame_of,
    head,
    modality,
    n_rows,
    names_of,
    scorer_of,
    types_of,
)
from upland.cli import main
from upland.io.modelfile import TensorFileError
from upland.scoring.columns import of_groups

ADDED = ["anomaly_score", "p_value", "is_anomaly", "reason"]
OF_FRAMES = [name for name in NAMES if modality(name) != "image" and name not in (ARRAY, STEPS)]
OF_ROWS = [name for name in OF_FRAMES if name != WHOLE]

everything = [
    pytest.mark.parametrize("kind", CONTAINERS),
    pytest.mark.parametrize("name", OF_FRAMES),
]


def everywhere(test):
    for mark in everything:
        test = mark(test)
    return test


@everywhere
def test_rows_come_back_in_their_container_with_the_verdicts_behind(name, kind):
    data = CONTAINERS[kind](frame_of(name))
    before = copy.deepcopy(data)
    scorer = scorer_of(name, alpha=0.1)
    found = scorer(data)
    assert type(found) is type(data)
    scores, p_values = scorer.detector.assess(data)
    frame = as_pandas(found)
    assert frame["anomaly_score"].to_numpy().tobytes() == scores.tobytes()
    assert frame["p_value"].to_numpy().tobytes() == p_values.tobytes()
    assert frame["is_anomaly"].tolist() == (p_values <= 0.1).tolist()
    own = ["machine"] if name == WHOLE else names_of(data)
    assert names_of(found) == [*own, *ADDED[:3]]
    types = types_of(found)
    assert [types[column] for column in ADDED[:3]] == ADDED_TYPES[kind.split()[0]][:3]
    assert {column: types[column] for column in own} == {column: types_of(data)[column] for column in own}
    pd.testing.assert_frame_equal(as_pandas(data), as_pandas(before))
    if name != WHOLE:
        pd.testing.assert_frame_equal(frame[own], as_pandas(data))


@everywhere
def test_no_rows_have_the_columns_and_the_types_of_some(name, kind):
    data = CONTAINERS[kind](frame_of(name))
    scorer = scorer_of(name, explain=2)
    some, none = scorer(data), scorer(head(data, 0))
    assert type(none) is type(some)
    assert n_rows(none) == 0
    assert types_of(none) == types_of(some)
    if isinstance(data, pa.Table):
        assert scorer.schema(data.schema) == some.schema


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("name", [name for name in OF_ROWS if modality(name) == "table"])
def test_a_row_alone_scores_as_among_others(name, kind):
    data = CONTAINERS[kind](frame_of(name))
    scorer = scorer_of(name, explain=1)
    whole, one = as_pandas(scorer(data)), as_pandas(scorer(head(data, 1)))
    pd.testing.assert_frame_equal(one, whole[:1])


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("name", OF_FRAMES)
@pytest.mark.parametrize("rows", [0, 6])
def test_missing_columns_are_named_with_and_without_rows(name, kind, rows):
    used = {SEGMENTED: ["pressure", "valve"], WHOLE: ["load", "machine"]}.get(name)
    used = used or (["pressure"] if modality(name) == "table" else ["load", "machine", "time"])
    for column in used:
        data = CONTAINERS[kind](frame_of(name).drop(columns=column))
        with pytest.raises(ValueError, match=repr(column)):
            scorer_of(name)(head(data, rows))


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("name", OF_ROWS)
def test_columns_named_like_the_added_ones_are_refused_or_replaced(name, kind):
    data = CONTAINERS[kind](frame_of(name).assign(p_value=7.0))
    with pytest.raises(ValueError, match="scoring adds: p_value; rename them"):
        scorer_of(name)(data)
    plain = scorer_of(name)(CONTAINERS[kind](frame_of(name)))
    again = scorer_of(name, replace_columns=True)(data)
    pd.testing.assert_frame_equal(as_pandas(again), as_pandas(plain))
    fitting = {"reason": ["why"] * len(frame_of(name))}
    assert "reason" in names_of(scorer_of(name)(CONTAINERS[kind](frame_of(name).assign(**fitting))))


def test_a_feature_that_is_named_like_an_added_column_is_read_and_replaced(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"flow": rng.normal(size=60), "p_value": rng.normal(size=60)})
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    upland.save(detector, tmp_path / "m")
    found = upland.Scorer(tmp_path / "m", replace_columns=True)(rows)
    assert list(found) == ["flow", *ADDED[:3]]
    assert (found["p_value"] == detector.p_values(rows)).all()


@pytest.mark.parametrize("name", OF_FRAMES)
def test_the_columns_are_those_that_the_command_writes(name, tmp_path, monkeypatch):
    frame = frame_of(name)
    frame.to_parquet(tmp_path / "new.parquet", index=False)
    target = tmp_path / "scored.parquet"
    words = ["score", file_of(name), tmp_path / "new.parquet", "-o", target, "--why", "--alpha", 0.1]
    monkeypatch.setattr(sys, "argv", ["upland", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    found = scorer_of(name, alpha=0.1, explain=3)(frame)
    pd.testing.assert_frame_equal(found, pd.read_parquet(target))


# -- whole numbers as names, arrays, groups ------------------------------------------------------------------


def test_columns_may_have_whole_numbers_as_names(tmp_path):
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)))
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    upland.save(detector, tmp_path / "m")
    scorer = upland.Scorer(tmp_path / "m")
    for data in (rows, {name: rows[name].to_numpy() for name in rows}):
        found = scorer(data)
        assert names_of(found) == [0, 1, 2, *ADDED[:3]]
        assert (found["anomaly_score"] == detector.anomaly_score(rows)).all()


@pytest.mark.parametrize("name", [ARRAY, STEPS])
def test_sequences_of_an_array_are_scored_and_what_stands_beside_them_is_carried(name):
    scorer = scorer_of(name, explain=1)
    data = {"wave": ARRAYS[:5], "lot": np.array(["a", "b", "a", "b", "a"])}
    found = scorer(data)
    assert list(found) == ["wave", "lot", *ADDED]
    assert found["anomaly_score"].tobytes() == scorer.detector.anomaly_score(ARRAYS[:5]).tobytes()
    assert found["reason"].shape == found["anomaly_score"].shape
    assert all(found["reason"].ravel())
    none = scorer({name: values[:0] for name, values in data.items()})
    for column in ADDED:
        assert none[column].dtype == found[column].dtype
        assert none[column].shape == (0, *found[column].shape[1:])
    with pytest.raises(ValueError, match=r"several arrays .* \['wave', 'more'\]"):
        scorer(data | {"more": ARRAYS[:5]})


@pytest.mark.parametrize("groups", ["lot", ("lot", "note")])
@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("name", [name for name in OF_ROWS if modality(name) == "table"])
@pytest.mark.filterwarnings("ignore:.*groups")
def test_groups_have_a_row_each_with_the_columns_of_the_command(name, kind, groups, tmp_path):
    frame = frame_of(name).assign(note=["p"] * 10 + ["q"] * 10)
    data = CONTAINERS[kind](frame)
    scorer = scorer_of(name, groups=groups, alpha=0.2)
    found = scorer(data)
    assert type(found) is type(data)
    verdicts = scorer.detector.score_groups(frame, groups, 0.2)
    frame = as_pandas(found)
    assert frame["group"].tolist() == verdicts.group.tolist()
    assert (frame["p_value"].to_numpy() == verdicts.p_value).all()
    assert (frame["is_anomaly"].to_numpy() == verdicts.flag).all()
    assert names_of(found) == of_groups(verdicts).column_names  # which the command writes
    none = scorer(head(data, 0))
    assert types_of(none) == types_of(found)
    assert n_rows(none) == 0
    assert scorer.added == ()


def test_a_column_of_groups_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"missing column\(s\) of groups: 'site'"):
        scorer_of("EnergyDetector", groups="site")(frame_of("EnergyDetector"))
    with pytest.raises(ValueError, match="time steps are not tested"):
        scorer_of("SequenceEnergyDetector", groups="lot")(frame_of("SequenceEnergyDetector"))


@pytest.mark.filterwarnings("ignore:.*groups")
def test_sequences_of_an_array_have_groups_in_a_column_beside_them():
    scorer = scorer_of(ARRAY, groups="lot")
    lots = np.array(["a", "b"] * 60)
    found = scorer({"wave": ARRAYS, "lot": lots})
    verdicts = scorer.detector.score_groups(ARRAYS, lots)
    assert found["group"].tolist() == verdicts.group.tolist()
    assert (found["p_value"] == verdicts.p_value).all()


# -- cells of text, long batches -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONTAINERS)
def test_numbers_in_cells_of_text_are_read_as_in_the_fit(kind):
    frame = frame_of("EnergyDetector")
    texts = frame.assign(flow=frame["flow"].map(repr))
    scorer = scorer_of("EnergyDetector", explain=2)
    found, plain = as_pandas(scorer(CONTAINERS[kind](texts))), scorer(frame)
    assert found["flow"].tolist() == texts["flow"].tolist()
    pd.testing.assert_frame_equal(found[ADDED].reset_index(drop=True), plain[ADDED])
    with pytest.raises(ValueError, match="flow"):
        scorer(CONTAINERS[kind](texts.assign(flow="wide open")))


@pytest.mark.parametrize("name", [name for name in OF_ROWS if modality(name) == "table"])
def test_batches_come_one_by_one_and_equal_the_whole(name):
    data = CONTAINERS["arrow"](frame_of(name))
    scorer = scorer_of(name, explain=1)
    read = []
    parts = scorer.batches(read.append(part) or part for part in data.to_batches(max_chunksize=3))
    first = next(parts)
    assert len(read) == 1
    assert pa.Table.from_batches([first, *parts]).equals(scorer(data).combine_chunks())


def test_metadata_of_a_schema_and_whether_cells_may_be_missing_are_kept():
    frame = frame_of("EnergyDetector")
    table = CONTAINERS["arrow"](frame).replace_schema_metadata({"source": "plant"})
    schema = table.schema.set(0, pa.field("flow", pa.float64(), nullable=False, metadata={"unit": "l/s"}))
    table = table.cast(schema)
    for data in (table, table.combine_chunks().to_batches()[0]):
        found = scorer_of("EnergyDetector")(data).schema
        assert found.metadata == {b"source": b"plant"}
        assert found.field("flow").metadata == {b"unit": b"l/s"}
        assert not found.field("flow").nullable


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EnergyDetector", ARRAY, "ImageVAEDetector"])
def test_arrays_of_a_dict_that_differ_in_length_are_refused(name):
    values = {"flow": [1.0] * 3} if name == "EnergyDetector" else {"image": np.zeros((3, 8, 8), np.uint8)}
    values = {"wave": ARRAYS[:3]} if name == ARRAY else values
    with pytest.raises(ValueError, match=r"different lengths: '\w+' has 3 values, 'lot' has 2"):
        scorer_of(name)(values | {"lot": ["a", "b"]})


def test_what_is_no_container_is_refused_by_its_type():
    scorer = scorer_of("EnergyDetector")
    for data, word in (
        (frame_of("EnergyDetector").to_numpy(), "a ndarray"),
        ([[1.0]], "a list"),
        (3, "an int"),
    ):
        with pytest.raises(TypeError, match=f"a Scorer takes an Arrow table .* not {word}"):
            scorer(data)
    lazy = pl.from_pandas(frame_of("EnergyDetector")).lazy()
    with pytest.raises(TypeError, match="not a LazyFrame: collect it"):
        scorer(lazy)
    scorer(lazy.collect())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alpha": 0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"explain": -1}, "explain is how many"),
        ({"explain": True}, "explain is how many"),
        ({"statistic": "mean"}, "statistic must be one of"),
    ],
)
def test_arguments_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scorer_of("EnergyDetector", **options)


def test_a_file_that_is_none_is_refused_when_the_scorer_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        upland.Scorer(tmp_path / "absent")
    (tmp_path / "text").write_text("flow\n1\n")
    with pytest.raises(TensorFileError, match="text is no model file"):
        upland.Scorer(os.fspath(tmp_path / "text"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"groups": 3}, "groups is the name of a column"),
        ({"groups": ()}, "groups is the name of a column"),
        ({"groups": b"valve"}, "groups is the name of a column"),
        ({"groups": ["site", 2]}, "groups is the name of a column"),
        ({"statistic": ["mmd"]}, "statistic must be one of"),
        ({"groups": "site", "explain": 2}, "groups have reasons of their own"),
        ({"explain": True}, "how many reasons"),
        ({"alpha": 0}, "alpha"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_when_the_callable_is_made(arguments, words):
    with pytest.raises(ValueError, match=words):
        scorer_of("EnergyDetector", **arguments)


def test_numbers_of_numpy_are_numbers():
    frame = frame_of("EnergyDetector")
    found = scorer_of("EnergyDetector", explain=np.int64(1), alpha=np.float32(0.5))(frame)
    assert found["reason"].str.contains("expected").all()
