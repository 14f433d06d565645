"""Models of upland in MLflow: logged, loaded and scored, with the same numbers; nothing is unpickled."""

import os
import shutil
import sys
from pathlib import Path

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import yaml

import upland
import upland.mlflow
from estimators import EXAMPLES
from normals import fitted, mixed
from upland.io.modelfile import TensorFileError


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda name: name.replace(" ", "_"))
def logged(request, tmp_path_factory):
    """An estimator, its data, and the folder of its MLflow model."""
    example = EXAMPLES[request.param]
    folder = tmp_path_factory.mktemp("mlflow") / "model"
    detector = example.fit()
    upland.mlflow.save_model(detector, folder)
    return detector, example.new, folder


def test_the_scores_of_a_python_function_are_those_of_the_detector(logged):
    detector, new, folder = logged
    found = mlflow.pyfunc.load_model(str(folder)).predict(new)
    scores, p_values = detector.assess(new)
    np.testing.assert_array_equal(found["anomaly_score"], scores)
    np.testing.assert_array_equal(found["p_value"], p_values)
    np.testing.assert_array_equal(found["is_anomaly"], p_values <= 0.05)


def test_parameters_of_a_call_are_those_of_a_scorer(logged):
    detector, new, folder = logged
    found = mlflow.pyfunc.load_model(str(folder)).predict(new, params={"alpha": 0.5, "explain": 1})
    np.testing.assert_array_equal(found["is_anomaly"], detector.assess(new).p_value <= 0.5)
    assert all(isinstance(words, str) and "expected" in words for words in found["reason"])


def test_the_detector_comes_back(logged):
    detector, new, folder = logged
    again = upland.mlflow.load_model(str(folder))
    assert type(again) is type(detector)
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))


def test_the_folder_holds_upland_s_file_and_nothing_that_is_unpickled(logged):
    _, _, folder = logged
    files = {path.name for path in folder.iterdir()}
    plain = {"MLmodel", "model.safetensors", "requirements.txt", "python_env.yaml"}
    assert plain <= files <= plain | {"input_example.json"}
    described = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
    assert described["upland"]["sha256"] == upland.Scorer(folder / "model.safetensors").digest
    assert described["python_function"]["loader_module"] == "upland.mlflow"


def test_the_example_of_the_input_is_one_that_can_be_scored(logged):
    detector, _, folder = logged
    model = mlflow.pyfunc.load_model(str(folder))
    if detector.modality == "sequence":  # what names a sequence and a time stamp is not in the schema
        assert model.metadata.saved_input_example_info is None
        return
    example = model.input_example
    assert len(model.predict(example)) == 1


def test_no_row_of_the_fit_is_in_the_example(tmp_path):
    rows = mixed()
    upland.mlflow.save_model(upland.EnergyDetector(random_state=0).fit(rows), tmp_path / "m")
    example = mlflow.pyfunc.load_model(str(tmp_path / "m")).input_example
    assert not (rows["flow"] == example["flow"][0]).any()


def test_columns_of_other_types_than_the_fit_s_are_read_as_upland_reads_them(tmp_path):
    rows = mixed(300)
    rows["day"] = pd.to_datetime("2026-01-01") + pd.to_timedelta(
        np.random.default_rng(0).permutation(300), "D"
    )
    rows["running"] = rows["running"].astype(object)
    rows.loc[3, ["running", "valve"]] = None
    detector = upland.EnergyDetector(random_state=0).fit(rows)
    upland.mlflow.save_model(detector, tmp_path / "m")
    new = mixed(40, seed=1)
    new["day"] = pd.date_range("2026-02-01", periods=40)
    new["running"] = new["running"].astype(object)
    new.loc[2, ["running", "valve"]] = None
    found = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(new)
    np.testing.assert_array_equal(found["anomaly_score"], detector.anomaly_score(new))


def test_segments_have_their_column_in_the_signature(tmp_path):
    rows = mixed(400).assign(site=["a", "b"] * 200)
    detector = upland.SegmentedDetector(upland.EnergyDetector(random_state=0), by="site").fit(rows)
    upland.mlflow.save_model(detector, tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert "site" in model.metadata.signature.inputs.input_names()
    np.testing.assert_array_equal(model.predict(rows)["anomaly_score"], detector.anomaly_score(rows))


def test_a_model_without_names_of_columns_takes_an_array(tmp_path):
    rows = np.random.default_rng(0).normal(size=(200, 3))
    detector = upland.EnergyDetector(random_state=0).fit(rows)
    upland.mlflow.save_model(detector, tmp_path / "m")
    found = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(rows)
    np.testing.assert_array_equal(found["anomaly_score"], detector.anomaly_score(rows))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    mlflow.set_registry_uri((tmp_path / "runs").as_uri())
    yield tmp_path
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow")
def test_a_model_is_logged_registered_and_loaded_by_its_name(store):
    detector = fitted()
    path = store / "m.safetensors"
    upland.save(detector, path)
    with mlflow.start_run():
        info = upland.mlflow.log_model(path, name="pumps", registered_model_name="pumps")
    rows = np.random.default_rng(1).normal(size=(9, 4))
    for uri in (info.model_uri, "models:/pumps/1"):
        np.testing.assert_array_equal(
            upland.mlflow.load_model(uri).anomaly_score(rows), detector.anomaly_score(rows)
        )


def test_a_wrong_column_is_named_and_a_folder_that_is_taken_is_refused(tmp_path):
    upland.mlflow.save_model(upland.EnergyDetector(random_state=0).fit(mixed()), tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    with pytest.raises(mlflow.exceptions.MlflowException, match="pressure"):
        model.predict(mixed().drop(columns="pressure"))
    with pytest.raises(FileExistsError, match="holds files already"):
        upland.mlflow.save_model(fitted(), tmp_path / "m")


def test_a_file_that_is_no_model_leaves_no_folder(tmp_path):
    (tmp_path / "no.safetensors").write_bytes(b"no model")
    with pytest.raises(TensorFileError):
        upland.mlflow.save_model(tmp_path / "no.safetensors", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_model_of_another_flavour_is_refused_by_its_name(tmp_path):
    other = mlflow.models.Model()
    other.add_flavor("sklearn")
    other.save(str(tmp_path / "MLmodel"))
    with pytest.raises(ValueError, match="a model of sklearn, not of upland"):
        upland.mlflow.load_model(str(tmp_path))


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.filterwarnings("ignore::Warning:pyspark", "ignore::ResourceWarning")
def test_a_function_of_spark_gives_the_same_scores(tmp_path, monkeypatch):
    from pyspark.sql import SparkSession

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    rows = mixed(300)[["flow", "pressure", "valve"]]
    detector = upland.EnergyDetector(random_state=0).fit(rows)
    upland.mlflow.save_model(detector, tmp_path / "m")
    source = str(Path(upland.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    build = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = build.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    try:
        score = mlflow.pyfunc.spark_udf(
            spark,
            str(tmp_path / "m"),
            env_manager="local",
            result_type="anomaly_score double, p_value double",
        )
        frame = spark.createDataFrame(rows)
        found = frame.select(score(*rows.columns).alias("found")).select("found.*").toPandas()
    finally:
        spark.stop()
    np.testing.assert_allclose(found["anomaly_score"], detector.anomaly_score(rows), rtol=1e-7)
