"""Which device or file may be written, and whether it still is the one that was looked at."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.meter import size
from fer_flash.write.devices import BlockDevice, read_devices, refusal
from fer_flash.write.medium import Medium


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be written: a block device, or a regular file where ``device`` is None.

    ``path`` has no links in it, ``size`` is in bytes, ``number`` the device number, or a file's inode.
    """

    path: Path
    size: int
    device: BlockDevice | None
    number: int


def choose_target(name: str, again: str | None) -> Target:
    """The target that ``name`` leads to; ``again`` is the same name given a second time, for what is no card.

    Raises InputError for whatever may not be written.
    """
    path = Path(os.path.realpath(name))
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: {reason}; `fer-edge flash list` shows the cards") from error
    if again is not None and os.path.realpath(again) != str(path):
        raise InputError(f"--even-if-fixed {again}: another device than {name}; give the same name twice")
    if stat.S_ISREG(status.st_mode):
        # One that is there already: a mistyped /dev/sdx would otherwise become a file, and nobody would notice.
        return Target(path, status.st_size, None, status.st_ino)
    if not stat.S_ISBLK(status.st_mode):
        raise InputError(f"{name}: neither a disk nor a file; `fer-edge flash list` shows the cards")
    device = next((device for device in read_devices() if device.path == str(path)), None)
    if device is None:
        raise InputError(f"{name}: lsblk does not know this device; give it by its own name, such as /dev/sdb")
    reason = refusal(device, even_if_fixed=again is not None)
    if reason is not None:
        hint = ""
        if again is None and refusal(device, even_if_fixed=True) is None:
            hint = f"; if you are sure, name it twice: --even-if-fixed {name}"
        raise InputError(f"{name}: may not be written: {reason}{hint}")
    return Target(path, device.size, device, status.st_rdev)


def check_size(target: Target, image: Path, needed: int | None) -> None:
    """Refuse a card on which ``image`` of ``needed`` bytes has no room; None is not known yet."""
    if needed is not None and needed > target.size:
        raise InputError(
            f"{target.path}: too small: it has {size(target.size)} ({target.size} bytes),"
            f" and {image} needs {size(needed)} ({needed} bytes); take a larger card"
        )


def check_same(target: Target, medium: Medium) -> None:
    """Refuse ``medium``, which is open by now and ours alone, where it is not the ``target`` that was chosen."""
    same = medium.size == target.size and medium.is_device == (target.device is not None)
    if medium.is_device:
        same = same and medium.device_number == target.number
        now = next((device for device in read_devices() if device.path == str(target.path)), None)
        same = same and now == target.device
    if not same:
        raise InputError(f"{target.path}: changed while it was being opened; nothing was written; run this again")
