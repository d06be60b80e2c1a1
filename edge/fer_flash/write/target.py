"""Decide which device or file may be written, and check that it is still the same one later."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.meter import size
from fer_flash.write.devices import BlockDevice, read_devices, refusal
from fer_flash.write.file_target import is_blank, is_card_image, use_of
from fer_flash.write.medium import Medium


@dataclass(frozen=True, slots=True)
class Target:
    """What to write to.

    Attributes:
        path: without symbolic links.
        size: in bytes.
        device: the block device; None for a regular file.
        number: device number, or the inode of a file.
        confirmed: whether its name was given a second time.
    """

    path: Path
    size: int
    device: BlockDevice | None
    number: int
    confirmed: bool


def choose_target(name: str, again: str | None) -> Target:
    """Return the target ``name``; ``again`` is the same name once more, which allows disks that are not removable.

    Raises InputError if it may not be written. For a file, ``check_replaceable`` decides the rest.
    """
    path = Path(os.path.realpath(name))
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: {reason}; `fer-edge flash list` shows the cards") from error
    if again is not None and os.path.realpath(again) != str(path):
        raise InputError(f"--even-if-fixed {again}: not the same device as {name}; give the same name twice")
    if stat.S_ISREG(status.st_mode):
        # Only an existing file: otherwise a mistyped /dev/sdx would be created as a file without notice.
        _refuse_used(path, name)
        return Target(path, status.st_size, None, status.st_ino, again is not None)
    if not stat.S_ISBLK(status.st_mode):
        raise InputError(f"{name}: neither a disk nor a file; `fer-edge flash list` shows the cards")
    device = next((device for device in read_devices() if device.path == str(path)), None)
    if device is None:
        raise InputError(f"{name}: lsblk does not list this device; use its kernel name, such as /dev/sdb")
    reason = refusal(device, even_if_fixed=again is not None)
    if reason is not None:
        hint = ""
        if again is None and refusal(device, even_if_fixed=True) is None:
            hint = f"; if you are sure, repeat its name: --even-if-fixed {name}"
        raise InputError(f"{name}: may not be written: {reason}{hint}")
    return Target(path, device.size, device, status.st_rdev, again is not None)


def check_size(target: Target, image: Path, needed: int | None) -> None:
    """Raise InputError if ``image`` of ``needed`` bytes does not fit on the target; None means not known yet."""
    if needed is not None and needed > target.size:
        raise InputError(
            f"{target.path}: too small: it has {size(target.size)} ({target.size} bytes),"
            f" and {image} needs {size(needed)} ({needed} bytes); use a larger card"
        )


def check_replaceable(target: Target) -> None:
    """Raise InputError if the target is a file with other content than a card's, and was not named twice."""
    if target.device is not None or target.confirmed:
        return
    try:
        harmless = is_blank(target.path) or is_card_image(target.path)
    except OSError as error:
        raise InputError(f"{target.path}: cannot read it: {error.strerror}; check its permissions") from error
    if not harmless:
        raise InputError(
            f"{target.path}: may not be written: a file that is not empty and not a card image; if you are sure,"
            f" repeat its name: --even-if-fixed {target.path}"
        )


def check_same(target: Target, medium: Medium) -> None:
    """Raise InputError if the open ``medium`` is not the ``target`` that was chosen before."""
    same = (medium.size, medium.number) == (target.size, target.number)
    same = same and medium.is_device == (target.device is not None)
    if not medium.is_device:
        _refuse_used(target.path, str(target.path))
    else:
        now = next((device for device in read_devices() if device.path == str(target.path)), None)
        same = same and now == target.device
    if not same:
        raise InputError(f"{target.path}: changed while it was being opened; nothing was written; run this again")


def _refuse_used(path: Path, name: str) -> None:
    use = use_of(path)
    if use is not None:
        raise InputError(f"{name}: may not be written: {use}")
