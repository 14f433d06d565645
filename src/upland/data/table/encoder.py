r"""Tables to numbers: any frame or array -> `(N, D)` float32, and back to the user's columns.

Every column becomes one number of about unit size (formulas: `upland.data.table.encodings`), or one slot for
each of its levels if it is categorical. What is learned from the normal rows is a `Schema`; no later table
changes it, and a row's code depends on that row alone. The slots of one column are consecutive, in this
order:

    numeric, boolean, date, duration    value, missing*
    date by its parts                   sine and cosine of each of hour*, weekday*, month*, missing*
    categorical                         one for each level, rare*, missing*, unseen

(* only where the normal rows had any, or cover its cycle). So a column's share of a score is the sum over its
slots, and `slots` says which those are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from upland.data.table import encodings as en
from upland.data.table.blanks import with_blanks
from upland.data.table.encodings import Floats
from upland.data.table.exact import shifted
from upland.data.table.frames import TableView, check_size, view_table
from upland.data.table.layout import (
    BLOCK,
    Codes,
    OneHot,
    decode_one_hot,
    decode_plain,
    plan_one_hot,
    plan_parts,
    plan_plain,
    shown,
)
from upland.data.table.learning import check_finite
from upland.data.table.learning_tables import SchemaLearner
from upland.data.table.matching import as_names, check_kind, find_positions, listed
from upland.data.table.texts import as_fitted
from upland.data.table.values import Values, floats, levels
from upland.data.table.vocabularies import packed, with_levels
from upland.io.cells import USUAL, CellOptions
from upland.io.records import check_types
from upland.io.schema import Column, Schema

FORMAT = 1
_NAMES = Sequence[str | int]
_STORED = {"categorical": _NAMES, "ignore": _NAMES, "max_levels": int, "missing": str, "owner": str}


class TableEncoder:
    """Encodes tables of mixed columns for a model, and decodes what a model expects.

    Input is a two-dimensional NumPy array, lists of lists, a pandas or polars frame, an Arrow table, or any
    other frame that narwhals reads. Columns are found by name, whatever their order; an array's by position.

    Args:
        categorical: Columns to treat as categories whatever they hold: whole numbers that are codes, text
            with many levels.
        ignore: Columns to leave out.
        max_levels: Levels of a categorical column that get a slot each; the rarer ones share one.
        missing: What to do with a missing cell in a column that had none among the normal rows: `mark`
            encodes it as far away, since that never happened, and warns once a call; `error` refuses.
        cells: How cells of text are written, and what dates are used as.
        owner: Who encodes, for messages.

    Attributes:
        schema_: What was learned.
        slots: `(D,)` the user's column that each encoded dimension belongs to.

    Examples:
        >>> import numpy as np
        >>> from upland.data.table.encoder import TableEncoder
        >>> encoder = TableEncoder().fit(np.array([[0.0, 5.0], [2.0, 5.0]]))
        >>> encoder.transform(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
        [[0.0, 0.0], [2.0, 0.0]]
    """

    modality: Literal["table"] = "table"
    context_width: Literal[0] = 0

    def __init__(
        self,
        *,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        max_levels: int = 100,
        missing: Literal["mark", "error"] = "mark",
        cells: CellOptions = USUAL,
        owner: str = "TableEncoder",
    ) -> None:
        if max_levels < 1:
            raise ValueError(f"max_levels must be at least 1, got {max_levels}")
        if missing not in ("mark", "error"):
            raise ValueError(f"missing must be 'mark' or 'error', got {missing!r}")
        self.categorical = as_names(categorical, "categorical")
        self.ignore = as_names(ignore, "ignore")
        self.max_levels = max_levels
        self.missing = missing
        self.cells = cells
        self.owner = owner
        self._known: dict[str, Column] = {}

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, X: object) -> Self:
        """Learn the columns of normal rows `(N, M)`, N at least 2.

        Raises:
            TypeError: For data that are no table of values (sparse, nested, mixed names); the column is
                named.
            ValueError: For a wrong shape, infinities, a column that is all missing, free text or a label left
                in, stray text among numbers, unknown names in `categorical` or `ignore`.
        """
        return self.fit_batches([X])

    def read_as(self, other: TableEncoder) -> Self:
        """Take columns for what another encoder does, which was fitted on these rows and more: how text is
        read, which parts of dates are used. What that one has let pass is not refused. Returns itself.
        """
        self._known = {column.name: column for column in other.schema_.columns}
        return self

    def fit_batches(self, batches: Iterable[object]) -> Self:
        """The same from a stream of tables, in constant memory; two rows in all. Raises as `fit`."""
        return self.fit_summary(self.summary(batches))

    def summary(self, batches: Iterable[object]) -> SchemaLearner:
        """What there is to learn from a stream of tables; those of different rows merge. Raises as `fit`."""
        learner = SchemaLearner(self.categorical, self.ignore, self.cells, self._known, self.owner)
        for X in batches:
            learner.update(self._view(X))
        return learner

    def fit_summary(self, summary: SchemaLearner) -> Self:
        """Learn from the rows that a summary is of. Raises as `fit`."""
        self._set_schema(summary.schema(self.max_levels))
        return self

    def _view(self, X: object) -> TableView:
        rows = view_table(X)
        return with_blanks(rows, self.cells) if self.cells.missing else rows

    def _set_schema(self, schema: Schema) -> None:
        widths = [column.width for column in schema.columns]
        self.schema_, self._width = schema, schema.width
        self._all_numeric = all(column.kind == "numeric" for column in schema.columns)
        places = {name: position for position, name in enumerate(schema.inputs)}
        self._positions = [places[column.name] for column in schema.columns]
        self.slots: NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        starts = np.cumsum([0, *widths[:-1]])
        self._plain = plan_plain(schema.columns, starts)
        self._one_hot = plan_one_hot(schema.columns, starts)
        self._dates = plan_parts(schema.columns, starts)

    @property
    def n_columns(self) -> int:
        """Number of the user's columns in use."""
        return len(self._fitted.columns)

    @property
    def width(self) -> int:
        """Number of encoded dimensions D."""
        _ = self._fitted
        return self._width

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an encoded row, (D,)."""
        return (self.width,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return self._fitted.inputs

    def describe(self) -> list[dict[str, str]]:
        """Name and kind of each column in use."""
        return [{"name": column.name, "kind": column.kind} for column in self._fitted.columns]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns in use, in the order of the fit."""
        return self._fitted.names

    @property
    def named(self) -> bool:
        """Whether the fit saw column names that are text."""
        return self._fitted.naming == "names"

    @property
    def _fitted(self) -> Schema:
        try:
            return self.schema_
        except AttributeError:
            raise ValueError(f"this {self.owner} is not fitted yet: call fit first") from None

    # -- transform -------------------------------------------------------------------------------------------

    def transform(self, X: object) -> Codes:
        """Encode rows: `(N, M)` of any table to `(N, D)` float32, finite.

        Raises:
            TypeError: For data that are no table of values.
            ValueError: For missing columns (all are named), a retyped column, another number of columns in an
                array, infinities.
        """
        rows, positions = self._rows(X)
        codes: Codes = np.empty((rows.n_rows, self.width), dtype=np.float32)
        unexpected = self._encode_plain(rows, positions, codes)
        for plan in self._one_hot:
            unexpected |= self._encode_levels(plan, rows.read(positions[plan.column]), codes)
        for date in self._dates:
            if date.encode(floats(rows.read(positions[date.position])), codes):
                unexpected.add(date.position)
        if unexpected:
            self._report_missing(sorted(unexpected))
        return codes

    def _rows(self, X: object) -> tuple[TableView, list[int]]:
        schema = self._fitted
        rows = self._view(X)
        if rows.naming == schema.naming == "none" and len(rows.names) == len(schema.inputs):
            positions = self._positions
        else:
            positions = find_positions(rows, schema, schema.names, self.owner)
        check_size(rows)
        rows = self._typed(rows, positions)
        if rows.matrix is None or rows.matrix.dtype == bool or self._one_hot or not self._all_numeric:
            for column, position in zip(schema.columns, positions, strict=True):
                check_kind(column, rows.read(position))
        return rows, positions

    def _typed(self, rows: TableView, positions: Sequence[int]) -> TableView:
        """The table with text read as the kinds of the fit."""
        if rows.matrix is not None:
            return rows
        columns = dict(zip(positions, self.schema_.columns, strict=True))

        def read(position: int) -> Values:
            column = columns.get(position)
            if column is None or column.kind == "categorical":
                return rows.read(position)
            return as_fitted(rows, position, column, self.cells)

        return replace(rows, read=cache(read))

    def _encode_plain(self, rows: TableView, positions: Sequence[int], codes: Codes) -> set[int]:
        plan = self._plain
        where = [positions[column] for column in plan.columns]
        whole = where == list(range(len(rows.names)))
        everything = np.array_equal(plan.slots, np.arange(codes.shape[1]))
        unexpected: set[int] = set()
        step = max(BLOCK // max(len(where), 1), 1)
        for start in range(0, rows.n_rows if where else 0, step):
            stop = min(start + step, rows.n_rows)
            x = _block(rows, where, whole, start, stop)
            for number, origin in plan.origins:
                x[:, number] = shifted(rows.read(where[number])[start:stop], origin)
            absent = None if np.isfinite(x).all() else np.isnan(x)
            if absent is not None and np.isinf(x).any():
                _refuse_infinite(rows, where)
            z = en.encode_numeric(x, plan.center, plan.scale)
            for number, center, tolerance in plan.constants:
                z[:, number] = en.encode_constant(x[:, number], center, tolerance)
            if absent is not None:
                unseen = absent & plan.unmarked
                unexpected |= {plan.columns[number] for number in np.flatnonzero(unseen.any(axis=0))}
                z[absent] = 0.0
                z[unseen] = en.FAR
            codes[start:stop, slice(None) if everything else plan.slots] = z
            if len(plan.marked):
                gone = (
                    np.zeros((stop - start, len(plan.marked)), bool)
                    if absent is None
                    else absent[:, plan.marked]
                )
                codes[start:stop, plan.slots[plan.marked] + 1] = np.where(gone, plan.absent, plan.present)
        return unexpected

    def _encode_levels(self, plan: OneHot, values: Values, codes: Codes) -> set[int]:
        keys, found = levels(values, self.cells.missing_texts)
        slots = np.array([plan.slot(key) for key in keys] + [plan.missing])[found]
        block = codes[:, plan.start : plan.start + len(plan.hit)]
        block[:] = plan.miss
        block[np.arange(len(block)), slots] = plan.hit[slots]
        return {plan.column} if plan.missing == len(plan.hit) - 1 and np.any(found < 0) else set()

    def _report_missing(self, columns: Sequence[int]) -> None:
        names = [self.column_names[column] for column in columns]
        text = f"missing values in {listed(names)}, where hardly any value was missing in the normal data"
        if self.missing == "error":
            raise ValueError(f"{text}: fill them in, or fit on data with missing values")
        warnings.warn(f"{text}: these cells are encoded as far from normal ones", UserWarning, stacklevel=3)

    # -- back to values --------------------------------------------------------------------------------------

    def decode(self, Z: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The typical values that codes `(N, D)` stand for: column name -> `(N,)`.

        Numbers are float64, booleans bool, dates datetime64[us], durations timedelta64[us], categories the
        most probable level as text (`(rare)` for the slot of rare levels, None for missing), dates that are
        encoded by their parts text such as `Tue 14 h, March`.
        """
        schema = self._fitted
        Z = np.asarray(Z, dtype=np.float64)
        if Z.ndim != 2 or Z.shape[1] != self.width:
            raise ValueError(f"codes must have the shape (N, {self.width}), got {Z.shape}")
        one_hot = {plan.column: plan for plan in self._one_hot}
        dates = {date.position: date for date in self._dates}
        result: dict[str, NDArray[Any]] = {}
        for position, column in enumerate(schema.columns):
            z = Z[:, self.slots == position]
            if position in one_hot:
                result[column.name] = decode_one_hot(z, column, one_hot[position])
            elif position in dates:
                result[column.name] = dates[position].decode(z)
            else:
                result[column.name] = decode_plain(z[:, 0], column)
        return result

    def values(self, X: object) -> dict[str, NDArray[Any]]:
        """The values of the columns in use, in the types of `decode`, missing as
        NaN, NaT or None; raises as `transform`.
        """
        rows, positions = self._rows(X)
        return {
            column.name: shown(column, rows.read(position))
            for column, position in zip(self.schema_.columns, positions, strict=True)
        }

    def extra_columns(self, X: object) -> list[str]:
        """Columns of a table that the fit did not see, in their order; none for an array."""
        rows = view_table(X)
        fitted = set(self._fitted.inputs)
        if rows.naming == "none" or rows.naming != self.schema_.naming:
            return []
        return [name for name in rows.names if name not in fitted]

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors (large vocabularies as UTF-8); `from_state` is the exact way
        back.
        """
        schema = self._fitted.to_json()
        tensors = packed(schema["columns"])
        manifest = {
            "format": FORMAT,
            "categorical": list(self.categorical),
            "ignore": list(self.ignore),
            "max_levels": self.max_levels,
            "missing": self.missing,
            **({} if self.cells == USUAL else {"cells": self.cells.to_json()}),
            "owner": self.owner,
            "schema": schema,
        }
        return manifest, tensors

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild an encoder that gives the same bits; raises ValueError for what `to_state` did not
        write.
        """
        fields = {"format", "categorical", "ignore", "max_levels", "missing", "owner", "schema"}
        if wrong := (set(manifest) - {"cells"}) ^ fields:  # older files lack the options of cells
            raise ValueError(f"not the state of a TableEncoder: {sorted(wrong)} are unknown or lacking")
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"the table encoder's format is {manifest['format']!r}; "
                f"this version reads {FORMAT}: update upland"
            )
        cells = CellOptions.from_json(manifest["cells"]) if "cells" in manifest else USUAL
        arguments = {key: manifest[key] for key in fields - {"format", "schema"}}
        encoder = cls(**check_types(_STORED, arguments, "the table encoder"), cells=cells)
        schema = {**manifest["schema"], "columns": with_levels(manifest["schema"]["columns"], tensors)}
        encoder._set_schema(Schema.from_json(schema))
        return encoder


def _block(rows: TableView, where: Sequence[int], whole: bool, start: int, stop: int) -> Floats:
    if rows.matrix is not None:
        part = rows.matrix[start:stop]
        return (part if whole else part[:, where]).astype(np.float64)
    x = np.empty((stop - start, len(where)))
    for number, position in enumerate(where):
        x[:, number] = floats(rows.read(position)[start:stop])
    return x


def _refuse_infinite(rows: TableView, where: Sequence[int]) -> None:
    for position in where:
        check_finite(floats(rows.read(position)), rows.names[position])
