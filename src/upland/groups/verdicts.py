r"""Verdicts on whole groups: has this batch, shift, lot or site gone off?

The statistic of a group is a function of its own rows and the fitted detector alone (`upland.criteria.judges`); its
p-value compares it with groups of the same size made of normal rows that neither training nor the statistic
has seen (`upland.groups.null`), and flags keep the rate of false discoveries among the groups judged together. Only
the first member of a cross-fitted detector judges groups, with the rows that were held out from it.

What a group's verdict is made of is told in the user's own columns (`upland.groups.reasons`).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from upland.calibration.conformal import Calibration, Control, Floats, benjamini_hochberg
from upland.criteria.judges import LEAST_STANDARD, OF_SCORES, STATISTICS, needs_score, readings, yardstick
from upland.data.encoder import Encoder
from upland.data.table.frames import as_rows
from upland.detectors.arguments import check_rate
from upland.detectors.fitting import Member
from upland.detectors.kinds import Kind, Unit
from upland.detectors.results import Scored
from upland.groups.labels import grouped
from upland.groups.null import GroupPValue, Null
from upland.groups.reasons import Reasons
from upland.groups.statistic import Rows, Statistic
from upland.io.advice import Advice, Argument
from upland.io.csv import NULLS
from upland.io.source import suffix_of

MOST_ROWS = 4_096
"""Rows by which a larger group is judged, drawn from it with a fixed seed."""

TEXT = ("csv", "tsv")  # files in which a missing label is text
AT_ONCE = 16_384  # rows whose features are in memory at once
NUMBERS_AT_ONCE = 1 << 22  # encoded numbers that a model is asked about at once


class GroupVerdicts(NamedTuple):
    """What is found of each group, in order of first appearance.

    Args:
        group: `(G,)` the groups' names.
        size: `(G,)` rows of each.
        statistic: `(G,)` higher = more anomalous, too good as well as too bad.
        p_value: `(G,)` of the group at its own size.
        flag: `(G,)` bool.
        kind: `(G,)` "marginals" or "dependence": whether columns by themselves are off, or how they go
            together.
        columns: for each group the columns or regions that stand out most, first the strangest.
        smallest_p: `(G,)` the least p-value that a group of this size could have had.
        method: `(G,)` "disjoint groups" or "permutation", see `upland.groups.null`.

    Example:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0, epochs=5).fit(rng.normal(size=(600, 3)))
        >>> lots = np.repeat(["a", "b"], 30)
        >>> found = detector.score_groups(rng.normal(size=(60, 3)) + 2 * (lots == "b")[:, None], lots)
        >>> found.flag.tolist()
        [False, True]
    """

    group: NDArray[Any]
    size: NDArray[np.int64]
    statistic: Floats
    p_value: Floats
    flag: NDArray[np.bool_]
    kind: NDArray[np.str_]
    columns: list[tuple[str, ...]]
    smallest_p: Floats
    method: NDArray[np.str_]

    def to_arrow(self) -> pa.Table:
        """One row a group."""
        parts = self._asdict() | {"columns": [", ".join(names) for names in self.columns]}
        return pa.table({name: pa.array(list(values)) for name, values in parts.items()})

    def to_frame(self) -> Any:
        """The same as a pandas frame.

        Raises:
            ImportError: pandas is not installed; the message says what to install.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install 'upland[pandas]'") from None
        parts = self._asdict() | {"columns": [", ".join(names) for names in self.columns]}
        return pd.DataFrame(parts)


Read = Callable[[Tensor], Rows]


def judge_groups(
    member: Member,
    x: Tensor,
    labels: Any,
    alpha: float,
    control: Control,
    statistic: str,
    reasons: Reasons | None = None,
) -> GroupVerdicts:
    """A verdict on every group of encoded rows.

    Args:
        member: that judges.
        x: `(N, ...)` the rows.
        labels: `(N,)` the group of each.
        alpha: the rate to keep.
        control: whose rate.
        statistic: a name of `upland.criteria.judges.STATISTICS`.
        reasons: says what verdicts are made of; None where nobody asks.

    Raises:
        ValueError: too few normal rows are kept, labels and rows differ in number, or a row has no group.
    """
    score = needs_score(member, statistic)
    known, reserve = yardstick(member, statistic), reserve_of(member)

    def read(rows: Tensor) -> Rows:
        return readings(member, rows, score)

    return _verdicts(known, read, reserve, x, labels, alpha, control, reasons)


