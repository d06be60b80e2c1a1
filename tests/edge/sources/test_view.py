"""Preprocessing by ``[source]``: rotation, mirroring, region, mask and low light, the same for every source."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import open_source
from fer_edge.sources.demo.source import DemoSource
from fer_edge.sources.view import View, adjust_source, make_mask, region_box
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.types import Frame, UInt8Array
from support.models.detectors import find
from support.processes.edge_command import assert_one_line, face_picture, fer_edge, write_video

UPSET = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
"""The rotation of a picture that ``rotate`` corrects."""


def faces(picture: UInt8Array) -> list[tuple[int, int, int, int]]:
    found = find(HaarFaceDetector(DetectorSettings(min_neighbors=2)), picture, scale=0.5)
    return [(face.box.x, face.box.y, face.box.width, face.box.height) for face in found]


def only_frame(uri: Path, settings: SourceSettings) -> UInt8Array:
    with open_source(str(uri), settings) as source:
        frame = source.read(1.0)
    assert isinstance(frame, Frame)
    return frame.gray


@pytest.mark.parametrize(
    ("settings", "corner"),
    [
        (SourceSettings(), (0, 0)),
        (SourceSettings(rotate=90), (0, -1)),
        (SourceSettings(rotate=180), (-1, -1)),
        (SourceSettings(rotate=270), (-1, 0)),
        (SourceSettings(mirror=True), (0, -1)),
        (SourceSettings(rotate=90, mirror=True), (0, 0)),
    ],
)
def test_rotation_and_mirroring(tmp_path: Path, settings: SourceSettings, corner: tuple[int, int]) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[0, 0] = 255
    cv2.imwrite(str(tmp_path / "one.png"), pixels)
    gray = only_frame(tmp_path / "one.png", settings)
    assert gray[corner] == 255
    assert (gray.shape == (30, 20)) == (settings.rotate in {90, 270})


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_rotated_portrait_is_found_only_after_correction(tmp_path: Path, rotate: int) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), cv2.rotate(face_picture(), UPSET[rotate]))
    assert faces(only_frame(tmp_path / "one.png", SourceSettings())) == []
    turned = only_frame(tmp_path / "one.png", SourceSettings(rotate=rotate))  # type: ignore[arg-type]
    assert faces(turned) == faces(face_picture()) != []


def test_every_kind_of_source_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "1.png"), face_picture())
    film = write_video(tmp_path / "clip.mp4", 3)
    for uri in ("demo", str(tmp_path / "images"), str(film)):
        for realtime in (False, True):
            with open_source(uri, SourceSettings(rotate=90), realtime=realtime) as source:
                frame = source.read(5.0)
                assert isinstance(frame, Frame)
                assert frame.gray.shape == (640, 480)


def test_a_region_is_a_view_and_unused_steps_copy_nothing() -> None:
    picture = face_picture()
    assert View(SourceSettings())(picture) is picture
    cut = View(SourceSettings(region=(160, 100, 320, 240)))(picture)
    assert np.shares_memory(cut, picture)
    assert np.array_equal(cut, picture[100:340, 160:480])
    source = DemoSource(SourceSettings())
    assert adjust_source(source, SourceSettings(fps=5, realtime=True)) is source


def test_shares_refer_to_the_rotated_picture() -> None:
    picture = face_picture()
    half = View(SourceSettings(rotate=90, region=(0, 0, 1, 0.5)))(picture)
    assert half.shape == (320, 480)
    assert np.array_equal(half, cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)[:320])


@given(
    st.tuples(*[st.floats(0, 1)] * 2),
    st.tuples(*[st.floats(0.05, 1)] * 2),
    st.integers(400, 3000),
    st.integers(400, 3000),
)
def test_a_region_outside_the_picture_is_refused(
    corner: tuple[float, float], size: tuple[float, float], width: int, height: int
) -> None:
    try:
        box = region_box((*corner, *size), width, height)
    except ConfigError as error:
        assert f"{width}x{height}" in str(error)
        assert min((1 - corner[0]) * width, (1 - corner[1]) * height) < 17
        return
    assert box == box.clipped(width, height)
    assert box.width == pytest.approx(min(size[0], 1 - corner[0]) * width, abs=1)
    assert box.height == pytest.approx(min(size[1], 1 - corner[1]) * height, abs=1)


def test_masked_zones_are_black_and_contain_no_detections() -> None:
    picture = face_picture()
    before = picture.copy()
    ((x, y, width, height),) = faces(picture)
    rectangle = (float(x), float(y), float(width), float(height))
    triangle = (x - width, y + 2 * height, x + width / 2, y - height, x + 2 * width, y + 2 * height)
    for zone in (rectangle, tuple(float(round(value)) for value in triangle)):
        masked = View(SourceSettings(mask=(zone,)))(picture)
        assert faces(masked) == []
        assert masked[y + height // 2, x + width // 2] == 0
        assert np.array_equal(masked[:, :20], picture[:, :20])
    assert np.array_equal(picture, before)  # the array belongs to the source


def test_masks_keep_their_position_with_a_region() -> None:
    picture = np.full((480, 640), 200, np.uint8)
    zones = ((300.0, 200.0, 40.0, 40.0), (0.0, 0.0, 0.1, 0.1))
    whole = View(SourceSettings(mask=zones))(picture)
    cut = View(SourceSettings(mask=zones, region=(280, 180, 200, 200)))(picture)
    assert np.array_equal(cut, whole[180:380, 280:480])
    assert (cut == 0).sum() == 40 * 40
    assert not whole[:48, :64].any()


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(0.01, 1)] * 2), min_size=1, max_size=3))
def test_a_mask_covers_every_pixel_that_a_zone_touches(zones: list[tuple[float, ...]]) -> None:
    mask = make_mask(zones, 64, 48)
    for x, y, width, height in zones:
        inside = mask[int(y * 48) : int((y + height) * 48) + 1, int(x * 64) : int((x + width) * 64) + 1]
        assert not inside[:-1, :-1].any()


def test_a_face_too_dark_to_find_is_found_with_more_contrast() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (480, 640))
    dark = np.clip(face_picture() * 0.1 + noise, 0, 255).astype(np.uint8)
    found = {
        mode: len(faces(View(SourceSettings(low_light=mode))(dark)))  # type: ignore[arg-type]
        for mode in ("off", "clahe", "gamma")
    }
    assert found == {"off": 0, "clahe": 1, "gamma": 1}
    bright = np.full((20, 20), 180, np.uint8)
    assert View(SourceSettings(low_light="gamma"))(bright) is bright


# In a process


def test_boxes_are_relative_to_the_region(tiny_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), cv2.rotate(face_picture(), UPSET[90]))
    (tmp_path / "whole.toml").write_text("[source]\nrotate = 90\n")
    (tmp_path / "region.toml").write_text("[source]\nrotate = 90\nregion = [200, 100, 400, 360]\n")
    boxes = []
    for name in ("whole", "region"):
        flags = ("--bundle", tiny_bundle, "--config", f"{name}.toml", "--trace", f"{name}.jsonl")
        result = fer_edge("run", "one.png", *flags, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        (track,) = json.loads((tmp_path / f"{name}.jsonl").read_text())["tracks"]
        boxes.append(track["box"])
    whole, region = boxes
    assert [whole[0] - region[0], whole[1] - region[1]] == pytest.approx([200, 100], abs=8)
    assert region[2] == pytest.approx(whole[2], abs=12)


def test_a_region_outside_the_picture_is_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), face_picture())
    (tmp_path / "c.toml").write_text("[source]\nregion = [2000, 0, 320, 240]\n")
    result = fer_edge("run", "one.png", "--bundle", tiny_bundle, "--config", "c.toml", cwd=tmp_path)
    assert_one_line(result, 2, "source.region", "640x480")


def test_a_zone_in_pixels_beyond_the_picture_is_refused() -> None:
    assert make_mask([[60.0, 40.0, 4.0, 8.0]], 64, 48)[47, 63] == 0
    for zone in ([1200.0, 100.0, 300.0, 300.0], [60.0, 40.0, 5.0, 8.0], [0.0, 0.0, 10.0, 0.0, 10.0, 49.0]):
        with pytest.raises(ConfigError, match="64x48"):
            make_mask([zone], 64, 48)
