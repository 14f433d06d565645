"""What is learned of one column from normal rows, in constant memory: moments, levels, missing cells.

Moments are merged batch by batch (Chan, Golub, LeVeque 1983) and kept in units of a power of two near the
largest value, so that neither 1e300 nor 1e-300 overflows or vanishes when squared: rescaling by a power of
two is exact.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa

from upland.data.table.encodings import Floats, deviation_of_flag
from upland.data.table.texts import KINDS, counted, read_text
from upland.data.table.values import Values, dtype_of, floats, kind_of, levels, zone_of
from upland.io.advice import Advice, Argument, Infinity
from upland.io.cells import USUAL, CellOptions
from upland.io.schema import Column, ColumnKind, TextForm
from upland.io.texts import find_form

MAX_DISTINCT = 100_000
"""Levels that a categorical column may have before it is taken for free text."""

MEAN_STEP = 4
"""Whole numbers that rise by less than this from row to row, on average, count the rows."""

LABEL_NAMES = frozenset(
    [
        "label",
        "labels",
        "target",
        "targets",
        "class",
        "classes",
        "y",
        "y_true",
        "anomaly",
        "anomalies",
        "is_anomaly",
        "outlier",
        "outliers",
        "is_outlier",
        "ground_truth",
        "groundtruth",
        "attack",
        "is_attack",
        "fraud",
        "is_fraud",
        "abnormal",
        "is_abnormal",
    ]
)


class RunningMoments:
    """Running count, mean, sum of squares and range of one column of float64."""

    def __init__(self) -> None:
        self.count = 0
        self.low, self.high = np.inf, -np.inf
        self._exponent = -1000
        self._mean = 0.0
        self._squares = 0.0

    def update(self, x: Floats) -> None:
        """Add finite values `(N,)`."""
        if not len(x):
            return
        low, high = float(x.min()), float(x.max())
        self._rescale(int(np.frexp(max(abs(low), abs(high)))[1]))
        x = np.ldexp(x, -self._exponent)
        mean = float(x.mean())
        x -= mean
        rest = float(x.mean())
        squares = float(x @ x) - len(x) * rest * rest
        self._merge(len(x), mean + rest, squares)
        self.low, self.high = min(self.low, low), max(self.high, high)

    def _rescale(self, exponent: int) -> None:
        """Move to the larger of the two units; beyond 2^1000 or below 2^-1000 squares are safe as they
        are.
        """
        exponent = min(max(exponent, self._exponent), 1000)
        if exponent > self._exponent:
            shrink = 2.0 ** max(self._exponent - exponent, -1000)
            self._mean *= shrink
            self._squares *= shrink * shrink
            self._exponent = exponent

    def _merge(self, count: int, mean: float, squares: float) -> None:
        total = self.count + count
        step = mean - self._mean
        self._mean += step * (count / total)
        self._squares += max(squares, 0.0) + step * step * (self.count * count / total)
        self.count = total

    @property
    def mean(self) -> float:
        """Mean of all values so far."""
        return float(np.clip(np.ldexp(self._mean, self._exponent), self.low, self.high))

    @property
    def deviation(self) -> float:
        """Standard deviation of all values so far (that of the sample itself, divided by N)."""
        return float(np.ldexp(np.sqrt(self._squares / max(self.count, 1)), self._exponent))


class ColumnLearner:
    """Learns one column from batches: `update` for each, `finish` once.

    Args:
        name: The column's name, for messages.
        categorical: Whether the user named it categorical.
        cells: What the user says of cells.
        form: How its text is read, where that is known already.
    """

    def __init__(
        self, name: str, categorical: bool, cells: CellOptions = USUAL, form: TextForm | None = None
    ) -> None:
        self.name = name
        self.categorical = categorical
        self.cells = cells
        self.form = form
        self.zoned: bool | None = None
        self._said: Advice | None = None
        self._undecided = not categorical and form is None
        self.dtype: str | None = None
        self.kind: ColumnKind = "categorical"
        self.n_rows = 0
        self.n_missing = 0
        self._moments = RunningMoments()
        self._levels: Counter[str] = Counter()
        self._maybe_label = name.strip().casefold() in LABEL_NAMES and not categorical
        self._distinct: set[float] = set()
        self._counts_rows = True
        self._last: float | None = None

    def update(self, values: Values) -> None:
        """Add one batch `(N,)`; raises ValueError for infinities, for a kind other than before, for too many
        levels.
        """
        dtype = dtype_of(values, self.name)
        if dtype == "string" and not self.categorical:
            values = self._read(values)
            dtype = dtype_of(values, self.name)
        if dtype is None:
            self.n_missing += len(values)
        else:
            self._set_dtype(dtype)
            self._set_zone(values)
            if self.kind == "categorical":
                self._update_levels(values)
            else:
                self._update_numbers(floats(values))
        self.n_rows += len(values)

    def _set_dtype(self, dtype: str) -> None:
        kind: ColumnKind = "categorical" if self.categorical else kind_of(dtype)
        if self.dtype is None:
            self.dtype, self.kind = dtype, kind
        elif kind != self.kind:
            raise ValueError(
                f"column {self.name!r} is {self.kind} in one batch, "
                f"and {kind} in the batch after row {self.n_rows}"
            )
        elif dtype != self.dtype:
            self.dtype = "floating" if kind == "numeric" else self.dtype

    def _read(self, values: Values) -> Values:
        """Text as the numbers or dates that it is, if it is any; a declared category stays one."""
        if self._undecided and not pa.types.is_dictionary(values.type):
            found = find_form(self.name, *counted(values), self.cells)
            self._undecided = values.null_count == len(values)
            if found is not None:
                self.form = found.form
                self._said = Advice(
                    f"column {self.name!r} is text, such as {found.example!r}, "
                    f"that is read as {found.form.reads}s: ",
                    Argument("categorical", [self.name]),
                    " makes it a category instead",
                )
        if self.form is None:
            return values
        return read_text(
            values, Column(self.name, KINDS[self.form.reads], "string", form=self.form), self.cells
        )

    def _set_zone(self, values: Values) -> None:
        zoned = zone_of(values)
        if None not in (zoned, self.zoned) and zoned != self.zoned:
            raise ValueError(
                f"column {self.name!r}: some dates have a time zone, others have none: write them alike"
            )
        self.zoned = self.zoned if zoned is None else zoned

    def _update_numbers(self, x: Floats) -> None:
        check_finite(x, self.name)
        absent = np.isnan(x)
        if absent.any():
            self.n_missing += int(absent.sum())
            self._counts_rows = False
            x = x[~absent]
        if not len(x):
            return
        if self._maybe_label and len(self._distinct) <= 2:
            self._distinct.update(np.unique(x)[:3].tolist())
        self._counts_rows = self._counts_rows and self._counts_on(x)
        self._last = float(x[-1])
        self._moments.update(x)

    def _counts_on(self, x: Floats) -> bool:
        """Whether whole numbers rise from row to row; gaps are where rows were held out."""
        if self._last is not None and x[0] <= self._last:
            return False
        return bool(np.all(x[1:50] > x[:-1][:49]) and np.all(x[1:] > x[:-1]) and np.all(x == np.rint(x)))

    def _update_levels(self, values: Values) -> None:
        keys, codes = levels(values, self.cells.missing_texts)
        counts = np.bincount(codes[codes >= 0], minlength=len(keys))
        self.n_missing += int(np.sum(codes < 0))
        for key, count in zip(keys, counts.tolist(), strict=True):
            if count:
                self._levels[key] += count
        if len(self._levels) > MAX_DISTINCT:
            raise self._free_text(f"more than {MAX_DISTINCT:,} distinct texts")

    def finish(self, max_levels: int) -> Column:
        """The column as learned.

        Raises ValueError for a column that is all missing, free text, numbers with stray text, or a label
        left in; warns about a column that merely counts the rows.
        """
        if self.n_missing == self.n_rows or self.dtype is None:
            raise ValueError(
                self._left_out(f"column {self.name!r} has no value in any of the {self.n_rows} rows")
            )
        self._refuse_label()
        if self.kind == "categorical":
            return self._finish_levels(self.dtype, max_levels)
        self._warn_of_counter()
        if self._said is not None:
            warnings.warn(self._said, UserWarning, stacklevel=2)
        return replace(self._finish_numbers(self.dtype), form=self.form, zoned=self.zoned)

    def _finish_numbers(self, dtype: str) -> Column:
        center, scale = self._moments.mean, self._moments.deviation
        low, high = self._moments.low, self._moments.high
        if self.kind == "boolean":
            scale = deviation_of_flag(center)
        elif (
            high - low <= (1e-12 * max(abs(low), abs(high)) if self.kind == "numeric" else 0.0)
            or scale == 0.0
        ):
            center, scale = (low if low == high else center), 0.0
        return Column(self.name, self.kind, dtype, center, scale, self.n_missing / self.n_rows)

    def _finish_levels(self, dtype: str, max_levels: int) -> Column:
        if not self.categorical:
            self._refuse_free_text()
            self._warn_of_codes()
        order = sorted(self._levels.items(), key=lambda item: (-item[1], item[0]))
        kept, rare = order[:max_levels], order[max_levels:]
        return Column(
            self.name,
            "categorical",
            dtype,
            missing=self.n_missing / self.n_rows,
            levels=tuple(level for level, _ in kept),
            shares=tuple(count / self.n_rows for _, count in kept),
            rare=tuple(level for level, _ in rare),
            rare_share=sum(count for _, count in rare) / self.n_rows,
        )

    def _refuse_label(self) -> None:
        distinct = len(self._levels) if self.kind == "categorical" else len(self._distinct)
        if self._maybe_label and distinct <= 2:
            raise ValueError(
                self._left_out_or(f"column {self.name!r} looks like a label", "uses it as a feature")
            )

    def _warn_of_counter(self) -> None:
        dense = self._moments.high - self._moments.low < MEAN_STEP * self.n_rows
        if self.kind == "numeric" and self._counts_rows and dense and self.n_rows >= 50:
            warnings.warn(
                self._left_out(
                    f"column {self.name!r} merely counts the rows, so every later row would be anomalous"
                ),
                UserWarning,
                stacklevel=2,
            )

    def _warn_of_codes(self) -> None:
        if self.dtype == "string" and all(re.fullmatch(r"\d+", level) for level in self._levels):
            codes = [level for level in self._levels if level[0] == "0" and len(level) > 1]
            if codes:
                text = f"column {self.name!r} holds numbers with leading zeros, such as {codes[0]!r}: "
                named = Argument("categorical", [self.name])
                warnings.warn(Advice(text, "they are read as codes; ", named, " says so"), stacklevel=2)

    def _refuse_free_text(self) -> None:
        present, distinct = self.n_rows - self.n_missing, len(self._levels)
        length = sum(len(level) * count for level, count in self._levels.items()) / present
        if distinct > present / 2 and (distinct > 50 or (length > 40 and distinct > 1)):
            raise self._free_text(f"{distinct} distinct texts in {present} rows")

    def _free_text(self, found: str) -> ValueError:
        return ValueError(
            self._left_out_or(
                f"column {self.name!r} looks like free text ({found})",
                "uses it as a category all the same",
            )
        )

    def _left_out(self, text: str) -> Advice:
        return Advice(f"{text}: leave it out (", Argument("ignore", [self.name]), ")")

    def _left_out_or(self, text: str, used: str) -> Advice:
        ignore, categorical = Argument("ignore", [self.name]), Argument("categorical", [self.name])
        return Advice(f"{text}: ", ignore, " leaves it out; ", categorical, f" {used}")


def check_finite(x: Floats, name: str) -> None:
    """Refuse infinities in one column; raises ValueError with its name and the number of rows."""
    if n_rows := int(np.isinf(x).sum()):
        raise ValueError(
            Advice(
                Infinity(
                    name,
                    f"Input X contains infinity or a value too large for dtype('float64'): "
                    f"column {name!r}, {n_rows} row(s)",
                ),
                ". Correct them or leave the cells empty.",
            )
        )
