"""One callable of a model file for every engine that holds rows in batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.calibration.false_discovery import ALPHA, check_rate
from upland.catalogue import STATISTICS
from upland.io.modelfile import read_bytes
from upland.scoring.columns import ADDED, GROUPS, no_verdicts, of_groups, texts
from upland.scoring.containers import Container, as_arrow, container
from upland.scoring.images import images_in
from upland.scoring.inputs import check_columns, keys_of
from upland.scoring.loaded import OF_THIS_PROCESS
from upland.scoring.regions import regions
from upland.scoring.sequences import array_in, read_sequences, with_verdicts_of, without_rows

if TYPE_CHECKING:
    from upland.detectors.base import Detector


class Scorer:
    """A callable that adds anomaly scores, p-values and flags to rows, in the container that they come in.

    It holds the bytes of a model file, so that it can be pickled and run where that file is not; a process
    loads the model once, however many copies of the callable it makes. Threads may share it. A score depends
    on its row alone, so that rows may come in any batches; of a sequence model a batch holds whole sequences.
    Flags keep the false-alarm rate; the false discovery rate is of all rows together, and no batch knows it.

    Args:
        model: the path of a model file.
        alpha: the false-alarm rate that flags keep, or with `groups` the false discovery rate; None is the
            model's own, of groups 0.05.
        explain: how many reasons a column `reason` gives for each row; 0 adds no such column. Groups have
            reasons of their own.
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
        alpha: float | None = None,
        explain: int = 0,
        groups: str | Sequence[str] | None = None,
        statistic: str = "auto",
        replace_columns: bool = False,
    ) -> None:
        if alpha is not None:
            check_rate(alpha, "false_alarm")
        if isinstance(explain, bool) or not isinstance(explain, int | np.integer) or explain < 0:
            raise ValueError(f"explain is how many reasons are given, 0 or more, not {explain!r}")
        if not isinstance(statistic, str) or statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {statistic!r}")
        self.groups = _names_of_groups(groups)
        if self.groups is not None and explain:
            raise ValueError("explain is of rows, and groups have reasons of their own")
        self._path = os.fspath(model)
        self._data = read_bytes(Path(self._path))
        self._digest = hashlib.sha256(self._data).hexdigest()
        self.explain, self.statistic = int(explain), statistic
        self.replace_columns = replace_columns
        usual = self.detector.alpha_ if self.groups is None else ALPHA
        self.alpha = float(usual if alpha is None else alpha)
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
        """The names of the columns that are added; none with `groups`."""
        return () if self.groups is not None else ADDED[: 4 if self.explain else 3]

    def __repr__(self) -> str:
        given = f"alpha={self.alpha:g}, explain={self.explain}, groups={self.groups!r}"
        return f"Scorer({self._path!r}, {given})"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """The name of this callable among others, for Dask."""
        return ("upland.Scorer", self._digest, *self._settings())

    def _settings(self) -> tuple[Any, ...]:
        return self.alpha, self.explain, self.groups, self.statistic, self.replace_columns

    def __call__(self, data: Any) -> Any:
        """The rows with the columns of `upland score` behind, in a container of the same kind; with `groups`
        a row for each group, with the columns of `upland groups`.

        Args:
            data: an Arrow table or record batch, a pandas or polars frame, or a dict of arrays. Of an image
                model the column `image` holds the bytes or the paths of image files, a struct of both, or
                the pixels as arrays or lists; in a dict also one array `(N, H, W)` or `(N, H, W, C)`. Of a
                sequence model it is a long frame with one row a step, or a dict with one array `(N, T, D)`;
                where a score is of a whole sequence, what is returned has a row for each. There may be no
                rows.

        Raises:
            TypeError: the rows are in no such container.
            ValueError: columns are missing or of another kind, or are called like those that are added; the
                message names them.
        """
        rows, detector = container(data), self.detector
        if self.groups is not None:
            return rows.made_of(self._verdicts_on_groups(detector, rows, self.groups))
        rows = self._without_clash(detector, rows)
        if not rows.n_rows:
            return self._without_rows(detector, rows)
        if detector.modality == "image":
            return rows.with_columns(self._verdicts(detector, images_in(rows)))
        if detector.modality == "sequence":
            sequences = read_sequences(detector, rows)
            verdicts = self._verdicts(detector, sequences)
            return with_verdicts_of(detector, rows, sequences, verdicts)
        return rows.with_columns(self._verdicts(detector, rows.data))

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of what is returned for Arrow data of a schema, for engines that ask before they run.

        Args:
            schema: of the data.

        Raises:
            ValueError: as a call.
        """
        return self(schema.empty_table()).schema

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Each batch as a call gives it; what engines ask for that hand over an iterator."""
        return map(self, batches)

    def _without_clash(self, detector: Detector, rows: Container) -> Container:
        """The rows without columns that give way, but for those that the model reads."""
        clash = [name for name in self.added if name in rows.names]
        if clash and not self.replace_columns:
            raise ValueError(
                f"the data have columns with the names that scoring adds: {', '.join(clash)}; "
                "rename them, or say replace_columns=True"
            )
        unused = set(clash).difference(detector.encoder_.inputs, keys_of(detector)) if clash else ()
        return container(rows.without(unused)) if unused else rows

    def _without_rows(self, detector: Detector, rows: Container) -> Any:
        if detector.modality == "sequence":
            return without_rows(detector, rows, self.explain > 0)
        if detector.modality == "image":
            images_in(rows)
        else:
            check_columns(detector, rows)
        return rows.with_columns(no_verdicts(self.explain > 0))

    def _verdicts(self, detector: Detector, data: Any) -> dict[str, Any]:
        """The columns that are added to some data as the detector reads them."""
        scores, p_values = detector.assess(data)
        found: dict[str, Any] = {ADDED[0]: scores, ADDED[1]: p_values, ADDED[2]: p_values <= self.alpha}
        if self.explain:
            reasons = self._reasons(detector, data)
            if scores.ndim == 1:
                found[ADDED[3]] = pa.array(texts(reasons), pa.string())
            else:  # of the steps of an array
                found[ADDED[3]] = np.array(list(map(texts, reasons)), dtype=object)
        return found

    def _reasons(self, detector: Detector, data: Any) -> Any:
        from upland.explanation import ImageExplanation, explain

        explained = explain(detector, data)
        if isinstance(explained, ImageExplanation):
            return regions(explained, self.explain)
        return explained.top(self.explain)

    def _verdicts_on_groups(
        self, detector: Detector, rows: Container, groups: str | tuple[str, ...]
    ) -> pa.Table:
        names = (groups,) if isinstance(groups, str) else groups
        if lacking := [name for name in names if name not in rows.names]:
            raise ValueError(f"missing column(s) of groups: {', '.join(map(repr, lacking))}")
        named = pa.string()
        if len(names) == 1:
            named = as_arrow(rows.column(names[0])).type
            named = named.value_type if pa.types.is_dictionary(named) else named
            named = pa.string() if pa.types.is_null(named) else named
        schema = GROUPS.set(0, pa.field("group", named))
        if not rows.n_rows:
            return schema.empty_table()
        data: Any = rows.data
        labels: Any = groups
        if detector.modality != "table":
            from upland.data.table.frames import view_table
            from upland.groups.labels import labels_by

            labels = labels_by(view_table(rows.data), names, ())
            data = images_in(rows) if detector.modality == "image" else array_in(rows)
        if data is None:
            raise ValueError(
                "the model is of sequences, and groups of time steps are not tested: they depend on each "
                "other; give a dict with an array (N, T, D) of sequences and the group of each"
            )
        verdicts = detector.score_groups(data, labels, self.alpha, statistic=self.statistic)
        return of_groups(verdicts).cast(schema)


def _names_of_groups(groups: Any) -> str | tuple[str, ...] | None:
    """A name of a column, several, or none; raises ValueError for anything else."""
    if groups is None or isinstance(groups, str):
        return groups
    names = tuple(groups) if isinstance(groups, Sequence) and not isinstance(groups, bytes) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"groups is the name of a column, or several names, not {groups!r}")
    return names
