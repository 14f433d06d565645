"""A `Scorer` of every estimator, and its data in every container."""

import atexit
import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from PIL import Image

import upland
from estimators import COMMON, EXAMPLES

SEGMENTED = "SegmentedDetector"
WHOLE = "SequenceEnergyDetector of whole sequences"
ARRAY = "SequenceEnergyDetector of an array"
STEPS = "SequenceEnergyDetector of the steps of an array"
NAMES = [*EXAMPLES, SEGMENTED, WHOLE, ARRAY, STEPS]

FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
ARRAYS = np.random.default_rng(5).normal(size=(120, 6, 2)).cumsum(axis=1)


@cache
def file_of(name):
    """The path of the model file of a small fit."""
    path = Path(FOLDER.name) / f"{NAMES.index(name)}.safetensors"
    sequence = EXAMPLES["SequenceEnergyDetector"]
    if name == SEGMENTED:
        inner = upland.EnergyDetector(random_state=0, progress=False, keep_rows=16)
        rows = EXAMPLES["EnergyDetector"].rows
        detector = upland.SegmentedDetector(inner, by="valve").fit(pd.concat([rows] * 2, ignore_index=True))
    elif name == WHOLE:
        some = sequence.rows[sequence.rows["time"] < 12]
        many = pd.concat([some.assign(machine=some["machine"] + str(turn)) for turn in range(50)])
        detector = sequence.make(per="sequence", window=None, stride=None).fit(many)
    elif name in (ARRAY, STEPS):
        per = "step" if name == STEPS else "auto"
        plain = upland.SequenceEnergyDetector(epochs=2, hidden=[4], frame=3, per=per, **COMMON)
        detector = plain.fit(ARRAYS)
    else:
        detector = EXAMPLES[name].fit()
    upland.save(detector, path)
    return path


def scorer_of(name, **options):
    return upland.Scorer(file_of(name), **options)


def modality(name):
    return getattr(upland, name.split(" of ")[0]).modality


def png(pixels):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def frame_of(name):
    """New rows of a table or of steps as a pandas frame, with columns that are carried."""
    new = EXAMPLES["EnergyDetector" if name == SEGMENTED else name.split(" of ")[0]].new
    numbers = np.arange(len(new))
    return new.assign(note=[f"row {number}" for number in numbers], lot=np.where(numbers % 2, "x", "y"))


def odd_index(frame):
    """With an index of dates that occur several times."""
    return frame.set_index(pd.DatetimeIndex(["2026-01-01", "2026-01-02"] * (len(frame) // 2), name="day"))


def nullable(frame):
    """With pandas' own types: of missing cells, of categories."""
    made = frame.convert_dtypes()
    texts = [name for name in made if pd.api.types.is_string_dtype(made[name]) and name != "note"]
    return made.astype(dict.fromkeys(texts, "category"))


def dictionaries(frame):
    """Arrow with texts as dictionaries, in several chunks."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for number, field in enumerate(table.schema):
        if field.type in (pa.string(), pa.large_string()):
            table = table.set_column(number, field.name, table.column(number).dictionary_encode())
    return pa.concat_tables([table.slice(0, 7), table.slice(7)])


CONTAINERS = {
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "arrow dictionaries": dictionaries,
    "batch": lambda frame: CONTAINERS["arrow"](frame).combine_chunks().to_batches()[0],
    "pandas": lambda frame: frame,
    "pandas odd index": odd_index,
    "pandas nullable": nullable,
    "polars": pl.from_pandas,
    "dict": lambda frame: {name: frame[name].to_numpy() for name in frame},
}
"""From a frame to the same rows in a container."""


def as_pandas(data):
    """Any container as a frame of pandas."""
    if isinstance(data, pa.Table | pa.RecordBatch):
        return data.to_pandas()
    if isinstance(data, pl.DataFrame):
        return data.to_pandas()
    return pd.DataFrame(data) if isinstance(data, dict) else data


def names_of(data):
    if isinstance(data, pa.Table | pa.RecordBatch):
        return data.schema.names
    return list(data) if isinstance(data, dict) else list(data.columns)


def n_rows(data):
    return len(next(iter(data.values()))) if isinstance(data, dict) else len(data)


def head(data, count):
    """The first rows, in the same container."""
    if isinstance(data, dict):
        return {name: values[:count] for name, values in data.items()}
    return data.slice(0, count) if isinstance(data, pa.Table | pa.RecordBatch) else data[:count]


def types_of(data):
    """A word for the type of each column."""
    if isinstance(data, pa.Table | pa.RecordBatch):
        return dict(zip(data.schema.names, map(str, data.schema.types), strict=True))
    if isinstance(data, pl.DataFrame):
        return {name: str(dtype) for name, dtype in data.schema.items()}
    if isinstance(data, dict):
        return {name: str(np.asarray(values).dtype) for name, values in data.items()}
    return {name: str(dtype) for name, dtype in data.dtypes.items()}


ADDED_TYPES = {
    "arrow": ["double", "double", "bool", "string"],
    "batch": ["double", "double", "bool", "string"],
    "pandas": ["float64", "float64", "bool", "str"],
    "polars": ["Float64", "Float64", "Boolean", "String"],
    "dict": ["float64", "float64", "bool", "object"],
}