def judge_scores(
    normal: Floats, scores: Floats, labels: Any, alpha: float, control: Control, statistic: str
) -> GroupVerdicts:
    """A verdict on every group by anomaly scores alone.

    Args:
        normal: `(R,)` scores of held-out normal data; half of them teach the statistic.
        scores: `(N,)`.
        labels: `(N,)` the group of each.
        alpha: the rate to keep.
        control: whose rate.
        statistic: a name of `upland.criteria.judges.OF_SCORES`.

    Raises:
        ValueError: there are too few normal scores, labels and scores differ in number or shape, one has no
            group, or a score is no number.
    """
    if len(normal) < 2 * LEAST_STANDARD:
        raise ValueError(f"{len(normal)} held-out scores are too few to judge groups: fit on more sequences")
    mixed = torch.from_numpy(np.random.default_rng(0).permutation(normal))[:, None]
    x = torch.from_numpy(scores)
    if x.ndim != 1:
        raise ValueError(
            Advice(
                f"groups are of scores (N,), but these are {tuple(x.shape)}: fit with ",
                Argument("per", "sequence"),
            )
        )

    def read(rows: Tensor) -> Rows:
        return Rows(rows, rows[:, 0], [])

    if lost := int(np.isnan(scores).sum()):
        raise ValueError(f"{lost} of {len(scores)} have no score, and so no group to be judged in")
    half = len(mixed) // 2
    rows = read(mixed[:half])
    known = STATISTICS[statistic](rows).fit(rows)
    return _verdicts(known, read, mixed[half:], x[:, None], labels, alpha, control, None)


def _verdicts(
    known: Statistic,
    read: Read,
    reserve: Tensor,
    x: Tensor,
    labels: Any,
    alpha: float,
    control: Control,
    reasons: Reasons | None,
) -> GroupVerdicts:
    names, numbers = grouped(labels, len(x))
    count = len(names)
    null = Null(_features(known, read, reserve), known.value, alpha / count if control == "fdr" else alpha)
    sizes = np.bincount(numbers, minlength=count)
    by_size = np.argsort(sizes, kind="stable")  # groups of one size share their draws
    back = np.argsort(by_size)
    numbers, ordered = back[numbers], sizes[by_size]
    order = np.argsort(numbers, kind="stable")
    told: list[GroupPValue] = []
    values: list[float] = []
    why: list[tuple[str, tuple[str, ...]]] = []
    for rows in _whole_groups(order, ordered):
        seen, of = _features(known, read, x[rows]), numbers[rows]
        for number in np.unique(of):
            mine = np.flatnonzero(of == number)
            features = seen[mine]
            n = torch.tensor([float(len(mine))], dtype=torch.float64)
            told.append(null.judge(features))
            values.append(float(known.value(features.mean(0, keepdim=True), n)[0]))
            why.append(("", ()) if reasons is None else reasons.of(x[rows[mine]]))
    told, values, why = ([part[place] for place in back] for part in (told, values, why))
    p, smallest = np.array([v.p for v in told]), np.array([v.smallest for v in told])
    _warn_of_resolution(smallest, sizes, alpha, control, len(reserve))
    return GroupVerdicts(
        group=names,
        size=sizes,
        statistic=np.array(values),
        p_value=p,
        flag=benjamini_hochberg(p, alpha) if control == "fdr" else p <= alpha,
        kind=np.array([kind for kind, _ in why]),
        columns=[columns for _, columns in why],
        smallest_p=smallest,
        method=np.array([v.method for v in told]),
    )


