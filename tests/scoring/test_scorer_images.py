"""Images of a column, in every layout that engines hold them in."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from estimators import EXAMPLES
from scorers import NAMES, as_pandas, modality, names_of, png, scorer_of, types_of

PICTURES = EXAMPLES["ImageVAEDetector"].new
LOTS = ["x", "y"] * (len(PICTURES) // 2)
OF_IMAGES = [name for name in NAMES if modality(name) == "image"]


BYTES = [png(pixels) for pixels in PICTURES]


def paths(folder):
    for number, data in enumerate(BYTES):
        (folder / f"{number}.png").write_bytes(data)
    return [str(folder / f"{number}.png") for number in range(len(BYTES))]


def nested(type_):
    return pa.array(PICTURES.tolist(), type_)


LISTS = pa.list_(pa.list_(pa.uint8()))
CELLS = {
    "bytes": lambda folder: pa.array(BYTES),
    "large bytes": lambda folder: pa.array(BYTES, pa.large_binary()),
    "paths": lambda folder: pa.array(paths(folder)),
    "structs": lambda folder: pa.array([{"bytes": data, "path": "a.png"} for data in BYTES]),
    "structs of paths": lambda folder: pa.array([{"bytes": None, "path": path} for path in paths(folder)]),
    "lists": lambda folder: nested(LISTS),
    "large lists": lambda folder: nested(pa.large_list(pa.large_list(pa.uint8()))),
    "lists of a size": lambda folder: nested(pa.list_(pa.list_(pa.uint8(), 8), 8)),
}
OTHERS = [(name, cells) for name in OF_IMAGES[1:] for cells in ("bytes", "structs")]
CONTAINERS = {
    "arrow": lambda column: pa.table({"image": column, "lot": LOTS}),
    "batch": lambda column: pa.record_batch({"image": column, "lot": LOTS}),
    "polars": lambda column: pl.from_arrow(pa.table({"image": column, "lot": LOTS})),
    "pandas": lambda column: pd.DataFrame({"image": column.to_pylist(), "lot": LOTS}, index=LOTS),
    "pandas of arrow": lambda column: pd.DataFrame(
        {"image": pd.array(column, dtype=pd.ArrowDtype(column.type)), "lot": LOTS}
    ),
    "dict": lambda column: {"image": column.to_pylist(), "lot": LOTS},
}


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize(("name", "cells"), [(OF_IMAGES[0], cells) for cells in CELLS] + OTHERS)
def test_images_in_every_layout_score_as_their_pixels(name, cells, kind, tmp_path):
    column = CELLS[cells](tmp_path)
    if kind in ("pandas", "dict") and "lists" in cells:
        column = pa.array(BYTES)  # Python's own lists of whole numbers do not say what depth they are
    scorer = scorer_of(name, explain=1)
    data = CONTAINERS[kind](column)
    found = scorer(data)
    assert type(found) is type(data)
    assert names_of(found) == ["image", "lot", "anomaly_score", "p_value", "is_anomaly", "reason"]
    scores, p_values = scorer.detector.assess(PICTURES)
    frame = as_pandas(found)
    assert frame["anomaly_score"].to_numpy().tobytes() == scores.tobytes()
    assert frame["p_value"].to_numpy().tobytes() == p_values.tobytes()
    assert frame["reason"].str.startswith("rows ").all()
    assert {name: types_of(found)[name] for name in ("image", "lot")} == types_of(data)


ARRAYS = {
    "array": lambda: PICTURES,
    "channels": lambda: PICTURES[..., None],
    "objects": lambda: np.array([*map(np.asarray, PICTURES), None], dtype=object)[:-1],
    "list": lambda: list(PICTURES),
    "paths as an array": None,
}


@pytest.mark.parametrize("layout", ARRAYS)
def test_images_of_a_dict_may_be_arrays(layout, tmp_path):
    images = np.array(paths(tmp_path)) if ARRAYS[layout] is None else ARRAYS[layout]()
    scorer = scorer_of("ImageVAEDetector")
    found = scorer({"image": images})
    assert found["image"] is images
    assert (found["anomaly_score"] == scorer.detector.anomaly_score(PICTURES)).all()


def test_images_of_a_tensor_column_of_arrow_are_read():
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(PICTURES)
    scorer = scorer_of("ImageVAEDetector")
    found = scorer(pa.table({"image": column}))
    assert found["anomaly_score"].to_numpy().tobytes() == scorer.detector.anomaly_score(PICTURES).tobytes()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_no_images_have_the_types_of_some(kind):
    data = CONTAINERS[kind](pa.array(BYTES))
    none = {name: values[:0] for name, values in data.items()} if kind == "dict" else data[:0]
    scorer = scorer_of("ImageVAEDetector", explain=1)
    found, some = scorer(none), scorer(data)
    assert names_of(found) == names_of(some)
    if kind != "dict":
        assert types_of(found) == types_of(some)


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("value", [None, {"bytes": None, "path": None}])
def test_a_row_without_an_image_is_named(kind, value):
    cells = [BYTES[0], BYTES[1], None] if value is None else [{"bytes": BYTES[0], "path": None}] * 2 + [value]
    column = pa.array(cells * 4)[: len(LOTS)]
    with pytest.raises(ValueError, match="row 3 of column 'image' holds no image"):
        scorer_of("ImageVAEDetector")(CONTAINERS[kind](column))


def test_data_without_the_column_are_refused_by_its_name():
    for rows in (0, 2):
        with pytest.raises(ValueError, match="no column 'image'"):
            scorer_of("ImageVAEDetector")(pa.table({"picture": BYTES[:rows]}))


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.filterwarnings("ignore:.*groups")
def test_images_have_groups_in_a_column_beside_them(kind):
    scorer = scorer_of("ImageVAEDetector", groups="lot")
    found = scorer(CONTAINERS[kind](pa.array(BYTES)))
    verdicts = scorer.detector.score_groups(PICTURES, LOTS)
    frame = as_pandas(found)
    assert frame["group"].tolist() == ["x", "y"]
    assert frame["p_value"].tolist() == verdicts.p_value.tolist()


def test_bytes_that_are_no_image_are_named_as_such():
    scorer = scorer_of("ImageEnergyDetector")
    with pytest.raises(ValueError, match="image 1 cannot be read, it is damaged or no image"):
        scorer({"image": [png(EXAMPLES["ImageEnergyDetector"].new[0]), b"no image"]})
