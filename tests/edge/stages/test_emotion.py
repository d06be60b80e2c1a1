"""Probabilities are smoothed in seconds, per track, and a steady face is read rarely."""

from __future__ import annotations

import itertools
import json
import math
from importlib.resources import files

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.pipeline import EmotionSettings
from fer_edge.settings.values import MAX_DURATION_S
from fer_edge.sinks.event_json import event_to_json
from fer_edge.stages.events import EventBuilder
from fer_edge.stages.smoothing import EmotionSmoother
from fer_edge.system.timing import SteadyClock
from fer_edge.types import UNCERTAIN, Box, EmotionProbabilities, EventKind, Face, Float32Array, Track

SCHEMA = json.loads((files("fer_edge") / "schema" / "event.schema.json").read_text(encoding="utf-8"))
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BOX = Box(50, 50, 60, 60)


def _values(*values: float) -> EmotionProbabilities:
    return EmotionProbabilities(np.array(values, dtype=np.float32))


def _track(track_id: int = 1, *, found: bool = True) -> Track:
    return Track(track_id, BOX, 0.0, True, face=Face(BOX, 1.0) if found else None)


def _mean(smoother: EmotionSmoother, track_id: int = 1) -> Float32Array:
    (reading,) = smoother.readings([_track(track_id)])
    assert reading.probabilities is not None
    return reading.probabilities.values


@pytest.mark.parametrize("fps", [5, 15, 60])
def test_smoothing_has_its_time_constant_at_any_frame_rate(fps: int) -> None:
    smoother = EmotionSmoother(EmotionSettings(smoothing_s=0.5))
    for index in range(-5 * fps, 0):
        smoother.add(1, _values(1, 0), index / fps)
    for index in range(math.ceil(0.5 * fps)):
        smoother.add(1, _values(0, 1), index / fps)
    # A step response reaches 1 - 1/e after the time constant, or up to one frame later.
    reached = float(_mean(smoother)[1])
    assert 1 - math.exp(-1) - 0.05 <= reached <= 1 - math.exp(-1 - 1 / (0.5 * fps)) + 0.05


def test_without_smoothing_the_last_reading_counts() -> None:
    smoother = EmotionSmoother(EmotionSettings(smoothing_s=0.0))
    smoother.add(1, _values(1, 0), 0.0)
    smoother.add(1, _values(0.25, 0.75), 0.1)
    np.testing.assert_array_equal(_mean(smoother), np.float32([0.25, 0.75]))


def test_tracks_are_independent_and_ended_ones_are_forgotten() -> None:
    smoother = EmotionSmoother()
    smoother.add(1, _values(1, 0), 0.0)
    smoother.add(2, _values(0, 1), 0.0)
    np.testing.assert_array_equal(_mean(smoother, 2), np.float32([0, 1]))
    (gone,) = smoother.readings([_track(1)])
    assert gone.probabilities is None


def _times_read(smoother: EmotionSmoother, shown: list[EmotionProbabilities | None], fps: float) -> list[float]:
    """Return the times at which a face that is in view in every frame is read."""
    read = []
    for index, probabilities in enumerate(shown):
        for track_id, face in smoother.due([_track()], index / fps):
            assert face.box == BOX
            smoother.add(track_id, probabilities, index / fps)
            read.append(index / fps)
    return read


@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_a_steady_face_is_read_rarely_and_a_changing_one_in_every_frame(fps: float) -> None:
    smoother = EmotionSmoother(EmotionSettings(smoothing_s=0.5, classify_interval_s=0.4))
    same, changed = [_values(0.8, 0.2)] * round(4 * fps), [_values(0.1, 0.9)] * round(4 * fps)
    read = _times_read(smoother, [*same, *changed], fps)
    assert sum(at < 0.5 for at in read) == 0.5 * fps
    calm = [at for at in read if 0.5 <= at < 4.0]
    assert len(calm) <= 3.5 / 0.4 + 1
    assert max(b - a for a, b in itertools.pairwise(calm)) <= 0.4 + 1 / fps + 1e-9
    seen = next(at for at in read if at >= 4.0)
    assert seen <= 4.4 + 1 / fps
    assert sum(seen <= at < seen + 0.5 for at in read) >= 0.5 * fps - 1
    assert sum(at >= 6.0 for at in read) <= 2.0 / 0.4 + 1


def test_without_the_interval_every_face_is_read_in_every_frame() -> None:
    smoother = EmotionSmoother(EmotionSettings(classify_interval_s=0.0))
    assert len(_times_read(smoother, [_values(1, 0)] * 50, 15.0)) == 50


def test_an_undetected_track_is_not_read_and_keeps_its_state() -> None:
    smoother = EmotionSmoother()
    smoother.add(1, _values(1, 0), 0.0)
    assert smoother.due([_track(found=False)], 10.0) == []
    np.testing.assert_array_equal(_mean(smoother), np.float32([1, 0]))


def test_refused_crops_make_a_track_unknown_and_do_not_affect_the_mean() -> None:
    smoother = EmotionSmoother(EmotionSettings(smoothing_s=0.5))
    smoother.add(1, None, 0.0)
    assert smoother.readings([_track()])[0].probabilities is None
    smoother.add(1, _values(1, 0), 0.1)
    smoother.add(1, None, 0.2)
    assert smoother.readings([_track()])[0].probabilities is None
    assert [track_id for track_id, _ in smoother.due([_track()], 0.2)] == [1]
    smoother.add(1, _values(0, 1), 0.1 + 0.5)
    share = math.exp(-1) / (1 + math.exp(-1))
    assert float(_mean(smoother)[0]) == pytest.approx(share, abs=1e-6)


