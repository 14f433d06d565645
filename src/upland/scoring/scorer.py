"""One callable of a model file for every engine that holds rows in batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.calibration.false_discovery import check_rate
from upland.catalogue import STATISTICS
from upland.io.modelfile import read_bytes
from upland.scoring.columns import ADDED, of_groups, texts
from upland.scoring.containers import Container, container
from upland.scoring.loaded import OF_THIS_PROCESS
from upland.scoring.regions import regions

if TYPE_CHECKING:
    from upland.detectors.base import Detector

IMAGE = "image"
"""The column that holds images."""


class Scorer:
    """A callable that adds anomaly scores, p-values and flags to rows, in the container that they come in.

    It holds the bytes of a model file, so that it can be pickled and run where that file is not; a process
    loads the model once, however many copies of the callable it makes. Threads may share it. A score depends
    on its row alone, so that rows may come in any batches; of a sequence model a batch holds whole sequences.
    Flags keep the false-alarm rate; the false discovery rate is of all rows together, and no batch knows it.

    Args:
        model: the path of a model file.
        alpha: the false-alarm rate that flags keep, or with `groups` the false discovery rate.
        explain: how many reasons a column `reason` gives for each row; 0 adds no such column.
        groups: the column that names the group of each row, or several; what is returned is then a row for
            each group, with the columns of `upland groups`.
        statistic: what is measured of a group, a name of `upland.catalogue.STATISTICS`.
        replace_columns: whether columns named like those that are added may be replaced.

    Raises:
        FileNotFoundError: there is no such file.
        TensorFileError: the file is no model file.
        ValueError: an argument is out of its range.

    Examples:
        >>> import numpy as np, pyarrow as pa, tempfile, pathlib, upland
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> rows = {"flow": np.random.default_rng(0).normal(size=200)}
        >>> upland.save(upland.EnergyDetector(random_state=0).fit(rows), path)
        >>> scorer = upland.Scorer(path)
        >>> scorer(pa.table({"flow": [0.1, 9.0]}))["is_anomaly"].to_pylist()
        [False, True]
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        alpha: float = 0.05,
        explain: int = 0,
        groups: str | Sequence[str] | None = None,
        statistic: str = "auto",
        replace_columns: bool = False,
    ) -> None:
        check_rate(alpha, "false_alarm")
        if isinstance(explain, bool) or not isinstance(explain, int) or explain < 0:
            raise ValueError(f"explain is how many reasons are given, 0 or more, not {explain!r}")
        if statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {statistic!r}")
        self._path = Path(model)
        self._data = read_bytes(self._path)
        self._digest = hashlib.sha256(self._data).hexdigest()
        self.alpha, self.explain, self.statistic = float(alpha), explain, statistic
        self.groups = groups if groups is None or isinstance(groups, str) else tuple(groups)
        self.replace_columns = replace_columns
        self.detector.check_alpha(self.alpha)

    @property
    def detector(self) -> Detector:
        """The fitted detector, which all scorers of the same file in this process share: it is not to be
        changed.
        """
        return OF_THIS_PROCESS.get(self._digest, self._data, self._path)

    @property
    def digest(self) -> str:
        """SHA-256 of the model file, in hexadecimal digits."""
        return self._digest

    @property
    def added(self) -> tuple[str, ...]:
        """The names of the columns that are added."""
        return ADDED[: 4 if self.explain else 3]

    def __repr__(self) -> str:
        given = f"alpha={self.alpha:g}, explain={self.explain}, groups={self.groups!r}"
        return f"Scorer({str(self._path)!r}, {given})"

    def __call__(self, data: Any) -> Any:
        """The rows with the columns of `upland score` behind, in a container of the same kind; with `groups`
        a row for each group, with the columns of `upland groups`.

        Args:
            data: an Arrow table or record batch, a pandas or polars frame, or a dict of arrays. Of an image
                model the column `image` holds the bytes or the paths of image files, or in a dict an array
                `(N, H, W)` or `(N, H, W, C)`. Of a sequence model it is a long frame with one row a step, or
                a dict of one array `(N, T, D)`; where a score is of a whole sequence, what is returned has a
                row for each.

        Raises:
            TypeError: the rows are in no such container.
            ValueError: columns are missing or of another kind, or are called like those that are added; the
                message names them.
        """
        rows = container(data)
        if self.groups is not None:
            return self._of_groups(rows)
        clash = [name for name in rows.names if name in self.added]
        if clash and not self.replace_columns:
            raise ValueError(
                f"the data have columns with the names that scoring adds: {', '.join(clash)}; "
                "rename them, or say replace_columns=True"
            )
        if clash:
            rows = container(rows.without(clash))
        detector = self.detector
        if detector.modality == "image":
            return self._of_images(detector, rows)
        if detector.modality == "sequence":
            return self._of_sequences(detector, rows)
        return rows.with_columns(self._verdicts(detector, rows.data, rows.n_rows))

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Each batch as a call gives it; what engines ask for that hand over an iterator."""
        return map(self, batches)

    def _verdicts(self, detector: Detector, data: Any, count: int) -> dict[str, Any]:
        """The columns that are added to some data as the detector reads them."""
        if not count:
            empty: dict[str, Any] = {
                ADDED[0]: np.empty(0),
                ADDED[1]: np.empty(0),
                ADDED[2]: np.empty(0, dtype=bool),
            }
            return empty | ({ADDED[3]: pa.array([], pa.string())} if self.explain else {})
        scores, p_values = detector.assess(data)
        found: dict[str, Any] = {ADDED[0]: scores, ADDED[1]: p_values, ADDED[2]: p_values <= self.alpha}
        if self.explain:
            found[ADDED[3]] = pa.array(texts(self._reasons(detector, data)) if count else [], pa.string())
        return found

    def _reasons(self, detector: Detector, data: Any) -> Any:
        from upland.explanation import ImageExplanation, explain

        explained = explain(detector, data)
        if isinstance(explained, ImageExplanation):
            return regions(explained, self.explain)
        return explained.top(self.explain)

    def _of_groups(self, rows: Container) -> Any:
        assert self.groups is not None
        verdicts = self.detector.score_groups(rows.data, self.groups, self.alpha, statistic=self.statistic)
        table = of_groups(verdicts)
        return rows.made_of({name: table.column(name) for name in table.column_names})

    def _of_images(self, detector: Detector, rows: Container) -> Any:
        if IMAGE not in rows.names:
            raise ValueError(
                f"the model is of images, and the data have no column {IMAGE!r}: it holds the bytes or the "
                "paths of image files, or in a dict of arrays the pixels (N, H, W) or (N, H, W, C)"
            )
        images = rows.column(IMAGE)
        if not isinstance(images, np.ndarray) or images.dtype == object:
            images = [_image(value, number) for number, value in enumerate(_listed(images))]
        return rows.with_columns(self._verdicts(detector, images, rows.n_rows))

    def _of_sequences(self, detector: Detector, rows: Container) -> Any:
        from upland.data.sequence.encoder import SequenceEncoder

        encoder = detector.encoder_
        assert isinstance(encoder, SequenceEncoder)
        if not rows.n_rows:
            return rows.with_columns(self._verdicts(detector, None, 0))
        sequences = next(iter(detector.plan_.reader.pieces(_array_or(rows.data), encoder)))
        verdicts = self._verdicts(detector, sequences, sequences.n_sequences)
        if detector.plan_.reader.unit(sequences) == "step" or sequences.layout == "array":
            return rows.with_columns(verdicts)
        name = "sequence" if sequences.ids is None else str(encoder.id)
        ids = np.arange(sequences.n_sequences) if sequences.ids is None else sequences.ids
        return rows.made_of({name: ids, **verdicts})


def _listed(column: Any) -> list[Any]:
    """The values of a column as Python's own."""
    return list(column.to_pylist() if isinstance(column, pa.Array | pa.ChunkedArray) else column)


def _image(value: Any, number: int) -> Any:
    """An image of a cell: bytes, a path, an array; of a struct its bytes, or its path where it has none."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None:
        raise ValueError(f"row {number} of column {IMAGE!r} holds no image")
    return value


def _array_or(data: Any) -> Any:
    """The only array of three dimensions of a dict; anything else as it is."""
    if isinstance(data, dict) and len(data) == 1:
        (values,) = data.values()
        return values if np.ndim(values) == 3 else data
    return data
