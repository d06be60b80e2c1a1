"""The picamera2 source, as far as it runs without a camera and its package; see CONTRIBUTING.md for the rest."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.settings.source import SourceSettings
from fer_edge.sources.picamera.source import camera_controls, camera_of, frame_rate, y_plane
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge


@given(st.integers(1, 80), st.integers(1, 40), st.integers(0, 40), st.integers(0, 100))
def test_the_grey_picture_is_a_view_without_row_padding(width: int, height: int, padding: int, more: int) -> None:
    stride = width + padding
    picture = np.random.default_rng(width * height).integers(1, 256, (height, width), dtype=np.uint8)
    padded = np.zeros((height, stride), np.uint8)
    padded[:, :width] = picture
    colour = np.full(height * stride // 2 + more, 128, np.uint8)  # U and V, and padding from the driver
    buffer = np.concatenate([padded.ravel(), colour])
    gray = y_plane(buffer, width, height, stride)
    assert np.array_equal(gray, picture)
    assert np.shares_memory(gray, buffer)
    for wrong in (buffer[: height * stride - 1], buffer[None]):
        with pytest.raises(ValueError, match=f"{width}x{height}"):
            y_plane(wrong, width, height, stride)
    with pytest.raises(ValueError, match="rows of"):
        y_plane(buffer, width, height, width - 1)


def test_only_configured_values_become_libcamera_controls() -> None:
    assert camera_controls(SourceSettings()) == {}
    assert camera_controls(SourceSettings(fps=15, exposure_us=8000, gain=2.0, ev=-0.5, autofocus=True)) == {
        "FrameDurationLimits": (66667, 66667),
        "ExposureTime": 8000,
        "AnalogueGain": 2.0,
        "ExposureValue": -0.5,
        "AfMode": 2,
    }
    assert camera_controls(SourceSettings(lens_position=1.5)) == {"AfMode": 0, "LensPosition": 1.5}
    assert camera_controls(SourceSettings(autofocus=False)) == {"AfMode": 0}


@pytest.mark.parametrize(
    ("uri", "which"),
    [
        ("picamera2", 0),
        ("picamera2:1", 1),
        ("picamera2:Virtual0", "Virtual0"),
        ("picamera2:/base/soc/i2c0mux/i2c@1/imx219@10", "/base/soc/i2c0mux/i2c@1/imx219@10"),
        (
            "picamera2:/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422",
            "/base/soc/usb@7e980000/usb1@1-1.2:1.0-32e4:9422",
        ),
        ("picamera2:", None),
        ("picamera2:123", None),
        ("picamera22", None),
        ("0", None),
    ],
)
def test_a_camera_is_named_by_number_or_by_libcameras_id(uri: str, which: int | str | None) -> None:
    assert camera_of(uri) == which


def test_the_reported_rate_is_within_the_sensor_modes_limits() -> None:
    limits = (23_894, 11_767_556)  # an imx219's at 1640x1232
    assert frame_rate((33_333, 33_333), limits) == pytest.approx(30, abs=0.01)
    assert frame_rate((16_667, 16_667), limits) == pytest.approx(41.85, abs=0.01)
    assert frame_rate((20_000_000, 20_000_000), limits) == pytest.approx(0.085, abs=0.001)
    assert frame_rate((33_333, 33_333), (16_667, 0)) == pytest.approx(30, abs=0.01)  # no maximum reported


@pytest.mark.skipif(find_spec("picamera2") is not None, reason="picamera2 is installed here")
def test_a_missing_package_is_one_line_with_instructions(tmp_path: Path) -> None:
    for uri in ("picamera2", "picamera2:1"):
        result = fer_edge("run", uri, cwd=tmp_path)
        assert_one_line(result, 2, "picamera2", "apt-get install python3-picamera2", "--system-site-packages")
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    """What numpy 2 does to Bookworm's picamera2, by a package that says the same."""
    package = tmp_path / "site" / "picamera2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ValueError("numpy.dtype size changed")\n')
    result = subprocess.run(
        [sys.executable, "-m", "fer_edge", "run", "picamera2"],
        cwd=tmp_path,
        env={**clean_environment(), "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert_one_line(result, 2, "cannot be imported", "numpy.dtype size changed")


OLD_PICAMERA2 = """
class Picamera2:
    def wait(self, job): ...
"""


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [
        ("0.3.12", "raise ImportError('of no use with this libcamera')\n", "version 0.3.12 is too old"),
        ("0.3.16-1", OLD_PICAMERA2, "version 0.3.16-1 is too old"),
        (None, OLD_PICAMERA2, "version (unknown) is too old"),
    ],
)
def test_a_version_whose_wait_has_no_timeout_is_refused(
    version: str | None, code: str, said: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "picamera2.py").write_text(code)
    if version is not None:
        (site / "picamera2.egg-info").mkdir()  # as in Debian's packages
        (site / "picamera2.egg-info/PKG-INFO").write_text(
            f"Metadata-Version: 1.2\nName: picamera2\nVersion: {version}\n"
        )
    for arguments in (["run", "picamera2"], ["run", "picamera2:/base/soc/i2c0mux/i2c@1/imx219@10"]):
        result = subprocess.run(
            [sys.executable, "-m", "fer_edge", *arguments],
            cwd=tmp_path,
            env={**clean_environment(), "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert_one_line(result, 2, said, "0.3.17 or newer is required", "--only-upgrade python3-picamera2")


def test_picamera2_is_imported_only_when_it_is_chosen() -> None:
    code = "import sys, fer_edge.sources, fer_edge.commands.run; print('picamera2' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
