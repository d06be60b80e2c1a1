"""The light goes out and on again in front of a camera with a stable name, which then returns as another device.

In the dark the camera stays open at low cost, and nothing is reported lost. After the replug its udev link points to
another /dev/videoN, and the camera is found there.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from pathlib import Path

from v4l2_vm.checks import ensure, seen, wait_for, watching
from v4l2_vm.film import HEIGHT, WIDTH, encode
from v4l2_vm.video import Film, set_control
from v4l2_vm.vivid import load_vivid, showing, unload_vivid

LINK = Path("/dev/v4l/by-id/usb-FER_Edge_Test_Camera_1-video-index0")
FORMAT = "YUYV"
SETTINGS = f"""
[source]
fourcc = "{FORMAT}"
[recovery]
reconnect = true
retry_min_s = 0.5
retry_max_s = 1.0
dark_after_s = 5.0
"""
MEASURED_S = 20.0
OSD_TEXT_MODE, NO_TEXT = 0x00F0_F001, 2
"""Turns off vivid's text in the pictures, whose letters would count as light."""


def main() -> None:
    """Run one process through all of it."""
    notified = listen()
    (camera,) = load_vivid()
    camera.drop(75)
    set_control(camera.device, OSD_TEXT_MODE, NO_TEXT)
    LINK.parent.mkdir(parents=True)
    LINK.symlink_to("../../video0")
    with watching(str(LINK), "--log-level", "info", settings=SETTINGS) as run:
        with showing(camera, FORMAT):
            number = run.wait_for_event("appeared")
            lit = cpu_share(run.process.pid)
        with Film(camera.output, night(), FORMAT, (WIDTH, HEIGHT)):
            number = run.wait_for_event("left", after=number)
            wait_for(lambda: any(" dark" in told for told in notified), "the state dark")
            dark = cpu_share(run.process.pid)
        with showing(camera, FORMAT):
            number = run.wait_for_event("appeared", after=number)
        kinds = [event["kind"] for event in run.events()]
        ensure("source_lost" not in kinds, f"lost: {kinds}")
        seen(f"night: {next(told for told in notified if ' dark' in told)}; nothing lost")
        seen(f"CPU of the process: {lit:.0%} of a core with a face in sight, {dark:.0%} in the dark")
        ensure(dark < 0.7 * lit, "the dark costs as much as the light")
        camera.disconnect()
        number = run.wait_for_event("source_lost", after=number)
        seen(f"unplugged: {run.events()[number - 1]['reason']}")
        unload_vivid()
        _, other = load_vivid(2)
        LINK.unlink()
        LINK.symlink_to("../../video1")
        with showing(other, FORMAT):
            number = run.wait_for_event("source_back", after=number)
            run.wait_for_event("appeared", after=number)
        seen("plugged in again as /dev/video1: found by its stable name, faces again")


def night() -> list[bytes]:
    """Return frames with sensor noise near limited-range black."""
    source = random.Random(1)
    return [encode(bytes(source.choices(range(14, 19), k=WIDTH * HEIGHT)), FORMAT) for _ in range(4)]


def cpu_share(pid: int) -> float:
    """Return the share of one core that a process uses over some seconds."""

    def ticks() -> int:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])

    before = ticks()
    threading.Event().wait(MEASURED_S)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / MEASURED_S


def listen() -> list[str]:
    """Replace the service manager; fer-edge's notifications are appended to the list."""
    told: list[str] = []
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("/tmp/notify")
    os.environ["NOTIFY_SOCKET"] = "/tmp/notify"

    def read() -> None:
        while True:
            told.extend(listener.recv(4096).decode().splitlines())

    threading.Thread(target=read, daemon=True).start()
    return told


if __name__ == "__main__":
    main()
