"""A USB camera: plugged in while fer-edge waits for it, unplugged, and plugged in again, in both of its formats."""

from __future__ import annotations

import time
from pathlib import Path

from v4l2_vm.checks import ensure, seen, wait_for, watching
from v4l2_vm.usb_camera import UsbCamera

DEVICE = Path("/dev/video0")
SETTINGS = f"""\
[source]
uris = ["{DEVICE}"]
timeout_s = 10.0
[recovery]
reconnect = true
retry_min_s = 1.0
retry_max_s = 1.0
"""

camera = UsbCamera()
with watching(settings=SETTINGS) as run:
    lost = run.wait_for_event("source_lost")
    device = camera.plug_in()
    ensure(device == DEVICE, f"the camera is {device}")
    back = run.wait_for_event("source_back", after=lost)
    first = run.wait_for_event("appeared", after=back)
    seen(f"plugged in while waited for: source_back, {run.events()[first - 1]['emotion']}")
    pulled = time.monotonic()
    camera.pull_out()
    lost = run.wait_for_event("source_lost", after=first)
    seen(f"pulled out: source_lost after {time.monotonic() - pulled:.1f} s")
    wait_for(lambda: not DEVICE.exists(), f"{DEVICE} to go")
    # Half of all cameras offer only one format.
    camera = UsbCamera({"MJPG": [(640, 480)]})
    ensure(camera.plug_in() == DEVICE, "it came back under another name")
    back = run.wait_for_event("source_back", after=lost)
    again = run.wait_for_event("appeared", after=back)
    seen(f"plugged in again, with MJPG alone: source_back, {run.events()[again - 1]['emotion']}")
    camera.pull_out()
