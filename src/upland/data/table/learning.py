"""What is learned of one column from normal rows, in constant memory: moments, levels, missing cells."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa

from upland.data.table.blanks import blanked
from upland.data.table.dateparts import PartLearner
from upland.data.table.encodings import Floats, deviation_of_flag, tolerance_of
from upland.data.table.exact import origin_of, resolution_of, shifted
from upland.data.table.labelnames import holds_labels, like_label
from upland.data.table.moments import RobustMoments, Sentinels
from upland.data.table.suspects import RowOrder, Suspicion
from upland.data.table.texts import KINDS, counted, read_text
from upland.data.table.values import Values, dtype_of, kind_of, levels, zone_of
from upland.io.advice import Advice, Argument, Infinity
from upland.io.cells import USUAL, CellOptions
from upland.io.records import Unsigned
from upland.io.schema import Column, ColumnKind
from upland.io.texts import Found, find_form

CLOSE = 4
"""Numbers that differ by no more than so many roundings of their type are the same."""

MAX_DISTINCT = 100_000
"""Levels that a categorical column may have before it is taken for free text."""


class ColumnLearner:
    """Learns one column from batches: `update` for each, `finish` once.

    Args:
        name: The column's name, for messages.
        categorical: Whether the user named it categorical.
        cells: What the user says of cells.
        known: The column as it was learned from these rows and more.

    Attributes:
        sentinels: After `finish`, values that were left out of the moments; None where none were.
        suspicions: After `finish`, why the column may ruin a model.
    """

    def __init__(
        self, name: str, categorical: bool, cells: CellOptions = USUAL, known: Column | None = None
    ) -> None:
        self.name = name
        self.sentinels: Sentinels | None = None
        self.suspicions: list[Suspicion] = []
        self.categorical = categorical
        self.cells = cells
        self.known = known
        self.form = None if known is None else known.form
        self.zoned: bool | None = None
        self._said: Advice | None = None
        self._undecided = not categorical and known is None
        self.dtype: str | None = None
        self.kind: ColumnKind = "categorical"
        self.n_rows = 0
        self.n_missing = 0
        self._origin = None if known is None else int(known.origin)
        self._resolution = 0.0
        self._moments = RobustMoments()
        self._order: RowOrder | None = None
        self._parts = PartLearner() if cells.dates == "parts" else None
        self._levels: Counter[str] = Counter()
        self._named_like = None if categorical or known is not None else like_label(name)

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
                self._update_numbers(values)
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
                self.form, self._said = found.form, self._what_is_read(found)
        if self.form is None:
            return values
        column = Column(self.name, KINDS[self.form.reads], "string", form=self.form)
        return blanked(read_text(values, column, self.cells), self.cells.missing_numbers)

    def _what_is_read(self, found: Found) -> Advice | None:
        """What to say of text that is read as numbers or dates; nothing where the user has said so."""
        cells, reads = self.cells, found.form.reads
        if cells.dayfirst is not None if reads == "date" else (cells.decimal or cells.thousands):
            return None
        text = f"column {self.name!r} is text, such as {found.example!r}, that is read as {reads}s: "
        return Advice(text, Argument("categorical", [self.name]), " makes it a category instead")

    def _set_zone(self, values: Values) -> None:
        zoned = zone_of(values)
        if None not in (zoned, self.zoned) and zoned != self.zoned:
            raise self._zones_differ()
        self.zoned = self.zoned if zoned is None else zoned

    def _zones_differ(self) -> ValueError:
        return ValueError(
            f"column {self.name!r}: some dates have a time zone, others have none: write them alike"
        )

    def _update_numbers(self, values: Values) -> None:
        if self._origin is None:
            self._origin = origin_of(values, self.name)
            self._order = RowOrder(1.0 if self.kind == "numeric" else 1e6)
        if self.kind == "numeric":
            self._resolution = max(self._resolution, resolution_of(values))
        x = shifted(values, self._origin)
        check_finite(x, self.name)
        absent = np.isnan(x)
        if absent.any():
            self.n_missing += int(absent.sum())
            x = x[~absent]
        self._moments.update(x)
        if self._parts is not None and self.kind == "date":
            self._parts.update(x)
        elif self._order is not None and self.kind != "boolean":
            self._order.update(x)

    def _update_levels(self, values: Values) -> None:
        keys, codes = levels(values, self.cells.missing_texts)
        counts = np.bincount(codes[codes >= 0], minlength=len(keys))
        self.n_missing += int(np.sum(codes < 0))
        for key, count in zip(keys, counts.tolist(), strict=True):
            if count:
                self._levels[key] += count
        self._refuse_many_levels()

    def _refuse_many_levels(self) -> None:
        if len(self._levels) > MAX_DISTINCT:
            raise self._free_text(f"more than {MAX_DISTINCT:,} distinct texts")

    def merge(self, other: ColumnLearner) -> None:
        """Add the rows that another learner has seen, which knows the column from the same rows and more.

        Args:
            other: Of the same column; its rows follow.

        Raises:
            ValueError: It is of another kind there, or has too many levels.
        """
        if other.dtype is not None:
            self._set_dtype(other.dtype)
        if None not in (self.zoned, other.zoned) and self.zoned != other.zoned:
            raise self._zones_differ()
        self.zoned = self.zoned if other.zoned is None else other.zoned
        self._origin = other._origin if self._origin is None else self._origin
        self.n_rows += other.n_rows
        self.n_missing += other.n_missing
        self._resolution = max(self._resolution, other._resolution)
        self._moments.merge(other._moments)
        if self._parts is not None and other._parts is not None:
            self._parts.merge(other._parts)
        self._order = None  # rows of other partitions are in no order
        self._levels.update(other._levels)
        self._refuse_many_levels()

    def finish(self, max_levels: int) -> Column:
        """The column as learned.

        Raises ValueError for a column that is all missing, free text, numbers with stray text, or a label
        left in. Afterwards `sentinels` and `suspicions` say what else was found.
        """
        if self.n_missing == self.n_rows or self.dtype is None:
            if self.known is not None:
                return replace(self.known, missing=1.0)
            raise ValueError(
                self._left_out(f"column {self.name!r} has no value in any of the {self.n_rows} rows")
            )
        self._refuse_label()
        if self.kind == "categorical":
            return self._finish_levels(self.dtype, max_levels)
        if self._said is not None:
            warnings.warn(self._said, UserWarning, stacklevel=2)
        return replace(self._finish_numbers(self.dtype), form=self.form, zoned=self.zoned)

    def _finish_numbers(self, dtype: str) -> Column:
        robust, self.sentinels = self._moments.robust()
        if self._parts is not None and self.kind == "date":
            self.sentinels = None
            return self._finish_parts(dtype, self._parts)
        self._suspect_order()
        center, scale = robust.mean, robust.deviation
        low, high = robust.low, robust.high
        tolerance = None
        if self.kind == "boolean":
            scale = deviation_of_flag(center)
        elif high - low <= CLOSE * self._resolution * max(abs(low), abs(high)) or scale == 0.0:
            center, scale = (low if low == high else center), 0.0
            tolerance = tolerance_of(center, self._resolution) if self.kind == "numeric" else 0.0
        return Column(
            self.name,
            self.kind,
            dtype,
            center,
            scale,
            self.n_missing / self.n_rows,
            origin=Unsigned(self._origin or 0),
            tolerance=tolerance,
        )

    def _finish_parts(self, dtype: str, learner: PartLearner) -> Column:
        parts, scaling = learner.learned(None if self.known is None else self.known.parts)
        if not parts and self.known is None:
            text = f"column {self.name!r}: its dates cover no day, week or year, so that no part is used: "
            advice = Advice(text, Argument("dates", "number"), " uses them as a number")
            warnings.warn(advice, UserWarning, stacklevel=2)
        missing = self.n_missing / self.n_rows
        return Column(self.name, "date", dtype, missing=missing, parts=parts, part_scaling=scaling)

    def _suspect_order(self) -> None:
        if self._order is not None and self.kind != "boolean":
            moments = self._moments.whole()
            if found := self._order.found(moments, self.kind, float(self._origin or 0)):
                self.suspicions.append(Suspicion(found, self.name, self.kind))

    def _finish_levels(self, dtype: str, max_levels: int) -> Column:
        if not self.categorical and self.known is None:
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
        """Refuse a label; suspect a constant of which the name says less."""
        if self._named_like is None:
            return
        if self.kind == "categorical":
            distinct, like = len(self._levels), True
        else:
            few = self._moments.few
            distinct = 3 if few is None else len(few)
            like = distinct <= 2 and few is not None and holds_labels(self.name, few.tolist())
        if self._named_like == "label" and distinct <= 2 and like:
            raise ValueError(
                self._left_out_or(f"column {self.name!r} looks like a label", "uses it as a feature")
            )
        if self._named_like == "flag" and distinct == 1 and like:
            self.suspicions.append(Suspicion("flag", self.name, self.kind))

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
