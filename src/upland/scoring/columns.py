"""The columns that scoring adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.scoring.words import reason_text

if TYPE_CHECKING:
    from upland.explanation import Reason
    from upland.groups.verdicts import GroupVerdicts

ADDED = ("anomaly_score", "p_value", "is_anomaly", "reason")
"""The columns that scoring adds."""

COUNTERFACTUAL = "counterfactual"
"""The column that `--counterfactual` adds behind them."""

GROUPS = pa.schema(
    {
        "group": pa.string(),
        "size": pa.int64(),
        "statistic": pa.float64(),
        "p_value": pa.float64(),
        "is_anomaly": pa.bool_(),
        "reason": pa.string(),
        "columns": pa.string(),
        "smallest_p": pa.float64(),
        "method": pa.string(),
        "p_value_error": pa.float64(),
    }
)
"""The columns of `upland groups`."""

Floats = NDArray[np.float64]
Verdicts = Mapping[str, Any]
"""The added columns: NumPy arrays, of texts an Arrow array."""
Reasons = Sequence[Sequence["Reason"]]


def with_verdicts(
    table: pa.Table,
    scores: Floats,
    p_values: Floats,
    cut: float,
    why: Sequence[str] | None,
    changes: Sequence[str] | None = None,
) -> pa.Table:
    """Rows with the added columns behind; columns of the same names give way.

    Args:
        table: As it stands in the user's file.
        scores: `(N,)` anomaly scores.
        p_values: `(N,)`.
        cut: The largest p-value that is flagged.
        why: `(N,)` texts; None adds no such column.
        changes: `(N,)` counterfactuals; likewise.
    """
    columns = dict(zip(ADDED, (scores, p_values, p_values <= cut), strict=False))
    for name, words in ((ADDED[-1], why), (COUNTERFACTUAL, changes)):
        columns |= {} if words is None else {name: pa.array(words, pa.string())}
    table = table.select([name for name in table.column_names if name not in columns])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def no_verdicts(explained: bool) -> dict[str, Any]:
    """The added columns of no rows.

    Args:
        explained: Whether there are reasons.
    """
    columns = dict(zip(ADDED, (np.empty(0), np.empty(0), np.empty(0, dtype=bool)), strict=False))
    return columns | ({ADDED[-1]: pa.array([], pa.string())} if explained else {})


def texts(reasons: Reasons) -> list[str]:
    """A cell of reasons for each row."""
    return ["; ".join(map(reason_text, row)) for row in reasons]


def of_groups(verdicts: GroupVerdicts) -> pa.Table:
    """Verdicts as `upland groups` writes them: a row for each group."""
    table = verdicts.to_arrow()
    return table.rename_columns(["is_anomaly" if name == "flag" else name for name in table.column_names])
