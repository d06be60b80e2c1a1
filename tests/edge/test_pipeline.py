"""The whole pipeline on images with a real face, with a real int8 model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec import structs

from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline, SourceRun
from fer_edge.settings.pipeline import EmotionSettings, ScheduleSettings, TrackingSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.stages.schedule.plan import SearchCost
from fer_edge.telemetry import Telemetry
from fer_edge.types import UNCERTAIN, Box, EventKind, Face, Frame, FrameResult, Search, UInt8Array
from support.cameras.scenes import demo_frames, portrait


@pytest.fixture(scope="module")
def visit() -> list[tuple[Frame, Box]]:
    """Frames in which the face leaves the view at about 12.3 s and returns at about 16 s."""
    return demo_frames(9.0, 18.0)


def _run(bundle: Path, telemetry: Telemetry | None = None, **changes: Any) -> SourceRun:
    settings = structs.replace(RuntimeSettings(), **changes)
    return Pipeline.from_bundle(load_bundle(bundle), settings).open(telemetry=telemetry)


def _comparable(results: list[FrameResult]) -> list[Any]:
    """Return everything that must not depend on the machine: all but the wall clock."""
    return [(r.frame.index, r.tracks, tuple(replace(e, at=0.0) for e in r.events)) for r in results]


def test_a_face_is_followed_leaves_and_comes_back(tiny_bundle: Path, visit: list[tuple[Frame, Box]]) -> None:
    telemetry = Telemetry()
    run = _run(tiny_bundle, telemetry)
    results = [run.process(frame) for frame, _ in visit]
    events = [event for result in results for event in result.events]
    comings = [(e.kind.value, e.track_id) for e in events if e.kind is not EventKind.CHANGED]
    assert comings == [("appeared", 1), ("left", 1), ("appeared", 2)]

    inside = [
        (result, box)
        for result, (frame, box) in zip(results, visit, strict=True)
        if box.clipped(frame.width, frame.height) == box
    ]
    shown = [any(track.box.iou(box) > 0.5 for track in result.tracks) for result, box in inside]
    # Two visits; the face may be found with a delay each time.
    waits = [next(index for index, hit in enumerate(shown[start:]) if hit) for start in (0, _second_visit(inside))]
    assert max(waits) / 15 <= ScheduleSettings().max_acquire_s
    assert sum(shown) / (len(shown) - sum(waits)) > 0.9

    last = run.finish(visit[-1][0].captured_at)
    assert [(e.kind, e.track_id) for e in last] == [(EventKind.LEFT, 2)]
    status = telemetry.snapshot()
    assert status.frames == len(visit) and status.events == len(events) + 1
    assert status.stages["frame"].calls == len(visit)
    # A face with a steady expression is not classified in every frame.
    assert len(visit) / 2 > status.stages["classify"].calls > 0
    # Tiles are searched rarely, mostly the cheap ones for large faces while no face is in view, and a known face is not
    # searched in every frame.
    assert status.stages["detect_full"].calls < len(visit) * 0.6
    assert status.stages["detect_region"].calls < len(visit) * 0.8


def _second_visit(inside: list[tuple[FrameResult, Box]]) -> int:
    indices = [result.frame.index for result, _ in inside]
    return next(place for place in range(1, len(indices)) if indices[place] > indices[place - 1] + 1)


def test_no_box_is_shown_without_a_face(tiny_bundle: Path, visit: list[tuple[Frame, Box]]) -> None:
    run = _run(tiny_bundle)
    results = [(run.process(frame), box) for frame, box in visit]
    gone = [result for result, box in results if box.clipped(640, 480).area == 0]
    shown = [result.frame.captured_at for result in gone if result.tracks]
    left = [e.mono for result, _ in results for e in result.events if e.kind is EventKind.LEFT]
    assert len(gone) > 15
    # The box disappears well before the track ends, since the face may be hidden only briefly.
    assert all(at <= gone[0].frame.captured_at + TrackingSettings().max_coast_s for at in shown)
    assert shown == [] or max(shown) < left[0]


def test_the_same_frames_give_the_same_trace(tiny_bundle: Path, visit: list[tuple[Frame, Box]]) -> None:
    some = [frame for frame, _ in visit[:40]]
    threads_before = cv2.getNumThreads()
    traces = []
    try:
        for threads in (1, 4):  # with several threads OpenCV returns the hits in any order
            cv2.setNumThreads(threads)
            run = _run(tiny_bundle)
            traces.append(_comparable([run.process(frame) for frame in some]))
    finally:
        cv2.setNumThreads(threads_before)
    assert traces[0] == traces[1] and any(tracks for _, tracks, _ in traces[0])


def test_a_blurred_face_is_counted_not_classified_and_uncertain(
    tiny_bundle: Path, visit: list[tuple[Frame, Box]]
) -> None:
    telemetry = Telemetry()
    run = _run(tiny_bundle, telemetry, emotion=EmotionSettings(enter=0.01, exit=0.0, classify_interval_s=0.0))
    sharp = [frame for frame, _ in visit[:10]]
    blurred = [replace(frame, gray=cv2.GaussianBlur(frame.gray, (0, 0), 4.0)) for frame, _ in visit[10:24]]
    results = [run.process(frame) for frame in [*sharp, *blurred]]
    status = telemetry.snapshot()
    assert status.refused["blurred"] > 10  # the cascade still finds the face
    assert status.stages["classify"].calls <= len(sharp)
    told = [track for result in results for track in result.tracks]
    assert told[0].emotion != UNCERTAIN and told[0].confidence > 0
    assert (told[-1].emotion, told[-1].confidence) == (UNCERTAIN, 0.0)


def test_an_empty_scene_has_no_events(tiny_bundle: Path) -> None:
    run = _run(tiny_bundle)
    for index in range(5):
        result = run.process(Frame("wall", index, index / 10, np.full((120, 160), 90, np.uint8)))
        assert result.tracks == () and result.events == ()
    assert run.finish(1.0) == ()


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (30, 30)])
def test_odd_frame_sizes_are_processed(tiny_bundle: Path, shape: tuple[int, int]) -> None:
    gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    run = _run(tiny_bundle)
    assert run.process(Frame("odd", 0, 0.0, gray)).events == ()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 1e9, math.nan, math.inf])
def test_a_jump_of_the_clock_is_tolerated(tiny_bundle: Path, visit: list[tuple[Frame, Box]], jump: float) -> None:
    run = _run(tiny_bundle, emotion=EmotionSettings(heartbeat_s=0.5))
    results = []
    for frame, _ in visit[:30]:
        late = frame.captured_at + jump if frame.index >= 15 else frame.captured_at
        results.append(run.process(replace(frame, captured_at=late)))
    times = [event.mono for result in results for event in result.events]
    assert times == sorted(times) and all(map(math.isfinite, times))
    # The face was in view all the time: it is one track, and reported as left at the end.
    assert {track.track_id for result in results for track in result.tracks} == {1}
    assert results[-1].tracks


def test_ids_continue_after_a_lost_source_is_back(tiny_bundle: Path, visit: list[tuple[Frame, Box]]) -> None:
    run = _run(tiny_bundle, tracking=TrackingSettings(min_hits=1))
    first = [run.process(frame) for frame, _ in visit[:8]]
    assert {track.track_id for result in first for track in result.tracks} == {1}
    assert [event.kind for event in run.finish(9.6)] == [EventKind.LEFT]
    later = [run.process(replace(frame, captured_at=frame.captured_at + 0.7)) for frame, _ in visit[:8]]
    assert {track.track_id for result in later for track in result.tracks} == {2}


def _still(count: int, start: int = 0, brightness: float = 1.0) -> Iterator[Frame]:
    picture = (brightness * portrait()).astype(np.uint8)
    return (Frame("still", index, index / 15, picture) for index in range(start, start + count))


def test_a_static_face_is_found_at_once_when_a_source_is_back(tiny_bundle: Path) -> None:
    run = _run(tiny_bundle)
    assert [run.process(frame).tracks for frame in _still(30)][-1]
    run.finish(2.0)
    assert [run.process(frame).tracks for frame in _still(10, 30)][-1]


def test_a_face_leaves_when_the_light_goes_out(tiny_bundle: Path) -> None:
    run = _run(tiny_bundle)
    boxes = [track.box for frame in _still(60) for track in run.process(frame).tracks]
    assert len(boxes) > 50
    assert all(box == boxes[-1] for box in boxes[-30:])  # no jitter in a static scene
    dark = [event for frame in _still(60, 60, 0.02) for event in run.process(frame).events]
    assert dark[-1].kind is EventKind.LEFT
    assert dark[-1].mono < 4.0 + 2.5


def test_between_searches_a_face_is_followed_by_template_matching(
    tiny_bundle: Path, visit: list[tuple[Frame, Box]]
) -> None:
    telemetry = Telemetry()
    run = _run(tiny_bundle, telemetry)
    there = [(frame, box) for frame, box in visit if 9.3 < frame.captured_at < 12]
    followed = [(run.process(frame).tracks, box) for frame, box in there]
    settled = followed[5:]
    # The boxes of the cascade are a third larger than those of the scene.
    hits = [any(track.box.iou(box.grown(4 / 3)) >= 0.6 for track in tracks) for tracks, box in settled]
    assert sum(hits) >= 0.95 * len(settled)
    stages = telemetry.snapshot().stages
    assert stages["follow"].calls == len(there)
    assert stages["detect_region"].calls <= 0.5 * len(there)


class ThrottledDetector(HaarFaceDetector):
    """The detector on a throttled chip: the same results at four times the nominal cost."""

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        began = time.thread_time()
        found = super().detect(gray, search)
        while time.thread_time() < began + 4 * SearchCost().of(search):
            pass
        return found


@pytest.mark.slow
def test_a_live_source_follows_the_measured_cost(tiny_bundle: Path, visit: list[tuple[Frame, Box]]) -> None:
    settings = structs.replace(RuntimeSettings(), schedule=ScheduleSettings(budget_share=0.05))

    def searches(detector: type[HaarFaceDetector], frames: int, *, adapt: bool) -> list[int]:
        """Return the number of searches made by the end of each of the first ``frames`` frames."""
        telemetry, made = Telemetry(), []
        classifier = EmotionClassifier(load_bundle(tiny_bundle), "int8")
        run = Pipeline(detector(), classifier, settings).open(live=adapt, telemetry=telemetry)
        for frame, _ in visit[:frames]:
            run.process(frame)
            stages = telemetry.snapshot().stages
            made.append(sum(stages[name].calls for name in ("detect_full", "detect_region") if name in stages))
        return made

    nominal = searches(HaarFaceDetector, 45, adapt=False)
    # The measured cost of searches does not matter for a file; for a camera it counts towards the budget.
    assert searches(ThrottledDetector, 20, adapt=False) == nominal[:20]
    throttled = searches(ThrottledDetector, 45, adapt=True)
    assert throttled[0] == nominal[0]  # the first frame is searched as a whole at any cost
    assert 0 < throttled[-1] - throttled[0] < 0.6 * (nominal[-1] - nominal[0])


def test_a_static_face_is_kept_and_rarely_searched(tiny_bundle: Path) -> None:
    telemetry = Telemetry()
    run = _run(tiny_bundle, telemetry)
    picture = portrait()
    noise = np.random.default_rng(0).normal(0, 4, (8, *picture.shape))
    frames = [(picture + field).clip(0, 255).astype(np.uint8) for field in noise]
    results = [run.process(Frame("still", index, index / 15, frames[index % 8])) for index in range(15 * 20)]
    shown = [[track.track_id for track in result.tracks] for result in results]
    assert shown[30:] == [[1]] * len(shown[30:])
    stages = telemetry.snapshot().stages
    assert stages["detect_region"].calls + stages["detect_full"].calls < len(results) / 4


def test_a_face_that_appears_slowly_in_a_static_scene_is_found(tiny_bundle: Path) -> None:
    run = _run(tiny_bundle)
    face = portrait()[:320, :420].astype(np.float32)
    wall = np.full_like(face, 110)
    found = 0.0
    for index in range(15 * 12):
        share = min(1.0, index / (15 * 10))  # over ten seconds: consecutive frames differ by about one grey level
        result = run.process(Frame("slow", index, index / 15, (wall + share * (face - wall)).astype(np.uint8)))
        if result.tracks:
            found = share
            break
    assert 0 < found < 1


@pytest.mark.parametrize(
    "budget",
    [
        ScheduleSettings(budget_share=0.02),
        pytest.param(ScheduleSettings(budget_max_ms=1.0), marks=pytest.mark.slow),
    ],
)
def test_a_small_budget_reduces_searches_and_keeps_tracks(
    tiny_bundle: Path, visit: list[tuple[Frame, Box]], budget: ScheduleSettings
) -> None:
    searches: list[list[int]] = []
    for schedule in (ScheduleSettings(max_acquire_s=0.3), structs.replace(budget, max_acquire_s=0.3)):
        telemetry = Telemetry()
        run = _run(tiny_bundle, telemetry, schedule=schedule)
        results, of_frame = [], [0]
        for frame, _ in visit[:45]:
            results.append(run.process(frame))
            stages = telemetry.snapshot().stages
            done = sum(stages[name].calls for name in ("detect_full", "detect_region") if name in stages)
            of_frame.append(done - sum(of_frame))
        searches.append(of_frame[2:])  # the first frame is searched as a whole
    assert max(searches[1]) == 1 < max(searches[0])
    assert sum(searches[1]) < sum(searches[0])
    assert any(result.tracks for result in results)


def test_interleaved_runs_of_one_pipeline_give_what_each_gives_alone(
    tiny_bundle: Path, visit: list[tuple[Frame, Box]]
) -> None:
    settings = RuntimeSettings()
    films = [
        [frame for frame, _ in visit[:45]],
        [replace(frame, gray=np.ascontiguousarray(frame.gray[:, ::-1])) for frame, _ in visit[20:65]],
        list(_still(45)),
    ]
    alone = []
    for film in films:
        with Pipeline.from_bundle(load_bundle(tiny_bundle), settings) as pipeline:
            run = pipeline.open()
            alone.append(_comparable([run.process(frame) for frame in film]))
    with Pipeline.from_bundle(load_bundle(tiny_bundle), settings) as pipeline:
        runs = [pipeline.open() for _ in films]
        together: list[list[FrameResult]] = [[] for _ in films]
        for frames in zip(*films, strict=True):
            for run, results, frame in zip(runs, together, frames, strict=True):
                results.append(run.process(frame))
    assert [_comparable(results) for results in together] == alone
    assert all(results[0].tracks for results in together)  # the face has left at the end of the second one
