"""Verification of the detected faces: the network, and the evidence for a track."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import ModelError
from fer_edge.images.files import decode_gray
from fer_edge.model.bundle import load_bundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings, TrackingSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sources import open_source
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.tracking import Tracker
from fer_edge.stages.verification import (
    BUNDLE_FOLDER,
    MAX_UNPROVEN_READINGS,
    PROVEN_LOG_ODDS,
    READING_BIAS,
    REJECTED_LOG_ODDS,
    SURE_READING,
    FaceCheck,
    TrackVerifier,
)
from fer_edge.types import Box, Face, Track, UInt8Array

PORTRAIT = Box(177, 66, 95, 95)
"""Box of the face in the demo's portrait."""


def portrait() -> UInt8Array:
    return decode_gray((files("fer_edge") / "assets" / "astronaut.jpg").read_bytes(), "astronaut.jpg")


def page() -> UInt8Array:
    paper = np.full((240, 320), 225, np.uint8)
    for line in range(8):
        cv2.putText(paper, "The quick brown fox 0815", (4, 30 * line + 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 40, 2)
    return paper


class Scripted:
    """A face check that returns the given readings in order."""

    def __init__(self, *readings: float) -> None:
        self.readings, self.asked, self.closed = list(readings), 0, False

    def read(self, gray: UInt8Array, face: Face) -> float:
        self.asked += 1
        return self.readings.pop(0)

    def close(self) -> None:
        self.closed = True


def track(x: int = 100, *, now: float = 0.0, found: bool = True, matched: bool = False, number: int = 1) -> Track:
    box = Box(x, 100, 80, 80)
    return Track(number, box, now, confirmed=True, face=Face(box, 1.0), found=found, matched=matched)


BLANK = np.zeros((240, 320), np.uint8)


def test_the_network_distinguishes_a_face_from_text_and_a_wall():
    with FaceCheck() as check:
        gray = portrait()
        assert check.read(gray, Face(PORTRAIT, 1.0)) > 2
        for text in (page(), 255 - page()):
            readings = [check.read(text, Face(Box(x, 60, 100, 100), 1.0)) for x in range(0, 220, 20)]
            assert sum(reading < PROVEN_LOG_ODDS for reading in readings) >= 0.7 * len(readings)
        assert check.read(np.full((240, 320), 128, np.uint8), Face(PORTRAIT, 1.0)) < 0


@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(-8, 10))
def test_a_slightly_displaced_box_is_still_a_face(x: int, y: int, wider: int):
    box = Box(PORTRAIT.x + x, PORTRAIT.y + y, PORTRAIT.width + wider, PORTRAIT.height + wider)
    assert FACE_CHECK.read(portrait(), Face(box, 1.0)) > 0


FACE_CHECK = FaceCheck()


@given(st.integers(-400, 800), st.integers(-400, 800), st.integers(0, 600), st.integers(0, 600))
def test_any_box_is_read_and_boxes_outside_are_not_faces(x: int, y: int, width: int, height: int):
    box = Box(x, y, width, height)
    reading = FACE_CHECK.read(portrait(), Face(box, 1.0))
    inside = box.grown(0.9).clipped(portrait().shape[1], portrait().shape[0]).area > 0
    assert math.isfinite(reading) if inside else reading == -math.inf


def test_a_track_is_reported_when_it_is_proven():
    verifier = TrackVerifier(Scripted(2.6, 2.6, 4.0))
    assert verifier.judge(BLANK, [track()], 0.0).doubted == {1}
    assert verifier.judge(BLANK, [track(now=0.1)], 0.1).doubted == {1}
    assert verifier.judge(BLANK, [track(now=0.2)], 0.2).doubted == set()


def test_a_false_detection_ends_at_a_clear_reading_or_after_max_unproven_readings():
    assert TrackVerifier(Scripted(-3.5)).judge(BLANK, [track()], 0.0).rejected == {1}
    verifier = TrackVerifier(Scripted(*[0.2 - READING_BIAS] * MAX_UNPROVEN_READINGS))
    rejected = [verifier.judge(BLANK, [track(now=at)], at).rejected for at in range(MAX_UNPROVEN_READINGS)]
    assert rejected == [set()] * (MAX_UNPROVEN_READINGS - 1) + [{1}]


def test_an_established_track_survives_one_bad_reading_but_not_three():
    verifier = TrackVerifier(Scripted(6.0, 6.0, 6.0, -9.0, -9.0, -9.0))
    rejected = [verifier.judge(BLANK, [track(now=at)], at).rejected for at in range(6)]
    assert rejected[:4] == [set()] * 4
    assert rejected[5] == {1}


