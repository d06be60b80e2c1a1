"""Choice of a Raspberry Pi camera's sensor mode, with the drivers' own tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.sources.picamera.sensor_modes import SensorMode, choose_mode, full_field, picture_size
from support.cameras.sensors import SENSORS, picamera2_choice


def modes_of(sensor: str) -> list[SensorMode]:
    return [SensorMode(*mode) for mode in SENSORS[sensor].modes]


def chosen(sensor: str, fps: float | None = None, width: int | None = None, height: int | None = None) -> SensorMode:
    """Return what the source chooses by default."""
    modes = full_field(modes_of(sensor))
    return choose_mode(modes, picture_size(width, height, modes), fps)


def field(sensor: str, crop: tuple[int, ...]) -> tuple[float, float]:
    """Return the shares of the sensor's width and height that ``crop`` covers, relative to what any mode reads."""
    widest = max(mode.crop[2] for mode in modes_of(sensor)), max(mode.crop[3] for mode in modes_of(sensor))
    return crop[2] / widest[0], crop[3] / widest[1]


@pytest.mark.parametrize(
    ("sensor", "mode", "bits", "fps", "size"),
    [
        ("imx219", (1640, 1232), 10, 41.85, (640, 480)),
        ("imx708", (2304, 1296), 10, 56.02, (640, 360)),
        ("ov5647", (640, 480), 10, 58.92, (640, 480)),
        ("imx477", (2028, 1520), 12, 40.0, (640, 480)),
        ("imx296", (1456, 1088), 10, 60.38, (640, 478)),
        ("ov9281", (640, 400), 10, 260.4, (640, 400)),
    ],
)
def test_the_default_is_the_smallest_mode_that_sees_everything(
    sensor: str, mode: tuple[int, int], bits: int, fps: float, size: tuple[int, int]
) -> None:
    found = chosen(sensor)
    assert (found.size, found.bit_depth) == (mode, bits)
    assert found.max_fps == pytest.approx(fps, abs=0.01 * fps)
    assert min(field(sensor, found.crop)) > 0.98
    array = SENSORS[sensor].pixel_array  # including the rows and columns at the edge that no mode reads
    assert found.crop[2] / array[0] > 0.97 and found.crop[3] / array[1] > 0.95
    assert picture_size(None, None, full_field(modes_of(sensor))) == size
    # Given the mode's size and depth, picamera2 makes the same choice.
    assert picamera2_choice(SENSORS[sensor].modes, found.size, found.bit_depth)[:2] == (mode, bits)


@pytest.mark.parametrize(
    ("sensor", "share"),
    [("imx219", 0.39), ("imx708", 0.50), ("ov5647", 0.99), ("imx477", 1.0), ("imx296", 1.0), ("ov9281", 0.83)],
)
def test_some_modes_chosen_by_picamera2_crop_the_field(sensor: str, share: float) -> None:
    """Compare the field's width in a picture of 640x480: what its mode reads, cropped to the picture's aspect ratio."""
    modes = SENSORS[sensor].modes
    most_bits = max(modes, key=lambda mode: (mode[0][0] * mode[0][1], mode[1]))[1]  # picamera2's _select_native_mode
    width, height = picamera2_choice(modes, (640, 480), most_bits)[3][2:]
    assert min(width, height * 4 / 3) / max(mode.crop[2] for mode in modes_of(sensor)) == pytest.approx(
        share, abs=0.006
    )


@pytest.mark.parametrize(
    ("sensor", "fps", "width", "mode"),
    [
        ("imx219", 15, None, (1640, 1232)),
        ("imx219", 60, None, (1640, 1232)),  # no mode with the full field reaches it: the fastest
        ("imx219", None, 1920, (3280, 2464)),
        ("imx219", 30, 1920, (1640, 1232)),  # the rate has priority over the size
        ("imx708", 14, 2400, (4608, 2592)),
        ("ov5647", 50, None, (640, 480)),
        ("ov5647", None, 1024, (1296, 972)),
        ("imx477", 40, 1280, (2028, 1520)),
        ("imx477", 5, 2500, (4056, 3040)),
        ("ov9281", None, 1280, (1280, 800)),
    ],
)
def test_the_choice_depends_on_rate_and_size(
    sensor: str, fps: float | None, width: int | None, mode: tuple[int, int]
) -> None:
    found = chosen(sensor, fps, width)
    assert found.size == mode
    assert found.reaches(fps) == (fps is None or found.max_fps >= fps * 0.995)


def test_fewer_bits_if_only_they_are_fast_enough() -> None:
    assert chosen("ov9281", 260).bit_depth == 10
    assert chosen("ov9281", 300).bit_depth == 8


def test_no_cropped_mode_counts_as_full() -> None:
    for name in SENSORS:
        full = full_field(modes_of(name))
        assert full and all(min(field(name, mode.crop)) > 0.98 for mode in full)
        left_out = [mode for mode in modes_of(name) if mode not in full]
        assert all(min(field(name, mode.crop)) <= 0.9 for mode in left_out)


SIDES = st.integers(16, 9000)
MODES = st.lists(
    st.builds(
        SensorMode,
        size=st.tuples(SIDES, SIDES),
        bit_depth=st.sampled_from([8, 10, 12]),
        max_fps=st.floats(0.5, 500),
        crop=st.tuples(st.just(0), st.just(0), SIDES, SIDES),
    ),
    min_size=1,
    max_size=8,
)


@given(MODES, st.tuples(SIDES, SIDES), st.none() | st.floats(0.01, 1000))
def test_any_table_gives_a_mode(modes: list[SensorMode], size: tuple[int, int], fps: float | None) -> None:
    found = choose_mode(modes, size, fps)
    if any(mode.reaches(fps) for mode in modes):
        assert found.reaches(fps)
    if any(mode.reaches(fps) and mode.holds(size) for mode in modes):
        assert found.holds(size)
        assert all(found.area <= mode.area for mode in modes if mode.reaches(fps) and mode.holds(size))
    for wanted in (None, 320), (320, None), (None, None), (641, 481):
        width, height = picture_size(*wanted, modes)
        assert width % 2 == height % 2 == 0 and width >= 2 and height >= 2
    assert picture_size(641, 481, modes) == (640, 480)


def test_without_modes_the_aspect_ratio_is_four_to_three() -> None:
    assert picture_size(None, None, []) == (640, 480)
    assert picture_size(None, 240, []) == (320, 240)
    assert picture_size(1280, None, []) == (1280, 960)
