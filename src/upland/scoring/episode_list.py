"""`upland.episodes`: the stretches of a series that are anomalous, each with a p-value of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.calibration.block_calibration import BlockCalibration
from upland.calibration.false_discovery import check_rate
from upland.scoring.episodes import Episodes, episodes_of
from upland.scoring.explained_steps import AssessedSteps, assessed_steps, explained_steps
from upland.scoring.kinds import SHORTEST, Kind, kind_of
from upland.scoring.times import SECONDS, plain_times

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.detectors.base import Detector
    from upland.detectors.scoring import ScoringDetector
    from upland.explanation import Reason

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LONGEST, BEFORE = 128, 8
"""Steps of an episode that its kind is of at most, and as many times as long a stretch before it."""
CHANNELS = 3
"""Channels that are named of an episode."""
DAY = 86_400.0


class Channel(NamedTuple):
    """A channel's part in an episode.

    Args:
        column: its name.
        part: of the scores of the steps of the episode together.
    """

    column: str
    part: float


@dataclass(frozen=True)
class Episode:
    """A stretch of steps of one series that is anomalous.

    Args:
        series: the id of the series, or its number from 0.
        start: the time stamp of its first flagged step, or where there are none its number from 0.
        end: of its last flagged step.
        peak: of the step with the highest score.
        steps: from the first to the last.
        score: the highest anomaly score.
        step_p_value: of the step with the highest score.
        p_value: of the episode: on average at most so many episodes a block of normal steps have a peak so
            high; None where the model has no calibration of blocks.
        expected_false: how many episodes with a peak so high there would be on average at most in data of
            this length if all were normal; None likewise.
        reasons: the channels with the largest shares at the peak, and what was expected there.
        channels: the channels with the largest shares of all steps of the episode.
        kind: what its first channel does, by `upland.scoring.kinds`; None where no kind is clear.
    """

    series: Any
    start: Any
    end: Any
    peak: Any
    steps: int
    score: float
    step_p_value: float
    p_value: float | None
    expected_false: float | None
    reasons: tuple[Reason, ...]
    channels: tuple[Channel, ...]
    kind: Kind | None

    @property
    def confidence(self) -> float | None:
        """1 - p_value: the share of normal blocks whose peak is lower, at least; None where there is none."""
        return None if self.p_value is None else 1 - self.p_value


@dataclass(frozen=True)
class EpisodeList(Sequence[Episode]):
    """The episodes of some series, in the order of their steps.

    Args:
        found: the episodes.
        alpha: at which steps are flagged.
        blocks: the calibration of p-values of episodes; None of a model that has none.
        searched: blocks in the series.
        steps_a_day: steps of one series in a day; None where nothing says how long a step is.

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> settings = {"criterion": "max_channel", "smoothing": 1, "epochs": 2}
        >>> detector = upland.SequenceEnergyDetector(**settings, random_state=0)
        >>> detector = detector.fit(rng.normal(size=(2_000, 2)))
        >>> new = rng.normal(size=(500, 2))
        >>> new[100:110, 1] += 9
        >>> worst = upland.episodes(detector, new).worst(1)[0]
        >>> worst.start, worst.channels[0].column, worst.p_value < 0.05
        (100, 'x1', True)
    """

    found: tuple[Episode, ...]
    alpha: float
    blocks: BlockCalibration | None
    searched: int
    steps_a_day: float | None

    @overload
    def __getitem__(self, number: int) -> Episode: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Episode]: ...

    def __getitem__(self, number: int | slice) -> Episode | Sequence[Episode]:
        return self.found[number]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Episode]:
        return iter(self.found)

    def worst(self, count: int) -> list[Episode]:
        """Those with the highest scores, worst first.

        Args:
            count: how many; where there are fewer, all.

        Raises:
            ValueError: it is no whole number of at least 0.
        """
        _check_count(count)
        return sorted(self.found, key=lambda one: -one.score)[:count]

    def sure(self, alpha: float | None = None) -> list[Episode]:
        """Those with a p-value of at most alpha: of normal series on average at most alpha a block of steps.

        Args:
            alpha: at most the one at which steps are flagged; None is that one.

        Raises:
            ValueError: alpha is not between 0 and 1; or it is larger, so that episodes may be missing or be
                parted.
        """
        alpha = self._checked(alpha)
        return [one for one in self.found if one.p_value is not None and one.p_value <= alpha]

    def false_a_day(self, alpha: float | None = None) -> float | None:
        """The bound of false episodes a day of one series, alpha times the blocks in a day; None where
        nothing says how long a step is, or there is no calibration of blocks.

        Args:
            alpha: as in `sure`.

        Raises:
            ValueError: as `sure`.
        """
        alpha = self._checked(alpha)
        if self.blocks is None or self.steps_a_day is None:
            return None
        return alpha * self.steps_a_day / self.blocks.length

    def _checked(self, alpha: float | None) -> float:
        """A level of episodes; raises ValueError for one that the steps were not flagged for."""
        if alpha is None:
            return self.alpha
        check_rate(alpha, "false_alarm")
        if alpha > self.alpha:
            raise ValueError(f"episodes are of steps flagged at {self.alpha:g}: alpha cannot be {alpha:g}")
        return float(alpha)

    def to_arrow(self) -> pa.Table:
        """One row an episode; times as they are in the data."""
        names = ("series", "start", "end", "peak", "steps", "score", "step_p_value", "p_value")
        columns: dict[str, Any] = {
            name: [getattr(one, name) for one in self.found] for name in (*names, "expected_false")
        }
        columns["kind"] = pa.array([one.kind for one in self.found], pa.string())
        columns["channels"] = [[channel._asdict() for channel in one.channels] for one in self.found]
        return pa.table(columns)


def _check_count(count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 0:
        raise ValueError(f"count must be a whole number of at least 0, got {count!r}")


def episodes(detector: Detector, X: Any, alpha: float | None = None) -> EpisodeList:
    """The stretches of series that are anomalous: when, by which channels, and how sure that is.

    Args:
        detector: fitted on sequences, whose steps it scores.
        X: data like those of the fit; or the path of a file.
        alpha: at which steps are flagged; None is the detector's `alpha_`.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        TypeError: it is no detector.
        ValueError: it scores no time steps; alpha is no rate; as `assess`.

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> settings = {"criterion": "max_channel", "smoothing": 1, "epochs": 2}
        >>> detector = upland.SequenceEnergyDetector(**settings, random_state=0)
        >>> detector = detector.fit(rng.normal(size=(2_000, 2)))
        >>> found = upland.episodes(detector, rng.normal(size=(300, 2)))
        >>> found.alpha, found.searched * found.blocks.length >= 300
        (0.05, True)
    """
    from upland.data.sequence.container import Sequences
    from upland.detectors.foreign import check_detector
    from upland.io.advice import Advice, Argument

    check_detector(detector, "episodes")
    detector.check_fitted()
    alpha = detector.alpha_ if alpha is None else alpha
    check_rate(alpha, "false_alarm")
    read = detector.plan_.reader.pieces(X, detector.encoder_)
    sequences = next(iter(read)) if detector.modality == "sequence" else None
    if not isinstance(sequences, Sequences) or detector.plan_.reader.unit(sequences) != "step":
        text = "episodes are stretches of time steps, and the detector has no scores of steps of these data: "
        raise ValueError(Advice(text, "fit series with ", Argument("per", "step")))
    detector.check_alpha(alpha, "false_alarm", "step")
    if detector.blocks_ is not None:
        detector.blocks_.warn(alpha)
    steps = assessed_steps(detector, sequences)
    owners = np.repeat(np.arange(sequences.n_sequences), sequences.lengths)
    found = found_in(steps, owners, alpha, detector.blocks_, alpha)
    return EpisodeList(
        tuple(described_episodes(detector, sequences, steps, found)),
        alpha,
        detector.blocks_,
        0 if detector.blocks_ is None else detector.blocks_.blocks_in(sequences.lengths),
        steps_a_day(sequences),
    )


def found_in(
    steps: AssessedSteps, owners: Indices, cut: float, blocks: BlockCalibration | None, alpha: float
) -> Episodes:
    """The episodes of flagged steps, by the rule of `upland.scoring.episodes`.

    Args:
        steps: with their scores and p-values.
        owners: `(S,)` the sequence of each.
        cut: the largest p-value of a step that is flagged.
        blocks: of the detector.
        alpha: p-values of episodes up to which two near each other are one.
    """
    strong = steps.strong(alpha)
    length = 0 if blocks is None else blocks.length
    return episodes_of(steps.p_values <= cut, owners, steps.scores, strong, length)


def block_p_values_of(found: Episodes, steps: AssessedSteps) -> list[float | None]:
    """The p-value of each episode, the smallest of its steps.

    Args:
        found: episodes.
        steps: that they are of.
    """
    if steps.block_p_values is None:
        return [None] * found.peaks.size
    spans = zip(found.firsts.tolist(), found.lasts.tolist(), strict=True)
    return [float(steps.block_p_values[first : last + 1].min()) for first, last in spans]


def steps_a_day(sequences: Sequences) -> float | None:
    """Steps of one series in a day, by the median distance of their time stamps; None where there are none
    that say how long it is.

    Args:
        sequences: with time stamps or without.
    """
    if sequences.stamps is None:
        return None
    times, kind = plain_times(sequences.stamps)
    seconds = SECONDS[kind]
    inside = np.ones(times.size, dtype=bool)
    inside[sequences.starts] = False
    distances = np.diff(times, prepend=np.nan)[inside]
    if seconds is None or not distances.size or not (typical := float(np.median(distances))) > 0:
        return None
    return DAY / (typical * seconds)


def described_episodes(
    detector: ScoringDetector, sequences: Sequences, steps: AssessedSteps, found: Episodes
) -> Iterator[Episode]:
    """Episodes with names, time stamps and reasons.

    Args:
        detector: fitted.
        sequences: all of them.
        steps: of all of them.
        found: the episodes that are wanted.
    """
    if not found.peaks.size:
        return
    spans = [np.arange(first, last + 1) for first, last in zip(found.firsts, found.lasts, strict=True)]
    ends = np.cumsum([span.size for span in spans])
    explained = explained_steps(detector, sequences, np.concatenate(spans))
    blocks = detector.blocks_
    searched = 0 if blocks is None else blocks.blocks_in(sequences.lengths)
    for number, p_value in enumerate(block_p_values_of(found, steps)):
        first, last, peak = (int(part[number]) for part in found)
        low, high = int(ends[number]) - spans[number].size, int(ends[number])
        owner = int(np.searchsorted(sequences.starts, first, side="right")) - 1
        began = int(sequences.starts[owner])
        name = sequences.label(owner, 0)[0]
        start, end, worst = (sequences.label(owner, step - began)[1] for step in (first, last, peak))
        yield Episode(
            name,
            start,
            end,
            worst,
            last - first + 1,
            float(steps.scores[peak]),
            float(steps.p_values[peak]),
            p_value,
            None if p_value is None else p_value * searched,
            tuple(explained.take([low + peak - first]).top(CHANNELS)[0]),
            (channels := channels_of(explained.columns, explained.shares[low:high])),
            kind_at(detector, sequences, (first, last, peak), channels[0].column),
        )


def kind_at(
    detector: ScoringDetector, sequences: Sequences, span: tuple[int, int, int], column: str
) -> Kind | None:
    """What a channel does in an episode, from its start to its peak, or to its end where that is near: scores
    fall slowly after a fault, and what follows the peak may be normal.

    Args:
        detector: fitted.
        sequences: all of them.
        span: first and last step of the episode and its peak, among all steps.
        column: the channel.
    """
    from upland.data.sequence.encoder import SequenceEncoder

    encoder, (first, last, peak) = detector.encoder_, span
    assert isinstance(encoder, SequenceEncoder)
    end = peak + 1 if peak - first >= SHORTEST else last + 1
    first = max(first, end - LONGEST)
    owner = int(np.searchsorted(sequences.starts, first, side="right")) - 1
    start = max(first - BEFORE * max(end - first, SHORTEST), int(sequences.starts[owner]))
    piece = sequences.cut(*(np.array([number]) for number in (owner, start, end - start)))
    cells = {name: part for name, part in encoder.values(piece).items() if part.dtype.kind in "fiu"}
    values = {name: part.astype(np.float64) for name, part in cells.items()}
    if column not in values:
        return None
    own, at = values.pop(column), first - start
    others = np.stack(list(values.values()), axis=1) if values else np.empty((own.size, 0))
    return kind_of(own[at:], own[:at], (others[at:], others[:at]))


def channels_of(columns: Sequence[str], shares: Floats) -> tuple[Channel, ...]:
    """The channels with the largest parts in the scores of some steps together.

    Args:
        columns: their names.
        shares: `(K, C)` of the steps.
    """
    sums = np.maximum(shares, 0).sum(axis=0)
    parts = sums / max(float(sums.sum()), np.finfo(float).tiny)
    return tuple(Channel(columns[c], float(parts[c])) for c in np.argsort(-parts, kind="stable")[:CHANNELS])
