"""A model for every segment of a table (machine, shop, site) beside one of all of them, in one detector."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from upland.calibration.conformal import Floats, thinned, warn_of_weak
from upland.calibration.false_discovery import ALPHA, Control
from upland.calibration.segments import GUARANTEE, OF_GROUPS, OF_UNSEEN, SegmentCalibration
from upland.catalogue import Unit
from upland.criteria.base import finite
from upland.data.modality import check_modality
from upland.data.reader import Reader
from upland.data.rows import SampledRows
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import TableView, held, view_table
from upland.data.table.matching import resolve
from upland.data.table.segmentnames import canonical_name, numbers_of, segment_names
from upland.detectors.arguments import seed_of
from upland.detectors.assessment import Assessment, MemberAssessment, Observer, Scores
from upland.detectors.fitting import CALIBRATION_MOST
from upland.detectors.host import usual_settings
from upland.detectors.plan import FitPlan
from upland.detectors.points import PointDetector
from upland.detectors.scoring import name_of
from upland.detectors.segmentrows import Indices, SegmentRows, joined, own_weights, parted, pieces_of
from upland.detectors.table import TableDetector
from upland.groups.verdicts import GroupVerdicts
from upland.io.advice import Advice, Argument
from upland.models.process import THREADS
from upland.models.segment_fitting import fitted_segments
from upland.models.segments import SegmentEnergies

_SCORES = " scores such rows by all segments together"

POOLED_ROWS = 50_000
"""Rows at most, drawn from those of all segments, that the pooled detector is fitted on."""


class SegmentedDetector(PointDetector):
    """Anomaly detection in tables with a model for every segment, such as a machine, a shop or a site.

    A detector of rows, the pooled one, is fitted on the rows of all segments together, and beside it each
    segment has a mean and a covariance of its own, from which two energies follow in closed form
    (`upland.models.segments`). These are drawn to the pooled ones the more, the fewer rows the segment has
    and the less segments differ (credibility, Buhlmann and Straub 1970); where no difference between
    segments is found, rows rank nearly as by the pooled detector alone.

    Normal data are a table with a column that names the segment of each row. The rows of a fit are held in
    memory. A score depends on its row alone, its segment included.

    p-values compare a row with held-out rows of its own segment where there are enough of them, and with
    those of segments of about the same size otherwise; `info()["calibration"]["guarantee"]` says what is
    guaranteed (`upland.calibration.segments`). `predict` goes by one threshold over all segments, `flag` by
    the p-values.

    Args:
        detector: of tables, not fitted; its `ignore` is extended by the column.
        by: the column that names segments, by text, whole numbers or booleans; of an array its position. It
            is no feature.
        unseen: what to do with a row of a segment that the fit did not see: "pooled" scores it by the pooled
            detector, "error" refuses.

    Attributes:
        pooled_: the fitted detector of all segments together, whose arguments hold as the fit found them.
        by_: the name of the column of segments; `given_by_` is `by` as the fit found it.
        segments_: the names of the segments, sorted.
        counts_: `(S,)` training rows of each segment, without those that calibrate.
        weights_: training rows that the pooled mean, scales and covariance weigh as much as; 1e9 where
            segments do not differ.
        energies_: the energies of the segments.
        segment_calibration_: the held-out scores and the p-values that follow.

    Examples:
        >>> import numpy as np, pandas as pd, upland
        >>> rng = np.random.default_rng(0)
        >>> rows = pd.DataFrame({"machine": ["a", "b"] * 200, "flow": rng.normal(size=400)})
        >>> rows.loc[rows["machine"] == "b", "flow"] += 9
        >>> detector = upland.SegmentedDetector(upland.EnergyDetector(random_state=0), by="machine").fit(rows)
        >>> detector.flag(pd.DataFrame({"machine": ["a", "b"], "flow": [9.0, 9.0]})).tolist()
        [True, False]
    """

    family: ClassVar[str] = "energy"
    modality: ClassVar[Literal["table"]] = "table"

    pooled_: TableDetector
    segments_: list[str]
    counts_: Indices
    weights_: tuple[float, float, float]
    energies_: SegmentEnergies
    segment_calibration_: SegmentCalibration
    by_: str
    given_by_: str | int
    _numbers: dict[str, int]

    def __init__(self, detector: Any, by: str | int, unseen: Literal["pooled", "error"] = "pooled") -> None:
        self.detector, self.by, self.unseen = detector, by, unseen

    def _reader(self) -> Reader:
        reader: Reader = self.detector._reader()
        return reader

    def _plan(self, rows: Any, reader: Reader, method: Literal["split", "cross"], seed: int) -> FitPlan:
        plan: FitPlan = self.detector._plan(rows, reader, method, seed)
        return plan

    # -- fit -----------------------------------------------------------------------------------------------

    def _fit(
        self, X: Any, checkpoint: str | Path | None, sampled: SampledRows | None = None, classes: Any = None
    ) -> None:
        if sampled is not None:
            raise TypeError("models of segments are fitted on all rows, not on a sample")
        self._check_own_arguments()
        X = held(X)
        check_modality(X, self.modality, self.detector.family)
        rows = view_table(self._reader().normal_rows(X).whole())
        by = resolve([self.by], rows, "by").pop()
        names, of = segment_names(rows, by, rows.names, self._blanks(X))
        order = np.argsort(np.array(names, dtype=object), kind="stable")
        of = np.argsort(order).astype(np.int64)[of]
        segments = [names[number] for number in order]
        generator = np.random.default_rng(seed_of(self.detector.random_state))
        training, calibrating = parted(of, generator)
        pooled = clone(self.detector).set_params(ignore=(*self.detector.ignore, self.by))
        some = np.sort(generator.permutation(training)[:POOLED_ROWS])
        pooled._fit(rows.take(some) if some.size > 1 else rows, checkpoint)
        self._adopt(pooled, segments, by)
        self._fit_segments(rows, of, training)
        self._calibrate(self._rows(pieces_of(rows, calibrating), of[calibrating]))
        self.n_samples_fit_ = rows.n_rows
        whole = (
            self._rows(pieces_of(rows, np.arange(rows.n_rows)), of) if self.contamination != "auto" else None
        )
        self.offset_ = self._threshold(whole)

    def _threshold(self, rows: SegmentRows | None) -> float:
        """scikit-learn's `offset_`: by the rows of the fit where a share of them is to be flagged."""
        if self.contamination == "auto" or rows is None:
            return -self.calibration_.threshold(self.alpha_)
        return float(np.percentile(-self._score(rows), 100 * self.contamination))

    def check_fitted(self) -> None:
        """Refuse a detector that is not fitted, or whose arguments no longer suit the fit; raises
        `sklearn.exceptions.NotFittedError` or ValueError.
        """
        super().check_fitted()
        self._check_unseen()
        now = name_of(self._names())
        if now != self.criterion_:
            raise ValueError(
                f"fitted for criterion={self.criterion_!r}, but now criterion={now!r}: fit again"
            )

    def _check_unseen(self) -> None:
        if self.unseen not in ("pooled", "error"):
            raise ValueError(f"unseen must be 'pooled' or 'error', got {self.unseen!r}")

    def _check_own_arguments(self) -> None:
        if not isinstance(self.detector, TableDetector):
            raise TypeError(
                "detector must be a detector of tables that is not fitted, such as upland.EnergyDetector(), "
                f"got {type(self.detector).__name__}"
            )
        if isinstance(self.by, bool) or not isinstance(self.by, str | int):
            raise TypeError(f"by must be the name or the position of one column, got {self.by!r}")
        self._check_unseen()

    def _adopt(self, pooled: TableDetector, segments: list[str], by: str) -> None:
        """Put on what is the pooled detector's."""
        self.pooled_, self.segments_, self.by_, self.given_by_ = pooled, segments, by, self.by
        self._numbers = numbers_of(segments)
        self.plan_, self.members_, self.params_ = pooled.plan_, pooled.members_, pooled.params_
        self.unit_, self.offered_ = pooled.unit_, pooled.offered_
        self.criterion, self.criterion_ = pooled.criterion, pooled.criterion_
        self.contamination, self.keep_rows = pooled.contamination, pooled.keep_rows
        self.n_features_in_ = pooled.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if pooled.encoder_.named:
            self.feature_names_in_ = pooled.feature_names_in_
        self._tester, self.alpha_ = None, ALPHA
        self._is_fitted = True

    def restore_segments(
        self,
        pooled: TableDetector,
        *,
        segments: list[str],
        by: str,
        energies: SegmentEnergies,
        counts: Indices,
        calibration: SegmentCalibration,
        weights: tuple[float, float, float],
        offset: float,
        rows: int,
    ) -> None:
        """Put a detector back into the state that a fit left it in, as `upland.load` does.

        Args:
            pooled: the fitted detector of all segments together.
            segments: their names.
            by: the name of their column.
            energies: as fitted.
            counts: training rows of each segment.
            calibration: as fitted.
            weights: training rows that the pooled mean and covariance weigh as much as.
            offset: scikit-learn's.
            rows: rows of the fit.
        """
        self._adopt(pooled, segments, by)
        self.energies_, self.counts_, self.weights_ = energies, counts, weights
        self.segment_calibration_, self.calibrations_ = calibration, {"row": calibration.overall}
        self.offset_, self.n_samples_fit_ = offset, rows

    def _fit_segments(self, rows: TableView, of: Indices, training: Indices) -> None:
        """The energies of the segments, by the training rows."""
        found = self._rows(pieces_of(rows, training), of[training])
        fresh = torch.from_numpy(np.asarray(self.pooled_.calibration_.scores, dtype=np.float64))
        count = len(self.segments_)
        with THREADS.at(1), torch.no_grad():
            self.energies_, weights = fitted_segments(
                found.codes, torch.from_numpy(found.of), count, found.pooled, fresh
            )
        self.weights_ = (float(weights[0]), float(weights[1]), float(weights[2]))
        self.counts_ = np.bincount(found.of, minlength=count).astype(np.int64)

    def _calibrate(self, rows: SegmentRows) -> None:
        """The calibration by rows that nothing else has seen."""
        count = len(self.segments_)
        some = thinned(np.arange(rows.of.size, dtype=np.float64), CALIBRATION_MOST).astype(np.int64)
        alone = SegmentRows(np.full(some.size, count), rows.codes[some], rows.pooled[some])
        scores, unsegmented = self._score(rows), self._score(alone)
        self.segment_calibration_ = SegmentCalibration(scores, rows.of, unsegmented, count)
        self.calibrations_ = {"row": self.segment_calibration_.overall}

    def calibrate(self, X: Any) -> Self:
        """Renew the calibration on fresh normal rows of segments that the fit saw, without fitting again.

        Args:
            X: normal data like those of the fit.

        Raises:
            ValueError: columns are missing or of another kind; the fit did not see the segment of a row.
        """
        self.check_fitted()
        X = held(X)
        with usual_settings():
            rows = self._read(X, "known")
            self._calibrate(rows)
            if self.contamination == "auto":
                self.offset_ = self._threshold(None)
        warn_of_weak(self.calibrations_, (self.unit_,), self.alpha_)
        return self

    # -- scores --------------------------------------------------------------------------------------------

    def _read(self, X: Any, unseen: str) -> SegmentRows:
        """All rows of a table or a file."""
        read = self.plan_.reader.pieces(X, self.encoder_)
        blanks = self._blanks(X)
        parts = [self._piece(piece, self._segments_of(piece, unseen, blanks)) for piece in read]
        return joined(parts)

    def _rows(self, pieces: Iterator[TableView], of: Indices) -> SegmentRows:
        """Rows whose segments are known."""
        parts, start = [], 0
        for piece in pieces:
            parts.append(self._piece(piece, of[start : start + piece.n_rows]))
            start += piece.n_rows
        return joined(parts)

    def _piece(self, piece: Any, of: Indices) -> SegmentRows:
        """Encoded rows with their scores by the pooled detector."""
        codes, scores = [], []
        for member in self.members_:
            codes.append(self.encode(member.encoder, piece))
            scores.append(self.fitted_criterion(member, self.unit_).score(codes[-1]))
        pooled = np.mean(scores, axis=0)
        pooled = finite(pooled) if np.isnan(pooled).any() else pooled
        return SegmentRows(of, codes[0], torch.from_numpy(np.asarray(pooled, dtype=np.float64)))

    def _segments_of(self, piece: Any, unseen: str, blanks: Collection[str]) -> Indices:
        """The number of each row's segment; that of segments where the fit has not seen it."""
        names, of = segment_names(view_table(piece), self.by_, self._encoder.inputs, blanks)
        known = self._numbers
        found = [known.get(name, known.get(canonical_name(name), len(self.segments_))) for name in names]
        numbers = np.array(found, dtype=np.int64)
        if unseen != "pooled" and (numbers == len(self.segments_)).any():
            new = [name for name, number in zip(names, numbers, strict=True) if number == len(self.segments_)]
            text = f"{len(new)} segment(s) of {self.by_!r} were not in the normal data, such as {new[0]!r}"
            if unseen == "known":
                raise ValueError(f"{text}: leave their rows out, only segments of the fit calibrate")
            raise ValueError(Advice(text, "; a fit with ", Argument("unseen", "pooled"), _SCORES))
        return numbers[of]

    @property
    def _encoder(self) -> TableEncoder:
        encoder = self.encoder_
        assert isinstance(encoder, TableEncoder)
        return encoder

    def _score(self, rows: SegmentRows) -> Floats:
        with THREADS.at(1), torch.no_grad():
            scores = self.energies_.score(rows.codes, rows.pooled, torch.from_numpy(rows.of))
        found: Floats = scores.numpy()
        return found

    def _read_scores(self, X: Any, unit: Unit | None, observe: Observer | None) -> Scores:
        scores, _ = self._scores_and_segments(X, observe)
        return Scores(scores[:, None], "row", self.plan_.reader, None)

    def _scores_and_segments(self, X: Any, observe: Observer | None) -> tuple[Floats, Indices]:
        scores, of = [], []
        blanks = self._blanks(X)
        for piece in self.plan_.reader.pieces(X, self.encoder_):
            rows = self._piece(piece, self._segments_of(piece, self.unseen, blanks))
            if observe is not None:
                observe(rows.codes)
            scores.append(self._score(rows))
            of.append(rows.of)
        return np.concatenate(scores), np.concatenate(of)

    def assess_members(self, X: Any, observe: Observer | None = None) -> MemberAssessment:
        """Anomaly scores and p-values, with what a change monitor takes in: scores and segments."""
        self._check_criterion()
        try:
            with usual_settings():
                scores, of = self._scores_and_segments(X, observe)
                p = self.segment_calibration_.p_values(scores, of)
                return MemberAssessment(Assessment(scores, p), scores[:, None], of, "row")
        except (TypeError, ValueError):
            check_modality(X, self.modality, self.family)
            raise

    def _group_verdicts(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        found = super()._group_verdicts(X, groups, alpha, control, statistic, reasons)
        warnings.warn(OF_GROUPS, stacklevel=3)
        return found

    def shares(self, piece: Any, of_columns: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
        """What each encoded input adds to the scores of rows, and its expected code: `(N, D)` twice.

        Args:
            piece: a table.
            of_columns: `(N, C)` shares of the columns in the scores by the pooled detector.
        """
        rows = self._piece(piece, self._segments_of(piece, self.unseen, ()))
        slots, first = np.unique(self._encoder.slots, return_index=True)
        of_pooled = np.zeros(tuple(rows.codes.shape))
        of_pooled[:, first] = of_columns[:, slots]
        with THREADS.at(1), torch.no_grad():
            found, expected = self.energies_.shares(
                rows.codes,
                rows.pooled,
                torch.from_numpy(rows.of),
                torch.from_numpy(of_pooled),
            )
        return found.numpy(), expected.numpy()

    # -- what it is ----------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """What the detector is and what its p-values guarantee, as plain data."""
        self.check_fitted()
        pooled = self.pooled_.info()
        calibration, sizes = self.calibration_, self.counts_
        named = {"detector": type(self).__name__, "pooled_detector": pooled["detector"]}
        return {
            **(named | {name: value for name, value in pooled.items() if name != "detector"}),
            "alpha": self.alpha_,
            "rows": self.n_samples_fit_,
            "settings": pooled["settings"] | {"by": self.by_, "unseen": self.unseen},
            "segments": {
                "by": self.by_,
                "count": len(self.segments_),
                "training_rows": [int(sizes.min()), int(np.median(sizes)), int(sizes.max())],
                **own_weights(self.weights_, sizes),
                "unseen": self.unseen,
                "can_be_flagged": self.segment_calibration_.n_below(self.alpha_),
            },
            "calibration": {
                "method": calibration.method,
                "rows": calibration.size,
                "smallest_p": calibration.smallest_p,
                "of": "row",
                "guarantee": GUARANTEE,
                **({"guarantee_unseen": OF_UNSEEN} if self.unseen == "pooled" else {}),
            },
        }
