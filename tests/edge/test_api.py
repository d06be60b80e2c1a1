"""The public API of ``fer_edge``: its names, single images, streams, and refusals."""

from __future__ import annotations

import ast
import itertools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import fer_edge
from fer_edge import (
    Box,
    ClosingSource,
    EmotionClassifier,
    EventKind,
    Face,
    FaceReader,
    Frame,
    HaarFaceDetector,
    InputError,
    NoFrame,
    Pipeline,
    RuntimeSettings,
    ScheduleSettings,
    SourceLostError,
    SourceSettings,
    Telemetry,
    crop_face,
    load_bundle,
    load_settings,
    open_source,
    to_gray,
)
from fer_edge.recording.trace import trace_entry
from fer_edge.types import Search
from support.cameras.mjpeg_server import mjpeg_server
from support.cameras.scenes import demo_frames
from support.processes.edge_command import clean_environment, face_picture, write_video
from support.processes.edge_command import fer_edge as fer_edge_command


class GivenFrames(ClosingSource):
    """A source of the given ``frames``, which then ends or is lost."""

    name, fps, dropped = "given", 15.0, 0

    def __init__(self, frames: Sequence[Frame], *, live: bool = False, lost: bool = False) -> None:
        self.live = live
        self.closed = 0
        self._frames, self._lost = iter(frames), lost

    def read(self, timeout_s: float) -> Frame | NoFrame:
        frame = next(self._frames, None)
        if frame is None and self._lost:
            raise SourceLostError("given: gone")
        return NoFrame.ENDED if frame is None else frame

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Frames with a face in view all the time."""
    return [frame for frame, _ in demo_frames(4.0, 6.0)]


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    """One pipeline for many sources: no source affects the next one."""
    return Pipeline.from_bundle(load_bundle(tiny_bundle))


def test_public_names_exist_and_match_the_type_checkers_imports() -> None:
    tree = ast.parse(Path(fer_edge.__file__).read_text())
    checked = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("fer_edge.")
        for alias in node.names
    }
    assert sorted(checked) == sorted(fer_edge.__all__)
    for name, module in checked.items():
        value = getattr(fer_edge, name)
        assert getattr(value, "__module__", module).startswith(module), name
        assert name in dir(fer_edge)
    with pytest.raises(AttributeError, match="has no attribute 'Pipelin'"):
        fer_edge.Pipelin  # type: ignore[attr-defined]  # noqa: B018


def test_results_and_events_match_the_command(tiny_bundle: Path, tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 30)
    outputs = ("--trace", "trace.jsonl", "--events", "events.jsonl")
    done = fer_edge_command("run", film, "--bundle", tiny_bundle, *outputs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    traced, told = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("trace.jsonl", "events.jsonl")
    )
    telemetry = Telemetry()
    pipeline = Pipeline.from_bundle(load_bundle(str(tiny_bundle)))
    results = list(pipeline.open(open_source(film), telemetry=telemetry))
    assert [trace_entry(result) for result in results] == traced
    assert traced[-1]["tracks"]
    # The same pipeline again starts without tracks.
    events = list(pipeline.open(open_source(str(film)), telemetry=telemetry).events())
    assert [(e.kind.value, e.track_id, e.emotion) for e in events] == [
        (line["kind"], line["track"], line["emotion"]) for line in told
    ]
    assert (events[0].kind, events[-1].kind) == (EventKind.APPEARED, EventKind.LEFT)
    assert telemetry.snapshot().frames == 60


class AlwaysFace:
    """A face check that accepts everything, but never confirms a track after a single detection."""

    def read(self, gray: npt.NDArray[np.uint8], face: Face) -> float:
        return 3.9

    def close(self) -> None:
        pass


def test_a_still_image_is_reported_at_once_and_a_stream_after_it_is_not(
    tiny_bundle: Path, frames: list[Frame], tmp_path: Path
) -> None:
    pipeline = Pipeline(None, EmotionClassifier(load_bundle(tiny_bundle)), check=AlwaysFace())
    cv2.imwrite(str(tmp_path / "photo.png"), face_picture())
    assert [e.kind for e in pipeline.open(open_source(tmp_path / "photo.png")).events()] == [
        EventKind.APPEARED,
        EventKind.LEFT,
    ]
    results = list(pipeline.open(GivenFrames(frames)).results())
    assert results[0].tracks == ()
    assert {track.track_id for result in results for track in result.tracks} == {1}


def test_a_source_is_closed_at_its_end_on_break_and_on_loss(pipeline: Pipeline, frames: list[Frame]) -> None:
    ended, left, lost = GivenFrames(frames[:3]), GivenFrames(frames), GivenFrames(frames[:12], lost=True)
    assert len(list(pipeline.open(ended).results())) == 3
    for result in pipeline.open(left).results():
        if result.frame.index == 2:
            break
    told = []
    with pytest.raises(SourceLostError, match="given: gone"):
        for event in pipeline.open(lost).events():
            told.append(event.kind)
    assert (told[0], told[-1]) == (EventKind.APPEARED, EventKind.LEFT)
    assert [source.closed for source in (ended, left, lost)] == [1, 1, 1]


LEAVES_SOURCES_OPEN = """
import sys
from fer_edge import Pipeline, load_bundle, open_source
pipeline = Pipeline.from_bundle(load_bundle())
left_open = [pipeline.open(open_source(sys.argv[1])).results() for camera in range(6)]
print(*(next(results).frame.width for results in left_open))
"""


def test_a_program_that_does_not_close_live_sources_exits_cleanly() -> None:
    with mjpeg_server() as server:
        done = subprocess.run(
            [sys.executable, "-c", LEAVES_SOURCES_OPEN, server.url("stream")],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "640 640 640 640 640 640\n", "")


def test_stop_ends_an_endless_source(pipeline: Pipeline, frames: list[Frame]) -> None:
    stop = threading.Event()
    endless = (replace(frames[0], index=index, captured_at=index / 15) for index in itertools.count())
    source = GivenFrames(endless)  # type: ignore[arg-type]  # any iterable is accepted
    for result in pipeline.open(source).results(stop):
        if result.frame.index == 3:
            stop.set()
        assert result.frame.index < 4
    assert source.closed == 1


def test_source_settings_are_applied(tiny_bundle: Path, frames: list[Frame], tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[source]\nmax_fps = 5\nrealtime = true\n")
    settings = load_settings(str(tmp_path / "settings.toml"))
    pipeline = Pipeline.from_bundle(load_bundle(tiny_bundle), settings)
    assert [result.frame.index for result in pipeline.open(GivenFrames(frames[:9])).results()] == [0, 3, 6]
    film = write_video(tmp_path / "film.mp4", 2)
    with open_source(film, settings.source, name="paced") as source:
        frame = source.read(60.0)
    assert isinstance(frame, Frame) and frame.glass_at is not None and frame.source == "paced"
    with open_source(film, SourceSettings(rotate=90)) as source:
        turned = source.read(60.0)
    assert isinstance(turned, Frame) and (turned.width, turned.height) == (480, 640)


class SlowDetector(HaarFaceDetector):
    """A detector that takes much longer than the nominal cost of searches."""

    def detect(self, gray: npt.NDArray[np.uint8], search: Search) -> list[Face]:
        until = time.thread_time() + 0.02
        found = super().detect(gray, search)
        while time.thread_time() < until:
            pass
        return found


def test_a_live_source_keeps_its_budget_by_measured_cost(tiny_bundle: Path, frames: list[Frame]) -> None:
    searches = []
    for live in (False, True):
        telemetry = Telemetry()
        settings = RuntimeSettings(schedule=ScheduleSettings(budget_share=0.1))
        classifier = EmotionClassifier(load_bundle(tiny_bundle))
        pipeline = Pipeline(SlowDetector(), classifier, settings)
        assert len(list(pipeline.open(GivenFrames(frames, live=live), telemetry=telemetry))) == len(frames)
        stages = telemetry.snapshot().stages
        searches.append(sum(stages[name].calls for name in ("detect_full", "detect_region") if name in stages))
    assert searches[1] < 0.85 * searches[0]


def test_images_are_read_in_grey_and_in_colour(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", tiny_bundle)
    with load_bundle(archive) as bundle:
        reader = FaceReader(bundle)
    gray = face_picture()
    (face,) = reader.read(gray)  # the unpacked files are deleted by now
    assert face.emotion == max(face.by_label(), key=face.by_label().__getitem__)
    assert face.confidence == pytest.approx(max(face.by_label().values()))
    assert sum(face.by_label().values()) == pytest.approx(1, abs=1e-5)
    assert face.fault is None
    colour = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)
    for picture in (colour, colour[..., ::-1], np.asfortranarray(gray)):
        (other,) = reader.read(picture)
        assert other.box == face.box and other.by_label() == pytest.approx(face.by_label())
    (blurred,) = reader.read(cv2.GaussianBlur(gray, (0, 0), 4.0))
    assert blurred.fault == "blurred"
    assert reader.read(gray[:100, :100]) == () and reader.read(gray[:1, :1]) == ()
    reader.close()
    reader.close()


def test_grey_weights_follow_opencv_colour_order() -> None:
    blue = np.zeros((2, 3, 3), np.uint8)
    blue[..., 0] = 255
    assert to_gray(blue).tolist() == [[29] * 3] * 2  # ITU-R BT.601: 0.114 of white
    assert to_gray(blue[..., ::-1]).tolist() == [[76] * 3] * 2


REFUSED_IMAGES: list[tuple[Any, str]] = [
    (np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\]"),
    (np.zeros((4, 4), np.float32), r"float32 \[4, 4\]"),
    (np.zeros((0, 4), np.uint8), r"uint8 \[0, 4\]"),
    (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
    (np.zeros(4, np.uint8), r"uint8 \[4\]"),
    (None, "NoneType"),
    ([[0, 1], [2, 3]], "list"),
]


@pytest.mark.parametrize(
    ("picture", "called"), REFUSED_IMAGES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_other_arrays_are_refused_in_one_line(picture: Any, called: str) -> None:
    with pytest.raises(InputError, match=rf"^an image must be uint8, grey \[H, W\] or BGR .*, not {called}$"):
        to_gray(picture)
    with pytest.raises(InputError, match=rf"^a grey image must be uint8 \[H, W\], not {called}; .*fer_edge\.to_gray$"):
        Frame("mine", 0, 0.0, picture)


def test_colour_is_refused_where_grey_is_required(tiny_bundle: Path) -> None:
    colour = np.zeros((60, 60, 3), np.uint8)
    face = Face(Box(0, 0, 50, 50), 1.0)
    with pytest.raises(InputError, match=r"not uint8 \[60, 60, 3\]; convert with fer_edge\.to_gray"):
        HaarFaceDetector().detect(colour, Search(Box(0, 0, 60, 60)))
    with pytest.raises(InputError, match=r"convert with fer_edge\.to_gray"):
        crop_face(colour, face, EmotionClassifier(load_bundle(tiny_bundle)).crop_spec)


def test_missing_files_are_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.zip: no such bundle"):
        load_bundle("nowhere.zip")
    with pytest.raises(InputError, match=r"nowhere\.mp4: no such file"):
        open_source("nowhere.mp4")
    with pytest.raises(SourceLostError, match="video99: camera not found"):
        open_source(99)


# Images from elsewhere


def test_images_from_elsewhere_are_processed_with_their_times(tiny_bundle: Path) -> None:
    with Pipeline.from_bundle(tiny_bundle) as pipeline:
        run = pipeline.open("door")
        gray = face_picture()
        colour = np.repeat(gray[:, :, None], 3, axis=2)
        results = [run.process(image, at=10 + 0.1 * i) for i, image in enumerate([gray, colour] * 5)]
        assert [result.frame.index for result in results] == list(range(10))
        assert {result.frame.source for result in results} == {"door"}
        assert [round(result.frame.captured_at, 1) for result in results] == [round(10 + 0.1 * i, 1) for i in range(10)]
        (event,) = [event for result in results for event in result.events if event.kind.value == "appeared"]
        assert event.source == "door" and 10 <= event.mono < 11
        left = run.finish()
        assert [event.kind.value for event in left] == ["left"]
        before = time.monotonic()
        assert before <= pipeline.open().process(gray).frame.captured_at <= time.monotonic()


@pytest.mark.parametrize("wrong", [None, "image.png", [[1, 2]], 3])
def test_wrong_types_are_told_by_name(pipeline: Pipeline, wrong: object) -> None:
    with pytest.raises(TypeError, match=rf"process takes a Frame or a NumPy image, not {type(wrong).__name__}"):
        pipeline.open().process(wrong)  # type: ignore[arg-type]
    if wrong is not None and not isinstance(wrong, str):
        with pytest.raises(TypeError, match=rf"open takes a source, .*, not {type(wrong).__name__}"):
            pipeline.open(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=rf"from_bundle takes the path of a bundle .*, not {type(wrong).__name__}"):
            Pipeline.from_bundle(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_arrays_that_are_no_image_are_refused(pipeline: Pipeline, image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"an image must be uint8, grey \[H, W\] or BGR"):
        pipeline.open().process(image)
