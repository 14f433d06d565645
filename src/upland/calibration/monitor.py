"""Has anything changed since the calibration? The change monitor of one fitted detector, in constant memory.

Each new score gets an online p-value (`upland.calibration.online_ranks`) on which test martingales
(`upland.calibration.martingales`) and an e-detector (`upland.calibration.e_detector`) bet. With K folds each
has an urn and a martingale of its own, and the detector's is max_k M_k / K: P(it is ever at least 1 / delta)
is at most delta, whatever the dependence between folds.

The e-value of a batch compares with the calibration scores and the batch's own alone, so that it is valid
for a batch of normal rows whatever the batches before it were.

With `block` = B, one of every B consecutive rows of a segment counts, drawn at random: for rows that depend
on each other in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from upland.calibration.conformal import Floats
from upland.calibration.e_detector import N_BETS, EDetector, log_e_value, log_products, sums
from upland.calibration.martingales import Martingales
from upland.calibration.online_ranks import Integers, Urns


class Evidence(NamedTuple):
    """What a batch says.

    Args:
        p: `(N, K)` online p-values; NaN for rows that do not count.
        log_martingale: `(N,)` after each row.
        log_peak: the largest so far, 0 at the start.
        e_value: the log e-value of the batch; 0 if no row counts.
        log_detector: of the e-detector after the batch.
        counted: rows of the batch that count.
        left_out: rows of segments that the calibration does not have.
    """

    p: Floats
    log_martingale: Floats
    log_peak: float
    e_value: float
    log_detector: float
    counted: int
    left_out: int


@dataclass
class Monitor:
    """The state of a change monitor.

    Args:
        seed: of the random draws, which depend on it and on the position of the row alone.
        block: rows of which one counts.
        columns: values of a row, K.
        rows: taken in so far.
        urns: of each fold or segment.
        blocks: `(S, 2)` rows of each segment so far (1 without segments), and the position in its present
            block that counts.
        martingales: of each column.
        log_martingale: the detector's, now.
        log_peak: the largest so far.
        e_detector: of all columns.
    """

    seed: int
    block: int
    columns: int
    rows: int
    urns: Urns
    blocks: Integers
    martingales: Martingales
    log_martingale: float
    log_peak: float
    e_detector: EDetector

    @classmethod
    def begin(cls, calibrations: Sequence[Floats], seed: int, block: int = 1) -> Self:
        """A monitor before the first row.

        Args:
            calibrations: held-out scores of each fold, one array for split calibration.
            seed: of the random draws, from 0 to 2^63 - 1.
            block: rows of which one counts.

        Raises:
            ValueError: an argument is none of these.
        """
        return cls._begin(calibrations, len(calibrations), 1, seed, block)

    @classmethod
    def of_segments(cls, scores: Floats, of: Integers, count: int, seed: int, block: int = 1) -> Self:
        """A monitor of rows in segments before the first row.

        Args:
            scores: `(n,)` held-out scores.
            of: `(n,)` the number of each one's segment.
            count: of segments.
            seed: of the random draws, from 0 to 2^63 - 1.
            block: rows of a segment of which one counts.

        Raises:
            ValueError: an argument is none of these.
        """
        order = np.argsort(of, kind="stable")
        ends = np.cumsum(np.bincount(of, minlength=count))
        return cls._begin(np.split(scores[order], ends[:-1]), 1, count, seed, block)

    @classmethod
    def _begin(
        cls, calibrations: Sequence[Floats], columns: int, streams: int, seed: int, block: int
    ) -> Self:
        if not 0 <= seed < 1 << 63:
            raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
        if block < 1:
            raise ValueError(f"block must be a whole number of rows, 1 or more, got {block!r}")
        ordered = [np.sort(np.asarray(part, dtype=np.float64)) for part in calibrations]
        urns = Urns.begin(ordered, np.random.Generator(np.random.Philox(key=_key(seed, 1))))
        return cls(
            seed,
            block,
            columns,
            0,
            urns,
            np.zeros((streams, 2), dtype=np.int64),
            Martingales.begin(columns),
            0.0,
            0.0,
            EDetector.begin(columns),
        )

    def update(self, values: Floats, segments: Integers | None = None) -> Evidence:
        """Take in a batch: what it says.

        Args:
            values: `(N, K)` scores of new rows under each fold's detector, in the order of time.
            segments: `(N,)` the number of each row's segment; None without segments. A number from their
                count on is a segment that the calibration does not have.

        Raises:
            ValueError: the shapes are not these, or a score is not a number; the state is as before.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.columns:
            raise ValueError(f"scores must have shape (N, {self.columns}), not {values.shape}")
        if np.isnan(values).any():
            raise ValueError("a score is NaN: p-values of it would mean nothing")
        segments = self._segments(segments, len(values))
        draws = self._draws(len(values))
        counts, blocks = self._counting(segments, draws[:, 0])
        left_out = int((segments >= len(self.blocks)).sum())
        found = self._evidence(values[counts], segments[counts], draws[counts, 1:])
        p = np.full(values.shape, np.nan)
        p[counts] = found.p
        # rows that do not count leave the martingale as it is
        latest = np.concatenate([[self.log_martingale], found.log_martingale])
        martingale = latest[np.cumsum(counts)]
        self.rows, self.blocks, self.log_martingale = self.rows + len(values), blocks, float(latest[-1])
        self.log_peak = max(self.log_peak, float(latest.max()))
        return found._replace(p=p, log_martingale=martingale, log_peak=self.log_peak, left_out=left_out)

    def restart_detector(self) -> None:
        """Put the e-detector back to 0, as after an alarm."""
        self.e_detector = EDetector.begin(self.columns)

    def _segments(self, segments: Integers | None, count: int) -> Integers:
        if segments is None:
            if len(self.blocks) > 1:
                raise ValueError("the calibration is of segments, and those of the rows are lacking")
            return np.zeros(count, dtype=np.int64)
        found = np.asarray(segments, dtype=np.int64)
        if found.shape != (count,) or (found < 0).any():
            raise ValueError(f"segments must be whole numbers of shape ({count},), not {found.shape}")
        return found

    def _draws(self, count: int) -> Floats:
        """Numbers uniform on (0, 1), `(N, 1 + 2 K)` or more, by the seed and the row's position alone."""
        width = (1 + 2 * self.columns + 3) // 4  # the generator gives four at a time
        generator = np.random.Philox(key=_key(self.seed, 0))
        generator.advance(self.rows * width)
        raw = generator.random_raw(count * width * 4).reshape(count, width * 4)
        found: Floats = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return found

    def _counting(self, segments: Integers, draws: Floats) -> tuple[NDArray[np.bool_], Integers]:
        """Which rows count, and `blocks` after them. The first row of a block draws the position."""
        streams = len(self.blocks)
        known = segments < streams
        if self.block == 1:
            return known, self.blocks
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(segments[rows], kind="stable")]
        of = segments[rows]
        within = np.arange(rows.size) - np.searchsorted(of, of)
        seen, chosen = self.blocks[of].T
        position = (seen + within) % self.block
        first = within - position  # of its block, in this batch if not negative
        drawn = (draws[rows] * self.block).astype(np.int64)
        chosen = np.where(first >= 0, drawn[np.maximum(np.arange(rows.size) - position, 0)], chosen)
        counts = np.zeros(segments.shape, dtype=bool)
        counts[rows] = position == chosen
        blocks = self.blocks.copy()
        np.add.at(blocks[:, 0], of, 1)
        blocks[of, 1] = chosen  # the last row of a segment decides
        return counts, blocks

    def _evidence(self, values: Floats, segments: Integers, draws: Floats) -> Evidence:
        """Of the rows that count."""
        if not len(values):
            return Evidence(values, np.empty(0), 0.0, 0.0, self.e_detector.log_value, 0, 0)
        of = segments if len(self.blocks) > 1 else None
        scores, ties, uniform = (
            np.ascontiguousarray(part.T)
            for part in (values, draws[:, : self.columns], draws[:, self.columns : 2 * self.columns])
        )
        ranks = self.urns.ranks(scores, ties, of)
        p = self.urns.p_values(ranks, uniform)
        alone = sums(self.urns.p_values(ranks, uniform, counted=False))
        self.urns.add(ranks)
        self.e_detector.update(log_products(sums(p)))
        martingale = self.martingales.update(p).max(axis=0) - np.log(self.columns)
        detector, e_value = self.e_detector.log_value, log_e_value(alone)
        return Evidence(p.T, martingale, 0.0, e_value, detector, len(values), 0)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as arrays by name; `from_arrays` is the exact way back."""
        whole = np.array([self.seed, self.block, self.columns, self.rows], dtype=np.int64)
        parts = {"urns": self.urns.to_arrays(), "martingales": self.martingales.to_arrays()}
        return {
            "numbers": whole,
            "blocks": self.blocks,
            "log_martingale": np.array([self.log_martingale, self.log_peak]),
            "log_r": self.e_detector.log_r,
        } | {f"{part}/{name}": value for part, arrays in parts.items() for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The monitor of which `to_arrays` gave the state; it goes on bit for bit.

        Args:
            arrays: by name.

        Raises:
            ValueError: they are not such a state.
        """
        try:
            numbers = np.array(arrays["numbers"], dtype=np.int64)
            now = np.array(arrays["log_martingale"], dtype=np.float64)
            blocks = np.array(arrays["blocks"], dtype=np.int64)
            log_r = np.array(arrays["log_r"], dtype=np.float64)
            urns, martingales = (
                {name.removeprefix(f"{part}/"): arrays[name] for name in arrays if name.startswith(part)}
                for part in ("urns", "martingales")
            )
            ranks, bets = Urns.from_arrays(urns), Martingales.from_arrays(martingales)
        except KeyError as error:
            raise ValueError(f"the state of the monitor is not whole: {error} is lacking") from None
        columns = bets.powers.log_p.size
        streams = ranks.sizes.size if columns == 1 else 1
        if (
            (numbers.shape, now.shape, blocks.shape) != ((4,), (2,), (streams, 2))
            or log_r.shape != (columns, N_BETS)
            or ranks.sizes.size != max(columns, streams)
            or not (numbers >= [0, 1, columns, 0]).all()
            or numbers[2] != columns
            or numbers[3] >= 1 << 60
            or not np.isfinite(now).all()
            or np.isnan(log_r).any()
            or not (blocks >= 0).all()
            or not (blocks[:, 1] < numbers[1]).all()
        ):
            raise ValueError("the arrays of the monitor do not belong together")
        seed, block, _, rows = numbers.tolist()
        last, peak = now.tolist()
        return cls(seed, block, columns, rows, ranks, blocks, bets, last, peak, EDetector(log_r))


def _key(seed: int, purpose: int) -> NDArray[np.uint64]:
    return np.array([seed, purpose], dtype=np.uint64)
