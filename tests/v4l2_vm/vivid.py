"""Cameras of vivid, the kernel's virtual video driver, that show the video, for programs in the virtual machine.

Each camera is an HDMI input that vivid connects to its own HDMI output, to which the video is written. Both must have
the same pixel format; otherwise the camera shows noise.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from v4l2_vm.checks import wait_for
from v4l2_vm.film import HEIGHT, WIDTH, film, widened
from v4l2_vm.video import Film, set_control, set_vga_timings

_BASE = 0x00F0_F000
LOOP_VIDEO, PERCENT_DROPPED, DISCONNECT = _BASE + 37, _BASE + 64, _BASE + 65
"""Controls: connection of output and input; percentage of dropped buffers; unplug the device (set to 1)."""
_FIRST_OUTPUT = 10
_HALF = 50
"""Percentage of HDMI frames that is dropped initially: 30 a second remain, like from a camera."""
_CAPTURE_AND_OUTPUT, _HDMI_INPUT, _HDMI_OUTPUT = "0x101", "3", "1"


@dataclass(frozen=True, slots=True)
class VividCamera:
    """``device`` is the camera, ``output`` the device to which the video is written."""

    device: Path
    output: Path

    def drop(self, percent: int) -> None:
        """Let the driver drop ``percent`` of its frames from now on."""
        set_control(self.device, PERCENT_DROPPED, percent)

    def disconnect(self) -> None:
        """Unplug the camera: the device answers ENODEV from now on. ``reload_vivid`` plugs it in again."""
        set_control(self.device, DISCONNECT, 1)


def load_vivid(cameras: int = 1, *, wide: bool = False) -> list[VividCamera]:
    """Load the module with ``cameras`` cameras, /dev/video0 and on, and connect their outputs to them.

    They have 640 x 480 pixels, or with ``wide`` 1280 x 720 regardless of the requested size.
    """
    each = {
        "node_types": _CAPTURE_AND_OUTPUT,
        "num_inputs": "1",
        "input_types": _HDMI_INPUT,
        "num_outputs": "1",
        "output_types": _HDMI_OUTPUT,
        # No cropping, composing or scaling: a camera with one size.
        "ccs_cap_mode": "0",
        "ccs_out_mode": "0",
    }
    numbers = {"vid_cap_nr": 0, "vid_out_nr": _FIRST_OUTPUT}
    words = [f"n_devs={cameras}"]
    words += [f"{name}={','.join([value] * cameras)}" for name, value in each.items()]
    words += [f"{name}={','.join(str(at + index) for index in range(cameras))}" for name, at in numbers.items()]
    found = [
        VividCamera(Path(f"/dev/video{index}"), Path(f"/dev/video{_FIRST_OUTPUT + index}")) for index in range(cameras)
    ]
    # A daemon that waits for the camera would open it before it is set up, and vivid then rejects other timings.
    with _fer_edge_stopped():
        subprocess.run(["modprobe", "vivid", *words], check=True)
        for camera in found:
            if not wide:  # otherwise vivid's initial format
                set_vga_timings(camera.device)
                set_vga_timings(camera.output)
            set_control(camera.device, LOOP_VIDEO, 1)
            camera.drop(_HALF)
    return found


@contextlib.contextmanager
def _fer_edge_stopped() -> Iterator[None]:
    """Stop each ``python -m fer_edge`` and ``…/bin/fer-edge`` process (SIGSTOP) during the block."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
            if b"fer_edge" in words or any(word.endswith(b"/bin/fer-edge") for word in words):
                os.kill(int(folder.name), signal.SIGSTOP)
                found.append(int(folder.name))
    try:
        yield
    finally:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def unload_vivid() -> None:
    """Remove the module once no program has a camera open, as if the cameras were unplugged permanently.

    vivid plugs a disconnected camera in again when its last user closes it, so a daemon that tries again may have it
    open: it is disconnected again, and removed while no daemon runs.
    """

    def removed() -> bool:
        with _fer_edge_stopped():
            if subprocess.run(["modprobe", "-r", "vivid"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
                return True
            for index in range(_FIRST_OUTPUT):
                with contextlib.suppress(OSError):
                    set_control(Path(f"/dev/video{index}"), DISCONNECT, 1)
            return False

    wait_for(removed, "the cameras to be closed")


@contextlib.contextmanager
def showing(camera: VividCamera, fourcc: str = "YUYV", *, wide: bool = False) -> Iterator[VividCamera]:
    """Let ``camera`` show the video during the block; it must be captured in the format ``fourcc``.

    vivid is loaded with YUYV. ``wide`` is as for ``load_vivid``.
    """
    frames, size = film(fourcc), (WIDTH, HEIGHT)
    if wide:
        frames, size = [widened(frame) for frame in frames], (1280, 720)
    with Film(camera.output, frames, fourcc, size):
        yield camera
