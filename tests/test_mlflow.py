"""Models of upland in MLflow: logged, loaded and scored as the model file scores."""

import json
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from programs import run_python

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range")  # MLflow's, of pandas 4
ARRAYS = {"table": (100, 3), "sequence": (100, 12, 2)}
FAMILIES = [*EXAMPLES, "an array of rows", "an array of sequences", "segments", "text"]


@pytest.fixture(scope="module")
def mlflow():
    """MLflow, which has warnings of its own when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
        import mlflow.pyfunc
    return mlflow


def rows_of_all_kinds(count, seed):
    """Every kind of column, some with missing cells."""
    rng = np.random.default_rng(seed)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, count), unit="D")
    frame = pd.DataFrame(
        {
            "flow": rng.normal(10, 2, count),
            "count": rng.poisson(40, count),
            "serial": 2**60 + rng.integers(0, 50, count),
            "running": rng.random(count) < 0.7,
            "valve": rng.choice(["open", "shut"], count),
            "day": days,
            "zoned": days.tz_localize("UTC"),
            "took": pd.to_timedelta(rng.integers(60, 600, count), unit="s"),
        }
    )
    frame.loc[frame.index % 9 == 3, "flow"] = np.nan
    return frame


def rows_of_text(count, seed):
    """The same as text, as a CSV file has it."""
    frame = rows_of_all_kinds(count, seed)
    return pd.DataFrame(
        {
            "price": [f"€{value:.2f}".replace(".", ",") for value in frame["count"]],
            "running": np.where(frame["running"], "true", "false"),
            "day": frame["day"].dt.strftime("%d/%m/%Y"),
            "iso": frame["day"].dt.strftime("%Y-%m-%d"),
            "clock": (pd.Timestamp(0) + frame["took"]).dt.strftime("%H:%M:%S"),
        }
    )


def fitted(label):
    """A detector of a family, and new data."""
    if label in EXAMPLES:
        return EXAMPLES[label].fit(), EXAMPLES[label].new
    rng, quick = np.random.default_rng(0), {"random_state": 0, "progress": False}
    if label.startswith("an array"):
        modality = "table" if label.endswith("rows") else "sequence"
        x = rng.normal(size=ARRAYS[modality])
        extra = {"epochs": 1} if modality == "sequence" else {}
        return upland.detector_for(x, modality=modality, **extra, **quick).fit(x), x[:9]
    if label == "segments":
        frame = pd.DataFrame({"machine": [1, 2] * 200, "flow": rng.normal(size=400)})
        return upland.SegmentedDetector(upland.EnergyDetector(**quick), "machine").fit(frame), frame[:9]
    make = rows_of_text if label == "text" else rows_of_all_kinds
    return upland.EnergyDetector(**quick).fit(make(300, 0)), make(9, 1)


@pytest.fixture(scope="module", params=[*FAMILIES, "all kinds"])
def saved(request, mlflow, tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector, new = fitted(request.param)
        folder = tmp_path_factory.mktemp("mlflow") / "model"
        upland.mlflow.save_model(detector, folder)
        return detector, new, folder, mlflow.pyfunc.load_model(str(folder))


def test_every_model_scores_as_its_file_does(saved):
    detector, new, _, model = saved
    found = model.predict(new)
    assert found["anomaly_score"].to_numpy() == pytest.approx(detector.anomaly_score(new), rel=1e-12)
    assert (found["p_value"] == detector.p_values(new)).all()
    assert (found["is_anomaly"] == (found["p_value"] <= 0.05)).all()
    if isinstance(new, pd.DataFrame):
        assert list(found.columns) == [*new.columns, "anomaly_score", "p_value", "is_anomaly"]


def test_parameters_go_through_predict(saved):
    detector, new, _, model = saved
    found = model.predict(new, params={"alpha": 0.5, "explain": 1})
    assert (found["is_anomaly"] == detector.flag(new, alpha=0.5)).all()
    assert found["reason"].str.contains("expected").any() or detector.modality == "image"
    with pytest.raises(Exception, match="alpha"):
        model.predict(new, params={"alpha": 2.0})


def test_the_example_is_scored_and_is_no_row_of_the_data(saved):
    _, new, _, model = saved
    assert (model.input_example is None) == ("took" in new)
    found = model.predict(new if model.input_example is None else model.input_example)
    assert np.isfinite(found["anomaly_score"]).all()
    outputs = [column.name for column in model.metadata.signature.outputs]
    assert outputs[-3:] == ["anomaly_score", "p_value", "is_anomaly"]


def test_what_is_stored_is_the_model_file_and_no_pickle(saved):
    detector, new, folder, model = saved
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["model.safetensors"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".py")]
    assert f"upland[mlflow]=={upland.__version__}" in (folder / "requirements.txt").read_text().splitlines()
    assert model.metadata.flavors["python_function"]["code"] is None
    loaded = upland.mlflow.load_model(str(folder))
    assert (loaded.anomaly_score(new) == detector.anomaly_score(new)).all()


@pytest.fixture(scope="module")
def works(mlflow, tmp_path_factory):
    """A model file, its detector and new rows, and a tracking store in a folder."""
    folder = tmp_path_factory.mktemp("registry")
    example = EXAMPLES["EnergyDetector of experts"]
    detector = example.fit()
    upland.save(detector, folder / "m.safetensors")
    return folder, detector, example.new


@pytest.fixture
def store(mlflow, works, monkeypatch):
    """The tracking store of the module's folder."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(works[0])
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((works[0] / "store").as_uri())
    yield
    mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore")  # MLflow's own, of file stores
