"""Distances between steps, the calendar, and warnings of what is sampled otherwise."""

import warnings

import numpy as np
import pandas as pd
import pytest

from upland.data.sequence.clock import Clock, distance_between, reading_of
from upland.data.sequence.container import as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.next_steps import next_step, next_steps

START = np.datetime64("2026-03-02T00:00:00", "us")


def frame(stamps, **columns):
    count = len(stamps)
    return pd.DataFrame({"t": stamps, "x": np.sin(np.arange(count)), "z": np.arange(count) % 7.5} | columns)


def irregular(count=300, seed=0):
    seconds = np.cumsum(np.random.default_rng(seed).exponential(60, count) + 1)
    return START + (seconds * 1e6).astype("m8[us]")


def regular(count=300, step=60):
    return START + (np.arange(count) * step * 1e6).astype("m8[us]")


KINDS = {"M": "dates", "m": "durations"}
STAMPS = {
    "microseconds": irregular(),
    "nanoseconds": irregular().astype("M8[ns]"),
    "durations": irregular() - START,
    "numbers": (irregular() - START) / np.timedelta64(1, "s"),
    "whole numbers": np.cumsum(np.random.default_rng(1).integers(1, 9, 300)),
    "large": np.cumsum(np.random.default_rng(1).integers(1, 9, 300)) + 2**62,
}


@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS)
def test_the_distance_of_one_step_is_that_of_all(stamps):
    sequences = as_sequences(frame(stamps), time="t")
    readings = [reading_of(sequences.stamps[n : n + 1]) for n in range(300)]
    found = [distance_between(readings[n - 1], readings[n], sequences.stamps[:1])[0] for n in range(1, 300)]
    np.testing.assert_allclose(found, sequences.distances[1:], rtol=1e-12)
    assert np.isnan(sequences.distances[0])


@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS)
def test_irregular_steps_have_their_distance_as_an_input(stamps):
    encoder = SequenceEncoder(time="t").fit(frame(stamps))
    kind = KINDS.get(np.asarray(stamps).dtype.kind, "numbers")
    assert encoder.clock == Clock(True, kind=kind)
    assert (encoder.width, encoder.context_width) == (2, 1)
    distances = as_sequences(frame(stamps), time="t").distances
    expected = np.clip(np.log(distances[1:] / np.median(distances[1:])), -5, 5)
    np.testing.assert_allclose(encoder.steps(frame(stamps))[1:, 2], expected, rtol=1e-5, atol=1e-6)
    again = SequenceEncoder.from_state(*encoder.to_state())
    np.testing.assert_array_equal(again.steps(frame(stamps)), encoder.steps(frame(stamps)))


@pytest.mark.parametrize(
    "stamps",
    [
        regular(),
        regular() + (np.random.default_rng(0).normal(0, 1e6, 300)).astype("m8[us]"),
        np.delete(regular(), [40, 90, 200]),
        np.arange(300) * 3,
    ],
    ids=["exact", "jitter", "a few missing", "numbers"],
)
def test_regular_steps_are_encoded_as_without_a_clock(stamps):
    encoder = SequenceEncoder(time="t").fit(frame(stamps))
    assert encoder.clock == Clock()
    assert encoder.context_width == 0
    assert "clock" not in encoder.to_state()[0]
    expected = SequenceEncoder().fit(frame(stamps).drop(columns="t")).steps(frame(stamps).drop(columns="t"))
    np.testing.assert_array_equal(encoder.steps(frame(stamps)), expected)


def test_every_sequence_starts_without_a_distance_and_windows_keep_theirs():
    two = frame(np.concatenate([irregular(50), irregular(50, 1)]), id=["a"] * 50 + ["b"] * 50)
    sequences = as_sequences(two, id="id", time="t")
    assert np.flatnonzero(np.isnan(sequences.distances)).tolist() == [0, 50]
    window = sequences.cut(np.array([1]), np.array([60]), np.array([20]))
    np.testing.assert_array_equal(window.distances, sequences.distances[60:80])


