"""Colour pictures: every source has them only on request, and they show what the grey ones do."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import Frame, NoFrame, Pipeline, load_bundle, open_source
from fer_edge.daemon.outputs import Outputs
from fer_edge.errors import InputError
from fer_edge.images.colour import yuv420_to_bgr
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.protocols import FrameSource
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import keep_colour
from fer_edge.sources.v4l2.formats import READABLE, PixelFormat, colour_picture, gray_picture
from fer_edge.sources.view import View
from fer_edge.types import FrameResult, UInt8Array
from fer_edge.web import Previews

WIDTH, HEIGHT = 32, 24
GREEN = (40, 200, 90)
WITHOUT_COLOUR = {"GREY", "Y10", "Y12", "Y16", "Y16-BE"}
NOT_CONVERTED = {"NV16", "NV61", "NV24", "NV42", "422P", "411P", "YUV9", "YVU9", "VYUY"}


STRIDES = {"YUYV": 2, "YVYU": 2, "UYVY": 2, "RGB3": 3, "BGR3": 3, "XR24": 4, "AR24": 4, "BGR4": 4, "XB24": 4, "AB24": 4}
"""Bytes for each pixel of packed formats."""


def green(width: int = WIDTH, height: int = HEIGHT) -> UInt8Array:
    return np.full((height, width, 3), GREEN, np.uint8)


def buffer_of(name: str, bgr: UInt8Array) -> UInt8Array:
    """Return the picture in the format ``name``, as a camera sends it."""
    if name in ("MJPG", "JPEG"):
        return np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]).reshape(-1)
    if name in ("YUYV", "YVYU", "UYVY"):
        code = {"YUYV": cv2.COLOR_BGR2YUV_YUY2, "YVYU": cv2.COLOR_BGR2YUV_YVYU, "UYVY": cv2.COLOR_BGR2YUV_UYVY}[name]
        return np.asarray(cv2.cvtColor(bgr, code)).reshape(-1)
    if name in ("YU12", "YV12"):
        code = cv2.COLOR_BGR2YUV_I420 if name == "YU12" else cv2.COLOR_BGR2YUV_YV12
        return np.asarray(cv2.cvtColor(bgr, code)).reshape(-1)
    if name in ("NV12", "NV21"):
        planar = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)).reshape(-1)
        count = bgr.shape[0] * bgr.shape[1]
        u, v = planar[count : count * 5 // 4], planar[count * 5 // 4 :]
        chroma = np.stack([u, v] if name == "NV12" else [v, u], axis=1).reshape(-1)
        return np.concatenate([planar[:count], chroma])
    if name in STRIDES:
        order = bgr[..., ::-1] if name in ("RGB3", "XB24", "AB24") else bgr
        return (order if STRIDES[name] == 3 else np.dstack([order, order[..., 0]])).reshape(-1)
    mosaic = {"RGGB": "RGGB", "BA81": "BGGR", "GBRG": "GBRG", "GRBG": "GRBG"}[name]
    picture = np.empty(bgr.shape[:2], np.uint8)
    for place, letter in enumerate(mosaic):
        picture[place // 2 :: 2, place % 2 :: 2] = bgr[place // 2 :: 2, place % 2 :: 2, "BGR".index(letter)]
    return picture.reshape(-1)


@pytest.mark.parametrize("name", sorted(set(READABLE) - WITHOUT_COLOUR - NOT_CONVERTED))
def test_every_format_of_a_camera_gives_its_colour(name: str) -> None:
    format = PixelFormat(name, WIDTH, HEIGHT, WIDTH * STRIDES.get(name, 1))
    picture = colour_picture(buffer_of(name, green()), format)
    assert picture is not None and picture.shape == (HEIGHT, WIDTH, 3)
    assert picture[4:-4, 4:-4].reshape(-1, 3).mean(axis=0) == pytest.approx(GREEN, abs=6)


@pytest.mark.parametrize("name", sorted(WITHOUT_COLOUR | NOT_CONVERTED))
def test_other_formats_stay_grey(name: str) -> None:
    data = np.zeros(WIDTH * HEIGHT * 4, np.uint8)
    format = PixelFormat(name, WIDTH, HEIGHT, WIDTH * 2)
    assert colour_picture(data, format) is None
    assert gray_picture(data, format).shape == (HEIGHT, WIDTH)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(-40, 4))
def test_any_buffer_gives_a_picture_of_its_size_or_none(width: int, height: int, padding: int, more: int) -> None:
    stride = width + padding
    data = np.zeros(max(0, height * 3 // 2 * stride + more), np.uint8)
    picture = yuv420_to_bgr(data, width, height, stride, cv2.COLOR_YUV2BGR_I420)
    assert picture is None or picture.shape == (height, width, 3)
    for name in ("YUYV", "UYVY"):
        packed = np.zeros(height * (2 * width + padding), np.uint8)
        picture = colour_picture(packed, PixelFormat(name, width, height, 2 * width + padding))
        assert picture is None if width % 2 else picture is not None and picture.shape == (height, width, 3)


def first_frame(source: FrameSource) -> Frame:
    frame = source.read(5.0)
    assert isinstance(frame, Frame)
    return frame


def write_film(path: Path, pictures: int = 5, code: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 10, (64, 48))
    for _ in range(pictures):
        writer.write(green(64, 48))
    writer.release()
    return path


@pytest.mark.usefixtures("decoder")
def test_films_and_images_keep_colour_on_request_and_grey_is_the_same(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4")
    cv2.imwrite(str(tmp_path / "image.png"), green(64, 48))
    for name in ("film.mp4", "image.png"):
        with open_source(tmp_path / name) as plain, open_source(tmp_path / name) as coloured:
            coloured.keep_colour = True
            grey, both = first_frame(plain), first_frame(coloured)
        assert grey.bgr is None and both.bgr is not None
        assert np.array_equal(grey.gray, both.gray)
        assert both.bgr.reshape(-1, 3).mean(axis=0) == pytest.approx(GREEN, abs=6)


def test_frames_in_colour_do_not_share_memory(tmp_path: Path) -> None:
    with open_source(write_film(tmp_path / "film.mp4")) as source:
        source.keep_colour = True
        first, second = first_frame(source), first_frame(source)
    assert first.bgr is not None and second.bgr is not None
    assert not np.shares_memory(first.bgr, second.bgr)


def test_wrappers_pass_the_request_on_and_a_source_of_the_user_may_lack_it() -> None:
    with open_source("demo", SourceSettings(rotate=90), realtime=True) as source:
        keep_colour(source, True)
        frame = first_frame(source)
        while frame.bgr is None:
            frame = first_frame(source)
        assert frame.bgr.shape == (640, 480, 3) and frame.gray.shape == (640, 480)

    class Foreign:
        name, live, still, fps, dropped = "own", False, False, 15.0, 0

        def read(self, timeout_s: float) -> Frame | NoFrame:
            return NoFrame.ENDED

    keep_colour(Foreign(), True)  # type: ignore[arg-type]


def test_a_view_treats_colour_as_it_does_grey_and_hides_the_mask() -> None:
    bgr = green(64, 48)
    bgr[:, :32] = (200, 30, 60)
    gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    for settings in (
        SourceSettings(mask=((0.0, 0.0, 0.25, 1.0),)),
        SourceSettings(rotate=90, mirror=True, mask=((0.0, 0.0, 0.25, 1.0),), region=(0.0, 0.0, 0.75, 1.0)),
        SourceSettings(low_light="clahe", mask=((0.0, 0.0, 0.25, 1.0),)),
        SourceSettings(low_light="gamma", rotate=180),
    ):
        view = View(settings)
        seen = view(gray)
        colour = view.in_colour(bgr, seen)
        assert colour.shape == (*seen.shape, 3)
        assert np.abs(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY).astype(int) - seen).max() <= 40  # clipped colours
        if settings.mask:
            assert not colour[seen == 0].any()


def test_a_frame_refuses_a_colour_picture_that_does_not_fit() -> None:
    gray = np.zeros((48, 64), np.uint8)
    for wrong in (np.zeros((48, 64), np.uint8), np.zeros((64, 48, 3), np.uint8), np.zeros((48, 64, 3), np.float32)):
        with pytest.raises(InputError, match=r"must be uint8 \[48, 64, 3\] \(BGR\)"):
            Frame("cam", 0, 0.0, gray, bgr=wrong)


def test_a_pipeline_keeps_the_colours_of_an_array(tiny_bundle: Path) -> None:
    with load_bundle(tiny_bundle) as bundle:
        result = Pipeline.from_bundle(bundle).open("cam").process(green(64, 48), at=0.0)
    assert result.frame.bgr is not None and tuple(result.frame.bgr[0, 0]) == GREEN


def test_the_preview_asks_for_colour_only_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr("fer_edge.web.previews.time.monotonic", lambda: now)
    previews = Previews(FER2013_LABELS)
    outputs = Outputs((), [previews])
    assert not outputs.want_colour
    outputs.deliver(FrameResult(Frame("cam", 0, 0.0, np.zeros((48, 64), np.uint8), bgr=green(64, 48)), (), ()))
    assert not outputs.want_colour
    jpeg = previews.jpeg("cam")
    assert outputs.want_colour
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[4, 40].tolist() == pytest.approx(GREEN, abs=9)
    now += 20
    assert not outputs.want_colour
