"""``fer-edge doctor --report``: checks and measurements of a device as JSON.

The report contains no secrets or personal data; see ``anonymizer``. Its schema is ``schema/report.schema.json``.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer_edge.doctor.anonymizer import Anonymizer, changed_settings
from fer_edge.doctor.checks import Context, Finding, Verdict, memory_mib, package_version, read_text
from fer_edge.doctor.measure import measure
from fer_edge.settings.runtime import RuntimeSettings

FORMAT = 1
_PACKAGES = (
    *("numpy", "opencv-python-headless", "ai-edge-litert", "tflite-runtime", "msgspec", "picamera2", "simplejpeg"),
    *("paho-mqtt", "waitress", "prometheus-client"),
)
"""Python packages whose versions are reported if installed."""
_DEBIAN = (
    *("libcamera*", "python3-libcamera", "python3-picamera2", "python3-simplejpeg", "rpicam-apps*", "cloud-init"),
    *("raspberrypi-sys-mods", "raspi-firmware", "rpi-preseed*", "linux-image-rpi-*", "systemd", "network-manager"),
)
"""Debian packages whose versions are reported; the names are dpkg-query's patterns."""
_DEVICES = ("vcio", "vcio_gencmd", "video*", "media*", "v4l-subdev*", "dma_heap/*", "dri/*", "udmabuf")
"""Devices of cameras and firmware in /dev."""
_MAX_DEVICES = 80
_MAX_CAMERAS = 4
_CUSTOM_MODEL = re.compile(r"^(?!fer-edge-x?s \S+,).* (?=\S+, \w+, sha256 )")
"""Matches the name of a model other than ours in the finding of the check ``model``; it may be personal."""
_STATUS_TEXT = re.compile(r": (?:(\d+ of \d+ sources? watched)|.)*?(?=(?:, restarted \d+ times)?$)")
"""Matches the status text in the finding of the check ``unit``, which may name sources; their number is kept."""


def make_report(context: Context, found: Mapping[str, Finding], deadline_s: float) -> dict[str, Any]:
    """Measure cameras and model and return the report; takes up to half a minute.

    Each measurement may take ``deadline_s`` seconds, that of a camera 30 s longer.
    """
    packages = _packages()
    listed = measure("cameras", context.settings, deadline_s)
    cameras = [
        camera | measure("camera", context.settings, deadline_s + 30, camera["source"])
        for camera in _cameras(context.settings, listed)[:_MAX_CAMERAS]
    ]
    timed = measure("model", context.settings, deadline_s)
    known = [*packages["python"].values(), *packages["debian"].values(), platform.release()]
    anonymous = Anonymizer(context.settings, context.root, known, context.config)
    checks = [
        {
            "name": name,
            "verdict": finding.verdict.value,
            "seen": anonymous(_publishable(name, finding, context.settings)),
            "fix": None if finding.fix is None else anonymous(finding.fix),
        }
        for name, finding in found.items()
    ]
    return {
        "format": FORMAT,
        "fer_edge": package_version("fer-edge"),
        "system": _system(context.root),
        "packages": packages,
        "changed_settings": sorted(changed_settings(context.settings)),  # their values may be personal
        "devices": _devices(context.root),
        "libcamera": _or_problem(listed, listed.get("libcamera"), anonymous),
        "cameras": [_or_problem(camera, camera, anonymous) for camera in cameras],
        "model": _or_problem(timed, timed, anonymous),
        "checks": checks,
        "counts": {verdict.value: sum(one["verdict"] == verdict for one in checks) for verdict in Verdict},
    }


def _publishable(name: str, finding: Finding, settings: RuntimeSettings) -> str:
    if name == "unit":
        return _STATUS_TEXT.sub(lambda match: f": {match[1]}" if match[1] else "", finding.seen, count=1)
    if name == "settings" and finding.verdict is Verdict.BAD:
        return "the settings are invalid; the reason is not part of the report"
    if name == "model" and settings.model.bundle is not None:
        return _CUSTOM_MODEL.sub("<model.bundle> ", finding.seen)
    return finding.seen


def _or_problem(result: dict[str, Any], value: Any, anonymous: Anonymizer) -> Any:
    """Return ``value``, or ``result`` with its anonymized problem if the measurement failed."""
    if "problem" not in result:
        return value
    return result | {"problem": anonymous(str(result["problem"]))}


def _system(root: Path) -> dict[str, Any]:
    memory = memory_mib(root)
    release = dict(re.findall(r'^(\w+)="?(.*?)"?$', read_text(root / "etc/os-release"), flags=re.MULTILINE))
    revision = re.search(r"^Revision\s*:\s*([0-9a-f]{4,8})$", read_text(root / "proc/cpuinfo"), flags=re.MULTILINE)
    image = re.match(r"Raspberry Pi reference (\d{4}-\d\d-\d\d)", read_text(root / "etc/rpi-issue"))
    return {
        "model": read_text(root / "proc/device-tree/model").strip("\0\n ")[:100] or None,
        "revision": revision.group(1) if revision else None,
        "os": release.get("PRETTY_NAME"),
        "image": image.group(1) if image else None,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "environment": "virtual" if sys.prefix != sys.base_prefix else "system",
        "user": "root" if hasattr(os, "geteuid") and os.geteuid() == 0 else "other",
        "memory_mib": memory.get("MemTotal"),
        "available_mib": memory.get("MemAvailable"),
        "cma_mib": memory.get("CmaTotal"),
        "cma_free_mib": memory.get("CmaFree"),
    }


def _packages() -> dict[str, dict[str, str]]:
    python = {name: version for name in _PACKAGES if (version := package_version(name)) is not None}
    debian: dict[str, str] = {}
    if shutil.which("dpkg-query"):
        done = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\n", *_DEBIAN],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,  # fails if a pattern matches nothing
        )
        rows = [line.split() for line in done.stdout.splitlines()]
        debian = {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}
    return {"python": python, "debian": debian}


def _devices(root: Path) -> list[dict[str, Any]]:
    """Return numbers, permissions, groups and driver names of the devices of cameras and firmware."""
    rows = []
    for path in sorted({path for pattern in _DEVICES for path in (root / "dev").glob(pattern)})[:_MAX_DEVICES]:
        try:
            status = path.stat()
        except OSError:
            continue
        if not stat.S_ISCHR(status.st_mode):
            continue
        name = path.relative_to(root / "dev").as_posix()
        rows.append(
            {
                "device": f"/dev/{name}",
                "number": f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}",
                "mode": stat.filemode(status.st_mode),
                "group": _group(status.st_gid),
                "name": read_text(root / "sys/class/video4linux" / name / "name").strip()[:60] or None,
            }
        )
    return rows


def _group(number: int) -> str:
    """Return the name of a system group, or the number of another group: a user's group has the user's name."""
    import grp

    try:
        return grp.getgrgid(number).gr_name if number < 1000 else str(number)
    except KeyError:
        return str(number)


def _cameras(settings: RuntimeSettings, listed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cameras to measure: all of libcamera's, and the V4L2 cameras in the settings."""
    from fer_edge.sources.camera import camera_device

    cameras = [dict(camera) for camera in listed.get("cameras", [])]
    sources = [_without_serial(device) for device in map(camera_device, settings.uris) if device is not None]
    return cameras + [{"source": source, "model": None} for source in dict.fromkeys(sources)]


def _without_serial(device: Path) -> str:
    """Return the device node, because the names of links to it contain the camera's serial number."""
    if device.exists():
        return str(device.resolve())
    return str(device.parent / "<camera>") if device.is_relative_to("/dev/v4l") else str(device)