def test_gaps_of_irregular_steps_are_inputs_and_no_warnings():
    stamps = irregular()
    encoder = SequenceEncoder(time="t").fit(frame(stamps))
    later = np.concatenate([stamps[:100], stamps[100:] + np.timedelta64(3, "D")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = encoder.slices(frame(later))(0, 300)
    assert codes[100, 2] == 5
    regularly = SequenceEncoder(time="t").fit(frame(regular()))
    gap = np.concatenate([regular()[:100], regular()[100:] + np.timedelta64(3, "D")])
    with pytest.warns(UserWarning, match="the series: its largest gap is 4.32e"):
        regularly.slices(frame(gap))


@pytest.mark.parametrize(("step", "words"), [(39, "39 s"), (91, "1.517 min")])
def test_the_series_that_is_sampled_otherwise_is_named(step, words):
    encoder = SequenceEncoder(id="id", time="t").fit(frame(regular(), id="a"))
    stamps = np.concatenate([regular(50), regular(50, step), regular(50, 60)])
    with pytest.warns(UserWarning, match=rf"^id 'b': the steps are typically {words} apart") as caught:
        encoder.slices(frame(stamps, id=np.repeat(["a", "b", "c"], 50)))
    assert len(caught) == 1
    assert "those of the fit were 1 min" in str(caught[0].message)


@pytest.mark.parametrize("step", [41, 60, 89])
def test_about_the_same_sampling_passes(step):
    encoder = SequenceEncoder(id="id", time="t").fit(frame(regular(), id="a"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.slices(frame(regular(50, step), id="b"))


def warnings_of(read, *arguments):
    """The warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(*arguments)
    return [str(warning.message) for warning in caught]


def of_distances(seconds):
    return frame(START + (np.cumsum(seconds) * 1e6).astype("m8[us]"))


IRREGULAR = {
    "a Poisson process": lambda rng, n: rng.exponential(60, n) + 1e-3,
    "jitter": lambda rng, n: 60 * rng.uniform(0.5, 1.5, n),
    "heavy tails": lambda rng, n: 60 * np.exp(rng.normal(0, 1.5, n)) + 1e-3,
    "gaps": lambda rng, n: np.where(rng.random(n) < 0.1, 3600.0, 60.0),
    "slow nights": lambda rng, n: np.where(np.arange(n) // 100 % 2, 60, 300) * rng.uniform(0.9, 1.1, n),
}


@pytest.mark.parametrize("drawn", IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_series_give_a_warning_where_no_part_of_the_fit_was_sampled_like_them(drawn):
    rng = np.random.default_rng(0)
    encoder = SequenceEncoder(time="t").fit(of_distances(drawn(rng, 800)))
    assert encoder.clock.distance
    alike = [of_distances(drawn(rng, n)) for n in (2, 5, 12, 17, 30, 80, 250) for _ in range(10)]
    others = [of_distances(factor * drawn(rng, 200)) for factor in (0.01, 0.05, 20, 1000)]
    short = [of_distances(1000 * drawn(rng, 12))]
    for fitted in (encoder, SequenceEncoder.from_state(*encoder.to_state())):
        assert [warnings_of(fitted.slices, some) for some in alike + short] == [[]] * 71
        for other in others:
            (text,) = warnings_of(fitted.slices, other)
            assert text.startswith("the series: the steps are typically ")
            assert " apart, those of the fit were between " in text


def test_distances_of_a_fit_that_is_too_short_for_parts_are_within_a_factor_of_two():
    encoder = SequenceEncoder(time="t").fit(frame(irregular(12)))
    assert encoder.clock.distance
    assert encoder.to_state()[0]["intervals"] == [encoder.step / 2, encoder.step * 2]
    assert len(warnings_of(encoder.slices, frame(regular(100, 600)))) == 1


def test_intervals_of_something_else_are_refused():
    manifest, tensors = SequenceEncoder(time="t").fit(frame(irregular())).to_state()
    for wrong in ([1.0], [2.0, 1.0], [-1.0, 1.0], "ab", [True, 2.0], [1.0, float("inf")], None):
        with pytest.raises(ValueError, match="intervals"):
            SequenceEncoder.from_state({**manifest, "intervals": wrong}, tensors)
    regular_clock = Clock(parts=("hour",), kind="dates").to_json()
    with pytest.raises(ValueError, match="intervals"):
        SequenceEncoder.from_state(manifest | {"clock": regular_clock, "intervals": [1.0, 2.0]}, tensors)


@pytest.mark.parametrize("stamps", [regular(), irregular()], ids=["regular", "irregular"])
def test_next_steps_of_another_sampling_are_said_and_a_few_steps_are_not(stamps):
    encoder = SequenceEncoder(time="t").fit(frame(stamps))
    names = np.repeat(["u", "v"], 60)
    slow = frame(np.concatenate([stamps[:60], regular(60, 3600)]))
    (text,) = warnings_of(next_steps, slow, names, encoder)
    assert text.startswith("the series 'v': the steps are typically 1 h apart")
    for count in (1, 2, 5):
        assert not warnings_of(next_steps, frame(regular(count, 3600)), None, encoder)
    assert not warnings_of(next_steps, frame(stamps), None, encoder)


# -- the calendar --------------------------------------------------------------------------------------------

DAYS = {2: (), 4: ("hour",), 25: ("hour", "weekday")}


@pytest.mark.parametrize(("days", "parts"), DAYS.items())
def test_a_part_of_the_calendar_is_used_by_itself_where_the_fit_covers_three_of_its_periods(days, parts):
    stamps = regular(days * 24, 3600)
    encoder = SequenceEncoder(time="t", calendar="auto").fit(frame(stamps))
    assert encoder.clock == Clock(parts=parts, kind="dates" if parts else "")
    assert encoder.context_width == 2 * len(parts)
    assert SequenceEncoder(time="t", calendar=True).fit(frame(stamps)).clock.parts == ("hour", "weekday")
    assert SequenceEncoder(time="t").fit(frame(stamps)).clock.parts == ()


def test_the_hour_and_the_weekday_return():
    stamps = regular(25 * 24, 3600)
    encoder = SequenceEncoder(time="t", calendar=True).fit(frame(stamps))
    codes = encoder.steps(frame(stamps))[:, 2:]
    np.testing.assert_allclose(codes[:24, :2], codes[24:48, :2], atol=1e-6)
    np.testing.assert_allclose(codes[: 7 * 24], codes[7 * 24 : 14 * 24], atol=1e-6)
    assert np.linalg.norm(codes[24] - codes[0]) > 0.5
    np.testing.assert_allclose((codes**2).sum(axis=1), 4, rtol=1e-5)


def test_stamps_at_one_time_of_the_day_have_no_hour():
    daily = frame(regular(60, 86_400))
    assert SequenceEncoder(time="t", calendar="auto").fit(daily).clock.parts == ("weekday",)


def test_a_calendar_needs_dates():
    for stamps, options, words in (
        (np.arange(300), {"time": "t"}, "calendar=True needs dates in a time column"),
        (np.arange(300), {}, "name it with time"),
    ):
        with pytest.raises(ValueError, match=words):
            SequenceEncoder(calendar=True, **options).fit(frame(stamps).drop(columns=[] if options else "t"))
    assert SequenceEncoder(time="t", calendar="auto").fit(frame(np.arange(300))).clock == Clock()
    assert SequenceEncoder(calendar="auto").fit(np.sin(np.arange(300))).clock == Clock()


@pytest.mark.parametrize(
    "record",
    [{"distance": 1, "parts": []}, {"distance": True}, {"distance": True, "parts": ["month"]}, 3]
    + [{"distance": True, "parts": [], "kind": kind} for kind in ("", "years", 1, None)]
    + [{"distance": False, "parts": [], "kind": "dates"}],
)
def test_a_clock_of_something_else_is_refused(record):
    manifest, tensors = SequenceEncoder(time="t").fit(frame(irregular())).to_state()
    with pytest.raises(ValueError, match="clock"):
        SequenceEncoder.from_state(manifest | {"clock": record}, tensors)


@pytest.mark.parametrize("again", [False, True], ids=["fitted", "loaded"])
@pytest.mark.parametrize("stamps", STAMPS.values(), ids=STAMPS)
def test_time_stamps_of_another_kind_than_those_of_the_fit_are_refused(stamps, again):
    encoder = SequenceEncoder(time="t").fit(frame(stamps))
    encoder = SequenceEncoder.from_state(*encoder.to_state()) if again else encoder
    usual = KINDS.get(np.asarray(stamps).dtype.kind, "numbers")
    seconds = np.cumsum(np.r_[1, 2, np.tile([1, 5, 2], 100)])[:300]
    others = {"dates": START + seconds.astype("m8[s]"), "durations": seconds.astype("m8[s]")}
    for kind, other in {**others, "numbers": seconds}.items():
        if kind == usual:
            assert np.isfinite(encoder.steps(frame(other))).all()
            continue
        new = frame(other)
        for read in (
            encoder.steps,
            encoder.slices,
            lambda new: next_steps(new, None, encoder),
            lambda new: next_step(new[:1], encoder, np.array([[0.0, 1e18]])),
        ):
            with pytest.raises(ValueError, match=rf"^the time column 't' holds {kind}; the fit had {usual}$"):
                read(new)
