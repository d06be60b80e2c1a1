"""The service under systemd with its full hardening: a camera that appears after a minute, the clock, the firmware.

Everything is as `fer-edge service install` sets it up; udev gives the devices to group video, as on a Pi.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from v4l2_vm import hardening
from v4l2_vm.checks import ensure, seen, wait_for
from v4l2_vm.firmware import firmware_device
from v4l2_vm.vivid import load_vivid, showing

UNIT, PROBE = "fer-edge.service", "fer-edge-probe.service"
EVENTS = Path("/var/lib/fer-edge/events.jsonl")
MODULES = Path("/etc/modules-load.d/fer-edge.conf")
LATE_S = float(sys.argv[1]) if sys.argv[1:] else 60.0
"""Seconds for which the service runs before a V4L2 driver is loaded."""
CONFIG = Path("/etc/fer-edge/config.toml")
SETTINGS = f"""\
[source]
uris = ["/dev/video0"]
[recovery]
reconnect = true
retry_min_s = 1.0
retry_max_s = 2.0
[output]
events = "{EVENTS}"
"""
FLAGS, GET_GENCMD_RESULT = 0x50005, 0x0003_0080
_ADJ_STATUS_AND_ERRORS, _SYNCHRONIZED = 0x0010 | 0x0004 | 0x0008, 0


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    ensure(done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def show(name: str) -> str:
    return run("systemctl", "show", UNIT, "--value", f"--property={name}").strip()


def events() -> list[dict[str, Any]]:
    if not EVENTS.exists():
        return []
    return [json.loads(line) for line in EVENTS.read_text().splitlines(keepends=True) if line.endswith("\n")]


def wait_for_event(kind: str, after: int = 0) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        return next((event for event in events()[after:] if event["kind"] == kind), None)

    try:
        return wait_for(look, f"an event {kind!r}")
    except SystemExit:
        sys.stdout.write(run("journalctl", f"--unit={UNIT}", "--no-pager", "--output=cat")[-3000:])
        raise


def registered() -> set[str]:
    """Return the driver names that systemd looks up when a unit starts."""
    return set(re.findall(r"^ *\d+ (\S+)$", Path("/proc/devices").read_text(), flags=re.MULTILINE))


def synchronize_clock() -> None:
    """Mark the kernel's clock as synchronized, like a time service: ``struct timex`` starts with the modes."""
    timex = ctypes.create_string_buffer(512)
    ctypes.c_uint.from_buffer(timex).value = _ADJ_STATUS_AND_ERRORS
    ctypes.c_int.from_buffer(timex, 40).value = _SYNCHRONIZED
    ensure(ctypes.CDLL(None).adjtimex(timex) == 0, "the kernel does not hold its clock for synchronized")


def install() -> None:
    CONFIG.parent.mkdir(parents=True)
    CONFIG.write_text(SETTINGS)
    CONFIG.chmod(0o644)
    said = run("fer-edge", "service", "install")
    ensure(f"write {MODULES}" in said, said)
    wait_for(lambda: show("ActiveState") == "active", "the service to be active")
    ensure(
        {"video4linux", "media"} <= registered(), f"after the installation /proc/devices lacks media: {registered()}"
    )
    seen("installed; mc and videodev are loaded")


def a_late_camera() -> None:
    run("systemctl", "stop", UNIT)
    run("modprobe", "-r", "videodev", "mc")
    ensure(not {"video4linux", "media"} & registered(), "modules of cameras are still loaded")
    pi = firmware_device(FLAGS, text_only=True)
    run("systemctl", "start", UNIT)
    started = time.monotonic()
    wait_for(lambda: "lost" in show("StatusText"), "a STATUS that says that the camera is lost")
    pid = show("MainPID")
    time.sleep(max(0.0, started + LATE_S - time.monotonic()))
    before = len(events())
    (camera,) = load_vivid()
    run("udevadm", "settle")
    with showing(camera):
        first = wait_for_event("appeared", before)
        seen(f"started without any V4L2 module; camera after {time.monotonic() - started:.0f} s: {first['emotion']}")
        wait_for(lambda: pi.asked, "the service to ask the firmware")
        ensure(set(pi.asked) == {GET_GENCMD_RESULT}, f"the firmware was asked for {[hex(tag) for tag in pi.asked]}")
        seen("/dev/vcio_gencmd is asked, with text commands alone")
        ensure(first["clock_synced"] is False, f"the clock is not synchronized here, and the event says: {first}")
        synchronize_clock()
        before = len(events())
    left = wait_for_event("left", before)  # the video has ended
    ensure(left["clock_synced"] is True, f"the clock is synchronized now, and the event says: {left}")
    seen("clock_synced: false, and true once the kernel's clock is synchronized")
    ensure((show("MainPID"), show("NRestarts")) == (pid, "0"), "the service was started again")


def what_the_hardening_allows() -> None:
    wanted = {
        "read the clock's state": "done",
        **dict.fromkeys(("adjtimex sets", "clock_adjtime sets", "clock_settime", "settimeofday"), "EPERM"),
        **{
            "/dev/video0": "done",
            "/dev/media0": "done",
            "/dev/vcio_gencmd": "done",
            "/dev/rtc0": "EPERM",
            "/dev/ttyS0": "EPERM",
        },
    }
    devices = [name for name in wanted if name.startswith("/dev/")]
    for device in devices:
        ensure(Path(device).is_char_device(), f"no {device} in the machine")
        # World-writable, so that only the unit's own rules can refuse access.
        Path(device).chmod(0o666)
    unit = Path(f"/etc/systemd/system/{UNIT}").read_text()
    command = " ".join([sys.executable, hardening.__file__, *devices])
    unit = re.sub(r"^ExecStart=.*$", f"ExecStart={command}", unit, flags=re.MULTILINE)
    unit = re.sub(r"^Type=notify$", "Type=oneshot", unit, flags=re.MULTILINE)
    unit = re.sub(r"^(Restart|NotifyAccess|WatchdogSec)=.*$", "", unit, flags=re.MULTILINE)
    Path(f"/etc/systemd/system/{PROBE}").write_text(unit)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", PROBE)

    def look() -> dict[str, str] | None:
        said = run("journalctl", f"--unit={PROBE}", "--no-pager", "--output=cat")
        return next((json.loads(line) for line in said.splitlines() if line.startswith("{")), None)

    answer = wait_for(look, "the probe's answer in the journal")  # the journal may be later than the probe's end
    ensure(answer == wanted, f"wanted {wanted}, got {answer}")
    seen(f"under the unit's hardening: {answer}")


def doctor() -> None:
    # As root: outside the unit the service's user may not access an environment in a home folder.
    asked = ["fer-edge", "doctor", "--json", "--config", str(CONFIG)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    ensure(done.stdout.startswith("{"), f"doctor: exit {done.returncode}: {done.stderr}")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name, verdict in {"unit": "ok", "clock": "ok", "sources": "ok", "throttling": "bad"}.items():
        ensure(found[name]["verdict"] == verdict, f"doctor on {name}: {found[name]}")
        seen(f"doctor, {name}: {found[name]['seen']}")

    said = found["throttling"]["seen"]
    ensure("under-voltage" in said and "throttled" in said, said)


def remove() -> None:
    run("fer-edge", "service", "remove")
    ensure(not MODULES.exists() and CONFIG.exists(), "what is left is not what should be")
    seen("removed, and modules-load.d/fer-edge.conf with it")


install()
a_late_camera()
what_the_hardening_allows()
doctor()
remove()