finite_or_not = st.floats() | st.sampled_from([0.0, 3600.0, -3600.0, 1e308, -1e308])
"""Times of a broken clock."""


@pytest.mark.slow
@given(
    st.builds(
        EmotionSettings,
        smoothing_s=st.floats(0, MAX_DURATION_S),
        classify_interval_s=st.floats(0, MAX_DURATION_S),
        min_dwell_s=st.floats(0, 5),
        heartbeat_s=st.floats(0, 5),
    ),
    st.lists(st.tuples(finite_or_not | st.floats(0, 20), st.integers(0, 3), st.booleans()), max_size=40),
)
def test_any_clock_gives_valid_events(chosen: EmotionSettings, frames: list[tuple[float, int, bool]]) -> None:
    """``frames``: time of the source, index of the reading (3: the crop is refused), and whether the face was found."""
    clock, smoother = SteadyClock(), EmotionSmoother(chosen)
    builder = EventBuilder(("a", "b", "c"), chosen, wall_clock=lambda: 1_700_000_000.0)
    said = [*(_values(*np.roll([0.8, 0.1, 0.1], shift)) for shift in range(3)), None]
    reported, last = [], 0.0
    for raw, answer, found in frames:
        now = clock.advance(raw)
        assert math.isfinite(now) and (now >= last or not reported)
        last = now
        for track_id, _ in smoother.due([_track(found=found)], now):
            smoother.add(track_id, said[answer], now)
        (reading,) = smoother.readings([_track(found=found)])
        if reading.probabilities is not None:
            assert reading.probabilities.values.sum() == pytest.approx(1, abs=1e-5)
            assert reading.probabilities.values.min() >= 0
        (emotion,), events = builder.update("cam", [reading], now)
        assert 0 <= emotion.confidence <= 1 and emotion.since <= now
        for event in events:
            jsonschema.validate(json.loads(json.dumps(event_to_json(event))), SCHEMA)
        reported += [event for event in events if event.kind is not EventKind.HEARTBEAT]
    assert [event.kind for event in reported[:1]] == [EventKind.APPEARED] * bool(frames)
    assert all(event.kind is EventKind.CHANGED and event.emotion != event.previous for event in reported[1:])
    # After the first emotion, each state lasts for the dwell time.
    settled = [event.mono for event in reported[1:] if event.previous != UNCERTAIN or event is not reported[1]]
    assert all(b - a >= chosen.min_dwell_s - 1e-5 for a, b in itertools.pairwise(settled))


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf, 4.0, -1e308])
def test_the_clock_never_goes_back(raw: float) -> None:
    clock = SteadyClock()
    assert [clock.advance(at) for at in (5.0, 6.0, raw)] == [5.0, 6.0, 6.0]
    assert clock.advance(1e308) in (6.0, 1e308)
    assert math.isfinite(clock.advance(-1e308))


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
def test_a_clock_that_starts_with_no_number_starts_at_0(raw: float) -> None:
    clock = SteadyClock()
    assert [clock.advance(at) for at in (raw, -5.0, -4.0, -6.0)] == [0.0, 0.0, 1.0, 1.0]


def _living_face(seconds: float, generator: np.random.Generator) -> list[tuple[int, EmotionProbabilities]]:
    """True label and reading of a face, 15 times per second: a new label every 4 s, a new reading every 0.4 s.

    One reading in eight has a wrong label, as with a good classifier.
    """
    shown, label = [], 0
    for index in range(round(15 * seconds)):
        if index % 60 == 0:
            label = int((label + generator.integers(1, 7)) % 7)
        if index % 6 == 0:
            seen = label if generator.random() > 1 / 8 else int(generator.integers(7))
            look = generator.dirichlet(np.where(np.arange(7) == seen, 9.0, 0.6))
        noisy = look * generator.uniform(0.8, 1.2, 7)
        shown.append((label, EmotionProbabilities((noisy / noisy.sum()).astype(np.float32))))
    return shown


def test_true_changes_are_reported_soon_and_few_false_ones() -> None:
    shown = _living_face(600.0, np.random.default_rng(5))
    chosen = EmotionSettings()
    smoother, builder = EmotionSmoother(chosen), EventBuilder(LABELS, chosen, wall_clock=lambda: 0.0)
    reads, reported, plain = 0, [], []
    for index, (_, probabilities) in enumerate(shown):
        now = index / 15
        for track_id, _ in smoother.due([_track()], now):
            smoother.add(track_id, probabilities, now)
            reads += 1
        _, events = builder.update("cam", smoother.readings([_track()]), now)
        reported += [(index, event.emotion) for event in events if event.emotion != UNCERTAIN]
        plain.append(LABELS[probabilities.top])
    flickers = [(index, label) for index, label in enumerate(plain) if index and label != plain[index - 1]]

    changes = [(start, LABELS[shown[start][0]]) for start in range(60, len(shown), 60)]

    def first_told(of: list[tuple[int, str | None]], start: int, label: str) -> int | None:
        return next((index - start for index, emotion in of if start <= index < start + 60 and emotion == label), None)

    delays = [delay for start, label in changes if (delay := first_told(reported, start, label)) is not None]
    assert len(delays) >= 0.95 * len(changes)
    assert np.percentile(delays, 95) <= 1.5 * 15
    assert len(reported) - len(delays) <= (len(flickers) - len(changes)) / 10
    assert reads < 0.8 * len(shown)