def test_a_logged_and_registered_model_is_loaded_by_its_name(mlflow, works, store):
    folder, detector, new = works
    logged = upland.mlflow.log_model(folder / "m.safetensors", "pumps", registered_model_name="pumps")
    mlflow.end_run()
    for uri in (logged.model_uri, "models:/pumps/1"):
        loaded = upland.mlflow.load_model(uri)
        assert (loaded.anomaly_score(new) == detector.anomaly_score(new)).all()
        assert len(mlflow.pyfunc.load_model(uri).predict(new)) == len(new)
    scorer = upland.Scorer(folder / "m.safetensors")
    assert logged.flavors["upland"]["sha256"] == scorer.digest


def test_another_file_in_the_place_of_the_logged_one_is_refused(mlflow, works, tmp_path):
    upland.mlflow.save_model(works[0] / "m.safetensors", tmp_path / "m")
    upland.save(EXAMPLES["FlowDetector"].fit(), tmp_path / "m" / "data" / "model.safetensors")
    with pytest.raises(ValueError, match="not the one that was logged"):
        upland.mlflow.load_model(str(tmp_path / "m"))
    (tmp_path / "m" / "MLmodel").write_text("flavors: {}\n")
    with pytest.raises(ValueError, match="is no model of upland, but of nothing"):
        upland.mlflow.load_model(str(tmp_path / "m"))


def test_missing_columns_are_named_and_further_ones_dropped(mlflow, works, tmp_path):
    folder, _, new = works
    upland.mlflow.save_model(folder / "m.safetensors", tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert "shift" not in model.predict(new.assign(shift="a"))
    with pytest.raises(mlflow.exceptions.MlflowException, match="flow"):
        model.predict(new.drop(columns="flow"))


def test_without_a_signature_every_column_comes_back(mlflow, works, tmp_path):
    folder, _, new = works
    upland.mlflow.save_model(folder / "m.safetensors", tmp_path / "m", signature=False, input_example=False)
    assert "shift" in mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(new.assign(shift="a"))


def test_the_flavour_is_loaded_on_first_use():
    code = (
        "import upland, sys; upland.mlflow.log_model; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    )
    done = run_python("-c", code)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_without_mlflow_one_line_says_what_to_install(works, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match=r"MLflow models need MLflow: pip install 'upland\[mlflow\]'"):
        upland.mlflow.save_model(works[0] / "m.safetensors", tmp_path / "m")


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java, a package of the system")
def test_a_column_of_spark_has_the_same_scores(mlflow, works, tmp_path, monkeypatch):
    folder, detector, new = works
    upland.mlflow.save_model(folder / "m.safetensors", tmp_path / "m")
    new.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    done = run_python("-c", SPARK, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [row[0] for row in found] == pytest.approx(detector.anomaly_score(new), rel=1e-12)
    assert [row[2] for row in found] == detector.flag(new).tolist()


SPARK = """
import json, sys
import mlflow.pyfunc, pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config(
    "spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
rows = spark.createDataFrame(pd.read_csv(sys.argv[1] + "/new.csv")).coalesce(1)
types = "anomaly_score double, p_value double, is_anomaly boolean"
score = mlflow.pyfunc.spark_udf(spark, sys.argv[1] + "/m", result_type=types, env_manager="local")
found = [row.s for row in rows.select(score(struct(*rows.columns)).alias("s")).collect()]
print(json.dumps([[row.anomaly_score, row.p_value, row.is_anomaly] for row in found]))
spark.stop()
"""


@pytest.mark.filterwarnings("ignore:.*An input example was not provided")
def test_a_model_is_saved_without_an_example(tmp_path, mlflow):
    upland.mlflow.save_model(EXAMPLES[EXPERTS].fit(), tmp_path / "m", input_example=False)
    assert not list((tmp_path / "m").rglob("*example*"))
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert model.metadata.signature is not None
    assert len(model.predict(EXAMPLES[EXPERTS].new)) == len(EXAMPLES[EXPERTS].new)


def test_the_frame_of_the_fit_is_taken_whatever_pandas_types_its_columns_have(tmp_path, mlflow):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "flow": rng.normal(10, 2, 300),
            "code": rng.integers(0, 4, 300),
            "valve": pd.Categorical(rng.choice(["open", "shut"], 300)),
            "running": pd.array([True, False, None] * 100, dtype="boolean"),
        }
    )
    detector = upland.EnergyDetector(categorical=["code"], random_state=0, progress=False).fit(rows)
    upland.mlflow.save_model(detector, tmp_path / "m")
    found = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(rows)
    np.testing.assert_array_equal(found["anomaly_score"], detector.anomaly_score(rows))
