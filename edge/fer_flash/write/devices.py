"""The block devices of this computer, and which of them may be written as a card.

A device is refused unless it is certainly a card: a wrong decision destroys a disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from fer_edge.errors import InputError, reason_of

COLUMNS = "NAME,PATH,TYPE,SIZE,MODEL,TRAN,RM,RO,MOUNTPOINTS"
_LSBLK = ["lsblk", "--json", "--bytes", "--output", COLUMNS]
_LSBLK_SECONDS = 30.0
# lsblk also reports "disk" for devices in memory, in a file or on the network.
_VIRTUAL = re.compile(r"(zram|ram|loop|nbd|rbd)\d")
# The boot and replay-protected areas of an eMMC appear as separate disks.
_EMMC_AREA = re.compile(r"mmcblk\d+(boot\d+|rpmb)$")
_SYSTEM_MOUNTS = {"/", "/usr", "/var", "/boot", "/boot/efi", "/boot/firmware", "/efi", "[SWAP]"}
_MAX_DEPTH = 16  # partition, RAID, encryption, volume, ...: real stacks are much smaller


_Text = Annotated[str, Meta(min_length=1)]


class _Node(msgspec.Struct):
    """A device in the output of lsblk. Nothing that decides whether it may be written has a default."""

    name: _Text
    path: _Text
    type: _Text
    size: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    rm: bool
    ro: bool
    mountpoints: list[str | None]  # [None] for none
    model: str | None = None
    tran: str | None = None
    children: list[_Node] = []


class _Output(msgspec.Struct):
    blockdevices: list[_Node]


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A block device, as reported by lsblk.

    Attributes:
        name: kernel name, such as "sdb".
        path: such as "/dev/sdb".
        kind: lsblk's TYPE (disk, part, loop, lvm, ...).
        size: in bytes; 0 for a reader without a card.
        model: name of the model, if known.
        bus: lsblk's TRAN (usb, mmc, ...), if known.
        removable: the kernel's flag; also true for an SD card in a slot, where the kernel does not set it.
        read_only: whether writing is disabled.
        mounted: mount points of the device and of everything on it; "[SWAP]" for swap.
        holders: devices on it that are not partitions, such as an open encrypted volume.
    """

    name: str
    path: str
    kind: str
    size: int
    model: str | None
    bus: str | None
    removable: bool
    read_only: bool
    mounted: tuple[str, ...]
    holders: tuple[str, ...]

    @property
    def is_disk(self) -> bool:
        """Whether this is a physical whole disk."""
        return self.kind == "disk" and not _VIRTUAL.match(self.name) and not _EMMC_AREA.match(self.name)

    @property
    def stands_for_disk(self) -> bool:
        """Whether this is a whole disk in memory, in a file or on the network."""
        return self.kind in ("disk", "loop") and bool(_VIRTUAL.match(self.name))

    @property
    def could_be_card(self) -> bool:
        """Whether this is a removable physical disk; false for an external hard disk."""
        return self.is_disk and self.removable

    @property
    def system_mounts(self) -> tuple[str, ...]:
        """The mount points that the running system needs."""
        return tuple(mount for mount in self.mounted if mount in _SYSTEM_MOUNTS)


def refusal(device: BlockDevice, *, even_if_fixed: bool = False) -> str | None:
    """Return why ``device`` may not be written as a card; None if it may.

    ``even_if_fixed`` also allows fixed and virtual disks. A device in use is always refused.
    """
    reason = None
    if not device.is_disk and not (even_if_fixed and device.stands_for_disk):
        reason = "not a whole disk" if device.kind == "disk" else f"not a whole disk (type {device.kind})"
    elif device.system_mounts:
        reason = f"holds the running system ({', '.join(device.system_mounts)})"
    elif device.mounted:
        reason = f"mounted at {', '.join(device.mounted)}; unmount it first"
    elif device.holders:
        reason = f"in use by {', '.join(device.holders)}"
    elif not device.could_be_card and not even_if_fixed:
        reason = "not removable: a fixed or an external disk, not a card"
    elif device.size == 0:
        reason = "no card in the reader"
    elif device.read_only:
        reason = "read-only; check the lock switch on the side of the card"
    return reason


