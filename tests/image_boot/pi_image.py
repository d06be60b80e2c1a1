"""A stock image that boots in an emulator: as Raspberry Pi OS lays it out, with Debian's programs and kernel in it.

What is Raspberry Pi OS's own is a stand-in, and what it must do for the boot is written here, after the public sources.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from support.cards.stock_images import DISK_ID, make_stock_image

BOOT_MIB, ROOT_MIB = 256, 1536
"""The root has 256 MiB to spare, as a stock one has not: that grows to the whole card first."""

_FSTAB = f"""\
proc /proc proc defaults 0 0
PARTUUID={DISK_ID}-01 /boot/firmware vfat defaults 0 2
PARTUUID={DISK_ID}-02 / ext4 defaults,noatime 0 1
"""

# RPi-Distro/raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/firstboot: it is started in the place of systemd, makes
# the card's numbers its own, takes itself off the kernel's command line and restarts the Pi. Only the last two here.
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
# An emulated core is some fifty times slower than a Pi's, and has other work than the service.
_PATIENCE = """\
[Service]
TimeoutStartSec=1h
TimeoutStopSec=1h
WatchdogSec=1h
"""
_NOT_HERE = "stand-in: not to be run\n"


def make_bootable_image(folder: Path, system: Path, kernel: Path) -> Path:
    """Make an image in ``folder`` of the ``system``, which is changed, and the folder ``kernel``; give its path."""
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
            # Not programs: setup.sh does without.
            "usr/lib/raspberrypi-sys-mods/imager_custom": _NOT_HERE,
            "usr/lib/userconf-pi/userconf": _NOT_HERE,
        },
        system=system,
    )
