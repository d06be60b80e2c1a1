"""One camera scenario in a virtual machine, which takes a minute; ``make test-v4l2`` runs the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import InputError
from v4l2_vm.__main__ import SCENARIOS, run_scenario
from v4l2_vm.film import FORMATS, HEIGHT, WIDTH, encode
from v4l2_vm.machine import CACHE
from v4l2_vm.parts import machine_parts
from v4l2_vm.usb_descriptors import configuration_descriptor, modes, streaming_control


@pytest.mark.slow
def test_a_camera_appears_late_shows_a_face_and_is_unplugged(tmp_path: Path) -> None:
    try:
        machine_parts(CACHE)
    except InputError as error:
        pytest.skip(str(error))
    (short,) = (scenario for scenario in SCENARIOS if scenario.name == "short")
    said = run_scenario(short, tmp_path)
    assert "a camera that came late: source_back, " in said and "unplugged: source_lost" in said


@pytest.mark.parametrize(("fourcc", "bits"), list(zip(FORMATS, (24, 24, 16, 16, 12, 12, 16, 8), strict=True)))
def test_a_film_frame_has_the_size_of_its_format_and_the_grey_pixels(fourcc: str, bits: int) -> None:
    gray = bytes(range(256)) * (WIDTH * HEIGHT // 256)
    frame = encode(gray, fourcc)
    assert len(frame) == WIDTH * HEIGHT * bits // 8
    step = {"BGR3": 3, "RGB3": 3, "YUYV": 2, "UYVY": 2}.get(fourcc, 1)
    assert frame[int(fourcc == "UYVY") :: step][: len(gray)] == gray


def test_usb_descriptors_have_the_lengths_that_they_state() -> None:
    offered = modes({"YUYV": [(640, 480)], "MJPG": [(640, 480), (1280, 720)]})
    data = configuration_descriptor(offered)
    kinds, rest = [], data
    while rest:
        kinds.append(rest[1])
        assert len(rest) >= rest[0] >= 6
        rest = rest[rest[0] :]
    assert int.from_bytes(data[2:4], "little") == len(data)
    # Configuration, association, interface, three of video control, interface, two formats with three sizes, endpoint.
    assert kinds == [2, 11, 4, *[0x24] * 3, 4, *[0x24] * 7, 5]
    assert len(streaming_control(offered[0])) == 26