def _features(known: Statistic, read: Read, x: Tensor) -> Tensor:
    """The features of rows, a power of two at a time, few enough that large images do not fill the
    memory: `(N, F)`.
    """
    rows = 1 << max(8, (NUMBERS_AT_ONCE // x[0].numel()).bit_length() - 1)
    return torch.cat([known.features(read(part)) for part in x.split(rows)])


def reserve_of(member: Member) -> Tensor:
    """The normal rows that groups are compared with; raises ValueError where none are kept."""
    if member.reserve is None or not len(member.reserve):
        raise ValueError(
            Advice(
                "no normal rows are kept to compare groups with: fit with ", Argument("keep_rows"), " above 0"
            )
        )
    return member.reserve


def _whole_groups(order: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows of whole groups, some thousand at a time; of a very large group some."""
    start, waiting = 0, []
    for size in sizes.tolist():
        mine = order[start : start + size]
        start += size
        if size > MOST_ROWS:
            chosen = np.random.default_rng(size).choice(mine, MOST_ROWS, replace=False)
            mine = np.sort(chosen)
        waiting.append(mine)
        if sum(map(len, waiting)) >= AT_ONCE:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _warn_of_resolution(
    smallest: Floats, sizes: NDArray[np.int64], alpha: float, control: Control, reserve: int
) -> None:
    """Say so where p-values are too coarse for a flag."""
    coarse = smallest > alpha
    if coarse.any():
        warnings.warn(
            f"{int(coarse.sum())} of {len(sizes)} groups cannot be flagged at alpha = {alpha:g}: with "
            f"{reserve} normal rows kept to compare with, a group of {int(sizes[coarse][0])} has no p-value "
            f"below {smallest[coarse][0]:.3g}; fit or calibrate on more rows",
            stacklevel=4,
        )
    elif control == "fdr" and smallest.min() * len(sizes) > alpha:
        least = int(np.ceil(smallest.min() * len(sizes) / alpha))
        warnings.warn(
            f"among {len(sizes)} groups at least {least} must be off before any can be flagged at a false "
            f"discovery rate of {alpha:g}: the smallest p-value is {smallest.min():.3g}",
            stacklevel=4,
        )


class GroupContract(ABC):
    """The face for groups, for detectors: abstract."""

    members_: list[Member]
    unit_: Unit
    calibrations_: dict[Unit, Calibration]

    @abstractmethod
    def data_kind(self) -> Kind:
        """How the data of the fit are read."""

    @abstractmethod
    def _scored(self, X: Any, unit: Unit | None = None) -> Scored:
        """Each member's scores."""

    @abstractmethod
    def anomaly_score(self, X: Any) -> Floats:
        """How anomalous the data are."""

    def score_groups(
        self,
        X: Any,
        groups: Any,
        alpha: float = 0.05,
        control: Control = "fdr",
        statistic: str = "auto",
        reasons: bool = True,
    ) -> GroupVerdicts:
        """Judge whole groups of rows, images or sequences.

        Args:
            X: data like those of the fit; or the path of a file or folder.
            groups: `(N,)` the group of each, or the name of a column of X that is no feature.
            alpha: the rate that is kept, in (0, 1).
            control: "fdr" keeps the share of flagged groups that are normal; "false_alarm" the share of
                normal groups that are flagged.
            statistic: "auto" combines what fits the model; "divergence" (KL of latents), "geometric",
                "typicality", "likelihood", "projections" (Kolmogorov-Smirnov), "kernel" (maximum mean
                discrepancy), "stein" (the model's own score).
            reasons: whether verdicts say which columns or regions stand out.

        Returns:
            A verdict for each group, in order of first appearance.

        Raises:
            TypeError: the statistic is of latents, and the model has none.
            ValueError: an argument is none of these; the column is a feature or is missing; a row has no
                group; too few normal rows were kept.
        """
        check_is_fitted(self)
        check_rate(alpha, control)
        kind, member = self.data_kind(), self.members_[0]
        if kind.name == "sequence":
            return self._sequences_in_groups(X, groups, alpha, control, statistic)
        yardstick(member, statistic), reserve_of(member)  # refuse before reading
        by = groups if isinstance(groups, str) else None
        if by is not None and kind.name == "image":
            raise ValueError(f"images have no column {by!r}: give groups an array with the group of each")
        a_file = kind.name == "table" and isinstance(X, str | Path)
        blanks = NULLS if a_file and suffix_of(Path(X)) in TEXT else ()
        x, labels = [], []
        for piece in kind.pieces(X, member.encoder):
            if by is not None:
                labels += labels_in(piece, by, member.encoder, blanks)
            x.append(torch.from_numpy(member.encoder.transform(piece)))
        why = Reasons(member) if reasons else None
        names = groups if by is None else labels
        return judge_groups(member, torch.cat(x), names, alpha, control, statistic, why)

    def _sequences_in_groups(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str
    ) -> GroupVerdicts:
        """The same for sequences, by the distribution of their anomaly scores."""
        if statistic not in OF_SCORES:
            names = ", ".join(map(repr, OF_SCORES))
            raise TypeError(f"groups of sequences are judged by their scores: statistic is one of {names}")
        if isinstance(groups, str):
            raise ValueError("name the group of each sequence in an array: groups=[...], one a sequence")
        unit = self.unit_
        known = self.calibrations_[unit]
        if known.folds is None:
            own, scores = known.scores, self.anomaly_score(X)
        else:  # the first member alone, and what it has not seen
            own, scored = known.scores[known.folds == 0], self._scored(X, unit)
            scores = scored.arrange(scored.values[:, 0])
        if unit == "step":
            warnings.warn(
                "time steps depend on each other, so the p-values of their groups are approximate",
                stacklevel=3,
            )
        return judge_scores(own, scores, groups, alpha, control, statistic)


def labels_in(piece: Any, column: str, encoder: Encoder, blanks: Sequence[str] = ()) -> list[Any]:
    """The values of a column that names groups.

    Args:
        piece: a table.
        column: its name.
        encoder: of the detector.
        blanks: text that stands for no label.

    Raises:
        ValueError: it is a feature, or there is no such column.
    """
    if column in {used["name"] for used in encoder.describe()}:
        raise ValueError(
            Advice(
                f"column {column!r} is a feature of this detector: fit with ",
                Argument("ignore", [column]),
                " to name groups by it",
            )
        )
    rows = as_rows(piece)
    if rows.naming == "none" or column not in rows.names:
        there = ", ".join(map(repr, rows.names[:8])) if rows.naming != "none" else "no names"
        raise ValueError(f"there is no column {column!r} to name groups by; the table has {there}")
    values: list[Any] = nw.from_native(piece, eager_only=True)[column].to_list()
    return [None if value in blanks else value for value in values] if blanks else values
