"""V4L2 cameras without hardware: names, errors when they are opened, and no leaks after failures.

The virtual machine of tests/v4l2_vm tests them with a camera; here are the cases that its camera cannot produce.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import NamedSource, Opening, open_source, open_sources, source_names
from fer_edge.sources.camera import camera_device
from fer_edge.sources.opencv_camera import reshape_picture
from fer_edge.sources.opening import Unopened
from fer_edge.system.process_memory import resident_mib
from fer_edge.types import Frame, UInt8Array

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="V4L2 is Linux' own")

if sys.platform.startswith("linux"):
    import fcntl

    from fer_edge.sources.v4l2 import devices as devices_module
    from fer_edge.sources.v4l2 import structs
    from fer_edge.sources.v4l2.camera import open_v4l2
    from fer_edge.sources.v4l2.devices import list_cameras

SETTINGS = SourceSettings()
BY_ID = "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_1A2B-video-index0"
BY_PATH = "/dev/v4l/by-path/platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0-video-index0"


# Names


def test_a_camera_has_several_names() -> None:
    devices = {
        "0": "/dev/video0",
        "/dev/video12": "/dev/video12",
        BY_ID: BY_ID,  # missing or not: it may be plugged in later
        BY_PATH: BY_PATH,
    }
    assert {uri: str(camera_device(uri)) for uri in devices} == devices
    for other in ("picamera2", "video0", "/dev/video", "/dev/v4l/by-id/", "/dev/null", "/dev/v4l/by-id/../x", "demo"):
        assert camera_device(other) is None, other


@given(st.text(max_size=40))
def test_camera_device_accepts_any_text(text: str) -> None:
    device = camera_device(text)
    assert device is None or str(device).startswith("/dev/")


def test_udev_links_give_short_stable_names() -> None:
    named = {
        BY_ID: "046d_HD_Pro_Webcam_C920_1A2B",
        BY_PATH: "platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.3:1.0",
        "2": "video2",
    }
    assert dict(zip(named, source_names(list(named)), strict=True)) == named


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_structures_match_the_kernels(tmp_path: Path) -> None:
    names = {
        "Capability": "v4l2_capability",
        "FormatDescription": "v4l2_fmtdesc",
        "Format": "v4l2_format",
        "RequestBuffers": "v4l2_requestbuffers",
        "Buffer": "v4l2_buffer",
        "StreamParameters": "v4l2_streamparm",
        "Control": "v4l2_control",
    }
    requests = ("QUERYCAP", "ENUM_FMT", "G_FMT", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF")
    requests += ("STREAMON", "STREAMOFF", "G_PARM", "S_PARM", "S_CTRL")
    places = {
        ("Capability", "device_caps"): "struct v4l2_capability, device_caps",
        ("FormatDescription", "pixelformat"): "struct v4l2_fmtdesc, pixelformat",
        ("Format", "width"): "struct v4l2_format, fmt.pix.width",
        ("Format", "bytesperline"): "struct v4l2_format, fmt.pix.bytesperline",
        ("Buffer", "seconds"): "struct v4l2_buffer, timestamp.tv_sec",
        ("Buffer", "offset"): "struct v4l2_buffer, m.offset",
        ("Buffer", "length"): "struct v4l2_buffer, length",
        ("StreamParameters", "denominator"): "struct v4l2_streamparm, parm.capture.timeperframe.denominator",
    }
    printed = [f"sizeof(struct {name})" for name in names.values()]
    printed += [f"(unsigned long)VIDIOC_{name}" for name in requests]
    printed += [f"offsetof({place})" for place in places.values()]
    lines = "".join(f'printf("%lu\\n", {value});' for value in printed)
    source = tmp_path / "sizes.c"
    source.write_text(f"#include <linux/videodev2.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(){{{lines}}}\n")
    compiled = subprocess.run(["cc", source, "-o", tmp_path / "sizes"], capture_output=True, text=True, check=False)
    if "videodev2.h" in compiled.stderr:
        pytest.skip("the kernel's headers are not here")
    assert compiled.returncode == 0, compiled.stderr
    kernels = [int(line) for line in subprocess.check_output([tmp_path / "sizes"]).split()]
    ours = [ctypes.sizeof(getattr(structs, name)) for name in names]
    ours += [getattr(structs, name) for name in requests]
    ours += [getattr(getattr(structs, name), member).offset for name, member in places]
    assert ours == kernels


@given(st.text("ABCDEFGHYUVMJPG0123456789", min_size=1, max_size=4), st.booleans())
def test_fourcc_names_and_codes_are_inverse(letters: str, big_endian: bool) -> None:
    name = letters + "-BE" * big_endian
    assert structs.fourcc_name(structs.fourcc_code(name)) == name


# Which devices are cameras


def capability(driver: str, model: str, powers: int) -> structs.Capability:
    whole = 0xFFFF_FFFF  # the capabilities of all nodes of the driver
    return structs.Capability(driver.encode(), model.encode(), b"usb-1", 0, whole, powers)


DEVICES = {
    "video0": capability("uvcvideo", "HD Pro Webcam C920", 0x0420_0001),
    "video1": capability("uvcvideo", "HD Pro Webcam C920", 0x04A0_0000),  # its metadata node
    "video2": capability("uvcvideo", "Other Camera", 0x0420_0001),
    "video10": capability("bcm2835-codec", "bcm2835-codec-decode", 0x0400_4000),
    "video13": capability("bcm2835-isp", "bcm2835-isp", 0x0420_0001),
    "video14": capability("unicam", "unicam", 0x0420_0001),
    "video20": capability("rockchip", "with planes", 0x0420_1000),
}


def test_cameras_and_their_stable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = tmp_path / "dev"
    for kind in ("by-id", "by-path"):
        (devices / "v4l" / kind).mkdir(parents=True)
    for name in (*DEVICES, "video3"):
        (devices / name).write_bytes(b"")
    index = "video-index"
    for node, link in ((0, f"usb-C920-{index}0"), (1, f"usb-C920-{index}1")):
        (devices / "v4l/by-id" / link).symlink_to(f"../../video{node}")
    for node in (0, 2):
        (devices / f"v4l/by-path/pci-usb-0:{node}-{index}0").symlink_to(f"../../video{node}")
    (devices / f"v4l/by-path/pci-usb-0:9-{index}0").symlink_to("../../video9")  # one that was removed
    assert list_cameras(tmp_path) == []  # queried for real: these are files
    monkeypatch.setattr(devices_module, "query_capabilities", lambda node: DEVICES.get(node.name))
    found = list_cameras(tmp_path)
    assert [(camera.node, camera.model, camera.stable_name) for camera in found] == [
        ("/dev/video0", "HD Pro Webcam C920", f"/dev/v4l/by-id/usb-C920-{index}0"),
        ("/dev/video2", "Other Camera", f"/dev/v4l/by-path/pci-usb-0:2-{index}0"),
        ("/dev/video20", "with planes", "/dev/video20"),
    ]


# Opening


def test_a_failed_opening_names_the_device_in_one_line(tmp_path: Path) -> None:
    said = {
        BY_ID: "camera not found",
        "/dev/null": "not a camera",
        str(tmp_path): "cannot be opened: Is a directory",
    }
    for name, words in said.items():
        with pytest.raises(SourceLostError, match=words) as raised:
            open_v4l2(Path(name), SETTINGS, "cam")
        assert str(raised.value).startswith(name) and "\n" not in str(raised.value)
    link = tmp_path / "camera"
    link.symlink_to("/dev/null")
    with pytest.raises(SourceLostError, match=r"camera \(null\): not a camera"):
        open_v4l2(link, SETTINGS, "cam")


def test_a_link_is_resolved_at_each_opening(tmp_path: Path) -> None:
    link = tmp_path / "usb-C920-video-index0"
    said = []
    for target in ("video97", "video98"):
        link.unlink(missing_ok=True)
        link.symlink_to(f"/dev/{target}")
        with pytest.raises(SourceLostError) as raised:
            open_v4l2(link, SETTINGS, "cam")
        said.append(str(raised.value))
    assert "(video97)" in said[0] and "(video98)" in said[1]


def used() -> tuple[int, int, float]:
    """Return open descriptors, threads, and MiB resident."""
    for thread in threading.enumerate():
        if thread.name.startswith("open "):  # the thread has its result and is about to end
            thread.join(30)
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count(), resident_mib()


def fail_repeatedly(opening: Opening, times: int) -> None:
    """Let ``opening`` fail ``times`` times, like a camera that is missing."""
    stop = threading.Event()
    for number in range(times):
        if number:
            opening.again()
        with pytest.raises(SourceLostError):
            opening.wait(stop)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["absent", "not a camera"])
def test_ten_thousand_failed_openings_leak_nothing(where: str, tmp_path: Path) -> None:
    """Open as the daemon does: one thread per attempt, through all layers around the device."""
    if where == "absent":
        (opening,) = open_sources([NamedSource("away", "/dev/v4l/by-id/usb-away-video-index0", SETTINGS)])
    else:
        link = tmp_path / "camera"
        link.symlink_to("/dev/null")
        opening = Opening("cam", Unopened(partial(open_v4l2, link, SETTINGS, "cam")))
    fail_repeatedly(opening, 500)
    before = used()
    fail_repeatedly(opening, 10_000)
    after = used()
    opening.close()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 1.0, (before, after)


def test_open_source_names_the_missing_camera() -> None:
    with pytest.raises(SourceLostError, match="camera not found"):
        open_source(BY_ID)


# A driver that fails while it streams

WIDTH, HEIGHT = 32, 16


class FakeDriver:
    """Implements the ioctls of a YUYV camera whose memory is a file; rows are longer than the picture's.

    ``bytes_used`` and ``flags`` are the values that it reports for each buffer, and ``takes_back`` is whether a buffer
    can be returned while it streams.
    """

    def __init__(self, folder: Path) -> None:
        self.node = folder / "video0"
        self.stride = 2 * WIDTH + 32
        self.size = -(-self.stride * HEIGHT // 4096) * 4096
        self.node.write_bytes(bytes(4 * self.size))
        self.bytes_used, self.flags, self.takes_back = self.stride * HEIGHT, 0, True
        self.driver, self.format = b"uvcvideo", "YUYV"
        self.queued: list[int] = []
        self.streaming = False

    def ioctl(self, descriptor: int, request: int, argument: ctypes.Structure) -> int:
        """Replace fcntl.ioctl."""
        if isinstance(argument, structs.Capability):
            argument.driver, argument.capabilities = self.driver, structs.CAN_CAPTURE | structs.CAN_STREAM
        elif isinstance(argument, structs.FormatDescription):
            if argument.index:
                raise OSError(errno.EINVAL, "no more")
            argument.pixelformat = structs.fourcc_code(self.format)
        elif isinstance(argument, structs.Format):
            argument.pixelformat = structs.fourcc_code(self.format)
            argument.width, argument.height, argument.bytesperline = WIDTH, HEIGHT, self.stride
        elif isinstance(argument, structs.StreamParameters):
            argument.numerator, argument.denominator = 1, 30
        elif request in (structs.STREAMON, structs.STREAMOFF):
            self.streaming = request == structs.STREAMON
        elif isinstance(argument, structs.Buffer):
            self._buffer(request, argument)
        return 0

    def _buffer(self, request: int, buffer: structs.Buffer) -> None:
        if request == structs.QUERYBUF:
            buffer.length, buffer.offset = self.size, buffer.index * self.size
        elif request == structs.QBUF:
            if self.streaming and not self.takes_back:
                raise OSError(errno.ENODEV, "No such device")
            self.queued.append(buffer.index)
        elif not self.queued:
            raise BlockingIOError(errno.EAGAIN, "nothing yet")
        else:
            buffer.index, buffer.bytesused, buffer.flags = self.queued.pop(0), self.bytes_used, self.flags


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver(tmp_path)
    monkeypatch.setattr(fcntl, "ioctl", fake.ioctl)
    return fake


def opened_descriptors(path: Path) -> int:
    return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()].count(path)


def mappings(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path))


def test_frames_have_no_padding_and_every_buffer_is_returned(driver: FakeDriver) -> None:
    with driver.node.open("r+b") as memory:
        memory.write(bytes(range(driver.stride)) * HEIGHT)
    with open_v4l2(driver.node, SETTINGS, "cam") as source:
        for number in range(12):
            frame = source.read(1.0)
            assert isinstance(frame, Frame) and frame.index == number
            assert sorted(driver.queued) == [0, 1, 2, 3]
            if number % 4 == 0:  # the first buffer, filled above
                assert np.array_equal(frame.gray, np.tile(np.arange(0, 2 * WIDTH, 2), (HEIGHT, 1)))
    assert (opened_descriptors(driver.node), mappings(driver.node), driver.streaming) == (0, 0, False)


@pytest.mark.parametrize("failure", ["flagged", "short", "gone"])
def test_a_camera_lost_while_a_buffer_is_in_use_is_closed(driver: FakeDriver, failure: str) -> None:
    """The error must not reference the buffer, or the device would stay open and busy."""
    words = {"flagged": "the driver marked as damaged", "short": "64 bytes, expected", "gone": "the camera is gone"}
    source = open_v4l2(driver.node, SETTINGS, "cam")
    assert isinstance(source.read(1.0), Frame)
    driver.flags = structs.BUFFER_ERROR if failure == "flagged" else 0
    driver.bytes_used = 64 if failure == "short" else driver.bytes_used
    driver.takes_back = failure != "gone"
    with pytest.raises(SourceLostError, match=words[failure]) as raised, source:
        for _ in range(100):
            assert source.read(1.0) is NoFrame.NOT_YET
    assert raised.value.__traceback__ is not None  # the traceback exists, with the variables that it references
    assert source.dropped == (0 if failure == "gone" else 30)
    assert (opened_descriptors(driver.node), mappings(driver.node), driver.streaming) == (0, 0, False)


@pytest.mark.parametrize("settings", [SETTINGS, SourceSettings(fourcc="YUYV")])
def test_the_node_of_a_raspberry_pi_camera_suggests_picamera2(driver: FakeDriver, settings: SourceSettings) -> None:
    driver.driver, driver.format = b"unicam", "pBAA"
    error = SourceLostError if settings.fourcc == "auto" else InputError
    with pytest.raises(error, match=r'pBAA.*; a Raspberry Pi camera \(unicam\) is the source "picamera2"'):
        open_v4l2(driver.node, settings, "cam")
    assert opened_descriptors(driver.node) == 0


# Pictures from OpenCV


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_picture_from_opencv_has_the_negotiated_size(width: int, height: int) -> None:
    coloured = np.zeros((height, width, 3), np.uint8)
    gray: UInt8Array = coloured[:, :, 0]
    assert reshape_picture(coloured, width, height) is coloured
    good = reshape_picture(gray, width, height)
    assert good is not None and good.shape == (height, width)
    as_row = reshape_picture(coloured.reshape(1, -1), width, height)  # OpenCV 4.11, BGR3
    assert as_row is not None and as_row.shape in ((height, width, 3), (1, width * 3))
    assert reshape_picture(np.zeros((height, width, 2), np.uint8), width, height) is None
    assert reshape_picture(coloured.astype(np.float32), width, height) is None
    assert reshape_picture(np.zeros((height + 1, width, 3), np.uint8), width, height) is None
    assert reshape_picture(np.zeros((1, height * width * 3 + 1), np.uint8), width, height) is None


def test_the_byte_row_of_opencv_4_11_becomes_a_picture() -> None:
    row = np.arange(480 * 640 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, -1)
    picture = reshape_picture(row, 640, 480)
    assert picture is not None and picture.shape == (480, 640, 3)
    assert np.array_equal(picture.reshape(1, -1), row)