def read_devices() -> tuple[BlockDevice, ...]:
    """Return the devices of this computer. Raises InputError outside Linux or if lsblk fails."""
    if not sys.platform.startswith("linux"):
        raise InputError(f"listing cards needs Linux; this is {sys.platform}")
    try:
        done = subprocess.run(
            _LSBLK, capture_output=True, timeout=_LSBLK_SECONDS, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError as error:
        raise InputError("lsblk is not installed: install the package util-linux") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"lsblk did not answer in {_LSBLK_SECONDS:.0f} s; unplug a device that hangs") from error
    except OSError as error:
        raise InputError(f"lsblk cannot be run: {error.strerror}; check the package util-linux") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0] or "no error message"
        # MOUNTPOINTS was added in 2.37; the older MOUNTPOINT lists only one mount point.
        raise InputError(f"lsblk failed ({said}); util-linux 2.37 or later is needed")
    text = done.stdout.decode(errors="replace")
    # Some versions print nothing without a device.
    return parse_lsblk(text, sd_cards()) if text.strip() else ()


def sd_cards(sysfs: Path = Path("/sys")) -> frozenset[str]:
    """Return the names of disks that are SD cards in a slot, as opposed to soldered memory.

    The kernel sets the removable flag for neither; the MMC core's ``type`` is "SD" or "MMC" (Linux,
    drivers/mmc/core/bus.c).
    """
    found = set()
    for path in sysfs.glob("block/mmcblk*/device/type"):
        with contextlib.suppress(OSError):  # the card was removed just now
            if path.read_text().strip() == "SD":
                found.add(path.parents[1].name)
    return frozenset(found)


def parse_lsblk(text: str, cards: Collection[str] = ()) -> tuple[BlockDevice, ...]:
    """Return the devices in the JSON that lsblk prints for ``COLUMNS``: each once, followed by the devices on it.

    ``cards`` are the names that ``sd_cards`` returns. Raises InputError for any other text and for missing values.
    """
    try:
        nodes = msgspec.json.decode(text, type=_Output).blockdevices
    except (ValueError, RecursionError) as error:
        raise _not_understood(reason_of(error)) from error
    # A device on several disks is listed below each of them.
    devices: dict[str, BlockDevice] = {}
    for device in (each for node in nodes for each in _devices(node, 0, cards)):
        devices.setdefault(device.path, device)
    return tuple(devices.values())


def _devices(node: _Node, depth: int, cards: Collection[str]) -> list[BlockDevice]:
    """Return the device of ``node``, followed by all devices on it."""
    if depth > _MAX_DEPTH:
        raise _not_understood(f"devices nested more than {_MAX_DEPTH} deep")
    below = [device for child in node.children for device in _devices(child, depth + 1, cards)]
    mounted = [mount for mount in node.mountpoints if mount is not None]
    mounted += [mount for device in below for mount in device.mounted]
    device = BlockDevice(
        name=node.name,
        path=node.path,
        kind=node.type,
        size=node.size,
        model=(node.model or "").strip() or None,
        # Some versions of lsblk leave out the bus of a card in a slot.
        bus=(node.tran or "").strip() or ("mmc" if node.name.startswith("mmcblk") else None),
        removable=node.rm or node.name in cards,
        read_only=node.ro,
        mounted=tuple(dict.fromkeys(mounted)),
        holders=tuple(dict.fromkeys(each.name for each in below if each.kind != "part")),
    )
    return [device, *below]


def _not_understood(what: str) -> InputError:
    return InputError(f"unexpected output of lsblk: {what}; util-linux 2.37 or later is needed")
