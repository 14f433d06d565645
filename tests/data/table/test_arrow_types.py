"""Every type of Arrow's through every way in: used, or refused by the name of its column; ignored, it does no
harm.
"""

import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland
from arrowtypes import LEFT_OUT, REFUSED, USED, every_type, in_parquet
from normals import quick
from upland.data import rows as memory
from upland.data.rows import FileRows, MemoryRows, normal_rows
from upland.data.table.encoder import TableEncoder
from upland.io.formats import TableWriter, open_source

ROWS = np.array([0, 3, 16, 17, 39])


def chunked(values):
    return pa.table({"c": pa.chunked_array([values.slice(0, 17), values.slice(17)])})


@pytest.mark.parametrize("name", USED)
def test_what_is_used_is_read_alike_whole_in_parts_and_categorical(name):
    table = chunked(USED[name])
    rows = MemoryRows(table)
    for options in ({}, {"categorical": ["c"]}):
        encoder = TableEncoder(**options).fit(table)
        codes = encoder.transform(table)
        np.testing.assert_array_equal(encoder.transform(table.to_batches()[1]), codes[17:])
        np.testing.assert_array_equal(encoder.transform(rows.take(ROWS)), codes[ROWS])
        taken = [encoder.transform(part) for part in rows.shuffled(np.random.default_rng(0), ROWS, 9)]
        assert sorted(map(bytes, np.concatenate(taken))) == sorted(map(bytes, np.delete(codes, ROWS, axis=0)))
        assert len(encoder.values(table)["c"]) == 40
    assert rows.digest() == MemoryRows(table.combine_chunks()).digest()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_with_its_type_and_can_be_ignored(name):
    table = chunked(REFUSED[name]).append_column("a", pa.array(np.arange(40.0) % 7))
    with pytest.raises(TypeError, match=r"column 'c' has the type .*ignore=\['c'\]"):
        TableEncoder().fit(table)
    with pytest.raises(TypeError, match="column 'c' has the type"):
        TableEncoder().fit_batches([MemoryRows(table).take(ROWS)])
    encoder = TableEncoder(ignore=["c"]).fit(table)
    assert encoder.transform(MemoryRows(table).take(ROWS)).shape == (5, 1)
    assert MemoryRows(table).digest()


def ways_in(folder):
    table = every_type()
    yield table
    yield table.combine_chunks().to_batches()[0]
    for name, part in {"every.arrow": table, "every.parquet": in_parquet(table)}.items():
        with TableWriter(folder / name) as writer:
            writer.write(part)
        yield folder / name


@pytest.mark.parametrize("way", range(4), ids=["table", "batch", "arrow", "parquet"])
@pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:column .* merely counts")
def test_every_way_in_fits_calibrates_scores_and_explains(way, tmp_path):
    X = list(ways_in(tmp_path))[way]
    there = set(open_source(X).names if way > 1 else every_type().column_names)
    detector = quick(epochs=1, ignore=[name for name in LEFT_OUT if name in there])
    detector.fit(X).calibrate(X)
    scores = detector.anomaly_score(X)
    assert scores.shape == (40,)
    np.testing.assert_array_equal(scores, detector.anomaly_score(every_type()))
    assert upland.explain(detector, X).shares.shape == (40, len(there) - len(detector.ignore))


@pytest.mark.parametrize("name", ["every.arrow", "every.parquet"])
def test_files_beyond_memory_take_and_shuffle_every_type(name, tmp_path, monkeypatch):
    list(ways_in(tmp_path))
    whole = normal_rows(tmp_path / name)
    monkeypatch.setattr(memory, "CELLS_IN_MEMORY", 0)
    rows = normal_rows(tmp_path / name)
    assert isinstance(rows, FileRows)
    ignore = [column for column in LEFT_OUT if column in rows.names]
    encoder = TableEncoder(ignore=ignore).fit(rows.whole())
    np.testing.assert_array_equal(encoder.transform(rows.take(ROWS)), encoder.transform(whole.take(ROWS)))
    assert sum(part.num_rows for part in rows.shuffled(np.random.default_rng(0), ROWS, 9)) == 35
    assert rows.digest() == rows.digest()


def test_dictionaries_of_several_chunks_are_put_together():
    words = [np.array([f"{letter}{n}" for n in range(100)]) for letter in "ab"]
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(np.arange(100), pa.int8()), pa.array(part)) for part in words
    ]
    table = pa.table({"c": pa.chunked_array(chunks)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        column = TableEncoder(categorical=["c"]).fit(table).schema_.columns[0]
    assert len(column.levels) + len(column.rare) == 200


def test_parquet_keeps_the_types_that_it_can_hold(tmp_path):
    table = in_parquet(every_type())
    pq.write_table(table, tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").types.names == table.column_names
