"""Assumptions about the partitions, and the files that firmware and kernel read at the start."""

from __future__ import annotations

import re

from fer_flash.compose import CLUSTER
from fer_flash.first_boot.plan import MOUNTED, WATCHDOG, cmdline_text
from image_assumptions.assumption import Assumption
from image_assumptions.stock_image import StockImage

_PAYLOAD_BYTES = 200 << 20
"""Room for a payload with a camera's packages (130 MB), and the reserve that compose leaves free."""
_GROWS = re.compile(r"(?:^|\s)(?:resize|init=/usr/lib/raspberrypi-sys-mods/firstboot)(?:\s|$)")


def _partitions(image: StockImage) -> str | None:
    there = [(each.start, each.kind) for each in image.card.partitions]
    if there == [(image.boot.start, "fat"), (image.root.start, "linux")]:
        return None
    return ", ".join(f"{each.number}: {each.kind} at byte {each.start}" for each in image.card.partitions)


def _room(image: StockImage) -> str | None:
    free = image.boot.free_bytes
    return None if free >= _PAYLOAD_BYTES else f"{free >> 20} MiB free"


def _clusters(image: StockImage) -> str | None:
    size = image.boot_cluster_bytes
    return None if size <= CLUSTER else f"clusters of {size >> 10} KiB"


def _cmdline(image: StockImage) -> str | None:
    text = image.boot_text("cmdline.txt")
    cmdline_text(text.encode(), [])
    lines = [line for line in text.splitlines() if line.strip()]
    return None if len(lines) == 1 else f"{len(lines)} lines"


def _root_of_cmdline(image: StockImage) -> str | None:
    named = re.findall(r"(?:^|\s)root=(\S+)", image.boot_text("cmdline.txt"))
    mounted = re.findall(r"^(\S+)\s+/\s", image.root_text("etc/fstab"), flags=re.MULTILINE)
    own = f"PARTUUID={image.root_partuuid}"
    if named == mounted == [own]:
        return None
    return f"{own}, but cmdline.txt {' '.join(named) or 'nothing'}, fstab {' '.join(mounted) or 'nothing'}"


def _grows(image: StockImage) -> str | None:
    text = image.boot_text("cmdline.txt").strip()
    return None if _GROWS.search(text) else f"neither resize nor init=…/firstboot in: {text}"


def _mounted(image: StockImage) -> str | None:
    places = re.findall(r"^[^#\s]\S*\s+(\S+)\s+vfat\s", image.root_text("etc/fstab"), flags=re.MULTILINE)
    return None if places == [MOUNTED] else f"vfat is mounted at {', '.join(places) or 'no place'}"


def _cameras(image: StockImage) -> str | None:
    values = re.findall(r"^camera_auto_detect=(\S*)", image.boot_text("config.txt"), flags=re.MULTILINE)
    return None if values == ["1"] else f"camera_auto_detect={', '.join(values) or ' is not there'}"


def _watchdog(image: StockImage) -> str | None:
    off = re.findall(r"^dtparam=watchdog=off\b.*", image.boot_text("config.txt"), flags=re.MULTILINE)
    return f"{off[0]}, before our {WATCHDOG}" if off else None


def _kernel(image: StockImage) -> str | None:
    names = ("kernel8.img", "kernel_2712.img")
    return None if any(map(image.boot.exists, names)) else f"neither {' nor '.join(names)}"


BOOT_PARTITION = (
    Assumption(
        "partitions",
        "There are two partitions: first the FAT that the firmware reads, then the ext4 root, by type too.",
        "edge/fer_flash/image/card_image.py",
        "RPi-Distro/pi-gen, export-image/prerun.sh",
        _partitions,
    ),
    Assumption(
        "boot-room",
        f"The boot partition has {_PAYLOAD_BYTES >> 20} MiB free for the payload.",
        "edge/fer_flash/compose.py",
        "RPi-Distro/pi-gen, export-image/prerun.sh: BOOT_SIZE is 512 MiB",
        _room,
    ),
    Assumption(
        "boot-clusters",
        f"A cluster of the boot partition is at most {CLUSTER >> 10} KiB, so that the room for the payload is known.",
        "edge/fer_flash/compose.py",
        "RPi-Distro/pi-gen, export-image/prerun.sh: mkdosfs -s 1 since March 2026, -s 4 before",
        _clusters,
    ),
    Assumption(
        "root-grows",
        "The root grows to the whole card at the first boot, before the payload is installed.",
        "edge/fer_flash/compose.py",
        "RPi-Distro/pi-gen, stage1/00-boot-files/files/cmdline.txt; Bookworm: stage2/01-sys-tweaks/00-patches",
        _grows,
    ),
    Assumption(
        "cmdline",
        "cmdline.txt is one line that names the root file system.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, stage1/00-boot-files/files/cmdline.txt",
        _cmdline,
    ),
    Assumption(
        "root-by-partuuid",
        "cmdline.txt and fstab name the root by its PARTUUID.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, export-image/04-set-partuuid/00-run.sh",
        _root_of_cmdline,
    ),
    Assumption(
        "boot-mount",
        f"The boot partition is mounted at {MOUNTED}.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, stage1/01-sys-tweaks/files/fstab",
        _mounted,
    ),
    Assumption(
        "camera-auto-detect",
        "config.txt has camera_auto_detect=1: the firmware loads the overlay of the camera that it finds.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, stage1/00-boot-files/files/config.txt",
        _cameras,
    ),
    Assumption(
        "watchdog-free",
        "Nothing in config.txt turns the hardware watchdog off.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, stage1/00-boot-files/files/config.txt",
        _watchdog,
    ),
    Assumption(
        "kernel-64-bit",
        "The boot partition has a 64-bit kernel.",
        "edge/fer_flash/image/stock_system.py",
        "raspberrypi.com/documentation, config.txt, kernel",
        _kernel,
    ),
)
