r"""Tables to numbers: any frame or array -> `(N, D)` float32, and the way back to the user's columns.

Every column becomes one number of about unit size (`upland.data.encodings` has the formulas), or one slot for each of its levels if
it is categorical. What is learned from the normal rows is a `Schema`; nothing of a later table changes it, and a row's code depends on
that row alone. The slots of one column stand together, in this order:

    numeric, boolean, date, duration    value, missing*
    categorical                         one for each level, rare*, missing*, unseen

(* only where the normal rows had any). So a column's share of a score is the sum over its slots, and `slots` says which those are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from upland.data import encodings as en
from upland.data.encodings import Floats
from upland.data.frames import Rows, as_rows, check_size
from upland.data.learning import ColumnLearner, check_finite
from upland.data.schema import Column, Kind, Schema
from upland.data.values import Values, dtype_of, floats, kind_of, levels

Codes = NDArray[np.float32]

FORMAT = 1
_BLOCK = 1 << 18
_INLINE_LEVELS = 256


@dataclass(frozen=True)
class _Plain:
    """All columns of one number, side by side: M of them."""

    columns: tuple[int, ...]
    slots: NDArray[np.intp]
    center: Floats
    scale: Floats
    constants: tuple[tuple[int, float, float], ...]
    marked: NDArray[np.intp]
    present: Codes
    absent: Codes
    unmarked: NDArray[np.bool_]


@dataclass(frozen=True)
class _OneHot:
    """A categorical column: where it stands, and what each slot holds."""

    column: int
    start: int
    hit: Codes
    miss: Codes
    shares: Floats
    index: dict[str, int]
    missing: int


class TableEncoder:
    """Encodes tables of mixed columns for a model, and decodes what a model expects.

    Input is a two-dimensional NumPy array, lists of lists, a pandas or polars frame, an Arrow table, or any other frame that narwhals
    reads. Columns are found by name, whatever their order; an array's by position.

    Args:
        categorical: Columns to treat as categories whatever they hold: whole numbers that are codes, text with many levels.
        ignore: Columns to leave out.
        max_levels: Levels of a categorical column that get a slot each; the rarer ones share one.
        missing: What to do with a missing cell in a column that had none among the normal rows: `mark` encodes it as far away, since
            that never happened, and warns once a call; `error` refuses.
        owner: Who encodes, for messages.

    Attributes:
        schema_: What was learned.
        slots: `(D,)` the user's column that each encoded dimension belongs to.

    Example:
        >>> import numpy as np
        >>> from upland.data.tables import TableEncoder
        >>> encoder = TableEncoder().fit(np.array([[0.0, 5.0], [2.0, 5.0]]))
        >>> encoder.transform(np.array([[1.0, 5.0], [4.0, 5.0]])).tolist()
        [[0.0, 0.0], [3.0, 0.0]]
    """

    def __init__(
        self,
        *,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        max_levels: int = 100,
        missing: Literal["mark", "error"] = "mark",
        owner: str = "TableEncoder",
    ) -> None:
        if max_levels < 1:
            raise ValueError(f"max_levels must be at least 1, got {max_levels}")
        if missing not in ("mark", "error"):
            raise ValueError(f"missing must be 'mark' or 'error', got {missing!r}")
        self.categorical = _as_names(categorical, "categorical")
        self.ignore = _as_names(ignore, "ignore")
        self.max_levels = max_levels
        self.missing = missing
        self.owner = owner

    # -- fit ---------------------------------------------------------------------------------------------------------

    def fit(self, X: object) -> Self:
        """Learn the columns of normal rows `(N, M)`, N at least 2.

        Raises:
            TypeError: For data that are no table of values (sparse, nested, mixed names); the column is named.
            ValueError: For a wrong shape, infinities, a column that is all missing, free text or a label left in, stray text among
                numbers, unknown names in `categorical` or `ignore`.
        """
        return self.fit_batches([X])

    def fit_batches(self, batches: Iterable[object]) -> Self:
        """The same from a stream of tables, in constant memory; two rows in all. Raises as `fit`."""
        learners: list[ColumnLearner] = []
        first: Rows | None = None
        total = 0
        for batch in batches:
            rows = as_rows(batch)
            if first is None:
                check_size(rows)
                first = rows
                learners = self._learners(rows)
            wanted = [learner.name for learner in learners]
            positions = _positions(rows, Schema((), first.names, first.naming), wanted, self.owner)
            _learn(learners, rows, positions)
            total += rows.n_rows
        if first is None:
            raise ValueError("there is no batch to fit on")
        check_size(replace(first, n_rows=total), least=2)
        columns = tuple(learner.finish(self.max_levels) for learner in learners)
        self._settle(Schema(columns, first.names, first.naming))
        return self

    def _learners(self, rows: Rows) -> list[ColumnLearner]:
        categorical = _resolve(self.categorical, rows, "categorical")
        ignore = _resolve(self.ignore, rows, "ignore")
        if both := categorical & ignore:
            raise ValueError(f"columns both in categorical and in ignore: {_listed(sorted(both))}")
        used = [name for name in rows.names if name not in ignore]
        if not used:
            raise ValueError("every column is ignored: nothing is left to fit on")
        return [ColumnLearner(name, name in categorical) for name in used]

    def _settle(self, schema: Schema) -> None:
        widths = [column.width for column in schema.columns]
        self.schema_ = schema
        self.slots: NDArray[np.intp] = np.repeat(np.arange(len(widths)), widths)
        starts = np.cumsum([0, *widths[:-1]])
        self._plain = _plan_plain(schema.columns, starts)
        self._one_hot = _plan_one_hot(schema.columns, starts)

    # -- what was learned --------------------------------------------------------------------------------------------

    @property
    def n_columns(self) -> int:
        """Number of the user's columns in use."""
        return len(self._fitted.columns)

    @property
    def width(self) -> int:
        """Number of encoded dimensions D."""
        return self._fitted.width

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

    # -- transform ---------------------------------------------------------------------------------------------------

    def transform(self, X: object) -> Codes:
        """Encode rows: `(N, M)` of any table to `(N, D)` float32, finite.

        Raises:
            TypeError: For data that are no table of values.
            ValueError: For missing columns (all are named), a retyped column, another number of columns in an array, infinities.
        """
        rows, positions = self._rows(X)
        codes: Codes = np.empty((rows.n_rows, self.width), dtype=np.float32)
        unexpected = self._encode_plain(rows, positions, codes)
        for plan in self._one_hot:
            unexpected |= self._encode_levels(plan, rows.read(positions[plan.column]), codes)
        if unexpected:
            self._report_missing(sorted(unexpected))
        return codes

    def _rows(self, X: object) -> tuple[Rows, list[int]]:
        schema = self._fitted
        rows = as_rows(X)
        positions = _positions(rows, schema, schema.names, self.owner)
        check_size(rows)
        if rows.matrix is None or rows.matrix.dtype == bool or self._one_hot or not self._all_numeric:
            for column, position in zip(schema.columns, positions, strict=True):
                _check_kind(column, rows.read(position))
        return rows, positions

    @property
    def _all_numeric(self) -> bool:
        return all(column.kind == "numeric" for column in self.schema_.columns)

    def _encode_plain(self, rows: Rows, positions: Sequence[int], codes: Codes) -> set[int]:
        plan = self._plain
        where = [positions[column] for column in plan.columns]
        whole = where == list(range(len(rows.names)))
        everything = np.array_equal(plan.slots, np.arange(codes.shape[1]))
        unexpected: set[int] = set()
        step = max(_BLOCK // max(len(where), 1), 1)
        for start in range(0, rows.n_rows if where else 0, step):
            stop = min(start + step, rows.n_rows)
            x = _block(rows, where, whole, start, stop)
            absent = None if np.isfinite(x).all() else np.isnan(x)
            if absent is not None and np.isinf(x).any():
                self._refuse_infinite(rows, where)
            z = en.encode_numeric(x, plan.center, plan.scale)
            for place, center, tolerance in plan.constants:
                z[:, place] = en.encode_constant(x[:, place], center, tolerance)
            if absent is not None:
                strange = absent & plan.unmarked
                unexpected |= {plan.columns[place] for place in np.flatnonzero(strange.any(axis=0))}
                z[absent] = 0.0
                z[strange] = en.FAR
            codes[start:stop, slice(None) if everything else plan.slots] = z
            if len(plan.marked):
                gone = np.zeros((stop - start, len(plan.marked)), bool) if absent is None else absent[:, plan.marked]
                codes[start:stop, plan.slots[plan.marked] + 1] = np.where(gone, plan.absent, plan.present)
        return unexpected

    def _encode_levels(self, plan: _OneHot, values: Values, codes: Codes) -> set[int]:
        keys, places = levels(values)
        slots = np.array([plan.index.get(key, len(plan.hit) - 1) for key in keys] + [plan.missing])[places]
        block = codes[:, plan.start : plan.start + len(plan.hit)]
        block[:] = plan.miss
        block[np.arange(len(block)), slots] = plan.hit[slots]
        return {plan.column} if plan.missing == len(plan.hit) - 1 and np.any(places < 0) else set()

    def _refuse_infinite(self, rows: Rows, where: Sequence[int]) -> None:
        for position in where:
            check_finite(floats(rows.read(position)), rows.names[position])

    def _report_missing(self, columns: Sequence[int]) -> None:
        names = [self.column_names[column] for column in columns]
        text = f"missing values in {_listed(names)}, where no value was missing in the normal data"
        if self.missing == "error":
            raise ValueError(f"{text}: fill them in, or fit on data with missing values")
        warnings.warn(f"{text}: these cells count as strange", UserWarning, stacklevel=3)

    # -- the way back ------------------------------------------------------------------------------------------------

    def decode(self, Z: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The typical values that codes `(N, D)` stand for: column name -> `(N,)`.

        Numbers are float64, booleans bool, dates datetime64[us], durations timedelta64[us], categories the most probable level as text
        (`(rare)` for the slot of rare levels, None for missing).
        """
        schema = self._fitted
        Z = np.asarray(Z, dtype=np.float64)
        if Z.ndim != 2 or Z.shape[1] != self.width:
            raise ValueError(f"codes must have the shape (N, {self.width}), got {Z.shape}")
        one_hot = {plan.column: plan for plan in self._one_hot}
        result: dict[str, NDArray[Any]] = {}
        for position, column in enumerate(schema.columns):
            z = Z[:, self.slots == position]
            result[column.name] = (
                _decode_levels(z, column, one_hot[position]) if position in one_hot else _decode_plain(z[:, 0], column)
            )
        return result

    def values(self, X: object) -> dict[str, NDArray[Any]]:
        """The values of the columns in use as they stand in a table, in the types of `decode`, missing as NaN, NaT or None; raises as `transform`."""
        rows, positions = self._rows(X)
        return {
            column.name: _shown(column, rows.read(position))
            for column, position in zip(self.schema_.columns, positions, strict=True)
        }

    def extra_columns(self, X: object) -> list[str]:
        """Columns of a table that the fit did not see, in their order; none for an array."""
        rows = as_rows(X)
        known = set(self._fitted.inputs)
        return [name for name in rows.names if name not in known] if rows.naming == self.schema_.naming != "none" else []

    # -- persistence -------------------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors (large vocabularies as UTF-8); `from_state` is the exact way back."""
        schema = self._fitted.to_json()
        tensors: dict[str, NDArray[Any]] = {}
        for position, record in enumerate(schema["columns"]):
            if len(record["levels"]) + len(record["rare"]) > _INLINE_LEVELS:
                for field in ("levels", "rare"):
                    tensors |= _pack(record[field], f"column{position}.{field}")
                    record[field] = None
        manifest = {
            "format": FORMAT,
            "categorical": list(self.categorical),
            "ignore": list(self.ignore),
            "max_levels": self.max_levels,
            "missing": self.missing,
            "owner": self.owner,
            "schema": schema,
        }
        return manifest, tensors

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> TableEncoder:
        """Rebuild an encoder that gives the same bits; raises ValueError for what `to_state` did not write."""
        known = {"format", "categorical", "ignore", "max_levels", "missing", "owner", "schema"}
        if set(manifest) != known:
            raise ValueError(f"not the state of a TableEncoder: fields {sorted(set(manifest) ^ known)} are unknown or lacking")
        if manifest["format"] != FORMAT:
            raise ValueError(f"the table encoder's format is {manifest['format']!r}; this version reads {FORMAT}: update upland")
        encoder = cls(**{key: manifest[key] for key in known - {"format", "schema"}})
        schema = dict(manifest["schema"])
        schema["columns"] = [
            {**record, **{field: _unpack(tensors, f"column{position}.{field}") for field in ("levels", "rare")}}
            if record.get("levels") is None
            else record
            for position, record in enumerate(schema["columns"])
        ]
        encoder._settle(Schema.from_json(schema))
        return encoder


# -- finding columns ---------------------------------------------------------------------------------------------------


def _as_names(names: Sequence[str | int], what: str) -> tuple[str | int, ...]:
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of column names, not one text: {what}=[{names!r}]")
    return tuple(names)


def _resolve(names: Sequence[str | int], rows: Rows, what: str) -> set[str]:
    """Names as text; a whole number is a position in an array, the name itself in a frame with numbered columns."""
    texts = {f"x{name}" if isinstance(name, int) and rows.naming == "none" else str(name) for name in names}
    if unknown := sorted(texts - set(rows.names)):
        raise ValueError(f"{what} names columns that are not in the table: {_listed(unknown)}; it has {_listed(rows.names)}")
    return texts


def _positions(rows: Rows, schema: Schema, wanted: Sequence[str], owner: str) -> list[int]:
    """Where the wanted columns stand in a table: by name where both have names, else by position."""
    if rows.naming == schema.naming != "none":
        here = {name: position for position, name in enumerate(rows.names)}
        if lacking := [name for name in wanted if name not in here]:
            raise ValueError(f"missing column(s): {_listed(lacking)}; the table has {_listed(rows.names)}")
        return [here[name] for name in wanted]
    if len(rows.names) != len(schema.inputs):
        raise ValueError(f"X has {len(rows.names)} features, but {owner} is expecting {len(schema.inputs)} features as input")
    if schema.naming == "names":
        warnings.warn(f"X does not have valid feature names, but {owner} was fitted with feature names", UserWarning, stacklevel=4)
    elif rows.naming == "names":
        warnings.warn(f"X has feature names, but {owner} was fitted without feature names", UserWarning, stacklevel=4)
    here = {name: position for position, name in enumerate(schema.inputs)}
    return [here[name] for name in wanted]


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _check_kind(column: Column, values: Values) -> None:
    """Refuse a column of another kind than in the fit; 0/1 and booleans are one, and so are whole and other numbers."""
    dtype = dtype_of(values, column.name)
    if dtype is None or (column.kind == "categorical" and dtype == column.dtype):
        return
    found = kind_of(dtype)
    if column.kind == "categorical":
        right = found == "categorical" or (column.dtype != "string" and column.dtype != "category")
    elif column.kind == "boolean" and found == "numeric":
        x = floats(values)
        right = bool(np.all(np.isnan(x) | (x == 0) | (x == 1)))
    else:
        right = found == column.kind or (found, column.kind) == ("boolean", "numeric")
    if not right:
        raise ValueError(
            f"column {column.name!r} was {_words(column.kind, column.dtype)} in the normal data, but is {_words(found, dtype)} here"
            f"{_example(column, values)}"
        )


def _words(kind: Kind, dtype: str) -> str:
    return f"{kind} ({dtype})"


def _example(column: Column, values: Values) -> str:
    shown = [value for value in values[:1000].tolist() if value is not None and value == value]
    if column.kind == "boolean":
        shown = [value for value in shown if value not in (0, 1)] or shown
    return f", for example {shown[0]!r}" if shown else ""


def _learn(learners: Sequence[ColumnLearner], rows: Rows, positions: Sequence[int]) -> None:
    """One batch into the learners, a matrix in blocks that stay in the processor's cache."""
    step = rows.n_rows if rows.matrix is None else max(_BLOCK // max(len(rows.names), 1), 64)
    for start in range(0, rows.n_rows, max(step, 1)):
        block = None if rows.matrix is None else np.ascontiguousarray(rows.matrix[start : start + step].T)
        for learner, position in zip(learners, positions, strict=True):
            learner.update(rows.read(position) if block is None else block[position])


# -- plans: the schema as arrays -----------------------------------------------------------------------------------------


def _plan_plain(columns: Sequence[Column], starts: NDArray[np.intp]) -> _Plain:
    places = tuple(position for position, column in enumerate(columns) if column.kind != "categorical")
    mine = [columns[position] for position in places]
    marked = np.flatnonzero([column.missing > 0 for column in mine])
    shares = np.array([mine[place].missing for place in marked])
    deviations = np.array([en.deviation_of_flag(share) for share in shares])
    return _Plain(
        columns=places,
        slots=starts[list(places)].astype(np.intp),
        center=np.array([column.center for column in mine]),
        scale=np.array([column.scale or 1.0 for column in mine]),
        constants=tuple(
            (place, column.center, en.TOLERANCE if column.kind == "numeric" else 0.0)
            for place, column in enumerate(mine)
            if column.scale == 0.0
        ),
        marked=marked,
        present=en.encode_numeric(np.zeros(len(marked)), shares, deviations).astype(np.float32),
        absent=en.encode_numeric(np.ones(len(marked)), shares, deviations).astype(np.float32),
        unmarked=np.array([column.missing == 0 for column in mine], dtype=bool),
    )


def _plan_one_hot(columns: Sequence[Column], starts: NDArray[np.intp]) -> tuple[_OneHot, ...]:
    plans = []
    for position, column in enumerate(columns):
        if column.kind == "categorical":
            tail = [column.rare_share] * bool(column.rare) + [column.missing] * (column.missing > 0)
            shares = np.array([*column.shares, *tail])
            hit, miss = en.encode_levels(shares)
            index = {level: place for place, level in enumerate(column.levels)}
            index |= dict.fromkeys(column.rare, len(column.levels))
            missing = len(shares) - 1 if column.missing else len(shares)
            start = int(starts[position])
            plans.append(_OneHot(position, start, hit.astype(np.float32), miss.astype(np.float32), shares, index, missing))
    return tuple(plans)


def _block(rows: Rows, where: Sequence[int], whole: bool, start: int, stop: int) -> Floats:
    if rows.matrix is not None:
        part = rows.matrix[start:stop]
        return (part if whole else part[:, where]).astype(np.float64)
    x = np.empty((stop - start, len(where)))
    for place, position in enumerate(where):
        x[:, place] = floats(rows.read(position)[start:stop])
    return x


# -- the way back ------------------------------------------------------------------------------------------------------


def _decode_plain(z: Floats, column: Column) -> NDArray[Any]:
    if column.scale == 0.0:
        return _typed(en.decode_constant(z, column.center), column.kind)
    return _typed(en.decode_numeric(z, column.center, column.scale), column.kind)


def _typed(x: Floats, kind: Kind) -> NDArray[Any]:
    if kind == "boolean":
        return x > 0.5
    if kind == "numeric":
        return x
    micro = np.where(np.isnan(x), np.iinfo(np.int64).min, np.clip(np.round(x * 1e6), -9.2e18, 9.2e18))
    return micro.astype(np.int64).astype("M8[us]" if kind == "date" else "m8[us]")


def _decode_levels(z: Floats, column: Column, plan: _OneHot) -> NDArray[Any]:
    words: list[str | None] = [*column.levels, *["(rare)"] * bool(column.rare), *[None] * (column.missing > 0)]
    table = np.array(words, dtype=object)
    return cast(NDArray[Any], table[en.decode_levels(z, plan.shares)])


def _shown(column: Column, values: Values) -> NDArray[Any]:
    if column.kind == "categorical":
        keys, places = levels(values)
        return cast(NDArray[Any], np.array([*keys, None], dtype=object)[places])
    x = floats(values)
    if column.kind == "boolean" and np.isnan(x).any():
        return np.array([None if value != value else bool(value) for value in x], dtype=object)
    return _typed(x, column.kind)


def _pack(words: Sequence[str], name: str) -> dict[str, NDArray[Any]]:
    parts = [word.encode("utf-8", "surrogatepass") for word in words]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return {f"{name}.text": np.frombuffer(b"".join(parts), dtype=np.uint8).copy(), f"{name}.lengths": lengths}


def _unpack(tensors: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    try:
        text, lengths = tensors[f"{name}.text"].tobytes(), tensors[f"{name}.lengths"]
    except KeyError as error:
        raise ValueError(f"the table encoder's tensor {error.args[0]!r} is lacking") from None
    ends = np.cumsum(lengths)
    if len(text) != (int(ends[-1]) if len(ends) else 0):
        raise ValueError(f"the table encoder's tensor {name!r} does not fit its lengths")
    return [text[end - length : end].decode("utf-8", "surrogatepass") for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
