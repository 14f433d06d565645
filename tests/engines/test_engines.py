"""The recipes of docs/engines.md: each engine gives what the Scorer gives in this process, and an error that
still names the column.
"""

import os
import re
import shutil
import sys
import warnings
from pathlib import Path

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import upland
from scorers import as_pandas

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
FIRST, *SECTIONS = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)
RECIPES = {
    f"{name} {number}": code
    for name, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True)
    for number, code in enumerate(re.findall(r"^```py(?:thon)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
}
HERE = [name for name in RECIPES if not name.startswith("Spark")]
HAS_JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """What the first block of the page makes: names, and the folder of its files."""
    folder = tmp_path_factory.mktemp("engines")
    names, before = {}, Path.cwd()
    (code,) = re.findall(r"^```python\n(.*?)^```", FIRST, re.MULTILINE | re.DOTALL)
    os.chdir(folder)
    try:
        exec(compile(code, "docs/engines.md", "exec"), names)
    finally:
        os.chdir(before)
    return names, folder


def same(found, wanted):
    """Equal to the last bit, whatever the order of the rows and the type of texts."""
    found = as_pandas(found)
    assert list(found) == list(wanted)
    order = ["flow", "pressure"]
    found, wanted = (rows.sort_values(order, ignore_index=True) for rows in (found, wanted))
    for name in wanted:
        assert found[name].tolist() == wanted[name].tolist(), name
    return True


def run(recipe, begun, monkeypatch):
    names, folder = begun
    monkeypatch.chdir(folder)
    names = dict(names)
    for name in [name for name in RECIPES if name.split()[0] == recipe.split()[0] and name <= recipe]:
        exec(compile(RECIPES[name], f"docs/engines.md, {name}", "exec"), names)
    return names


@pytest.mark.parametrize("recipe", HERE)
def test_a_recipe_gives_what_the_scorer_gives_here(recipe, begun, monkeypatch):
    names = run(recipe, begun, monkeypatch)
    assert len(begun[0]["scored"]) == 500
    assert names["scored"] is not begun[0]["scored"]
    assert same(names["scored"], begun[0]["scored"])


def test_every_engine_of_the_page_has_a_recipe():
    assert [name for name in SECTIONS[::2] if f"{name} 0" in RECIPES] == [
        *("pandas in chunks", "Arrow data sets", "polars", "DuckDB", "Dask", "Spark"),
    ]


# -- wrong input inside an engine ----------------------------------------------------------------------------


def through_polars(scorer, frame):
    lazy = pl.from_pandas(frame).lazy()
    lazy.map_batches(scorer, schema={"flow": pl.Float64}).collect(engine="streaming")


def through_duckdb(scorer, frame):
    with duckdb.connect() as database:
        rows = database.from_arrow(pa.Table.from_pandas(frame))
        row = duckdb.struct_type(dict(zip(rows.columns, rows.types, strict=True)))
        database.create_function(
            "score",
            lambda rows: scorer(pa.Table.from_struct_array(rows))["anomaly_score"],
            [row],
            "DOUBLE",
            type="arrow",
        )
        database.sql("SELECT score(rows) FROM rows").fetchall()


def through_dask(scorer, frame):
    meta = dict.fromkeys(frame, "float64")
    dd.from_pandas(frame, npartitions=2).map_partitions(scorer, meta=meta).compute(scheduler="threads")


THROUGH = {
    "here": lambda scorer, frame: scorer(frame),
    "batches": lambda scorer, frame: list(scorer.batches(pa.Table.from_pandas(frame).to_batches())),
    "schema": lambda scorer, frame: scorer.schema(pa.Schema.from_pandas(frame)),
    "polars": through_polars,
    "duckdb": through_duckdb,
    "dask": through_dask,
}
WRONG = {
    "missing": lambda frame: frame.drop(columns="pressure"),
    "text": lambda frame: frame.assign(pressure="high"),
    "infinite": lambda frame: frame.assign(pressure=np.inf),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("engine", THROUGH)
def test_an_error_inside_an_engine_names_the_column(engine, wrong, begun):
    frame = WRONG[wrong](pd.read_parquet(begun[1] / "new.parquet"))
    if engine == "schema" and wrong != "missing":
        frame = frame.drop(columns="pressure")  # a schema has no cells
    with pytest.raises(Exception, match="pressure"):
        THROUGH[engine](begun[0]["scorer"], frame)


# -- Spark ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spark(begun):
    if not HAS_JAVA:
        pytest.skip("Spark needs Java, which pip does not install")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    paths = [str(Path(upland.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas 3, which Spark 4.3 does not know
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[1]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "512m",
            "spark.log.level": "OFF",
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }.items():
            builder = builder.config(name, value)
        before = Path.cwd()
        os.chdir(begun[1])  # where Java looks for files
        try:
            session = builder.getOrCreate()
        finally:
            os.chdir(before)
    yield session
    session.stop()


@pytest.mark.filterwarnings("ignore")
def test_spark_gives_what_the_scorer_gives_here(spark, begun, monkeypatch):
    names = run("Spark 0", begun, monkeypatch)
    assert names["spark"] is spark
    assert same(names["scored"], begun[0]["scored"])
    lacking = names["new"].drop("pressure")
    with pytest.raises(Exception, match=r"missing column\(s\): 'pressure'"):
        lacking.mapInArrow(names["scorer"].batches, names["schema"]).collect()
