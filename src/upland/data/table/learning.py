"""What is learned of one column from normal rows, in constant memory: moments, levels, missing cells."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from upland.data.table.dateparts import PartLearner
from upland.data.table.encodings import Floats, deviation_of_flag, tolerance_of
from upland.data.table.exact import origin_of, resolution_of, shifted
from upland.data.table.labels import holds_labels, like_label
from upland.data.table.moments import RobustMoments, Sentinels
from upland.data.table.suspects import RowOrder, Suspicion
from upland.data.table.values import Values, dtype_of, kind_of, levels, mixture_error
from upland.io.advice import Advice, Argument, Infinity
from upland.io.schema import Column, ColumnKind

CLOSE = 4
"""Numbers that differ by no more than so many roundings of their type are the same."""

MAX_DISTINCT = 100_000
"""Levels that a categorical column may have before it is taken for free text."""


class ColumnLearner:
    """Learns one column from batches: `update` for each, `finish` once.

    Args:
        name: The column's name, for messages.
        categorical: Whether the user named it categorical.
        parts: Whether a date is encoded by its parts.

    Attributes:
        sentinels: After `finish`, values that were left out of the moments; None where none were.
        suspicions: After `finish`, why the column may ruin a model.
    """

    def __init__(self, name: str, categorical: bool, parts: bool = False) -> None:
        self.name = name
        self.sentinels: Sentinels | None = None
        self.suspicions: list[Suspicion] = []
        self.categorical = categorical
        self.dtype: str | None = None
        self.kind: ColumnKind = "categorical"
        self.n_rows = 0
        self.n_missing = 0
        self._origin: int | None = None
        self._resolution = 0.0
        self._moments = RobustMoments()
        self._order: RowOrder | None = None
        self._parts = PartLearner() if parts else None
        self._levels: Counter[str] = Counter()
        self._first_text: tuple[int, str] | None = None
        self._named_like = None if categorical else like_label(name)

    def update(self, values: Values) -> None:
        """Add one batch `(N,)`; raises ValueError for infinities, for a kind other than before, for too many
        levels.
        """
        dtype = dtype_of(values, self.name)
        if dtype is None:
            self.n_missing += len(values)
        else:
            self._set_dtype(dtype)
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
        keys, codes = levels(values)
        counts = np.bincount(codes[codes >= 0], minlength=len(keys))
        self.n_missing += int(np.sum(codes < 0))
        for code, (key, count) in enumerate(zip(keys, counts.tolist(), strict=True)):
            if count and key not in self._levels:
                self._note_text(key, code, codes)
            if count:
                self._levels[key] += count
        if len(self._levels) > MAX_DISTINCT:
            raise self._free_text(f"more than {MAX_DISTINCT:,} distinct texts")

    def _note_text(self, key: str, code: int, codes: NDArray[np.intp]) -> None:
        if self._first_text is None and not self.categorical and not _is_number(key):
            self._first_text = self.n_rows + int(np.argmax(codes == code)), key

    def finish(self, max_levels: int) -> Column:
        """The column as learned.

        Raises ValueError for a column that is all missing, free text, numbers with stray text, or a label
        left in. Afterwards `sentinels` and `suspicions` say what else was found.
        """
        if self.n_missing == self.n_rows or self.dtype is None:
            raise ValueError(
                self._left_out(f"column {self.name!r} has no value in any of the {self.n_rows} rows")
            )
        self._refuse_label()
        if self.kind == "categorical":
            return self._finish_levels(self.dtype, max_levels)
        return self._finish_numbers(self.dtype)

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
            origin=self._origin or 0,
            tolerance=tolerance,
        )

    def _finish_parts(self, dtype: str, learner: PartLearner) -> Column:
        parts, scaling = learner.learned()
        missing = self.n_missing / self.n_rows
        return Column(self.name, "date", dtype, missing=missing, parts=parts, part_scaling=scaling)

    def _suspect_order(self) -> None:
        if self._order is not None and self.kind != "boolean":
            moments = self._moments.whole()
            if found := self._order.found(moments, self.kind, float(self._origin or 0)):
                self.suspicions.append(Suspicion(found, self.name, self.kind))

    def _finish_levels(self, dtype: str, max_levels: int) -> Column:
        if not self.categorical:
            self._refuse_stray_text()
            self._refuse_free_text()
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

    def _refuse_stray_text(self) -> None:
        """Text in a column of numbers makes all of it text; that is never meant (a few codes such as 1, 2,
        other are).
        """
        numeric = {level: count for level, count in self._levels.items() if _is_number(level)}
        present = self.n_rows - self.n_missing
        if self._first_text is not None and len(numeric) > 10 and sum(numeric.values()) > present / 2:
            raise mixture_error(self.name, "numbers", *self._first_text)

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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