def test_a_matched_face_is_read_periodically():
    check = Scripted(*[6.0] * 20)
    verifier = TrackVerifier(check)
    for frame in range(31):
        verifier.judge(BLANK, [track(now=frame / 15, found=frame == 0, matched=frame > 0)], frame / 15)
    assert 4 <= check.asked <= 6  # 2 s


def test_a_track_that_jumps_has_to_be_proven_again():
    verifier = TrackVerifier(Scripted(6.0, 6.0, -0.5))
    verifier.judge(BLANK, [track()], 0.0)
    assert verifier.judge(BLANK, [track(now=1.0)], 1.0).doubted == set()
    assert verifier.judge(BLANK, [track(190, now=2.0)], 2.0).doubted == {1}


def test_a_fast_face_that_jumps_from_frame_to_frame_stays_reported():
    verifier = TrackVerifier(Scripted(*[4.0, 1.0] * 10))
    verdicts = [verifier.judge(BLANK, [track(100 * frame, now=frame)], float(frame)) for frame in range(20)]
    assert all(not verdict.doubted and not verdict.rejected for verdict in verdicts)


def test_a_template_that_matches_the_wall_ends_within_three_frames_after_the_face_is_lost():
    verifier = TrackVerifier(Scripted(6.0, 6.0, 6.0, *[-9.0] * 3))
    for frame in range(3):
        verifier.judge(BLANK, [track(now=frame)], float(frame))
    rejected = []
    for frame in range(3):
        now = 2.1 + frame / 15
        lost = replace(track(now=2.0, found=False, matched=True), last_searched=now)
        rejected.append(verifier.judge(BLANK, [lost], now).rejected)
    assert rejected == [set(), set(), {1}]


def test_one_hit_confirms_a_track_with_a_sure_reading():
    assert TrackVerifier(Scripted(SURE_READING)).judge(BLANK, [track()], 0.0).sure == {1}
    assert TrackVerifier(Scripted(SURE_READING - 0.1)).judge(BLANK, [track()], 0.0).sure == set()
    tracker = Tracker(TrackingSettings(min_hits=3))
    (new,) = tracker.update(0.0, [Face(Box(100, 100, 80, 80), 1.0)])
    assert not new.confirmed
    (sure,) = tracker.judge(0.0, (), (), {new.track_id})
    assert sure.confirmed
    (doubted,) = tracker.judge(0.0, {new.track_id}, (), {new.track_id})
    assert not doubted.confirmed


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=30))
def test_any_readings_give_a_consistent_verdict(readings: list[float]):
    verifier = TrackVerifier(Scripted(*readings))
    reported = False
    for number in range(len(readings)):
        verdict = verifier.judge(BLANK, [track(now=number)], float(number))
        reported |= not verdict.doubted
        assert verdict.doubted <= {1} and verdict.rejected <= {1}
        if max(readings[: number + 1]) <= REJECTED_LOG_ODDS:
            assert not reported and verdict.rejected == {1}
        if min(readings[: number + 1]) > PROVEN_LOG_ODDS - READING_BIAS:
            assert reported and not verdict.rejected


def test_another_bundle_is_refused():
    with pytest.raises(ModelError, match="face check"):
        FaceCheck(folder=BUNDLE_FOLDER.parent / "default_bundle")


def settings(*, verify: bool) -> RuntimeSettings:
    return RuntimeSettings(detector=DetectorSettings(verify=verify))


@pytest.mark.slow
def test_a_real_face_is_tracked_with_and_without_verification():
    shown = {}
    for verify in (True, False):
        pipeline = Pipeline.from_bundle(load_bundle(), settings(verify=verify))
        shown[verify] = [len(result.tracks) for result in pipeline.open(open_source("demo"))]
    assert sum(shown[True]) >= 0.95 * sum(shown[False]) > 0


@pytest.mark.parametrize("verify", [True, False])
def test_verification_can_be_turned_off(verify: bool):
    assert DetectorSettings().verify
    check = Scripted(*[6.0] * 1000)
    with load_bundle() as bundle:
        pipeline = Pipeline(None, EmotionClassifier(bundle, "int8"), settings(verify=verify), check=check)
    assert any(result.tracks for result in pipeline.open(open_source("demo")))
    assert (check.asked > 0) == verify


def test_closing_a_pipeline_closes_the_network_even_after_a_still_image():
    check = Scripted(*[6.0] * 1000)
    with load_bundle() as bundle, Pipeline(None, EmotionClassifier(bundle, "int8"), check=check) as pipeline:
        portrait_file = Path(str(files("fer_edge") / "assets" / "astronaut.jpg"))
        assert [len(result.tracks) for result in pipeline.open(open_source(str(portrait_file)))] == [1]
        assert not check.closed
    assert check.closed
