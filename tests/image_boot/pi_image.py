"""A stock image that boots in an emulator: Raspberry Pi OS's layout, with Debian's programs and kernel.

The parts of Raspberry Pi OS itself are stand-ins, written after its public sources.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from support.cards.stock_images import DISK_ID, make_stock_image

BOOT_MIB, ROOT_MIB = 256, 1536
"""Sizes of the partitions. The root has 256 MiB of free space; a real one has none, and grows first."""

_FSTAB = f"""\
proc /proc proc defaults 0 0
PARTUUID={DISK_ID}-01 /boot/firmware vfat defaults 0 2
PARTUUID={DISK_ID}-02 / ext4 defaults,noatime 0 1
"""

# RPi-Distro/raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/firstboot: it is started instead of systemd, changes
# the card's identifiers, removes itself from the kernel's command line and restarts the Pi. Here only the last two.
_FIRSTBOOT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
modprobe -a vfat nls_cp437 nls_ascii
mount /dev/nvme0n1p1 /boot/firmware
sed -i 's| init=/usr/lib/raspberrypi-sys-mods/firstboot||' /boot/firmware/cmdline.txt
umount /boot/firmware
sync
echo 'stand-in of firstboot: restarting'
exec reboot -f
"""
# An emulated core is about fifty times slower than a Pi's, and does not only run the service.
_PATIENCE = """\
[Service]
TimeoutStartSec=1h
TimeoutStopSec=1h
WatchdogSec=1h
"""
_NOT_HERE = "stand-in: not to be run\n"


def make_bootable_image(folder: Path, system: Path, kernel: Path) -> Path:
    """Create an image in ``folder`` from ``system``, which is changed, and the folder ``kernel``; return its path."""
    shutil.copytree(kernel / "modules", system / "usr" / "lib" / "modules", dirs_exist_ok=True)
    return make_stock_image(
        folder,
        style="systemd",
        release="trixie",
        boot_mib=BOOT_MIB,
        root_mib=ROOT_MIB,
        boot={"kernel8.img": (kernel / "vmlinuz").read_bytes()},
        root={
            "etc/fstab": _FSTAB,
            "etc/systemd/system/fer-edge.service.d/90-emulated.conf": _PATIENCE,
            "usr/lib/raspberrypi-sys-mods/firstboot": _FIRSTBOOT,
            # No programs: setup.sh works without them.
            "usr/lib/raspberrypi-sys-mods/imager_custom": _NOT_HERE,
            "usr/lib/userconf-pi/userconf": _NOT_HERE,
        },
        system=system,
    )
