"""A stand-in for the root file system of Raspberry Pi OS Lite: Debian's packages for x86_64, laid out like pi-gen's.

Debian lacks Raspberry Pi's own packages (raspberrypi-sys-mods, userconf-pi, raspi-config), so that setup.sh takes its
fallbacks. cloud-init is Debian's, on which Raspberry Pi's is based.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from arm.rootfs import SUITES, Suite
from arm.sandbox import run
from fer_edge.errors import InputError

_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "qemu-aarch64-static": "qemu-user-static",
    "bwrap": "bubblewrap",
}
# Without python3-venv, to test that install.sh does not need it.
_PACKAGES = (
    "systemd,systemd-sysv,dbus,udev,python3,openssh-server,openssh-client,sudo,locales,tzdata,console-setup,"
    "keyboard-configuration,network-manager,rfkill,iproute2,procps"
)
_CLOUD_INIT = "cloud-init,netplan.io"
# As in RPi-Distro/pi-gen: stage2/04-cloud-init/files/99_raspberry-pi.cfg and 00-network-manager-all.yaml.
_CLOUD_CONFIG = """\
datasource_list: [ NoCloud, None ]
datasource:
  NoCloud:
    seedfrom: file:///boot/firmware
ssh_deletekeys: false
ssh_genkeytypes: []
"""
_NETPLAN = "network:\n  version: 2\n  renderer: NetworkManager\n"

FIRST_ACCOUNT = "pi"
"""The account of the image, number 1000, without a password (pi-gen, stage1/01-sys-tweaks)."""


def refuse_if_something_is_missing() -> None:
    """Raises InputError."""
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing or os.geteuid() != 0:
        raise InputError(f"needs root, and apt-get install {' '.join(missing or sorted(set(_PROGRAMS.values())))}")


def made_from(suite: Suite) -> bytes:
    """Description of the sources of a kept file system."""
    return Path(__file__).read_bytes() + suite.name.encode()


def build(suite: Suite, folder: Path) -> None:
    """Create ``folder/root``."""
    root = folder / "root"
    with_cloud_init = suite.name != SUITES["bookworm"].name
    print(f"Preparing a stand-in for Raspberry Pi OS, {suite.name} (once)", flush=True)
    root.mkdir()
    packages = f"{_PACKAGES},{_CLOUD_INIT}" if with_cloud_init else _PACKAGES
    archive = folder / "root.tar"
    run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", suite.name, archive])
    # The container creates its own devices.
    run(["tar", "-x", "--exclude=./dev/*", "-C", root, "-f", archive])
    archive.unlink()
    run(["chroot", root, "useradd", "--create-home", "--uid=1000", "--shell=/bin/bash", FIRST_ACCOUNT])
    run(["chroot", root, "usermod", "--append", "--groups=sudo,video", FIRST_ACCOUNT])
    for group in ("netdev", "input", "gpio", "spi", "i2c", "render"):
        run(["chroot", root, "groupadd", "--force", "--system", group])
    run(["chroot", root, "systemctl", "disable", "ssh"])  # as in the image
    (root / "boot" / "firmware").mkdir(parents=True, exist_ok=True)
    # pi-gen, export-image/05-finalise/01-run.sh. Since it is empty, systemd sees no first boot, and applies no
    # presets.
    (root / "etc" / "machine-id").write_text("")
    (root / "etc" / "hostname").write_text("raspberrypi\n")
    (root / "etc" / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
    if with_cloud_init:
        _write(root / "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg", _CLOUD_CONFIG, 0o644)
        _write(root / "lib/netplan/00-network-manager-all.yaml", _NETPLAN, 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
