"""Assumptions about the kernel's modules, and the udev rules that give the group video access to cameras."""

from __future__ import annotations

import re
from collections.abc import Callable

from fer_edge.service.install import CAMERA_MODULES
from image_assumptions.assumption import Assumption, none_of
from image_assumptions.stock_image import StockImage

_DRIVERS = ("uvcvideo", "bcm2835_wdt")


def _group_video(key: str, *names: str) -> Callable[[StockImage], str | None]:
    """Return a check that a rule gives a device that ``key`` matches with ``names`` to the group video."""
    matches = re.compile(rf'\b{key}=="(?:[^"]*\|)?(?:{"|".join(map(re.escape, names))})(?:\|[^"]*)?"')

    def check(image: StockImage) -> str | None:
        given = any(matches.search(line) and 'GROUP="video"' in line for line in image.udev_rules)
        return None if given else f'no rule with {key}=="{" or ".join(names)}" and GROUP="video"'

    return check


def _lasting_names(image: StockImage) -> str | None:
    rules = [line for line in image.udev_rules if "SYMLINK+=" in line and "v4l/by-" in line]
    return none_of(f"v4l/{kind}" for kind in ("by-id", "by-path") if not any(f"v4l/{kind}/" in line for line in rules))


def _modules(image: StockImage) -> str | None:
    wanted = (*CAMERA_MODULES, *_DRIVERS)
    if not image.kernels:
        return "no kernel in /usr/lib/modules"
    lacking = [
        f"{name} of {version}" for version, names in image.kernels.items() for name in wanted if name not in names
    ]
    return none_of(lacking)


def _blacklisted(image: StockImage) -> str | None:
    texts = image.root_texts("etc/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d", ending=".conf")
    off = "|".join((*CAMERA_MODULES, *_DRIVERS))
    found = [
        f"/{path}: {line}"
        for path, text in texts.items()
        for line in re.findall(rf"^\s*((?:blacklist|install)\s+(?:{off})\b.*)", text, flags=re.MULTILINE)
    ]
    return ", ".join(found) or None


_DEFAULT_RULES = "systemd/systemd, rules.d/50-udev-default.rules.in"
_UNIT = "edge/fer_edge/service/fer-edge.service"

DEVICES = (
    Assumption(
        "rule-video4linux",
        "The group video may open /dev/video* and /dev/v4l-subdev*.",
        _UNIT,
        _DEFAULT_RULES,
        _group_video("SUBSYSTEM", "video4linux"),
    ),
    Assumption(
        "rule-media",
        "The group video may open /dev/media*.",
        _UNIT,
        _DEFAULT_RULES,
        _group_video("SUBSYSTEM", "media"),
    ),
    Assumption(
        "rule-dma-heap",
        "The group video may open /dev/dma_heap/*, from which libcamera takes its buffers.",
        _UNIT,
        "RPi-Distro/raspberrypi-sys-mods, lib/udev/rules.d/60-dma-heap.rules",
        _group_video("SUBSYSTEM", "dma_heap"),
    ),
    Assumption(
        "rule-vcio",
        "The group video may open /dev/vcio_gencmd or, before June 2026, /dev/vcio: they report throttling.",
        "edge/fer_edge/chip/mailbox.py",
        "RPi-Distro/raspberrypi-sys-mods, lib/udev/rules.d/10-vc.rules; raspberrypi/linux, pull request 7351",
        _group_video("KERNEL", "vcio_gencmd", "vcio"),
    ),
    Assumption(
        "rule-v4l-names",
        "udev makes /dev/v4l/by-id and /dev/v4l/by-path.",
        "edge/fer_edge/sources/camera.py",
        "systemd/systemd, rules.d/60-persistent-v4l.rules",
        _lasting_names,
    ),
    Assumption(
        "modules",
        f"Each kernel has {', '.join((*CAMERA_MODULES, *_DRIVERS))}, as a module or built in.",
        "edge/fer_edge/service/install.py",
        "raspberrypi/linux, arch/arm64/configs/bcm2711_defconfig",
        _modules,
    ),
    Assumption(
        "modules-allowed",
        "No setting of modprobe keeps these modules from being loaded.",
        "edge/fer_edge/service/install.py",
        "modprobe.d(5); RPi-Distro/raspberrypi-sys-mods, etc.armhf/modprobe.d names none of them",
        _blacklisted,
    ),
)
