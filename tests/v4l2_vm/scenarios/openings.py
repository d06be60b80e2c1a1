"""A camera that cannot be opened for long: busy, then unplugged. No descriptor, thread or memory is leaked.

In between it is opened and closed successfully. Opening a missing device or one that is not a camera is tested outside
the machine, 10,000 times each (tests/edge/sources/v4l2/test_devices.py). The scenario also shows what doctor reports.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import subprocess
import threading
from collections import Counter
from pathlib import Path

from fer_edge.doctor.cameras import check_cameras
from fer_edge.doctor.checks import Context, Verdict
from fer_edge.errors import SourceLostError
from fer_edge.protocols import NoFrame
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.source import SourceSettings
from fer_edge.sources import NamedSource, open_source, open_sources
from fer_edge.sources.v4l2.capture import Capture
from fer_edge.system.process_memory import resident_mib
from fer_edge.types import Frame
from v4l2_vm.checks import ensure, seen
from v4l2_vm.vivid import VividCamera, load_vivid, unload_vivid

FAILED, OPENED = 2000, 300
WARM_UP = 50
MAX_GROWTH_MIB = 1.0


def main() -> None:
    """Run all three parts."""
    (camera,) = load_vivid()
    show_doctor(camera)
    with Capture(camera.device, "the other program") as other:
        other.set_format("YUYV", 640, 480)
        other.start()
        fail(camera, "busy")
    open_and_close(camera)
    with Capture(camera.device, "the other program"):  # the driver stays until its last user closes it
        camera.disconnect()
        fail(camera, "unplugged")
    unload_vivid()
    read_planes()


def read_planes() -> None:
    """Read a multi-planar device through OpenCV; the picture has the negotiated size."""
    subprocess.run(["modprobe", "vivid", "node_types=0x1", "multiplanar=2", "vid_cap_nr=0"], check=True)
    with open_source("/dev/video0") as source:
        frame = source.read(60.0)
    ensure(isinstance(frame, Frame), "no frame from a device with several planes")
    assert isinstance(frame, Frame)
    seen(f"a device with several planes: {frame.width}x{frame.height}, mean {frame.gray.mean():.0f}")
    ensure((frame.width, frame.height) == (640, 480), "another size than OpenCV asks for")


def show_doctor(camera: VividCamera) -> None:
    """Check that doctor lists the camera by its stable name (a udev link), and rejects its output node."""
    link = Path("/dev/v4l/by-id/usb-FER_Edge_Test_Camera_1-video-index0")
    link.parent.mkdir(parents=True)
    link.symlink_to(camera.device)
    named = check_cameras(Context(RuntimeSettings(source=SourceSettings(uris=(str(link),)))))
    seen(f"doctor: {named.verdict}: {named.seen}")
    ensure(named.verdict is Verdict.OK and f"in the settings: {link}" in named.seen, "doctor does not list it")
    wrong = check_cameras(Context(RuntimeSettings(source=SourceSettings(uris=(str(camera.output),)))))
    seen(f"doctor: {wrong.verdict}: {wrong.seen} -> {wrong.fix}")
    ensure(wrong.verdict is Verdict.BAD and "not a capture device" in wrong.seen, "doctor takes an output for a camera")
    try:
        open_source(str(camera.output))
    except SourceLostError as error:
        seen(str(error))
    else:
        raise SystemExit("failed: an output was opened as a camera")


def fail(camera: VividCamera, why: str) -> None:
    """Let openings fail like in the daemon, each in its own thread."""
    (opening,) = open_sources([NamedSource("camera", str(camera.device), SourceSettings())])
    stop, said = threading.Event(), Counter[str]()
    before = (0, 0, 0.0)
    for number in range(WARM_UP + FAILED):
        if number == WARM_UP:
            before = used()
        try:
            opening.wait(stop)
            raise SystemExit(f"failed: {why}, and it opened")
        except SourceLostError as error:
            said[str(error)] += 1
        opening.again()
    with contextlib.suppress(SourceLostError):
        opening.wait(stop)
    compare(before, f"{FAILED} openings of a camera that is {why}")
    seen(f"{why}: {said.most_common(1)[0][0]}")
    ensure(len(said) == 1, f"{why}: other messages: {said}")


def open_and_close(camera: VividCamera) -> None:
    """Open, read a frame and close, in two halves: an allocator's cache grows once, a leak in both."""
    samples = []
    for number in range(WARM_UP + OPENED + 1):
        if number in (WARM_UP, WARM_UP + OPENED // 2, WARM_UP + OPENED):
            samples.append(used())
        with open_source(str(camera.device)) as source:
            ensure(source.read(20.0) is not NoFrame.NOT_YET, "no frame")
    seen(f"{OPENED} openings that gave a frame: descriptors, threads, MiB: {samples}")
    ensure(len({sample[:2] for sample in samples}) == 1, "descriptors or threads")
    growth = [later[2] - sooner[2] for sooner, later in itertools.pairwise(samples)]
    ensure(min(growth) < MAX_GROWTH_MIB, f"memory grew by {growth} MiB")


def used() -> tuple[int, int, float]:
    """Return open descriptors, threads, and MiB resident."""
    for thread in threading.enumerate():
        if thread.name.startswith("open "):  # the thread has its result and is about to end
            thread.join(30)
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count(), resident_mib()


def compare(before: tuple[int, int, float], what: str) -> None:
    """Print and check the resources used now and before."""
    after = used()
    line = f"{what}: {before[0]} descriptors, {before[1]} threads, {before[2]:.1f} MiB before; "
    seen(line + f"{after[0]}, {after[1]}, {after[2]:.1f} MiB after")
    ensure(after[:2] == before[:2] and after[2] - before[2] < MAX_GROWTH_MIB, what)


if __name__ == "__main__":
    main()
