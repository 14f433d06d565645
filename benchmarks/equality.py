"""The same rows scored in every way: the largest relative difference of scores, of p-values, and of flags.

`local` is `detector.assess` of the data in memory, and what the others are compared with: the command line
from and to files, the `Scorer` in each container and engine, Ray, the server by each kind of body, the ONNX
graph and MLflow. Data: breast cancer (numbers), a made-up plant with categories, missing cells and levels
that the fit has not seen (mixed), the same by site (segments), pumps (series), digits (images).
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

import upland
from benchmarks.options import command, parsed
from benchmarks.records import Records

VERDICTS = ("anomaly_score", "p_value", "is_anomaly")
ALPHA = 0.05
PROGRAM = (sys.executable, "-c", "from upland.cli import main; main()")


@dataclass(frozen=True)
class Case:
    """Data in which every way is compared.

    Args:
        name: of the data.
        detector: fitted.
        model: its file.
        new: rows as a frame; of images an array.
        folder: where files may be written.
    """

    name: str
    detector: Any
    model: Path
    new: Any
    folder: Path

    @property
    def arrow(self) -> pa.Table:
        return pa.Table.from_pandas(self.new, preserve_index=False)


# -- data ----------------------------------------------------------------------------------------------------


def numeric() -> tuple[Any, Any, Any]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    normal, new = data.data[data.target == 1], data.data[data.target == 0]
    return upland.EnergyDetector(random_state=0), normal[:250], pd.concat([normal[250:], new])


def plant(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    frame = pd.DataFrame(
        {
            "flow": flow,
            "pressure": 2 * flow + rng.normal(0, 0.2, count) + shift,
            "valve": rng.choice(["open", "shut", "half"], count),
            "steps": rng.integers(0, 9, count),
            "site": rng.choice([f"site {n}" for n in range(8)], count),
        }
    )
    frame.loc[rng.random(count) < 0.1, "pressure"] = np.nan
    frame.loc[rng.random(count) < 0.1, "valve"] = None
    return frame


def plant_new() -> pd.DataFrame:
    new = pd.concat([plant(300, 1), plant(100, 2, 3.0)], ignore_index=True)
    new.loc[[3, 5], "valve"] = "jammed"
    return new


def mixed() -> tuple[Any, Any, Any]:
    return upland.EnergyDetector(ignore=["site"], random_state=0), plant(1_500, 0), plant_new()


def segments() -> tuple[Any, Any, Any]:
    inner = upland.EnergyDetector(random_state=0)
    return upland.SegmentedDetector(inner, by="site"), plant(1_500, 0), plant_new()


def series() -> tuple[Any, Any, Any]:
    detector = upland.SequenceEnergyDetector(time="minute", id="pump", epochs=10, random_state=0)
    return detector, pumps(0), pumps(1, broken=True)


def pumps(seed: int, broken: bool = False, steps: int = 300) -> pd.DataFrame:
    rng, minutes, parts = np.random.default_rng(seed), np.arange(steps), []
    for number, pump in enumerate("abc"):
        flow = 10 + 3 * np.sin(minutes / 5 + number) + rng.normal(0, 0.3, steps)
        pressure = 2 * flow + rng.normal(0, 0.3, steps) + 8 * (broken and pump == "b") * (minutes > 250)
        parts.append(pd.DataFrame({"pump": pump, "minute": minutes, "flow": flow, "pressure": pressure}))
    return pd.concat(parts, ignore_index=True)


def images() -> tuple[Any, Any, Any]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * 15.9).astype(np.uint8)
    normal, others = pixels[digits.target == 0], pixels[digits.target == 1]
    detector = upland.ImageEnergyDetector(epochs=5, random_state=0)
    return detector, normal[:120], np.concatenate([normal[120:], others[:40]])


DATA = {"numeric": numeric, "mixed": mixed, "segments": segments, "series": series, "images": images}


def case(name: str, folder: Path) -> Case:
    """The fitted model of a data set in a file, and its new data."""
    detector, normal, new = DATA[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        detector.fit(normal)
    model = folder / f"{name}.safetensors"
    upland.save(detector, model)
    return Case(name, detector, model, new, folder)


# -- ways ----------------------------------------------------------------------------------------------------


def local(case: Case) -> pd.DataFrame:
    scores, p_values = case.detector.assess(case.new)
    return pd.DataFrame({VERDICTS[0]: scores, VERDICTS[1]: p_values, VERDICTS[2]: p_values <= ALPHA})


def verdicts(table: Any) -> pd.DataFrame:
    """The added columns of whatever a way gives."""
    if isinstance(table, dict):
        return pd.DataFrame({name: np.asarray(table[name]) for name in VERDICTS})
    frame = table.to_pandas() if isinstance(table, pa.Table | pa.RecordBatch) else table
    if not isinstance(frame, pd.DataFrame):
        frame = frame.to_pandas()
    return frame[list(VERDICTS)].reset_index(drop=True)


def command_line(suffix: str) -> Callable[[Case], pd.DataFrame]:
    def way(case: Case) -> pd.DataFrame:
        data, scored = (case.folder / f"{case.name}-{part}{suffix}" for part in ("new", "scored"))
        if isinstance(case.new, np.ndarray):
            data = data.with_suffix(".npy")
            np.save(data, case.new)
        else:
            write(case.arrow, data)
        run("score", case.model, data, "-o", scored, "--overwrite", "--quiet")
        return verdicts(csv.read_csv(scored) if suffix == ".csv" else parquet.read_table(scored))

    return way


def write(table: pa.Table, path: Path) -> None:
    csv.write_csv(table, path) if path.suffix == ".csv" else parquet.write_table(table, path)


def run(*arguments: Any) -> None:
    program = "from upland.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def scorer(made: Callable[[Case], Any]) -> Callable[[Case], pd.DataFrame]:
    return lambda case: verdicts(upland.Scorer(case.model, ALPHA)(made(case)))


def arrays(case: Case) -> dict[str, Any]:
    if isinstance(case.new, np.ndarray):
        return {"image": case.new}
    return {name: case.new[name].to_numpy() for name in case.new}


def png(case: Case) -> pa.Table:
    from PIL import Image

    cells = []
    for pixels in case.new:
        held = io.BytesIO()
        Image.fromarray(pixels).save(held, "png")
        cells.append(held.getvalue())
    return pa.table({"image": pa.array(cells, pa.binary())})


def polars(case: Case) -> Any:
    import polars as pl

    return pl.from_arrow(case.arrow)


def duckdb_recipe(case: Case) -> pd.DataFrame:
    import duckdb

    rows = case.arrow  # noqa: F841, DuckDB finds it by its name
    found = upland.Scorer(case.model, ALPHA)(duckdb.sql("select * from rows").to_arrow_table())
    return verdicts(found)


def dask_recipe(case: Case) -> pd.DataFrame:
    import dask.dataframe as dd

    held, one = upland.Scorer(case.model, ALPHA), case.name == "series"
    parts = dd.from_pandas(case.new.reset_index(drop=True), npartitions=1 if one else 3, sort=False)
    return verdicts(parts.map_partitions(held, meta=held(case.new.head(0))).compute(scheduler="threads"))


def spark_recipe(case: Case) -> pd.DataFrame:
    from pyspark.sql import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    os.environ["PYSPARK_PYTHON"] = sys.executable
    held = upland.Scorer(case.model, ALPHA)
    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    new = spark.createDataFrame(case.arrow)
    schema = from_arrow_schema(held.schema(to_arrow_schema(new.schema)))
    return verdicts(new.mapInArrow(held.batches, schema).toPandas())


def ray_engine(case: Case) -> pd.DataFrame:
    lake, out = case.folder / f"{case.name}-lake", case.folder / f"{case.name}-out"
    lake.mkdir(exist_ok=True)
    starts = [0] if case.name == "series" else [0, 100, 250]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        table = png(case) if isinstance(case.new, np.ndarray) else case.arrow
        write(table.slice(start, None if end is None else end - start), lake / f"part-{number}.parquet")
    run("score", case.model, f"{lake}/*.parquet", "-o", out, "--engine", "ray", "--overwrite", "--quiet")
    return verdicts(pa.concat_tables([parquet.read_table(path) for path in sorted(out.rglob("*.parquet"))]))


def mlflow_pyfunc(case: Case) -> pd.DataFrame:
    import mlflow.pyfunc

    import upland.mlflow

    folder = case.folder / f"{case.name}-mlflow"
    upland.mlflow.save_model(case.model, folder)
    return verdicts(mlflow.pyfunc.load_model(str(folder)).predict(case.new))


def onnx_graph(case: Case) -> pd.DataFrame:
    import onnxruntime

    graph = case.folder / f"{case.name}.onnx"
    run("export", case.model, "-o", graph, "--overwrite", "--quiet")
    session = onnxruntime.InferenceSession(graph)
    return verdicts(dict(zip(VERDICTS, session.run(list(VERDICTS), fed(session, case)), strict=True)))


def fed(session: Any, case: Case) -> dict[str, Any]:
    """The inputs of a graph: a column each, missing text as empty; or all images."""
    if isinstance(case.new, np.ndarray):
        return {session.get_inputs()[0].name: case.new}
    kinds = {"tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    found = {}
    for put in session.get_inputs():
        if put.name == "lengths":
            found[put.name] = case.new.groupby("pump").size().to_numpy(np.int64)
            continue
        column = case.new[put.name]
        of_text = put.type == "tensor(string)"
        found[put.name] = (
            column.astype(object).where(column.notna(), "").to_numpy(object)
            if of_text
            else column.to_numpy(kinds[put.type])
        ).reshape(-1, *[1] * (len(put.shape) - 1))
    return found


@contextmanager
def served(case: Case) -> Iterator[str]:
    """The address of a server with the model, which ends with the block."""
    arguments = ("serve", str(case.model), "--port", "0")
    with subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = map(json.loads, server.stderr)
            port = next(line["port"] for line in said if line["message"] == "listening")
            next(line for line in said if line["message"] == "ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


BODIES = {
    "JSON": "application/json",
    "CSV": "text/csv",
    "Arrow": "application/vnd.apache.arrow.stream",
    "Parquet": "application/vnd.apache.parquet",
    "v2": "application/json",
}


def rest(kind: str) -> Callable[[Case], pd.DataFrame]:
    def way(case: Case) -> pd.DataFrame:
        import httpx

        with served(case) as address:
            if kind == "v2":
                asked = tensors(httpx.get(f"{address}/v2/models/{case.name}").json(), case)
                answer = httpx.post(f"{address}/v2/models/{case.name}/infer", json=asked, timeout=60)
                outputs = {part["name"]: part["data"] for part in answer.raise_for_status().json()["outputs"]}
                return verdicts(outputs)
            headers = {"Content-Type": BODIES[kind], "Accept": BODIES["Arrow"]}
            answer = httpx.post(f"{address}/score", content=body(case, kind), headers=headers, timeout=60)
            return verdicts(pa.ipc.open_stream(answer.raise_for_status().content).read_all())

    return way


def body(case: Case, kind: str) -> bytes:
    """The new data as the body of a request."""
    if isinstance(case.new, np.ndarray) and kind == "JSON":
        cells = png(case)["image"].to_pylist()
        return json.dumps([{"image": base64.b64encode(cell).decode()} for cell in cells]).encode()
    table = png(case) if isinstance(case.new, np.ndarray) else case.arrow
    if kind == "JSON":
        return json.dumps(table.to_pylist()).encode()
    held = io.BytesIO()
    if kind == "Arrow":
        with pa.ipc.new_stream(held, table.schema) as stream:
            stream.write_table(table)
    elif kind == "CSV":
        csv.write_csv(table, held)
    else:
        parquet.write_table(table, held)
    return held.getvalue()


def tensors(described: dict[str, Any], case: Case) -> dict[str, Any]:
    """The new data as the protocol has them: a tensor for each column."""
    inputs = []
    for put in described["inputs"]:
        kind = put["datatype"]
        if isinstance(case.new, np.ndarray):
            values, shape = case.new.ravel().tolist(), [*case.new.shape]
        else:
            cells = case.new[put["name"]]
            kind = "INT64" if pd.api.types.is_integer_dtype(cells) else kind
            values = [None if it is None or it != it else it for it in cells]
            shape = [len(values)]
        inputs.append({"name": put["name"], "datatype": kind, "shape": shape, "data": values})
    return {"inputs": inputs}


# -- comparison ----------------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Case], pd.DataFrame]] = {
    "upland score, CSV": command_line(".csv"),
    "upland score, Parquet": command_line(".parquet"),
    "Scorer, pandas": scorer(lambda case: case.new),
    "Scorer, polars": scorer(polars),
    "Scorer, Arrow": scorer(lambda case: case.arrow),
    "Scorer, dict of arrays": scorer(arrays),
    "Scorer, image files": scorer(png),
    "DuckDB": duckdb_recipe,
    "Dask": dask_recipe,
    "Spark": spark_recipe,
    "Ray": ray_engine,
    **{f"REST, {kind}": rest(kind) for kind in BODIES},
    "ONNX": onnx_graph,
    "MLflow": mlflow_pyfunc,
}
FRAMES = ("Scorer, pandas", "Scorer, polars", "Scorer, Arrow", "DuckDB", "Dask", "Spark", "REST, CSV")
"""Ways of frames, in which arrays of images do not come."""


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--sets", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parsed(
        parser, argv, "equality", {"sets": ["numeric", "images"], "ways": ["Scorer, Arrow", "ONNX"]}
    )
    records = Records.open(options.output, ("set", "way"))
    for name in options.sets:
        with tempfile.TemporaryDirectory() as folder:
            made = case(name, Path(folder))
            expected = local(made)
            for way in options.ways:
                of_images = isinstance(made.new, np.ndarray)
                foreign = way in FRAMES if of_images else way == "Scorer, image files"
                if not foreign and records.find(set=name, way=way) is None:
                    row = compared(expected, WAYS[way], made)
                    records.add({"benchmark": "equality", "set": name, "way": way, **row})
                    print(name, way, row, flush=True)
    return 0


def compared(expected: pd.DataFrame, way: Callable[[Case], pd.DataFrame], made: Case) -> dict[str, Any]:
    """How far a way is from the local scores; or what it says where it refuses the model."""
    try:
        found = way(made)
    except RuntimeError as error:
        return {"rows": len(expected), "refused": str(error)[:300]}
    scores, wanted = found[VERDICTS[0]].to_numpy(), expected[VERDICTS[0]].to_numpy()
    scale = np.maximum(np.abs(wanted), np.abs(wanted).mean())
    return {
        "rows": len(expected),
        "score_difference": float((np.abs(scores - wanted) / scale).max()),
        "p_value_difference": float(np.abs(found[VERDICTS[1]] - expected[VERDICTS[1]]).max()),
        "flags_changed": int((found[VERDICTS[2]].astype(bool) != expected[VERDICTS[2]]).sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
